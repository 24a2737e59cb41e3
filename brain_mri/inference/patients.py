"""From slices to patients: whose a file is, and one answer a patient.

    whose = read_patients(Path("patients.csv"))             # columns file, patient and whatever else is to be kept
    table = PatientTable(predictor.classes, predictor.abstain_below, whose)
    for row in to_folder(predictor, jobs, out, patients=table):     # writes predictions_patients.csv when all are there
        ...
    table.lines()

The models see single slices. A patient has a tumor when one of the slices is called one, and its kind is the likeliest
on these slices: the more slices, the more chances of a false alarm, so the share of such slices stands beside it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.classes import NO_TUMOR
from brain_mri.files import atomic_write, guarded
from brain_mri.inference.jobs import BatchError, Job
from brain_mri.inference.rows import Row, cells

COLUMNS = (
    "label", "confidence", "abstained", "kind_unsure", "tumor_probability", "highest", "highest_slice", "slices",
    "tumor_slices", "tumor_share", "volume_ml", "volume_of", "largest_area_mm2", "files", "not_brain_mri", "not_read",
)  # fmt: skip
LARGEST = 16 * 2**20  # bytes of a table of patients
NOBODY = ("", "nan", "none", "<na>")  # as Python writes what is not known
FEW = 4  # different words about one patient that are told; more of them are about single files


def patient_answer(
    classes: Sequence[str], chances: np.ndarray, called: np.ndarray, weights: np.ndarray | None = None
) -> tuple[str, np.ndarray]:
    """(the answer for a patient, float64 (C,) its probabilities) from those of slices, or of whole volumes.

    chances (N, C), N > 0; called: bool (N,), is it called a tumor? weights (N,): slices that each of them stands for.
    Those that are called a tumor speak, with the mean of their probabilities; where none is, all do.
    """
    speak = called if called.any() else np.ones(len(called), bool)
    mean = np.average(
        np.asarray(chances, np.float64)[speak], axis=0, weights=None if weights is None else weights[speak]
    )
    free = np.asarray(classes) == NO_TUMOR
    if free.any() and not called.any():
        return NO_TUMOR, mean
    return classes[int(np.where(free, -1.0, mean).argmax())], mean


@dataclass
class Whose:
    """Patients by the names of their files."""

    find: Callable[[Job], str]  # "" for a file of nobody
    about: dict[str, dict[str, str]] = field(default_factory=dict)  # patient -> further columns


def read_patients(path: Path, files: Iterable[str | Path], name: str = "", *, apart: bool = True) -> Whose:
    """A CSV with the columns file and patient; of others what it says of a patient is kept: "T1 / FLAIR".

    files: all that are to be analysed. A row names one of them by its path from the table's folder or from here, or
    by the end of its path, down to the name alone, where no other file has that end. name: how sentences call the
    table. apart: the files lie in their own folders; of uploads, which do not, the name alone tells, where no other row
    has it. Raises BatchError, also when the table names none of the files.
    """
    called = name or path
    try:
        if path.stat().st_size > LARGEST:
            raise BatchError(f"{called} has more than {LARGEST // 2**20} MB; a table of patients is smaller.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BatchError(f"{called} could not be read ({error.strerror or error}).") from None
    except UnicodeDecodeError:  # guessed letters could make two patients one
        raise BatchError(f"{called} is no UTF-8 text; Excel saves it so as “CSV UTF-8”.") from None
    first = text.partition("\n")[0]
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ","))
    except csv.Error as error:
        raise BatchError(f"{called} could not be read as a CSV table ({error}).") from None
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not {"file", "patient"} <= {*names}:
        raise BatchError(
            f"{called} needs the columns file and patient; it has {', '.join(filter(None, names)) or 'none'}."
        )
    if twice := [column for column, count in Counter(filter(None, names)).items() if count > 1]:
        raise BatchError(f"{called} has the column {twice[0]} twice.")
    at: dict[str, str] = {}
    alone: dict[str, str] = {}
    about: dict[str, dict[str, list[str]]] = {}
    for cells_ in rows[1:]:
        row = {column: cell.strip() for column, cell in zip(names, cells_, strict=False)}
        file, patient = row.pop("file", "").replace("\\", "/").removeprefix("./"), row.pop("patient", "")
        if not file or patient.lower() in NOBODY:
            continue
        if at.setdefault(file, patient) != patient:
            raise BatchError(f"{called} names two patients for {file}.")
        last = file.rpartition("/")[2]
        if not apart:
            alone[last] = patient if alone.get(last, patient) == patient else ""
        known = about.setdefault(patient, {})
        for column, value in row.items():
            some = known.setdefault(column, [])
            if column and value and len(some) <= FEW and value not in some:
                some.append(value)
    home, paths = path.absolute().parent, [Path(file) for file in files]
    often = Counter(end for file in paths for end in _ends(file) if end in at or end in alone)

    def of(file: Path) -> str:
        absolute = file.absolute()
        within = absolute.relative_to(home).as_posix() if absolute.is_relative_to(home) else ""
        exact = next((at[one] for one in (within, file.as_posix(), absolute.as_posix()) if one in at), "")
        return exact or next((at.get(e) or alone.get(e, "") for e in _ends(file) if often[e] == 1), "")

    def find(job: Job) -> str:
        return next(filter(None, map(of, job.paths)), "")

    if not any(map(of, paths)):
        raise BatchError(f"{called} names none of the files; its column file wants their paths or names.")
    said = {
        patient: {c: " / ".join(some) if len(some) <= FEW else "several" for c, some in known.items() if some}
        for patient, known in about.items()
    }
    return Whose(find, said)


def _ends(file: Path) -> list[str]:
    """The ends of a path, the longest first: a/b/1.png, b/1.png, 1.png."""
    parts = file.absolute().parts[1:]
    return ["/".join(parts[at:]) for at in range(len(parts))]


@dataclass
class _Patient:
    """What is known of a patient so far: a few numbers for each file."""

    files: int = 0
    not_read: int = 0
    foreign: int = 0
    slices: int = 0
    called_slices: int = 0
    chances: list[list[float]] = field(default_factory=list)  # of each file that is a brain MRI
    called: list[bool] = field(default_factory=list)
    sure: list[bool] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    highest: tuple[float, str, int | None] = (-1.0, "", None)  # probability, file, slice from 1
    volume: tuple[float, str] | None = None
    area: float | None = None

    def add(self, row: Row, classes: Sequence[str]) -> None:
        result = row.result
        self.files += 1
        if row.error:
            self.not_read += 1
            return
        if result["not_brain_mri"]:
            self.foreign += 1
            return
        count, tumor = int(result.get("slices", 1)), result["label"] != NO_TUMOR
        called = int(result.get("called_slices", tumor))
        self.slices, self.called_slices = self.slices + count, self.called_slices + called
        self.chances.append([result["probabilities"][name] for name in classes])
        self.called.append(tumor)
        self.sure.append(not result["abstained"] or bool(result["kind_unsure"]))
        self.weights.append(max(1, called if tumor else count))
        chance = result.get("highest_probability", result["tumor_probability"])
        if chance is not None and chance > self.highest[0]:
            place = result.get("highest_slice")
            self.highest = (chance, row.file, None if place is None else place + 1)
        size = result.get("volume_ml")  # T1 and T2 of one head are no sum: the largest counts
        if size is not None and (self.volume is None or size > self.volume[0]):
            self.volume = (size, row.file)
        if (area := result.get("tumor_area_mm2")) is not None:
            self.area = max(area, self.area or 0.0)

    def line(self, classes: Sequence[str], limit: float) -> dict[str, Any]:
        counts = {"files": self.files, "not_brain_mri": self.foreign, "not_read": self.not_read}
        if not self.chances:
            return {"abstained": True} | counts
        called, tells_none = np.array(self.called), NO_TUMOR in classes
        label, mean = patient_answer(classes, np.array(self.chances), called, np.array(self.weights))
        confidence = float(mean[list(classes).index(label)])
        sure = np.array(self.sure)
        there = tells_none and bool((sure & called).any()) and label != NO_TUMOR
        abstained = not sure.any() or confidence < limit
        return counts | {
            "label": label,
            "confidence": confidence,
            "abstained": abstained,
            "kind_unsure": abstained and there,
            **{f"p_{name}": float(chance) for name, chance in zip(classes, mean, strict=True)},
            "tumor_probability": self.highest[0] if tells_none else None,
            "highest": self.highest[1],
            "highest_slice": self.highest[2],
            "slices": self.slices,
            "tumor_slices": self.called_slices if tells_none else None,
            "tumor_share": self.called_slices / self.slices if tells_none else None,
            "volume_ml": self.volume[0] if self.volume else None,
            "volume_of": self.volume[1] if self.volume else None,
            "largest_area_mm2": self.area,
        }


class PatientTable:
    """One line a patient, from the rows of many files as they come; nothing but numbers is kept of a row."""

    def __init__(self, classes: Sequence[str], abstain_below: float, whose: Whose):
        self.classes, self._limit, self.whose = classes, abstain_below, whose
        self._waiting: deque[str] = deque()
        self._patients: dict[str, _Patient] = {}
        self.of_nobody = 0

    def noted(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The same jobs; whose each is will be known when its row comes, in the same order."""
        for job in jobs:
            self._waiting.append(self.whose.find(job))
            yield job

    def add(self, row: Row) -> None:
        patient = self._waiting.popleft()
        if patient:
            self._patients.setdefault(patient, _Patient()).add(row, self.classes)
        else:
            self.of_nobody += 1

    @property
    def count(self) -> int:
        return len(self._patients)

    @property
    def left_out(self) -> str:
        """How many files have no row, in a sentence; "" where all have one."""
        if not self.of_nobody:
            return ""
        files = "1 file is" if self.of_nobody == 1 else f"{self.of_nobody} files are"
        return f"{files} of no patient that is known, without a row."

    def lines(self) -> list[dict[str, Any]]:
        """By the order of their first files; what the tables say of a patient stands at the end."""
        return [
            {"patient": name} | found.line(self.classes, self._limit) | self._kept(name)
            for name, found in self._patients.items()
        ]

    def _kept(self, patient: str) -> dict[str, str]:
        ours = {"patient", *COLUMNS, *(f"p_{name}" for name in self.classes)}
        known = self.whose.about.get(patient, {})
        return {f"{name} (table)" if name in ours else name: value for name, value in known.items()}

    def write(self, path: Path, encoding: str = "utf-8") -> None:
        """Raises OSError."""
        lines = self.lines()
        chances = [f"p_{name}" for name in self.classes]
        columns = ["patient", *COLUMNS[:2], *chances, *COLUMNS[2:]]
        columns = list(dict.fromkeys([*columns, *(name for line in lines for name in line)]))
        with (
            atomic_write(path) as temporary,
            temporary.open("w", encoding=encoding, errors="backslashreplace", newline="") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writerow({name: guarded(name) for name in columns})
            writer.writerows(map(cells, lines))
