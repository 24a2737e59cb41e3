"""The check with random weights: how alike heatmaps are, and that a model's weights are randomised as a model's."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from brain_mri.data import folders
from brain_mri.evaluation import sanity_check


def test_identical_maps_are_similar_and_unrelated_ones_are_not():
    rng = np.random.default_rng(0)
    a, b = (cv2.GaussianBlur(rng.random((64, 64)).astype(np.float32), (0, 0), 3) for _ in range(2))
    assert sanity_check.similarity(a, 5 * a) == pytest.approx((1, 1), abs=1e-3)
    assert abs(sanity_check.similarity(a, b)[1]) < 0.4
    assert sanity_check.similarity(a, np.zeros((8, 8)))[1] == 0


def test_randomised_layers_lie_equally_deep_and_copies_of_a_weight_stay_equal():
    """The head's weights are used twice (logits and Grad-CAM); a random model must use the same random numbers."""
    rng = np.random.default_rng(0)
    head = rng.normal(size=(6, 5)).astype(np.float32)
    weights: dict[str, np.ndarray] = {
        "early": rng.normal(size=(6, 6)),
        "side": rng.normal(size=(6, 5)),
        "first": head,
        "turned": head.T / 9,
    }
    stored = [numpy_helper.from_array(np.ascontiguousarray(w, np.float32), name) for name, w in weights.items()]
    stored[1] = numpy_helper.from_array(weights["side"].astype(np.float16), "side")  # as in a file of two networks
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["side"], ["side32"], to=onnx.TensorProto.FLOAT),
        node("MatMul", ["image", "early"], ["a"]),
        node("MatMul", ["a", "first"], ["b"]),
        node("MatMul", ["a", "side32"], ["c"]),
        node("Add", ["b", "c"], ["logits"]),
        node("MatMul", ["logits", "turned"], ["heatmaps"]),
    ]
    ends = [value(name, onnx.TensorProto.FLOAT, [None, None]) for name in ("image", "logits", "heatmaps")]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], stored))
    assert sanity_check.weight_depths(model) == {"turned": 1, "first": 2, "side": 2, "early": 3}
    changed = sanity_check.randomised(model, 0.0, seed=1)
    found = {i.name: numpy_helper.to_array(i) for i in changed.graph.initializer}
    np.testing.assert_allclose(found["first"], 9 * found["turned"].T, rtol=1e-5)
    assert not np.allclose(found["first"], head)
    np.testing.assert_array_equal(found["early"], weights["early"].astype(np.float32))  # untouched at share 0
    again = sanity_check.randomised(model, 0.0, seed=1)
    assert again.SerializeToString() == changed.SerializeToString()
    half = {i.name: numpy_helper.to_array(i) for i in sanity_check.randomised(model, 0.5, seed=1).graph.initializer}
    assert half["side"].dtype == np.float16 and not np.array_equal(half["side"], stored[1])
    np.testing.assert_array_equal(half["early"], weights["early"].astype(np.float32))
    everything = sanity_check.randomised(model, 1.0, seed=1).graph.initializer
    assert not any(np.array_equal(numpy_helper.to_array(new), weights[new.name]) for new in everything)


def test_sanity_check_reports_every_stage(handmade_artifact, dataset):
    rows = np.flatnonzero(dataset.table["source"] == folders.MASK_PAIRS)[::3]
    found: Any = sanity_check.sanity_check(handmade_artifact, dataset.images[rows], dataset.masks[rows] > 127)
    assert [row.randomised for row in found.stages] == [name for name, _ in sanity_check.STAGES]
    assert found.count == len(rows)
    assert found.trained.energy_inside > 0
