"""The part of bench.py that trains: the input pipeline, the cache of decoded slices, memory, and how reading grows.

Everything that loads TensorFlow runs in a process of its own, so that times and memory are those of a training run:

    python bench_training.py epoch|memory FOLDER [MASKS] [--quick]     # prints one line of JSON
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brain_mri.data import dataset as data
from brain_mri.data import folders
from dev.bench_table import Options, Row, interleaved, run

SIZE, SLICES = 128, 7000  # what the targets are stated for


def training(options: Options) -> Iterator[Row]:
    """Seconds of an epoch, of the first and of the second start, and peak memory."""
    folder, masks = dataset_of(options)
    arguments = [str(folder), *([str(masks)] if masks else []), *(["--quick"] if options.quick else [])]
    epoch = asked("epoch", arguments)
    ms = ", ".join(f"{name} {1000 * epoch[name]:.0f} ms a step" for name in ("real", "memory"))
    yield Row("training", "real input pipeline, of the same model fed from memory", epoch["real"] / epoch["memory"],
              "x", 1.15, note=ms)  # fmt: skip

    cache = options.folder / "cache"
    first, count = read(folder, masks, cache)
    second, _ = read(folder, masks, cache)
    note = f"{first:.1f} s and {second:.2f} s for {count} slices"
    yield Row("training", "second start on cached data, of the first read", 100 * second / first, "%", 5, note=note)

    memory = asked("memory", arguments)
    note = f"{memory['data']:.0f} MB when the data is read, {memory['set']:.0f} MB when the training set is made"
    what = f"peak memory, {memory['slices']} slices of {SIZE} pixels, guided"
    yield Row("training", what, memory["peak"] / 1000, "GB", 2.5, note=note)

    part = options.folder / "tenth"
    some, few = read(tenth(folder, part), None, options.folder / "cache-tenth")
    yield Row("growth", f"reading 10 % of the training set ({few} slices)", some, "s")
    alone, all_ = read(folder, None, options.folder / "cache-alone")
    yield Row("growth", f"reading 100 % of it ({all_} slices)", alone, "s")
    exponent = math.log(alone / some) / math.log(all_ / few)
    yield Row(
        "growth", "exponent of reading in the number of slices", exponent, "", note="each compared with all others"
    )


def dataset_of(options: Options) -> tuple[Path, Path | None]:
    """(class folders, masks) of --data and --masks, else phantoms."""
    if options.data:
        return options.data, options.masks
    folder = options.folder / "phantoms"
    if not folder.is_dir():
        from brain_mri.data.phantom import write_dataset

        write_dataset(folder, 8 if options.quick else 100)
    return folder, folder / "segmentation"


def asked(what: str, arguments: list[str]) -> dict[str, float]:
    return json.loads(run("bench_training.py", what, *arguments).splitlines()[-1])


def read(folder: Path, masks: Path | None, cache: Path) -> tuple[float, int]:
    """(seconds, slices) of data.load_dataset."""
    started = time.perf_counter()
    loaded = data.load_dataset(folder, masks, size=SIZE, cache=cache, progress=False)
    return time.perf_counter() - started, len(loaded.table)


def tenth(folder: Path, to: Path) -> Path:
    """A tenth of the files of each class folder, as copies."""
    by_folder: dict[Path, list[Path]] = {}
    for source in folders.class_folders(folder, None)[0]:
        by_folder.setdefault(source.path.parent, []).append(source.path)
    for parent, paths in by_folder.items():
        target = to / parent.relative_to(folder)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(paths)[:: max(1, min(10, len(paths) // 2))]:
            shutil.copy2(path, target / path.name)
    return to


# --- in a process of its own -----------------------------------------------------------------------------------


def enlarged(dataset: data.Dataset, count: int) -> data.Dataset:
    """The data set again and again up to `count` rows, each copy a slice of its own."""
    rows = np.resize(np.arange(len(dataset.table)), count)
    table = dataset.table.iloc[rows].reset_index(drop=True)
    again = pd.Series(np.arange(count) // len(dataset.table)).astype(str)
    for name in ("group", "cluster"):
        table[name] = table[name] + " " + again
    return data.Dataset(table, dataset.images[rows], dataset.masks[rows], dataset.skipped, dataset.size)


def prepared(folder: Path, masks: Path | None, count: int) -> tuple[Any, Any, dict[str, float]]:
    """(training set, validation set, MB on the way) as train.py makes them, of `count` slices."""
    from brain_mri.training.training_set import TrainingSet

    dataset = data.load_dataset(folder, masks, size=SIZE, progress=False)
    if len(dataset.table) != count:
        dataset = enlarged(dataset, count)
    reached = {"data": peak()}
    parts = TrainingSet.of(dataset, "train"), TrainingSet.of(dataset, "validation")
    return *parts, reached | {"set": peak()}


def epoch(folder: Path, masks: Path | None, quick: bool) -> dict[str, float]:
    """Seconds of a step with the pipeline of train.py and with the same batches, unchanged, from memory."""
    from brain_mri.training.fit import FitOptions, choose_precision, compile_model
    from model_def import build

    options, steps = FitOptions(batch_size=4 if quick else 32, erased=0.4), 2 if quick else 8
    choose_precision(depthwise=True)
    part, _, _ = prepared(folder, masks, 4 * steps * options.batch_size)
    model = build("guided", SIZE, encoder="efficientnet_lite0")
    compile_model(model, steps, options)
    real = part.feed(model, options, True).take(steps)
    memory = part.feed(model, options, False).take(steps).cache()
    works = {
        "real": lambda: model.fit(real, verbose=0),
        "memory": lambda: model.fit(memory, verbose=0),
    }
    return {name: value / steps for name, value in interleaved(works, 1 if quick else 3).items()}


def memory(folder: Path, masks: Path | None, quick: bool) -> dict[str, float]:
    """Peak MB of a training run of a few steps on all slices, validation included."""
    from brain_mri.training.fit import FitOptions, choose_precision, fit
    from model_def import build

    count = 200 if quick else SLICES
    choose_precision(depthwise=True)
    options = FitOptions(epochs=1, verbose=0, batch_size=4 if quick else 32)
    part, validation, reached = prepared(folder, masks, count)
    model = build("guided", SIZE, encoder="efficientnet_lite0")
    with tempfile.TemporaryDirectory() as checkpoints:
        few = part.feed(model, options, True).take(3), validation.feed(model, options, False).take(3)
        fit(model, *few, options, Path(checkpoints))
    return reached | {"peak": peak(), "slices": count}


def peak() -> float:
    """MB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quickly = "--quick" in sys.argv
    job, place, *more = (argument for argument in sys.argv[1:] if argument != "--quick")
    found = {"epoch": epoch, "memory": memory}[job](Path(place), Path(more[0]) if more else None, quickly)
    print(json.dumps(found))
