"""Architectures, each held against an independent reference."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

import model_def
from brain_mri.training.export import in_float32

SIZE = 64


def build(name: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    return model_def.build(name, SIZE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.float32)


@pytest.mark.parametrize("name", model_def.SEGMENTERS)
def test_segmenters_keep_the_size(name):
    model = model_def.build(name, SIZE)
    assert model.output["mask"].shape == (None, SIZE, SIZE, 1)


def test_default_models_are_small():
    assert model_def.build("guided", 160).count_params() < 2_500_000
    assert model_def.build("resunet", 160).count_params() < 2_500_000


def test_outputs_stay_float32_under_mixed_precision(images):
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = build("guided")
        assert all(output.dtype == "float32" for output in model.output.values())
        twin_of = model
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    twin = in_float32(lambda: build("guided"), twin_of)
    assert all(a.dtype == "float32" for a in (twin.output["logits"], twin.get_layer("cam").output))
    np.testing.assert_array_equal(twin.get_weights()[0], twin_of.get_weights()[0])


def test_gate_pools_the_lesion_only():
    seen = np.zeros((1, 4, 4, 2), np.float32)
    seen[0, 1, 1] = (3.0, 5.0)  # the lesion
    seen[0, 3, 3] = (100.0, 100.0)  # elsewhere
    mask = np.full((1, 8, 8, 1), -20.0, np.float32)
    mask[0, 2:4, 2:4] = 20.0
    pooled = np.asarray(model_def.LesionGate(floor=0.0)([seen, mask])).mean((1, 2))
    np.testing.assert_allclose(pooled[:, :2], [[3.0, 5.0]], rtol=1e-3)
    evidence = [1 / 16, 1, 1, 0]  # share, peak, root, absence
    np.testing.assert_allclose(pooled[0, 2:] / model_def.EVIDENCE, evidence, rtol=1e-3, atol=1e-6)
    empty = np.asarray(model_def.LesionGate()([seen, np.full_like(mask, -20.0)])).mean((1, 2))
    assert np.abs(empty[:, :-1]).max() < 5e-3
    np.testing.assert_allclose(empty[:, -1], model_def.EVIDENCE, rtol=1e-3)


def test_gate_tells_a_faint_lesion_from_none():
    seen = np.ones((2, 8, 8, 1), np.float32)
    mask = np.full((2, 32, 32, 1), -9.0, np.float32)
    mask[1, 8:16, 8:16] = -1.0  # nowhere above one half
    evidence = np.asarray(model_def.LesionGate()([seen, mask])).mean((1, 2))[:, 1:]
    assert (evidence[1, :3] > 5 * evidence[0, :3]).all()


@pytest.mark.parametrize(("name", "size"), [("no_such_net", 64), ("gap_cnn", 100), ("gap_cnn", 1024)])
def test_wrong_names_and_sizes_say_what_is_allowed(name, size):
    with pytest.raises(ValueError, match=r"choose one of|multiple of 16"):
        model_def.build(name, size)


def test_a_pretrained_backbone_that_cannot_be_fetched_is_trained_from_scratch(capsys, monkeypatch):
    def offline(**kwargs):
        if kwargs["weights"]:
            raise OSError("no network")
        return keras.Sequential([keras.Input(kwargs["input_shape"])])

    offline.__name__ = "VGG16"
    backbone = model_def.fetch_pretrained(offline, (32, 32, 3), "imagenet")
    assert backbone.pretrained is False
    assert "from scratch" in capsys.readouterr().out
