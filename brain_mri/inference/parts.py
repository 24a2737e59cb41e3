"""A chunk of a cohort -> a part of a Parquet table. What a worker of a cluster does; the same engine as everywhere.

    done = analyze_chunk(order, chunk)          # writes OUT/predictions.partial.parquet/part-000017-<digest>.parquet

A part is written when its pictures are, as a whole, under a name that tells of what and by which model and options it
is: done twice it is the same part, and what is there need not be done again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from brain_mri.files import atomic_write
from brain_mri.imaging.scan import clean_name
from brain_mri.inference.batch import SEG, analyze_files
from brain_mri.inference.cohort import Chunk, Done, is_address
from brain_mri.inference.jobs import BatchError, named
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import SLICE_COLUMNS, Row, about, chances_apart, columns_of, each_slice
from brain_mri.inference.worker_model import WorkerModel, loaded, pinned

FETCH = 8  # files at once
TORN = "A series of DICOM files that are named as pictures, in a folder too large for one task; name them .dcm."
TABLE, SLICES = "predictions", "predictions_slices"
ABOUT = b"brain_mri"  # of the metadata of a part: the particulars of model and run, and what the part counts
LISTS = {"quality", "warnings", "paths"}
FLAGS = {"abstained", "kind_unsure", "tumor", "not_brain_mri"}
WHOLE = {"slices", "tumor_pixels", "width", "height", "files", "slice", "called_slices", "highest_slice"}
NUMBERS = {
    "confidence", "tumor_probability", "volume_ml", "tumor_fraction", "tumor_area_mm2", "tumor_diameter_mm",
    "heat_agreement", "highest_probability", "area",
}  # fmt: skip
MORE = ("called_slices", "highest_slice", "highest_probability", "files", "paths")  # what an answer a patient needs


@dataclass(frozen=True)
class Order:
    """What is asked of every chunk."""

    model: WorkerModel
    classes: tuple[str, ...]
    about: str  # JSON, for the metadata of the parts
    out: str  # absolute folder, or address
    here: str  # the working directory of who asks: paths below it are named from there
    pictures: tuple[str, ...]
    slices: bool

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(asdict(self)).encode("utf-8", "backslashreplace")).hexdigest()[:12]

    @property
    def mark(self) -> str:
        """A file beside the parts by which workers know that they look at the same folder; readers pass over it."""
        return f"_order-{self.digest}"

    def shown(self, name: str) -> str:
        """How the tables name an absolute path or an address."""
        path = Path(name)
        near = not is_address(name) and path.is_relative_to(self.here)
        return os.fspath(path.relative_to(self.here)) if near else name

    def part(self, chunk: Chunk) -> str:
        state = hashlib.sha256(f"{self.digest} {chunk.state}".encode()).hexdigest()[:12]
        return f"part-{chunk.name}-{state}.parquet"

    def schemas(self) -> dict[str, pa.Schema]:
        """Of the tables that a part has."""
        columns = {TABLE: [*columns_of(self.classes), *MORE]} | ({SLICES: SLICE_COLUMNS} if self.slices else {})
        return {name: pa.schema([(column, _kind(column)) for column in found]) for name, found in columns.items()}


def order(predictor: Predictor, model: str, out: str, *, pictures: Sequence[str] = (), slices: bool = False) -> Order:
    """model: as it was asked for. Raises BatchError."""
    Place(out)  # that there is such a kind of place is known before anything begins
    return Order(
        model=pinned(predictor, model),
        classes=tuple(predictor.classes),
        about=json.dumps(about(predictor, pictures, slices), ensure_ascii=False),
        out=out if is_address(out) else os.path.abspath(out),
        here=os.getcwd(),
        pictures=tuple(pictures),
        slices=slices,
    )


def _kind(column: str) -> pa.DataType:
    if column in LISTS:
        return pa.list_(pa.string())
    if column in NUMBERS or column.startswith("p_"):
        return pa.float64()
    return pa.bool_() if column in FLAGS else pa.int64() if column in WHOLE else pa.string()


# --- where the results go ---------------------------------------------------------------------------------------


class Place:
    """A folder that all machines see, or an address; files appear in it as a whole."""

    def __init__(self, where: str):
        """Raises BatchError."""
        try:
            self._fs, self._base = url_to_fs(where)
        except (ImportError, ValueError) as error:  # s3fs is missing; no such protocol
            raise BatchError(f"{where} cannot be written: {error}") from None

    def path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def write(self, name: str, data: bytes) -> None:
        path = self.path(name)
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.pipe_file(path, data)  # storages show an object when all of it is there
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)

    def names(self, folder: str) -> set[str]:
        try:
            return {os.path.basename(path) for path in self._fs.ls(self.path(folder), detail=False, refresh=True)}
        except FileNotFoundError:
            return set()

    def remove(self, name: str) -> None:
        self._fs.rm(self.path(name), recursive=True)

    def finish(self, table: str, parts: set[str]) -> None:
        """The table gets its name; what is there beside its parts goes. Raises BatchError when parts are gone."""
        there = self.names(partial(table))
        if (gone := len(parts - there)) and parts <= self.names(f"{table}.parquet"):  # had been finished, then a kill
            if there:
                self.remove(partial(table))
            return
        if gone:
            raise BatchError(
                f"{gone} of {len(parts)} parts are gone from {self.path(partial(table))}: another run has written to "
                "the same --out. When it has ended, the same command goes on from here."
            )
        for name in there - parts:
            self.remove(f"{partial(table)}/{name}")
        if self.names(f"{table}.parquet"):
            self.remove(f"{table}.parquet")
        if isinstance(self._fs, LocalFileSystem):
            self._fs.mv(self.path(partial(table)), self.path(f"{table}.parquet"))
            return
        before = [self.path(f"{partial(table)}/{name}") for name in parts]  # storages have no folders, only names
        self._fs.copy(before, [self.path(f"{table}.parquet/{name}") for name in parts])
        self._fs.rm(before)

    def begun(self, order: Order) -> set[str]:
        """The parts that a run which was stopped has left, whole."""
        there = self.names(partial(TABLE))
        return there & (self.names(partial(SLICES)) | self.names(f"{SLICES}.parquet")) if order.slices else there

    def counts(self, name: str) -> Done:
        with self._fs.open(self.path(name), "rb") as file:
            return replace(Done(**json.loads(pq.read_schema(file).metadata[ABOUT])["counts"]), kept=True)

    def records(self, table: str) -> Iterator[dict[str, Any]]:
        """Of a whole table, in order, one part in memory at a time."""
        for name in sorted(self.names(f"{table}.parquet")):
            with self._fs.open(self.path(f"{table}.parquet/{name}"), "rb") as file:
                yield from pq.read_table(file).to_pylist()


def partial(table: str) -> str:
    return f"{table}.partial.parquet"


# --- what a worker does -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def _shared(order: Order) -> Place:
    """Where the results go. Raises BatchError where that is another folder here."""
    place = Place(order.out)
    if order.mark not in place.names(partial(TABLE)):
        raise BatchError(f"{order.out} is not the same folder on all machines: share it, or take an address for --out.")
    return place


def analyze_chunk(order: Order, chunk: Chunk) -> Done:
    """Write the part of a chunk, and before it the pictures. Raises BatchError, and OSError where a storage fails."""
    place, predictor = _shared(order), loaded(order.model)
    rows: list[Line] = []
    with _fetched(chunk) as files:

        def shown(path: Path) -> str:
            return order.shown(files.name(path))

        jobs = [replace(job, name=f"{chunk.name}/{job.name}") for job in named(files.paths, shown)]
        torn = [len(job.paths) > 1 and os.path.dirname(files.name(job.paths[0])) in chunk.torn for job in jobs]
        whole = [job for job, bad in zip(jobs, torn, strict=True) if not bad]
        answers = analyze_files(predictor, whole, pictures=order.pictures, threads=1, slices=order.slices)
        for job, bad in zip(jobs, torn, strict=True):
            row = Row(job.file, TORN, files=len(job.paths)) if bad else next(answers)
            for name, data in row.pictures.items():
                place.write(name, data)
            row = replace(row, pictures={}, thumbnail=None)
            rows.append((row, [shown(path) for path in job.paths]))
    rows += [(Row(name, reason), [name]) for name, reason in files.lost.items()]
    return write_part(order, place, chunk, rows)


Line = tuple[Row, Sequence[str]]  # of a table, and the files that it is of


def write_part(order: Order, place: Place, chunk: Chunk, rows: Sequence[Line]) -> Done:
    """The rows of a chunk, as they are in the end. Raises OSError."""
    bare = sum(not row.error and SEG not in row.result for row, _ in rows) if SEG in order.pictures else 0
    done = Done(sum(row.files for row, _ in rows), sum(row.files for row, _ in rows if row.error), bare)
    said = {ABOUT: json.dumps({"about": json.loads(order.about), "counts": asdict(done)}).encode()}
    records = []
    for row, paths in rows:
        of = {"files": row.files, "paths": list(paths) if row.files > 1 else None}
        records.append(chances_apart(row.record()) | of)
    tables = {TABLE: records, SLICES: [line for record in records for line in each_slice(record)]}
    for name, schema in reversed(order.schemas().items()):  # that of the files comes last: with it the part is there
        table = pa.Table.from_pylist([_printable(line) for line in tables[name]], schema.with_metadata(said))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        place.write(f"{partial(name)}/{order.part(chunk)}", sink.getvalue().to_pybytes())
    return done


def _printable(value: Any) -> Any:
    """Names of files may be any bytes; those that are no text become \\udcff."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_printable(one) for one in value]
    return {key: _printable(one) for key, one in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class _Here:
    """The files of a chunk on this machine, and how the tables call what was fetched."""

    paths: list[Path]
    called: dict[Path, str]  # also their folders
    lost: dict[str, str]  # address -> why it could not be fetched

    def name(self, path: Path) -> str:
        return self.called.get(path) or os.fspath(path)


@contextmanager
def _fetched(chunk: Chunk) -> Iterator[_Here]:
    """What is fetched is gone afterwards. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="brain-mri-") as folder:
        at = {name: Path(folder, *name.partition("://")[2].split("/")) for name in (*chunk.files, *chunk.beside)
              if is_address(name)}  # fmt: skip
        with ThreadPoolExecutor(FETCH) as pool:
            reasons = dict(zip(at, pool.map(_fetch, at, at.values()), strict=True))
        called = {path: name for name, path in at.items()}
        called |= {path.parent: name.rpartition("/")[0] for name, path in at.items()}
        lost = {name: reason for name, reason in reasons.items() if reason and name in chunk.files}
        yield _Here([at.get(name, Path(name)) for name in chunk.files if name not in lost], called, lost)


def _fetch(address: str, path: Path) -> str:
    """Why there is nothing to fetch, or "". Raises OSError where a second try may help."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fs, name = url_to_fs(address)
    try:
        fs.get_file(name, os.fspath(path))
        return ""
    except (FileNotFoundError, PermissionError) as error:
        path.unlink(missing_ok=True)
        return f"{clean_name(address)} could not be fetched ({type(error).__name__})."
    except Exception as error:  # every storage has its own
        raise OSError(f"{address} could not be fetched ({type(error).__name__}: {error})") from None
