"""NIfTI-1 and NIfTI-2 single files (already unpacked) -> voxels with their geometry.

The header is nibabel's; the voxels are a view of the file's bytes, so that a large volume is not copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from brain_mri.imaging.orientation import axes_of
from brain_mri.imaging.scan import MAX_PIXELS, MAX_VOXELS, MIN_SIDE, ScanError, finite

if TYPE_CHECKING:
    import nibabel as nib

_KEPT = (np.uint8, np.int16, np.uint16, np.float32)
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])  # what a volume without orientation is taken for, as most viewers do


@dataclass(frozen=True, eq=False)
class Grid:
    """A volume in the array order of its file.

    voxels (n0, n1, n2) uint8, int16, uint16 or float32; affine (4, 4) to RAS millimetres; axes: see orientation.py;
    spacing (3,) mm per array axis; slice_axis: the array axis along which slices lie; shape: as stored;
    header: to write the same geometry again; doubts: sentences on why sizes, or left and right, may be wrong;
    instances: of a DICOM series the (SOPInstanceUID, frame) of each slice.
    """

    voxels: np.ndarray
    affine: np.ndarray
    axes: str
    spacing: tuple[float, float, float] | None
    slice_axis: int
    shape: tuple[int, ...]
    header: nib.Nifti1Header | None = None
    info: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    color: float = 0.0
    doubts: tuple[str, ...] = ()
    instances: tuple[tuple[str, int], ...] = ()


def load_nifti(data: bytes, name: str) -> Grid:
    """Unpacked NIfTI bytes -> Grid; of a 4D file the first frame. Raises ScanError."""
    import nibabel as nib  # imported when needed: it takes a while

    if data[344:347] == b"ni1" or data[4:7] == b"ni2":
        raise ScanError(f"{name} is one half of a NIfTI pair (.hdr and .img); convert it to a single .nii file.")
    kind = nib.Nifti2Header if data[4:7] == b"n+2" else nib.Nifti1Header
    try:
        header = kind(data[: kind.sizeof_hdr], check=False)
        _forgive(header)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype, offset = header.get_data_dtype(), max(int(header.get_data_offset()), kind.sizeof_hdr)
        slope, intercept = header.get_slope_inter()
        coded = [m for m, _ in (header.get_sform(coded=True), header.get_qform(coded=True)) if m is not None]
        affine = next((m for m in coded if axes_of(m)), header.get_best_affine())
        zooms = [float(z) for z in header.get_zooms()[:3]]
    except Exception:  # nibabel raises many kinds on damaged headers
        raise ScanError(f"{name} has a damaged NIfTI header.") from None
    warnings: list[str] = []
    voxels, replaced = finite(_real(_stored(data, name, shape, dtype, offset), slope, intercept), name)
    if len(shape) > 3 and np.prod(shape[3:], dtype=np.float64) > 1:
        warnings.append(f"{name} has more than three dimensions; the first volume is used.")
    if replaced:
        warnings.append("Some voxels hold no finite number and are shown black.")
    axes = axes_of(affine)
    if axes is None or not coded:
        warnings.append(
            f"{name} does not state its orientation; the front of the head may not be up, and left may be right."
        )
    unit = {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # 0 unknown, 1 m, 2 mm, 3 micrometre
    lengths = np.linalg.norm(affine[:3, :3], axis=0) if axes else (*zooms, 1.0)[:3]
    a, b, c = (float(z) * unit for z in lengths)
    spacing = (a, b, c) if all(np.isfinite(z) and 0.01 <= z <= 100 for z in (a, b, c)) else None
    if spacing is None:
        warnings.append(f"{name} does not state a usable voxel size, so no areas in mm can be given.")
    doubts = _contradictions(header, shape, name) if axes else []
    warnings += doubts
    if len(shape) < 3 and spacing is not None:
        doubts = [*doubts, f"{name} does not state how thick its slice is, so a volume in mL may be wrong."]
    if axes is None:
        affine, axes = LAS * [*(spacing or (1, 1, 1)), 1], "LAS"
    else:
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
    info: dict[str, object] = {
        "format": "NIfTI",
        "orientation": "from the affine" if coded else "not stated",
        "mode": str(dtype.newbyteorder("=")),
        "bits": dtype.itemsize * 8,
        "shape": shape,
    }
    slice_axis = axis_of_slices(voxels.shape, spacing, axes)
    return Grid(voxels, affine, axes, spacing, slice_axis, shape, header, info, tuple(warnings), doubts=tuple(doubts))


def geometry_of(header: nib.Nifti1Header) -> nib.Nifti1Header:
    """Where the voxels lie, as a header of its own for a mask (uint8, 0 and 1); nothing else of the file: its other
    fields and its extensions may name a person, and fields that are not in use may hold anything."""
    clean = type(header)(endianness=header.endianness)
    clean.set_data_dtype(np.uint8)
    kept = ["dim", "xyzt_units", "qform_code", "sform_code"]
    if header["qform_code"] > 0:
        kept += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
    if header["sform_code"] > 0:
        kept += ["srow_x", "srow_y", "srow_z"]
    for key in kept:
        clean[key] = header[key]
    clean["pixdim"][:4] = header["pixdim"][:4]
    clean["cal_max"] = 1
    return clean


def _forgive(header: nib.Nifti1Header) -> None:
    """Take slips as NIfTI's reference library does: a quaternion that rounding made too long, qfac 0, sizes
    below 0, codes of no kind."""
    keys = ("quatern_b", "quatern_c", "quatern_d")
    length = float(np.linalg.norm([float(header[key]) for key in keys]))
    for key in keys:
        header[key] = float(header[key]) / max(length, 1.0)
    for key in ("qform_code", "sform_code"):  # one that says nothing known is used all the same; nibabel would drop it
        header[key] = 2 if header[key] > 5 else max(0, header[key])
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])


def _contradictions(header: nib.Nifti1Header, shape: tuple[int, ...], name: str) -> list[str]:
    """Sentences on where sform, qform and pixdim say different things."""
    sform, aligned = header.get_sform(coded=True)
    qform, scanner = header.get_qform(coded=True)
    if sform is None or axes_of(sform) is None:
        return []
    found, axes = [], min(3, len(shape))
    stated, given = np.linalg.norm(sform[:3, :axes], axis=0), np.asarray(header["pixdim"][1 : axes + 1], np.float64)
    if (given > 0).all() and (np.abs(stated / given - 1) > 0.02).any():
        one, other = (" x ".join(f"{size:.3g}" for size in sizes) for sizes in (stated, given))
        found.append(
            f"its sform states voxels of {one} mm, its pixdim {other} mm; the sform is used, so sizes in mm and mL "
            f"may be wrong (by pixdim, volumes are {(given / stated).prod():.3g} times as large)."
        )
    if qform is not None and axes_of(qform) is not None:
        if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
            found.append("its sform and qform disagree about left and right; the sform is used.")
        elif aligned == scanner and axes_of(sform) != axes_of(qform):
            found.append("its sform and qform disagree about which way is up; the sform is used.")
    return [f"{name} contradicts itself: {what}" for what in found]


def _stored(data: bytes, name: str, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> np.ndarray:
    """The first volume, (n0, n1, n2), as a view of the file. Raises ScanError."""
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
    return np.frombuffer(data, dtype, count, offset).reshape(size, order="F")


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


def axis_of_slices(size: tuple[int, ...], spacing: tuple[float, ...] | None, axes: str) -> int:
    """The array axis of the slices: the only flat one, the clearly coarsest one, that of a thin slab of a head, else
    head to foot."""
    for flat in ([i for i in range(3) if size[i] < least] for least in (2, MIN_SIDE)):
        if len(flat) == 1:
            return flat[0]
    if spacing is not None:
        order = np.argsort(spacing)
        if spacing[order[2]] > 1.5 * spacing[order[1]]:
            return int(order[2])
        extents = np.multiply(size, spacing)
        thin, middle, _ = np.argsort(extents)
        if extents[middle] > 100 and extents[thin] < 0.4 * extents[middle]:
            return int(thin)
    return next(i for i in range(3) if axes[i] in "SI")
