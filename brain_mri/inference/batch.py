"""Many scans: found, analysed a few at a time, written as they come. The engine of `predict` and of the page's batches.

    for row in to_folder(predictor, jobs(find(["scans/"], out)), out):
        print(row.file, row.error or row.result["label"])

A file that cannot be read is a row with its reason. Only a few scans are in memory at once, however many there are, and
both tables grow on disk row by row under another name; they get their own when they are complete.
"""

from __future__ import annotations

import csv
import functools
import glob
import importlib.metadata
import json
import os
import platform
import re
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

import segmentation
from brain_mri.classes import DISCLAIMER
from brain_mri.files import atomic_write
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError, clean_name, reduce
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif",
    ".dcm", ".dicom", ".ima", ".nii",
}  # fmt: skip
COLUMNS = (
    "file", "label", "confidence", "abstained", "reason", "tumor_probability", "tumor", "not_brain_mri",
    "tumor_fraction", "tumor_pixels", "tumor_area_mm2", "tumor_diameter_mm", "heat_agreement", "width", "height",
    "warnings", "error", "overlay", "mask", "heatmap", "model_id", "revision",
)  # fmt: skip
DRAW: dict[str, Callable[[Analysis], np.ndarray]] = {
    "overlay": lambda a: segmentation.overlay(a.image, a.mask),
    "mask": lambda a: a.mask,
    "heatmap": lambda a: segmentation.heat_overlay(a.image, a.heatmap),
}
PICTURES = ("overlay", "mask")
THUMBNAIL = 96  # pixels on the longer side
LIBRARIES = ("gradio", "onnxruntime", "numpy", "opencv-python-headless", "pydicom", "nibabel")
LONGEST = 60  # characters of a name: file systems count bytes, and a temporary name is longer
AHEAD = 4  # results for each thread that may wait for the one before them


class BatchError(Exception):
    """The run cannot start or go on; the message is one sentence for a person."""


@dataclass(frozen=True)
class Job:
    path: Path
    name: str  # of its output files, unique within the run
    file: str  # how the tables name it


@dataclass(frozen=True, eq=False)
class Row:
    """One file: its result and its pictures, or the reason why there are none."""

    file: str
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)  # Analysis.to_dict() and the place of each picture
    pictures: dict[str, bytes] = field(default_factory=dict)  # place -> PNG
    thumbnail: np.ndarray | None = None  # uint8 RGB, the overlay


# --- what to read ----------------------------------------------------------------------------------------------


def find(inputs: Sequence[str], out: Path) -> list[Path]:
    """The files that the arguments mean, each once, in order. Raises BatchError when there are none.

    A file named by itself is always read. In folders, only names that look like scans, or have no suffix as DICOM
    files often do, are; hidden files, __MACOSX and the output folder are passed over.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text)
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        if not matches:
            raise BatchError(f"There is no file, folder or match for {text}.")
        for match in matches:
            for file in _below(match, out.absolute()) if match.is_dir() else [match]:
                found.setdefault(Path(os.path.abspath(file)), None)
    if not found:
        raise BatchError(f"There are no scans in {', '.join(inputs)}.")
    here = Path.cwd()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in found]


def _below(folder: Path, out: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name != "__MACOSX" and Path(root, name).absolute() != out
        )
        for name in sorted(files):
            stem, suffix = os.path.splitext(name.lower().removesuffix(".gz"))
            if not name.startswith(".") and (suffix in SUFFIXES or (not suffix and stem not in ("readme", "license"))):
                yield Path(root, name)


def named(paths: Iterable[Path], file: Callable[[Path], str] = os.fspath) -> list[Job]:
    """A name for the outputs of each file: its stem, with a number when another file has taken it.

    file: how the tables name a path; the page has no business to show where the server keeps an upload.
    """
    taken: set[str] = set()
    jobs = []
    for path in paths:
        stem = clean_name(path)
        stem = stem.removesuffix(".gz").rsplit(".", 1)[0].strip(". ") or "scan"
        stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem)[:LONGEST]
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        jobs.append(Job(path, name, file(path)))
    return jobs


def stem_of(name: str) -> str:
    """ "Slice 12.nii.gz" -> "Slice_12": the name of a scan as the beginning of a file name on any system."""
    stem = re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", name)
    return re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("._")[:60] or "scan"


# --- the engine ------------------------------------------------------------------------------------------------


def explained(error: Exception, name: str) -> str:
    """Why one file has no result, for the person whose machine this is."""
    if isinstance(error, ScanError):
        return str(error)
    return f"{name} could not be analysed ({type(error).__name__}: {error})."


def analyze_files(
    predictor: Predictor,
    jobs: Iterable[Job],
    *,
    pictures: Sequence[str] = PICTURES,
    threads: int | None = None,
    reduced: bool = False,
    explain: Callable[[Exception, str], str] = explained,
) -> Iterator[Row]:
    """A row for each job, in order.

    pictures: some of DRAW; reduced: photographs become smaller first, see imaging.scan.reduce.
    At most AHEAD rows a thread wait to be taken, so that memory stays flat.
    """
    threads = threads or cores()
    waiting: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, predictor, job, pictures, reduced, explain))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after an exception or Ctrl-C the rest is not begun
                future.cancel()


def work(
    predictor: Predictor,
    job: Job,
    pictures: Sequence[str],
    reduced: bool,
    explain: Callable[[Exception, str], str],
) -> Row:
    """The row of one file."""
    places = {kind: f"{kind}s/{job.name}.png" for kind in pictures}
    try:
        scan = read_scan(job.path)
        analysis = predictor.analyze(reduce(scan) if reduced else scan)
        drawn = {kind: DRAW[kind](analysis) for kind in pictures}
        files = {place: png(drawn[kind]) for kind, place in places.items()}
    except Exception as error:  # one strange file must not end a run of thousands
        return Row(job.file, explain(error, clean_name(job.path)))
    return Row(job.file, "", analysis.to_dict() | places, files, _small(drawn.get("overlay")))


def _small(overlay: np.ndarray | None) -> np.ndarray | None:
    if overlay is None:
        return None
    scale = THUMBNAIL / max(overlay.shape[:2])
    return cv2.resize(overlay, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


# --- where the rows go -----------------------------------------------------------------------------------------


def to_folder(
    predictor: Predictor,
    jobs: Iterable[Job],
    out: Path,
    *,
    pictures: Sequence[str] = PICTURES,
    threads: int | None = None,
) -> Iterator[Row]:
    """Write predictions.csv, predictions.json and a folder for each kind of picture. Raises BatchError."""
    try:
        for folder in [out, *(out / f"{kind}s" for kind in pictures)]:
            folder.mkdir(parents=True, exist_ok=True)
        with Tables(out, "predictions", predictor) as tables:
            for row in analyze_files(predictor, jobs, pictures=pictures, threads=threads):
                for place, data in row.pictures.items():
                    with atomic_write(out / place) as temporary:
                        temporary.write_bytes(data)
                tables.add(row)
                yield row
    except OSError as error:
        raise BatchError(f"The results could not be written to {out} ({error.strerror or error}).") from None


def to_zip(
    predictor: Predictor,
    jobs: Iterable[Job],
    folder: Path,
    *,
    reduced: bool = False,
    explain: Callable[[Exception, str], str] = explained,
) -> Iterator[Row]:
    """Write results.csv, results.json, and results.zip, which holds both of them and the pictures."""
    with zipfile.ZipFile(folder / "results.zip", "w", zipfile.ZIP_STORED) as bundle:
        with Tables(folder, "results", predictor, encoding="utf-8-sig") as tables:  # Excel wants the mark
            for row in analyze_files(predictor, jobs, reduced=reduced, explain=explain):
                for place, data in row.pictures.items():
                    bundle.writestr(place, data)
                tables.add(row)
                yield row
        for name in ("results.csv", "results.json"):
            bundle.write(folder / name, name)
        bundle.writestr("README.txt", f"{DISCLAIMER}\nModel: {predictor.model_id}, revision {predictor.revision}\n")


class Tables:
    """NAME.csv and NAME.json in a folder, written row by row as NAME.partial.* and renamed when complete."""

    def __init__(self, folder: Path, name: str, predictor: Predictor, *, encoding: str = "utf-8"):
        self._folder, self._name, self._rows = folder, name, 0
        self._csv, self._json = self._open("csv", encoding), self._open("json", "utf-8")
        probabilities = [f"p_{label}" for label in predictor.classes]
        self._writer = csv.DictWriter(self._csv, [*COLUMNS[:3], *probabilities, *COLUMNS[3:]], extrasaction="ignore")
        self._writer.writeheader()
        about = {
            "model": predictor.model_id,
            "revision": predictor.revision,
            "classes": predictor.classes,
            "temperature": predictor.temperature,
            "calibration": predictor.calibration,
            "versions": versions(),
            "disclaimer": DISCLAIMER,
        }
        self._json.write(json.dumps(about, ensure_ascii=False)[:-1] + ', "scans": [')

    def _open(self, kind: str, encoding: str) -> IO[str]:
        path = self._folder / f"{self._name}.partial.{kind}"
        return path.open("w", encoding=encoding, errors="backslashreplace", newline="")

    def add(self, row: Row) -> None:
        flat = {"error": row.error} | row.result | {"file": row.file}
        flat |= {f"p_{label}": value for label, value in row.result.get("probabilities", {}).items()}
        flat["warnings"] = " | ".join(row.result.get("warnings", []))
        self._writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else guarded(v) for key, v in flat.items()})
        record = {"file": row.file} | (row.result or {"error": row.error})
        self._json.write((",\n" if self._rows else "\n") + json.dumps(record, ensure_ascii=False, allow_nan=False))
        self._rows += 1

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._json.write("\n]}\n")
        for file in (self._csv, self._json):
            file.close()
        if kind is None:
            for suffix in ("csv", "json"):
                os.replace(self._folder / f"{self._name}.partial.{suffix}", self._folder / f"{self._name}.{suffix}")


def guarded(value: Any) -> Any:
    """A cell of a table: a text that spreadsheets would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


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
