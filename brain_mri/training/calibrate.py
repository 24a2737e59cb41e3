"""How an artifact turns outputs into answers: temperature, bias, stacking and every threshold, from validation only.

Each network judges the slices that it has not learned from. The networks of an ensemble have validation parts of their
own (splits.rotated), and what each says about its part is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from brain_mri.artifact.config import DecisionRule, Segmenter, Stacking, Thresholds, TumorRule
from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data.dataset import Dataset, labels_of
from brain_mri.data.selection import classification_rows, mask_rows
from brain_mri.evaluation.classification import classification_metrics
from brain_mri.evaluation.counterfactual import erased_copies
from brain_mri.evaluation.masks import MISSED_DICE, segmentation_metrics
from brain_mri.evaluation.records import CrossValidation
from brain_mri.inference.decision import answered, answers_of, class_probabilities, decided, mask_evidence
from brain_mri.inference.runner import Outputs, run_model
from segmentation import postprocess

FOLDS = 5  # of the validation groups, to judge the stacking
INVERSE_PENALTY = 0.1  # of its weights: some thirty patients are few
BIAS_PENALTY = 0.03  # times the sum of squares, beside the mean log loss; likewise
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
    """Temperature, bias or stacking, and thresholds.

    A network that classifies what its own mask shows needs no more than a bias; a CNN and a U-Net that know nothing of
    each other are heard together (inference/decision.py).
    """
    rows = np.concatenate([part.rows for part in parts])
    logits = np.concatenate([part.outputs.logits for part in parts])
    masks = np.concatenate([part.outputs.mask_probability for part in parts])
    labels = labels_of(dataset.table)[rows]
    known = np.flatnonzero(labels >= 0)
    evidence = mask_evidence(masks)
    if segmenter.shared and (outlined := fit_outlined(parts, dataset)):
        return _two_questions(outlined, logits, masks, labels, dataset, rows)
    rule = DecisionRule(classes=CLASSES, temperature=fit_temperature(logits[known], labels[known]))
    if segmenter.is_network:  # K-means outlines something on every slice
        groups = dataset.table["group"].to_numpy(str)
        real = logits[known], evidence[known, 0], labels[known], groups[rows[known]], np.ones(len(known))
        copies = erased_answers(parts, groups, ERASED_WEIGHT * np.count_nonzero(labels == ABSENT))
        said, shown, truth, group, weight = (np.concatenate(column) for column in zip(real, *copies, strict=True))
        if segmenter.shared:
            if fitted := fit_bias(said, truth, weight):
                temperature, bias = fitted
                counted = classification_rows(dataset.table.iloc[rows], CLASSES)
                sharper = match_confidence(logits[counted] / temperature + np.array(bias), labels[counted])
                rule = DecisionRule(
                    classes=CLASSES,
                    temperature=temperature / sharper,
                    bias=tuple(round(sharper * value, 6) for value in bias),
                )
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
        tumor=choose_tumor_threshold(1 - probabilities[known, ABSENT], labels[known] != ABSENT),
    )
    return rule.model_copy(update={"thresholds": thresholds})


def fit_outlined(parts: Sequence[Part], dataset: Dataset) -> TumorRule | None:
    """Tumor or none from the outline: a logistic regression on validation slices of all sources, each weighing by the
    root of its number of slices, so that none drowns the others. Slices whose lesion was erased take part, too.

    None without slices of both sorts.
    """
    rows = np.concatenate([part.rows for part in parts])
    table = dataset.table.iloc[rows]
    tumor, free = table["tumor"].to_numpy(bool), (table["class"] == NO_TUMOR).to_numpy()
    cells = (table["origin"] + table["sequence"] + np.where(tumor, "+", "-")).to_numpy(str)
    _, cell, size = np.unique(cells, return_inverse=True, return_counts=True)
    evidence = mask_evidence(np.concatenate([part.outputs.mask_probability for part in parts]))
    seen, truth, weight = evidence[tumor | free], tumor[tumor | free], (1 / np.sqrt(size))[cell][tumor | free]
    if truth.all() or not truth.any():
        return None
    copies = [mask_evidence(part.copies.mask_probability) for part in parts if part.copies is not None]
    total = ERASED_WEIGHT * weight[~truth].sum()
    count = sum(map(len, copies))
    seen = np.concatenate([seen, *copies])
    truth = np.concatenate([truth, np.zeros(count, bool)])
    weight = np.concatenate([weight, np.full(count, total / max(1, count))])
    model = LogisticRegression(C=1.0, max_iter=5000).fit(seen, truth, weight)
    return TumorRule(weights=tuple(model.coef_[0].round(6).tolist()), bias=round(float(model.intercept_[0]), 6))


def _two_questions(
    outlined: TumorRule, logits: np.ndarray, masks: np.ndarray, labels: np.ndarray, dataset: Dataset, rows: np.ndarray
) -> DecisionRule:
    """The rule whose `outlined` tells tumor from none; temperature and bias are those of the kinds alone."""
    kinds = np.array([name != NO_TUMOR for name in CLASSES])
    of_kind = np.flatnonzero((labels >= 0) & (labels != ABSENT))
    temperature = 1.0
    if len(of_kind):
        among = np.cumsum(kinds)[labels[of_kind]] - 1
        temperature = fit_temperature(logits[of_kind][:, kinds], among)
    rule = DecisionRule(classes=CLASSES, temperature=temperature, outlined=outlined)
    probabilities = class_probabilities(rule, logits, mask_evidence(masks))
    cut, smallest = choose_mask_thresholds(answered(masks, rule, probabilities), dataset, rows)
    known = np.flatnonzero(labels >= 0)
    chosen = decided(rule, probabilities)[known]
    confidence, right = probabilities[known, chosen], chosen == labels[known]
    thresholds = Thresholds(
        mask=cut,
        min_fraction=smallest,
        abstain=choose_abstain_threshold(confidence, right, min_coverage=0.75),
        tumor=0.5,
    )
    return rule.model_copy(update={"thresholds": thresholds})


def erased_answers(parts: Sequence[Part], groups: np.ndarray, total: float) -> list[tuple]:
    """(logits, evidence, labels, groups, weights) of all lesion-erased copies, which together weigh `total`."""
    found = [(copies, groups[part.copied]) for part in parts if (copies := part.copies) is not None]
    count = sum(len(own) for _, own in found)
    return [
        (
            said.logits,
            mask_evidence(said.mask_probability)[:, 0],
            np.full(len(own), ABSENT),
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


# -- probabilities and operating points from logits and labels --------------------------------------------------------
def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The one number that makes softmax(logits / T) most likely on validation images (Guo et al. 2017).

    logits (N, C) float, labels (N,) int; labels below 0 are left out. Searched within 0.05..20, so that separable
    validation data cannot send it to 0. 1.0 without labelled images.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    known = labels >= 0
    if not known.any():
        return 1.0
    logits, labels = logits[known], labels[known].astype(int)

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def fit_bias(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, list[float]] | None:
    """(temperature, bias of each class): softmax(logits / temperature + bias) (Alexandari et al. 2020).

    For a network that was taught on classes, and on covered lesions, in other shares than they occur: a bias puts that
    right and, unlike a full regression on the logits, holds for the next network, too (docs/experiments.md).
    logits (N, C), labels (N,) int, weights (N,) of validation images; labels below 0 are left out. None when a class is
    missing.
    """
    known = np.asarray(labels) >= 0
    logits, labels = np.asarray(logits, np.float64)[known], np.asarray(labels)[known].astype(int)
    weights, count = np.asarray(weights, np.float64)[known], logits.shape[1]
    if len(set(labels)) < count:
        return None

    def loss(parameters: np.ndarray) -> float:
        bias = parameters[1:]
        scaled = log_softmax(logits * np.exp(-parameters[0]) + bias, axis=1)
        mean = float(np.average(scaled[np.arange(len(labels)), labels], weights=weights))
        return BIAS_PENALTY * float(bias @ bias) - mean

    limits = [(np.log(0.05), np.log(20.0)), *[(-10.0, 10.0)] * count]
    best = minimize(loss, np.zeros(count + 1), bounds=limits, method="L-BFGS-B").x
    return float(np.exp(best[0])), best[1:].round(6).tolist()


def match_confidence(scores: np.ndarray, labels: np.ndarray) -> float:
    """The factor, 0.5 to 2, with which the mean confidence of softmax(factor * scores) is the share of right answers.

    A log loss is moved by few bad mistakes, and lesion-erased slices take part in it: after it alone the answers were
    surer to be right than they said. scores (N, C), labels (N,) int, of validation images; 1.0 without images.
    """
    if not len(labels):
        return 1.0
    right = float((np.argmax(scores, axis=1) == labels).mean())

    def excess(factor: float) -> float:
        return float(softmax(factor * np.asarray(scores, np.float64), axis=1).max(axis=1).mean()) - right

    low, high = 0.5, 2.0
    if excess(low) >= 0 or excess(high) <= 0:
        return low if excess(low) >= 0 else high
    return float(brentq(excess, low, high, xtol=1e-4))


def fit_stacking(
    logits: np.ndarray,
    evidence: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None = None,
) -> Stacking | None:
    """A logistic regression on logits and evidence (decision.py). None where it does not beat the temperature.

    logits (N, C), evidence (N,), labels (N,) int, groups (N,), weights (N,) of validation images. Both ways are
    compared on images of other groups than they were fitted on (five folds), by their log likelihood. None also when a
    class is missing or there are too few groups.
    """
    known = np.asarray(labels) >= 0
    seen, labels = np.column_stack([logits, evidence])[known].astype(float), np.asarray(labels)[known].astype(int)
    groups, count = np.asarray(groups)[known], np.asarray(logits).shape[1]
    weight = np.ones(len(seen)) if weights is None else np.asarray(weights, float)[known]
    groups_of_class = [len(set(groups[labels == c])) for c in range(count)]
    if min(groups_of_class) < FOLDS:
        return None
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=5000)
    ours = theirs = 0.0
    for fitted, checked in StratifiedGroupKFold(FOLDS).split(seen, labels, groups):
        if len(set(labels[fitted])) < count:
            return None
        chosen = model.fit(seen[fitted], labels[fitted], weight[fitted]).predict_proba(seen[checked])
        plain = softmax(seen[checked, :-1] / fit_temperature(seen[fitted, :-1], labels[fitted]), axis=1)
        ours += _log_likelihood(chosen, labels[checked], weight[checked])
        theirs += _log_likelihood(plain, labels[checked], weight[checked])
    if ours <= theirs:
        return None
    model.fit(seen, labels, weight)
    return Stacking(weights=model.coef_.round(6).tolist(), bias=tuple(model.intercept_.round(6).tolist()))


def _log_likelihood(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float((weights * np.log(np.clip(own, 1e-12, 1))).sum())


def choose_abstain_threshold(
    confidence: np.ndarray, right: np.ndarray, *, target: float = 0.95, min_coverage: float = 0.7
) -> float:
    """The lowest confidence at which an answer is still given, so that given answers reach `target` accuracy.

    confidence (N,), right (N,) bool, of validation images. Never more than 1 - min_coverage of the images are
    refused; when `target` is out of reach within that, the threshold that reaches the best accuracy is taken.
    0.0 (never abstain) when all answers together already reach it, or without images.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if len(right) == 0:
        return 0.0
    order = np.argsort(-confidence, kind="stable")
    right = right[order]
    accuracy = np.cumsum(right) / np.arange(1, len(right) + 1)
    confidence = confidence[order]
    last = np.r_[np.diff(confidence) != 0, True]  # images of equal confidence are kept or refused together
    allowed = last & (np.arange(1, len(right) + 1) >= min_coverage * len(right))
    good = np.flatnonzero(allowed & (accuracy >= target))
    # Either as many answers as possible at the target, or the best accuracy that the coverage allows.
    chosen = good[-1] if len(good) else max(np.flatnonzero(allowed), key=lambda i: (accuracy[i], i))
    if chosen == len(right) - 1:
        return 0.0
    # Half way to the next image, so that rounding cannot flip the image on the edge.
    return float((confidence[chosen] + confidence[chosen + 1]) / 2)


def choose_tumor_threshold(probability: np.ndarray, tumor: np.ndarray) -> float:
    """The operating point on validation images: Youden's J (sensitivity + specificity - 1) at its largest.

    probability (N,) of any tumor, tumor (N,) bool. 0.5 when one of the two kinds is absent. Half way between the two
    neighbouring scores, and among equals the one nearest to 0.5.
    """
    probability, tumor = np.asarray(probability, dtype=np.float64), np.asarray(tumor, dtype=bool)
    if tumor.all() or not tumor.any():
        return 0.5
    values = np.unique(probability)
    candidates = np.r_[0.5, (values[1:] + values[:-1]) / 2]
    candidates = candidates[(candidates > 0) & (candidates < 1)]
    yes, no = np.sort(probability[tumor]), np.sort(probability[~tumor])
    sensitivity = 1 - np.searchsorted(yes, candidates, side="left") / len(yes)
    specificity = np.searchsorted(no, candidates, side="left") / len(no)
    j = sensitivity + specificity
    best = candidates[j >= j.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


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
    groups, labels = table["group"].to_numpy(object), labels_of(table)
    classification = segmentation = None
    if len(chosen := classification_rows(table, CLASSES)):
        classification = classification_metrics(
            probabilities[chosen],
            labels[chosen],
            groups[chosen],
            CLASSES,
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
