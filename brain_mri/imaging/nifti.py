"""NIfTI-1 and NIfTI-2 single files (already unpacked) -> voxels with their geometry.

The header is nibabel's; the voxels are a view of the file's bytes, so that a large volume is not copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from brain_mri.imaging.orientation import Axes, apply_order, axes_of, display_order, plane_of
from brain_mri.imaging.scan import (
    MAX_PIXELS,
    MAX_VOXELS,
    MIN_SIDE,
    Scan,
    ScanError,
    finite,
    stretched,
    to_uint8,
    window_limits,
)

if TYPE_CHECKING:
    import nibabel as nib

_KEPT = (np.uint8, np.int16, np.uint16, np.float32)
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])  # what a volume without orientation is taken for, as most viewers do


@dataclass(frozen=True, eq=False)
class Grid:
    """A volume in the array order of its file.

    voxels (n0, n1, n2) uint8, int16, uint16 or float32; affine (4, 4) to RAS millimetres; spacing (3,) mm per
    array axis; slice_axis: the array axis along which slices lie; header: to write the same geometry again.
    """

    voxels: np.ndarray
    affine: np.ndarray
    axes: Axes
    spacing: tuple[float, float, float] | None
    slice_axis: int
    shape: tuple[int, ...]
    header: nib.Nifti1Header | None = None
    info: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    color: float = 0.0

    @property
    def plane(self) -> str:
        return plane_of(self.axes, self.slice_axis)

    def displayed(self, plane: str | None = None) -> np.ndarray:
        """View (slices, rows, columns) in radiological orientation."""
        return apply_order(self.voxels, display_order(self.axes, plane or self.plane))

    def displayed_spacing(self, plane: str | None = None) -> tuple[float, float, float] | None:
        """mm of (slices, rows, columns)."""
        if self.spacing is None:
            return None
        a, b, c = display_order(self.axes, plane or self.plane)[0]
        return self.spacing[a], self.spacing[b], self.spacing[c]


def load_nifti(data: bytes, name: str) -> Grid:
    """Unpacked NIfTI bytes -> Grid; of a 4D file the first frame. Raises ScanError."""
    import nibabel as nib  # imported when needed: it takes a while

    if data[344:347] == b"ni1" or data[4:7] == b"ni2":
        raise ScanError(f"{name} is one half of a NIfTI pair (.hdr and .img); convert it to a single .nii file.")
    kind = nib.Nifti2Header if data[4:7] == b"n+2" else nib.Nifti1Header
    try:
        header = kind(data[: kind.sizeof_hdr], check=False)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        offset = max(int(header.get_data_offset()), kind.sizeof_hdr)
        slope, intercept = header.get_slope_inter()
        affine = np.asarray(header.get_best_affine(), np.float64)
        zooms = [float(z) for z in header.get_zooms()[:3]]
    except Exception:  # nibabel raises many kinds on damaged headers
        raise ScanError(f"{name} has a damaged NIfTI header.") from None
    return _grid(data, name, header, shape, dtype, offset, slope, intercept, affine, zooms)


def _grid(
    data: bytes,
    name: str,
    header: nib.Nifti1Header,
    shape: tuple[int, ...],
    dtype: np.dtype,
    offset: int,
    slope: float | None,
    intercept: float | None,
    affine: np.ndarray,
    zooms: list[float],
) -> Grid:
    warnings: list[str] = []
    if len(shape) < 2 or min(shape) < 1:
        raise ScanError(f"{name} has the shape {shape}; a NIfTI slice or volume is needed.")
    size = (*shape[:3], 1)[:3]
    count = int(np.prod(size, dtype=np.float64))
    if count > MAX_VOXELS or max(size) > MAX_PIXELS:
        raise ScanError(f"{name} has {count:.2g} voxels; the limit is {MAX_VOXELS // 10**6} million.")
    if dtype.hasobject or dtype.itemsize == 0:
        raise ScanError(f"{name} holds voxels of a kind that cannot be read here.")
    if offset + count * dtype.itemsize > len(data):
        raise ScanError(f"{name} is incomplete: its header promises more voxels than the file holds.")
    if len(shape) > 3 and np.prod(shape[3:], dtype=np.float64) > 1:
        warnings.append(f"{name} has more than three dimensions; the first volume is used.")
    voxels = np.frombuffer(data, dtype, count, offset).reshape(size, order="F")
    voxels, replaced = finite(_real(voxels, slope, intercept), name)
    if replaced:
        warnings.append("Some voxels hold no finite number and are shown black.")
    axes = axes_of(affine)
    spacing: tuple[float, ...] | None = (
        tuple(float(z) for z in np.linalg.norm(affine[:3, :3], axis=0)) if axes else (*zooms, 1.0)[:3]
    )
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if axes is None or not coded:
        warnings.append(f"{name} does not state its orientation; the front of the head may not be up.")
    if axes is None:
        affine = LAS
        axes = axes_of(affine)
    assert axes is not None and spacing is not None
    units = int(header["xyzt_units"]) & 7  # 0 unknown, 1 metre, 2 millimetre, 3 micrometre
    spacing = tuple(z * {1: 1000.0, 3: 0.001}.get(units, 1.0) for z in spacing)
    if not all(np.isfinite(z) and 0.01 <= z <= 100 for z in spacing):
        spacing = None
        warnings.append(f"{name} does not state a usable voxel size, so no areas in mm can be given.")
    info: dict[str, object] = {
        "format": "NIfTI",
        "orientation": "from the affine" if coded else "not stated",
        "mode": str(dtype.newbyteorder("=")),
        "bits": dtype.itemsize * 8,
        "shape": shape,
    }
    return Grid(
        voxels,
        affine,
        axes,
        spacing if spacing is None else (spacing[0], spacing[1], spacing[2]),
        _slice_axis(size, spacing, axes),
        shape,
        header,
        info,
        tuple(warnings),
    )


def _real(voxels: np.ndarray, slope: float | None, intercept: float | None) -> np.ndarray:
    """Any stored type -> uint8, int16, uint16 or float32 with the header's scale applied."""
    if voxels.dtype.names:  # RGB
        voxels = np.stack([voxels[c] for c in voxels.dtype.names[:3]]).mean(axis=0, dtype=np.float32)
    if voxels.dtype.kind == "c":
        voxels = np.abs(voxels)
    scaled = slope not in (None, 1.0) or intercept not in (None, 0.0)
    if not scaled and voxels.dtype.newbyteorder("=") in _KEPT:
        return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    if not scaled and voxels.dtype == np.int8:
        return voxels.astype(np.int16)
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = voxels.astype(np.float32)
        if scaled:
            voxels *= np.float32(1.0 if slope is None else slope)
            voxels += np.float32(intercept or 0.0)
    return voxels


def _slice_axis(size: tuple[int, ...], spacing: tuple[float, ...] | None, axes: Axes) -> int:
    """The array axis of the slices: the only flat one, the clearly coarsest one, else head to foot."""
    single = [i for i in range(3) if size[i] == 1]
    if len(single) == 1:
        return single[0]
    if spacing is not None:
        order = np.argsort(spacing)
        if spacing[order[2]] > 1.5 * spacing[order[1]]:
            return int(order[2])
    return next(i for i in range(3) if axes[i][0] == 2)


def fullest_slice(stack: np.ndarray, limits: tuple[float, float]) -> int:
    """Index of the slice with the most tissue, of a stack (slices, rows, columns); the middle one among equals."""
    step = max(1, max(stack.shape[1:]) // 64)
    level = limits[0] + 0.15 * (limits[1] - limits[0])
    counts = (stack[:, ::step, ::step] > level).sum(axis=(1, 2)).astype(np.float64)
    best = np.flatnonzero(counts >= 0.98 * counts.max())
    return int(best[len(best) // 2])


def read_nifti_slice(data: bytes, name: str, index: int | None = None) -> Scan:
    """One displayed slice of unpacked NIfTI bytes. Raises ScanError."""
    grid = load_nifti(data, name)
    return slice_scan(grid, grid.displayed(), window_limits(grid.voxels), name, index)


def slice_scan(
    grid: Grid,
    stack: np.ndarray,
    limits: tuple[float, float],
    name: str,
    index: int | None,
) -> Scan:
    """Slice `index` of a displayed stack as a Scan, windowed like its whole volume. Raises ScanError."""
    count, height, width = stack.shape
    check_slice(height, width, name)
    if index is None:
        index = fullest_slice(stack, limits)
    if not 0 <= index < count:
        raise ScanError(f"{name} has the slices 0 to {count - 1}, so there is no slice {index}.")
    spacing = grid.displayed_spacing()
    info = {**grid.info, "plane": grid.plane, "index": index, "slices": count}
    return plane_scan(grid, stack[index], limits, name, spacing[1:] if spacing else None, info)


def check_slice(height: int, width: int, name: str) -> None:
    """Raises ScanError for slices that are too small or too large to show a head."""
    if min(height, width) < MIN_SIDE:
        raise ScanError(f"{name} has slices of only {width}x{height} pixels, too few to show a head.")
    if height * width > MAX_PIXELS:
        raise ScanError(f"{name} has slices of {width}x{height} pixels; the limit is {MAX_PIXELS // 10**6} million.")


def plane_scan(
    grid: Grid,
    values: np.ndarray,
    limits: tuple[float, float],
    name: str,
    spacing: tuple[float, float] | None,
    info: dict[str, object],
) -> Scan:
    """Windowed Scan of (H, W) values of a volume."""
    raw = np.ascontiguousarray(values)
    image = raw if raw.dtype == np.uint8 else to_uint8(raw, limits)
    warnings = (*grid.warnings, *stretched(spacing))
    if image.min() == image.max():
        warnings = (*warnings, f"Every pixel of slice {info['index']} has the same value.")
    return Scan(image, raw, spacing, name, info, warnings, grid.color)
