"""What bench.py measures of training in a process of its own, so that times and memory are those of a training run.

python -m dev.bench_training epoch|memory FOLDER [MASKS]     # prints one line of JSON
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.training.config import FitOptions
from brain_mri.training.fit import choose_precision, compile_model, fit
from brain_mri.training.training_set import TrainingSet
from dev.bench_table import interleaved
from model_def import build

SIZE, SLICES = 128, 7000  # what the targets are stated for


def enlarged(dataset: Dataset, count: int) -> Dataset:
    """The data set again and again up to `count` rows, each copy a slice of its own."""
    rows = np.resize(np.arange(len(dataset.table)), count)
    table = dataset.table.iloc[rows].reset_index(drop=True)
    again = pd.Series(np.arange(count) // len(dataset.table)).astype(str)
    for name in ("group", "cluster"):
        table[name] = table[name] + " " + again
    pixels = {name: getattr(dataset, name)[rows] for name in ("images", "masks", "thumbnails", "small")}
    return replace(dataset, table=table, **pixels)


def prepared(folder: Path, masks: Path | None, count: int) -> tuple[TrainingSet, TrainingSet, dict[str, float]]:
    """(training set, validation set, MB on the way) as train.py makes them, of `count` slices."""
    dataset = load_dataset(folder, masks, size=SIZE, progress=False)
    if len(dataset.table) != count:
        dataset = enlarged(dataset, count)
    reached = {"data": peak()}
    parts = TrainingSet.of(dataset, "train"), TrainingSet.of(dataset, "validation")
    return *parts, reached | {"set": peak()}


def epoch(folder: Path, masks: Path | None) -> dict[str, float]:
    """Seconds of a step with the pipeline of train.py and with the same batches, unchanged, from memory."""
    options, steps = FitOptions(batch_size=32, erased=0.4), 8
    choose_precision(depthwise=True)
    part, _, _ = prepared(folder, masks, 4 * steps * options.batch_size)
    model = build("guided", SIZE, encoder="efficientnet_lite0")
    compile_model(model, steps, options)
    real = part.feed(model.output, options, True).take(steps)
    memory = part.feed(model.output, options, False).take(steps).cache()
    works = {
        "real": lambda: model.fit(real, verbose=0),
        "memory": lambda: model.fit(memory, verbose=0),
    }
    return {name: value / steps for name, value in interleaved(works, 3).items()}


def memory(folder: Path, masks: Path | None) -> dict[str, float]:
    """Peak MB of a training run of a few steps on all slices, validation included."""
    choose_precision(depthwise=True)
    options = FitOptions(epochs=1, verbose=0, batch_size=32)
    part, validation, reached = prepared(folder, masks, SLICES)
    model = build("guided", SIZE, encoder="efficientnet_lite0")
    with tempfile.TemporaryDirectory() as checkpoints:
        few = part.feed(model.output, options, True).take(3), validation.feed(model.output, options, False).take(3)
        fit(model, *few, options, Path(checkpoints))
    return reached | {"peak": peak(), "slices": SLICES}


def peak() -> float:
    """MB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    job, place, *more = sys.argv[1:]
    print(json.dumps({"epoch": epoch, "memory": memory}[job](Path(place), Path(more[0]) if more else None)))
