"""What to read of many inputs: files, folders and patterns -> jobs, each one file or the DICOM files of one series.

    jobs = named(find(["scans/", "extra.png"], out))

Nothing is decoded here; of DICOM files only the tags that say which series they belong to are read.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from brain_mri.imaging.file_type import (
    GZIP,
    archive_kind,
    first_bytes,
    is_other_volume,
    is_picture,
    looks_like_dicom,
    slices_stated,
)
from brain_mri.imaging.picture import frame_count
from brain_mri.imaging.scan import MAX_SLICES, clean_name
from brain_mri.imaging.volume_formats import slice_count, voxel_file

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".j2k", ".avif",
    ".heic", ".heif", ".dcm", ".dicom", ".ima", ".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgh",
    ".mgz", ".zip", ".tar", ".tgz",
}  # fmt: skip
LONGEST = 60  # characters of a name: file systems count bytes, and a temporary name is longer
PACKED = (256, 2**17)  # what archives and animations count as: so many slices at least, and so many bytes a slice
TAGS = 2**18  # bytes of a DICOM file in which the tags of its series stand


class BatchError(Exception):
    """The run cannot start or go on; the message is one sentence for a person."""


@dataclass(frozen=True)
class Job:
    paths: tuple[Path, ...]  # one file, or those of a series
    name: str  # of its output files, unique within the run
    file: str  # how the tables name it
    named: bool = True  # whether what is said of it may tell the names of its files

    def stamp(self) -> str:
        """Sizes and times of the files: another one means that they were replaced. "" when they cannot be looked at."""
        try:
            states = [path.stat() for path in self.paths]
        except OSError:
            return ""
        return f"{len(states)} {sum(s.st_size for s in states)} {max(s.st_mtime_ns for s in states)}"


def slices_of(paths: Sequence[Path]) -> int:
    """How many slices there are about to analyse in a file, or in the files of a series; at least 1, raises nothing.

    Only first bytes are read. What promises more than may be analysed of one volume counts as 1: its reader refuses it
    at once.
    """
    return sum(map(_stated, paths)) or 1


def _stated(path: Path) -> int:
    try:
        start = first_bytes(path)
        if archive_kind(start) or (is_picture(start) and frame_count(path, 2) > 1):
            return _packed(path)
        count = slice_count(start) or (_packed(path) if is_other_volume(start) else slices_stated(start))
        if looks_like_dicom(start):  # whose first bytes may pretend, or hint at a mosaic
            frames = _frames(path)
            count = _packed(path) if count > 1 == frames else frames
    except (OSError, ValueError, IndexError, struct.error, zlib.error):
        return 1
    return count if 0 < count <= MAX_SLICES else 1


def _packed(path: Path) -> int:
    """For what does not tell: it counts as long, so that no place for short ones is got by hiding what a file holds."""
    return max(PACKED[0], min(path.stat().st_size // PACKED[1], MAX_SLICES))


def _frames(path: Path) -> int:
    """NumberOfFrames of a DICOM file, behind whatever stands before it."""
    seen: list[int] = []
    try:
        tags = _tags(path, 0x00280008, seen)
        return int(tags.get("NumberOfFrames") or 1) if seen or path.stat().st_size <= TAGS else _packed(path)
    except Exception:  # damaged, or deflated and large
        return _packed(path) if path.stat().st_size > TAGS else 1


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
        yield from (Path(root, name) for name in sorted(files) if may_be_scan(name))


def may_be_scan(name: str) -> bool:
    """Whether a file of a folder is read, by its name; hidden ones are not."""
    stem, suffix = os.path.splitext(name.lower().removesuffix(".gz"))
    return not name.startswith(".") and (suffix in SUFFIXES or (not suffix and stem not in ("readme", "license")))


def named(paths: Iterable[Path], file: Callable[[Path], str] = os.fspath, *, apart: bool = True) -> Iterator[Job]:
    """The jobs, one after the other. Their outputs are called as the file, with a number when another one took that.

    file: how the tables name a path; the page has no business to show where the server keeps an upload.
    apart: the files of a series lie in one folder; uploads each have one of their own.
    """
    taken: set[str] = set()
    for group, whole in _series(paths, apart):
        own = group[0].parent if whole else group[0]
        stem = clean_name(file(own))
        stem = stem if whole else stem.removesuffix(".gz").rsplit(".", 1)[0]
        stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem.strip(". ") or "scan")[:LONGEST]
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        more = f" and {len(group) - 1} more" if len(group) > 1 and not whole else ""
        yield Job(group, name, file(own) + more)


def _series(paths: Iterable[Path], apart: bool) -> Iterator[tuple[tuple[Path, ...], bool]]:
    """(files that belong together, whether they are the one series of their folder), as their first files come.

    They are the DICOM files of a series, and a header with the file that holds its voxels.
    """
    for _, near in groupby(paths, key=lambda path: path.parent if apart else None):
        files = list(near)
        groups: dict[object, list[Path]] = {}
        voxels: dict[Path, Path] = {}  # of headers that are files of their own
        for path in files:
            start = _start(path)
            other = _voxels_of(path, start, files, apart) if is_other_volume(start) else None
            if other:
                voxels[path] = other
            groups.setdefault((looks_like_dicom(start) and _series_of(path)) or object(), []).append(path)
        halves = set(voxels.values())
        several = sum(len(group) > 1 for group in groups.values())
        for group in groups.values():
            if group[0] not in halves:
                own = voxels.get(group[0])
                yield (group[0], own) if own else tuple(group), apart and several == 1 < len(group)


def _start(path: Path) -> bytes:
    try:
        return first_bytes(path)
    except (OSError, ValueError, zlib.error):  # its reader says what is wrong
        return b""


def _voxels_of(header: Path, start: bytes, files: Sequence[Path], apart: bool) -> Path | None:
    """The file that holds the voxels of a header, when it is there: in its folder, or among the uploads."""
    file = voxel_file(start, header.name).lower()
    near = () if not file else header.parent.iterdir() if apart else files
    return next((path for path in near if path.name.lower() in (file, f"{file}.gz") and path != header), None)


def _series_of(path: Path) -> tuple[str, ...] | None:
    """Patient, study and series of a DICOM file; None where they are not stated."""
    try:
        tags = _tags(path, 0x0020000E)
        uid = tags.get("SeriesInstanceUID")
        return (str(tags.get("PatientID", "")), str(tags.get("StudyInstanceUID", "")), str(uid)) if uid else None
    except Exception:  # a damaged file stands alone, and its reader says why
        return None


def _tags(path: Path, last: int, seen: list[int] | None = None) -> Dataset:
    """Those up to the tag `last`, if it stands in the first bytes; seen: gets the one behind it. Raises anything."""
    from pydicom.filereader import read_partial  # takes a quarter of a second: only for DICOM files

    def behind(tag: int, *_: object) -> bool:
        if tag > last and seen is not None:
            seen.append(tag)
        return tag > last

    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        content = gzip.GzipFile(fileobj=file).read(TAGS) if packed else file.read(TAGS)
    return read_partial(io.BytesIO(content), stop_when=behind, force=True)


def stem_of(name: str) -> str:
    """ "Slice 12.nii.gz" -> "Slice_12": the name of a scan as the beginning of a file name on any system."""
    stem = re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", name)
    return re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("._")[:60] or "scan"
