"""Classification scores with intervals over groups: pure functions of arrays, without files and without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from brain_mri.classes import ANY_TUMOR, NO_TUMOR
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.calibration import abstention_metrics, calibration_metrics
from brain_mri.evaluation.scores import (
    BinaryScores,
    ClassificationScores,
    ClassScores,
    Curves,
    Estimate,
    LabelScores,
    OperatingPoint,
    Rates,
    RocCurve,
)


def label_metrics(predicted: np.ndarray, labels: np.ndarray, boot: Bootstrap, classes: Sequence[str]) -> LabelScores:
    """Accuracy, precision, recall, F1 (per class and macro) and confusion of predicted labels (N,) int.

    Conventions: precision of a class that is never predicted is 0 (scikit-learn's zero_division=0); a class without a
    single labelled image has no recall (None), and the macro averages run over the classes that do have images.
    confusion[i][j] counts images of class i that were called j.
    """
    predicted, labels = np.asarray(predicted).astype(int), np.asarray(labels).astype(int)
    size = len(classes)
    cells = np.zeros((len(labels), size, size))
    cells[np.arange(len(labels)), labels, predicted] = 1
    confusion, draws = boot.sums(cells)
    point, drawn = _rates(confusion[None]), _rates(draws)
    per_class: dict[str, ClassScores] = {}
    for i, name in enumerate(classes):
        present = confusion[i].sum() > 0
        own = len(np.unique(boot.codes[labels == i]))
        rates = {}
        for key in point:
            alone = own if key == "recall" or own == 1 else 0
            rates[key] = boot.interval(point[key][0, i] if present else None, drawn[key][:, i], proportion=alone)
        per_class[name] = ClassScores(count=int(confusion[i].sum()), groups=own, **rates)
    return LabelScores(
        count=len(labels),
        groups=boot.groups,
        classes=list(classes),
        accuracy=boot.ratio(predicted == labels, np.ones(len(labels))),
        macro=Rates(**{key: boot.interval(_average(point[key])[0], _average(drawn[key])) for key in point}),
        per_class=per_class,
        confusion=confusion.astype(int).tolist(),
    )


def _rates(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """confusion (R, C, C) -> precision, recall, f1 (R, C); NaN for classes without images in that draw."""
    hit = np.einsum("rii->ri", confusion)
    truth, called = confusion.sum(axis=2), confusion.sum(axis=1)
    absent = truth == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(called > 0, hit / called, 0.0)
        recall = hit / truth
        f1 = 2 * hit / (truth + called)
    return {
        key: np.where(absent, np.nan, value)
        for key, value in (("precision", precision), ("recall", recall), ("f1", f1))
    }


def _average(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where all are."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1)


def classification_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    classes: Sequence[str],
    *,
    tumor_threshold: float = 0.5,
    abstain_threshold: float = 0.0,
    predicted: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> ClassificationScores:
    """Everything about a classifier on labelled images.

    probabilities (N, C) rows sum to 1; labels (N,) int index into classes; groups (N,) patients or clusters;
    predicted (N,) int: the answers, by default the likeliest class.
    binary is None for a model of three classes or more that does not know NO_TUMOR; of two it is their own question,
    and without NO_TUMOR its operating point is where the answer changes.
    Raises ValueError when shapes or labels do not fit each other.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels).astype(int)
    if probabilities.ndim != 2 or probabilities.shape != (len(labels), len(classes)) or len(groups) != len(labels):
        raise ValueError(
            f"{probabilities.shape} probabilities, {len(labels)} labels, {len(groups)} groups and {len(classes)} "
            "classes do not belong together."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise ValueError(f"Labels must lie in 0..{len(classes) - 1}.")
    if not np.isfinite(probabilities).all():
        raise ValueError("The classifier returned values that are no numbers (NaN or infinite).")
    boot = Bootstrap(groups, resamples=resamples, seed=seed)
    columns = {name: (probabilities[:, i], labels == i) for i, name in enumerate(classes)}
    areas = {name: boot.auc(*column) for name, column in columns.items()}
    known = {name: area.value for name, area in areas.items() if area.value is not None}
    curves, binary = {name: _curve(*columns[name]) for name in known}, None
    if NO_TUMOR in columns:
        chance, free = columns[NO_TUMOR]
        binary = _binary(ANY_TUMOR, 1.0 - chance, ~free, boot, tumor_threshold)
        if NO_TUMOR in known:
            curves[ANY_TUMOR] = _curve(1.0 - chance, ~free)
    elif len(classes) == 2:
        binary = _binary(classes[1], *columns[classes[1]], boot, 0.5)
    predicted = probabilities.argmax(axis=1) if predicted is None else predicted
    found = label_metrics(predicted, labels, boot, classes)
    per_class = {name: row.model_copy(update={"roc_auc": areas[name]}) for name, row in found.per_class.items()}
    return ClassificationScores(
        **{**dict(found), "per_class": per_class},
        roc_auc_macro=float(np.mean(list(known.values()))) if known else None,
        binary=binary,
        calibration=calibration_metrics(probabilities, labels, boot, predicted=predicted),
        abstention=abstention_metrics(probabilities, labels, abstain_threshold, boot, predicted=predicted),
        curves=Curves(roc=curves),
    )


def _binary(asked: str, score: np.ndarray, there: np.ndarray, boot: Bootstrap, threshold: float) -> BinaryScores:
    called = score >= threshold
    return BinaryScores(
        asked=asked,
        positive=int(there.sum()),
        negative=int((~there).sum()),
        roc_auc=boot.auc(score, there),
        operating_point=OperatingPoint(
            threshold=float(threshold),
            sensitivity=boot.ratio(called & there, there),
            specificity=boot.ratio(~called & ~there, ~there),
            precision=boot.ratio(called & there, called),
            accuracy=boot.ratio(called == there, np.ones(len(there))),
        ),
    )


def _curve(scores: np.ndarray, positive: np.ndarray, points: int = 120) -> RocCurve:
    """ROC curve for drawing, thinned to about `points` corners (the area is computed from all of them)."""
    false, true, _ = roc_curve(positive, scores)
    keep = np.unique(np.linspace(0, len(false) - 1, min(points, len(false))).astype(int))
    return RocCurve(fpr=[round(float(v), 5) for v in false[keep]], tpr=[round(float(v), 5) for v in true[keep]])


def paired_difference(
    correct: np.ndarray,
    reference: np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """Accuracy of one classifier minus that of another on the same images, both (N,) bool.

    The interval is of the difference itself: both are drawn together, which is far sharper than comparing two
    separate intervals.
    """
    boot = Bootstrap(groups, resamples=resamples, seed=seed)
    return boot.mean(np.asarray(correct, dtype=float) - np.asarray(reference, dtype=float))
