"""What tables say of pictures beside class, patient and sequence: age, sex, scanner, whatever their columns are called.

    groups.csv, patients.csv    file,patient,age,sex            a row for each file
    patients.csv                patient,age,sex                 a row for each patient, whose pictures folders tell

Nothing is learned from these columns. `audit` asks whether one of them tells the class, `evaluate` reports by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from brain_mri.data.class_names import IMAGE_FOLDERS
from brain_mri.data.folders import CLASS_FOLDER, patient_id, read_table, stem_of

ABOUT = "about "  # begins the name of such a column in Dataset.table, which has a "mode" and a "size" of its own
MOST = 24  # columns: tables of radiomics have a thousand
TABLES = ("groups.csv", "patients.csv")
OURS = {"file", "class", "label", "group", "patient", "kind", "fold", "sequence", "split"}  # what others read
_UNKNOWN = {"", "nan", "none", "na", "n/a", "<na>", "null", "unknown", "?", "-"}


def with_about(table: pd.DataFrame, roots: Mapping[str, Path], groups: Path | None = None) -> pd.DataFrame:
    """Dataset.table with a column for each that the tables have; "" where nothing is known.

    table: columns origin, source, file, patient. roots: origin -> folder. groups: the table of all class folders, in
    place of the groups.csv in each. Raises DataError.
    """
    found: dict[str, dict[object, str]] = {}
    for (origin, source), rows in table.groupby(["origin", "source"], sort=True):
        given = [groups] if groups and source == CLASS_FOLDER else [roots[str(origin)] / TABLES[0]]
        for path in (*given, roots[str(origin)] / TABLES[1]):
            by_file, by_patient = read_about(path)
            for row, file, patient in zip(rows.index, rows["file"], rows["patient"], strict=True):
                said = next((by_file[name] for name in names_of(file) if name in by_file), None)
                for column, value in (said or by_patient.get(patient, {})).items():
                    found.setdefault(column, {}).setdefault(row, value)
    first = list(found)[:MOST]
    return table.assign(**{ABOUT + name: pd.Series(found[name]).reindex(table.index, fill_value="") for name in first})


def names_of(file: str) -> Iterable[str]:
    """What a table may call a file: images/a/1.png, a/1.png, and a/1."""
    yield file
    short = "/".join(part for part in PurePosixPath(file).parts if part.lower() not in IMAGE_FOLDERS)
    yield from (short, stem_of(short))


def read_about(path: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """({file, and its stem: {column: value}}, {patient: {column: value}}); a table is of files or of patients.

    Values that are not known are left out. Both are empty without such a table. Raises DataError.
    """
    by_file: dict[str, dict[str, str]] = {}
    by_patient: dict[str, dict[str, str]] = {}
    if not path.is_file():
        return by_file, by_patient
    table = read_table(path, ())
    columns = [name for name in table.columns if name not in OURS and not name.startswith("unnamed")]
    for row in table.to_dict("records") if columns else ():
        known = {name: row[name] for name in columns if str(row[name]).lower() not in _UNKNOWN}
        if "file" in row:
            by_file[row["file"]] = known
            by_file.setdefault(stem_of(row["file"]), known)
        elif patient := patient_id(row.get("patient", "")):
            by_patient[patient] = known
    return by_file, by_patient


def columns_about(table: pd.DataFrame) -> list[str]:
    """The columns of Dataset.table that with_about has added."""
    return [name for name in table.columns if name.startswith(ABOUT)]


def number_in(text: object) -> float:
    """The number that a cell states: 63 for "63", "063Y" (as DICOM writes an age) and "63 years", 0.5 for "6M"; else
    NaN."""
    match = re.fullmatch(r"(-?\d+(?:[.,]\d+)?)\s*(y|yrs?|years?|m|months?|w|weeks?|d|days?)?\.?", str(text).lower())
    if not match:
        return float("nan")
    parts = {"m": 12.0, "w": 52.18, "d": 365.25}
    return float(match[1].replace(",", ".")) / parts.get((match[2] or "y")[0], 1.0)
