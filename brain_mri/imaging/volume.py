"""Whole volumes: NIfTI and its kin, a DICOM series or a multi-frame DICOM, alone or in an archive -> slices the right
way up.

volume = read_volume("study.zip")          # raises ScanError with a sentence for a person
scan = volume.scan(12)                     # an acquired slice, front of the head up
volume.save_mask(mask, "mask.nii.gz")      # mask (D, H, W) -> NIfTI in the geometry of the input
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from brain_mri.files import atomic_write
from brain_mri.imaging.archive import Source, open_upload
from brain_mri.imaging.choice import candidates_of, pick
from brain_mri.imaging.file_type import first_bytes, is_picture, is_volume
from brain_mri.imaging.nifti import Grid, geometry_of
from brain_mri.imaging.orientation import DISPLAY, PLANES, permuted, plane_of, turned
from brain_mri.imaging.picture import frame_count
from brain_mri.imaging.scan import (
    MAX_PIXELS,
    MAX_SLICES,
    MIN_SIDE,
    Choice,
    Scan,
    ScanError,
    clean_name,
    stretched,
    window_limits,
    windowed,
)

SLAB = (12, 50.0)  # so many slices that span fewer mm are a doubtful header: a head is three times as high
_MOVING = (b"acTL", b"ANIM", b"avis")  # of PNG, WebP and AVIF


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of slices in radiological display (see orientation.py).

    voxels    (D, H, W) uint8, int16, uint16 or float32: a view, no copy; slices as acquired
    spacing   (3,) mm of (slice, row, column), or None when the file does not state it
    plane     "axial", "coronal" or "sagittal": what an acquired slice shows
    limits    display window of the whole volume, so that neighbouring slices look alike
    choice    own name of what was taken of an upload: a file or a series, never the name of the upload
    choices   everything that could have been taken, what was taken included
    doubt     why sizes in mm and mL, or left and right, may be wrong, in sentences; "" when nothing speaks for it
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float] | None
    plane: str
    limits: tuple[float, float]
    name: str
    info: dict[str, object]
    warnings: tuple[str, ...]
    grid: Grid
    choice: str = ""
    choices: tuple[Choice, ...] = ()
    doubt: str = ""

    def __len__(self) -> int:
        return int(self.voxels.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        depth, height, width = self.voxels.shape
        return depth, height, width

    @property
    def voxel_mm3(self) -> float | None:
        """mm³ of a voxel, sheared or not; None when the file does not state it."""
        return None if self.spacing is None else float(abs(np.linalg.det(self.grid.affine[:3, :3])))

    @property
    def planes(self) -> tuple[str, ...]:
        """The planes that can be shown, the acquired one first: a few slices show nothing of the others."""
        others = [plane for plane in PLANES if plane != self.plane]
        shapes = {p: permuted(self.shape, DISPLAY[self.plane], DISPLAY[p])[1:] for p in others}
        return (self.plane, *(p for p in others if min(_squared(shapes[p], self.plane_spacing(p))) >= MIN_SIDE))

    def scan(self, index: int | None = None, plane: str = "acquired") -> Scan:
        """One slice; by default the one with the most content.

        Slices of another plane than the acquired one are stretched to square pixels. Raises ScanError.
        """
        own = plane in ("acquired", self.plane)
        stack = self.voxels if own else self.reslice(self.voxels, plane)
        warnings = [w for w in self.warnings if w in self.grid.warnings or w not in self.doubt]  # not of mL alone
        if index is None:
            index = fullest_slice(stack, self.limits)
            if len(stack) > 1:
                warnings.append(f"{self.name} holds {len(stack)} slices; slice {index + 1} of {len(stack)} is shown.")
        if not 0 <= index < len(stack):
            which = "" if own else f"{plane} "
            raise ScanError(f"{self.name} has the {which}slices 0 to {len(stack) - 1}, so there is no slice {index}.")
        values, spacing = stack[index], self.spacing[1:] if self.spacing else None
        if not own:
            mm = self.plane_spacing(plane)
            values, spacing = _square(values, mm), (min(mm[1:]), min(mm[1:])) if mm else None
        height, width = values.shape
        if min(height, width) < MIN_SIDE:
            raise ScanError(f"{self.name} has slices of only {width}x{height} pixels, too few to show a head.")
        if height * width > MAX_PIXELS:
            most = MAX_PIXELS // 10**6
            raise ScanError(f"{self.name} has slices of {width}x{height} pixels; the limit is {most} million.")
        info = {**self.grid.info, "plane": self.plane if own else plane, "index": index, "slices": len(stack)}
        warnings += stretched(spacing)
        raw = np.ascontiguousarray(values)
        return windowed(raw, spacing, self.name, info, warnings, self.grid.color, self.limits)

    def reslice(self, array: np.ndarray, plane: str) -> np.ndarray:
        """View of any (D, H, W) array that belongs to this volume (voxels, a mask) as slices of a plane."""
        if plane not in PLANES:
            raise ScanError(f"{plane!r} is no plane; choose acquired, {', '.join(PLANES)}.")
        return turned(array, DISPLAY[self.plane], DISPLAY[plane])

    def plane_spacing(self, plane: str) -> tuple[float, float, float] | None:
        """mm of (slice, row, column) of reslice(..., plane)."""
        return None if self.spacing is None else permuted(self.spacing, DISPLAY[self.plane], DISPLAY[plane])

    def mask_slice(self, mask: np.ndarray, index: int, plane: str = "acquired") -> np.ndarray:
        """bool slice of a mask (D, H, W) that lies on scan(index, plane)."""
        plane = self.plane if plane == "acquired" else plane
        part = self.reslice(mask.astype(bool), plane)[index]
        if plane == self.plane:
            return np.ascontiguousarray(part)
        return _square(part, self.plane_spacing(plane)).astype(bool)

    def save_mask(self, mask: np.ndarray, path: str | Path) -> Path:
        """Write a (D, H, W) mask as uint8 NIfTI (0 and 1) with the array order, shape and affine of the input.

        For DICOM the array is (columns, rows, slices) and the affine is built from the tags. The file is complete or
        not there. Raises ScanError when it cannot be written, ValueError for a mask of another shape.
        """
        import nibabel as nib  # imported when needed: it takes a while

        if mask.shape != self.voxels.shape:
            raise ValueError(f"The mask has the shape {mask.shape}, the volume {self.voxels.shape}.")
        path = Path(path)
        own = turned((mask > 0).astype(np.uint8), DISPLAY[self.plane], self.grid.axes)
        own = own.reshape(self.grid.shape[:3] if len(self.grid.shape) < 3 else own.shape)
        if self.grid.header is None:
            image = nib.Nifti1Image(own, self.grid.affine)
            image.header.set_xyzt_units("mm")
            image.set_sform(self.grid.affine, 1)
            image.set_qform(self.grid.affine, 1)
            if not np.allclose(image.get_qform(), self.grid.affine, atol=1e-3):  # sheared: no quaternion says that
                image.set_qform(self.grid.affine, 0)
        else:
            kind = nib.Nifti2Image if isinstance(self.grid.header, nib.Nifti2Header) else nib.Nifti1Image
            image = kind(own, None, geometry_of(self.grid.header))
        data = image.to_bytes()
        if path.name.endswith(".gz"):
            data = gzip.compress(data, 6, mtime=0)
        try:
            with atomic_write(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise ScanError(f"{clean_name(path)} could not be written ({error.strerror}).") from None
        return path


def _squared(shape: tuple[int, ...], spacing: tuple[float, float, float] | None) -> tuple[int, int]:
    """(height, width) of a slice when its pixels are made square."""
    sides = spacing[1:] if spacing else (1.0, 1.0)
    height, width = (min(4096, max(1, round(n * s / min(sides)))) for n, s in zip(shape, sides, strict=True))
    return height, width


def _square(values: np.ndarray, spacing: tuple[float, float, float] | None) -> np.ndarray:
    """Stretch the coarser direction of a slice so that pixels are square. Labels keep no new values in between."""
    values = np.ascontiguousarray(values)
    height, width = _squared(values.shape, spacing)
    if (height, width) == values.shape:
        return values
    if values.dtype == bool:
        return cv2.resize(values.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)


def fullest_slice(stack: np.ndarray, limits: tuple[float, float]) -> int:
    """Index of the slice with the most tissue, of a stack (slices, rows, columns); the middle one among equals."""
    step = max(1, max(stack.shape[1:]) // 64)
    level = limits[0] + 0.15 * (limits[1] - limits[0])
    counts = (stack[:, ::step, ::step] > level).sum(axis=(1, 2)).astype(np.float64)
    best = np.flatnonzero(counts >= 0.98 * counts.max())
    return int(best[len(best) // 2])


def read_volume(source: Source, *, name: str | None = None, choose: str | None = None, named: bool = True) -> Volume:
    """Read a file of a volume, a DICOM file, a folder, an archive, the bytes of one, or several files.

    choose: the key of one of `Volume.choices`, to take another one than by default. named: False where no sentence and
    no choice may tell the names of the files; then `name` is what the upload is called.
    Raises ScanError with a sentence for a person.
    """
    upload = open_upload(source, name, named)
    candidates, warnings = candidates_of(upload)
    grid, taken, said = pick(candidates, upload.name, choose)
    volume = volume_of(grid, upload.name)
    choices = tuple(Choice(c.key, c.title, len(volume) if c is taken else c.places, c is taken) for c in candidates)
    return replace(volume, warnings=(*said, *warnings, *volume.warnings), choice=taken.title, choices=choices)


def is_stack(source: str | Path | bytes) -> bool:
    """Whether a file holds several slices: a volume, an archive, an animation or a TIFF of many pages; no folder.

    Raises nothing; a damaged file is left to the reader to explain.
    """
    try:
        start = first_bytes(source)
    except (OSError, ValueError, zlib.error):
        return False
    if start and is_volume(source):
        return True
    moving = start[:4] in (b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") or any(word in start for word in _MOVING)
    return moving and is_picture(start) and frame_count(source if isinstance(source, bytes) else Path(source), 2) > 1


def volume_of(grid: Grid, name: str) -> Volume:
    """The grid in radiological display. Raises ScanError for one of too many slices: bytes say nothing of the work."""
    plane = plane_of(grid.axes, grid.slice_axis)
    voxels = turned(grid.voxels, grid.axes, DISPLAY[plane])
    if len(voxels) > MAX_SLICES:
        raise ScanError(f"{name} has {len(voxels):,} slices; the limit is {MAX_SLICES:,}.")
    spacing = permuted(grid.spacing, grid.axes, DISPLAY[plane]) if grid.spacing else None
    info = {**grid.info, "plane": plane, "slices": len(voxels)}
    doubts, tilt = [*grid.doubts, *_slab(len(voxels), spacing)], _tilt(grid)
    if tilt > 45:
        doubts.append("The slices contradict the line that they are stacked on, so a volume in mL may be wrong.")
    warnings = (*grid.warnings, *(doubt for doubt in doubts if doubt not in grid.warnings))
    if 2 < tilt <= 45:
        warnings += (f"The slices are tilted by {tilt:.0f} degrees, so other planes than theirs look slanted.",)
    return Volume(
        voxels, spacing, plane, window_limits(grid.voxels), name, info, warnings, grid, doubt=" ".join(doubts)
    )


def _tilt(grid: Grid) -> float:
    """Degrees between the normal of the slices and the line that they are stacked on (a tilted gantry)."""
    columns = grid.affine[:3, :3].T
    step = columns[grid.slice_axis]
    normal = np.cross(*np.delete(columns, grid.slice_axis, axis=0))
    aligned = abs(step @ normal) / (np.linalg.norm(step) * np.linalg.norm(normal))
    return float(np.degrees(np.arccos(min(1.0, aligned))))


def _slab(depth: int, spacing: tuple[float, float, float] | None) -> list[str]:
    """A sentence when many slices span too little for a head."""
    if spacing is None or depth < SLAB[0] or depth * spacing[0] >= SLAB[1]:
        return []
    return [
        f"The file states {spacing[0]:.3g} mm between slices, so its {depth} slices span only "
        f"{depth * spacing[0]:.0f} mm; if that is wrong, so is the volume in mL."
    ]
