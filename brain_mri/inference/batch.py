"""Many scans at once: a row for each, also for those that cannot be read, and one ZIP with everything.

    rows = analyze_files(predictor, paths, Path("results.zip"))

The ZIP holds results.csv, results.json, overlays/ and masks/. Scans are read, analysed and let go in small groups, so
that memory does not grow with their number.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import segmentation
from brain_mri.classes import DISCLAIMER
from brain_mri.files import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import Scan, ScanError
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.predictor import Predictor
from brain_mri.ui.scan_report import stem_of, versions
from brain_mri.ui.views import reduce

GROUP = 16  # scans that are in memory together
THUMBNAIL = 96  # pixels on the longer side


@dataclass(frozen=True, eq=False)
class Row:
    """One file: its result, or the reason why there is none."""

    file: str
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)  # Analysis.to_dict()
    thumbnail: np.ndarray | None = None  # uint8 RGB, the overlay


def analyze_files(
    predictor: Predictor, paths: Sequence[str | Path], archive: Path, progress: Callable[[int, int], None] | None = None
) -> list[Row]:
    """One row per file, in order. progress(done, all) is called after each group."""
    rows: list[Row] = []
    used: set[str] = set()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as bundle:
        for first in range(0, len(paths), GROUP):
            read = [_read(Path(path)) for path in paths[first : first + GROUP]]
            analyses = iter(predictor.analyze_batch([scan for scan in read if isinstance(scan, Scan)]))
            for item in read:
                rows.append(item if isinstance(item, Row) else _keep(bundle, next(analyses), used))
            if progress:
                progress(len(rows), len(paths))
        bundle.writestr("results.csv", csv_text(rows, predictor.classes))
        bundle.writestr("results.json", json.dumps(json_data(rows, predictor), indent=2, ensure_ascii=False))
        bundle.writestr("README.txt", f"{DISCLAIMER}\nModel: {predictor.model_id}, revision {predictor.revision}\n")
    return rows


def _read(path: Path) -> Scan | Row:
    try:
        return reduce(read_scan(path))
    except ScanError as error:
        return Row(path.name, str(error))


def _keep(bundle: zipfile.ZipFile, a: Analysis, used: set[str]) -> Row:
    """Write overlay and mask of one scan and return its row."""
    stem = next(name for name in _names(stem_of(a.name)) if name not in used)
    used.add(stem)
    overlay = segmentation.overlay(a.image, a.mask)
    bundle.writestr(f"overlays/{stem}.png", png(overlay))
    bundle.writestr(f"masks/{stem}.png", png(a.mask))
    scale = THUMBNAIL / max(overlay.shape[:2])
    small = cv2.resize(overlay, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Row(a.name, "", a.to_dict() | {"files": f"{stem}.png"}, small)


def _names(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}_{number}"
        number += 1


def csv_text(rows: Sequence[Row], classes: Sequence[str]) -> str:
    """A table that spreadsheets open; texts that they would take for a formula get an apostrophe in front."""
    measures = (
        "tumor_probability",
        "tumor_fraction",
        "tumor_pixels",
        "tumor_area_mm2",
        "tumor_diameter_mm",
        "heat_agreement",
    )
    columns = [
        "file", "label", "confidence", "abstained", "not_brain_mri", *(f"p_{name}" for name in classes), *measures,
        "width", "height", "warnings", "error", "model_id", "revision",
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = row.result | {
            "file": row.file,
            "error": row.error,
            "warnings": " | ".join(row.result.get("warnings", [])),
        }
        values |= {f"p_{name}": f"{p:.5f}" for name, p in row.result.get("probabilities", {}).items()}
        writer.writerow({key: _plain(value) for key, value in values.items()})
    return text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def json_data(rows: Sequence[Row], predictor: Predictor) -> dict[str, Any]:
    return {
        "model_id": predictor.model_id,
        "revision": predictor.revision,
        "versions": versions(),
        "disclaimer": DISCLAIMER,
        "results": [row.result if not row.error else {"name": row.file, "error": row.error} for row in rows],
    }
