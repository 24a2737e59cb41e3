"""Analyse many scans: files, folders or patterns in; one table, overlays and masks out.

    python predict.py --out results scans/                        # the bundled model, every picture below scans/
    python predict.py --model user/name@v1 --out results "day1/*.dcm" extra.png
    python predict.py --out results --heatmaps --threads 2 scans/

Writes to OUT: predictions.csv (one row a file, in order; a file that cannot be read is a row with its reason),
predictions.json (the same, with the model's particulars), overlays/*.png, masks/*.png (255 = tumor) and, when asked
for, heatmaps/*.png. Both tables appear when they are complete; after Ctrl-C the rows so far are in *.partial.*.
Exit status: 0 every file was analysed, 1 some could not be, 2 none could be or the run could not start or go on.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import glob
import io
import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm.auto import tqdm

import segmentation
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import BUNDLED
from brain_mri.files import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError, clean_name
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".tif",
    ".tiff",
    ".bmp",
    ".webp",
    ".gif",
    ".dcm",
    ".dicom",
    ".ima",
    ".nii",
}
COLUMNS = (
    "file", "label", "confidence", "abstained", "reason", "tumor_probability", "tumor", "not_brain_mri",
    "tumor_fraction", "tumor_pixels", "tumor_area_mm2", "tumor_diameter_mm", "heat_agreement", "width", "height",
    "warnings", "error", "overlay", "mask", "heatmap",
)  # fmt: skip


class PredictError(Exception):
    """The run cannot start or go on; the message is one sentence for a person."""


@dataclass(frozen=True)
class Job:
    path: Path
    name: str  # of its output files, unique within the run


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    try:
        jobs = named(find(args.inputs, args.out))
        model = load(args.model, args.threads)
        failed, total = run(
            model, jobs, args.out, heatmaps=args.heatmaps, pictures=not args.table_only, threads=args.threads
        )
    except PredictError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped; the rows so far are in {args.out / 'predictions.partial.csv'}.", file=sys.stderr)
        return 2
    table = args.out / "predictions.csv"
    print(f"{total - failed} of {total} files analysed by {model.model_id} ({model.revision}): {table}")
    return 0 if not failed else 1 if failed < total else 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="See the top of predict.py for what is written."
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="FILE|FOLDER|PATTERN",
        help="pictures, DICOM, NIfTI; folders are searched to the bottom",
    )
    add("--model", default=str(BUNDLED), help="artifact folder or user/name[@revision] (default: the bundled model)")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--heatmaps", action="store_true", help="also write Grad-CAM pictures")
    add("--table-only", action="store_true", help="write no pictures")
    add("--threads", type=int, default=cores(), help="files worked on at once (default: all cores)")
    args = parser.parse_args(arguments)
    if args.threads < 1:
        parser.error("--threads must be at least 1.")
    return args


def load(where: str, threads: int) -> Predictor:
    """One thread inside the models: the cores are busy with whole files. Raises PredictError."""
    try:
        return Predictor.load(where, threads=1 if threads > 1 else None)
    except ArtifactError as error:
        raise PredictError(str(error)) from None
    except Exception as error:
        if type(error).__name__ != "HubError":  # hub.py is imported only for Hub models
            raise
        raise PredictError(str(error)) from None


# --- what to read ----------------------------------------------------------------------------------------------


def find(inputs: Sequence[str], out: Path) -> list[Path]:
    """The files that the arguments mean, each once, in order. Raises PredictError when there are none.

    A file named by itself is always read. In folders, only names that look like scans, or have no suffix as DICOM
    files often do, are; hidden files, __MACOSX and the output folder are passed over.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text)
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        if not matches:
            raise PredictError(f"There is no file, folder or match for {text}.")
        for match in matches:
            for file in _below(match, out.absolute()) if match.is_dir() else [match]:
                found.setdefault(Path(os.path.abspath(file)), None)
    if not found:
        raise PredictError(f"There are no scans in {', '.join(inputs)}.")
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


def named(paths: Sequence[Path]) -> list[Job]:
    """A name for the outputs of each file: its stem, with a number when another file has taken it."""
    taken: set[str] = set()
    jobs = []
    for path in paths:
        stem = clean_name(path)
        stem = stem.removesuffix(".gz").rsplit(".", 1)[0].strip(". ") or "scan"
        stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem)
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        jobs.append(Job(path, name))
    return jobs


# --- one file --------------------------------------------------------------------------------------------------


def work(model: Predictor, job: Job, out: Path, *, heatmaps: bool, pictures: bool) -> dict[str, Any]:
    """Analyse one file and write its pictures. Its row, with `error` if it cannot be read; OSError if not written."""
    row: dict[str, Any] = {"file": os.fspath(job.path)}
    try:
        analysis = model.analyze(read_scan(job.path))
    except ScanError as error:
        return row | {"error": str(error)}
    except Exception as error:  # one strange file must not end a run of thousands
        return row | {"error": f"{clean_name(job.path)} could not be analysed ({type(error).__name__}: {error})."}
    row |= analysis.to_dict()
    if pictures:
        for kind, picture in _pictures(analysis, heatmaps):
            place = f"{kind}s/{job.name}.png"
            save_png(out / place, picture)
            row[kind] = place
    return row


def _pictures(analysis: Analysis, heatmaps: bool) -> Iterator[tuple[str, np.ndarray]]:
    yield "overlay", segmentation.overlay(analysis.image, analysis.mask)
    yield "mask", analysis.mask.astype(np.uint8) * 255
    if heatmaps:
        yield "heatmap", segmentation.heat_overlay(analysis.image, analysis.heatmap)


def save_png(path: Path, picture: np.ndarray) -> None:
    """uint8 (H, W) gray or (H, W, 3) RGB; the file holds the whole picture or is not there."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(png(picture))
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):  # on a full disk half a picture would only take up room
            temporary.unlink(missing_ok=True)
        raise


# --- the run ---------------------------------------------------------------------------------------------------


def run(
    model: Predictor, jobs: Sequence[Job], out: Path, *, heatmaps: bool, pictures: bool, threads: int
) -> tuple[int, int]:
    """Work through the jobs with a bounded window, so that memory stays flat. (failed, total). Raises PredictError."""
    options = {"heatmaps": heatmaps, "pictures": pictures}
    failed = 0
    waiting: deque[Future[dict[str, Any]]] = deque()
    try:
        for kind in ("overlays", "masks", *(["heatmaps"] if heatmaps else [])) if pictures else ("",):
            (out / kind).mkdir(parents=True, exist_ok=True)
        with Tables(out, model) as tables, ThreadPoolExecutor(threads) as pool, _bar(len(jobs)) as bar:
            try:
                for number in range(len(jobs) + 4 * threads):
                    if number < len(jobs):
                        waiting.append(pool.submit(work, model, jobs[number], out, **options))
                    if waiting and (number >= len(jobs) or len(waiting) > 4 * threads):
                        row = waiting.popleft().result()
                        failed += "error" in row
                        tables.add(row)
                        bar.update()
            except BaseException:
                for future in waiting:
                    future.cancel()
                raise
    except OSError as error:
        raise PredictError(f"The results could not be written to {out} ({error.strerror or error}).") from None
    return failed, len(jobs)


def _bar(total: int) -> tqdm:
    return tqdm(total=total, unit="scan", disable=None)  # silent when the output is no terminal


class Tables:
    """predictions.csv and predictions.json, written row by row under another name and renamed when complete."""

    def __init__(self, out: Path, model: Predictor):
        self._out, self._classes, self._rows = out, model.classes, 0
        self._csv, self._json = self._open("csv"), self._open("json")
        probabilities = [f"p_{name}" for name in model.classes]
        self._writer = csv.DictWriter(self._csv, [*COLUMNS[:3], *probabilities, *COLUMNS[3:]], extrasaction="ignore")
        self._writer.writeheader()
        about = {
            "model": model.model_id,
            "revision": model.revision,
            "classes": model.classes,
            "temperature": model.temperature,
            "calibration": model.calibration,
        }
        self._json.write(json.dumps(about, ensure_ascii=False)[:-1] + ', "scans": [')

    def _open(self, kind: str) -> IO[str]:
        path = self._out / f"predictions.partial.{kind}"
        return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")

    def add(self, row: dict[str, Any]) -> None:
        flat = {key: value for key, value in row.items() if value is not None}
        flat |= {f"p_{name}": value for name, value in row.get("probabilities", {}).items()}
        if "warnings" in row:
            flat["warnings"] = " | ".join(row["warnings"])
        self._writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in flat.items()})
        self._json.write((",\n" if self._rows else "\n") + json.dumps(row, ensure_ascii=False, allow_nan=False))
        self._rows += 1

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._json.write("\n]}\n")
        for file in (self._csv, self._json):
            file.close()
        if kind is None:
            for suffix in ("csv", "json"):
                os.replace(self._out / f"predictions.partial.{suffix}", self._out / f"predictions.{suffix}")


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be anything
    sys.exit(main())
