"""Many scans: analysed a few at a time, written as they come. The engine of `predict` and of the page's batches.

    for row in to_folder(predictor, named(find(["scans/"], out)), out):
        print(row.file, row.error or row.result["label"])

A file that cannot be read is a row with its reason; a volume is one row, with all of its slices analysed. Only a few
scans are in memory at once, and one volume, however many there are. Both tables grow on disk row by row under another
name and get their own when they are complete; a run that was stopped goes on from there.
"""

from __future__ import annotations

import threading
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import segmentation
from brain_mri.classes import DISCLAIMER
from brain_mri.files import atomic_write
from brain_mri.imaging.archive import Source
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import Scan, ScanError, clean_name, reduce
from brain_mri.imaging.volume import Volume, is_stack, read_volume
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.jobs import BatchError, Job
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.patients import PatientTable
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import Row, Tables
from brain_mri.inference.volume_analysis import Gone, analyze_volume

DRAW: dict[str, Callable[[Analysis], np.ndarray]] = {
    "overlay": lambda a: segmentation.overlay(a.image, a.mask),
    "mask": lambda a: a.mask,
    "heatmap": lambda a: segmentation.heat_overlay(a.image, a.heatmap),
}
PICTURES = ("overlay", "mask")
SEG = "dicom_seg"  # beside pictures: the mask as DICOM-SEG, of what is DICOM; see imaging.dicom_seg for what it tells
THUMBNAIL = 96  # pixels on the longer side
AHEAD = 4  # results for each thread that may wait for the one before them


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
    slices: bool = False,
    explain: Callable[[Exception, str], str] = explained,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Row]:
    """A row for each job, in order.

    pictures: some of DRAW, and SEG; reduced: photographs become smaller first, see imaging.scan.reduce; slices: also
    what is said of each slice of a volume. At most AHEAD rows a thread wait to be taken, so that memory stays flat.
    check: called between files and between slices, from the threads; with a Gone it ends all, another exception of it
    is the reason in the rows that are left.
    """
    threads = threads or cores()
    waiting: deque[Future[Row]] = deque()
    one = threading.Lock()  # a volume takes all cores and hundreds of MB
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, predictor, job, pictures, reduced, slices, explain, one, check))
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
    slices: bool,
    explain: Callable[[Exception, str], str],
    one: threading.Lock,
    check: Callable[[], object],
) -> Row:
    """The row of one file or series."""
    row = Row(job.file, files=len(job.paths), stamp=job.stamp())
    try:
        check()
        if row.files > 1 or is_stack(job.paths[0]):
            with one:
                check()
                source = job.paths if row.files > 1 else job.paths[0]
                volume = read_volume(source, name=clean_name(job.file), named=job.named)
                found = _of_volume(predictor, volume, source, job.name, pictures, slices, check)
        else:
            scan = read_scan(job.paths[0], name=clean_name(job.file))
            found = _of_scan(predictor, reduce(scan) if reduced else scan, job.paths[0], job.name, pictures)
    except Gone:
        raise
    except Exception as error:  # one strange file must not end a run of thousands
        return replace(row, error=explain(error, clean_name(job.file)))
    return replace(row, result=found[0], pictures=found[1], thumbnail=found[2])


Found = tuple[dict[str, Any], dict[str, bytes], np.ndarray | None]  # result, pictures, thumbnail of a Row


def _of_scan(predictor: Predictor, scan: Scan, source: Source, name: str, pictures: Sequence[str]) -> Found:
    places = {kind: f"{kind}s/{name}.png" for kind in pictures if kind in DRAW}
    analysis = predictor.analyze(scan)
    drawn = {kind: DRAW[kind](analysis) for kind in places}
    files = {place: png(drawn[kind]) for kind, place in places.items()}
    result = analysis.to_dict() | places
    if SEG in pictures and scan.info["format"] == "DICOM":
        from brain_mri.imaging.dicom_seg import Marked, slice_seg  # pydicom, only when needed

        by, index = Marked(analysis.model_id, analysis.revision), int(str(scan.info["index"]))
        _add_seg(result, files, name, lambda: slice_seg(source, analysis.mask, by, index, scan.name))
    return result, files, _small(drawn.get("overlay"))


def _add_seg(result: dict[str, Any], files: dict[str, bytes], name: str, make: Callable[[], bytes]) -> None:
    """A DICOM-SEG that cannot be made is a warning of the row, whose other results are as good."""
    try:
        place = f"{SEG}s/{name}.dcm"
        files[place] = make()
        result[SEG] = place
    except ScanError as error:
        result["warnings"] = [*result["warnings"], str(error)]


def _of_volume(
    predictor: Predictor,
    volume: Volume,
    source: Source,
    name: str,
    pictures: Sequence[str],
    slices: bool,
    check: Callable[[], object],
) -> Found:
    """Pictures are of the slice with the largest mark, or the fullest; the mask is that of the whole volume."""
    if len(volume) == 1:
        return _of_scan(predictor, volume.scan(0), source, name, pictures)
    found = analyze_volume(predictor, volume, lambda *_: check())
    index = found.start()[0]
    drawn = [kind for kind in pictures if kind in DRAW and kind != "mask"]
    shown, files, small = _of_scan(predictor, found.volume.scan(index), source, name, drawn)
    result = found.to_dict() | {kind: shown[kind] for kind in drawn}
    result |= {"shown": f"slice {index + 1} of {len(volume)}", "height": shown["height"], "width": shown["width"]}
    result |= {"tumor_pixels": int(np.count_nonzero(found.mask)), "tumor_fraction": None}
    result["tumor_area_mm2"] = float(found.area.max()) if volume.spacing else None  # on the slice that is shown
    if "mask" in pictures:
        saved = found.volume.save_mask(found.mask, Path(found.folder.name) / "mask.nii.gz")
        result["mask"] = f"masks/{name}.nii.gz"
        files[result["mask"]] = saved.read_bytes()
    if SEG in pictures and volume.grid.instances:
        from brain_mri.imaging.dicom_seg import Marked, volume_seg  # pydicom, only when needed

        by = Marked(found.model_id, found.revision)
        _add_seg(result, files, name, lambda: volume_seg(source, found.volume, found.mask, by))
    if not slices:
        del result["per_slice"]
    return result, files, small


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
    slices: bool = False,
    patients: PatientTable | None = None,
) -> Generator[Row, None, None]:
    """Write predictions.csv, predictions.json and a folder for each kind of picture, and with patients
    predictions_patients.csv. Raises BatchError.

    What a run with the same model and options has written before it was stopped is kept as far as it is of the same
    files in the same order; those rows come first, and nothing is worked out again for them.
    """
    try:
        for folder in [out, *(out / f"{kind}s" for kind in pictures)]:
            folder.mkdir(parents=True, exist_ok=True)
        with Tables(out, "predictions", predictor, slices=slices, pictures=pictures, resume=True) as tables:
            jobs = patients.noted(jobs) if patients else iter(jobs)
            for job in jobs:
                kept = tables.kept(job)
                if kept is None:
                    jobs = chain([job], jobs)
                    break
                if patients:
                    patients.add(kept)
                yield kept
            for row in analyze_files(predictor, jobs, pictures=pictures, threads=threads, slices=slices):
                for place, data in row.pictures.items():
                    with atomic_write(out / place) as temporary:
                        temporary.write_bytes(data)
                tables.add(row)
                if patients:
                    patients.add(row)
                yield row
        if patients:
            patients.write(out / "predictions_patients.csv")
    except OSError as error:
        raise BatchError(f"The results could not be written to {out} ({error.strerror or error}).") from None


def to_zip(
    predictor: Predictor,
    jobs: Iterable[Job],
    folder: Path,
    *,
    pictures: Sequence[str] = PICTURES,
    reduced: bool = False,
    slices: bool = False,
    patients: PatientTable | None = None,
    explain: Callable[[Exception, str], str] = explained,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Row]:
    """Write results.csv, results.json, and results.zip, which holds both of them and the pictures; with patients also
    results_patients.csv. check: see analyze_files."""
    jobs = patients.noted(jobs) if patients else jobs
    with zipfile.ZipFile(folder / "results.zip", "w", zipfile.ZIP_STORED) as bundle:
        with Tables(
            folder, "results", predictor, encoding="utf-8-sig", slices=slices
        ) as tables:  # Excel wants the mark
            for row in analyze_files(
                predictor, jobs, pictures=pictures, reduced=reduced, slices=slices, explain=explain, check=check
            ):
                for place, data in row.pictures.items():
                    bundle.writestr(place, data)
                tables.add(row)
                if patients:
                    patients.add(row)
                yield row
        if patients:
            patients.write(folder / "results_patients.csv", "utf-8-sig")
        for name in (*tables.names, *(["results_patients.csv"] if patients else [])):
            bundle.write(folder / name, name)
        bundle.writestr("README.txt", f"{DISCLAIMER}\nModel: {predictor.model_id}, revision {predictor.revision}\n")
