"""Calibration on validation, and cross-validation: each part is judged by the others' calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from brain_mri.artifact.config import Segmenter
from brain_mri.classes import CLASSES
from brain_mri.data.dataset import labels_of
from brain_mri.data.folders import CLASS_FOLDER
from brain_mri.evaluation.calibration import calibration_metrics
from brain_mri.evaluation.records import Metrics
from brain_mri.inference.runner import Outputs, softmax
from brain_mri.reporting import overview, tables
from brain_mri.training import operating_points as points
from brain_mri.training.calibrate import Part, cross_validation
from tests.helpers.answers import random_case

SIDE, EACH = 32, 40
CONFIG = Segmenter(architecture="guided")


def shown(**parts: Any) -> Metrics:
    return Metrics.model_validate({"images": {"count": 0, "groups": 0}} | parts)


@dataclass
class Slices:
    """As much of data.Dataset as is asked for."""

    table: pd.DataFrame
    masks: np.ndarray
    classes: tuple[str, ...] = CLASSES

    @property
    def labels(self) -> np.ndarray:
        return labels_of(self.table, self.classes)


def slices(parts: int) -> tuple[Any, np.ndarray]:
    labels = np.tile(np.arange(4), parts * EACH // 4)
    names = [CLASSES[i] for i in labels]
    masks = np.zeros((len(labels), SIDE, SIDE), np.uint8)
    masks[[name != "notumor" for name in names], 8:16, 8:16] = 255
    count = len(labels)
    table = pd.DataFrame(
        {
            "class": names,
            "source": CLASS_FOLDER,
            "group": [f"patient {i // 2}" for i in range(count)],
            "has_mask": True,
            "duplicate_of": -1,
            "tumor": [name != "notumor" for name in names],
            "origin": "phantoms",
            "sequence": "",
        }
    )
    return Slices(table, masks), labels


def part(dataset: Any, labels: np.ndarray, number: int, *, turned: int = 0) -> Part:
    """A network that is right, or names the class `turned` places further, and always outlines."""
    rows = np.arange(number * EACH, (number + 1) * EACH)
    logits = 4 * np.eye(4)[(labels[rows] + turned) % 4] + np.random.default_rng(number).normal(0, 0.5, (EACH, 4))
    probability = np.where(dataset.masks[rows] > 127, 0.9, 0.01).astype(np.float32)
    empty = np.zeros((EACH, 4, 4, 4), np.float32)
    return Part(rows, Outputs(logits.astype(np.float32), empty, empty[:, 0, 0], probability), rows[:0], None)


def test_networks_that_agree_get_what_they_earn():
    dataset, labels = slices(3)
    found: Any = cross_validation([part(dataset, labels, i) for i in range(3)], CONFIG, dataset, resamples=50)
    assert found.parts == 3 and found.classification.count == 3 * EACH
    assert found.classification.accuracy.value > 0.97 and found.classification.groups == 3 * EACH // 2
    assert found.segmentation.dice.mean.value > 0.97 and "per_image" not in found.segmentation.to_json()
    table = next(t for t in overview.sections(shown(cross_validation=found)) if "Cross" in t.title)
    assert "120 images of 60 groups in 3 parts" in table.note and len(table.rows) >= 12


@pytest.mark.parametrize("odd", [0, 1])
def test_a_part_is_never_calibrated_on_itself(odd):
    """The odd network calls each class by the next one's name. Calibrated on itself it would be right."""
    dataset, labels = slices(2)
    parts = [part(dataset, labels, i, turned=int(i == odd)) for i in range(2)]
    found: Any = cross_validation(parts, CONFIG, dataset, resamples=0).classification
    assert found.accuracy.value < 0.05


def test_without_masks_that_half_is_missing():
    dataset, labels = slices(2)
    parts = [part(dataset, labels, i) for i in range(2)]
    bare: Any = Slices(dataset.table.assign(has_mask=False), dataset.masks)
    found: Any = cross_validation(parts, CONFIG, bare, resamples=0)
    assert found.segmentation is None and found.classification.accuracy.value > 0.97
    assert tables.cross_validation(shown(cross_validation=found)) and tables.cross_validation(shown()) is None


def test_temperature_undoes_overconfidence_and_lowers_ece():
    rng = np.random.default_rng(0)
    true_logits = rng.normal(size=(6000, 4)) * 2
    probabilities = softmax(true_logits)
    labels = np.array([rng.choice(4, p=p) for p in probabilities])
    temperature = points.fit_temperature(3 * true_logits, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    before: Any = calibration_metrics(softmax(3 * true_logits), labels)
    after: Any = calibration_metrics(softmax(3 * true_logits / temperature), labels)
    assert after.ece.value < 0.02 < before.ece.value
    assert after.nll.value < before.nll.value
    assert points.fit_temperature(np.zeros((0, 4)), np.zeros(0)) == 1.0
    assert 0.05 <= points.fit_temperature(100 * np.eye(4), np.arange(4)) < 100


def test_abstention_threshold_reaches_its_target_with_the_most_answers():
    probabilities, labels, _ = random_case(400)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    threshold = points.choose_abstain_threshold(confidence, right, target=0.8, min_coverage=0.3)
    kept = confidence >= threshold
    assert right[kept].mean() >= 0.8 > right.mean()
    lower = [t for t in np.unique(confidence) if t < threshold and (confidence >= t).sum() > kept.sum()]
    assert all(right[confidence >= t].mean() < 0.8 for t in lower)
    assert points.choose_abstain_threshold(confidence, right, target=0.01) == 0.0
    best = points.choose_abstain_threshold(confidence, right, target=1.01, min_coverage=0.7)
    assert (confidence >= best).mean() >= 0.7
    assert right[confidence >= best].mean() > right.mean()
    assert points.choose_abstain_threshold(np.zeros(0), np.zeros(0, bool)) == 0.0


def test_tumor_threshold_is_the_best_youden_point():
    rng = np.random.default_rng(5)
    tumor = rng.random(300) < 0.6
    score = np.round(np.clip(rng.normal(0.35 + 0.3 * tumor, 0.2), 0, 1), 2)
    threshold = points.choose_tumor_threshold(score, tumor)
    false, true, _ = sk.roc_curve(tumor, score)
    reached = (score[tumor] >= threshold).mean() - (score[~tumor] >= threshold).mean()
    assert reached == pytest.approx((true - false).max())
    assert points.choose_tumor_threshold(score, np.ones(300, bool)) == 0.5
