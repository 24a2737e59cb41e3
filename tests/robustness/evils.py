"""A catalogue of damaged, lying and hostile files, each with what must come of it.

`python -m tests.robustness.evils` reads them under a memory limit and prints a JSON line for each (see test_evils.py).
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.helpers.files import dicom, encode, saved

HEAD = np.pad(np.hypot(*np.mgrid[-20:21, -16:17]) < 15, 4).astype(np.uint8) * 150 + 20  # (49, 41)
HEAD[14:20, 12:18] = 255  # not symmetric in any way
DEEP = HEAD.astype(np.uint16) * 16  # 12 bit
STACK = np.stack([np.roll(HEAD, i, 1) for i in range(5)])
MEMORY = 1200  # MB that one file may need on top of the program


class Evil(NamedTuple):
    """expected: an image uint8 (H, W) or raw values that must come out, "read" or "refused"."""

    name: str
    data: bytes
    expected: np.ndarray | str


def png(width: int, height: int, body: bytes = b"", *more: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """A gray PNG whose header says what is asked for, whatever its body holds."""
    header = struct.pack(">II5B", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def pictures() -> Iterator[Evil]:
    gray, deep = Image.fromarray(HEAD), Image.fromarray(DEEP)
    binary = Image.fromarray(HEAD > 100)
    yield Evil("1 bit", encode(binary, "PNG"), np.where(HEAD > 100, 255, 0))
    yield Evil("1 bit TIFF, group 4", encode(binary, "TIFF", compression="group4"), np.where(HEAD > 100, 255, 0))
    yield Evil("palette", encode(gray.convert("P"), "PNG"), HEAD)
    yield Evil("gray with alpha", encode(gray.convert("LA"), "PNG"), HEAD)
    yield Evil("16 bit PNG", encode(deep, "PNG"), DEEP)
    yield Evil("16 bit TIFF", encode(deep, "TIFF"), DEEP)
    yield Evil("16 bit colour", cv2.imencode(".png", np.dstack([DEEP] * 3))[1].tobytes(), DEEP)
    yield Evil("32 bit TIFF", cv2.imencode(".tiff", DEEP.astype(np.int32))[1].tobytes(), DEEP)
    broken = HEAD.astype(np.float32)
    broken[0, 0], broken[0, 1] = np.nan, np.inf
    kept = HEAD.astype(np.float32)
    kept[0, :2] = 20  # the least finite value
    yield Evil("float with NaN and infinity", encode(Image.fromarray(broken), "TIFF"), kept)
    yield Evil("only NaN", encode(Image.fromarray(np.full((20, 20), np.nan, np.float32)), "TIFF"), "refused")
    yield Evil("CMYK JPEG", encode(gray.convert("CMYK"), "JPEG"), "read")
    frames = [Image.fromarray(s) for s in STACK]
    for kind in ("GIF", "PNG", "TIFF"):
        yield Evil(f"animated {kind}", encode(frames[0], kind, save_all=True, append_images=frames[1:]), HEAD)
    for width, height in ((0, 0), (0, 50), (1, 5000), (5000, 1), (7, 7)):
        yield Evil(f"{width}x{height}", png(width, height, bytes((width + 1) * height)), "refused")
    yield Evil("20k x 20k, all there", png(20_000, 20_000, bytes(20_000 * 2501), depth=1), "refused")
    yield Evil("20k x 20k, nothing there", png(20_000, 20_000), "refused")
    yield Evil("7k x 7k, under the limit", png(7000, 7000, bytes(7001 * 7000)), "read")
    yield Evil("7k x 7k, nothing there", png(7000, 7000), "refused")
    text = b"Comment\0\0" + zlib.compress(bytes(200 * 2**20))
    yield Evil("text bomb in a PNG", png(41, 49, bytes(42 * 49), (b"zTXt", text)), "any")
    profile = b"icc\0\0" + zlib.compress(bytes(200 * 2**20))
    yield Evil("profile bomb in a PNG", png(41, 49, bytes(42 * 49), (b"iCCP", profile)), "any")
    jpeg = bytearray(encode(gray, "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65500, 65500)
    yield Evil("JPEG that claims 65500 x 65500", bytes(jpeg), "refused")
    jpeg[at : at + 4] = struct.pack(">HH", 6000, 6000)
    yield Evil("JPEG that claims 6000 x 6000", bytes(jpeg), "any")
    gif = bytearray(encode(gray, "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield Evil("GIF with a giant screen", bytes(gif), "refused")
    tiff = bytearray(encode(gray, "TIFF"))
    start = struct.unpack_from("<I", tiff, 4)[0]
    end = start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0]
    tiff[end : end + 4] = struct.pack("<I", start)
    yield Evil("TIFF whose second page is its first", bytes(tiff), HEAD)
    for name, data in (
        ("a web page", b"<html><script>alert(1)</script></html>"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>"),
        ("PDF", b"%PDF-1.7\n" + bytes(500)),
        ("pickle", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."),
        ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(3000)),
    ):
        yield Evil(name, data, "refused")


def dicoms() -> Iterator[Evil]:
    def of(stream: bytes, syntax: str) -> bytes:
        dataset = dicom(HEAD, syntax)  # type: ignore[arg-type]
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        return saved(dataset)

    yield Evil("MONOCHROME1", saved(dicom(HEAD, PhotometricInterpretation="MONOCHROME1")), 275 - HEAD.astype(int))
    yield Evil("12 of 16 bit", saved(dicom(DEEP, bits=12)), DEEP)
    yield Evil("signed", saved(dicom(DEEP.astype(np.int16) - 900)), DEEP.astype(int) - 900)
    yield Evil("32 bit DICOM", saved(dicom(DEEP.astype(np.uint32))), DEEP)
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        yield Evil(syntax.name, saved(dicom(DEEP, syntax)), DEEP)
    dataset = dicom(DEEP)
    dataset.compress(RLELossless)
    yield Evil("RLE", saved(dataset), DEEP)
    j2k = encode(Image.fromarray(HEAD), "JPEG2000", no_jp2=True, num_resolutions=3)
    yield Evil("JPEG 2000", of(j2k, JPEG2000Lossless), HEAD)
    yield Evil("JPEG 2000 that is none", of(b"\0" * 300, JPEG2000Lossless), "refused")
    yield Evil("JPEG-LS that is none", of(b"\xff\xd8\xff\xf7" + b"\0" * 300, JPEGLSLossless), "refused")
    yield Evil("multi-frame", saved(dicom(STACK)), "read")
    lying = dicom(STACK)
    lying.NumberOfFrames = 1_000_000
    yield Evil("a million frames", saved(lying), "refused")
    for rows, columns in ((0, 0), (65535, 65535), (1, 400), (49, 40000)):
        lying = dicom(HEAD)
        lying.Rows, lying.Columns = rows, columns
        yield Evil(f"DICOM that claims {rows}x{columns}", saved(lying), "refused")
    empty = dicom(HEAD)
    del empty.PixelData
    yield Evil("no pixels", saved(empty), "refused")
    other = bytearray(saved(dicom(DEEP, ExplicitVRBigEndian)))
    at = other.index(b"1.2.840.10008.1.2.2")
    other[at : at + 19] = b"1.2.840.10008.1.2.1"
    yield Evil("big endian that says little", bytes(other), "refused")
    other = bytearray(saved(dicom(DEEP)))
    at = other.index(b"1.2.840.10008.1.2.1")
    other[at : at + 19] = b"1.2.840.10008.1.2.2"
    yield Evil("little endian that says big", bytes(other), "refused")
    bomb = saved(dicom(HEAD, DeflatedExplicitVRLittleEndian))
    length = 144 + int.from_bytes(bomb[140:144], "little")
    engine = zlib.compressobj(9, wbits=-15)
    body = b"".join(engine.compress(bytes(2**24)) for _ in range(40)) + engine.flush()
    yield Evil("deflated DICOM bomb", bomb[:length] + body, "refused")
    flat = saved(dicom(HEAD))
    at = flat.index(b"\xe0\x7f\x10\x00")  # the pixels
    opened = b"\x40\x00\x75\x02SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    yield Evil("sequences 20 deep", flat[:at] + opened * 20 + closed * 20 + flat[at:], HEAD)
    yield Evil("sequences 50,000 deep", flat[:at] + opened * 50_000 + closed * 50_000 + flat[at:], "refused")
    strange: list[dict[str, Any]] = [
        {"RescaleSlope": "1e300"},
        {"RescaleSlope": "nan"},
        {"PixelSpacing": ["nan", "-3"]},
    ]
    for tags in strange:
        yield Evil(f"{tags}", saved(dicom(HEAD, **tags)), "any")


def niftis() -> Iterator[Evil]:
    axes = STACK.transpose(2, 1, 0)
    good = nib.Nifti1Image(axes, np.diag([-1.0, -1.0, 4.0, 1.0])).to_bytes()
    yield Evil("NIfTI 2D", nib.Nifti1Image(axes[..., 0], np.eye(4)).to_bytes(), "read")
    yield Evil("NIfTI 4D", nib.Nifti1Image(np.stack([axes] * 3, 3), np.eye(4)).to_bytes(), "read")
    yield Evil("NIfTI 7D", nib.Nifti1Image(axes[..., None, None, None, None], np.eye(4)).to_bytes(), "read")
    yield Evil("NIfTI complex", nib.Nifti1Image(axes.astype(np.complex64), np.eye(4)).to_bytes(), "read")
    big = nib.Nifti1Image(axes.astype(">i2"), np.eye(4), nib.Nifti1Header(endianness=">"))
    yield Evil("NIfTI big endian", big.to_bytes(), "read")
    affines = {"zero": np.zeros(12), "huge": np.full(12, 1e30), "NaN": np.full(12, np.nan), "sheared": np.tri(3, 4)}
    for name, values in affines.items():
        lie = bytearray(good)
        lie[252:256] = np.array([0, 1], "<i2").tobytes()  # no qform, an sform
        lie[280:328] = values.astype("<f4").tobytes()
        yield Evil(f"NIfTI with a {name} affine", bytes(lie), "read")
    nothing = nib.Nifti1Image(np.full((20, 20, 5), np.nan, np.float32), np.eye(4))
    yield Evil("NIfTI of NaN", nothing.to_bytes(), "refused")
    for dim in ((3, 32767, 32767, 32767), (3, -4, 5, 6), (0, 0, 0, 0), (9, 9, 9, 9), (3, 0, 9, 9)):
        lie = bytearray(good)
        lie[40:48] = np.array(dim, "<i2").tobytes()
        yield Evil(f"NIfTI that claims {dim}", bytes(lie), "refused")
    for offset in (-1e9, 1e9, np.nan, np.inf):
        lie = bytearray(good)
        lie[108:112] = np.float32(offset).tobytes()
        yield Evil(f"NIfTI with its voxels at {offset:g}", bytes(lie), "any")
    yield Evil("half a pair", good[:344] + b"ni1\0" + good[348:], "refused")
    packed = gzip.compress(good)
    yield Evil("gzip cut short", packed[: len(packed) // 2], "refused")
    yield Evil("gzip in two members", gzip.compress(good[:700]) + gzip.compress(good[700:]), "read")
    yield Evil("gzip bomb", gzip.compress(bytes(2**25)) * 20, "refused")
    yield Evil("gzip in gzip", gzip.compress(packed), "refused")


def archives() -> Iterator[Evil]:
    def zipped(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", kind) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return stream.getvalue()

    def place(i: int) -> dict[str, Any]:
        return {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, i]}

    series = [saved(dicom(values, **place(i))) for i, values in enumerate(STACK)]
    names = ["../../../tmp/a.dcm", "/etc/b.dcm", "..\\c.dcm", "d\u202e.dcm", "C:\\e.dcm"]
    tricky = zipped(dict(zip(names, series, strict=True)))
    yield Evil("zip with paths that lead out", tricky, "read")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    yield Evil("zip with a link to /etc/passwd", stream.getvalue(), "refused")
    raw = bytearray(zipped({"aaaa.dcm": series[0]}))
    while (at := raw.find(b"aaaa.dcm")) >= 0:
        raw[at : at + 4] = b"\xff\xfe\x80\xc0"
    yield Evil("zip with a name that is no UTF-8", bytes(raw), "read")
    yield Evil("empty zip", zipped({}), "refused")
    yield Evil("zip of text", zipped({"readme.txt": b"hello"}), "refused")
    yield Evil("zip in a zip", zipped({"inner.zip": tricky}), "read")
    yield Evil("zip in a zip in a zip", zipped({"outer.zip": zipped({"inner.zip": tricky})}), "refused")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.dcm", "w") as member:
        member.write(bytes(128) + b"DICM")
        for _ in range(600):
            member.write(bytes(2**20))
    yield Evil("zip bomb", stream.getvalue(), "refused")
    yield Evil("zip of 30,000 files", zipped({str(i): b"" for i in range(30_000)}, zipfile.ZIP_STORED), "refused")
    lie = bytearray(zipped({"a.dcm": series[0]}))
    at = lie.index(b"PK\x01\x02")
    lie[at + 20 : at + 28] = b"\xff" * 8
    yield Evil("zip that lies about its sizes", bytes(lie), "any")
    yield Evil("zip cut short", tricky[: len(tricky) // 2], "refused")


def evils() -> Iterator[Evil]:
    for family in (pictures, dicoms, niftis, archives):
        yield from family()


def read(evil: Evil) -> tuple[str, list[str]]:
    """("read" | "refused" | "wrong", the sentences of the readers that refused it)."""
    from brain_mri.imaging.read import read_scan
    from brain_mri.imaging.scan import ScanError
    from brain_mri.imaging.volume import read_volume

    name = "study.zip" if evil.data[:2] == b"PK" else "upload"
    outcome, sentences = "refused", []
    for reader in (read_scan, read_volume):
        try:
            found = reader(evil.data, name=name)
        except ScanError as error:
            sentences.append(str(error))
            continue
        outcome = "read"
        if reader is read_scan and isinstance(evil.expected, np.ndarray):
            values = np.asarray(found.raw, np.float64)  # type: ignore[union-attr]
            if not np.array_equal(values, evil.expected):
                return "wrong", [f"the values differ by up to {np.abs(values - evil.expected).max()}"]
    return outcome, sentences


def main() -> None:
    """One JSON line an evil. While it is read, more than MEMORY on top of the program cannot be had at all."""
    from brain_mri.imaging import dicom as read_dicom  # noqa: F401  (before the limit is set, as in a running app)
    from brain_mri.imaging import dicom_series  # noqa: F401

    read(Evil("warm", saved(dicom(HEAD)), "any"))
    lines = Path("/proc/self/status").read_text().splitlines()
    status = {line.split(":")[0]: line.split()[1] for line in lines if "kB" in line}
    for evil in evils():
        limit = int(status["VmSize"]) * 1024 + MEMORY * 2**20 + len(evil.data)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        started = time.process_time()
        outcome, sentences = read(evil)
        seconds = round(time.process_time() - started, 2)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        expected = "read" if isinstance(evil.expected, np.ndarray) else evil.expected
        row = {"name": evil.name, "expected": expected, "outcome": outcome, "sentences": sentences, "seconds": seconds}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
