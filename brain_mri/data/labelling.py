"""Class folders whose tumors a person outlines, slice by slice: kept as the pairs that --masks reads.

    work = Labelling(Path("brain-tumor-mri"))    # keeps in brain-tumor-mri-outlines/{images,masks,patients.csv}
    item = next(work.walk(), None)
    if item:
        work.save(item, mask)

A saved slice is its file, byte for byte, under images/ and a PNG of the scan's size under masks/. What is saved is what
lies there: a page that is opened again, tomorrow or by somebody else, goes on where the folder ends. Several may work
at once: what one has saved is not offered to the others, and `version` tells whether it is still what was seen.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from brain_mri.classes import NO_TUMOR
from brain_mri.data.folders import (
    DataError,
    Source,
    class_folders,
    existing_folder,
    group_table,
    printable,
    read_groups,
    read_sequences,
    read_table,
    stem_of,
)
from brain_mri.data.outlines import doubt
from brain_mri.data.remote import fetched, given
from brain_mri.files import FileError, atomic_write, guarded
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import Scan, ScanError, clean_name, content_of
from brain_mri.imaging.volume import is_stack

IMAGES, MASKS, TABLE = "images", "masks", "patients.csv"
COLUMNS = ("file", "class", "patient", "sequence")
VOLUME = (
    "is a volume, which is outlined as a whole: in 3D Slicer or ITK-SNAP, say, and --masks takes the two files beside "
    "each other (x.nii.gz, x-seg.nii.gz)."
)


@dataclass(frozen=True)
class Item:
    """One slice of the class folders. name: of its copy under images/, unlike every other."""

    path: Path
    file: str  # relative to the folder that was given, with "/"
    label: str  # its class; "" of a lesion that is no class
    name: str
    patient: str = ""
    sequence: str = ""

    @property
    def mask_name(self) -> str:
        """Its stem is that of `name`, which is how pairs.py knows them for a pair."""
        return f"{stem_of(self.name)}.png"


@dataclass(frozen=True)
class Count:
    """Of one class: slices with an outline, those said to show no tumor, and all."""

    label: str
    outlined: int
    empty: int
    total: int

    @property
    def saved(self) -> int:
        return self.outlined + self.empty


class Labelling:
    """The slices of a folder, and what is saved of them. Safe to use from many threads.

    Slices without a tumor are left out: their masks are empty, and training knows it from their folder.
    """

    def __init__(self, root: str | Path, out: str | Path | None = None):
        """root: a folder, an archive, or the name of a data set (remote.fetched). out: where the pairs are kept, by
        default ROOT-outlines beside it, for a name in the working folder. Raises DataError with one sentence."""
        self.asked = os.fspath(root)
        name, folder = fetched(given(self.asked))
        self.root = existing_folder(folder, "data")
        plain = Path(os.path.abspath(Path(self.asked).expanduser()))
        beside = plain.parent if plain.exists() else Path.cwd()
        self.out = Path(out).expanduser() if out else beside / f"{plain.name if plain.is_dir() else name}-outlines"
        if Path(os.path.abspath(self.out)) == Path(os.path.abspath(self.root)):
            raise DataError(f"The outlines cannot be kept in {self.out}, which holds the classes; name another folder.")
        sources, _ = class_folders(self.root)
        self.items = _spread([item for item in _items(self.root, sources) if item.label != NO_TUMOR])
        if not self.items:
            raise DataError(f"{self.root} holds only pictures without a tumor, whose masks are empty anyway.")
        self._place = {item: place for place, item in enumerate(self.items)}
        self.unread: dict[Item, str] = {}  # what was passed over, and why
        self.boards: dict[str, Item] = {}  # what each user has before them
        self._lock = threading.Lock()
        try:
            for name in (IMAGES, MASKS):
                (self.out / name).mkdir(parents=True, exist_ok=True)
            self._saved = self._found()
            self._write_rows(list(self._saved))
        except OSError as error:
            raise DataError(
                f"The outlines cannot be kept in {self.out} ({_reason(error)}); name another folder with --label-out."
            ) from None

    @property
    def labels(self) -> list[str]:
        return sorted({item.label for item in self.items})

    def counts(self) -> list[Count]:
        """One for each class."""
        with self._lock:
            saved = dict(self._saved)
        result = []
        for label in self.labels:
            here = [item for item in self.items if item.label == label]
            empty = [saved[item] for item in here if item in saved]
            result.append(Count(label, len(empty) - sum(empty), sum(empty), len(here)))
        return result

    def is_saved(self, item: Item) -> bool:
        with self._lock:
            return item in self._saved

    def walk(self, after: Item | None = None, label: str | None = None, user: str = "") -> Iterator[Item]:
        """What is not saved yet, from the one after `after` round to it; so what was skipped comes again at last.

        What other users have before them stands at the end.
        """
        start = self._place[after] + 1 if after else 0
        taken = {item for who, item in self.boards.copy().items() if who != user}
        for item in sorted((*self.items[start:], *self.items[:start]), key=taken.__contains__):
            if label not in (None, "", item.label) or item in self.unread or self.is_saved(item):
                continue
            if not self._came(item):
                yield item

    def before(self, item: Item, label: str | None = None) -> Iterator[Item]:
        """Those before it, the nearest first, saved or not."""
        for other in reversed(self.items[: self._place[item]]):
            if label in (None, "", other.label) and other not in self.unread:
                yield other

    def scan(self, item: Item) -> Scan:
        """Raises ScanError; what cannot be read is not offered again."""
        return self._read(item)[1]

    def version(self, item: Item) -> int:
        """Of what is saved of a slice, by this program or another; 0 while nothing is."""
        try:
            there = self.is_saved(item) or self._came(item)
            return (self.out / MASKS / item.mask_name).stat().st_mtime_ns if there else 0
        except OSError:
            return 0

    def _came(self, item: Item) -> bool:
        """Has another program saved it in this folder?"""
        mask = self._found_of(item)
        if mask is not None:
            with self._lock:
                self._saved[item] = not mask.any()
        return mask is not None

    def mask(self, item: Item) -> np.ndarray | None:
        """bool (H, W) of the scan as it was saved, or None."""
        return _mask_in(self.out / MASKS / item.mask_name) if self.is_saved(item) else None

    def save(self, item: Item, mask: np.ndarray) -> str:
        """Keep mask, bool (h, w) of the scan or of a smaller picture of it; one without a pixel says: no tumor here.

        Returns why training will not learn from it, "" when it will. Raises ScanError or FileError with a sentence;
        then nothing has changed.
        """
        data, scan = self._read(item)
        if mask.shape != scan.shape:
            mask = cv2.resize(mask.astype(np.uint8), scan.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0
        with self._lock:
            try:
                self._write_rows([*self._saved, item])  # of all: another program may have written an older table
                with atomic_write(self.out / IMAGES / item.name) as path:
                    path.write_bytes(data)
                with atomic_write(self.out / MASKS / item.mask_name) as path:  # at last: with it the pair is there
                    path.write_bytes(png(mask))
            except (OSError, DataError) as error:
                raise FileError(f"The outline could not be saved in {self.out} ({_reason(error)}).") from None
            self._saved[item] = not mask.any()
        return doubt(scan.image, mask)

    def take_back(self, item: Item) -> np.ndarray | None:
        """Remove a saved pair. Returns its mask as `mask` does. Raises FileError."""
        mask = self.mask(item)
        with self._lock:
            try:
                (self.out / MASKS / item.mask_name).unlink(missing_ok=True)  # first: a picture alone is no pair
                self._saved.pop(item, None)
                (self.out / IMAGES / item.name).unlink(missing_ok=True)
                self._write_rows([], without=item)
            except (OSError, DataError) as error:
                raise FileError(f"The outline could not be removed from {self.out} ({_reason(error)}).") from None
        return mask

    def _read(self, item: Item) -> tuple[bytes, Scan]:
        """Raises ScanError, and remembers it."""
        try:
            data, name = content_of(item.path)
            if is_stack(data):
                raise ScanError(f"{name} {VOLUME}")
            return data, read_scan(data, name=name)
        except ScanError as error:
            self.unread[item] = str(error)
            raise

    def _found(self) -> dict[Item, bool]:
        """What is saved already -> is its mask empty? Half of a pair, or a mask that cannot be read, is none."""
        images, masks = (set(os.listdir(self.out / name)) for name in (IMAGES, MASKS))
        found = {}
        for item in self.items:
            if item.name in images and item.mask_name in masks:
                mask = self._found_of(item)
                if mask is not None:
                    found[item] = not mask.any()
        return found

    def _found_of(self, item: Item) -> np.ndarray | None:
        return _mask_in(self.out / MASKS / item.mask_name) if (self.out / IMAGES / item.name).exists() else None

    def _write_rows(self, items: Sequence[Item], without: Item | None = None) -> None:
        """patients.csv with the rows of items; rows and columns of others stay. Raises OSError, DataError."""
        path = self.out / TABLE
        rows: dict[str, dict[str, str]] = {}
        columns = list(COLUMNS)
        if path.is_file():
            table = read_table(path, ("file",))
            columns += [name for name in table.columns if name not in COLUMNS]
            rows = {str(row["file"]): {str(k): str(v) for k, v in row.items()} for row in table.to_dict("records")}
        before = {name: dict(row) for name, row in rows.items()}
        for item in items:
            own = dict(zip(COLUMNS, (item.name, item.label, guarded(item.patient), item.sequence), strict=True))
            rows[item.name] = rows.get(item.name, {}) | own
        if without:
            rows.pop(without.name, None)
        if rows != before:
            with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows(rows.values())


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error).rstrip(".")


def _items(root: Path, sources: Sequence[Source]) -> list[Item]:
    table = group_table(root)
    groups, sequences = read_groups(table), read_sequences(table)
    items = []
    for source in sources:
        group, kind = groups.get(source.file, ("", ""))
        patient = group if kind == "patient" else source.folder
        names = printable(source.file), source.label, _name_of(source.file)
        items.append(Item(source.path, *names, patient=patient, sequence=sequences.get(source.file, "")))
    return items


def _name_of(file: str) -> str:
    """Training/glioma/7.jpg -> Training_glioma_7-1a2b3c.jpg: it tells where the slice comes from, and the digits of the
    path's own sha256 keep 7.jpg, 7.png and 7.JPG apart."""
    stem = stem_of(file)
    suffix = clean_name(file[len(stem) :]) if stem != file else ""
    flat = re.sub(r"[^\w.+-]+", "_", printable(stem))[-100:].lstrip("._+-")
    return f"{flat}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}{suffix}"


def _spread(items: Sequence[Item]) -> tuple[Item, ...]:
    """The classes in turn, each in an order without meaning but always the same: the first forty slices that somebody
    outlines are then of all classes, and of many patients."""
    queues: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: hashlib.sha256(item.file.encode()).digest()):
        queues[item.label].append(item)
    rows = itertools.zip_longest(*(queues[label] for label in sorted(queues)))
    return tuple(item for row in rows for item in row if item)


def _mask_in(path: Path) -> np.ndarray | None:
    """bool (H, W) of a PNG as `save` writes it; None of anything else."""
    try:
        values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error):
        return None
    return None if values is None else values > 127
