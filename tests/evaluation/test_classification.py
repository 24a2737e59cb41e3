"""Every measure against scikit-learn, SciPy or a brute-force loop, and on the odd inputs that students have."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from brain_mri.classes import CLASSES
from brain_mri.evaluation import classification
from brain_mri.evaluation.bootstrap import Bootstrap
from tests.helpers.answers import random_case

classification_metrics: Any = classification.classification_metrics  # None is no number, says mypy
paired_difference: Any = classification.paired_difference


def full(**changes) -> Any:
    probabilities, labels, groups = random_case()
    return classification_metrics(probabilities, labels, groups, CLASSES, **changes)


def test_scores_agree_with_scikit_learn():
    probabilities, labels, groups = random_case()
    result = classification_metrics(probabilities, labels, groups, CLASSES)
    predicted = probabilities.argmax(axis=1)
    assert result.accuracy.value == pytest.approx(sk.accuracy_score(labels, predicted))
    assert result.confusion == sk.confusion_matrix(labels, predicted).tolist()
    each = sk.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for i, name in enumerate(CLASSES):
        row = result.per_class[name]
        for key, values in zip(("precision", "recall", "f1"), each[:3], strict=True):
            assert getattr(row, key).value == pytest.approx(values[i])
        assert row.count == each[3][i]
        assert row.roc_auc.value == pytest.approx(sk.roc_auc_score(labels == i, probabilities[:, i]))
    macro = sk.precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    for key, value in zip(("precision", "recall", "f1"), macro, strict=False):
        assert getattr(result.macro, key).value == pytest.approx(value)
    score = 1 - probabilities[:, CLASSES.index("notumor")]
    tumor = labels != CLASSES.index("notumor")
    assert result.binary.roc_auc.value == pytest.approx(sk.roc_auc_score(tumor, score))
    point = result.binary.operating_point
    assert point.sensitivity.value == pytest.approx(sk.recall_score(tumor, score >= 0.5))
    assert point.specificity.value == pytest.approx(sk.recall_score(~tumor, ~(score >= 0.5)))
    assert point.precision.value == pytest.approx(sk.precision_score(tumor, score >= 0.5))
    curve = result.curves.roc["tumor"]
    assert sk.auc(curve.fpr, curve.tpr) == pytest.approx(result.binary.roc_auc.value, abs=0.01)


def test_every_interval_equals_a_loop_over_resampled_images():
    """The matrix form must be the plain bootstrap: repeat the images of the drawn groups, score, take percentiles."""
    probabilities, labels, groups = random_case(120)
    draws = 60
    result = classification_metrics(probabilities, labels, groups, CLASSES, resamples=draws, seed=3)
    boot = Bootstrap(groups, resamples=draws, seed=3)
    accuracy, f1, auc = [], [], []
    for weights in boot.weights.astype(int):
        rows = np.repeat(np.arange(len(labels)), weights[boot.codes])
        y, p = labels[rows], probabilities[rows]
        present = np.unique(y)
        accuracy.append(sk.accuracy_score(y, p.argmax(axis=1)))
        f1.append(sk.f1_score(y, p.argmax(axis=1), labels=present, average="macro", zero_division=0))
        auc.append(sk.roc_auc_score(y == 0, p[:, 0]))
    for found, drawn in (
        (result.accuracy, accuracy),
        (result.macro.f1, f1),
        (result.per_class["glioma"].roc_auc, auc),
    ):
        assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))


def test_groups_are_drawn_whole_so_that_repeated_slices_do_not_narrow_the_interval():
    probabilities, labels, _ = random_case(80)
    once = classification_metrics(probabilities, labels, np.arange(80), CLASSES).accuracy
    ten = np.tile(np.arange(80), 10)
    same = classification_metrics(probabilities[ten], labels[ten], ten, CLASSES).accuracy
    naive = classification_metrics(probabilities[ten], labels[ten], np.arange(800), CLASSES).accuracy
    width = [row.high - row.low for row in (once, same, naive)]
    assert width[1] == pytest.approx(width[0], rel=0.1)
    assert width[2] < 0.5 * width[0]


def test_thousand_resamples_of_a_thousand_images_take_under_two_seconds():
    probabilities, labels, groups = random_case(1000)
    started = time.process_time()
    classification_metrics(probabilities, labels, groups, CLASSES, resamples=1000)
    assert time.process_time() - started < 4  # twice the aim, since test machines are busy


def test_results_are_json_and_repeatable():
    assert json.loads(json.dumps(full().to_json(), allow_nan=False)) == full().to_json()
    assert full(seed=1).accuracy != full(seed=2).accuracy


def test_single_class_folder():
    probabilities, _, groups = random_case(40)
    labels = np.zeros(40, int)
    result = classification_metrics(probabilities, labels, groups, CLASSES)
    right = (probabilities.argmax(axis=1) == 0).mean()
    assert result.accuracy.value == pytest.approx(right)
    assert result.macro.recall.value == pytest.approx(right)
    assert result.per_class["notumor"].recall.value is None
    assert result.per_class["glioma"].roc_auc.value is None
    assert result.roc_auc_macro is None
    assert result.binary.roc_auc.value is None
    assert result.binary.operating_point.specificity.value is None
    assert result.binary.operating_point.sensitivity.value is not None
    json.dumps(result.to_json(), allow_nan=False)


def test_absent_class_is_left_out_of_the_macro_average():
    probabilities, labels, groups = random_case(200)
    keep = labels != 3
    result = classification_metrics(probabilities[keep], labels[keep], groups[keep], CLASSES)
    expected = sk.f1_score(labels[keep], probabilities[keep].argmax(axis=1), labels=[0, 1, 2], average="macro")
    assert result.macro.f1.value == pytest.approx(expected)
    assert result.per_class["pituitary"].to_json() == {
        "count": 0,
        "groups": 0,
        **{key: {"value": None, "low": None, "high": None} for key in ("precision", "recall", "f1", "roc_auc")},
    }


def test_one_image_one_group_and_perfect_answers():
    one = classification_metrics(np.eye(4)[[1]], np.array([1]), ["a"], CLASSES)
    assert one.accuracy.to_json() == {"value": 1.0, "low": None, "high": None}
    labels = np.arange(60) % 4
    perfect = classification_metrics(np.eye(4)[labels], labels, np.arange(60), CLASSES)
    assert perfect.accuracy.low == pytest.approx(0.025 ** (1 / 60))  # Clopper-Pearson, not 1.0
    assert perfect.accuracy.high == 1.0
    assert perfect.calibration.ece.value == 0.0


def test_one_group_gives_no_interval():
    """Four slices of one patient, all right: 1.00, and nothing is known about other patients."""
    probabilities, labels, groups = random_case(40)
    groups = np.where(labels == 3, 1000, groups)
    probabilities[labels == 3] = np.eye(4)[3]
    row = classification_metrics(probabilities, labels, groups, CLASSES).per_class["pituitary"]
    assert row.groups == 1
    for key in ("recall", "precision", "f1"):
        assert getattr(row, key).low is None, key
    assert row.recall.value == 1.0


def test_classes_without_no_tumor_have_no_binary_reading():
    probabilities, labels, groups = random_case(60, classes=3)
    assert classification_metrics(probabilities, labels, groups, ["a", "b", "c"]).binary is None


def test_of_two_classes_the_second_is_asked_for_where_none_means_no_tumor():
    probabilities, labels, groups = random_case(80, classes=2)
    probabilities += [-1e-6, 1e-6]  # none of them is a tie
    found = classification_metrics(probabilities, labels, groups, ["HGG", "LGG"], tumor_threshold=0.9)
    assert found.binary.asked == "LGG" and found.binary.positive == (labels == 1).sum()
    assert found.binary.roc_auc.value == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]))
    assert found.binary.operating_point.threshold == 0.5, "where the answer changes"
    assert found.binary.operating_point.sensitivity.value == found.per_class["LGG"].recall.value


@pytest.mark.parametrize("broken", ["shape", "labels", "nan"])
def test_inconsistent_input_is_refused(broken):
    probabilities, labels, groups = random_case(30)
    if broken == "shape":
        probabilities = probabilities[:, :3]
    elif broken == "labels":
        labels = labels + 4
    else:
        probabilities = probabilities * np.nan
    with pytest.raises(ValueError, match=r"\."):
        classification_metrics(probabilities, labels, groups, CLASSES)


def test_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(2)
    groups = np.arange(400)
    reference = rng.random(400) < 0.8
    correct = reference | (rng.random(400) < 0.2)
    row = paired_difference(correct, reference, groups)
    assert row.value == pytest.approx(correct.mean() - reference.mean())
    assert row.low > 0
    separate: Any = Bootstrap(groups).ratio(correct, np.ones(400))
    assert row.high - row.low < separate.high - separate.low
