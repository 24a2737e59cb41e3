"""Class probabilities from logits and mask: the arithmetic, when it is fitted, and that serving uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from brain_mri.artifact.config import ArtifactError, DecisionRule
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES
from brain_mri.imaging.preprocessing import preprocess
from brain_mri.imaging.read import scan_from_array
from brain_mri.inference import decision
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.runner import run_model
from brain_mri.training.operating_points import fit_bias, fit_stacking, match_confidence
from tests.helpers.handmade import write_handmade


def rule(**facts: Any) -> DecisionRule:
    return DecisionRule(classes=CLASSES, **facts)


def slices(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(logits, evidence, labels, groups) of a CNN that takes every second tumor for none, and a U-Net that sees it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    missed = (labels != 2) & (rng.random(count) < 0.5)
    logits = rng.normal(0, 0.5, (count, 4)) + 2.0 * np.eye(4)[labels]
    logits[missed, 2] += 3.0
    evidence = np.where(labels == 2, -4.0, 2.0) + rng.normal(0, 0.7, count)
    return logits, evidence, labels, rng.integers(0, 40, count)


def test_evidence_is_half_the_log_odds_of_the_highest_probability_and_of_the_surest_pixels() -> None:
    masks = np.zeros((3, 32, 16), np.float32)  # 512 pixels: the surest are two of them
    masks[1, 2, 2], masks[1, 2, 3], masks[2] = 0.9, 0.3, 1.0
    faintest = np.log(decision.FAINTEST / (1 - decision.FAINTEST)) / 2
    peak, surest = decision.mask_evidence(masks).T
    np.testing.assert_allclose(peak, [faintest, np.log(9) / 2, -faintest], rtol=1e-6)
    np.testing.assert_allclose(surest, [faintest, np.log(0.6 / 0.4) / 2, -faintest], rtol=1e-5)


def test_whether_there_is_a_tumor_is_decided_before_its_kind() -> None:
    chances = np.array([[0.3, 0.2, 0.4, 0.1], [0.2, 0.2, 0.5, 0.1], [0.1, 0.6, 0.2, 0.1]])
    two = rule(temperature=1.0, outlined={"weights": [1.0, 1.0], "bias": 0.0})
    assert decision.decided(two, chances).tolist() == [0, 2, 1], "a tumor of doubtful kind is a tumor"
    assert decision.decided(rule(temperature=1.0), chances).tolist() == [2, 2, 1]


def test_the_first_question_needs_no_order_of_classes_but_the_class() -> None:
    plain = rule(temperature=1.0, outlined={"weights": [1.0, 0.5, 0.5], "bias": 0.2})
    turned = DecisionRule.model_validate(plain.to_json() | {"classes": CLASSES[::-1]})
    logits, evidence = np.array([[2.0, 0.0, -1.0, 0.5]]), np.array([[0.3, -0.2]])
    expected = decision.class_probabilities(plain, logits, evidence)[:, ::-1]
    np.testing.assert_allclose(decision.class_probabilities(turned, logits[:, ::-1], evidence), expected)
    with pytest.raises(ValueError, match="first question"):
        DecisionRule.model_validate(plain.to_json() | {"classes": ("a", "b")})


def test_class_layers_cannot_talk_an_outlined_lesion_away() -> None:
    """The outline tells tumor from none; the logits only share out what it says among the kinds."""
    config = rule(temperature=2.0, outlined={"weights": [2.0, 0.5], "bias": 1.0})
    masks = np.zeros((2, 8, 8), np.float32)
    masks[0, 2:5, 2:5] = 0.99
    logits = np.array([[2.0, 0.0, 50.0, 0.0], [2.0, 0.0, -50.0, 0.0]])
    evidence = decision.mask_evidence(masks)
    found = decision.class_probabilities(config, logits, evidence)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    tumor = 1 / (1 + np.exp(-(evidence @ [2.0, 0.5] + 1.0)))
    np.testing.assert_allclose(1 - found[:, 2], tumor)
    np.testing.assert_allclose(found[:, [0, 1, 3]] / tumor[:, None], softmax([[1.0, 0.0, 0.0]] * 2, axis=1))
    assert decision.decided(config, found).tolist() == [0, 2]
    assert "outline" in decision.calibrated_by(config)


def test_only_what_is_called_a_tumor_is_outlined() -> None:
    masks = np.array([[[0.9, 0.2]], [[0.9, 0.2]]], np.float32)
    classes = np.array([[0.3, 0.2, 0.4, 0.1], [0.4, 0.2, 0.3, 0.1]])
    plain = rule(temperature=1.0)
    np.testing.assert_array_equal(decision.answered(masks, plain, classes), [[[0, 0]], masks[1]])
    other = plain.model_copy(update={"classes": ("a", "b")})
    np.testing.assert_array_equal(decision.answered(masks, other, classes[:, 1:3]), masks)


def test_without_stacking_the_temperature_is_all() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4))
    found = decision.class_probabilities(rule(temperature=2.0), logits, np.full((5, 2), 9.0))
    np.testing.assert_allclose(found, softmax(logits / 2, axis=1))


def test_a_bias_puts_the_shares_of_the_classes_right() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 4, 2000)
    truth = 2.0 * np.eye(4)[labels] + rng.normal(0, 1, (2000, 4))  # softmax(2 x) is then the probability
    shift = np.array([0.0, -0.4, 0.8, 0.0])
    fitted = fit_bias(truth + shift, np.where(np.arange(2000) < 5, -1, labels), np.ones(2000))
    assert fitted
    temperature, bias = fitted
    assert temperature == pytest.approx(0.5, rel=0.25)  # the penalty of the bias holds it back
    found, wanted = np.array(bias) - np.mean(bias), -2 * (shift - shift.mean())
    np.testing.assert_allclose(found, wanted, atol=0.6)
    assert list(np.argsort(found)) == [2, *np.argsort(wanted)[1:]]
    config = rule(temperature=temperature, bias=bias)
    right = decision.class_probabilities(config, truth + shift, np.zeros((2000, 2))).argmax(1) == labels
    plain = (
        decision.class_probabilities(rule(temperature=temperature), truth + shift, np.zeros((2000, 2))).argmax(1)
        == labels
    )
    assert right.mean() > plain.mean() + 0.02
    assert "bias" in decision.calibrated_by(config)
    heavy = fit_bias(truth, labels, np.where(labels == 2, 3.0, 1.0))
    assert heavy and heavy[1][2] == max(heavy[1]), "what weighs more is said more often"
    assert fit_bias(truth, np.minimum(labels, 2), np.ones(2000)) is None


def test_confidence_is_matched_to_how_often_the_answers_are_right() -> None:
    rng = np.random.default_rng(1)
    scores = 3 * rng.normal(0, 1, (4000, 4))
    labels = np.array([rng.choice(4, p=p) for p in decision.softmax(scores)])
    assert match_confidence(0.7 * scores, labels) == pytest.approx(1 / 0.7, rel=0.05)
    assert match_confidence(1.6 * scores, labels) == pytest.approx(1 / 1.6, rel=0.05)
    assert match_confidence(scores / 10, labels) == 2.0 and match_confidence(scores * 10, labels) == 0.5, (
        "within bounds"
    )
    assert match_confidence(scores[:0], labels[:0]) == 1.0


def test_stacking_lets_the_mask_correct_the_cnn() -> None:
    logits, evidence, labels, groups = slices(600, 0)
    stacking = fit_stacking(logits, evidence, labels, groups)
    assert stacking is not None
    logits, evidence, labels, _ = slices(600, 1)
    config = rule(temperature=1.0, stacking=stacking)
    both = np.column_stack([evidence, evidence])
    found = decision.class_probabilities(config, logits, both)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    alone = decision.class_probabilities(rule(temperature=1.0), logits, both)
    assert (found.argmax(1) == labels).mean() > (alone.argmax(1) == labels).mean() + 0.1


def test_two_classes_are_stacked_too() -> None:
    logits, evidence, labels, groups = slices(600, 0)
    tumor, two = (labels != 2).astype(int), ("notumor", "tumor")
    sides = np.column_stack([logits[:, 2], logits[:, [0, 1, 3]].max(axis=1)])
    config = DecisionRule(classes=two, temperature=1.0, stacking=fit_stacking(sides, evidence, tumor, groups))
    found = decision.class_probabilities(config, sides, np.column_stack([evidence, evidence]))
    assert found.shape == (600, 2) and (found.argmax(1) == tumor).mean() > (sides.argmax(1) == tumor).mean() + 0.1


def test_no_stacking_where_it_is_no_better_or_cannot_be_judged() -> None:
    rng = np.random.default_rng(0)
    logits, _, labels, groups = slices(200, 0)
    logits = 8 * np.eye(4)[labels]  # nothing left to gain: only the temperature matters
    assert fit_stacking(logits, rng.normal(size=200), labels, groups) is None
    assert fit_stacking(*slices(200, 0)[:3], np.zeros(200, int)) is None
    assert fit_stacking(logits, np.zeros(200), np.where(labels == 3, -1, labels), groups) is None


def test_the_app_and_the_evaluation_answer_alike(tmp_path: Path, phantom_image) -> None:
    rng = np.random.default_rng(3)
    stacking = {"weights": rng.normal(size=(4, 5)).tolist(), "bias": rng.normal(size=4).tolist()}
    folder = write_handmade(tmp_path / "model", stacking=stacking)
    model = Predictor.load(folder)
    scan = scan_from_array(phantom_image("meningioma"))
    square, _ = preprocess(scan.image, model.image_size)
    outputs = run_model(folder, square[None])
    wanted = decision.class_probabilities(
        model.config, outputs.logits, decision.mask_evidence(outputs.mask_probability)
    )[0]
    found = model.analyze(scan)
    np.testing.assert_allclose([found.probabilities[name] for name in CLASSES], wanted, atol=1e-6)
    assert model.outline(scan).probabilities == found.probabilities
    assert "mask" in model.calibration


@pytest.mark.parametrize("bias", [[0.0] * 3, ["a"] * 4, 1.0, None, [float("inf")] * 4])
def test_a_malformed_bias_is_refused(tmp_path: Path, bias: object) -> None:
    with pytest.raises(ArtifactError, match="bias"):
        load_artifact(write_handmade(tmp_path / "model", bias=bias))


def test_the_app_adds_the_bias(tmp_path: Path, phantom_image) -> None:
    scan = scan_from_array(phantom_image("meningioma"))
    plain = Predictor.load(write_handmade(tmp_path / "plain")).analyze(scan).probabilities
    found = Predictor.load(write_handmade(tmp_path / "model", bias=[0.0, 0.0, 3.0, 0.0])).analyze(scan).probabilities
    odds = (found["notumor"] / found["glioma"]) / (plain["notumor"] / plain["glioma"])
    assert odds == pytest.approx(np.exp(3), rel=1e-3)


@pytest.mark.parametrize(
    "stacking",
    [
        {"weights": [[1.0] * 5] * 3, "bias": [0.0] * 4},
        {"weights": [[1.0] * 4] * 4, "bias": [0.0] * 4},
        {"weights": [["a"] * 5] * 4, "bias": [0.0] * 4},
        {"weights": [[1.0] * 5] * 4},
        [1, 2],
    ],
)
def test_a_malformed_stacking_is_refused(tmp_path: Path, stacking: object) -> None:
    with pytest.raises(ArtifactError, match="stacking"):
        load_artifact(write_handmade(tmp_path / "model", stacking=stacking))
