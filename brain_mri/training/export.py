"""Keras models -> the ONNX files of the artifact, checked against Keras before anything is kept.

classifier.onnx   image float32 (N, S, S, 1) 0..255 -> logits (N, C), heatmaps (N, h, w, C), features (N, F)
segmenter.onnx    image                             -> mask (N, S, S, 1), tumor probability 0..1

A classifier with a mask branch that is served has the mask among its outputs, too: one pass then answers everything,
and there is no second file. Several networks may answer together in one file, by the mean of what they say. The weights
of such a classifier are rounded to half precision (`rounded`) and stored so, which keeps the file small, and computed
with in single precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx.utils
import tensorflow as tf

import model_def
from brain_mri.artifact.config import CLASSIFIER, SEGMENTER, Network, Segmenter
from brain_mri.artifact.folder import BUNDLED, load_artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.data.splits import rotated
from brain_mri.inference.onnx_model import ort
from brain_mri.training.calibrate import Part, ask
from brain_mri.training.config import TrainConfig
from brain_mri.training.fit import save_weights
from brain_mri.training.gradcam import with_heatmaps
from brain_mri.training.run import Networks, Trained, numbered

OPSET = 17
TOLERANCE = 1e-4


class ExportError(RuntimeError):
    """The exported graph does not answer as the Keras model does."""


@dataclass(frozen=True)
class Exported:
    """What config.json says about the networks that are served."""

    classifier: Network
    segmenter: Segmenter


def export_networks(networks: Networks, folder: Path, *, mirrored: bool = True) -> Exported:
    """ONNX and Keras weights of all networks that answer into folder. mirrored: see answering."""
    shared, answering = networks.outlining == "shared", networks.answering
    several = len(answering) > 1
    first, *partners = twins = [twin_of(one, half=shared) for one in answering]
    export_classifier(first, folder / CLASSIFIER, mirrored=mirrored, outlines=shared, partners=partners)
    for number, twin in enumerate(twins, 1):
        save_weights(twin, folder / f"classifier{numbered(number)}.weights.h5")
    classifier = answering[0].network
    if several:
        together = {"parameters": classifier.parameters * len(answering), "members": len(answering)}
        classifier = classifier.model_copy(update=together)
    if shared:  # its weights are in classifier.weights.h5
        return Exported(classifier, segmenter_of(classifier, networks.taught_by, shared=True))
    if networks.segmenter is not None:
        outliner = twin_of(networks.segmenter)
        export_segmenter(outliner, folder / SEGMENTER, mirrored=mirrored)
        save_weights(outliner, folder / "segmenter.weights.h5")
        return Exported(classifier, segmenter_of(networks.segmenter.network, networks.taught_by))
    if networks.outlining == "bundled":
        bundled = load_artifact(BUNDLED)
        # its mask is one of the classifier's outputs
        onnx.utils.extract_model(str(bundled.folder / CLASSIFIER), str(folder / SEGMENTER), ["image"], ["mask"])
        lent = {"shared": False, "trained_on": networks.taught_by}
        return Exported(classifier, bundled.config.segmenter.model_copy(update=lent))
    kmeans = Network(architecture="kmeans", arguments={}, parameters=0)
    return Exported(classifier, segmenter_of(kmeans, networks.taught_by))


def segmenter_of(network: Network, taught_by: str, **more: Any) -> Segmenter:
    return Segmenter(**network.to_json(), **more, trained_on=taught_by)


def validation_answers(config: TrainConfig, networks: Networks, folder: Path, dataset: Dataset) -> list[Part]:
    """What each calibrating network says by itself about its own validation rows.

    folder: of the exported networks; one network alone is asked there, several are exported one by one.
    """
    seed = config.seed if config.fit_options().erased and NO_TUMOR in dataset.classes else None
    if len(networks.classifiers) == 1:
        return [ask(folder, dataset, dataset.rows("validation"), seed)]
    parts = []
    own = rotated(dataset.table, len(networks.calibrating), config.seed)
    for network, split in zip(networks.calibrating, own, strict=True):
        with tempfile.TemporaryDirectory(prefix="brain-mri-member-") as alone:
            twin = twin_of(network, half=True)
            export_classifier(twin, Path(alone, CLASSIFIER), mirrored=not config.one_look, outlines=True)
            parts.append(ask(Path(alone), dataset, np.flatnonzero(split == "validation"), seed))
    return parts


def twin_of(trained: Trained, half: bool = False) -> keras.Model:
    """As it is served. half: with weights that float16 can hold."""
    backbone = next((layer for layer in trained.model.layers if hasattr(layer, "pretrained")), None)
    # with ImageNet weights, which lie on disk by now, EfficientNet scales its input in another way than without
    fetched = {"weights": "imagenet" if backbone.pretrained else None} if backbone else {}
    size = trained.model.input.shape[1]
    twin = in_float32(lambda: model_def.build(trained.name, size, **trained.arguments, **fetched), trained.model)
    return rounded(twin) if half else twin


def in_float32(build: Callable[[], keras.Model], model: keras.Model) -> keras.Model:
    """The same network under the float32 policy: what was trained in mixed precision is served in full precision."""
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32")
    try:
        twin = build()
        twin.set_weights(model.get_weights())
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    return twin


def rounded(model: keras.Model) -> keras.Model:
    """The model itself, its kernels rounded to what float16 can hold.

    A batch normalisation is first multiplied into the convolution before it, as the export would do it anyway; done
    after the rounding it would leave numbers that float16 cannot hold.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = layer.input._keras_history.operation
            if isinstance(before, keras.layers.Conv2D | keras.layers.DepthwiseConv2D) and not before.use_bias:
                gamma, beta, mean, variance = layer.get_weights()
                scale = gamma / np.sqrt(variance + layer.epsilon)
                each = isinstance(before, keras.layers.DepthwiseConv2D)  # its channels lie on the last axis but one
                before.set_weights([before.get_weights()[0] * (scale[:, None] if each else scale)])
                ones = np.ones_like(scale)
                layer.set_weights([ones, beta - mean * scale, 0 * ones, ones - layer.epsilon])
    values = (w.astype(np.float16).astype(np.float32) if w.ndim >= 2 else w for w in model.get_weights())
    model.set_weights(list(values))
    return model


def export_classifier(
    model: keras.Model,
    path: Path,
    *,
    mirrored: bool = False,
    outlines: bool = False,
    partners: Sequence[keras.Model] = (),
) -> float:
    """model, partners: float32 classifiers of model_def.py; all as for `answering`.

    Returns the largest difference to Keras. Raises ExportError.
    """
    return _export(answering([model, *partners], mirrored=mirrored, outlines=outlines), path)


def export_segmenter(model: keras.Model, path: Path, *, mirrored: bool = False) -> float:
    """As `export_classifier`, of `outlining`."""
    return _export(outlining(model, mirrored=mirrored), path)


def answering(models: Sequence[keras.Model], *, mirrored: bool = False, outlines: bool = False) -> keras.Model:
    """image -> logits, heatmaps, features, and mask, with the weights of the classifiers `models`.

    mirrored: average everything with the answer for the left-right mirrored slice. outlines: with the mask, too.
    Several networks answer together: all but the features, which are the first one's, are averaged. Then mirrored means
    that every second network sees the mirrored slice instead: as good, measured, for half the time.
    """

    def answers(network: keras.Model) -> keras.Model:
        found = with_heatmaps(network)
        if outlines:
            mask = keras.ops.sigmoid(network.output["mask"])
            found = keras.Model(network.input, {**found.output, "mask": mask})
        return found

    return _together([answers(network) for network in models], mirrored, own="features")


def outlining(model: keras.Model, *, mirrored: bool = False) -> keras.Model:
    """image -> mask.  model: with a "mask" output (logits). mirrored: as in `answering`."""
    image = keras.Input(model.input.shape[1:], name="image")
    outliner = keras.Model(image, {"mask": keras.ops.sigmoid(model(image)["mask"])})
    return _together([outliner], mirrored)


def _together(models: Sequence[keras.Model], mirrored: bool, own: str = "") -> keras.Model:
    """The mean of what the models answer; of the output `own` only what the first one says."""
    if len(models) == 1:
        return _mirrored(models[0]) if mirrored else models[0]
    image = keras.Input(models[0].input.shape[1:], name="image")
    said = []
    for number, model in enumerate(models):
        turned = mirrored and number % 2 == 1
        found = model(image[:, :, ::-1] if turned else image)
        said.append({k: v[:, :, ::-1] if turned and len(v.shape) == 4 else v for k, v in found.items()})
    return keras.Model(
        image, {k: v if k == own else keras.layers.average([s[k] for s in said]) for k, v in said[0].items()}
    )


def _mirrored(model: keras.Model) -> keras.Model:
    """The mean of the model's answers for a slice and its mirror image; both run as one batch."""
    image = keras.Input(model.input.shape[1:], name="image")
    outputs = model(keras.ops.concatenate([image, image[:, :, ::-1]], axis=0))
    means = {}
    for name, both in outputs.items():
        pair = keras.ops.reshape(both, (2, -1, *both.shape[1:]))
        own, other = pair[0], pair[1]
        means[name] = (own + (other[:, :, ::-1] if len(both.shape) == 4 else other)) / 2
    return keras.Model(image, means)


def _export(model: keras.Model, path: Path) -> float:
    """Outputs are named as the model's."""
    image = tf.TensorSpec((None, *model.input.shape[1:]), tf.float32, name="image")
    model.export(path, format="onnx", verbose=False, opset_version=OPSET, input_signature=[image])
    graph = onnx.load(path)
    _store_half(graph.graph)
    onnx.save(graph, path)
    onnx.checker.check_model(path)
    return difference(model, path)


def _store_half(graph: onnx.GraphProto) -> None:
    """Kernels become float16 where that loses nothing, with a cast to float32 that ONNX Runtime does when it loads."""
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        half = values.astype(np.float16)
        if np.allclose(half.astype(np.float32), values, rtol=1e-5, atol=0):
            name, stored = weight.name, f"{weight.name}_half"
            weight.CopyFrom(onnx.numpy_helper.from_array(half, stored))
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def difference(model: keras.Model, path: Path) -> float:
    """The largest one between the answers of a network and of its ONNX file. Raises ExportError above TOLERANCE."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input.shape[1:])).astype(np.float32)
    images[1, :, : images.shape[2] // 2] = 0
    wanted, worst = model(images, training=False), 0.0
    for reference, value in zip(wanted.values(), session.run(list(wanted), {"image": images}), strict=True):
        reference = np.asarray(reference)
        scale = max(1e-2, float(np.abs(reference).max()))
        worst = max(worst, float(np.abs(value - reference).max()) / scale)
    if not worst <= TOLERANCE:
        raise ExportError(f"{path.name} differs from the Keras model by {worst:.1e}, more than {TOLERANCE:.0e}.")
    return worst
