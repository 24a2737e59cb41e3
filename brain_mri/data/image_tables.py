"""A data set of the Hub whose pictures stand in Parquet tables -> class folders, or pictures and masks, on disk.

    label + image          ROOT/Training/glioma/train-000001.jpg, ROOT/groups.csv where a column names the patients
    image + mask, label    ROOT/images/train-000001.png, ROOT/masks/train-000001.png, ROOT/patients.csv

The package `datasets` reads the tables; the bytes of a picture are written as they are, so nothing is decoded here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from brain_mri.data.class_names import split_of
from brain_mri.data.folders import DataError, says_mask
from brain_mri.data.unpack import Budget, new_folder
from brain_mri.files import guarded

_MASKS = {"mask", "masks", "segmentation", "seg", "annotation", "ground_truth", "groundtruth", "gt", "label_image"}
_LABELS = ("label", "labels", "class", "category", "diagnosis", "tumor_type", "tumour_type", "tumor", "target")
_PATIENTS = ("patient", "patient_id", "patientid", "subject", "subject_id", "case", "case_id")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what; "" where there is none."""

    image: str
    mask: str = ""
    label: str = ""
    patient: str = ""
    names: tuple[str, ...] = ()  # of the numbers in `label`


@dataclass
class Rows:
    """What is written into the table beside the pictures."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


def write_pictures(source: Path, folder: Path, said: str) -> None:
    """The pictures of the tables in `source` as a new folder. said: the data set in sentences. Raises DataError."""
    try:
        import datasets  # an optional package, and slow to import
    except ImportError:
        raise DataError(
            f"{said} keeps its pictures in Parquet tables, which need the package datasets: pip install datasets."
        ) from None
    if int(datasets.__version__.split(".")[0]) < 4:
        raise DataError(
            f"{said} needs datasets 4 or newer (pip install -U datasets): earlier ones run code that a data set brings."
        )
    try:
        parts = datasets.load_dataset(str(source), streaming=True)
        columns = {split: columns_of(part.features or {}, said) for split, part in parts.items()}
        with new_folder(folder) as half:
            budget = Budget(said, half)
            table = Rows(())
            for split, part in parts.items():
                found = columns[split]
                for name in filter(None, (found.image, found.mask)):
                    part = part.cast_column(name, datasets.Image(decode=False))
                rows = tqdm(part, desc=f"Writing the pictures of {split}", unit=" pictures", leave=False)
                table = _write(rows, str(split), found, half, budget, table)
            _write_table(half, table)
    except DataError:
        raise
    except Exception as error:  # several configurations, a damaged table, a picture of a kind that is not known
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"The tables of {said} could not be read ({first_line.rstrip('.')}).") from None


def columns_of(features: Mapping[str, Any], said: str) -> Columns:
    """Raises DataError where a table has no pictures, or nothing that says what they show."""
    images = [name for name, kind in features.items() if _holds_pictures(kind)]
    mask = next((name for name in images if name.lower() in _MASKS or says_mask(name)), "")
    image = next((name for name in images if name != mask), "")
    by_name = {name.lower(): name for name in features}
    classes = [name for name, kind in features.items() if hasattr(kind, "int2str")]  # datasets.ClassLabel
    label = next(iter(classes), "") or next((by_name[word] for word in _LABELS if word in by_name), "")
    label = "" if label in images else label
    patient = next((by_name[word] for word in _PATIENTS if word in by_name), "")
    if not image or not (label or mask):
        lacks = "no column of pictures" if not image else "neither a column of classes nor one of masks"
        raise DataError(f"The tables of {said} have {lacks}; their columns: {', '.join(features) or 'none'}.")
    return Columns(image, mask, label, patient, tuple(getattr(features.get(label), "names", None) or ()))


def _holds_pictures(kind: Any) -> bool:
    """datasets.Image, or bytes beside a path as it is stored without that mark."""
    return type(kind).__name__ == "Image" or (isinstance(kind, Mapping) and {"bytes", "path"} == set(kind))


def _write(rows: Any, split: str, columns: Columns, folder: Path, budget: Budget, table: Rows) -> Rows:
    table = table if table.header else Rows(("file", "class", "patient") if columns.mask else ("file", "group"))
    for number, row in enumerate(rows, 1):
        label, patient = _label(row, columns), str(row.get(columns.patient) or "") if columns.patient else ""
        content = _bytes(row[columns.image])
        name = f"{split}-{number:06d}{_suffix(content)}"
        if columns.mask:
            mask = _bytes(row[columns.mask])
            if content and mask:
                _save(folder / "images" / name, content, budget)
                _save(folder / "masks" / f"{Path(name).stem}{_suffix(mask)}", mask, budget)
                table.rows.append((name, label, patient))
        elif content and label:
            place = "/".join(filter(None, (split_of(split), folder_name(label), name)))
            _save(folder / place, content, budget)
            if patient:
                table.rows.append((place, patient))
    return table


def _label(row: Mapping[str, Any], columns: Columns) -> str:
    value = row.get(columns.label) if columns.label else None
    if isinstance(value, int) and columns.names:
        return columns.names[value] if 0 <= value < len(columns.names) else ""  # -1: not known
    return "" if value is None else str(value)


def folder_name(label: str) -> str:
    """A class as the name of one folder."""
    return re.sub(r'^[=+@-]|[/\\:*?"<>|\x00-\x1f]', "_", label).strip(". ")[:100] or "_"


def _bytes(value: Any) -> bytes:
    return (value.get("bytes") or b"") if isinstance(value, Mapping) else b""


def _suffix(content: bytes) -> str:
    """Readers go by the first bytes; the suffix only says that it is a picture."""
    return ".jpg" if content.startswith(b"\xff\xd8") else ".png"


def _save(path: Path, content: bytes, budget: Budget) -> None:
    budget.take(len(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_table(folder: Path, table: Rows) -> None:
    if not any(folder.iterdir()):
        raise DataError("The tables hold no picture of a known class and none with a mask.")
    if not any(any(row[1:]) for row in table.rows):
        return
    name = "patients.csv" if "patient" in table.header else "groups.csv"
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([table.header, *(map(guarded, row) for row in table.rows)])
