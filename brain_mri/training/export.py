"""Keras models -> the two ONNX files of the artifact, checked against Keras before anything is kept.

classifier.onnx   image float32 (N, S, S, 1) 0..255 -> logits (N, C), heatmaps (N, h, w, C), features (N, F)
segmenter.onnx    image                             -> mask (N, S, S, 1), tumor probability 0..1

A classifier with a mask branch that is served has the mask among its outputs, too: one pass then answers everything.
Several networks may answer together in one file, by the mean of what they say; their weights are then rounded to half
precision (`rounded`) and stored so, which keeps the file small, and computed with in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from brain_mri.training.gradcam import with_heatmaps

OPSET = 17
TOLERANCE = 1e-4


class ExportError(RuntimeError):
    """The exported graph does not answer as the Keras model does."""


def in_float32(build, model: keras.Model) -> keras.Model:
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
    """model: a float32 classifier of model_def.py. Returns the largest difference to Keras. Raises ExportError.

    mirrored: average everything with the answer for the left-right mirrored slice. outlines: with the mask, too.
    partners: networks that answer together with model; all but the features, which stay its own, are averaged. Then
    mirrored means that every second network sees the mirrored slice instead: as good, measured, for half the time.
    """

    def answers(network: keras.Model) -> keras.Model:
        found = with_heatmaps(network)
        if outlines:
            mask = keras.ops.sigmoid(network.output["mask"])
            found = keras.Model(network.input, {**found.output, "mask": mask})
        return found

    names = ("logits", "heatmaps", "features", *(["mask"] if outlines else []))
    together = _together([answers(network) for network in (model, *partners)], mirrored, own="features")
    return _export(together, names, path, half=bool(partners))


def export_segmenter(
    model: keras.Model, path: Path, *, mirrored: bool = False, partners: Sequence[keras.Model] = ()
) -> float:
    """model: any float32 model with a "mask" output (logits). mirrored, partners: as in export_classifier."""

    def outliner(network: keras.Model) -> keras.Model:
        image = keras.Input(network.input.shape[1:], name="image")
        return keras.Model(image, {"mask": keras.ops.sigmoid(network(image)["mask"])})

    together = _together([outliner(network) for network in (model, *partners)], mirrored)
    return _export(together, ("mask",), path, half=bool(partners))


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


def _export(model: keras.Model, names: tuple[str, ...], path: Path, *, half: bool = False) -> float:
    import onnx
    import tensorflow as tf
    import tf2onnx

    shape = (None, *model.input.shape[1:])

    def forward(image):
        outputs = model(image, training=False)
        return [tf.identity(outputs[name], name=name) for name in names]

    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    function = tf.function(forward, input_signature=signature)
    graph, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    for old, new in zip([output.name for output in graph.graph.output], names, strict=True):
        _rename(graph.graph, old, new)
    # tf2onnx leaves constants that a layer keeps as eager tensors (EfficientNet's normalisation) as inputs
    captured = [value for value, _ in function.get_concrete_function().graph.captures if value.dtype != tf.resource]
    image, *loose = list(graph.graph.input)
    for value, constant in zip(loose, captured, strict=True):
        graph.graph.initializer.append(onnx.numpy_helper.from_array(constant.numpy(), value.name))
        graph.graph.input.remove(value)
    _rename(graph.graph, image.name, "image")
    if half:
        _store_half(graph.graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))
    return _check(model, names, path)


def _store_half(graph) -> None:
    """Kernels become float16 where that loses nothing, with a cast to float32 that ONNX Runtime does when it loads."""
    import onnx

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


def _rename(graph, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _check(model: keras.Model, names: tuple[str, ...], path: Path) -> float:
    from brain_mri.inference.onnx_model import ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input.shape[1:])).astype(np.float32)
    images[1, :, : images.shape[2] // 2] = 0
    wanted = model(images, training=False)
    worst = 0.0
    for name, value in zip(names, session.run(list(names), {"image": images}), strict=True):
        reference = np.asarray(wanted[name])
        scale = max(1e-2, float(np.abs(reference).max()))
        worst = max(worst, float(np.abs(value - reference).max()) / scale)
    if not worst <= TOLERANCE:
        raise ExportError(f"{path.name} differs from the Keras model by {worst:.1e}, more than {TOLERANCE:.0e}.")
    return worst
