"""Is a picture good enough to be judged? Heads that are spoilt, and good ones that must not be taken for spoilt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from brain_mri.artifact.config import QualityRule
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES
from brain_mri.imaging.degrade import degrade, moved
from brain_mri.imaging.preprocessing import prepare
from brain_mri.imaging.read import scan_from_array
from brain_mri.imaging.skull_strip import strip_skull
from brain_mri.inference import guard, quality
from brain_mri.inference.predictor import Predictor, fingerprint
from brain_mri.training import guard_fit
from tests.helpers.handmade import SIZE, write_handmade

S = 160
RULE = QualityRule(noise=15.0, blur=1.9, flat=0.5, ghosts=0.5)
Image = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def slices(phantom_image: Image) -> list[np.ndarray]:
    return [phantom_image(name, seed) for name in CLASSES for seed in range(2)]


def measured(image: np.ndarray, name: str) -> float:
    return float(quality.measured(prepare(image, S).square)[quality.MEASURES.index(name)])


def inverted(image: np.ndarray) -> bool:
    return quality.looks_inverted(image, prepare(image, S))


def test_good_slices_have_no_fault_and_other_brightness_is_none(slices: list[np.ndarray]) -> None:
    for image in slices:
        for kind, severity in (("", 0), ("brighter", 40), ("flatter", 0.5), ("gamma", 0.7), ("JPEG", 60)):
            seen = degrade(image, kind, severity, 0) if kind else image
            assert quality.faults(RULE, prepare(seen, S)) == ()


@pytest.mark.parametrize("kind", ["noise", "noise in the head only"])
def test_noise_is_seen_wherever_it_lies(slices: list[np.ndarray], kind: str) -> None:
    for image in slices:
        clean, some, much = (measured(degrade(image, kind, sigma, 0), "noise") for sigma in (0.01, 25, 50))
        assert clean < 8 < some < much
        assert quality.faults(RULE, prepare(degrade(image, kind, 50, 0), S)) == (quality.NOISY,)


def test_sharp_texture_is_no_noise(slices: list[np.ndarray]) -> None:
    """Lines all over the head, as of folds: strong edges, and smooth places between."""
    for image in slices:
        lines = image.copy()
        lines[::12] = np.where(lines[::12] > 8, 250, lines[::12])
        assert measured(lines, "noise") < RULE.noise


def test_blur_grows_with_what_is_lost_and_small_is_named_small(slices: list[np.ndarray]) -> None:
    for image in slices:
        values = [measured(degrade(image, "blur", sigma, 0), "blur") for sigma in (0.1, 2, 4, 6)]
        assert values == sorted(values)
        assert quality.faults(RULE, prepare(degrade(image, "blur", 6, 0), S)) == (quality.BLURRED,)
        assert quality.faults(RULE, prepare(degrade(image, "shrunk and enlarged", 8, 0), S)) == (quality.BLURRED,)
        assert quality.faults(RULE, prepare(degrade(image, "shrunk", 8, 0), S)) == (quality.SMALL,)


def test_strong_compression_leaves_flat_places(slices: list[np.ndarray]) -> None:
    for image in slices:
        assert measured(degrade(image, "JPEG", 2, 0), "flat") > 1.5 * measured(image, "flat")


def test_ghosts_of_a_head_that_moved_are_seen(slices: list[np.ndarray]) -> None:
    for image in slices:
        for axis in (0, 1):
            for shift in (12, 16, 24):
                spoilt = moved(image, 0.5, shift, axis)
                assert measured(spoilt, "ghosts") > 1.5 * measured(image, "ghosts")
    assert quality.MOVED in quality.faults(RULE, prepare(moved(slices[0], 0.6, 12, 1), S))


def test_only_a_negative_looks_inverted(slices: list[np.ndarray]) -> None:
    for image in slices:
        negative = 255 - image
        assert inverted(negative) and inverted(np.pad(negative, 20, constant_values=255))
        assert not inverted(image)
        assert not inverted(np.pad(image, 20, constant_values=255))  # on white paper
        bare = strip_skull(image)
        assert bare is None or not inverted(bare)
        for kind, severity in (("brighter", 90), ("flatter", 0.25), ("noise", 50)):
            assert not inverted(degrade(image, kind, severity, 0))


def test_pictures_without_anything_have_finite_measures() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (S, S)).astype(np.uint8)
    for square in (np.zeros((S, S), np.uint8), np.full((S, S), 255, np.uint8), noise, np.eye(16, dtype=np.uint8)):
        assert np.isfinite(quality.measured(square)).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, phantom_image: Image) -> Predictor:
    """With a guard and limits."""
    described = np.stack([guard.describe(phantom_image(c, s, 128), 0.0, SIZE)[0] for c in CLASSES for s in range(6)])
    fitted = guard_fit.fit_guard(
        (described[::2], None), (described[1::2], None), negatives=(guard_fit.synthetic(28, 0), None), rate=0.0
    )
    folder = tmp_path_factory.mktemp("model") / "m"
    return Predictor.load(write_handmade(folder, guard=fitted, quality=RULE.to_json()))


def test_poor_pictures_are_not_answered(tmp_path: Path, phantom_image: Image) -> None:
    model = Predictor.load(write_handmade(tmp_path / "m", quality=RULE.to_json()))
    image = phantom_image("glioma", 0, 96)  # a larger one is averaged down to the 64 pixels of this model
    good = model.analyze(scan_from_array(image))
    assert good.quality == () and good.to_dict()["quality"] == []
    found = model.analyze(scan_from_array(degrade(image, "noise in the head only", 50, 0)))
    assert found.abstained and found.quality == ("noisy",) and found.to_dict()["quality"] == ["noisy"]
    assert found.reason.startswith("Not sure: the picture is too noisy to judge.") and not found.kind_unsure


def test_a_negative_is_named_and_nothing_is_marked(model: Predictor, phantom_image: Image) -> None:
    for name in CLASSES:
        found = model.analyze(scan_from_array(255 - phantom_image(name, 0)))
        assert found.abstained and found.quality == ("inverted",) and not found.not_brain_mri
        assert "negative" in found.reason and not found.mask.any()
        assert not model.outline(scan_from_array(255 - phantom_image(name, 0))).mask.any()


def test_white_pages_are_no_negatives(model: Predictor) -> None:
    page = np.full((200, 200), 255, np.uint8)
    cv2.rectangle(page, (40, 60), (160, 140), 0, 3)
    found = model.analyze(scan_from_array(page))
    assert found.not_brain_mri and found.quality == ()


def test_artifacts_without_limits_say_nothing_and_keep_their_name(
    handmade_artifact: Path, phantom_image: Image
) -> None:
    p = Predictor.load(handmade_artifact)
    spoilt = p.analyze(scan_from_array(degrade(phantom_image(), "noise", 50, 0)))
    assert spoilt.quality == () and "noisy" not in spoilt.reason
    artifact = load_artifact(handmade_artifact)
    judged = artifact.config.model_copy(update={"quality": RULE})
    assert fingerprint(artifact) != fingerprint(type(artifact)(artifact.folder, judged))
