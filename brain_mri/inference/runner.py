"""The networks of an artifact as one function: preprocessed pictures in, what they say out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brain_mri.artifact.config import CLASSIFIER, SEGMENTER, ArtifactError
from brain_mri.imaging.preprocessing import head_mask
from brain_mri.inference.onnx_model import OnnxModel, cores
from segmentation import kmeans_mask

MOST_FEATURES = 2**16
BATCH = 32  # images at once


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the networks return for N images of side S."""

    logits: np.ndarray  # float32 (N, C)
    heatmaps: np.ndarray  # float32 (N, h, w, C) >= 0, raw Grad-CAM per class
    features: np.ndarray  # float32 (N, F)
    mask_probability: np.ndarray  # float32 (N, S, S) 0..1


Ask = Callable[[Path, np.ndarray], Outputs]  # as `run_model`


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 (..., C) that sums to 1 along the last axis, for logits of any float type."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


class Networks:
    """A classifier, and what outlines: the classifier itself, a segmenter, or K-means where there is neither."""

    def __init__(self, folder: Path, threads: int, *, segmenter: bool | None = None):
        """segmenter: open segmenter.onnx, unless the classifier gives the mask, too; None: when it is there. Raises
        ArtifactError."""
        self._classifier = OnnxModel(folder / CLASSIFIER, threads, ("logits", "heatmaps", "features"), ("mask",))
        self._shared = "mask" in self._classifier.names
        segmenter = (folder / SEGMENTER).is_file() if segmenter is None else segmenter
        self._segmenter = OnnxModel(folder / SEGMENTER, threads, ("mask",)) if segmenter and not self._shared else None

    def __call__(self, images: np.ndarray, beside: Executor | None = None) -> Outputs:
        """images: uint8 (N, S, S); beside: runs what outlines at the same time as the classifier."""
        batch = images[..., None].astype(np.float32)
        outlining = beside.submit(self._outline, images, batch) if beside and not self._shared else None
        found = self._classifier(batch)
        if outlining is not None:
            found["mask"] = outlining.result()
        elif not self._shared:
            found["mask"] = self._outline(images, batch)
        check(found, batch.shape)
        return Outputs(found["logits"], found["heatmaps"], found["features"], found["mask"][..., 0])

    def _outline(self, images: np.ndarray, batch: np.ndarray) -> np.ndarray:
        if self._segmenter:
            return self._segmenter(batch)["mask"]
        return np.stack([kmeans_mask(image, head_mask) for image in images]).astype(np.float32)[..., None]


def check(found: dict[str, np.ndarray], shape: tuple[int, ...]) -> None:
    """Raises ArtifactError for outputs of other kinds than Outputs has. shape: (N, S, S, 1) of the input."""
    number, side = shape[:2]
    classes = found["logits"].shape[-1]
    wanted = {
        "logits": (number, classes),
        "heatmaps": (number, *(min(side, n) for n in found["heatmaps"].shape[1:3]), classes),
        "features": (number, min(MOST_FEATURES, found["features"].shape[-1])),
        "mask": shape,
    }
    for name, right in wanted.items():
        value = found[name]
        if value.dtype != np.float32 or value.shape != right:
            raise ArtifactError(f"the output {name} has another form: {value.dtype} {value.shape}")
        if not np.isfinite(value).all():
            raise ArtifactError(f"the output {name} holds what is no number")
    if found["mask"].min() < -1e-3 or found["mask"].max() > 1 + 1e-3:
        raise ArtifactError("the output mask holds what is no probability")


def run_model(folder: str | Path, images: np.ndarray, *, batch: int = BATCH) -> Outputs:
    """All networks of a folder on preprocessed images uint8 (N, S, S), as the app runs them."""
    networks = Networks(Path(folder), cores())
    return joined([networks(images[start : start + batch]) for start in range(0, len(images), batch)])


def joined(parts: Sequence[Outputs]) -> Outputs:
    """One after the other. Raises ValueError when there are none."""
    if not parts:
        raise ValueError("There are no images to evaluate.")
    return Outputs(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))
