"""What an evaluation finds, with named fields: `Metrics` is metrics.json, `Summary` the "metrics" of config.json.

    metrics = read_metrics("weights/metrics.json")
    metrics.classification.accuracy.value       # None in place of a part: it was not measured
    write_json(path, metrics.to_json())         # the keys that were set, and those that this version does not know

The parts are in scores.py. Field names are the keys of the files. Whoever measures makes records, whoever shows reads
them, and nobody changes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from pydantic import ValidationError

from brain_mri.artifact.config import Network, Record, Segmenter, plain
from brain_mri.evaluation.scores import (
    Baselines,
    ClassificationScores,
    Counterfactuals,
    DegradedScores,
    Estimate,
    ExplanationScores,
    GuardCheck,
    MaskScores,
    OfficialSplit,
    SanityCheck,
    SourceScores,
    Uncalibrated,
)
from brain_mri.evaluation.scores_of_patients import PatientScores, SubgroupScores
from brain_mri.files import FileError, read_json

METRICS_FORMAT = 1
Scores = TypeVar("Scores", bound=Record)


class CrossValidation(Record):
    """Every network of an ensemble alone, on validation patients of its own."""

    parts: int
    classification: ClassificationScores | None
    segmentation: MaskScores | None


class MeasuredModel(Record):
    name: str | None = None
    classifier: Network | None = None
    segmenter: Segmenter | None = None


class Images(Record):
    """What was measured."""

    count: int
    groups: int
    by_class: dict[str, int] = {}
    by_source: dict[str, int] = {}
    with_mask: int = 0
    known_sources: list[str] = []


class Metrics(Record):
    """Everything that was measured."""

    format: int = METRICS_FORMAT
    created: str = ""
    model: MeasuredModel = MeasuredModel()
    split: str = ""
    images: Images
    resamples: int = 1000
    notes: list[str] = []
    classification: ClassificationScores | None = None
    calibration_before: Uncalibrated | None = None
    baselines: Baselines | None = None
    segmentation: MaskScores | None = None
    kmeans: MaskScores | None = None
    explanation: ExplanationScores | None = None
    official_split: OfficialSplit | None = None
    sanity: SanityCheck | None = None
    counterfactual: Counterfactuals | None = None
    guard: GuardCheck | None = None
    degraded: list[DegradedScores] = []
    cross_validation: CrossValidation | None = None
    by_source: list[SourceScores] | None = None  # each sequence of each source, where there are several
    also: list[SourceScores] | None = None  # each class and sequence of further folders
    by_patient: PatientScores | None = None  # where patients with several slices are known
    by_subgroup: list[SubgroupScores] | None = None  # age, sex and whatever tables say of patients


class Summary(Record):
    """The main scores, for config.json and for tables of several models."""

    split: str | None = None
    count: int | None = None
    groups: int | None = None
    accuracy: Estimate | None = None
    macro_f1: Estimate | None = None
    tumor_roc_auc: Estimate | None = None  # of two kinds, the one against the other
    sensitivity: Estimate | None = None  # at its operating point
    specificity: Estimate | None = None
    ece: Estimate | None = None
    dice: Estimate | None = None
    dice_median: Estimate | None = None
    missed: Estimate | None = None
    false_positive: Estimate | None = None
    pointing_game: Estimate | None = None
    energy_inside: Estimate | None = None
    baselines: dict[str, Estimate] = {}

    @classmethod
    def of(cls, metrics: Metrics) -> Self:
        found, masks, heat = metrics.classification, metrics.segmentation, metrics.explanation
        binary, lesions = found.binary if found else None, masks if masks and masks.count else None
        free, bars = masks.tumor_free if masks else None, metrics.baselines.scores if metrics.baselines else {}
        return cls(
            split=metrics.split,
            count=found.count if found else None,
            groups=found.groups if found else None,
            accuracy=found.accuracy if found else None,
            macro_f1=found.macro.f1 if found else None,
            tumor_roc_auc=binary.roc_auc if binary else None,
            sensitivity=binary.operating_point.sensitivity if binary else None,
            specificity=binary.operating_point.specificity if binary else None,
            ece=found.calibration.ece if found else None,
            dice=lesions.dice.mean if lesions else None,
            dice_median=lesions.dice.median if lesions else None,
            missed=lesions.missed if lesions else None,
            false_positive=free.false_positive if free else None,
            pointing_game=heat.pointing_game if heat else None,
            energy_inside=heat.energy_inside if heat else None,
            baselines={name: row.accuracy for name, row in bars.items()},
        )


def read_metrics(path: Path) -> Metrics:
    """A metrics.json of this version or an earlier one. Raises FileError with a sentence."""
    return checked(Metrics, read_json(path), path)


def checked(kind: type[Scores], stored: Mapping[str, Any], where: object) -> Scores:
    """The record that `stored` holds. where: for the sentence. Raises FileError."""
    try:
        return kind.model_validate(stored)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = plain(".".join(map(str, first["loc"])))
        raise FileError(f"{where} is damaged: {place}: {plain(first['msg'])}.") from None


@dataclass(frozen=True)
class Case:
    """One test slice to show."""

    kind: str  # "best", "median" or "worst" by Dice
    name: str
    image: np.ndarray  # uint8 (S, S)
    truth: np.ndarray  # bool (S, S)
    predicted: np.ndarray  # bool (S, S)
    heatmap: np.ndarray  # float32 (S, S) 0..1, Grad-CAM of the predicted class inside the head
    label: str
    answer: str
    confidence: float
    dice: float


@dataclass(frozen=True)
class View:
    """What the model says about a picture."""

    image: np.ndarray  # uint8 (S, S)
    predicted: np.ndarray  # bool (S, S)
    answer: str
    confidence: float


@dataclass(frozen=True)
class FoldedCase:
    """A head with a tumor in one half: as it is, and folded to either half."""

    truth: np.ndarray  # bool (S, S), of the head as it is
    whole: View
    without: View  # the half without the tumor twice
    twice: View  # the half with the tumor twice


@dataclass(frozen=True)
class Evaluation:
    metrics: Metrics
    cases: list[Case] = field(default_factory=list)
    folded: list[FoldedCase] = field(default_factory=list)
