"""What a file is, from its first bytes; its name is never believed. No reader is imported here."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def is_picture(data: bytes) -> bool:
    """PNG, JPEG, BMP, GIF, TIFF (and BigTIFF), WebP, JPEG 2000, AVIF, HEIC."""
    return (
        data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a"))
        or data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\xff\x4f\xff\x51")
        or data.startswith(b"\0\0\0\x0cjP  \r\n")
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or (data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", *HEIF))
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


def is_header_half(data: bytes) -> bool:
    """The header of a pair: NIfTI's or Analyze's .hdr, whose voxels lie in an .img."""
    size = int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")
    return data[344:347] == b"ni1" or (348 in size and 348 <= len(data) < 2000 and data[344:347] != b"n+1")


def is_metaimage(data: bytes) -> bool:
    return re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", data) is not None and b"DimSize" in data


def is_mgh(data: bytes) -> bool:
    """FreeSurfer's MGH: version 1, four sizes, a type, and two bytes that say whether directions are stated."""
    if len(data) < 284:
        return False
    version, *sizes, kind, _, directed = struct.unpack_from(">7ih", data)
    return version == 1 and all(0 < n < 2**16 for n in sizes) and kind in (0, 1, 3, 4) and directed in (0, 1)


def is_other_volume(data: bytes) -> bool:
    """What volume_formats.py reads: MetaImage, NRRD, MGH, a header of a pair."""
    return is_metaimage(data) or data.startswith(b"NRRD000") or is_mgh(data) or is_header_half(data)


def archive_kind(data: bytes) -> str:
    """zip, tar or 7z; "" for anything else."""
    if data[:4] in ZIP:
        return "zip"
    return "tar" if data[257:262] == b"ustar" else "7z" if data.startswith(b"7z\xbc\xaf\x27\x1c") else ""


def not_a_scan(data: bytes) -> str:
    """What a file is that cannot be read, and what to do about it; "" when nothing can be said."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<!--")):
        return "is a web page: the download gave a page, perhaps one to sign in, instead of the file; download it again"
    if start.startswith((b"rar!", b"bzh", b"\xfd7zxz", b"\x28\xb5\x2f\xfd")):
        return "is an archive of a kind that cannot be unpacked here; make a zip archive of its files"
    return ""


def is_volume(source: str | Path | bytes) -> bool:
    """Whether read_volume is the better reader: a folder, an archive, or a file of several slices (no picture).

    Looks at the first bytes only and raises nothing; a damaged file is left to the reader to explain.
    """
    try:
        start = first_bytes(source)
        if not start:
            return not isinstance(source, bytes) and Path(source).is_dir()
        return bool(archive_kind(start)) or slices_stated(start) > 1
    except (OSError, ValueError, IndexError, struct.error, zlib.error):
        return False


def first_bytes(source: str | Path | bytes) -> bytes:
    """The first 4096 bytes of an ordinary file, or those that they unpack to; none of a folder. Raises OSError."""
    if isinstance(source, bytes):
        start = source[:4096]
    elif Path(source).is_file():
        with Path(source).open("rb") as file:
            start = file.read(4096)
    else:
        return b""
    return zlib.decompressobj(31).decompress(start, 4096) if start[:2] == GZIP else start


def slices_stated(start: bytes) -> int:
    """Slices that the first bytes of a file promise, roughly; 1 when they say nothing. Raises struct.error, ..."""
    if looks_like_nifti(start) or is_header_half(start):
        return _nifti_slices(start)
    if is_mgh(start):
        return min(struct.unpack_from(">3i", start, 4))
    stated = re.search(rb"(?m)^(?:DimSize *=|sizes:) *([\d ]+)", start) if is_other_volume(start) else None
    if stated is not None:
        sizes = [int(n) for n in stated[1].split()]
        return min(sizes[-3:]) if len(sizes) > 2 else 1
    return _dicom_frames(start)


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
    if looks_like_dicom(start) and _is_tiled(start):
        return 2  # or more: dicom_mosaic.py unpacks it
    if not looks_like_dicom(start) or at < 0:
        return 1
    value = start[at + 8 : at + 8 + start[at + 6 if start[at + 4 : at + 6] == b"IS" else at + 4]]
    digits = value.strip(b" \0")
    return int(digits) if digits.isdigit() and len(digits) < 9 else 1


def _is_tiled(start: bytes) -> bool:
    """A Siemens mosaic that was not cut into its slices since: it has more rows than were measured."""
    rows = re.search(rb"\x28\0\x10\0US\x02\0(..)", start, re.DOTALL)
    measured = re.search(rb"\x18\0\x10\x13US\x08\0(.{8})", start, re.DOTALL)
    cut = rows and measured and max(struct.unpack("<4H", measured[1])) >= int.from_bytes(rows[1], "little")
    return b"\\MOSAIC" in start and not cut
