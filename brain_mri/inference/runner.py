"""Both ONNX models of an artifact on many preprocessed images at once, for calibration and evaluation.

Single scans go through predictor.py; this is the same arithmetic without the restoring to the scan's own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.imaging.preprocessing import head_mask
from brain_mri.inference.decision import answered, class_probabilities, mask_evidence, thresholds_of
from brain_mri.inference.onnx_model import OnnxModel, cores
from segmentation import kmeans_mask, postprocess


@dataclass(frozen=True)
class Outputs:
    """What both models return for N images of side S."""

    logits: np.ndarray  # float32 (N, C)
    heatmaps: np.ndarray  # float32 (N, h, w, C) >= 0, raw Grad-CAM per class
    features: np.ndarray  # float32 (N, F)
    mask_probability: np.ndarray  # float32 (N, S, S) 0..1


@dataclass(frozen=True)
class Answers:
    """What an artifact makes of Outputs."""

    probabilities: np.ndarray  # float64 (N, C), calibrated
    maps: np.ndarray  # float32 (N, S, S), tumor probability; zero where the answer is "no tumor"
    masks: np.ndarray  # bool (N, S, S), as the app draws them


def answers_of(outputs: Outputs, config: Mapping[str, Any]) -> Answers:
    """The calibrated answers. config needs classes and temperature; bias, stacking, thresholds are used when there."""
    probabilities = class_probabilities(config, outputs.logits, mask_evidence(outputs.mask_probability))
    maps = answered(outputs.mask_probability, config["classes"], probabilities)
    limits = thresholds_of(config)
    masks = [postprocess(found, limits["mask"], limits["min_fraction"]) for found in maps]
    return Answers(probabilities, maps, np.stack(masks))


def run_model(folder: str | Path, images: np.ndarray, *, batch: int = 32) -> Outputs:
    """Both ONNX models of a folder on preprocessed images uint8 (N, S, S), as the app runs them.

    A classifier that also gives the mask needs no segmenter; without either, K-means outlines (train.py --segmenter
    kmeans): probability 0 or 1.
    """
    folder = Path(folder)
    classifier = OnnxModel(folder / "classifier.onnx", cores(), ("logits", "heatmaps", "features"), ("mask",))
    outliner = folder / "segmenter.onnx"
    own = "mask" in classifier.names
    segmenter = OnnxModel(outliner, cores(), ("mask",)) if outliner.is_file() and not own else None
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        image = part[..., None].astype(np.float32)
        found = classifier(image)
        if segmenter is not None:
            found |= segmenter(image)
        elif not own:
            found["mask"] = np.stack([kmeans_mask(picture, head_mask) for picture in part]).astype(np.float32)[
                ..., None
            ]
        parts.append([found["logits"], found["heatmaps"], found["features"], found["mask"][..., 0]])
    if not parts:
        raise ValueError("There are no images to evaluate.")
    return Outputs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
