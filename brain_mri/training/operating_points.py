"""Probabilities and operating points from logits and labels: what calibrate.py and two_questions.py are made of."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from brain_mri.artifact.config import Stacking

FOLDS = 5  # of the validation groups, to judge the stacking
INVERSE_PENALTY = 0.1  # of its weights: some thirty patients are few
BIAS_PENALTY = 0.03  # times the sum of squares, beside the mean log loss; likewise


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The one number that makes softmax(logits / T) most likely on validation images (Guo et al. 2017).

    logits (N, C) float, labels (N,) int; labels below 0 are left out. weights (N,), equal by default. Searched within
    0.05..20, so that separable validation data cannot send it to 0. 1.0 without labelled images.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    known = labels >= 0
    if not known.any():
        return 1.0
    logits, labels = logits[known], labels[known].astype(int)
    weights = None if weights is None else np.asarray(weights)[known]

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(np.average(scaled[np.arange(len(labels)), labels], weights=weights))

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
    weights, bias = of_each_class(model.fit(seen, labels, weight))
    return Stacking(weights=weights.round(6).tolist(), bias=tuple(bias.round(6).tolist()))


def of_each_class(model: LogisticRegression) -> tuple[np.ndarray, np.ndarray]:
    """(weights (C, F), bias (C,)) of a softmax; scikit-learn states only the second one of two classes."""
    weights, bias = model.coef_, model.intercept_
    return (weights, bias) if len(bias) > 1 else (np.vstack([np.zeros_like(weights), weights]), np.append(0.0, bias))


def _log_likelihood(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float((weights * np.log(np.clip(own, 1e-12, 1))).sum())


def choose_abstain_threshold(
    confidence: np.ndarray,
    right: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    target: float = 0.95,
    min_coverage: float = 0.7,
) -> float:
    """The lowest confidence at which an answer is still given, so that given answers reach `target` accuracy.

    confidence (N,), right (N,) bool, weights (N,), equal by default, of validation images. Never more than
    1 - min_coverage of the images are refused; when `target` is out of reach within that, the threshold that reaches
    the best accuracy is taken. 0.0 (never abstain) when all answers together already reach it, or without images.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if len(right) == 0:
        return 0.0
    weights = np.ones(len(right)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-confidence, kind="stable")
    given = np.cumsum(weights[order])
    accuracy = np.cumsum((weights * right)[order]) / given
    confidence = confidence[order]
    last = np.r_[np.diff(confidence) != 0, True]  # images of equal confidence are kept or refused together
    allowed = last & (given >= min_coverage * given[-1] - 1e-9)
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
