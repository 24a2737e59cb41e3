"""What the models say about one scan: `Analysis`, its heat maps, and the sentences that warn of doubts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

import segmentation
from brain_mri.classes import NO_TUMOR, title
from brain_mri.imaging.preprocessing import Frame, head_mask, restore
from brain_mri.imaging.scan import Scan

SMALL = 64  # pixels on the shorter side under which a picture is too coarse to judge
CROP = "If it is a montage of slices or a picture of a viewer's window, crop it to one slice and try again."
HEAT_LIFT = 1.0  # the heat inside the mask should be at least this many times that of the whole head


class Heatmaps(Mapping[str, np.ndarray]):
    """class -> float32 (H, W) 0..1 Grad-CAM at the resolution of the scan, worked out when first asked for.

    Each map is zero outside the head and has its maximum at 1; a map without any heat in the head stays zero.
    """

    def __init__(self, classes: Sequence[str], raw: np.ndarray, frame: Frame, head: np.ndarray):
        """raw: float32 (h, w, C) >= 0 as the classifier returns it; head: bool (H, W)."""
        self._index = {name: i for i, name in enumerate(classes)}
        self._raw, self._frame, self._head = raw, frame, head
        self._done: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._done:
            self._done[name] = self._full(self._raw[..., self._index[name]])
        return self._done[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def _full(self, small: np.ndarray) -> np.ndarray:
        small = np.maximum(np.nan_to_num(small, nan=0.0, posinf=0.0, neginf=0.0), 0.0).astype(np.float32)
        peak = float(small.max(initial=0.0))
        if peak <= 0.0:
            return np.zeros(self._head.shape, np.float32)
        heat = restore(small / np.float32(peak), self._frame)
        np.multiply(heat, self._head, out=heat)  # in place: fresh megabytes cost more than the arithmetic
        _, inside, _, _ = cv2.minMaxLoc(heat)
        # A trace of heat in the head beside a peak outside it is no evidence, and is not blown up to look like some.
        heat *= np.float32(1.0 / inside if inside > 1e-3 else 0.0)
        return heat


NO_SKULL = (
    "skull and scalp seem to be missing. The model has learned from whole heads only and is often wrong without them"
)
KIND_UNSURE = "A tumor, its kind not sure"


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the models say about one scan. Arrays are at the scan's own resolution (H, W)."""

    name: str
    image: np.ndarray  # uint8 (H, W)
    spacing: tuple[float, float] | None  # mm (row, column)
    probabilities: dict[str, float]  # calibrated, sum to 1
    logits: np.ndarray  # float32 (C,)
    label: str  # most probable class
    confidence: float  # its probability
    abstained: bool
    reason: str  # why it abstained, "" otherwise
    tumor: bool | None  # the binary reading: P(any tumor) reaches its decision threshold; None: see tumor_probability
    mask: np.ndarray  # bool (H, W); empty where the label is "no tumor"
    mask_probability: np.ndarray  # float32 (H, W) 0..1, whatever the label
    head: np.ndarray  # bool (H, W)
    heatmaps: Heatmaps  # class -> float32 (H, W) 0..1
    measures: segmentation.Measures
    heat_agreement: float  # share of the heat for `label` that lies inside the mask, 0..1
    not_brain_mri: bool
    guard_score: float  # above 1: no brain MRI; nan when the model has no guard
    warnings: list[str] = field(default_factory=list)
    model_id: str = ""
    revision: str = ""
    seconds: float = 0.0
    kind_unsure: bool = False  # abstained, but only from naming the kind: there is a tumor
    skull_stripped: bool = False  # a brain without its skull: nothing that the model has learned from
    sequence: str = ""  # one of classes.SEQUENCES, "" when nothing tells
    sequence_from: str = ""  # "file", "picture" or ""
    quality: tuple[str, ...] = ()  # why the picture is too poor to judge, see quality.SENTENCES; () for a good one
    speck_share: float = 0.0  # a component of the mask below this share of the picture was dropped

    def mask_at(self, threshold: float) -> np.ndarray:
        """bool (H, W): the mask at another threshold, whatever the label, without a new inference."""
        return segmentation.postprocess(self.mask_probability, threshold, self.speck_share)

    @property
    def heatmap(self) -> np.ndarray:
        """float32 (H, W) 0..1: Grad-CAM for `label`."""
        return self.heatmaps[self.label]

    @property
    def tumor_probability(self) -> float | None:
        """Probability of any tumor: 1 - P(notumor); None of a model that has no such class."""
        return any_tumor(self.probabilities)

    @property
    def tumor_fraction(self) -> float:
        """Share of the head (not of the black background) that the mask covers, 0..1."""
        return self.measures.fraction

    @property
    def tumor_area_mm2(self) -> float | None:
        return self.measures.area_mm2

    @cached_property
    def _kmeans(self) -> np.ndarray:
        return segmentation.kmeans_mask(self.image, head_mask)

    def kmeans(self) -> np.ndarray:
        """bool (H, W): the mask of the training-free method (K-means and morphology)."""
        return self._kmeans

    def to_dict(self) -> dict[str, Any]:
        """The answer without its arrays, ready for JSON."""
        return {
            "name": self.name,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
            "tumor_probability": self.tumor_probability,
            "tumor": self.tumor,
            "abstained": self.abstained,
            "reason": self.reason,
            "kind_unsure": self.kind_unsure,
            "not_brain_mri": self.not_brain_mri,
            "skull_stripped": self.skull_stripped,
            "sequence": self.sequence,
            "sequence_from": self.sequence_from,
            "quality": list(self.quality),
            "tumor_fraction": self.measures.fraction,
            "tumor_pixels": self.measures.pixels,
            "tumor_area_mm2": self.measures.area_mm2,
            "tumor_diameter_mm": self.measures.diameter_mm,
            "heat_agreement": self.heat_agreement,
            "height": int(self.image.shape[0]),
            "width": int(self.image.shape[1]),
            "spacing_mm": list(self.spacing) if self.spacing else None,
            "warnings": list(self.warnings),
            "model_id": self.model_id,
            "revision": self.revision,
        }


def any_tumor(probabilities: Mapping[str, float]) -> float | None:
    """1 - P(notumor); None where no class means that there is none."""
    return 1.0 - probabilities[NO_TUMOR] if NO_TUMOR in probabilities else None


def warnings_of(
    scan: Scan,
    label: str,
    reason: str,
    foreign: bool,
    measures: segmentation.Measures,
    agreement: float,
    unsaid: int = 0,
) -> list[str]:
    """Sentences for the person who reads the answer; most important first.

    unsaid: pixels that the segmentation would mark, were the answer not "no tumor".
    """
    if foreign:
        said = "This does not look like a brain MRI slice; the figures, the mask and the heatmap mean nothing for it."
        return [said, CROP]
    found = []
    height, width = scan.image.shape
    if min(height, width) < SMALL:
        found.append(f"The picture is very small ({width} x {height} pixels); details of a tumor are lost.")
    if reason:
        return found
    marked = measures.pixels > 0
    if label == NO_TUMOR and unsaid:
        found.append(
            f"The two models disagree: the classifier sees no tumor, so nothing is marked, but the segmentation alone "
            f"would mark {unsaid:,} pixels. Move the mask threshold to see where."
        )
    elif label != NO_TUMOR and not marked:
        found.append(
            f"The two models disagree: the classifier says {title(label)}, but the segmentation marks no tumor."
        )
    elif label != NO_TUMOR and agreement < HEAT_LIFT * measures.fraction:
        found.append(
            "The heatmap and the mask disagree: what the classifier looked at lies mostly outside the marked area."
        )
    return found
