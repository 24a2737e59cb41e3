"""Every picture format gives the right pixels or one sentence."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

from brain_mri.classes import CLASS_TITLES, CLASSES, NO_TUMOR
from brain_mri.imaging import scan as scan_types
from brain_mri.imaging.picture import png
from brain_mri.imaging.preprocessing import head_mask, preprocess, restore
from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.imaging.scan import ScanError
from tests.helpers.files import decode, dicom, encode, saved, sentence
from tests.helpers.injured import HEAD, HEIC

# ---- names ----


def test_class_names() -> None:
    assert CLASSES == ("glioma", "meningioma", "notumor", "pituitary")
    assert NO_TUMOR in CLASSES and set(CLASS_TITLES) == set(CLASSES)


# ---- pictures ----


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_lossless_gray_is_kept_to_the_bit(head: np.ndarray, kind: str) -> None:
    scan = read_scan(encode(Image.fromarray(head), kind), name="a")
    assert np.array_equal(scan.image, head) and np.array_equal(scan.raw, head)
    assert scan.spacing is None and scan.color == 0 and scan.info["format"] == kind and scan.warnings == ()


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 97}), ("WEBP", {"quality": 97})])
def test_lossy_gray_is_close(head: np.ndarray, kind: str, options: dict[str, int]) -> None:
    scan = read_scan(encode(Image.fromarray(head), kind, **options))
    assert scan.image.shape == head.shape and np.abs(scan.image.astype(int) - head).mean() < 3


def test_lossless_webp_and_tiff_compressions(head: np.ndarray) -> None:
    assert np.array_equal(read_scan(encode(Image.fromarray(head).convert("RGB"), "WEBP", lossless=True)).image, head)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        assert np.array_equal(read_scan(encode(Image.fromarray(head), "TIFF", compression=compression)).image, head)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_stored_as_colour_is_gray(head: np.ndarray, mode: str, kind: str) -> None:
    scan = read_scan(encode(Image.fromarray(head).convert(mode), kind))
    assert np.array_equal(scan.image, head) and scan.color == 0


def test_colour_is_measured() -> None:
    red = np.zeros((40, 50, 3), np.uint8)
    red[..., 0] = 200
    scan = read_scan(encode(Image.fromarray(red), "PNG"))
    assert scan.color == 1.0 and (scan.image == 60).all()  # luminance of red
    tinted = red.copy()
    tinted[..., 1:] = 150
    assert read_scan(encode(Image.fromarray(tinted), "PNG")).color == pytest.approx(0.25)


def test_transparency_is_black(head: np.ndarray) -> None:
    rgba = np.dstack([head, head, head, np.full_like(head, 255)])
    rgba[:30, :, 3] = 0
    rgba[30:60, :, 3] = 128
    image = read_scan(encode(Image.fromarray(rgba), "PNG")).image
    assert (image[:30] == 0).all() and np.array_equal(image[60:], head[60:])
    assert np.abs(image[30:60] - head[30:60] * (128 / 255)).max() <= 1
    palette = Image.fromarray(head).convert("RGB").quantize(16)
    shown = np.array(palette)
    image = read_scan(encode(palette, "PNG", transparency=int(shown[0, 0]))).image
    assert (image[shown == shown[0, 0]] == 0).all() and image.max() > 100


def test_one_bit(head: np.ndarray) -> None:
    wanted = np.where(head > 90, 255, 0)
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(read_scan(encode(Image.fromarray(head > 90), kind)).image, wanted)


def test_cmyk_jpeg(head: np.ndarray) -> None:
    data = encode(Image.fromarray(head).convert("RGB").convert("CMYK"), "JPEG", quality=97)
    scan = read_scan(data)
    assert np.abs(scan.image.astype(int) - head).mean() < 4 and scan.color < 0.05


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_is_windowed_not_clipped(head: np.ndarray, kind: str) -> None:
    deep = head.astype(np.uint16) * 13 + 40  # up to 3355, far above 255
    scan = read_scan(encode(Image.fromarray(deep), kind))
    assert scan.raw.dtype == np.uint16 and np.array_equal(scan.raw, deep) and scan.info["bits"] == 16
    assert np.corrcoef(scan.image.ravel(), head.ravel())[0, 1] > 0.9 and (scan.image == 255).mean() < 0.01
    assert np.unique(scan.image).size > 150


def test_sixteen_bit_colour_keeps_its_depth(head: np.ndarray) -> None:
    deep = head.astype(np.uint16) * 3  # Pillow would cut this to the upper byte: 0..2
    for extension in (".png", ".tiff"):
        _, data = cv2.imencode(extension, np.dstack([deep] * 3))
        scan = read_scan(data.tobytes())
        assert np.array_equal(scan.raw, deep) and scan.color == 0
    _, data = cv2.imencode(".png", np.dstack([deep] * 3 + [np.full_like(deep, 65535)]))
    assert np.array_equal(read_scan(data.tobytes()).raw, deep)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint32])
def test_tiff_sample_types(head: np.ndarray, dtype: type) -> None:
    values: np.ndarray = (head.astype(np.float64) * 9 - (300 if dtype not in (np.uint32,) else 0)).astype(dtype)
    if dtype in (np.int16, np.uint32):
        data = tiff(values)
    else:
        ok, encoded = cv2.imencode(".tiff", values)
        assert ok
        data = encoded.tobytes()
    scan = read_scan(data)
    assert np.array_equal(scan.raw, values.astype(scan.raw.dtype))
    assert np.corrcoef(scan.image.ravel(), head.ravel())[0, 1] > 0.95


def tiff(values: np.ndarray, *, photometric: int = 1) -> bytes:
    """A plain uncompressed little-endian TIFF of any sample type, written by hand."""
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {256: width, 257: height, 258: values.dtype.itemsize * 8, 259: 1, 262: photometric, 273: 8, 277: 1}
    tags |= {278: height, 279: len(data), 339: form}
    entries = b"".join(
        tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, value in tags.items()
    )
    directory = len(tags).to_bytes(2, "little") + entries + bytes(4)
    return b"II*\0" + (8 + len(data)).to_bytes(4, "little") + data + directory


def test_tiff_white_is_zero(head: np.ndarray) -> None:
    assert np.array_equal(read_scan(tiff(255 - head, photometric=0)).image, head)
    deep = head.astype(np.uint16) * 200
    assert np.array_equal(read_scan(tiff(65535 - deep, photometric=0)).raw, deep)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation(head: np.ndarray, orientation: int, kind: str) -> None:
    """The stored picture is `head` turned so that applying the tag gives `head` back."""
    stored = {
        1: head, 2: head[:, ::-1], 3: head[::-1, ::-1], 4: head[::-1], 5: head.T,
        6: np.rot90(head, 1), 7: head[::-1, ::-1].T, 8: np.rot90(head, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    scan = read_scan(encode(image, kind, exif=exif.tobytes()))
    assert scan.image.shape == head.shape and scan.raw.shape == head.shape
    assert np.abs(scan.image.astype(int) - head).mean() < 4


def test_animation_shows_the_first_and_any_chosen_frame(head: np.ndarray) -> None:
    frames = [Image.fromarray(np.roll(head, 9 * i, 1)) for i in range(3)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        first = read_scan(data)
        assert np.array_equal(first.image, head), kind
        assert any("first" in w for w in first.warnings)
        assert np.abs(read_scan(data, index=2).image.astype(int) - np.roll(head, 18, 1)).mean() < 2
        with pytest.raises(ScanError) as error:
            read_scan(data, index=3)
        assert "3" in sentence(error)


def test_the_frame_is_named(head: np.ndarray) -> None:
    frames = [Image.fromarray(np.roll(head, 9 * i, 1)) for i in range(3)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        scan = read_scan(data, name="scroll")
        assert scan.warnings == ("scroll holds 3 pictures; the first is shown: frame 1 of 3.",)
        assert (scan.info["index"], scan.info["slices"]) == (0, 3)
        other = read_scan(data, index=2)
        assert other.warnings == () and (other.info["index"], other.info["slices"]) == (2, 3)
        assert "slices" not in read_scan(encode(frames[0], kind)).info
    thumbnail = encode(frames[0], "TIFF", save_all=True, append_images=[frames[0].resize((30, 40))])
    assert read_scan(thumbnail).warnings == ()  # no second slice


def test_jpeg_2000(head: np.ndarray) -> None:
    deep = head.astype(np.uint16) * 257
    for jp2 in (True, False):
        for values in (head, deep):
            data = encode(Image.fromarray(values), "JPEG2000", no_jp2=not jp2)
            scan = read_scan(data, name="a.png")
            assert np.array_equal(scan.raw, values) and scan.info["format"] == "JPEG2000"
        assert read_scan(encode(Image.fromarray(np.dstack([head] * 3)), "JPEG2000", no_jp2=not jp2)).color == 0
    for part in (0.1, 0.5):
        with pytest.raises(ScanError):
            read_scan(data[: int(len(data) * part)])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(head: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(head), "AVIF", quality=95)
    scan = read_scan(data)
    assert scan.info["format"] == "AVIF" and np.abs(scan.image.astype(int) - head).mean() < 3
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(ScanError, match=r"a\.avif holds AVIF, which cannot be read here") as error:
        read_scan(data, name="a.avif")
    sentence(error)


def test_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pi_heif")
    scan = read_scan(HEIC)
    drawn = cv2.resize(HEAD, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert scan.shape == drawn.shape and np.abs(scan.image.astype(int) - drawn).mean() < 4
    with pytest.raises(ScanError):
        read_scan(HEIC[:700])
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ScanError, match="holds HEIC, which cannot be read here; save it as PNG or JPEG") as error:
        read_scan(HEIC, name="IMG_1.HEIC")
    sentence(error)


def test_content_decides_not_the_name(head: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "actually_png.dcm"
    path.write_bytes(encode(Image.fromarray(head), "PNG"))
    assert np.array_equal(read_scan(path).image, head)
    path = tmp_path / "no extension"
    path.write_bytes(saved(dicom(head)))
    assert read_scan(path).info["format"] == "DICOM"


# ---- limits and damage ----


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch, head: np.ndarray) -> None:
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")  # noqa: E731
    size = (20_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + b"\x08\x00\x00\x00\x00")
    bomb += chunk(b"IDAT", zlib.compress(bytes(400_000))) + chunk(b"IEND", b"")
    with pytest.raises(ScanError) as error:
        read_scan(bomb, name="bomb.png")
    assert "50 million pixels" in sentence(error)

    monkeypatch.setattr(scan_types, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(scan_types.inflate, "__kwdefaults__", {"wbits": 31, "limit": 1_000_000})
    with pytest.raises(ScanError, match="unpacks to more than"):
        read_scan(gzip.compress(bytes(2_000_000)))
    with pytest.raises(ScanError, match="larger than the limit"):
        read_scan(bytes(1_000_001))


def test_png_chunk_that_lies_about_its_length(head: np.ndarray) -> None:
    """OpenCV, which reads 16-bit colour, would allocate the stated 2.5 GB."""
    data = bytearray(cv2.imencode(".png", np.dstack([head.astype(np.uint16)] * 3))[1].tobytes())
    at = data.index(b"IDAT") - 4
    data[at : at + 4] = b"\x95#\\?"
    with pytest.raises(ScanError, match="too short"):
        read_scan(bytes(data))


def test_deflated_dicom_bomb(head: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(dicom(np.zeros((1200, 1200), np.uint8), DeflatedExplicitVRLittleEndian))
    assert len(data) < 10_000
    monkeypatch.setattr(scan_types.inflate, "__kwdefaults__", {"wbits": 31, "limit": 1_000_000})
    with pytest.raises(ScanError, match="unpacks to more than"):
        read_scan(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
def test_truncated_pictures(head: np.ndarray, kind: str) -> None:
    data = encode(Image.fromarray(head), kind)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ScanError) as error:
            read_scan(data[: int(len(data) * part)], name="cut.png")
        assert "cut.png" in sentence(error)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<html></html>" * 20, bytes(5000), b"BM" + bytes(60), b"\x1f\x8b" + bytes(30), os.urandom(999)],
)
def test_no_scan_at_all(data: bytes) -> None:
    with pytest.raises(ScanError) as error:
        read_scan(data, name="what.bin")
    assert "what.bin" in sentence(error)


def test_zip_is_sent_to_the_volume_reader(head: np.ndarray) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", encode(Image.fromarray(head), "PNG"))
    with pytest.raises(ScanError, match="zip archive"):
        read_scan(stream.getvalue())


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name, word in (("missing.png", "no file"), ("", "folder"), ("empty.png", "empty"), ("pipe", "ordinary")):
        with pytest.raises(ScanError) as error:
            read_scan(tmp_path / name)
        assert word in sentence(error)
    for path in (tmp_path / "broken", "/dev/zero", "nul\0byte", tmp_path / ("x" * 300)):
        with pytest.raises(ScanError) as error:
            read_scan(path)
        sentence(error)


def test_names_are_made_printable(head: np.ndarray, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/sc\xff\xfean\n.png"))
    path.write_bytes(encode(Image.fromarray(head), "PNG"))
    name = read_scan(path).name
    assert name.encode() and name.isprintable() and name.endswith(".png")
    assert read_scan(path, name="C:\\Users\\jane\\a.png").name == "a.png"
    assert len(read_scan(path, name="x" * 500 + ".png").name) <= 120


def test_small_and_thin_pictures() -> None:
    for shape in ((1, 1), (1, 300), (300, 1), (7, 100)):
        with pytest.raises(ScanError, match="too few"):
            read_scan(encode(Image.fromarray(np.zeros(shape, np.uint8)), "PNG"))
    assert read_scan(encode(Image.fromarray(np.zeros((8, 8), np.uint8)), "PNG")).shape == (8, 8)


@pytest.mark.parametrize("value", [0, 17, 255])
def test_constant_pictures(value: int) -> None:
    scan = read_scan(encode(Image.fromarray(np.full((50, 60), value, np.uint8)), "PNG"))
    assert any("same value" in w for w in scan.warnings)
    square, frame = preprocess(scan.image, 64)
    assert square.shape == (64, 64) and np.isfinite(restore(square.astype(np.float32), frame)).all()
    assert head_mask(scan.image).all()
    deep = scan_from_array(np.full((20, 20), value * 100, np.uint16))
    assert deep.image.max() == 0


# ---- arrays ----


def test_arrays(head: np.ndarray) -> None:
    assert np.array_equal(scan_from_array(head).image, head)
    assert np.array_equal(scan_from_array(np.dstack([head] * 3)).image, head)
    assert np.array_equal(scan_from_array(np.dstack([head] * 3 + [np.full_like(head, 255)])).image, head)
    assert scan_from_array(head[..., None], spacing=(1, 2)).spacing == (1, 2)
    assert set(np.unique(scan_from_array(head > 90).image)) == {0, 255}
    values = head.astype(np.float64)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    scan = scan_from_array(values)
    assert np.isfinite(scan.raw).all() and any("finite" in w for w in scan.warnings)
    assert np.corrcoef(scan.image.ravel(), head.ravel())[0, 1] > 0.95
    for wrong in (np.zeros((0, 5)), np.zeros(5), np.zeros((2, 3, 4, 5)), np.full((9, 9), np.nan), np.array(["a"])):
        with pytest.raises(ScanError):
            scan_from_array(wrong)


def test_huge_floats_do_not_overflow() -> None:
    values = np.linspace(-3e38, 3e38, 400, dtype=np.float32).reshape(20, 20)
    image = scan_from_array(values).image
    assert image.min() == 0 and image.max() == 255 and (np.diff(image.ravel().astype(int)) >= 0).all()


def test_huge_pictures_are_reduced_and_said() -> None:
    image = np.zeros((3000, 1500), np.uint8)
    scan = scan_types.reduce(scan_types.Scan(image, image, (0.1, 0.2), "big"))
    assert scan.shape == (2048, 1024) and "3000" in scan.warnings[-1]
    assert scan.spacing == pytest.approx((0.1 * 3000 / 2048, 0.2 * 1500 / 1024))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_is_lossless(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(decode(png(picture)), picture)


def test_mask_png_is_black_and_white() -> None:
    mask = np.eye(4, dtype=bool)
    read = decode(png(mask))
    assert read.dtype == np.uint8 and np.array_equal(read, mask * 255)
