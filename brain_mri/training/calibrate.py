"""How an artifact turns outputs into answers: temperature, bias, stacking and every threshold, from validation only.

Each network judges the slices that it has not learned from. The networks of an ensemble have validation parts of their
own (splits.rotated), and what each says about its part is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.artifact.config import DecisionRule, Segmenter, Thresholds
from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.data.selection import classification_rows, mask_rows
from brain_mri.evaluation.counterfactual import erased_copies
from brain_mri.evaluation.masks import MISSED_DICE
from brain_mri.inference.decision import answered, class_probabilities, mask_evidence
from brain_mri.inference.runner import Outputs, run_model
from brain_mri.training.calibration import (
    choose_abstain_threshold,
    choose_tumor_threshold,
    fit_bias,
    fit_stacking,
    fit_temperature,
    match_confidence,
)
from brain_mri.training.training_set import labels_of
from segmentation import postprocess

ERASED_WEIGHT = 0.25  # of lesion-erased slices beside the real ones without a tumor, when bias or stacking are fitted
CUTS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
SPECKS = (0.0005, 0.001, 0.002, 0.004)  # share of the picture
ABSENT = CLASSES.index(NO_TUMOR)


@dataclass(frozen=True)
class Part:
    """What a network says about slices that it has not learned from, and about copies of them without their lesion."""

    rows: np.ndarray  # int (N,), of the dataset; none twice
    outputs: Outputs  # of N slices
    copied: np.ndarray  # int (M,), the rows that the copies were made from
    copies: Outputs | None  # of M copies; None where there are none


def ask(folder: Path, dataset: Dataset, rows: np.ndarray, seed: int | None = None) -> Part:
    """Run a folder's ONNX models on rows that they have not learned from.

    seed: also on these rows with their lesions erased, for bias or stacking. Without them every slice without a tumor
    is from another source than those with one, and the faintest doubt of the U-Net would count as a tumor.
    """
    said = run_model(folder, dataset.images[rows])
    table = dataset.table.iloc[rows]
    tumor = rows[(table["has_mask"] & (table["class"] != NO_TUMOR)).to_numpy(bool)]
    if seed is None or not len(tumor):
        return Part(rows, said, tumor[:0], None)
    units = np.unique(dataset.table["cluster"].iloc[tumor].to_numpy(str), return_inverse=True)[1]
    pictures, source = erased_copies(dataset.images[tumor], dataset.masks[tumor], units, seed=seed)
    return Part(rows, said, tumor[source], run_model(folder, pictures) if len(pictures) else None)


def calibrate(parts: Sequence[Part], segmenter: Segmenter, dataset: Dataset) -> DecisionRule:
    """Temperature, bias or stacking, and every threshold.

    A network that classifies what its own mask shows needs no more than a bias; a CNN and a U-Net that know nothing of
    each other are heard together (answers.py).
    """
    rows = np.concatenate([part.rows for part in parts])
    logits = np.concatenate([part.outputs.logits for part in parts])
    masks = np.concatenate([part.outputs.mask_probability for part in parts])
    labels = labels_of(dataset)[rows]
    known = np.flatnonzero(labels >= 0)
    fitted: dict[str, Any] = {"temperature": float(fit_temperature(logits[known], labels[known]))}
    evidence = mask_evidence(masks)
    if segmenter.is_network:  # K-means outlines something on every slice
        groups = dataset.table["group"].to_numpy(str)
        real = logits[known], evidence[known], labels[known], groups[rows[known]], np.ones(len(known))
        copies = erased_answers(parts, groups, ERASED_WEIGHT * np.count_nonzero(labels == ABSENT))
        said, shown, truth, group, weight = (np.concatenate(column) for column in zip(real, *copies, strict=True))
        if segmenter.shared:
            if found := fit_bias(said, truth, weight):
                temperature, bias = found
                counted = classification_rows(dataset.table.iloc[rows], CLASSES)
                sharper = match_confidence(logits[counted] / temperature + np.array(bias), labels[counted])
                fitted["temperature"] = temperature / sharper
                fitted["bias"] = [round(sharper * value, 6) for value in bias]
        elif stacking := fit_stacking(said, shown, truth, group, weight):
            fitted["stacking"] = stacking
    rule = DecisionRule(classes=CLASSES, **fitted)
    probabilities = class_probabilities(rule, logits, evidence)
    thresholds = {
        **choose_mask_thresholds(answered(masks, CLASSES, probabilities), dataset, rows),
        # a gated net gives all slices without a lesion nearly the same confidence; do not cut through that plateau
        "abstain": max(0.0, choose_abstain_threshold(probabilities[known], labels[known], min_coverage=0.85) - 0.02),
        "tumor": float(choose_tumor_threshold(1 - probabilities[known, ABSENT], labels[known] != ABSENT)),
    }
    return DecisionRule(classes=CLASSES, **fitted, thresholds=Thresholds(**thresholds))


def erased_answers(parts: Sequence[Part], groups: np.ndarray, total: float) -> list[tuple]:
    """(logits, evidence, labels, groups, weights) of all lesion-erased copies, which together weigh `total`."""
    found = [(copies, groups[part.copied]) for part in parts if (copies := part.copies) is not None]
    count = sum(len(own) for _, own in found)
    return [
        (
            said.logits,
            mask_evidence(said.mask_probability),
            np.full(len(own), ABSENT),
            own,
            np.full(len(own), total / count),
        )
        for said, own in found
    ]


def choose_mask_thresholds(maps: np.ndarray, dataset: Dataset, rows: np.ndarray) -> dict[str, float]:
    """The cut and the smallest region that serve best on the validation slices whose mask is known.

    maps: float32 (N, S, S), see answers.answered. Best is the highest mean Dice of the lesions less the share of them
    that is missed and the share of tumor-free slices with a mask: Dice alone hardly tells a lesion that nobody points
    out from one that is outlined badly.
    """
    known = mask_rows(dataset.table.iloc[rows])
    usual = Thresholds()
    best = {"mask": usual.mask, "min_fraction": usual.min_fraction}
    truths = dataset.masks[rows[known]] > 127
    if not truths.any():
        return best
    sizes = truths.sum((1, 2))
    lesion, best_score = sizes > 0, -np.inf
    for cut in CUTS:
        for smallest in SPECKS:
            found = np.stack([postprocess(maps[i], cut, smallest) for i in known])
            total = sizes + found.sum((1, 2))
            dice = 2 * (truths & found).sum((1, 2)) / np.maximum(total, 1)
            false = found[~lesion].any((1, 2)).mean() if (~lesion).any() else 0.0
            score = float(dice[lesion].mean() - (dice[lesion] < MISSED_DICE).mean() - false)
            if score > best_score:
                best_score, best = score, {"mask": cut, "min_fraction": smallest}
    return best
