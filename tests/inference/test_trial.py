"""Models that came from elsewhere: opened and run for the first time by a process of its own, with limits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.imaging.read import scan_from_array
from brain_mri.inference import onnx_model, predictor, runner, trial
from brain_mri.inference.live_model import LiveModel
from brain_mri.inference.predictor import Predictor
from tests.helpers.handmade import SIZE, model_of, write_handmade
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`

CLASSES = 4


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_known", {})


def graph(
    *,
    logits: Callable[[str], list[Any]] | None = None,
    heat: int = SIZE // 4,
    mask: int = SIZE,
    kind: str = "FLOAT",
    add: float = 0.0,
    more: dict[str, np.ndarray] | None = None,
) -> bytes:
    """A classifier whose outputs have the right forms but for what is asked; all are `add` and the mask is 0.

    logits: the nodes that make them of their sum with `add`, whose name they are given.
    """
    from onnx import TensorProto, helper

    node = helper.make_node

    def constant(name: str, *shape: int, value: float = 0.0) -> Any:
        fill = helper.make_tensor("fill", TensorProto.FLOAT, [1], [value])
        return [
            node("Concat", ["number", f"{name}_rest"], [f"{name}_shape"], axis=0),
            node("ConstantOfShape", [f"{name}_shape"], [name], value=fill),
        ], {f"{name}_rest": np.array(shape, np.int64)}

    parts = [
        constant("plain", CLASSES, value=add), constant("heat", heat, heat, CLASSES), constant("features", 3),
        constant("mask", mask, mask, 1),
    ]  # fmt: skip
    nodes = [node("Shape", ["image"], ["number"], start=0, end=1), *(one for part in parts for one in part[0])]
    nodes += logits("plain") if logits else [node("Identity", ["plain"], ["logits"])]
    nodes += [node("Cast", ["heat"], ["heatmaps"], to=getattr(TensorProto, kind))]
    constants = {name: value for part in parts for name, value in part[1].items()} | (more or {})
    outputs = {"logits": ["N", CLASSES], "features": ["N", 3], "mask": ["N", mask, mask, 1]}
    return model_of(nodes, constants, outputs | {"heatmaps": (kind, ["N", heat, heat, CLASSES])})


def endless(while_brighter_than: float) -> bytes:
    """It loops as long as the picture is brighter than this, which it stays."""
    from onnx import TensorProto, helper

    node, value = helper.make_node, helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go_on"], ["going"]), node("Identity", ["held"], ["kept"])],
        "body",
        [
            value("step", TensorProto.INT64, []),
            value("go_on", TensorProto.BOOL, []),
            value("held", TensorProto.FLOAT, None),
        ],
        [value("going", TensorProto.BOOL, []), value("kept", TensorProto.FLOAT, None)],
    )

    def logits(plain: str) -> list[Any]:
        return [
            node("ReduceMax", ["image"], ["brightest"], keepdims=0),
            node("Greater", ["brightest", "limit"], ["begin"]),
            node("Loop", ["", "begin", plain], ["logits"], body=body),
        ]

    return graph(logits=logits, more={"limit": np.array(while_brighter_than, np.float32)})


def load(folder: Path, classifier: bytes) -> Predictor:
    return Predictor.load(write_handmade(folder, classifier_onnx=classifier))


def test_an_ordinary_model_passes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    def run(*args: Any, **options: Any) -> Any:
        begun.append(options)
        return real(*args, **options)

    real = subprocess.run
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("BRAIN_MRI_AUTH", "ada:secret")
    monkeypatch.setattr(trial.subprocess, "run", run)
    found = [load(tmp_path / str(i), graph()) for i in range(2)]
    assert found[0].analyze(scan_from_array(np.eye(SIZE, dtype=np.uint8) * 255)).confidence == 0.25
    assert len(begun) == 1, "once for each model, wherever it lies"
    assert not {"HF_TOKEN", "BRAIN_MRI_AUTH"} & set(begun[0]["env"])
    load(tmp_path / "other", graph(add=1.0))
    assert len(begun) == 2


def test_the_bundled_model_and_what_was_just_exported_go_without(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("a trial")

    monkeypatch.setattr(predictor, "try_out", never)
    assert Predictor.load() and Predictor.load(bundled) and Predictor.load("weights")
    assert Predictor(load_artifact(write_handmade(tmp_path / "m")))


@pytest.mark.parametrize("when", ["at once", "when it is opened"])
def test_an_endless_loop_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The second one depends on nothing but constants, and ONNX Runtime works those out while it opens the file."""
    from onnx import load_from_string

    content = endless(-1)
    if when != "at once":
        model = load_from_string(content)
        next(node for node in model.graph.node if node.op_type == "ReduceMax").input[0] = "zero"
        from onnx import numpy_helper

        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1,), np.float32), "zero"))
        for node in [node for node in model.graph.node if node.output[0] == "number"]:
            node.CopyFrom(type(node)(op_type="Identity", input=["one"], output=["number"]))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
        content = model.SerializeToString()
    artifact = load_artifact(write_handmade(tmp_path / "m", classifier_onnx=content))
    with pytest.raises(ArtifactError, match=r"need more than 4 s or 4\.0 GB") as caught:
        trial.try_out(artifact, seconds=4)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match=r"need more than 4 s"):  # not tried again
        trial.try_out(artifact, seconds=0)


def test_a_page_whose_model_never_answers_starts_with_the_bundled_one(
    loopback: LoopbackHub, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trial.try_out
    monkeypatch.setattr(predictor, "try_out", lambda artifact: real(artifact, seconds=4))
    loopback.publish(write_handmade(tmp_path / "m", classifier_onnx=endless(-1)), "me/model")
    live = LiveModel("me/model")
    assert "The bundled model" in str(live.current.notice) and "need more than 4 s" in str(live.current.notice)


def test_a_loop_that_waits_for_a_bright_picture_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever passed the trial: no picture keeps a place of the page for ever."""
    monkeypatch.setattr(onnx_model, "LONGEST", 1.0)
    model = Predictor(load_artifact(write_handmade(tmp_path / "m", classifier_onnx=endless(200))))
    with pytest.raises(ArtifactError, match=r"no answer within 1 seconds\."):
        model.analyze(scan_from_array(np.eye(SIZE, dtype=np.uint8) * 255))
    assert model.analyze(scan_from_array(np.zeros((SIZE, SIZE), np.uint8))).confidence == 0.25


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({"heat": 100_000}, "need more than"),
        ({"heat": 10_000}, "the output heatmaps has another form|need more than"),
        ({"heat": SIZE + 1}, "the output heatmaps has another form"),
        ({"kind": "DOUBLE"}, "the output heatmaps has another form: float64"),
        ({"mask": SIZE // 2}, "the output mask has another form"),
        ({"add": float("nan")}, "the output logits holds what is no number"),
        ({"add": float("inf")}, "the output logits holds what is no number"),
    ],
    ids=str,
)
def test_outputs_that_cannot_be_used_are_refused(tmp_path: Path, made: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence) as caught:
        load(tmp_path / "m", graph(**made))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_the_same_outputs_are_refused_at_every_pass(tmp_path: Path) -> None:
    """Also in a program that makes its Predictor of a folder that it trusts."""
    folder = write_handmade(tmp_path / "m", classifier_onnx=graph(add=float("nan")))
    with pytest.raises(ArtifactError, match="holds what is no number"):
        Predictor(load_artifact(folder))
    good = {"logits": (2, 4), "heatmaps": (2, 8, 8, 4), "features": (2, 3), "mask": (2, 32, 32, 1)}
    found = {name: np.zeros(shape, np.float32) for name, shape in good.items()}
    runner.check(found, (2, 32, 32, 1))
    for name, value in (("mask", 1.5), ("mask", -0.5), ("heatmaps", np.inf), ("features", np.nan)):
        spoiled = found | {name: np.full(good[name], value, np.float32)}
        with pytest.raises(ArtifactError, match=f"the output {name} holds"):
            runner.check(spoiled, (2, 32, 32, 1))


def test_a_model_that_fails_on_some_pictures_is_a_sentence(tmp_path: Path) -> None:
    """The trial cannot show it every picture."""
    from onnx import helper

    node = helper.make_node

    def logits(plain: str) -> list[Any]:
        return [
            node("ReduceMax", ["image"], ["brightest"], keepdims=0),
            node("Equal", ["brightest", "chosen"], ["on"]),
            node("Where", ["on", "impossible", "right"], ["shape"]),
            node("Reshape", [plain, "shape"], ["logits"]),
        ]

    more: dict[str, np.ndarray] = {
        "chosen": np.array(7, np.float32), "impossible": np.array([7, 11], np.int64),
        "right": np.array([-1, CLASSES], np.int64),
    }  # fmt: skip
    model = load(tmp_path / "m", graph(logits=logits, more=more))
    with pytest.raises(ArtifactError, match=r"The model fails on this picture \(.+\)\.$") as caught:
        model._networks(np.full((1, SIZE, SIZE), 7, np.uint8))
    assert "\n" not in str(caught.value)
    assert model._networks(np.full((1, SIZE, SIZE), 8, np.uint8)).logits.shape == (1, CLASSES)


def test_python_files_of_a_model_are_never_run(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m", classifier_onnx=graph())
    for name in ("numpy", "brain_mri", "resource", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    Predictor.load(folder)
    assert not (tmp_path / "ran").exists()
