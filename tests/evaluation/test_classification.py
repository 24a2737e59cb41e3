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
from brain_mri.evaluation.calibration import abstention_metrics, calibration_metrics
from brain_mri.inference.decision import softmax
from brain_mri.training import calibrate

classification_metrics: Any = classification.classification_metrics  # None is no number, says mypy
paired_difference: Any = classification.paired_difference

RNG = np.random.default_rng(7)


def random_case(count: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that know something about the labels, with ties; about three images per group."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    logits = np.round(logits, 1)
    return softmax(logits), labels, rng.integers(0, count // 3, count)


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


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Clustered coin flips with a known rate: the cluster bootstrap covers it, one over images does not."""
    rng = np.random.default_rng(1)
    cluster, single = 0, 0
    for trial in range(120):
        groups = np.repeat(np.arange(40), 8)
        hits = rng.random(len(groups)) < np.repeat(rng.beta(1.5, 0.5, 40), 8)  # mean 0.75, patients differ
        for grouping in (groups, np.arange(len(groups))):
            row: Any = Bootstrap(grouping, resamples=200, seed=trial).ratio(hits, np.ones(len(hits)))
            inside = row.low <= 0.75 <= row.high
            cluster, single = (cluster + inside, single) if grouping is groups else (cluster, single + inside)
    assert cluster / 120 > 0.88
    assert single / 120 < 0.75


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


def test_missing_group_names_count_as_groups_of_one():
    assert Bootstrap(["a", "a", "", "", None, float("nan")]).groups == 5
    assert Bootstrap([]).groups == 0


def test_weighted_median_equals_a_loop():
    values = np.round(RNG.random(41), 1)
    values[5] = np.nan
    boot = Bootstrap(np.arange(41) // 3, resamples=50, seed=0)
    drawn = []
    for weights in boot.weights.astype(int):
        sample = np.repeat(values, weights[boot.codes])
        sample = np.sort(sample[np.isfinite(sample)])
        drawn.append(sample[(len(sample) - 1) // 2])
    row = boot.median(values)
    assert row.value == np.nanmedian(values)
    assert [row.low, row.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))


# --- calibration -----------------------------------------------------------------------------------------------


def test_temperature_undoes_overconfidence_and_lowers_ece():
    rng = np.random.default_rng(0)
    true_logits = rng.normal(size=(6000, 4)) * 2
    probabilities = softmax(true_logits)
    labels = np.array([rng.choice(4, p=p) for p in probabilities])
    temperature = calibrate.fit_temperature(3 * true_logits, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    before: Any = calibration_metrics(softmax(3 * true_logits), labels)
    after: Any = calibration_metrics(softmax(3 * true_logits / temperature), labels)
    assert after.ece.value < 0.02 < before.ece.value
    assert after.nll.value < before.nll.value
    assert calibrate.fit_temperature(np.zeros((0, 4)), np.zeros(0)) == 1.0
    assert 0.05 <= calibrate.fit_temperature(100 * np.eye(4), np.arange(4)) < 100


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


def test_abstention_threshold_reaches_its_target_with_the_most_answers():
    probabilities, labels, _ = random_case(400)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    threshold = calibrate.choose_abstain_threshold(probabilities, labels, target=0.8, min_coverage=0.3)
    kept = confidence >= threshold
    assert right[kept].mean() >= 0.8 > right.mean()
    lower = [t for t in np.unique(confidence) if t < threshold and (confidence >= t).sum() > kept.sum()]
    assert all(right[confidence >= t].mean() < 0.8 for t in lower)
    assert calibrate.choose_abstain_threshold(probabilities, labels, target=0.01) == 0.0
    best = calibrate.choose_abstain_threshold(probabilities, labels, target=1.01, min_coverage=0.7)
    assert (confidence >= best).mean() >= 0.7
    assert right[confidence >= best].mean() > right.mean()
    assert calibrate.choose_abstain_threshold(np.zeros((0, 4)), np.zeros(0)) == 0.0


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


def test_tumor_threshold_is_the_best_youden_point():
    rng = np.random.default_rng(5)
    tumor = rng.random(300) < 0.6
    score = np.round(np.clip(rng.normal(0.35 + 0.3 * tumor, 0.2), 0, 1), 2)
    threshold = calibrate.choose_tumor_threshold(score, tumor)
    false, true, _ = sk.roc_curve(tumor, score)
    reached = (score[tumor] >= threshold).mean() - (score[~tumor] >= threshold).mean()
    assert reached == pytest.approx((true - false).max())
    assert calibrate.choose_tumor_threshold(score, np.ones(300, bool)) == 0.5
