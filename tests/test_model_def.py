"""Architectures, losses and Grad-CAM, each held against an independent reference."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_def
from brain_mri.training.export import export_classifier, export_segmenter, in_float32, rounded
from brain_mri.training.fit import bce_dice
from brain_mri.training.gradcam import with_heatmaps

SIZE = 64
OFFLINE = {"vgg16": {"weights": None}, "efficientnet": {"weights": None}}


def build(name: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    return model_def.build(name, SIZE, **OFFLINE.get(name, {}))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.float32)


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


def test_export_finds_a_graph_that_differs(tmp_path, monkeypatch):
    from brain_mri.training import export

    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(export.ExportError, match="differs from the Keras model"):
        export_classifier(build("flatten_cnn"), tmp_path / "c.onnx")


def test_segmenter_export_averages_the_mirrored_slice(images, tmp_path):
    import onnxruntime as ort

    model = model_def.build("resunet", SIZE, width=6)
    export_segmenter(model, tmp_path / "s.onnx", mirrored=True)
    session = ort.InferenceSession(str(tmp_path / "s.onnx"), providers=["CPUExecutionProvider"])
    (mask,) = session.run(["mask"], {"image": images})
    plain = keras.ops.sigmoid(model(images)["mask"])
    mirrored = keras.ops.sigmoid(model(images[:, :, ::-1])["mask"])[:, :, ::-1]
    np.testing.assert_allclose(mask, (plain + mirrored) / 2, atol=1e-5)
    (flipped,) = session.run(["mask"], {"image": images[:, :, ::-1]})
    np.testing.assert_allclose(flipped[:, :, ::-1], mask, atol=1e-5)


@pytest.mark.parametrize("encoder", model_def.ENCODERS)
def test_several_networks_answer_with_their_mean_in_one_small_file(images, tmp_path, encoder):
    from brain_mri.inference.onnx_model import OnnxModel

    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    networks = [model_def.build("guided", SIZE, width=8, encoder=encoder) for _ in range(2)]
    for network in networks:  # not as built: no batch normalisation does anything, and the heads agree
        drawn = [w + rng.uniform(0, 0.1, w.shape) if w.ndim == 1 else w for w in network.get_weights()]
        network.set_weights(drawn)
        head = network.get_layer("head")
        head.set_weights([rng.normal(size=w.shape) for w in head.get_weights()])
        plain = network(images)["logits"]
        np.testing.assert_allclose(rounded(network)(images)["logits"], plain, rtol=0.02)
    names = ("logits", "heatmaps", "features", "mask")
    for name, own, others in (("one", 0, []), ("two", 1, []), ("both", 0, networks[1:])):
        model, mirrored = networks[own], name == "both"
        export_classifier(model, tmp_path / f"{name}.onnx", mirrored=mirrored, outlines=True, partners=others)
        export_segmenter(model, tmp_path / f"{name}-s.onnx", mirrored=mirrored, partners=others)
    one, both = (OnnxModel(tmp_path / f"{name}.onnx", 1, names)(images) for name in ("one", "both"))
    two = OnnxModel(tmp_path / "two.onnx", 1, names)(images[:, :, ::-1])  # every second network sees the mirror image
    two = {name: value[:, :, ::-1] if value.ndim == 4 else value for name, value in two.items()}
    for name, value in both.items():
        wanted = one[name] if name == "features" else (one[name] + two[name]) / 2
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(value, wanted, atol=1e-4 * scale)
        assert np.abs(one[name] - two[name]).max() > 0.01 * scale, f"{name} would not tell them apart"
    outlined = OnnxModel(tmp_path / "both-s.onnx", 1, ("mask",))(images)["mask"]
    np.testing.assert_allclose(outlined, both["mask"], atol=1e-3)
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("one", "both")]
    assert sizes[1] < 1.35 * sizes[0]  # twice the weights, each half as long


def test_a_served_mask_branch_gives_the_mask_in_the_same_pass(images, tmp_path):
    from brain_mri.inference.onnx_model import OnnxModel

    model = model_def.build("guided", SIZE, width=6)
    export_classifier(model, tmp_path / "both.onnx", mirrored=True, outlines=True)
    export_classifier(model, tmp_path / "c.onnx", mirrored=True)
    export_segmenter(model, tmp_path / "s.onnx", mirrored=True)
    names = ("logits", "heatmaps", "features")
    both, alone = (OnnxModel(tmp_path / f"{name}.onnx", 1, names, ("mask",)) for name in ("both", "c"))
    assert both.names == [*names, "mask"] and alone.names == list(names)
    parts = alone(images) | OnnxModel(tmp_path / "s.onnx", 1, ("mask",))(images)
    for name, value in both(images).items():
        np.testing.assert_allclose(value, parts[name], atol=1e-5)


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


def test_bce_dice_against_numpy():
    rng = np.random.default_rng(0)
    truth = (rng.random((2, 8, 8, 1)) > 0.7).astype(np.float32)
    truth[1] = 0  # no tumor: only a weak term on the false area
    logits = rng.normal(size=truth.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-logits))
    bce = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean((1, 2, 3))
    dice = (2 * (truth * p).sum((1, 2, 3)) + 1) / (truth.sum((1, 2, 3)) + p.sum((1, 2, 3)) + 1)
    area = p[1].mean()
    region = [1 - dice[0], 0.3 * area / (area + 0.01)]
    np.testing.assert_allclose(bce_dice(truth, logits), bce + region, rtol=1e-4)


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
