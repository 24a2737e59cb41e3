"""Many DICOM files, a folder or a zip archive -> one volume.

Archives are read in memory, member by member and never unpacked to disk, so names like ../../x lead nowhere.
"""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from brain_mri.imaging.dicom import (
    Place,
    describe,
    frame_count,
    frame_place,
    frame_values,
    functional,
    numbers,
    open_dicom,
)
from brain_mri.imaging.file_type import is_medical, looks_like_dicom
from brain_mri.imaging.nifti import LAS, Grid
from brain_mri.imaging.scan import MAX_BYTES, MAX_VOXELS, ScanError, clean_name, read_bytes

MAX_FILES = 5000  # of one folder or archive
MAX_TOTAL = 2 * MAX_BYTES  # bytes of all files together


@dataclass(frozen=True, eq=False)
class _Frame:
    values: np.ndarray
    place: Place
    series: str
    number: float  # InstanceNumber
    thickness: float | None
    info: dict[str, object]
    color: float


Named = tuple[str, bytes]


def folder_files(folder: Path) -> Iterator[Path]:
    """The DICOM and NIfTI files in a folder and below it; links and hidden files are passed over. Raises ScanError."""
    seen = 0
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for file in sorted(files):
            path = Path(root, file)
            if file.startswith(".") or path.is_symlink() or not path.is_file():
                continue
            seen += 1
            if seen > MAX_FILES:
                raise ScanError(f"{clean_name(folder)} holds more than {MAX_FILES} files; choose one series.")
            try:
                with path.open("rb") as stream:
                    start = stream.read(512)
            except OSError as error:  # gone, or not to be read, since the folder was listed
                raise ScanError(f"{clean_name(file)} could not be opened ({error.strerror}).") from None
            if is_medical(start):
                yield path


def read_files(paths: Iterable[Path], name: str) -> Iterator[Named]:
    """(name, content) of files, read one after the other. Raises ScanError."""
    total = 0
    for path in paths:
        data = read_bytes(path)
        total += len(data)
        if total > MAX_TOTAL:
            raise ScanError(f"{name} holds more than {MAX_TOTAL // 2**20} MB; choose one series.")
        yield clean_name(path), data


def zip_files(data: bytes, name: str) -> Iterator[Named]:
    """(name, content) of the DICOM and NIfTI members of a zip archive. Raises ScanError for a bomb or a damaged one."""
    if data.count(b"PK\x01\x02") > MAX_FILES:  # before a directory of millions is parsed
        raise ScanError(f"{name} holds more than {MAX_FILES} files; make an archive of one series.")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) > MAX_FILES:
                raise ScanError(f"{name} holds more than {MAX_FILES} files; make an archive of one series.")
            total = 0
            for member in members:
                file = clean_name(member.filename)
                if file.startswith(".") or "__MACOSX" in member.filename:
                    continue
                if member.flag_bits & 1:
                    raise ScanError(f"{name} is protected by a password; unpack it first.")
                with archive.open(member) as stream:  # a bomb is read no further than the limit
                    start = stream.read(512)
                    if not is_medical(start):
                        continue
                    content = start + stream.read(min(MAX_BYTES, MAX_TOTAL - total) + 1)
                if len(content) > MAX_BYTES:
                    raise ScanError(f"{file} in {name} is larger than the limit of {MAX_BYTES // 2**20} MB.")
                total += len(content)
                if total > MAX_TOTAL:
                    raise ScanError(f"{name} unpacks to more than {MAX_TOTAL // 2**20} MB and was refused.")
                yield file, content
    except ScanError:
        raise
    except MemoryError:
        raise ScanError(f"{name} needs more memory than there is.") from None
    except Exception:  # BadZipFile, zlib.error, NotImplementedError, EOFError, ...
        raise ScanError(f"{name} is a damaged zip archive or of a kind that cannot be unpacked here.") from None


def load_series(files: Iterable[Named], name: str) -> Grid:
    """DICOM files -> Grid with the array order (columns, rows, slices), slices along the normal. Raises ScanError.

    Damaged files and files without pictures are passed over with a warning; of several series the largest is used.
    """
    frames: list[_Frame] = []
    failed: list[str] = []
    voxels = 0
    for file, data in files:
        if not looks_like_dicom(data[:512]):
            continue
        try:
            for frame in _frames(data, file):
                voxels += frame.values.size
                if voxels > MAX_VOXELS:
                    raise MemoryError
                frames.append(frame)
        except MemoryError:
            raise ScanError(f"{name} has more than {MAX_VOXELS // 10**6} million voxels.") from None
        except ScanError as error:
            failed.append(str(error))
    if not frames:
        if len(failed) == 1:
            raise ScanError(failed[0])
        raise ScanError(f"{name} holds no readable DICOM picture" + (f"; {failed[0]}" if failed else "."))
    warnings = [f"{len(failed)} DICOM files of {name} were passed over: {failed[0]}"] if failed else []
    return _stack(_largest(frames, name, warnings), name, warnings)


def _frames(data: bytes, file: str) -> Iterator[_Frame]:
    dataset = open_dicom(data, file)
    for i in range(frame_count(dataset)):
        values, color = frame_values(dataset, i, file)
        try:
            place, info = frame_place(dataset, i), describe(dataset)
            measures = functional(dataset, i, "PixelMeasuresSequence")
            thickness = numbers(dataset, "SpacingBetweenSlices", 1)
            thickness = numbers(measures, "SliceThickness", 1) if thickness is None else thickness
            number = numbers(dataset, "InstanceNumber", 1)
            series = str(dataset.get("SeriesInstanceUID") or "")
        except Exception:  # tags of a wrong type
            raise ScanError(f"{file} is a damaged or incomplete DICOM file.") from None
        yield _Frame(
            values,
            place,
            series,
            (0.0 if number is None else float(number[0])) + i * 1e-6,
            None if thickness is None or not 0.01 < abs(thickness[0]) < 100 else abs(float(thickness[0])),
            info,
            color,
        )


def _largest(frames: list[_Frame], name: str, warnings: list[str]) -> list[_Frame]:
    """The frames that fit together: same series, size and direction."""
    groups: dict[tuple[object, ...], list[_Frame]] = defaultdict(list)
    for frame in frames:
        directions = frame.place.directions
        turned = None if directions is None else tuple(np.round(directions.ravel(), 2) + 0.0)
        groups[(frame.series, frame.values.shape, turned)].append(frame)
    best = max(groups.values(), key=len)
    if len(groups) > 1:
        warnings.append(f"{name} holds {len(groups)} series or directions; the largest ({len(best)} slices) is used.")
    return best


def _stack(frames: list[_Frame], name: str, warnings: list[str]) -> Grid:
    first = frames[0].place
    axes, directions = first.axes, first.directions
    places = [f.place.position for f in frames]
    gap: float | None = None
    if directions is not None and axes is not None and all(p is not None for p in places):
        heights = np.array([p @ directions[:, 2] for p in places if p is not None])
        order = sorted(range(len(frames)), key=lambda i: (heights[i], frames[i].number))
        kept = [order[0]]
        for i in order[1:]:
            if heights[i] - heights[kept[-1]] > 1e-3:
                kept.append(i)
        if len(kept) < len(frames):
            warnings.append(f"{name} holds several pictures of the same place; the first of each is used.")
        steps = np.diff(heights[kept])
        if len(steps):
            gap = float(np.median(steps))
            if steps.max() > 1.1 * gap or steps.min() < 0.9 * gap:
                warnings.append(f"The slices of {name} are not evenly spaced; some may be missing.")
    else:
        kept = sorted(range(len(frames)), key=lambda i: frames[i].number)
        if len(frames) > 1:
            warnings.append(f"{name} does not state where its slices lie; they are in the order of their numbers.")
    frames = [frames[i] for i in kept]
    place = frames[0].place
    gap = frames[0].thickness if gap is None else gap
    spacing = None if place.spacing is None else (place.spacing[1], place.spacing[0], gap or 1.0)
    if place.spacing is not None and gap is None and len(frames) > 1:
        warnings.append(f"{name} does not state the distance of its slices; 1 mm is assumed.")
    if directions is None or axes is None:
        warnings.append(f"{name} does not state its orientation; it is shown as stored.")
        directions, axes = np.diag([-1.0, -1.0, 1.0]), "LPS"  # front up, patient's right on the left
    affine = LAS.copy()
    affine[:3, :3] = directions * np.array(spacing or (1.0, 1.0, 1.0))
    if place.position is not None:
        affine[:3, 3] = place.position
    types = {f.values.dtype for f in frames}
    dtype = types.pop() if len(types) == 1 else np.dtype(np.float32)
    stack = np.empty((len(frames), *frames[0].values.shape), dtype)
    for i, frame in enumerate(frames):
        stack[i] = frame.values
    return Grid(
        stack.transpose(2, 1, 0),
        affine,
        axes,
        spacing,
        2,
        stack.shape[::-1],
        None,
        frames[0].info | {"orientation": "from ImageOrientationPatient"},
        tuple(warnings),
        max(f.color for f in frames),
    )
