"""The predictor on a handmade artifact: the contract of DESIGN §4, edge cases, threads, batches, the Hub fallback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest

from brain_mri.artifact import hub
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact, new_artifact
from brain_mri.artifact.hub_client import HubError
from brain_mri.classes import CLASSES
from brain_mri.imaging import preprocessing
from brain_mri.imaging.preprocessing import preprocess
from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.skull_strip import strip_skull
from brain_mri.inference import guard, predictor
from brain_mri.inference.analysis import Heatmaps
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.runner import softmax
from brain_mri.training import guard_fit
from tests.helpers.handmade import SIZE, handmade_classifier, write_handmade

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(handmade_artifact: Path) -> Predictor:
    return Predictor.load(handmade_artifact)


def head(size: int = 200, spot: tuple[int, int, int] | None = (100, 85, 18), value: int = 250) -> np.ndarray:
    """A shaded oval on black with one bright disc (x, y, radius); dots fix the contrast stretch without it."""
    oval = cv2.ellipse(
        np.zeros((size, size), np.uint8), (size // 2, size // 2), (int(size * 0.36), int(size * 0.43)), 0, 0, 360, 1, -1
    )
    image = oval * np.linspace(60, 130, size).astype(np.uint8)
    for x in range(0, size, 12):
        for y in range(0, size, 12):
            image[y : y + 2, x : x + 2][oval[y : y + 2, x : x + 2] > 0] = value
    if spot:
        cv2.circle(image, spot[:2], spot[2], value, -1)
    return image


def same(a, b) -> bool:
    return (
        a.probabilities == b.probabilities
        and a.label == b.label
        and np.array_equal(a.mask, b.mask)
        and np.array_equal(a.mask_probability, b.mask_probability)
        and all(np.array_equal(a.heatmaps[name], b.heatmaps[name]) for name in a.heatmaps)
        and a.warnings == b.warnings
    )


def test_contract(model: Predictor) -> None:
    image = head()
    a = model.analyze(scan_from_array(image, spacing=(0.5, 0.8), name="one.png"))
    assert tuple(a.probabilities) == CLASSES and abs(sum(a.probabilities.values()) - 1) < 1e-12
    assert a.label == max(a.probabilities, key=lambda name: a.probabilities[name]) == "glioma"
    assert a.confidence == a.probabilities["glioma"] and a.tumor and (a.tumor_probability or 0) > 0.5
    assert a.mask.dtype == bool and a.mask.shape == image.shape
    assert a.mask_probability.dtype == np.float32 and 0 <= a.mask_probability.min() <= a.mask_probability.max() <= 1
    truth = cv2.circle(np.zeros_like(image), (100, 85), 18, 1, -1) > 0
    assert 2 * (a.mask & truth).sum() / (a.mask.sum() + truth.sum()) > 0.75
    assert a.heatmap.dtype == np.float32 and a.heatmap.shape == image.shape
    assert a.heatmap.max() == pytest.approx(1) and a.heatmap.min() >= 0 and not a.heatmap[~a.head].any()
    assert a.heatmap[truth].mean() > 3 * a.heatmap[a.head & ~truth].mean()
    assert set(a.heatmaps) == set(CLASSES) and not a.heatmaps["notumor"].any()  # no NaN from an all-zero map
    assert a.tumor_fraction == pytest.approx((a.mask & a.head).sum() / a.head.sum())
    assert a.tumor_area_mm2 == pytest.approx(a.mask.sum() * 0.4)
    assert a.measures.diameter_mm == pytest.approx(36 * 0.8, rel=0.2)
    assert a.kmeans().dtype == bool and a.kmeans() is a.kmeans()
    assert a.model_id == "handmade" and len(a.revision) == 12 and a.seconds > 0
    assert json.loads(json.dumps(a.to_dict()))["label"] == "glioma"


def test_probabilities_are_softmax_of_logits_over_temperature(model: Predictor) -> None:
    a = model.analyze(scan_from_array(head()))
    z = a.logits.astype(np.float64) / 1.5
    assert np.allclose(list(a.probabilities.values()), np.exp(z) / np.exp(z).sum(), atol=1e-12)
    extreme = softmax(np.array([2e4, -2e4, 0, 1.8e4], np.float32))
    assert extreme.sum() == pytest.approx(1) and np.isfinite(extreme).all()


def test_no_tumor_and_no_spacing(model: Predictor) -> None:
    a = model.analyze(scan_from_array(head(spot=None)))
    assert a.label == "notumor" and not a.tumor and not a.mask.any() and not a.warnings
    assert a.tumor_fraction == 0 and a.tumor_area_mm2 is None and a.measures.diameter_mm is None
    assert not a.heatmap.any() and a.heat_agreement == 0


def test_label_follows_the_place_of_the_lesion(model: Predictor) -> None:
    low = model.analyze(scan_from_array(head(spot=(100, 135, 14))))
    side = model.analyze(scan_from_array(head(spot=(152, 100, 22))))
    assert low.label == "pituitary" and side.label == "meningioma"


def test_same_answer_to_the_bit_alone_in_threads_and_again(model: Predictor) -> None:
    scans = [
        scan_from_array(head(size, (size // 2, size // 3, 12 + i)), name=str(i))
        for i, size in enumerate((120, 200, 333))
    ]
    first = [model.analyze(scan) for scan in scans]
    assert all(same(a, model.analyze(scan)) for a, scan in zip(first, scans, strict=True))
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(model.analyze, scans * 20))
    assert all(same(first[i % 3], a) for i, a in enumerate(many))


def test_batch_equals_single(model: Predictor) -> None:
    scans = [scan_from_array(head(100 + 7 * i, (50 + 3 * i, 45, 9 + i)), name=str(i)) for i in range(19)]
    batch = model.analyze_batch(scans)
    assert [a.name for a in batch] == [str(i) for i in range(19)]
    for a, scan in zip(batch, scans, strict=True):
        b = model.analyze(scan)
        assert a.label == b.label and np.array_equal(a.mask, b.mask) and a.warnings == b.warnings
        assert np.allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=1e-5)
    assert model.analyze_batch([]) == []


def test_mask_at_moves_with_the_threshold(model: Predictor) -> None:
    a = model.analyze(scan_from_array(head()))
    assert np.array_equal(a.mask_at(model.mask_threshold), a.mask)
    assert a.mask_at(0.05).sum() > a.mask.sum() > a.mask_at(0.95).sum() > 0


def test_specks_are_dropped_by_their_share_of_the_square_not_of_the_picture(tmp_path: Path) -> None:
    """The same head in a much larger black frame must keep the same mask."""
    p = Predictor.load(write_handmade(tmp_path / "m", thresholds={"mask": 0.5, "min_fraction": 0.01, "abstain": 0}))
    image = head(spot=(100, 85, 16))
    framed = np.pad(image, 60)
    inside = p.analyze(scan_from_array(framed)).mask[60:-60, 60:-60]
    plain = p.analyze(scan_from_array(image)).mask
    assert plain.any() and 2 * (inside & plain).sum() / (inside.sum() + plain.sum()) > 0.95


def test_abstains_with_a_sentence(tmp_path: Path) -> None:
    p = Predictor.load(write_handmade(tmp_path / "m", temperature=50.0))
    a = p.analyze(scan_from_array(head()))
    assert a.abstained and a.confidence < 0.5
    assert a.reason.startswith("Not sure: Glioma") and "50%" in a.reason
    assert not any("disagree" in w for w in a.warnings)


def test_warns_when_the_models_disagree(tmp_path: Path, model: Predictor) -> None:
    scan = scan_from_array(head(spot=(100, 60, 11)))
    blind = Predictor.load(
        write_handmade(tmp_path / "blind", thresholds={"mask": 1.1, "min_fraction": 0, "abstain": 0, "tumor": 0.5})
    )
    a = blind.analyze(scan_from_array(head()))
    assert a.label == "glioma" and any("marks no tumor" in w for w in a.warnings)
    eager = Predictor.load(
        write_handmade(tmp_path / "eager", thresholds={"mask": 1e-9, "min_fraction": 0, "abstain": 0, "tumor": 0.5})
    )
    b = eager.analyze(scan_from_array(head(spot=None)))
    assert b.label == "notumor" and any("sees no tumor" in w for w in b.warnings)
    assert not b.mask.any() and b.tumor_fraction == 0 and b.mask_at(1e-9).any(), "only what is called a tumor is marked"
    assert not eager.outline(scan_from_array(head(spot=None))).mask.any()
    assert model.analyze(scan).warnings == [w for w in model.analyze(scan).warnings if "NaN" not in w]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.full((90, 40), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (8, 300), dtype=np.uint8),
        np.eye(9, dtype=np.uint8) * 255,
    ],
    ids=["black", "white", "sliver", "tiny"],
)
def test_strange_pictures_give_finite_answers(model: Predictor, image: np.ndarray) -> None:
    a = model.analyze(scan_from_array(image))
    assert a.mask.shape == image.shape and all(np.isfinite(a.heatmaps[name]).all() for name in CLASSES)
    assert abs(sum(a.probabilities.values()) - 1) < 1e-12 and 0 <= a.tumor_fraction <= 1
    if min(image.shape) < 64:
        assert any("very small" in w for w in a.warnings)


def test_heatmaps_survive_nan_and_heat_outside_the_head() -> None:
    image = head(spot=None)
    _, frame = preprocess(image, SIZE)
    inside = image > 0
    raw = np.zeros((16, 16, 3), np.float32)
    raw[0, 0, 0] = 5.0  # a corner of the square, where there is no head
    raw[:, :, 1] = np.nan
    raw[8, 8, 2] = np.inf
    raw[7, 7, 2] = 1e-20
    maps = Heatmaps(("a", "b", "c"), raw, frame, inside)
    for name in ("a", "b"):
        assert not maps[name].any()
    assert np.isfinite(maps["c"]).all() and maps["c"].max() == pytest.approx(1)
    assert maps["c"] is maps["c"] and len(maps) == 3


def test_mask_lies_where_the_model_saw_it(model: Predictor) -> None:
    """Geometry of preprocess -> model -> restore: a lesion in an off-centre head of an oblong picture."""
    image = np.zeros((300, 170), np.uint8)
    cv2.ellipse(image, (80, 190), (60, 75), 0, 0, 360, 100, -1)
    cv2.circle(image, (95, 170), 14, 255, -1)
    a = model.analyze(scan_from_array(image))
    y, x = np.argwhere(a.mask_at(model.mask_threshold)).mean(axis=0)
    assert abs(x - 95) < 2 and abs(y - 170) < 2


def test_guard_flags_noise_and_not_phantoms(tmp_path: Path, phantom_image: Callable[..., np.ndarray]) -> None:
    described = np.stack([guard.describe(phantom_image(c, s, 128), 0.0, SIZE)[0] for c in CLASSES for s in range(6)])
    fitted = guard_fit.fit_guard(
        (described[::2], None), (described[1::2], None), negatives=(guard_fit.synthetic(28, 0), None), rate=0.0
    )
    p = Predictor.load(write_handmade(tmp_path / "m", guard=fitted))
    noise = np.random.default_rng(1).integers(0, 256, (128, 128), dtype=np.uint8)
    a = p.analyze(scan_from_array(noise))
    assert a.not_brain_mri and a.abstained and a.guard_score > 1 and "brain MRI" in a.warnings[0]
    assert "crop it to one slice" in a.warnings[1]  # the way on for montages and pictures of a viewer
    b = p.analyze(scan_from_array(phantom_image("glioma", 1, 128)))
    assert not b.not_brain_mri and 0 < b.guard_score <= 1
    assert not any("brain MRI" in w for w in b.warnings)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preprocessing": {"name": "other-v9", "image_size": SIZE}}, "preprocessing"),
        ({"temperature": 0}, "temperature"),
        ({"classes": ["glioma", "glioma", "notumor", "pituitary"]}, "classes"),
        ({"classes": ["glioma", "notumor"]}, "answers for 4 classes"),
        ({"preprocessing": {"name": preprocessing.PREPROCESSING, "image_size": 96}}, "do not fit"),
        ({"guard": {"descriptors": ["other"]}}, "guard"),
    ],
)
def test_unusable_artifacts_are_refused_with_a_sentence(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence) as caught:
        Predictor.load(write_handmade(tmp_path / "m", classifier_onnx=handmade_classifier(), **changes))
    assert "\n" not in str(caught.value)


def test_a_model_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m")
    (folder / "classifier.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match="damaged"):
        Predictor.load(folder)
    with pytest.raises(ArtifactError, match="no ONNX model"):
        Predictor(load_artifact(folder, verify=False))


def test_a_segmenter_with_other_outputs_is_refused(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m")
    (folder / "segmenter.onnx").write_bytes((folder / "classifier.onnx").read_bytes())
    with pytest.raises(ArtifactError, match="mask"):
        Predictor(load_artifact(folder, verify=False))


def test_a_classifier_that_outlines_answers_as_two_models_do(tmp_path: Path, handmade_artifact: Path) -> None:
    both = onnx.load(str(handmade_artifact / "classifier.onnx"))
    other = onnx.load(str(handmade_artifact / "segmenter.onnx"))
    other = onnx.compose.add_prefix(other, "s_", rename_inputs=False, rename_outputs=False).graph
    for part in ("node", "initializer", "output"):
        getattr(both.graph, part).extend(getattr(other, part))
    folder = tmp_path / "both"
    config = load_artifact(handmade_artifact).config.to_json()
    with new_artifact(folder, config | {"segmenter": config["segmenter"] | {"shared": True}}) as staging:
        onnx.save(both, str(staging / "classifier.onnx"))
        (staging / "segmenter.onnx").write_bytes(b"never opened")
    one, two = Predictor.load(folder), Predictor.load(handmade_artifact)
    scan = scan_from_array(head(150, (60, 60, 15)), name="x")
    a, b = one.analyze(scan), two.analyze(scan)
    assert a.probabilities == b.probabilities and a.mask.any()
    np.testing.assert_array_equal(a.mask_probability, b.mask_probability)
    np.testing.assert_array_equal(a.mask, one.outline(scan).mask)


def test_hub_model_says_who_answers(monkeypatch: pytest.MonkeyPatch, handmade_artifact: Path) -> None:
    asked = []

    def pull(where: str, **options):
        asked.append((where, options))
        return SimpleNamespace(
            folder=handmade_artifact, repo_id="user/name", revision="a" * 40, source="hub", note=None
        )

    monkeypatch.setattr(hub, "pull", pull)
    p = Predictor.load("user/name@v1", token="t", timeout=2.0)
    assert (p.model_id, p.revision, p.notice) == ("user/name", "a" * 40, None)
    assert asked == [("user/name@v1", {"token": "t", "cache_dir": None, "timeout": 2.0, "patience": 600.0})]
    assert p.analyze(scan_from_array(head())).revision == "a" * 40


def test_hub_failure_falls_back_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, handmade_artifact: Path, tmp_path: Path
) -> None:
    def pull(where: str, **options):
        raise HubError("user/name could not be reached.")

    monkeypatch.setattr(hub, "pull", pull)
    monkeypatch.setattr(predictor, "BUNDLED", handmade_artifact)
    with pytest.raises(HubError, match="could not be reached"):
        Predictor.load("user/name")
    p = Predictor.load("user/name", fallback=True)
    assert p.notice and "handmade" in p.notice and "could not be reached" in p.notice
    monkeypatch.setattr(predictor, "BUNDLED", tmp_path / "none")
    with pytest.raises(HubError, match="could not be reached"):
        Predictor.load("user/name", fallback=True)


def test_a_named_folder_never_falls_back(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no model folder"):
        Predictor.load(tmp_path / "absent", fallback=True)


def test_revision_changes_with_the_decision_rule(tmp_path: Path, model: Predictor, handmade_artifact: Path) -> None:
    assert Predictor.load(handmade_artifact).revision == model.revision
    assert Predictor.load(write_handmade(tmp_path / "m", temperature=2.0)).revision != model.revision


def test_serving_imports_no_tensorflow(handmade_artifact: Path) -> None:
    code = (
        "import sys, numpy as np; from brain_mri.inference.predictor import Predictor; "
        "from brain_mri.imaging.read import scan_from_array; "
        f"Predictor.load({str(handmade_artifact)!r}).analyze(scan_from_array(np.eye(64, dtype=np.uint8) * 255));"
        "assert not {'tensorflow', 'keras', 'gradio', 'huggingface_hub', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, brain_mri; assert not {'numpy', 'cv2', 'onnxruntime', 'pydantic'} & set(sys.modules);"
        "assert brain_mri.Predictor.load and brain_mri.read_scan; from brain_mri import Predictor, read_scan"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_phantom_files_from_disk(model: Predictor, phantom_png: Callable[..., Path]) -> None:
    a = model.analyze(read_scan(phantom_png("meningioma", 3)))
    assert a.mask.shape == (256, 256) and a.name.endswith(".png")
    with pytest.raises(ScanError):
        read_scan(phantom_png("meningioma", 3).with_name("absent.png"))


def test_bundled_model_on_phantoms(bundled: Path, phantom_image: Callable[..., np.ndarray]) -> None:
    """The shipped model: phantoms pass the guard, noise does not, and a batch says what single calls say."""
    p = Predictor.load(bundled)
    scans = [scan_from_array(phantom_image(label, 5)) for label in CLASSES]
    single = [p.analyze(scan) for scan in scans]
    batch = p.analyze_batch(scans)
    for a, b in zip(single, batch, strict=True):
        assert a.label == b.label and np.array_equal(a.mask, b.mask)
        assert np.allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=1e-5)
    if p.config.guard:
        assert not any(a.not_brain_mri for a in single)
        noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
        assert p.analyze(scan_from_array(noise)).not_brain_mri


def test_bundled_model_takes_a_brain_without_its_skull_for_one(
    bundled: Path, phantom_image: Callable[..., np.ndarray]
) -> None:
    p = Predictor.load(bundled)
    for number, label in enumerate(CLASSES):
        whole = phantom_image(label, 24 + number, 224)
        brain = strip_skull(whole)
        assert brain is not None
        found = p.analyze(scan_from_array(brain))
        assert found.skull_stripped and not found.not_brain_mri and p.outline(scan_from_array(brain)).skull_stripped
        assert found.abstained and "skull and scalp" in found.reason and found.to_dict()["skull_stripped"]
        assert not p.analyze(scan_from_array(whole)).skull_stripped


def test_an_outline_says_what_the_analysis_says(tmp_path: Path, phantom_image: Callable[..., np.ndarray]) -> None:
    described = np.stack([guard.describe(phantom_image(c, s, 128), 0.0, SIZE)[0] for c in CLASSES for s in range(6)])
    fitted = guard_fit.fit_guard(
        (described[::2], None), (described[1::2], None), negatives=(guard_fit.synthetic(28, 0), None), rate=0.0
    )
    p = Predictor.load(write_handmade(tmp_path / "m", guard=fitted))
    scans = [scan_from_array(phantom_image(label, 5)) for label in CLASSES] + [scan_from_array(head())]
    for scan in scans:
        a, o = p.analyze(scan), p.outline(scan)
        assert (o.probabilities, o.not_brain_mri, o.skull_stripped) == (
            a.probabilities,
            a.not_brain_mri,
            a.skull_stripped,
        )
        assert np.array_equal(o.mask, a.mask & (not a.not_brain_mri))
    noise = p.outline(scan_from_array(np.random.default_rng(1).integers(0, 256, (128, 128), dtype=np.uint8)))
    assert noise.not_brain_mri and not noise.mask.any()


def test_onnx_runtime_reports_nothing(handmade_artifact: Path, tmp_path: Path) -> None:
    """Its telemetry writes a session file to the temporary folder as soon as it is imported."""
    folders = {name: tmp_path / name for name in ("predictor", "inference")}
    for name, code in (
        (
            "predictor",
            f"from brain_mri.inference.predictor import Predictor; Predictor.load({str(handmade_artifact)!r})",
        ),
        ("inference", "from brain_mri.inference import runner; from brain_mri.evaluation import sanity_check"),
    ):
        folders[name].mkdir()
        settings = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | {
            "TMPDIR": str(folders[name])
        }
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=settings, check=True, timeout=120)
    assert not any(path for folder in folders.values() for path in folder.iterdir())
