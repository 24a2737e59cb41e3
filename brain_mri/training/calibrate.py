"""How an artifact turns outputs into answers: temperature, bias, stacking and every threshold, from validation only.

Each network judges the slices that it has not learned from. The networks of an ensemble have validation parts of their
own (splits.rotated), and what each says about its part is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brain_mri.artifact.config import DecisionRule, Segmenter, SequenceRule, Thresholds
from brain_mri.classes import NO_TUMOR, absent_of
from brain_mri.data.dataset import Dataset, labels_of
from brain_mri.data.selection import classification_rows, mask_rows
from brain_mri.evaluation.classification import classification_metrics
from brain_mri.evaluation.counterfactual import erased_copies
from brain_mri.evaluation.masks import MISSED_DICE, segmentation_metrics
from brain_mri.evaluation.records import CrossValidation
from brain_mri.inference.decision import answered, answers_of, class_probabilities, decided, mask_evidence
from brain_mri.inference.runner import Outputs, run_model
from brain_mri.inference.sequence import unlearned
from brain_mri.training import two_questions
from brain_mri.training.operating_points import (
    choose_abstain_threshold,
    choose_tumor_threshold,
    fit_bias,
    fit_stacking,
    fit_temperature,
    match_confidence,
)
from segmentation import postprocess

ERASED_WEIGHT = 0.25  # of lesion-erased slices beside the real ones without a tumor, when bias or stacking are fitted
CUTS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
SPECKS = (0.0005, 0.001, 0.002, 0.004)  # share of the picture


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


def calibrate(
    parts: Sequence[Part], segmenter: Segmenter, dataset: Dataset, sequence: SequenceRule | None = None
) -> DecisionRule:
    """Temperature, bias, stacking or two questions, and thresholds.

    A network that classifies what its own mask shows is asked two questions, or needs no more than a bias; a CNN and a
    U-Net that know nothing of each other are heard together (inference/decision.py). sequence: names the sequence.
    """
    rows = np.concatenate([part.rows for part in parts])
    logits = np.concatenate([part.outputs.logits for part in parts])
    masks = np.concatenate([part.outputs.mask_probability for part in parts])
    labels, absent = dataset.labels[rows], absent_of(dataset.classes)
    known = np.flatnonzero(labels >= 0)
    evidence = mask_evidence(masks)
    two_sided = segmenter.shared and absent >= 0
    if two_sided and (two := two_questions.calibrate(seen_of(parts, dataset, sequence), sequence)):
        probabilities = class_probabilities(two, logits, evidence)
        cut, smallest = choose_mask_thresholds(answered(masks, two, probabilities), dataset, rows)
        limits = two.thresholds.model_copy(update={"mask": cut, "min_fraction": smallest})
        return two.model_copy(update={"thresholds": limits})
    rule = DecisionRule(
        classes=dataset.classes, temperature=fit_temperature(logits[known], labels[known]), sequence=sequence
    )
    if segmenter.is_network and absent >= 0:  # K-means outlines something on every slice
        groups = dataset.table["group"].to_numpy(str)
        real = logits[known], evidence[known, 0], labels[known], groups[rows[known]], np.ones(len(known))
        copies = erased_answers(parts, groups, ERASED_WEIGHT * np.count_nonzero(labels == absent), absent)
        said, shown, truth, group, weight = (np.concatenate(column) for column in zip(real, *copies, strict=True))
        if segmenter.shared:
            if fitted := fit_bias(said, truth, weight):
                temperature, bias = fitted
                counted = classification_rows(dataset.table.iloc[rows], dataset.classes)
                sharper = match_confidence(logits[counted] / temperature + np.array(bias), labels[counted])
                bias = [round(sharper * value, 6) for value in bias]
                rule = rule.model_copy(update={"temperature": temperature / sharper, "bias": tuple(bias)})
        elif stacking := fit_stacking(said, shown, truth, group, weight):
            rule = rule.model_copy(update={"stacking": stacking})
    probabilities = class_probabilities(rule, logits, evidence)
    cut, smallest = choose_mask_thresholds(answered(masks, rule, probabilities), dataset, rows)
    chosen = decided(rule, probabilities)[known]
    confidence, right = probabilities[known, chosen], chosen == labels[known]
    thresholds = Thresholds(
        mask=cut,
        min_fraction=smallest,
        # a gated net gives all slices without a lesion nearly the same confidence; do not cut through that plateau
        abstain=max(0.0, choose_abstain_threshold(confidence, right, min_coverage=0.85) - 0.02),
        tumor=choose_tumor_threshold(1 - probabilities[known, absent], labels[known] != absent) if absent >= 0 else 0.5,
    )
    return rule.model_copy(update={"thresholds": thresholds})


def seen_of(parts: Sequence[Part], dataset: Dataset, sequence: SequenceRule | None) -> two_questions.Seen:
    """What two_questions asks about, of all parts; copies without their lesion are of the source that they are from."""
    said = [(part.rows, part.outputs, False) for part in parts]
    said += [(part.copied, part.copies, True) for part in parts if part.copies is not None]
    table = dataset.table.iloc[np.concatenate([rows for rows, _, _ in said])]
    erased = np.concatenate([np.full(len(rows), copied) for rows, _, copied in said])
    return two_questions.Seen(
        logits=np.concatenate([outputs.logits for _, outputs, _ in said]).astype(np.float64),
        evidence=np.concatenate([mask_evidence(outputs.mask_probability) for _, outputs, _ in said]),
        labels=np.where(erased, absent_of(dataset.classes), labels_of(table, dataset.classes)),
        tumor=table["tumor"].to_numpy(bool) & ~erased,
        sources=table["origin"].to_numpy(str),
        sequences=table["sequence"].to_numpy(str),
        away=unlearned(sequence, table["sequence"].tolist()),
        erased=erased,
        classes=dataset.classes,
    )


def erased_answers(parts: Sequence[Part], groups: np.ndarray, total: float, absent: int) -> list[tuple]:
    """(logits, evidence, labels, groups, weights) of all lesion-erased copies, which together weigh `total`."""
    found = [(copies, groups[part.copied]) for part in parts if (copies := part.copies) is not None]
    count = sum(len(own) for _, own in found)
    return [
        (
            said.logits,
            mask_evidence(said.mask_probability)[:, 0],
            np.full(len(own), absent),
            own,
            np.full(len(own), total / count),
        )
        for said, own in found
    ]


def choose_mask_thresholds(maps: np.ndarray, dataset: Dataset, rows: np.ndarray) -> tuple[float, float]:
    """The cut and the smallest region that serve best on the validation slices whose mask is known.

    maps: float32 (N, S, S), see decision.answered. Best is the highest mean Dice of the lesions less the share of them
    that is missed and the share of tumor-free slices with a mask: Dice alone hardly tells a lesion that nobody points
    out from one that is outlined badly.
    """
    known = mask_rows(dataset.table.iloc[rows])
    best = Thresholds().mask, Thresholds().min_fraction
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
                best_score, best = score, (cut, smallest)
    return best


# -- the same, cross-validated --------------------------------------------------------------------------------------
def cross_validation(
    parts: Sequence[Part], segmenter: Segmenter, dataset: Dataset, *, seed: int = 0, resamples: int = 1000
) -> CrossValidation:
    """Figures on every validation slice at once, where two or more networks validate on patients of their own.

    Each network answers by itself for the slices that it has not learned from, with the calibration and the thresholds
    that were fitted on the other networks' slices. So patients are apart everywhere; only the epoch of a network was
    chosen on its own slices. The test split has no part in it.
    """
    found = []
    for part in parts:
        rule = calibrate([other for other in parts if other is not part], segmenter, dataset)
        said = answers_of(part.outputs, rule)
        found.append((part.rows, said.probabilities, decided(rule, said.probabilities), said.masks))
    rows, probabilities, predicted, masks = (np.concatenate(column) for column in zip(*found, strict=True))
    table = dataset.table.iloc[rows]
    groups, labels = table["group"].to_numpy(object), labels_of(table, dataset.classes)
    classification = segmentation = None
    if len(chosen := classification_rows(table, dataset.classes)):
        classification = classification_metrics(
            probabilities[chosen],
            labels[chosen],
            groups[chosen],
            dataset.classes,
            predicted=predicted[chosen],
            seed=seed,
            resamples=resamples,
        )
    if len(chosen := mask_rows(table)):
        truth, names = dataset.masks[rows[chosen]] > 127, table["class"].iloc[chosen].tolist()
        segmentation = segmentation_metrics(
            masks[chosen], truth, names, groups[chosen], per_image=False, seed=seed, resamples=resamples
        )
    return CrossValidation(parts=len(parts), classification=classification, segmentation=segmentation)
