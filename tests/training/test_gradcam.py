"""Heatmaps, held against automatic differentiation, and the ONNX graph that gives them against Keras."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_def
from brain_mri.training.export import export_classifier
from brain_mri.training.gradcam import with_heatmaps

OFFLINE = {"vgg16": {"weights": None}, "efficientnet": {"weights": None}}
SIZE = 64


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.float32)


def build(name: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    return model_def.build(name, SIZE, **OFFLINE.get(name, {}))


def tape_gradcam(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Selvaraju et al. 2017, eq. 1 and 2, by automatic differentiation; (N, h, w, C)."""
    maps = keras.Model(model.input, model.get_layer("cam").output)(images, training=False)
    head, heat = model.get_layer("head"), []
    for index in range(model_def.CLASS_COUNT):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            logit = head(maps, training=False)[:, index]
        weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2), keepdims=True)
        heat.append(tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)))
    return tf.stack(heat, axis=-1).numpy()


@pytest.mark.parametrize("name", model_def.CLASSIFIERS)
def test_heatmaps_equal_the_gradient_tape_and_onnx_equals_keras(name, images, tmp_path):
    model = build(name)
    outputs = with_heatmaps(model)(images, training=False)
    reference = tape_gradcam(model, images)
    assert outputs["heatmaps"].shape == reference.shape
    np.testing.assert_allclose(outputs["heatmaps"], reference, atol=1e-5 * max(reference.max(), 1e-6), rtol=1e-3)
    np.testing.assert_allclose(outputs["logits"], model(images, training=False)["logits"], atol=1e-5)

    export_classifier(model, tmp_path / "classifier.onnx")  # raises when it differs from Keras
    import onnxruntime as ort

    session = ort.InferenceSession(str(tmp_path / "classifier.onnx"), providers=["CPUExecutionProvider"])
    for name_, value in zip(
        ("logits", "heatmaps", "features"),
        session.run(["logits", "heatmaps", "features"], {"image": images}),
        strict=True,
    ):
        np.testing.assert_allclose(value, outputs[name_], atol=1e-4)


@pytest.mark.parametrize("name", ["guided", "gap_cnn", "flatten_cnn"])
@pytest.mark.parametrize("value", [0.0, 255.0])
def test_constant_images_give_no_nan(name, value):
    outputs = with_heatmaps(build(name))(np.full((1, SIZE, SIZE, 1), value, np.float32), training=False)
    for output in outputs.values():
        assert np.isfinite(np.asarray(output)).all()
