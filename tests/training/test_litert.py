"""From a run's weights to the files that a phone gets, and the app of docs/scale.md that reads them."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import model_def
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import Artifact, load_artifact, new_artifact
from brain_mri.artifact.parts import part_files
from brain_mri.cli import export, hub
from brain_mri.evaluation.app_vectors import drawn
from brain_mri.evaluation.on_device import ONNX, Slices, compare, table
from brain_mri.imaging.preprocessing import PREPROCESSING, preprocess
from brain_mri.inference.lite_model import FLOAT16, FLOAT32, INT8, KINDS, LiteModel, lite_name
from brain_mri.inference.runner import run_model
from brain_mri.training.export import export_classifier, export_segmenter, rounded
from brain_mri.training.fit import save_weights
from brain_mri.training.litert import EXACT, networks_of
from brain_mri.training.phone import put_litert
from segmentation import postprocess
from tests.helpers.handmade import picture_of
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]
SIZE, WIDTH = 64, 6
needs_litert = pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is None, reason="no ai-edge-litert")
CLASSES = ["glioma", "meningioma", "notumor", "pituitary"]


def network(name: str, seed: int, **arguments: Any) -> keras.Model:
    """Not as built: with biases, and a head that tells pictures apart."""
    keras.utils.set_random_seed(seed)
    draw = np.random.default_rng(seed)
    model = model_def.build(name, SIZE, **arguments)
    model.set_weights([w + draw.uniform(0, 0.2, w.shape) if w.ndim == 1 else w for w in model.get_weights()])
    if "mask" in model.output:  # a mask that is there in places
        layer = model.get_layer("mask_logits")
        layer.set_weights([draw.normal(0, 1.5, w.shape) for w in layer.get_weights()])
    return rounded(model)


def write_run(
    folder: Path,
    classifiers: list[keras.Model],
    arguments: dict[str, Any],
    segmenter: keras.Model | None = None,
    *,
    mirrored: bool = False,
) -> Artifact:
    """As train.py leaves it, without the training."""
    shared = "mask" in classifiers[0].output
    classifier = {
        "architecture": classifiers[0].name,
        "arguments": arguments,
        "parameters": 1,
        "members": len(classifiers),
    }
    alone = {"architecture": "resunet", "arguments": {"width": WIDTH}, "parameters": 1, "trained_on": "masks"}
    config: dict[str, Any] = {
        "name": "drawn",
        "created": "2026-01-01T00:00:00+00:00",
        "classes": CLASSES,
        "preprocessing": {"name": PREPROCESSING, "image_size": SIZE},
        "classifier": classifier,
        "segmenter": {**classifier, "shared": True, "trained_on": "masks"} if shared else alone,
        "temperature": 1.4,
        "thresholds": {"mask": 0.5, "min_fraction": 0.002, "abstain": 0.5, "tumor": 0.5},
    }
    if shared:
        config |= {
            "outlined": {"weights": [0.5, 0.4, 0.3], "bias": 0.2},
            "elsewhere": 4.0,
            "sequence": {
                "sequences": ["T1", "T1C+"],
                "weights": [],
                "bias": [0.0, 0.0],
                "limits": [0.6, 0.6],
                "kinds_on": ["T1C+"],
            },
        }
    with new_artifact(folder, config) as files:
        first, *partners = classifiers
        export_classifier(first, files / "classifier.onnx", mirrored=mirrored, outlines=shared, partners=partners)
        for number, model in enumerate(classifiers, 1):
            save_weights(model, files / f"classifier{'' if number == 1 else f'-{number}'}.weights.h5")
        if segmenter is not None:
            export_segmenter(segmenter, files / "segmenter.onnx", mirrored=mirrored)
            save_weights(segmenter, files / "segmenter.weights.h5")
        (files / "README.md").write_text("# Card\n")
        if shared:  # one that tells the drawn pictures apart
            squares = np.stack([preprocess(image, SIZE)[0] for _, image in drawn()])
            features = run_model(files, squares).features.astype(float)
            best = features.std(axis=0).argmax()
            row = np.zeros(features.shape[1])
            row[best] = 3 / features[:, best].std()
            rule = config["sequence"]
            rule["weights"], rule["bias"] = (
                [(-row).tolist(), row.tolist()],
                [0.0, -2 * row[best] * np.mean(features[:, best])],
            )
    return load_artifact(folder)


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    arguments = {"width": WIDTH, "encoder": "resnet"}
    return write_run(tmp_path_factory.mktemp("runs") / "guided", [network("guided", 3, **arguments)], arguments)


@pytest.fixture(scope="module")
def separate(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A classifier and a segmenter that look at the mirrored slice, too."""
    classifier = network("gap_cnn", 4, filters=[4, 8])
    segmenter = network("resunet", 5, width=WIDTH)
    folder = tmp_path_factory.mktemp("runs") / "separate"
    return write_run(folder, [classifier], {"filters": [4, 8]}, segmenter, mirrored=True)


@pytest.fixture(scope="module")
def phone(guided: Artifact, dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that an app gets of it."""
    out = tmp_path_factory.mktemp("phone")
    found = {one.kind: one for one in put_litert(guided, dataset, KINDS, out=out)}
    assert list(found) == [ONNX, *KINDS]
    exact, half, whole = found[FLOAT32], found[FLOAT16], found[INT8]
    assert exact.same_class == exact.same_sure == 1 and exact.probability < 1e-4 and exact.mask_dice_low > 0.999
    assert half.same_class > 0.9 and half.probability < 0.05 and half.mask_dice > 0.98
    assert whole.probability < 0.3 and whole.mask_dice > 0.8
    assert found[ONNX].right == exact.right and found[ONNX].outline_dice == pytest.approx(exact.outline_dice, abs=1e-3)
    return out


def app() -> Any:
    """`answer` of docs/scale.md."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def answer(" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["answer"]


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_app_that_reads_vectors_json_answers_as_the_program(phone: Path, guided: Artifact, kind: str) -> None:
    read = json.loads((phone / "vectors.json").read_text())
    rules, model = read["after the network"], LiteModel(phone / lite_name("classifier.onnx", kind))
    near = {FLOAT32: 1e-4, FLOAT16: 0.05, INT8: 0.3}[kind]
    assert read["files"][lite_name("classifier.onnx", kind)]["outputs in order"] == model.order()
    assert sorted(model.order()) == ["features", "heatmaps", "logits", "mask"]
    seen = set()
    for vector in read["vectors"]:
        picture, square, marked = (picture_of(phone / vector[name]) for name in ("picture", "square", "marked"))
        own, frame = preprocess(picture, read["image_size"])
        assert (
            np.array_equal(own, square)
            and {"top": frame.top, "left": frame.left, "side": frame.side} == vector["frame"]
        )
        said = model(square[None, ..., None].astype(np.float32))
        mask = said["mask"][0, ..., 0]
        p, name, sure = app()(rules, said["logits"][0].astype(float), said["features"][0], mask)
        wanted = np.array([vector["probabilities"][one] for one in rules["classes"]])
        np.testing.assert_allclose(p, wanted, atol=near)
        if kind == FLOAT32:
            assert (name, sure) == (vector["answer"], vector["sure"])
            cut = rules["thresholds"]
            own_mask = postprocess(mask, cut["mask"], cut["min_fraction"]) & (name != rules["no_tumor_class"])
            assert int(own_mask.sum()) == vector["marked_pixels_of_square"] == np.count_nonzero(marked)
            np.testing.assert_allclose(said["logits"][0], vector["logits"], atol=1e-3)
            np.testing.assert_allclose(said["features"][0], vector["features"], atol=1e-4)
        seen.add(vector["away"])
    assert seen == {True, False}, "the vectors would not tell whether an app knows of other sequences"


@needs_litert
@pytest.mark.slow
def test_only_what_finds_the_mask_is_in_integers(phone: Path) -> None:
    kinds = LiteModel(phone / "classifier-int8.tflite").tensors()
    assert sum(kind == np.int8 for kind in kinds.values()) > 20
    kept = {name: kind for name, kind in kinds.items() if f"/{EXACT}" in name or "/gradcam" in name}
    assert any("convolution" in name for name in kept) and any("gradcam" in name for name in kept)
    assert set(kept.values()) <= {np.dtype(np.float32), np.dtype(np.int32)}, kept  # int32: shapes
    sizes = {kind: (phone / lite_name("classifier.onnx", kind)).stat().st_size for kind in KINDS}
    assert sizes[INT8] < sizes[FLOAT32] and sizes[FLOAT16] < 0.7 * sizes[FLOAT32]


@needs_litert
@pytest.mark.slow
def test_it_becomes_part_of_the_run_and_is_pushed(
    separate: Artifact, loopback: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two networks, each with its file; no data: drawn slices, and no int8."""
    folder = separate.folder
    assert export.main([str(folder), "--litert", "--kinds", INT8]) == 1
    assert "give --data" in capsys.readouterr().err and not (folder / "litert").exists()
    assert hub.main(["push", str(folder), "me/model", "--litert"]) == 0
    said = capsys.readouterr().out
    assert "int8 is left out" in said and "| float32 |" in said and "| int8 |" not in said
    names = part_files(load_artifact(folder), "litert")
    networks = {
        f"litert/{lite_name(onnx, kind)}" for onnx in ("classifier.onnx", "segmenter.onnx") for kind in KINDS[:2]
    }
    assert networks | {"litert/README.md", "litert/vectors.json"} <= set(names)
    card = (folder / "README.md").read_text()
    assert card.startswith("# Card\n") and "32 drawn slices" in card and card.count("| float16 |") == 1
    assert networks <= set(loopback.repo("me/model").files)
    assert hub.main(["push", str(folder), "me/model", "--litert"]) == 0
    said = capsys.readouterr().out
    assert "already held" in said and "Converting" not in said and "are pushed as they are" in said
    slices = Slices(
        np.stack([preprocess(np.full((80, 80), 90, np.uint8), SIZE)[0]] * 2), np.array([0, -1]),
        np.zeros((2, SIZE, SIZE), bool), np.array([False, False]),
    )  # fmt: skip
    onnx, exact = compare(separate, folder / "litert", [FLOAT32], slices)
    assert exact.same_class == 1 and exact.probability < 1e-3 and exact.bytes > onnx.bytes / 2
    assert "nan" not in table([onnx, exact]) and exact.to_json()["outline_dice"] is None


@needs_litert
@pytest.mark.slow
def test_a_model_whose_mask_k_means_finds(separate: Artifact, tmp_path: Path) -> None:
    """An app is told so; the folder holds what vectors.json speaks of, and nothing of a model before."""
    config = separate.config.to_json()
    config["segmenter"] = {"architecture": "kmeans", "arguments": {}, "parameters": 0, "trained_on": "nothing"}
    with new_artifact(tmp_path / "run", type(separate.config)(**config | {"files": {}})) as files:
        for name in ("classifier.onnx", "classifier.weights.h5"):
            (files / name).write_bytes((separate.folder / name).read_bytes())
    out = tmp_path / "phone"
    out.mkdir()
    for name in ("segmenter-int8.tflite", "classifier-float16.tflite", "mine.tflite"):
        (out / name).write_bytes(b"of another model")
    put_litert(load_artifact(tmp_path / "run"), None, (FLOAT32,), out=out)
    read = json.loads((out / "vectors.json").read_text())
    assert list(read["outputs"]) == ["logits", "heatmaps", "features"]
    assert read["not in the network"].startswith("The mask is not in the files either")
    assert sorted(path.name for path in out.glob("*.tflite")) == ["classifier.tflite", "mine.tflite"]
    with pytest.raises(ValueError, match="cannot be a folder for the files"):
        put_litert(load_artifact(tmp_path / "run"), None, (FLOAT32,), out=out / "mine.tflite")


def test_networks_are_built_as_they_were_exported(separate: Artifact, tmp_path: Path) -> None:
    """Their own weights, looking at the mirrored slice or not, together or alone; anything else is refused."""
    assert list(networks_of(separate)) == ["classifier.onnx", "segmenter.onnx"]
    arguments = {"width": WIDTH, "encoder": "resnet"}
    both = write_run(tmp_path / "both", [network("guided", n, **arguments) for n in (7, 8)], arguments, mirrored=True)
    found = networks_of(both)["classifier.onnx"]
    assert sorted(found.output) == ["features", "heatmaps", "logits", "mask"]
    weights = (both.folder / "classifier.weights.h5").read_bytes()
    (both.folder / "classifier.weights.h5").write_bytes(weights[:-1])
    with pytest.raises(ArtifactError, match=r"no whole classifier\.weights\.h5"):
        networks_of(both)
    with new_artifact(tmp_path / "other", both.config) as files:  # the weights of other networks
        for name in ("classifier.onnx", "classifier-2.weights.h5"):
            (files / name).write_bytes((both.folder / name).read_bytes())
        (files / "classifier.weights.h5").write_bytes((files / "classifier-2.weights.h5").read_bytes())
    with pytest.raises(ArtifactError, match=r"do not give the network of classifier\.onnx"):
        networks_of(load_artifact(tmp_path / "other"))


def test_what_cannot_be_exported_is_a_sentence(
    handmade_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        assert export.main([str(word) for word in words]) in (1, 2)
        text = capsys.readouterr().err
        assert text.startswith("export: ") and text.count("\n") == 1, text
        return text

    assert "say into which format" in said(str(handmade_artifact))
    assert "There is no model folder" in said(str(tmp_path / "none"), "--litert")
    assert "at least 1" in said(str(handmade_artifact), "--litert", "--slices", "0")
    with pytest.raises(ArtifactError, match=r"holds no whole classifier\.weights\.h5, from which"):
        networks_of(load_artifact(handmade_artifact))
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    out = tmp_path / "out"
    assert said(str(handmade_artifact), "--litert", "--out", str(out)).endswith("pip install ai-edge-litert.\n")
    assert not out.exists()


def test_nothing_of_it_is_imported_without_the_option() -> None:
    code = (
        "import sys; import app, train, brain_mri.cli.hub, brain_mri.cli.export, brain_mri.inference.predictor\n"
        "assert not [name for name in sys.modules if name.startswith('ai_edge')]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
