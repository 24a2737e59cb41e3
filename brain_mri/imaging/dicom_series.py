"""Many DICOM files, a folder or a zip archive -> one volume.

Archives are read in memory, member by member and never unpacked to disk, so names like ../../x lead nowhere.
"""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

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
from brain_mri.imaging.orientation import axes_of
from brain_mri.imaging.scan import MAX_BYTES, MAX_VOXELS, ScanError, clean_name, read_bytes

MAX_FILES = 5000  # of one folder or archive
MAX_TOTAL = 2 * MAX_BYTES  # bytes of all files together
TOLERANCE = 0.05  # of direction cosines (3 degrees) and of pixel sizes (5 %) of one series
APART = 0.01  # mm between two places; rounded positions of one place stay below


@dataclass(frozen=True)
class _About:
    """What a file says of its series; nothing that identifies a person."""

    uid: str
    description: str
    number: int | None
    contrast: bool  # was a contrast agent given?
    kind: tuple[str, ...]  # ImageType: ORIGINAL or DERIVED, PRIMARY ...


@dataclass(frozen=True, eq=False)
class _Frame:
    values: np.ndarray
    place: Place
    about: _About
    number: float  # InstanceNumber
    distance: float | None  # mm to the next slice
    thickness: float | None
    info: dict[str, object]
    color: float


@dataclass(frozen=True, eq=False)
class Series:
    """Frames that fit together: one series, one size, one direction.

    places: distinct positions (a diffusion series holds several pictures of each); description, number, contrast, kind
    as the first frame states them.
    """

    frames: list[_Frame]
    places: int
    description: str
    number: int | None
    contrast: bool
    kind: tuple[str, ...]


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
    """DICOM files -> Grid of the series with the most places. Raises ScanError."""
    found, passed = series_of(files, name)
    best = max(found, key=lambda series: series.places)
    if len(found) > 1:
        passed.append(f"{name} holds {len(found)} series or directions; the largest ({best.places} slices) is used.")
    grid = stack_of(best, name)
    return replace(grid, warnings=(*passed, *grid.warnings))


def series_of(files: Iterable[Named], name: str) -> tuple[list[Series], list[str]]:
    """(every series of DICOM files, sentences on damaged files and files without pictures). Raises ScanError."""
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
    passed = [f"{len(failed)} DICOM files of {name} were passed over: {failed[0]}"] if failed else []
    return [_series(group) for group in _groups(frames)], passed


def _frames(data: bytes, file: str) -> Iterator[_Frame]:
    dataset = open_dicom(data, file)
    for i in range(frame_count(dataset)):
        values, color = frame_values(dataset, i, file)
        try:
            place, info, about = frame_place(dataset, i), describe(dataset), _about(dataset)
            measures = functional(dataset, i, "PixelMeasuresSequence")
            distance, thickness = (_length(measures, key) for key in ("SpacingBetweenSlices", "SliceThickness"))
            number = numbers(dataset, "InstanceNumber", 1)
        except Exception:  # tags of a wrong type
            raise ScanError(f"{file} is a damaged or incomplete DICOM file.") from None
        yield _Frame(
            values,
            place,
            about,
            (0.0 if number is None else float(number[0])) + i * 1e-6,
            distance or _length(dataset, "SpacingBetweenSlices"),
            thickness,
            info,
            color,
        )


def _length(item: pydicom.Dataset, key: str) -> float | None:
    """mm of a tag, or None when there is no sensible one."""
    length = numbers(item, key, 1)
    return abs(float(length[0])) if length is not None and 0.01 < abs(length[0]) < 100 else None


def _about(dataset: pydicom.Dataset) -> _About:
    number = numbers(dataset, "SeriesNumber", 1)
    described = str(dataset.get("SeriesDescription") or "").strip()
    return _About(
        str(dataset.get("SeriesInstanceUID") or ""),
        clean_name(described.replace("/", "-").replace("\\", "-")) if described else "",
        None if number is None else int(number[0]),
        bool(str(dataset.get("ContrastBolusAgent") or "").strip()),
        tuple(str(word).upper() for word in np.atleast_1d(dataset.get("ImageType") or ())),
    )


def _groups(frames: list[_Frame]) -> list[list[_Frame]]:
    """Frames of the same series and size whose directions and pixel sizes differ by no more than TOLERANCE."""
    alike: dict[tuple[object, ...], list[_Frame]] = defaultdict(list)
    for frame in frames:
        place = frame.place
        missing = (place.directions is None, place.spacing is None, place.position is None)
        alike[(frame.about.uid, frame.values.shape, missing)].append(frame)
    groups = []
    for members in alike.values():
        directions = [np.zeros(9) if f.place.directions is None else f.place.directions.ravel() for f in members]
        sizes = [np.zeros(2) if f.place.spacing is None else np.log(f.place.spacing) for f in members]
        points, left = np.column_stack([directions, sizes]), np.arange(len(members))
        while len(left):  # whoever is near to one of a group belongs to it, so that no rounding boundary parts them
            group, new, left = [], [int(left[0])], left[1:]
            while new:
                group.append(new.pop())
                near = np.abs(points[left] - points[group[-1]]).max(axis=1) <= TOLERANCE
                new += left[near].tolist()
                left = left[~near]
            groups.append([members[i] for i in sorted(group)])
    return groups


def _series(frames: list[_Frame]) -> Series:
    about, heights = frames[0].about, _heights(frames)
    places = len(frames) if heights is None else len(_apart(frames, heights))
    return Series(frames, places, about.description, about.number, about.contrast, about.kind)


def _directions(frames: list[_Frame]) -> np.ndarray | None:
    """(3, 3) of all frames: the medians of those that each states."""
    stated = [f.place.directions for f in frames if f.place.directions is not None]
    if not stated:
        return None
    middle = np.median(stated, axis=0)
    return np.asarray(middle / np.linalg.norm(middle, axis=0))


def _heights(frames: list[_Frame]) -> np.ndarray | None:
    """mm along the normal of each frame, from its position, else from SliceLocation; None when not all state it."""
    directions = _directions(frames)
    places = [f.place.position for f in frames if f.place.position is not None]
    if directions is not None and len(places) == len(frames):
        return np.asarray(np.array(places) @ directions[:, 2])
    locations = np.array([f.place.location for f in frames if f.place.location is not None])
    return locations if len(locations) == len(frames) and np.ptp(locations) > APART else None


def _apart(frames: list[_Frame], heights: np.ndarray) -> list[int]:
    """The frames in the order of their heights, of each place the one with the least number."""
    kept: list[int] = []
    for i in sorted(range(len(frames)), key=lambda i: (heights[i], frames[i].number)):
        if not kept or heights[i] - heights[kept[-1]] > APART:
            kept.append(i)
        elif frames[i].number < frames[kept[-1]].number:
            kept[-1] = i
    return kept


def stack_of(series: Series, name: str) -> Grid:
    """A series as a Grid with the array order (columns, rows, slices), slices along the normal."""
    warnings: list[str] = []
    frames, directions, heights = series.frames, _directions(series.frames), _heights(series.frames)
    if heights is None:
        kept = sorted(range(len(frames)), key=lambda i: frames[i].number)
        if len(frames) > 1:
            warnings.append(f"{name} does not state where its slices lie; they are in the order of their numbers.")
    else:
        kept = _apart(frames, heights)
        if frames[0].place.position is None:
            warnings.append(f"{name} does not state where its slices lie; they are in the order of SliceLocation.")
    if len(kept) < len(frames):
        warnings.append(f"{name} holds several pictures of the same place; the first of each is used.")
    if directions is None:
        warnings.append(f"{name} does not state its orientation; it is shown as stored.")
        axes, directions = "LPS", np.diag([-1.0, -1.0, 1.0])  # front up, patient's right on the left
    else:
        axes = axes_of(directions) or "LPS"
    frames = [frames[i] for i in kept]
    step, doubts = _step(frames, None if heights is None else heights[kept], directions[:, 2], name)
    place = frames[0].place
    affine = LAS.copy()
    affine[:3, :3] = np.column_stack([directions[:, :2] * np.array((place.spacing or (1.0, 1.0))[::-1]), step])
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
        None if place.spacing is None else (place.spacing[1], place.spacing[0], float(np.linalg.norm(step))),
        2,
        stack.shape[::-1],
        None,
        frames[0].info | {"orientation": "as stored" if place.directions is None else "from ImageOrientationPatient"},
        tuple(warnings),
        max(f.color for f in frames),
        tuple(doubts),
    )


def _step(
    frames: list[_Frame], heights: np.ndarray | None, normal: np.ndarray, name: str
) -> tuple[np.ndarray, list[str]]:
    """((3,) RAS mm from one slice to the next, doubts): along the positions, off the normal for a tilted gantry."""
    if heights is None or len(frames) == 1:
        distance, thickness = frames[0].distance, frames[0].thickness
        what = "the distance of its slices" if len(frames) > 1 else "how thick its slice is"
        taken = f"their thickness of {thickness:.3g} mm" if thickness else "1 mm"
        said = f"{name} does not state {what}; {taken} is assumed, so a volume in mL may be wrong."
        stated = frames[0].place.spacing is None or distance or (thickness and len(frames) == 1)
        return normal * (distance or thickness or 1.0), [] if stated else [said]
    steps = np.diff(heights)
    gap = float(np.median(steps))
    even = steps.max() <= 1.1 * gap and steps.min() >= 0.9 * gap
    gap = float(steps.mean()) if even else gap
    step = normal * gap
    places = np.array([f.place.position for f in frames if f.place.position is not None])
    if len(places):
        step = (places[-1] - places[0]) * (gap / (heights[-1] - heights[0]))
        even = even and np.abs(places - places[0] - np.arange(len(places))[:, None] * step).max() <= 0.5 * gap
    said = f"The slices of {name} are not evenly spaced; some may be missing, so a volume in mL may be wrong"
    return step, [] if even else [f"{said}, and a mask may lie beside its slices."]
