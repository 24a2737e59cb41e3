"""Figures on every validation slice at once, where several networks validate on patients of their own.

Each network answers by itself for the slices that it has not learned from, with the calibration and the thresholds that
were fitted on the other networks' slices. So patients are apart everywhere; only the epoch of a network was chosen on
its own slices. The test split has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brain_mri.artifact.config import Segmenter
from brain_mri.classes import CLASSES
from brain_mri.data.dataset import Dataset
from brain_mri.data.selection import classification_rows, mask_rows
from brain_mri.evaluation.classification import classification_metrics
from brain_mri.evaluation.masks import segmentation_metrics
from brain_mri.evaluation.records import CrossValidation
from brain_mri.inference.decision import answers_of
from brain_mri.training.calibrate import Part, calibrate
from brain_mri.training.training_set import labels_of


def cross_validation(
    parts: Sequence[Part], segmenter: Segmenter, dataset: Dataset, *, seed: int = 0, resamples: int = 1000
) -> CrossValidation:
    """parts: two or more; segmenter: of the artifact."""
    answers = [_answers(part, [p for p in parts if p is not part], segmenter, dataset) for part in parts]
    rows, probabilities, masks = (np.concatenate(column) for column in zip(*answers, strict=True))
    table, classes = dataset.table.iloc[rows], list(CLASSES)
    groups, labels = table["group"].to_numpy(object), labels_of(dataset)[rows]
    common: dict[str, Any] = {"seed": seed, "resamples": resamples}
    found: dict[str, Any] = {"classification": None, "segmentation": None}
    if len(chosen := classification_rows(table, classes)):
        found["classification"] = classification_metrics(
            probabilities[chosen], labels[chosen], groups[chosen], classes, **common
        )
    if len(chosen := mask_rows(table)):
        truth, names = dataset.masks[rows[chosen]] > 127, table["class"].iloc[chosen].tolist()
        found["segmentation"] = segmentation_metrics(
            masks[chosen], truth, names, groups[chosen], per_image=False, **common
        )
    return CrossValidation(parts=len(parts), **found)


def _answers(
    part: Part, others: Sequence[Part], segmenter: Segmenter, dataset: Dataset
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows (N,), probabilities (N, C), masks bool (N, S, S)) of a part, judged by the others' calibration."""
    said = answers_of(part.outputs, calibrate(others, segmenter, dataset))
    return part.rows, said.probabilities, said.masks
