"""ECE, Brier score and what "not sure" costs, against their definitions."""

from __future__ import annotations

import pytest
from sklearn import metrics as sk

from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.calibration import abstention_metrics, calibration_metrics
from tests.helpers.answers import random_case


def test_ece_brier_and_likelihood_equal_their_definitions():
    probabilities, labels, _ = random_case(500)
    found = calibration_metrics(probabilities, labels, bins=10)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    ece = 0.0
    for i in range(10):
        rows = (confidence >= i / 10) & ((confidence < (i + 1) / 10) | (i == 9))
        if rows.any():
            ece += rows.mean() * abs(confidence[rows].mean() - right[rows].mean())
    assert found.ece.value == pytest.approx(ece)
    assert found.brier.value == pytest.approx(
        sum(sk.brier_score_loss(labels == i, probabilities[:, i]) for i in range(4))
    )
    assert found.nll.value == pytest.approx(sk.log_loss(labels, probabilities))
    assert sum(row.count for row in found.bins) == 500


def test_abstention_metrics_equal_their_definitions():
    probabilities, labels, groups = random_case(300)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    row = abstention_metrics(probabilities, labels, 0.6, Bootstrap(groups))
    kept = confidence >= 0.6
    assert row.coverage.value == pytest.approx(kept.mean())
    assert row.accuracy_answered.value == pytest.approx(right[kept].mean())
    assert row.accuracy_refused.value == pytest.approx(right[~kept].mean())
    assert row.curve[-1].to_json() == {"coverage": 1.0, "accuracy": pytest.approx(right.mean())}
    everything = abstention_metrics(probabilities, labels, 0.0, Bootstrap(groups))
    assert everything.accuracy_refused.value is None
