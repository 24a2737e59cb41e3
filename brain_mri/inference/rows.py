"""What is said of many scans, row by row: a table for people and the same as JSON.

with Tables(out, "predictions", predictor) as tables:
    tables.add(row)
"""

from __future__ import annotations

import csv
import functools
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.classes import DISCLAIMER
from brain_mri.files import guarded
from brain_mri.inference.jobs import Job
from brain_mri.inference.predictor import Predictor

COLUMNS = (
    "file", "label", "confidence", "abstained", "reason", "kind_unsure", "tumor_probability", "tumor", "not_brain_mri",
    "quality", "sequence", "sequence_from", "slices",
    "marked_on", "shown", "volume_ml", "doubt", "choice", "tumor_fraction", "tumor_pixels", "tumor_area_mm2",
    "tumor_diameter_mm", "heat_agreement", "width", "height", "warnings", "error", "overlay", "mask", "heatmap",
    "dicom_seg", "model_id", "revision",
)  # fmt: skip
SLICE_COLUMNS = ("file", "slice", "slices", "label", "tumor_probability", "area", "area_unit", "not_brain_mri")
LIBRARIES = ("gradio", "onnxruntime", "numpy", "opencv-python-headless", "pydicom", "nibabel")


@dataclass(frozen=True, eq=False)
class Row:
    """One file or series: its result and its pictures, or the reason why there are none.

    result    to_dict() of its Analysis or VolumeAnalysis and the place of each picture; "per_slice" if asked for
    """

    file: str
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)  # place -> PNG; of a volume the mask is a NIfTI file
    thumbnail: np.ndarray | None = None  # uint8 RGB, the overlay
    files: int = 1  # that it was made of
    stamp: str = ""  # of the files as they were read: sizes and times
    kept: bool = False  # of a run that was stopped, not worked out again

    def record(self) -> dict[str, Any]:
        """As it stands in the tables."""
        return {"file": self.file} | (self.result or {"error": self.error})


class Tables:
    """NAME.csv and NAME.json in a folder, written row by row as NAME.partial.* and renamed when complete.

    slices: also NAME_slices.csv, a row for each slice of a volume. resume: go on where a run that was stopped has left
    NAME.partial.json, see `kept`; the file is only added to, so that what is done outlives any number of kills.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        predictor: Predictor,
        *,
        encoding: str = "utf-8",
        slices: bool = False,
        pictures: Sequence[str] = (),
        resume: bool = False,
    ):
        self._folder, self._pictures, self._rows = folder, pictures, 0
        self.names = (f"{name}.csv", *([f"{name}_slices.csv"] if slices else []), f"{name}.json")
        head = json.dumps(about(predictor, pictures, slices), ensure_ascii=False)[:-1].encode() + b', "scans": [\n'
        path = self._partial(self.names[-1])
        self._old = resume and path.is_file() and _first_line(path) == head
        self._json = path.open("r+b" if self._old else "w+b")
        self._json.seek(len(head)) if self._old else self._json.write(head)
        self._end = len(head)  # of what is whole
        columns = (columns_of(predictor.classes), SLICE_COLUMNS)
        self._csv = [self._partial(table).open("w", encoding=encoding, errors="backslashreplace", newline="")
                     for table in self.names[:-1]]  # fmt: skip
        self._writers = [csv.DictWriter(f, c, extrasaction="ignore") for f, c in zip(self._csv, columns, strict=False)]
        for writer in self._writers:
            writer.writeheader()

    def _partial(self, name: str) -> Path:
        stem, _, suffix = name.rpartition(".")
        return self._folder / f"{stem}.partial.{suffix}"

    def kept(self, job: Job) -> Row | None:
        """The row of this job as a run that was stopped has left it; None from the first one that differs."""
        if not self._old:
            return None
        start = self._json.tell()
        line = self._json.readline().rstrip(b",\n")
        record = _record(line)
        there = all((self._folder / record[kind]).is_file() for kind in self._pictures if kind in record)
        if record.get("file") != job.file or not there or not record.get("stamp", "") == job.stamp() != "":
            self._go_on()
            return None
        self._end, self._rows = start + len(line), self._rows + 1
        self._write(record)
        return Row(job.file, record.get("error", ""), record, files=len(job.paths), kept=True)

    def _go_on(self) -> None:
        """Behind what was kept."""
        if self._old:
            self._old = False
            self._json.seek(self._end)
            self._json.truncate()

    def add(self, row: Row) -> None:
        self._go_on()
        record = row.record() | ({"stamp": row.stamp} if row.stamp else {})
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        self._json.write((b",\n" if self._rows else b"") + text.encode("utf-8", "backslashreplace"))
        self._rows += 1
        self._write(record)
        for file in (self._json, *self._csv):
            file.flush()  # a killed run keeps what is written

    def _write(self, record: dict[str, Any]) -> None:
        flat = chances_apart(record)
        flat["warnings"] = " | ".join(record.get("warnings", []))
        flat["quality"] = " ".join(record.get("quality", []))
        self._writers[0].writerow(cells(flat))
        for slice_ in each_slice(record) if len(self._writers) > 1 else ():
            self._writers[1].writerow(cells(slice_))

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not self._old:  # stopped while rows were kept: what follows them is as good
            self._go_on()
            self._json.write(b"\n]}\n")
        for file in (self._json, *self._csv):
            file.close()
        if kind is None:
            for name in self.names:
                os.replace(self._partial(name), self._folder / name)


def about(predictor: Predictor, pictures: Sequence[str], slices: bool) -> dict[str, Any]:
    """The particulars that stand at the head of a table."""
    return {
        "model": predictor.model_id,
        "revision": predictor.revision,
        "classes": predictor.classes,
        "temperature": predictor.temperature,
        "calibration": predictor.calibration,
        "pictures": list(pictures),
        "slices": slices,
        "versions": versions(),
        "disclaimer": DISCLAIMER,
    }


def columns_of(classes: Sequence[str]) -> list[str]:
    """The columns of the table of files, with the probability of each class."""
    return [*COLUMNS[:3], *(f"p_{label}" for label in classes), *COLUMNS[3:]]


def chances_apart(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a row with a column for the probability of each class."""
    return record | {f"p_{label}": value for label, value in record.get("probabilities", {}).items()}


def each_slice(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the record of a volume says of its slices, in SLICE_COLUMNS; they are counted from 1."""
    whole = {key: record.get(key) for key in SLICE_COLUMNS}
    for slice_ in record.get("per_slice", []):
        yield whole | slice_ | {"slice": slice_["slice"] + 1}


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()


def _record(line: bytes) -> dict[str, Any]:
    """Empty when the line was cut short, or ends the table."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def cells(values: dict[str, Any]) -> dict[str, Any]:
    """A row of a table as text."""
    return {key: f"{v:.6g}" if isinstance(v, float) else guarded(v) for key, v in values.items()}


@functools.cache  # looking them up takes 5 ms
def versions() -> dict[str, str]:
    """Versions of what produced an answer."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
