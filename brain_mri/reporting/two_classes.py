"""A model of two classes answers one question: its ROC-AUC and operating point stand in front of everything else."""

from __future__ import annotations

from brain_mri.classes import ANY_TUMOR, question, title
from brain_mri.evaluation.records import Metrics
from brain_mri.evaluation.scores import BinaryScores
from brain_mri.reporting.tables import Table, percent, score


def asked(metrics: Metrics) -> BinaryScores | None:
    """The scores of that question; None of a model of more classes."""
    found = metrics.classification
    return found.binary if found and len(found.classes) == 2 else None


def operating_point(metrics: Metrics) -> Table | None:
    """ROC-AUC, and what the model says from its threshold on."""
    found, classes = asked(metrics), metrics.classification.classes if metrics.classification else []
    if not found:
        return None
    point, name = found.operating_point, "tumor" if found.asked == ANY_TUMOR else title(found.asked)
    rows = [
        ["ROC-AUC", score(found.roc_auc)],
        [f"At P({name}) ≥ {point.threshold:.2f}: sensitivity", percent(point.sensitivity)],
        ["  specificity", percent(point.specificity)],
        [f"  right where it says {name} (precision)", percent(point.precision)],
        ["  right in all (accuracy)", percent(point.accuracy)],
    ]
    note = f"{found.positive} images with it, {found.negative} without. The threshold was chosen on validation images."
    if found.asked != ANY_TUMOR:
        note = f"{found.positive} images of {title(classes[1])}, {found.negative} of {title(classes[0])}."
    return Table(f"One question: {question(classes)}", ["", "Value"], rows, note)


def said(metrics: Metrics) -> list[str]:
    """The same as a sentence; [] of a model of more classes, or where it could not be measured."""
    found = asked(metrics)
    if not found or found.roc_auc.value is None or not metrics.classification:
        return []
    point, wording = found.operating_point, question(metrics.classification.classes)
    return [
        f"{wording[0].upper()}{wording[1:]}: ROC-AUC {score(found.roc_auc)}; at the operating point, a probability of "
        f"{point.threshold:.2f}, sensitivity {percent(point.sensitivity)}, specificity {percent(point.specificity)}."
    ]
