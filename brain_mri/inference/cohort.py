"""A cohort in chunks: what the workers of a cluster take one at a time.

    for chunk in chunks(["scans/", "s3://bucket/scans/"], "results"):
        ...

Nothing is opened here: a chunk is names, and the sizes and times that tell later whether it is still the same. Files
that may belong together, those of DICOM series, and headers with their voxels, stay in one chunk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from brain_mri.inference.jobs import BatchError, find, may_be_scan

FILES = 128  # of a chunk: some seconds of work for one core, and milliseconds for the scheduler
BYTES = 64 * 2**20  # of a chunk: volumes are larger, and each of their slices is work
HEADERS = (".hdr", ".mhd", ".nhdr")  # whose voxels are another file
VERSION = ("ETag", "blob_id", "LastModified", "mtime")  # what storages say of a file that changes with its content
TOGETHER = ("", ".dcm", ".dicom", ".ima", ".img", *HEADERS)


@dataclass(frozen=True)
class Chunk:
    name: str  # in order of their files
    files: tuple[str, ...]  # absolute paths, or addresses
    state: str  # changes with the names, sizes and times of the files
    beside: tuple[str, ...] = ()  # addresses of files that headers may speak of
    torn: tuple[str, ...] = ()  # folders of which other chunks hold files, too

    def pieces(self) -> list[Chunk]:
        """As small as they may be: files that belong to none, and folders whose files may belong together."""
        files = (_File(name, 0, "") for name in self.files)
        near = {os.path.dirname(name): list(self.beside) for name in self.files}
        found = _cut(files, 1, near)
        return [replace(one, name=f"{self.name}-{one.name}", state=f"{self.state} {one.state}") for one in found]


@dataclass(frozen=True)
class Done:
    """What became of some files."""

    files: int
    failed: int
    bare: int = 0  # rows with an answer and without a DICOM-SEG
    kept: bool = False


@dataclass(frozen=True, slots=True)  # there may be millions
class _File:
    name: str  # absolute path, or address
    size: int
    stamp: str

    @property
    def folder(self) -> str:
        return os.path.dirname(self.name)

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name.lower().removesuffix(".gz"))[1]


def is_address(text: str) -> bool:
    """s3://bucket/scans, hf://datasets/user/name: what fsspec reads."""
    return "://" in text


def chunks(inputs: Sequence[str], out: str) -> list[Chunk]:
    """Each file of the inputs once, in order, what is no address first. Raises BatchError.

    out: where the results go; what lies there is no input.
    """
    local, beside = [text for text in inputs if not is_address(text)], dict[str, list[str]]()
    found = {file.name: file for file in _local(local, out)} if local else {}
    for address in filter(is_address, inputs):
        for file in _remote(address, out, beside):
            found.setdefault(file.name, file)
    return list(_cut(found.values(), FILES, beside))


def _local(inputs: Sequence[str], out: str) -> Iterator[_File]:
    for path in find(inputs, Path(out)):
        try:
            state = path.stat()
            yield _File(os.path.abspath(path), state.st_size, str(state.st_mtime_ns))
        except OSError:  # its reader says what is wrong
            yield _File(os.path.abspath(path), 0, "")


def _remote(address: str, out: str, beside: dict[str, list[str]]) -> Iterator[_File]:
    """beside: gets all files of the folders in which there are headers."""
    try:
        fs, root, found = _listed(address)
    except ImportError as error:
        raise BatchError(f"{address} cannot be read here: {error}") from None
    except FileNotFoundError:
        raise BatchError(f"There is no file, folder or match for {address}.") from None
    except Exception as error:  # every storage has its own: no credentials, no such host, no such protocol
        raise BatchError(f"{address} could not be listed ({type(error).__name__}: {error}).") from None
    seen: list[_File] = []
    for name, about in found.items():
        parts = name[len(root) :].strip("/").split("/") if name.startswith(root) else name.split("/")[-1:]
        full = fs.unstrip_protocol(name)
        if about["type"] != "file" or any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if not full.startswith(f"{out.rstrip('/')}/"):
            state = next(
                (str(about[key]) for key in ("ETag", "blob_id", "LastModified", "mtime") if about.get(key)), ""
            )
            seen.append(_File(full, about["size"] or 0, state))
    headed = {file.folder for file in seen if file.suffix in HEADERS}
    for file in seen:
        if file.folder in headed:
            beside.setdefault(file.folder, []).append(file.name)
    alone = {root, fs._strip_protocol(address)}  # a file named by itself is always read
    scans = [f for f in seen if may_be_scan(os.path.basename(f.name)) or fs._strip_protocol(f.name) in alone]
    if not scans:
        raise BatchError(f"There are no scans in {address}.")
    yield from sorted(scans, key=lambda file: (file.folder, file.name))


def _listed(address: str) -> tuple[Any, str, dict[str, dict[str, Any]]]:
    """(file system, folder or file or what stands before a pattern, path -> what is known of it)."""
    from fsspec.core import url_to_fs  # only for addresses

    fs, path = url_to_fs(address)
    if any(sign in path for sign in "*?["):
        found: dict[str, dict[str, Any]] = {}
        for name, about in fs.glob(path, detail=True).items():
            found |= fs.find(name, detail=True) if about["type"] == "directory" else {name: about}
        if not found:
            raise FileNotFoundError(address)
        return fs, path[: min(path.index(sign) for sign in "*?[" if sign in path)].rpartition("/")[0], found
    return fs, path.rstrip("/"), fs.find(path, detail=True) if fs.isdir(path) else {path: fs.info(path)}


def _cut(found: Iterable[_File], most: int, beside: dict[str, list[str]]) -> Iterator[Chunk]:
    now: list[_File] = []
    number, begun = 0, ""  # begun: a folder whose first files are in the chunk before

    def chunk(ends: str) -> Chunk:
        state = hashlib.sha256(repr([(f.name, f.size, f.stamp) for f in now]).encode("utf-8", "backslashreplace"))
        near = [name for folder in dict.fromkeys(f.folder for f in now) for name in beside.get(folder, ())]
        names = tuple(f.name for f in now)
        rest = tuple(sorted({*near} - {*names}))
        return Chunk(f"{number:06d}", names, state.hexdigest(), rest, tuple(filter(None, dict.fromkeys((begun, ends)))))

    for folder, group in groupby(found, key=lambda file: file.folder):
        files = list(group)
        pieces = [files] if any(f.suffix in TOGETHER for f in files) else [[f] for f in files]
        for index, piece in enumerate(pieces):
            size = sum(f.size for f in now) + sum(f.size for f in piece)
            if now and (len(now) + len(piece) > most or size > BYTES):
                ends = folder if index else ""
                yield chunk(ends)
                now, number, begun = [], number + 1, ends
            now += piece
    if now:
        yield chunk("")
