"""The not-a-brain-MRI guard: its statistics, its fit, its score; on phantoms, and on real slices if there are any."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES
from brain_mri.data.negatives import KINDS, synthetic_negatives, vary
from brain_mri.evaluation.guard_check import LEAST, guard_metrics
from brain_mri.evaluation.records import Metrics
from brain_mri.imaging.preprocessing import head_mask
from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.imaging.scan import Scan
from brain_mri.imaging.skull_strip import strip_skull
from brain_mri.inference import guard
from brain_mri.inference.guard import Guard
from brain_mri.inference.guard_descriptors import NAMES
from brain_mri.reporting import tables
from brain_mri.training import guard_fit

Phantom = Callable[..., np.ndarray]


def shown(**parts: Any) -> Metrics:
    return Metrics.model_validate({"images": {"count": 0, "groups": 0}} | parts)


def scans_of(phantom_image: Phantom, seeds: range, size: int = 160) -> list[Scan]:
    planes = ("axial", "coronal", "sagittal")
    return [scan_from_array(phantom_image(label, seed, size, planes[seed % 3])) for label in CLASSES for seed in seeds]


@pytest.fixture(scope="module")
def fitted(phantom_image: Phantom) -> dict[str, Any]:
    """Fitted on phantoms, with features that a small fixed projection of the picture makes."""
    weights = np.random.default_rng(0).normal(size=(256, 12))

    def features(squares: np.ndarray) -> np.ndarray:
        small = np.stack([cv2.resize(square, (16, 16), interpolation=cv2.INTER_AREA).ravel() for square in squares])
        return np.maximum(small / 255 @ weights, 0).astype(np.float32)

    config = guard_fit.fit_on_scans(
        scans_of(phantom_image, range(24)), scans_of(phantom_image, range(50, 56)), 64, features=features
    )
    return {"config": json.loads(json.dumps(config, allow_nan=False)), "features": features}


def score(fitted: dict[str, Any], scan: Scan) -> float:
    described, square = guard.describe(scan.image, scan.color, 64)
    return Guard.read(fitted["config"]).score(described, fitted["features"](square[None])[0])


def test_descriptors_are_finite_named_and_cheap_to_repeat() -> None:
    for negative in synthetic_negatives(2 * len(KINDS), seed=3):
        described, square = guard.describe(negative.image, negative.color, 64)
        assert described.shape == (len(NAMES),) and described.dtype == np.float32 and np.isfinite(described).all()
        assert square.shape == (64, 64)
        assert np.array_equal(described, guard.describe(negative.image, negative.color, 64)[0])
    for image in (np.zeros((8, 8), np.uint8), np.full((8, 500), 255, np.uint8), np.eye(9, dtype=np.uint8) * 255):
        assert np.isfinite(guard.describe(image, 0.0, 64)[0]).all()


def test_descriptors_hardly_depend_on_the_resolution(phantom_image: Phantom) -> None:
    small, large = (guard.describe(phantom_image("glioma", 1, size), 0.0, 64)[0] for size in (192, 768))
    other = guard.describe(synthetic_negatives(2, 1)[1].image, 0.0, 64)[0]
    assert np.abs(small - large).mean() < 0.2 * np.abs(small - other).mean()


def test_phantoms_pass_and_synthetic_pictures_do_not(fitted: dict[str, Any], phantom_image: Phantom) -> None:
    unseen = [score(fitted, scan) for scan in scans_of(phantom_image, range(80, 86))]
    assert np.mean(np.array(unseen) > 1) <= 0.05
    foreign = [score(fitted, Scan(n.image, n.image, color=n.color)) for n in synthetic_negatives(56, seed=77)]
    assert np.mean(np.array(foreign) > 1) >= 0.95


def test_varied_slices_pass(fitted: dict[str, Any], phantom_image: Phantom) -> None:
    rng = np.random.default_rng(4)
    varied = [scan_from_array(vary(scan.image, rng)) for scan in scans_of(phantom_image, range(90, 96))]
    assert np.mean([score(fitted, scan) > 1 for scan in varied]) <= 0.15


def bare(phantom_image: Phantom, seeds: range) -> list[Scan]:
    found = [strip_skull(scan.image) for scan in scans_of(phantom_image, seeds)]
    return [scan_from_array(image) for image in found if image is not None]


def test_a_skull_is_cut_off_and_the_brain_stays(phantom_image: Phantom) -> None:
    whole = phantom_image("glioma", 3, 200)
    brain = strip_skull(whole)
    assert brain is not None and brain.dtype == np.uint8 and brain.shape == whole.shape
    kept, head = brain > 0, head_mask(whole)
    assert np.array_equal(brain[kept], whole[kept]) and 0.35 < kept.sum() / head.sum() < 0.85
    inside = cv2.distanceTransform(head.astype(np.uint8), cv2.DIST_L2, 3)
    assert inside[kept].min() > 5, "the scalp is gone"
    assert kept[inside > 0.8 * inside.max()].all(), "the middle of the brain is whole"
    for nothing in (np.zeros((60, 60), np.uint8), np.full((9, 9), 200, np.uint8), np.eye(64, dtype=np.uint8) * 255):
        assert strip_skull(nothing) is None


def test_a_brain_without_its_skull_is_a_brain_and_is_noticed(fitted: dict[str, Any], phantom_image: Phantom) -> None:
    def noticed(scan: Scan) -> bool:
        described, square = guard.describe(scan.image, scan.color, 64)
        return Guard.read(fitted["config"]).looks_stripped(described, fitted["features"](square[None])[0])

    brains, heads = bare(phantom_image, range(80, 92)), scans_of(phantom_image, range(80, 92))
    assert len(brains) > 30
    assert np.mean([score(fitted, scan) > 1 for scan in brains]) <= 0.4, "most are brain MRI (of real ones 97 %)"
    assert np.mean([noticed(scan) for scan in brains]) >= 0.8
    assert np.mean([noticed(scan) for scan in heads]) <= 0.1


def test_a_guard_of_stripped_slices_or_of_before_notices_nothing(phantom_image: Phantom) -> None:
    whole = np.stack([guard.describe(s.image, 0.0, 64)[0] for s in scans_of(phantom_image, range(12))])
    brains = np.stack([guard.describe(s.image, 0.0, 64)[0] for s in bare(phantom_image, range(12))])
    negatives = guard_fit.synthetic(30, 0), None
    told = guard_fit.fit_guard((whole[::2], None), (whole[1::2], None), stripped=(brains, None), negatives=negatives)
    assert told["stripped"] == len(brains) and any(Guard.read(told).looks_stripped(brain) for brain in brains)
    own = guard_fit.fit_guard(
        (whole[::2], None), (brains[1::2], None), stripped=(brains[::2], None), negatives=negatives
    )
    before = guard_fit.fit_guard((whole[::2], None), (whole[1::2], None), negatives=negatives)
    for config in (own, before):
        assert "skull" not in config and not any(Guard.read(config).looks_stripped(brain) for brain in brains)


def test_real_photographs_are_flagged(fitted: dict[str, Any]) -> None:
    """Two photographs that scikit-learn ships, in colour, gray, and cut into pieces."""
    datasets = pytest.importorskip("sklearn.datasets")
    for photo in datasets.load_sample_images().images:
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
        pieces = [photo, gray, gray[:200, :200], gray[150:400, 200:500], photo[::2, ::2]]
        assert all(score(fitted, scan_from_array(np.ascontiguousarray(piece))) > 1 for piece in pieces)


def test_score_is_one_at_the_threshold_and_grows(fitted: dict[str, Any], phantom_image: Phantom) -> None:
    image = phantom_image("notumor", 7, 160)
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    scores = [score(fitted, scan_from_array(np.clip(image + s * noise, 0, 255).astype(np.uint8))) for s in (0, 60, 200)]
    assert scores[0] < 1 < scores[2] and scores[0] < scores[1] < scores[2]


def test_guard_without_features_and_wrong_guards(phantom_image: Phantom, fitted: dict[str, Any]) -> None:
    described = np.stack([guard.describe(s.image, 0.0, 64)[0] for s in scans_of(phantom_image, range(6))])
    negatives = guard_fit.synthetic(28, 0)
    config = guard_fit.fit_guard((described[::2], None), (described[1::2], None), negatives=(negatives, None))
    assert Guard.read(config).score(negatives[0]) > 1 > Guard.read(config).score(described[0])
    assert Guard.read(json.loads(json.dumps(config))).score(described[0]) == Guard.read(config).score(described[0])
    with pytest.raises(ValueError, match="needs them"):
        Guard.read(fitted["config"]).score(described[0])
    with pytest.raises(ValueError, match="other picture statistics"):
        Guard.read(config | {"descriptors": ["a"]}).score(described[0])


def test_validation_rate_is_kept(phantom_image: Phantom) -> None:
    described = np.stack([guard.describe(s.image, 0.0, 64)[0] for s in scans_of(phantom_image, range(12))])
    config = guard_fit.fit_guard(
        (described[::2], None), (described[1::2], None), negatives=(guard_fit.synthetic(28, 0), None), rate=0.1
    )
    assert config["flagged_validation"] <= 0.1 and config["slices"] == 24 and config["negatives"] == 28


def test_the_fewer_patients_validate_the_more_distance_is_kept(phantom_image: Phantom) -> None:
    described = np.stack([guard.describe(s.image, 0.0, 64)[0] for s in scans_of(phantom_image, range(12))])
    parts: Any = (described[::2], None), (described[1::2], None)
    negatives = guard_fit.synthetic(28, 0), None
    alone, few = (guard_fit.fit_guard(*parts, negatives=negatives, groups=groups) for groups in (None, 4))
    assert alone == guard_fit.fit_guard(*parts, negatives=negatives, groups=len(parts[1][0]))
    assert few["distance"] > alone["distance"] and few["logit"] >= alone["logit"]
    for image in described:
        assert Guard.read(few).score(image) <= Guard.read(alone).score(image)


def test_the_fit_says_how_unseen_kinds_fare(fitted: dict[str, Any]) -> None:
    shares = fitted["config"]["unseen_kinds"]
    assert list(shares) == list(KINDS) and all(0 <= share <= 1 for share in shares.values())
    assert np.mean(list(shares.values())) > 0.7
    # Seen in the fit is never much worse than unseen
    assert np.mean(list(shares.values())) <= 1 - fitted["config"]["missed_negatives"] + 0.02


def test_metrics_count_real_slices_and_drawings(tmp_path: Path, phantom_image: Phantom) -> None:
    from tests.helpers.handmade import write_handmade

    slices = scans_of(phantom_image, range(12)), scans_of(phantom_image, range(50, 56))
    stored = guard_fit.fit_on_scans(*slices, 64)
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), phantom_image(CLASSES[number % 4], 70 + number, 160))
    cv2.imwrite(str(tmp_path / "photo.png"), synthetic_negatives(1, 9, ("scene",))[0].rgb)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths += [tmp_path / "photo.png", tmp_path / "broken.png"]
    artifact = load_artifact(write_handmade(tmp_path / "model", guard=stored))
    found: Any = guard_metrics(artifact, [(str(p), -1) for p in paths], np.arange(22).astype(str))
    assert found and found.count == 21  # without the broken one
    assert 1 / 21 <= found.flagged.value <= 4 / 21
    assert set(found.drawn.by_kind) == set(KINDS) and found.drawn.flagged > 0.9
    assert found.unseen_kinds == stored["unseen_kinds"]
    assert found.stripped and LEAST <= found.stripped.count <= 21
    assert 0 <= found.stripped.flagged.value < 0.5 and 0 <= found.stripped.same_answer.value <= 1
    table = tables.guard(shown(guard=found))
    assert table and "without their skull" in tables.as_text(table)
    older = tables.guard(shown(guard=found.model_copy(update={"stripped": None})))
    assert older and len(older.rows) == len(table.rows) - 1
    assert table and "21" in tables.as_text(table) and "kinds that the fit has not seen" in tables.as_text(table)
    assert guard_metrics(load_artifact(write_handmade(tmp_path / "none")), [], np.arange(22)) is None


def test_real_slices(real_data: Path) -> None:
    """Fitted on descriptors of some patients: at most 3 % of other patients' slices are flagged."""
    with (real_data / "segmentation/patients.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts: list[list[Scan]] = [[], [], []]
    for row in rows[::2]:
        part = {"1": 0, "2": 0, "3": 0, "4": 1, "5": 2}[row["fold"]]
        parts[part].append(read_scan(real_data / "segmentation/images" / row["file"]))
    config = guard_fit.fit_on_scans(parts[0], parts[1], 128)
    flagged = [Guard.read(config).score(guard.describe(s.image, s.color)[0]) > 1 for s in parts[2]]
    assert len(flagged) > 40 and np.mean(flagged) <= 0.03
    foreign = synthetic_negatives(70, seed=123)
    assert np.mean([Guard.read(config).score(guard.describe(n.image, 0.0)[0]) > 1 for n in foreign]) > 0.9
