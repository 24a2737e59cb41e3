"""What the exported ONNX files answer, beside the Keras models that they are made of."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

import model_def
from brain_mri.artifact.config import Stage
from brain_mri.training.export import export_classifier, export_segmenter, rounded, twin_of
from brain_mri.training.run import Trained

SIZE = 64


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.float32)


def test_export_finds_a_graph_that_differs(tmp_path, monkeypatch):
    from brain_mri.training import export

    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(export.ExportError, match="differs from the Keras model"):
        export_classifier(model_def.build("flatten_cnn", SIZE), tmp_path / "c.onnx")


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


@pytest.mark.slow
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
    one, both = (OnnxModel(tmp_path / f"{name}.onnx", 1, names)(images) for name in ("one", "both"))
    two = OnnxModel(tmp_path / "two.onnx", 1, names)(images[:, :, ::-1])  # every second network sees the mirror image
    two = {name: value[:, :, ::-1] if value.ndim == 4 else value for name, value in two.items()}
    for name, value in both.items():
        wanted = one[name] if name == "features" else (one[name] + two[name]) / 2
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(value, wanted, atol=1e-4 * scale)
        assert np.abs(one[name] - two[name]).max() > 0.01 * scale, f"{name} would not tell them apart"
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("one", "both")]
    assert sizes[1] - sizes[0] < 3 * networks[1].count_params() + 200_000, "two bytes a weight, and the graph"


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


@pytest.mark.parametrize("online", [True, False])
def test_a_pretrained_backbone_is_served_as_it_was_trained(images, monkeypatch, online):
    """With ImageNet weights Keras' EfficientNet has a layer more than without."""

    def fetch(constructor, shape, weights):
        image = keras.Input(shape)
        x = keras.layers.Rescaling(0.01)(image) if weights and online else image
        backbone = keras.Model(image, keras.layers.Conv2D(4, 3)(x))
        backbone.pretrained = bool(weights and online)
        return backbone

    monkeypatch.setattr(model_def, "fetch_pretrained", fetch)
    model = model_def.build("efficientnet", SIZE)
    twin = twin_of(Trained("efficientnet", {}, model, Stage()))
    np.testing.assert_allclose(twin(images)["logits"], model(images)["logits"], rtol=1e-5)
