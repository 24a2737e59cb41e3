"""An artifact's Keras networks -> LiteRT files (.tflite), which phones and small boards run.

classifier.tflite, segmenter.tflite   inputs and outputs as the ONNX file of that name has them, one slice at a time
...-float16.tflite                    weights in float16: half the bytes
...-int8.tflite                       convolutions in 8-bit integers: under half the bytes, and much less work

Eight bits are too coarse for what only the class is read from: the gate divides by the mean of a mask that is mostly
zero, and with everything in int8 some probabilities were off by 0.9. So those layers, and all arithmetic but that of
convolutions, keep float32 (docs/scale.md has the figures). Before anything is written the networks, built from their
weight files, must answer as the ONNX files do.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import model_def
from brain_mri.artifact.config import CLASSIFIER, SEGMENTER, ArtifactError, Network
from brain_mri.artifact.folder import BUNDLED, Artifact, load_artifact
from brain_mri.files import sha256
from brain_mri.inference.lite_model import FLOAT16, INT8, LiteModel, lite_name
from brain_mri.training.export import ExportError, answering, difference, outlining
from brain_mri.training.run import numbered

EXACT = "exact_"  # how the name of a layer begins that stays in float32
EXACT_OPERATIONS = (
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "DIV",
    "FULLY_CONNECTED",
    "LOGISTIC",
    "MEAN",
    "MUL",
    "RESIZE_BILINEAR",
    "SOFTMAX",
    "SQRT",
    "STRIDED_SLICE",
    "SUB",
    "SUM",
)


def export_litert(artifact: Artifact, folder: Path, kinds: tuple[str, ...], slices: np.ndarray | None) -> list[Path]:
    """Write the networks of an artifact into folder, once for each of kinds; returns the files.

    slices: uint8 (N, S, S), preprocessed; INT8 takes the ranges of its numbers from them. Raises ArtifactError when the
    weights are missing or are not those of the ONNX files, LiteModelError without the package that runs LiteRT.
    """
    written = []
    for onnx, model in networks_of(artifact).items():
        with tempfile.TemporaryDirectory(prefix="brain-mri-litert-") as saved:
            # one slice: phones are quicker with shapes that they know
            image = tf.TensorSpec((1, *model.input.shape[1:]), tf.float32, name="image")
            model.export(saved, format="tf_saved_model", verbose=False, input_signature=[image])
            for kind in kinds:
                path = folder / lite_name(onnx, kind)
                path.write_bytes(_with_integers(saved, slices) if kind == INT8 else _converted(saved, kind == FLOAT16))
                written.append(path)
    return written


def _converted(saved: str, half: bool = False) -> bytes:
    """The .tflite file of a SavedModel, as the export of Keras 3.15 makes it; that of 3.13 leaves the shape open."""
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


# --- the networks, from their weight files ---------------------------------------------------------------------


def networks_of(artifact: Artifact) -> dict[str, keras.Model]:
    """ONNX file of the artifact -> the network that answers as it does. Raises ArtifactError."""
    config = artifact.config
    members = [f"classifier{numbered(number)}.weights.h5" for number in range(1, config.classifier.members + 1)]
    found = {CLASSIFIER: _rebuilt(artifact, CLASSIFIER, config.classifier, members, outlines=config.segmenter.shared)}
    if config.segmenter.is_network and not config.segmenter.shared:
        lent = "segmenter.weights.h5" not in config.files  # the bundled model's mask
        source = load_artifact(BUNDLED) if lent else artifact
        weights = "classifier.weights.h5" if lent else "segmenter.weights.h5"
        found[SEGMENTER] = _rebuilt(source, SEGMENTER, config.segmenter, [weights], like=artifact)
    return found


def _rebuilt(
    source: Artifact,
    onnx: str,
    network: Network,
    weights: list[str],
    *,
    outlines: bool = False,
    like: Artifact | None = None,
) -> keras.Model:
    """The network as it was exported: whether it looks at the mirrored slice, too, only its ONNX file tells."""
    files, size, folder = source.config.files, source.image_size, (like or source).folder
    for name in weights:
        path = source.folder / name
        if name not in files or not path.is_file() or sha256(path) != files[name].sha256:
            raise ArtifactError(f"{source.folder} holds no whole {name}, from which a LiteRT file is made.")
    pretrained: list[dict[str, Any]] = [{}]
    if "weights" in inspect.signature(model_def.CLASSIFIERS.get(network.architecture, model_def.unet)).parameters:
        pretrained = [{"weights": None}, {"weights": "imagenet"}]  # not of equal layers, see export.twin_of
    for choice, mirrored in product(pretrained, (False, True)):
        try:
            models = [model_def.build(network.architecture, size, **network.arguments | choice) for _ in weights]
            for model, name in zip(models, weights, strict=True):
                model.load_weights(source.folder / name)
            if onnx == SEGMENTER:
                found = outlining(models[0], mirrored=mirrored)
            else:
                found = answering(models, mirrored=mirrored, outlines=outlines)
            difference(found, folder / onnx)
        except (ExportError, ValueError) as error:
            reason = error
            continue
        if onnx == CLASSIFIER:
            for model in models:
                _mark(model)
        return found
    raise ArtifactError(f"The weight files of {source.folder} do not give the network of {onnx} ({reason})")


def _mark(model: keras.Model) -> None:
    """Name those layers EXACT that only the class is read from: what the mask does not need, or the last features."""
    outlines = "mask" in model.output
    seen = model.output["mask"] if outlines else model.get_layer("cam").output
    body = {id(layer) for layer in keras.Model(model.input, seen).layers}
    for layer in model.layers:
        if id(layer) not in body:
            layer.name = f"{EXACT}{layer.name}"


# --- integers ----------------------------------------------------------------------------------------------------


def _with_integers(saved: str, slices: np.ndarray | None) -> bytes:
    """The .tflite file of a SavedModel."""
    assert slices is not None, "whoever asks for INT8 brings slices"

    def fed() -> Iterator[dict[str, np.ndarray]]:
        for image in slices:
            yield {"image": image[None, ..., None].astype(np.float32)}

    def checked() -> Iterator[list[np.ndarray]]:  # the debugger asks for one, though nothing of it is debugged
        yield [slices[:1, ..., None].astype(np.float32)]

    named = Path(saved, "named.tflite")  # operations have the names in it that the converter knows
    named.write_bytes(_converted(saved))
    exact = [name for name in LiteModel(named).tensors() if f"/{EXACT}" in name or "/gradcam" in name]
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = fed
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tf.lite.Interpreter, which the debugger uses, will move
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter,
            debug_dataset=checked,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(
                denylisted_ops=list(EXACT_OPERATIONS), denylisted_nodes=exact
            ),
        )
        return bytes(debugger.get_nondebug_quantized_model())
