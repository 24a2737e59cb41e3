"""How such demos are usually served, for bench.py to be measured against. Not part of the program.

Two Keras models are loaded, each answers through `model.predict`, Grad-CAM is a GradientTape over the classifier, and
everything is drawn over the scan. The networks are those of the artifact with untrained weights: the cost is the same.

    python -m dev.bench_usual save FOLDER ARTIFACT     # write classifier.keras and segmenter.keras
    python -m dev.bench_usual answer FOLDER            # one path a line in, the milliseconds of its answer out
    python -m dev.bench_usual page FOLDER PORT         # the Gradio page
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import cv2
import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import model_def  # registers the layers that `load_model` meets
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES


def save(folder: Path, artifact: Path) -> None:
    """Both networks as an app would find them on disk."""
    config = load_artifact(artifact, verify=False).config
    size = config.preprocessing.image_size
    made = config.classifier
    classifier = model_def.build(made.architecture, size, **made.arguments)
    image = classifier.input
    classifier_only = keras.Model(image, keras.ops.softmax(classifier.output["logits"]), name="classifier")
    segmenter = classifier if "mask" in classifier.output else model_def.build("resunet", size)
    classifier_only.save(folder / "classifier.keras")
    keras.Model(segmenter.input, keras.ops.sigmoid(segmenter.output["mask"]), name="segmenter").save(
        folder / "segmenter.keras"
    )


class Usual:
    """Both models in memory."""

    def __init__(self, folder: Path):
        self.classifier = keras.models.load_model(folder / "classifier.keras")
        self.segmenter = keras.models.load_model(folder / "segmenter.keras")
        last = self.classifier.get_layer("cam").output
        self.watched = keras.Model(self.classifier.input, [last, self.classifier.output])
        self.size = self.classifier.input.shape[1]

    def answer(self, path: str) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """(probabilities, mask overlay, heatmap overlay), the pictures uint8 (H, W, 3) at the scan's size."""
        scan = np.array(Image.open(path).convert("L"))
        height, width = scan.shape
        batch = cv2.resize(scan, (self.size, self.size)).astype(np.float32)[None, ..., None]
        chances = self.classifier.predict(batch, verbose=0)[0]
        mask = self.segmenter.predict(batch, verbose=0)[0, ..., 0]
        with tf.GradientTape() as tape:
            features, outputs = self.watched(batch)
            score = outputs[:, int(chances.argmax())]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2))
        heat = tf.nn.relu(tf.einsum("nhwc,nc->nhw", features, weights))[0].numpy()
        heat = cv2.resize(heat / max(float(heat.max()), 1e-9), (width, height))
        gray = cv2.cvtColor(scan, cv2.COLOR_GRAY2RGB)
        colors = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
        marked = gray.copy()
        marked[cv2.resize(mask, (width, height)) > 0.5] = (255, 0, 0)
        overlay = cv2.addWeighted(gray, 0.6, marked, 0.4, 0)
        return dict(zip(CLASSES, chances.tolist(), strict=True)), overlay, cv2.addWeighted(gray, 0.6, colors, 0.4, 0)


def answer_lines(usual: Usual) -> None:
    for line in sys.stdin:
        started = time.perf_counter()
        usual.answer(line.strip())
        print(1000 * (time.perf_counter() - started), flush=True)


def page(usual: Usual, port: int) -> None:
    import gradio as gr

    outputs = [gr.Label(), gr.Image(), gr.Image()]
    gr.Interface(usual.answer, gr.Image(type="filepath"), outputs, api_name="analyze").launch(server_port=port)


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "save":
        save(Path(where), Path(rest[0]))
    elif what == "answer":
        answer_lines(Usual(Path(where)))
    else:
        page(Usual(Path(where)), int(rest[0]))
