"""What a file is, from its first bytes; its name is never believed. No reader is imported here."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def is_picture(data: bytes) -> bool:
    """PNG, JPEG, BMP, GIF, TIFF (and BigTIFF), WebP."""
    return (
        data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a"))
        or data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    )


def has_dicom_preamble(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def looks_like_dicom(data: bytes) -> bool:
    """DICOM with the preamble or (older files) starting with the first data element."""
    if has_dicom_preamble(data):
        return True
    group, element = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return (
        len(data) >= 64
        and group in (2, 8)
        and element <= 0x18
        and (explicit or int.from_bytes(data[4:8], "little") < 256)
    )


def looks_like_nifti(data: bytes) -> bool:
    """A NIfTI-1 or NIfTI-2 header, of a single file or of a pair, in either byte order."""
    return data[344:347] in (b"n+1", b"ni1") or data[4:7] in (b"n+2", b"ni2")


def is_medical(start: bytes) -> bool:
    """Whether the first bytes of a file may be DICOM or (packed) NIfTI."""
    return looks_like_dicom(start) or looks_like_nifti(start) or start[:2] == GZIP


def is_volume(source: str | Path | bytes) -> bool:
    """Whether read_volume is the better reader: a folder, a zip archive, or a NIfTI or DICOM file of several slices.

    Looks at the first bytes only and raises nothing; a damaged file is left to the reader to explain.
    """
    try:
        if isinstance(source, bytes):
            start = source[:4096]
        elif Path(source).is_dir():
            return True
        elif not Path(source).is_file():
            return False
        else:
            with Path(source).open("rb") as file:
                start = file.read(4096)
        if start[:2] == GZIP:
            start = zlib.decompressobj(31).decompress(start, 1024)
        return start[:4] in ZIP or (_nifti_slices(start) if looks_like_nifti(start) else _dicom_frames(start)) > 1
    except (OSError, ValueError, struct.error, zlib.error):
        return False


def _nifti_slices(start: bytes) -> int:
    """Slices of a NIfTI header: 1 when only two of its first three axes are longer than 1."""
    two = start[4:7] in (b"n+2", b"ni2")
    for order in "<>":
        sizes = struct.unpack_from(f"{order}8q", start, 16) if two else struct.unpack_from(f"{order}8h", start, 40)
        if 1 <= sizes[0] <= 7:
            lengths = sorted(max(1, n) for n in sizes[1 : 1 + min(sizes[0], 3)])
            return lengths[0] if len(lengths) == 3 else 1
    return 1


def _dicom_frames(start: bytes) -> int:
    """NumberOfFrames (0028,0008) when it stands in the first bytes, little endian; else 1."""
    at = start.find(b"\x28\x00\x08\x00")
    if not looks_like_dicom(start) or at < 0:
        return 1
    value = start[at + 8 : at + 8 + start[at + 6 if start[at + 4 : at + 6] == b"IS" else at + 4]]
    digits = value.strip(b" \0")
    return int(digits) if digits.isdigit() and len(digits) < 9 else 1
