"""The folder litert/ of an artifact: its networks as LiteRT files, what they were measured to be, what an app must do.

litert/classifier.tflite  -float16  -int8  (and segmenter*.tflite where it is a network of its own)
litert/vectors.json  vectors/*.png          see evaluation/app_vectors.py
litert/README.md                            the comparison with ONNX
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from brain_mri.artifact.config import CLASSIFIER, SEGMENTER
from brain_mri.artifact.folder import Artifact
from brain_mri.artifact.parts import put_part
from brain_mri.classes import CLASSES, DISCLAIMER
from brain_mri.data.dataset import Dataset
from brain_mri.data.phantom import make_phantom
from brain_mri.data.selection import balanced_rows
from brain_mri.evaluation.app_vectors import FILE, app_vectors
from brain_mri.evaluation.on_device import Comparison, Slices, compare, table
from brain_mri.files import atomic_write, write_json
from brain_mri.imaging.preprocessing import preprocess
from brain_mri.inference.lite_model import INT8, KINDS, interpreter_class, lite_name
from brain_mri.training.litert import export_litert

FOLDER = "litert"
REPRESENTATIVE = 200  # slices from which the ranges of the integers are taken
DRAWINGS = 32  # slices to compare on where there are no real ones
README = """# {name} for phones (LiteRT)

{note}

Feed and read the files as `vectors.json` says; `vectors/` holds drawn pictures with the right result of every step.
How, on Android and iOS: docs/scale.md of the program, section "Phone and edge".

Measured with ai-edge-litert beside the ONNX files, on {on}:

{table}"""


def put_litert(
    artifact: Artifact,
    dataset: Dataset | None,
    kinds: tuple[str, ...],
    *,
    most: int = 500,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Comparison]:
    """Export, check, compare, and add litert/ to the artifact; or write its files into the folder out instead.

    dataset: split so that its test rows are new to the model, see evaluation/held_out.py; at most `most` of them are
    compared on. Without one there is no INT8, and drawn slices are compared on. Nothing is written before all is done.
    Raises ArtifactError, LiteModelError; ValueError for INT8 without a dataset, or an out that is no folder.
    """
    interpreter_class()  # before minutes of work
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{out} cannot be a folder for the files ({error.strerror}).") from None
    representative, slices, on = None, _drawn(artifact), f"{DRAWINGS} drawn slices"
    if dataset is not None:
        seed = artifact.config.training.seed
        learned = np.flatnonzero(dataset.table["split"] != "test")
        learned = learned if learned.size else np.arange(len(dataset.table))
        representative = dataset.images[balanced_rows(dataset.table, learned, REPRESENTATIVE, seed)]
        rows = balanced_rows(dataset.table, dataset.rows("test"), most, seed)
        if not rows.size:
            raise ValueError("The data has no slice that the model was neither trained nor tuned on, to compare with.")
        slices, on = _real(dataset, rows), f"{rows.size} slices that the model was neither trained nor tuned on"
    elif INT8 in kinds:
        raise ValueError("int8 takes the ranges of its numbers from real slices: give --data, or leave int8 out.")
    with tempfile.TemporaryDirectory(prefix="brain-mri-litert-") as scratch:
        say(f"Converting: {', '.join(kinds)}; each takes up to a minute.")
        written = export_litert(artifact, Path(scratch), kinds, representative)
        say(f"Comparing with ONNX on {on}.")
        found = compare(artifact, Path(scratch), kinds, slices)
        described, files = app_vectors(artifact, written, found, on)
        write_json(Path(scratch, FILE), described)
        files |= {path.name: path.read_bytes() for path in (*written, Path(scratch, FILE))}
    text = README.format(name=artifact.config.name, note=DISCLAIMER, on=on, table=table(found))
    files["README.md"] = text.encode()
    if out is None:
        section = f"## On a phone\n\nLiteRT files, and what to feed them, are in `{FOLDER}/`. On {on}:"
        put_part(artifact.folder, FOLDER, files, f"{section}\n\n{table(found)}")
    else:
        for old in {lite_name(onnx, kind) for onnx in (CLASSIFIER, SEGMENTER) for kind in KINDS} - files.keys():
            (out / old).unlink(missing_ok=True)  # maybe of another model; vectors.json does not speak of it
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(out / name) as temporary:
                temporary.write_bytes(content)
    return found


def _real(dataset: Dataset, rows: np.ndarray) -> Slices:
    outlined = dataset.table["has_mask"].to_numpy(bool)[rows]
    return Slices(dataset.images[rows], dataset.labels[rows], dataset.masks[rows] > 127, outlined)


def _drawn(artifact: Artifact) -> Slices:
    """Slices of which nothing is known: how right a model is on drawings says nothing of patients."""
    size, labels = artifact.image_size, [CLASSES[i % len(CLASSES)] for i in range(DRAWINGS)]
    images = np.stack([preprocess(make_phantom(label, 100 + i).image, size)[0] for i, label in enumerate(labels)])
    none = np.zeros(DRAWINGS, bool)
    return Slices(images, np.full(DRAWINGS, -1), np.zeros(images.shape, bool), none)
