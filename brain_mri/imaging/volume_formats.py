"""MetaImage (.mha, .mhd), NRRD, FreeSurfer's .mgz and pairs of .hdr and .img -> the bytes of a NIfTI file.

nifti.py reads those, so that geometry and limits are the same for all. The readers of MetaImage and NRRD are our own:
the libraries for them run C++ on untrusted bytes (ITK) or unpack without a limit (pynrrd). Names of other files in a
header are never followed: voxels come from the header's own file or from a file that was chosen together with it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from brain_mri.imaging.file_type import is_header_half, is_metaimage, is_mgh, looks_like_nifti
from brain_mri.imaging.nifti import Grid, axis_of_slices, load_nifti
from brain_mri.imaging.orientation import axes_of
from brain_mri.imaging.scan import ScanError, TooLarge, clean_name, inflate

if TYPE_CHECKING:
    import nibabel as nib

Voxels = Callable[[], bytes] | None  # content of the file that `voxel_file` names, chosen together with a header
_LPS = np.diag([-1.0, -1.0, 1.0])
_TYPES = {
    "i1": "char, signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t, long",
    "u4": "uint, unsigned int, uint32, uint32_t, ulong",
    "i8": "longlong, long long, long long int, signed long long, int64, int64_t, long_long",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t, ulong_long",
    "f4": "float",
    "f8": "double",
}
_CODES = {name: code for code, names in _TYPES.items() for name in names.split(", ")}


@dataclass(frozen=True, eq=False)
class _Stored:
    """What a header says. sizes: fastest axis first; affine: RAS; parts: values a voxel, stored together;
    file: where the voxels are ("" in the same file, from `offset` on); packed: wbits of zlib, 0 for plain ones."""

    kind: str
    sizes: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray | None
    zooms: tuple[float, ...]
    parts: int
    file: str
    offset: int
    packed: int


def load_other(data: bytes, name: str, voxels: Voxels = None) -> Grid:
    """MetaImage, NRRD, MGH or the header of a pair -> Grid. Raises ScanError."""
    whole, kind = _as_nifti(data, name, voxels)
    grid = load_nifti(whole, name)
    return replace(grid, info=grid.info | {"format": kind})


def _as_nifti(data: bytes, name: str, beside: Voxels) -> tuple[bytes, str]:
    """(a single NIfTI file, name of the format). Raises ScanError."""
    try:
        if is_header_half(data):
            return _joined(data, name, beside), "header pair"
        stored = _read_header(data)
        if not stored.file:
            voxels = data[stored.offset :]
        else:
            if beside is None:
                raise ScanError(f"{name} holds no voxels; choose it together with {clean_name(stored.file)}.")
            voxels = beside()[stored.offset :]
        if stored.packed:
            voxels = inflate(voxels, name, wbits=stored.packed)
        if stored.parts > 1:
            whole = np.frombuffer(voxels, stored.dtype, stored.parts * int(np.prod(stored.sizes)))
            voxels = np.ascontiguousarray(whole[:: stored.parts]).tobytes()
        header = _nifti_header(stored)
        return header.binaryblock + bytes(int(header["vox_offset"]) - len(header.binaryblock)) + voxels, stored.kind
    except ScanError:
        raise
    except MemoryError:
        raise TooLarge(f"{name} needs more memory than there is.") from None
    except Exception:  # a damaged header can be anything
        raise ScanError(f"{name} is damaged or of a kind of its format that cannot be read here.") from None


def voxel_file(start: bytes, name: str) -> str:
    """Name of the file that holds the voxels of a header; "" when it is the same."""
    if is_header_half(start):
        return re.sub(r"\.hdr(\.gz)?$", "", name, flags=re.IGNORECASE) + ".img"
    try:
        file = _read_header(start).file
    except Exception:  # a damaged header; its reader says what is wrong
        return ""
    return clean_name(file) if file else ""


def slice_count(start: bytes) -> int:
    """Slices of any volume but DICOM, from the first bytes of its file; 0 when they do not tell."""
    try:
        header = _header_of(start)
        size = (*(int(n) for n in header.get_data_shape()), 1, 1)[:3]
        zooms = (*(float(z) for z in header.get_zooms()), 1.0, 1.0)[:3]
        return size[axis_of_slices(size, zooms, axes_of(header.get_best_affine()) or "LAS")]
    except Exception:  # a damaged header; its reader says what is wrong
        return 0


def _header_of(start: bytes) -> nib.Nifti1Header:
    import nibabel as nib  # imported when needed: it takes a while

    if is_header_half(start):
        start = _single(start)
    if looks_like_nifti(start):
        kind = nib.Nifti2Header if start[4:7] == b"n+2" else nib.Nifti1Header
        return kind(start[: kind.sizeof_hdr], check=False)
    return _nifti_header(_read_header(start))


def _nifti_header(stored: _Stored) -> nib.Nifti1Header:
    import nibabel as nib  # imported when needed: it takes a while

    kind = nib.Nifti1Header if max(stored.sizes) < 2**15 else nib.Nifti2Header
    header = kind(endianness=">" if stored.dtype.byteorder == ">" else "<")
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.sizes)
    header.set_xyzt_units("mm")
    header.set_zooms(stored.zooms[: len(stored.sizes)])
    if stored.affine is not None:
        header.set_sform(stored.affine, 1)
    header["vox_offset"] = header.sizeof_hdr + 4
    return header


def _read_header(data: bytes) -> _Stored:
    return _metaimage(data) if is_metaimage(data) else _mgh(data) if is_mgh(data) else _nrrd(data)


def _affine(directions: np.ndarray, origin: list[float]) -> np.ndarray | None:
    """RAS affine of step vectors (a column an axis) and a first voxel in RAS."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions, origin
    return affine if np.isfinite(affine).all() else None


def _numbers(text: str) -> list[float]:
    return [float(v) for v in re.findall(r"[^\s(),]+", text)]


def _metaimage(data: bytes) -> _Stored:
    end = re.search(rb"ElementDataFile\s*=\s*([^\r\n]*)\r?\n?", data)
    assert end is not None
    lines = data[: end.end()].decode("latin-1").splitlines()
    said = {key.strip().lower(): value.strip() for key, _, value in (line.partition("=") for line in lines)}

    def any_of(*keys: str) -> str:
        return next((said[key] for key in keys if key in said), "")

    sizes = tuple(int(v) for v in said["dimsize"].split())
    spacing = _numbers(any_of("elementspacing", "elementsize")) or [1.0] * len(sizes)
    turn = _numbers(any_of("transformmatrix", "rotation", "orientation"))
    origin = _numbers(any_of("offset", "origin", "position"))
    affine = None
    if len(sizes) == 3 and len(turn) == 9 and len(spacing) == len(origin) == 3:
        affine = _affine(_LPS @ np.reshape(turn, (3, 3)).T * spacing, list(_LPS @ origin))  # a row for each axis
    order = ">" if any_of("binarydatabyteordermsb", "elementbyteordermsb").lower() == "true" else "<"
    file = said["elementdatafile"]
    inside = file.upper() == "LOCAL"
    skip = int(any_of("headersize") or 0)
    return _Stored(
        "MetaImage",
        sizes,
        np.dtype(order + _CODES[said["elementtype"].lower().removeprefix("met_")]),
        affine,
        tuple(spacing),
        int(any_of("elementnumberofchannels") or 1),
        "" if inside else file,
        end.end() if inside else max(skip, 0),
        15 if any_of("compresseddata").lower() == "true" else 0,
    )


def _nrrd(data: bytes) -> _Stored:
    """Of the axes those that lie in space; values that lie together (colours, directions) come first."""
    end = re.search(rb"\r?\n\r?\n", data)
    lines = data[: end.start() if end else len(data)].decode("latin-1").splitlines()[1:]
    said = {key.strip().lower(): value.strip() for key, _, value in (line.partition(": ") for line in lines)}
    sizes = [int(v) for v in said["sizes"].split()]
    vectors = re.findall(r"none|\([^)]*\)", said.get("space directions", ""))
    kinds = said.get("kinds", "").lower().split()
    loose = [v == "none" for v in vectors] or [k in ("list", "vector", "rgb-color", "3-vector") for k in kinds]
    first = bool(loose) and loose[0]
    if any(loose[1:]):
        raise ValueError("values that lie together, but not first")
    spacing = [float(v) for v in said.get("spacings", "").split()][first:]
    affine = None
    space = re.sub("[^a-z]+", " ", said.get("space", "").lower()).split() or [""]
    space = [letter for letter in space[0]] if len(space) == 1 else [word[0] for word in space]
    if len(vectors) == 3 + first and len(space) >= 3:
        sign = np.diag([1.0 if letter in "ras" else -1.0 for letter in space[:3]])
        steps = np.array([_numbers(v) for v in vectors[first:]]).T
        affine = _affine(sign @ steps, list(sign @ (_numbers(said.get("space origin", "")) or np.zeros(3))))
        spacing = list(np.linalg.norm(steps, axis=0))
    file = said.get("data file", said.get("datafile", ""))
    packed = {"raw": 0, "gzip": 31, "gz": 31}[said["encoding"].lower()]
    if int(said.get("line skip", said.get("lineskip", 0))) or int(said.get("byte skip", said.get("byteskip", 0))) > 0:
        raise ValueError("a payload that does not begin where it should")
    return _Stored(
        "NRRD",
        tuple(sizes[first:]),
        np.dtype((">" if said.get("endian") == "big" else "<") + _CODES[said["type"].lower()]),
        affine,
        tuple(spacing or [1.0] * len(sizes)),
        sizes[0] if first else 1,
        file,
        0 if file or end is None else end.end(),
        packed,
    )


def _mgh(data: bytes) -> _Stored:
    from nibabel.freesurfer.mghformat import MGHHeader  # as above

    header = MGHHeader.from_fileobj(BytesIO(data))
    shape = tuple(int(n) for n in header.get_data_shape()[:3])
    zooms = tuple(float(z) for z in header.get_zooms()[:3])
    directed = struct.unpack_from(">h", data, 28)[0] == 1
    affine = header.get_affine() if directed else None
    return _Stored("MGH", shape, np.dtype(header.get_data_dtype()).newbyteorder(">"), affine, zooms, 1, "", 284, 0)


def _single(data: bytes) -> bytes:
    """The header of a pair as that of a single file. Analyze states no orientation, and its fields for it differ."""
    header = bytearray(data[:348])
    order = "<" if int.from_bytes(data[:4], "little") == 348 else ">"
    if data[344:347] != b"ni1":
        header[116:124], header[252:344] = bytes(8), bytes(92)
    header[108:112], header[344:348] = struct.pack(f"{order}f", 352), b"n+1\0"
    return bytes(header)


def _joined(data: bytes, name: str, beside: Voxels) -> bytes:
    """A .hdr and its .img as one file."""
    if beside is None:
        raise ScanError(f"{name} is one half of a NIfTI pair (.hdr and .img); choose both files together.")
    voxels = beside()
    (offset,) = struct.unpack_from("<f" if int.from_bytes(data[:4], "little") == 348 else ">f", data, 108)
    return _single(data) + bytes(4) + voxels[int(offset) if 0 < offset < len(voxels) else 0 :]
