"""Many DICOM files, a folder or a zip archive -> one volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom

from brain_mri.imaging.dicom import (
    PIXELS,
    Place,
    describe,
    frame_count,
    frame_place,
    frame_values,
    functional,
    numbers,
    open_dicom,
)
from brain_mri.imaging.dicom_sequence import injected
from brain_mri.imaging.nifti import LAS, Grid
from brain_mri.imaging.orientation import axes_of
from brain_mri.imaging.scan import MAX_VOXELS, ScanError, TooLarge, clean_name

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
class _File:
    name: str
    load: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class _Frame:
    """One picture, known by its header; stack_of decodes those that it needs."""

    file: _File
    index: int
    shape: tuple[int, int]
    place: Place
    about: _About
    number: float  # InstanceNumber
    distance: float | None  # mm to the next slice
    thickness: float | None
    info: dict[str, object]
    instance: str  # SOPInstanceUID


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


def series_of(files: Iterable[tuple[str, Callable[[], bytes]]], name: str) -> tuple[list[Series], list[str]]:
    """(every series of DICOM files, sentences on damaged files and files without pictures). Raises ScanError.

    files: the name of each, and what reads it; twice at most, so that a whole study needs no memory.
    """
    frames: list[_Frame] = []
    failed: list[str] = []
    for file, load in files:
        try:
            frames += _frames(_File(file, load))
        except TooLarge:
            raise
        except ScanError as error:
            failed.append(str(error))
    if not frames:
        raise _unreadable(failed, name)
    return [_series(group) for group in _groups(frames)], _passed_over(failed, name)


def _unreadable(failed: Sequence[str], name: str) -> ScanError:
    if len(failed) == 1:
        return ScanError(failed[0])
    return ScanError(f"{name} holds no readable DICOM picture" + (f"; {failed[0]}" if failed else "."))


def _passed_over(failed: Sequence[str], name: str) -> list[str]:
    return [f"{len(failed)} DICOM files of {name} were passed over: {failed[0]}"] if failed else []


def _frames(file: _File) -> Iterator[_Frame]:
    dataset = open_dicom(file.load(), file.name)
    try:
        info, about, shape = describe(dataset), _about(dataset), (int(dataset.Rows), int(dataset.Columns))
        number = numbers(dataset, "InstanceNumber", 1)
        first, instance = 0.0 if number is None else float(number[0]), str(dataset.get("SOPInstanceUID") or "")
        for i in range(min(frame_count(dataset), _most_frames(dataset))):
            measures = functional(dataset, i, "PixelMeasuresSequence")
            distance, thickness = (_length(measures, key) for key in ("SpacingBetweenSlices", "SliceThickness"))
            distance = distance or _length(dataset, "SpacingBetweenSlices")
            place = frame_place(dataset, i)
            yield _Frame(file, i, shape, place, about, first + i * 1e-6, distance, thickness, info, instance)
    except Exception:  # tags of a wrong type
        raise ScanError(f"{file.name} is a damaged or incomplete DICOM file.") from None


def _most_frames(dataset: pydicom.Dataset) -> int:
    """Frames that the bytes of a file can hold, whatever its header promises; and one more, to find it damaged."""
    data = next((dataset[key].value for key in PIXELS if key in dataset), None) or b""
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("BitsAllocated") or 8)
    return 1 + 8 * len(data) // (64 if dataset.file_meta.TransferSyntaxUID.is_encapsulated else bits)


def _decoded(frames: list[_Frame], name: str) -> tuple[list[_Frame], dict[_Frame, tuple[np.ndarray, float]], list[str]]:
    """(frames without those that are damaged, (values, colour) of those of them that make the stack, warnings)."""
    pictures: dict[_Frame, tuple[np.ndarray, float]] = {}
    failed: dict[str, str] = {}
    for order in (_order(frames), range(len(frames))):  # the others only when one of a place may replace another
        wanted: dict[_File, list[_Frame]] = defaultdict(list)
        for i in order:
            if frames[i] not in pictures:
                wanted[frames[i].file].append(frames[i])
        if (len(pictures) + sum(map(len, wanted.values()))) * np.prod(frames[0].shape) > MAX_VOXELS:
            raise TooLarge(f"{name} has more than {MAX_VOXELS // 10**6} million voxels.")
        for file, own in wanted.items():
            try:
                dataset = open_dicom(file.load(), file.name)
                for frame in own:
                    pictures[frame] = frame_values(dataset, frame.index, file.name)
            except TooLarge:
                raise
            except ScanError as error:
                failed[file.name] = str(error)
        if not failed:
            return frames, pictures, []
    if not pictures:
        raise _unreadable(list(failed.values()), name)
    return list(pictures), pictures, _passed_over(list(failed.values()), name)


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
        injected(dataset),
        tuple(str(word).upper() for word in np.atleast_1d(dataset.get("ImageType") or ())),
    )


def _groups(frames: list[_Frame]) -> list[list[_Frame]]:
    """Frames of the same series and size whose directions and pixel sizes differ by no more than TOLERANCE."""
    alike: dict[tuple[object, ...], list[_Frame]] = defaultdict(list)
    for frame in frames:
        place = frame.place
        missing = (place.directions is None, place.spacing is None, place.position is None)
        alike[(frame.about.uid, frame.shape, missing)].append(frame)
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


def _order(frames: list[_Frame]) -> list[int]:
    """The frames that make a stack, from its first slice to its last."""
    heights = _heights(frames)
    if heights is None:
        return sorted(range(len(frames)), key=lambda i: frames[i].number)
    return _apart(frames, heights)


def stack_of(series: Series, name: str) -> Grid:
    """A series as a Grid with the array order (columns, rows, slices), slices along the normal. Raises ScanError."""
    frames, pictures, warnings = _decoded(series.frames, name)
    directions, heights, kept = _directions(frames), _heights(frames), _order(frames)
    if heights is None:
        if len(frames) > 1:
            warnings.append(f"{name} does not state where its slices lie; they are in the order of their numbers.")
    elif frames[0].place.position is None:
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
    types = {pictures[f][0].dtype for f in frames}
    dtype = types.pop() if len(types) == 1 else np.dtype(np.float32)
    stack = np.empty((len(frames), *frames[0].shape), dtype)
    for i, frame in enumerate(frames):
        stack[i] = pictures[frame][0]
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
        max(pictures[f][1] for f in frames),
        tuple(doubts),
        tuple((frame.instance, frame.index) for frame in frames),
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
