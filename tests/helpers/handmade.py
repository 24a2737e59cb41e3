"""A tiny working artifact made by hand: ONNX graphs with exact answers, no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from brain_mri import classes, files
from brain_mri.artifact import folder as artifact
from brain_mri.imaging import preprocessing

SIZE = 64  # image size of the handmade artifact
CELL = 4  # its heatmaps have SIZE / CELL rows and columns


def _zone_masks() -> np.ndarray:
    """float32 (3, h, h): where each tumor of the handmade classifier may lie, in thirds that people would name.

    pituitary: low in the middle; meningioma: a ring along the skull; glioma: the rest of the inside.
    """
    h = SIZE // CELL
    y, x = np.mgrid[0:h, 0:h].astype(np.float32) / (h - 1) - 0.5
    low_middle = ((np.abs(x) < 0.14) & (y > 0.05) & (y < 0.40)).astype(np.float32)
    radius = np.hypot(x, y)
    ring = ((radius > 0.30) & (radius <= 0.5)).astype(np.float32) * (1 - low_middle)
    inside = (radius <= 0.30).astype(np.float32) * (1 - low_middle)
    return np.stack([inside, ring, low_middle])


def model_of(nodes: list[Any], constants: dict[str, np.ndarray], outputs: dict[str, Any]) -> bytes:
    """An ONNX file. outputs: {name: shape, or (name of the kind of number, shape)}."""
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", SIZE, SIZE, 1])],
        [
            helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)
            for name, (kind, shape) in ((n, s if isinstance(s, tuple) else ("FLOAT", s)) for n, s in outputs.items())
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9  # old enough for every ONNX Runtime that the requirements allow
    checker.check_model(model)
    return model.SerializeToString()


def handmade_classifier(names: Sequence[str] = classes.CLASSES) -> bytes:
    """Brightness above 0.55, pooled over the zone of each tumor class: a linear head with an exact Grad-CAM.

    The excess brightness of a zone raises the logit of its class, and any excess lowers that of `notumor`. Of other
    classes than our four every zone raises several, a little differently each.
    """
    from onnx import helper

    node = helper.make_node
    h = SIZE // CELL
    zones = _zone_masks()
    weights = np.zeros((3, 4), np.float32)  # zone -> logit of glioma, meningioma, notumor, pituitary
    weights[0, 0], weights[1, 1], weights[2, 3] = 3.0, 3.0, 6.0
    weights[:, 2] = -2.0
    bias = np.array([-0.5, -0.5, 2.0, -0.5], np.float32)
    if tuple(names) != classes.CLASSES:
        free = np.array([name == classes.NO_TUMOR for name in names])
        weights = np.random.default_rng(0).uniform(1, 6, (3, len(names))).astype(np.float32)
        weights[:, free], bias = -2.0, np.where(free, 2.0, -0.5).astype(np.float32)
    nodes = [
        node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Div", ["nchw", "white"], ["scaled"]),
        node("AveragePool", ["scaled"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        node("Sub", ["cells", "bright"], ["over"]),
        node("Relu", ["over"], ["excess"]),
        node("Mul", ["excess", "zones"], ["maps"]),  # (N, 3, h, h)
        node("ReduceSum", ["maps", "space"], ["features"], keepdims=0),
        node("MatMul", ["features", "weights"], ["linear"]),
        node("Add", ["linear", "bias"], ["logits"]),
        node("Transpose", ["maps"], ["maps_last"], perm=[0, 2, 3, 1]),
        node("MatMul", ["maps_last", "weights"], ["cam"]),
        node("Relu", ["cam"], ["heatmaps"]),
    ]
    constants = {
        "white": np.array(255, np.float32),
        "bright": np.array(0.55, np.float32),
        "zones": zones[None],
        "space": np.array([2, 3], np.int64),
        "weights": weights,
        "bias": bias,
    }
    count = len(names)
    outputs: dict[str, list[Any]] = {"logits": ["N", count], "heatmaps": ["N", h, h, count], "features": ["N", 3]}
    return model_of(nodes, constants, outputs)


def handmade_segmenter() -> bytes:
    """sigmoid(40 (smoothed brightness - 0.53)): bright lesions are found, and so is a bright skull."""
    from onnx import helper

    node = helper.make_node
    nodes = [
        node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Div", ["nchw", "white"], ["scaled"]),
        node("AveragePool", ["scaled"], ["smooth"], kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]),
        node("Sub", ["smooth", "bright"], ["over"]),
        node("Mul", ["over", "gain"], ["logit"]),
        node("Sigmoid", ["logit"], ["probability"]),
        node("Transpose", ["probability"], ["mask"], perm=[0, 2, 3, 1]),
    ]
    constants = {
        "white": np.array(255, np.float32),
        "bright": np.array(0.53, np.float32),
        "gain": np.array(40, np.float32),
    }
    return model_of(nodes, constants, {"mask": ["N", SIZE, SIZE, 1]})


def write_handmade(
    folder: Path, *, classifier_onnx: bytes | None = None, segmenter_onnx: bytes | None = None, **changes: Any
) -> Path:
    """Write the handmade artifact to `folder`, with other graphs if given; `changes` replace entries of its config."""
    config: dict[str, Any] = {
        "name": "handmade",
        "created": "2026-01-01T00:00:00+00:00",
        "classes": list(classes.CLASSES),
        "preprocessing": {"name": preprocessing.PREPROCESSING, "image_size": SIZE},
        "classifier": {"architecture": "handmade", "arguments": {}, "parameters": 16},
        "segmenter": {"architecture": "handmade", "arguments": {}, "parameters": 3, "trained_on": "masks"},
        "temperature": 1.5,
        "thresholds": {"mask": 0.5, "min_fraction": 0.002, "abstain": 0.5, "tumor": 0.5},
        "training": {"seed": 0, "epochs": 0},
        "data": {},
        "versions": {},
        "metrics": {},
    } | changes
    with artifact.new_artifact(folder, config) as staging:
        (staging / "classifier.onnx").write_bytes(classifier_onnx or handmade_classifier(config["classes"]))
        (staging / "segmenter.onnx").write_bytes(segmenter_onnx or handmade_segmenter())
        files.write_json(staging / "metrics.json", {"test": {}})
        (staging / "README.md").write_text("# handmade\n", encoding="utf-8")
    return folder


def picture_of(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """The pixels of a file that must be readable."""
    pixels = cv2.imread(str(path), flags)
    assert pixels is not None, path
    return pixels
