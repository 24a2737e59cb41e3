"""Every upload format gives the right pixels or one sentence; the preprocessing is the same bits for everybody."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import dicom, saved
from PIL import Image
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

import scan_types
from phantom import make_phantom
from preprocessing import COARSE, EXACT
from read_dicom import stream_size
from scan import (
    CLASS_TITLES,
    CLASSES,
    NO_TUMOR,
    PREPROCESSING,
    Frame,
    ScanError,
    apply_frame,
    head_mask,
    preprocess,
    read_scan,
    restore,
    scan_from_array,
    sharpness,
)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """uint8 (160, 120), not symmetric in any way."""
    return np.ascontiguousarray(make_phantom("glioma", 4, 160, height=0.1).image[:, 20:140])


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sentence(error: pytest.ExceptionInfo[ScanError]) -> str:
    """The message, after checking that it is one sentence on one line."""
    text = str(error.value)
    assert text and "\n" not in text and text[-1] in ".)" and "Traceback" not in text and len(text) < 400
    return text


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


def test_content_decides_not_the_name(head: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "actually_png.dcm"
    path.write_bytes(encode(Image.fromarray(head), "PNG"))
    assert np.array_equal(read_scan(path).image, head)
    path = tmp_path / "no extension"
    path.write_bytes(saved(dicom(head)))
    assert read_scan(path).info["format"] == "DICOM"


# ---- DICOM ----

AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_dicom_syntaxes(head: np.ndarray, syntax: UID, dtype: type) -> None:
    values: np.ndarray = (
        head.astype(np.int32) * (1 if dtype == np.uint8 else 20) - (700 if dtype == np.int16 else 0)
    ).astype(dtype)
    scan = read_scan(saved(dicom(values, syntax, ImageOrientationPatient=AXIAL, PixelSpacing=[0.6, 0.7])))
    assert scan.raw.dtype == dtype and np.array_equal(scan.raw, values)
    assert scan.spacing == (0.6, 0.7) and scan.info["plane"] == "axial" and scan.warnings == ()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_dicom_without_header(head: np.ndarray, syntax: UID) -> None:
    assert np.array_equal(read_scan(saved(dicom(head, syntax), bare=True)).raw, head)


def test_dicom_compressed(head: np.ndarray) -> None:
    from pydicom.encaps import encapsulate

    values = head.astype(np.uint16) * 11
    dataset = dicom(values)
    dataset.compress(RLELossless)
    assert np.array_equal(read_scan(saved(dataset)).raw, values)
    for syntax in (pydicom.uid.JPEG2000Lossless,):
        dataset = dicom(values)
        dataset.compress(syntax)
        assert np.array_equal(read_scan(saved(dataset)).raw, values)
    dataset = dicom(head, pydicom.uid.JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([encode(Image.fromarray(head), "JPEG", quality=97)])
    dataset["PixelData"].VR = "OB"
    assert np.abs(read_scan(saved(dataset)).image.astype(int) - head).mean() < 3


def test_dicom_rescale_and_monochrome1(head: np.ndarray) -> None:
    scan = read_scan(saved(dicom(head.astype(np.uint16), RescaleSlope=2.5, RescaleIntercept=-100)))
    assert scan.raw.dtype == np.float32 and np.allclose(scan.raw, head * 2.5 - 100)
    scan = read_scan(saved(dicom(head, PhotometricInterpretation="MONOCHROME1")))
    assert np.array_equal(scan.image, int(head.max()) - head + head.min())
    wide = np.array([[-32768, 32767]], np.int16).repeat(10, 0).repeat(10, 1)
    assert np.array_equal(read_scan(saved(dicom(wide, PhotometricInterpretation="MONOCHROME1"))).raw, wide[:, ::-1])


def test_dicom_padding_does_not_spoil_the_window(head: np.ndarray) -> None:
    values = head.astype(np.int16) + 100
    values[:40] = -32000
    scan = read_scan(saved(dicom(values, PixelPaddingValue=-32000)))
    assert scan.raw.min() == values[40:].min() and scan.image[40:].std() > 20


def test_dicom_frames(head: np.ndarray) -> None:
    stack = np.stack([np.roll(head, 5 * i, 0) for i in range(5)])
    data = saved(dicom(stack))
    scan = read_scan(data)
    assert np.array_equal(scan.image, stack[2]) and any("frame 2" in w for w in scan.warnings)
    assert np.array_equal(read_scan(data, index=4).image, stack[4])
    for wrong in (5, -1):
        with pytest.raises(ScanError) as error:
            read_scan(data, index=wrong)
        assert "0 to 4" in sentence(error)


def test_dicom_colour(head: np.ndarray) -> None:
    dataset = dicom(head, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    dataset.PixelData = np.dstack([head] * 3).tobytes()
    scan = read_scan(saved(dataset))
    assert np.array_equal(scan.image, head) and scan.color == 0


# Directions of increasing column and row index in DICOM's patient axes (left, posterior, superior), and how a picture
# that is right on the screen has to be stored with them.
DIRECTIONS = {
    "axial as shown": ([1, 0, 0, 0, 1, 0], lambda a: a),
    "axial upside down": ([1, 0, 0, 0, -1, 0], lambda a: a[::-1]),
    "axial mirrored": ([-1, 0, 0, 0, 1, 0], lambda a: a[:, ::-1]),
    "axial on its side": ([0, 1, 0, 1, 0, 0], lambda a: a.T),
    "axial oblique": ([0.98, 0.199, 0, -0.199, 0.98, 0], lambda a: a),
    "coronal as shown": ([1, 0, 0, 0, 0, -1], lambda a: a),
    "coronal feet up": ([1, 0, 0, 0, 0, 1], lambda a: a[::-1]),
    "sagittal as shown": ([0, 1, 0, 0, 0, -1], lambda a: a),
    "sagittal facing right": ([0, -1, 0, 0, 0, -1], lambda a: a[:, ::-1]),
    "sagittal on its side": ([0, 0, -1, 0, 1, 0], lambda a: a.T),
}


@pytest.mark.parametrize("case", DIRECTIONS)
def test_dicom_is_turned_for_display(head: np.ndarray, case: str) -> None:
    directions, store = DIRECTIONS[case]
    stored = np.ascontiguousarray(store(head))
    spacing = [0.5, 0.7] if stored.shape == head.shape else [0.7, 0.5]
    scan = read_scan(saved(dicom(stored, ImageOrientationPatient=directions, PixelSpacing=spacing)))
    assert np.array_equal(scan.image, head) and scan.spacing == (0.5, 0.7)
    assert scan.info["plane"] == case.split()[0]


def test_dicom_spacing_tags(head: np.ndarray) -> None:
    assert read_scan(saved(dicom(head, ImagerPixelSpacing=[0.4, 0.4]))).spacing == (0.4, 0.4)
    assert read_scan(saved(dicom(head, PixelSpacing=[0, 0]))).spacing is None
    assert any("square" in w for w in read_scan(saved(dicom(head, PixelSpacing=[1, 2]))).warnings)
    scan = read_scan(saved(dicom(head)))
    assert scan.spacing is None and any("orientation" in w for w in scan.warnings)


def test_dicom_enhanced_groups(head: np.ndarray) -> None:
    def item(**tags: object) -> pydicom.Dataset:
        dataset = pydicom.Dataset()
        for key, value in tags.items():
            setattr(dataset, key, value)
        return dataset

    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.6, 0.6])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, -1, 0])],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=1)],
    )
    data = saved(dicom(np.stack([head, head]), SharedFunctionalGroupsSequence=[shared]))
    scan = read_scan(data, index=1)
    assert scan.spacing == (0.6, 0.6) and np.allclose(scan.raw, head[::-1] * 2.0 + 1)


def test_dicom_refusals(head: np.ndarray) -> None:
    dataset = dicom(head)
    del dataset.PixelData
    with pytest.raises(ScanError, match="without a picture"):
        read_scan(saved(dataset))
    dataset = dicom(head)
    dataset.PixelData = dataset.PixelData[:100]
    with pytest.raises(ScanError, match="damaged"):
        read_scan(saved(dataset))
    dataset = dicom(head)
    dataset.Rows, dataset.Columns = 60000, 60000
    with pytest.raises(ScanError, match="limit"):
        read_scan(saved(dataset))
    dataset = dicom(head, pydicom.uid.MPEG2MPML)
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(500)])
    dataset["PixelData"].VR = "OB"
    with pytest.raises(ScanError, match="MPEG2"):
        read_scan(saved(dataset))


def test_dicom_stream_of_another_size_is_refused(head: np.ndarray) -> None:
    """A small header must not make the decoder allocate a large picture."""
    from pydicom.encaps import encapsulate

    stream = encode(Image.fromarray(np.zeros((3000, 3000), np.uint8)), "JPEG")
    assert stream_size(stream) == (3000, 3000)
    dataset = dicom(head, pydicom.uid.JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    with pytest.raises(ScanError, match="damaged"):
        read_scan(saved(dataset))
    stream = encode(Image.fromarray(np.zeros((30, 50), np.uint8)), "JPEG2000", no_jp2=True)
    assert stream_size(stream) == (50, 30)


def test_info_holds_no_patient(head: np.ndarray) -> None:
    scan = read_scan(saved(dicom(head, PatientName="Doe^Jane", PatientID="4711")), name="/home/doe/x.dcm")
    assert scan.name == "x.dcm" and "Doe" not in repr(scan.info) and "4711" not in repr(scan.info)


# ---- limits and damage ----


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch, head: np.ndarray) -> None:
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")  # noqa: E731
    size = (20_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + b"\x08\x00\x00\x00\x00")
    bomb += chunk(b"IDAT", zlib.compress(bytes(400_000))) + chunk(b"IEND", b"")
    with pytest.raises(ScanError) as error:
        read_scan(bomb, name="bomb.png")
    assert "50 million pixels" in sentence(error)
    import scan as scan_module

    monkeypatch.setattr(scan_types, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(scan_module, "MAX_BYTES", 1_000_000)
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


# ---- preprocessing ----


def put(head: np.ndarray, shape: tuple[int, int], at: tuple[int, int], background: int = 0) -> np.ndarray:
    page = np.full(shape, background, np.uint8)
    page[at[0] : at[0] + head.shape[0], at[1] : at[1] + head.shape[1]] = np.maximum(head, background)
    return page


def test_head_mask_on_a_disc() -> None:
    y, x = np.mgrid[0:200, 0:300]
    disc = np.hypot(y - 90, x - 170) < 60
    image = np.where(disc, 150, 5).astype(np.uint8)
    image[np.hypot(y - 90, x - 170) < 12] = 0  # a hole
    mask = head_mask(image)
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95 and mask[90, 170]


def test_margins_make_no_difference() -> None:
    """The same head on pages of other sizes, gray floors, with a frame and letters gives nearly the same input."""
    head = make_phantom("meningioma", 8, 220, height=0.2).image
    clean, _ = preprocess(head, 128)
    framed = put(head, (300, 400), (40, 120))
    cv2.rectangle(framed, (0, 0), (399, 299), 255, 3)
    lettered = put(head, (300, 400), (40, 120))
    cv2.putText(lettered, "L  MRI 1234", (5, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    cv2.putText(lettered, "R", (380, 150), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    for page in (put(head, (500, 260), (200, 20)), put(head, (300, 300), (40, 40), 30), framed, lettered):
        square, _ = preprocess(page, 128)
        difference = np.abs(square.astype(int) - clean).mean()
        assert difference < 8, difference
    plain = cv2.resize(put(head, (300, 400), (40, 120)), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(plain.astype(int) - clean).mean() > 25  # what it would be without looking for the head


def test_contrast_makes_no_difference() -> None:
    head = make_phantom("glioma", 9, 220).image
    clean, _ = preprocess(head, 128)
    dark = (head * 0.4).astype(np.uint8)
    assert np.abs(preprocess(dark, 128)[0].astype(int) - clean).mean() < 4


def test_outside_the_head_is_zero() -> None:
    head = make_phantom(NO_TUMOR, 3, 256).image
    noisy = np.maximum(head, np.random.default_rng(0).integers(0, 18, head.shape, np.uint8))
    square, _ = preprocess(noisy, 128)
    ring = np.concatenate([square[:2].ravel(), square[-2:].ravel(), square[:, :2].ravel(), square[:, -2:].ravel()])
    assert (ring == 0).all() and square.max() == 255


def test_white_page() -> None:
    """A head on a white page is not cut: everything is shown."""
    head = make_phantom("glioma", 2, 200).image
    page = put(head, (300, 300), (50, 50))
    page[:45], page[:, :45], page[255:], page[:, 255:] = 255, 255, 255, 255
    square, frame = preprocess(page, 128)
    assert square.std() > 20 and frame.side <= 300 * 1.1


def test_large_pictures_are_padded_in_the_model_square() -> None:
    """Above EXACT pixels no padded copy is made; the result is the same to about a model pixel."""
    image = cv2.resize(make_phantom("glioma", 3, 256).image[:, 60:220], None, fx=18, fy=18)
    assert max(image.shape) > EXACT
    square, frame = preprocess(image, 128)
    small, _ = preprocess(cv2.resize(image, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA), 128)
    assert np.abs(square.astype(int) - small).mean() < 6
    assert frame.side > EXACT and restore(np.ones((128, 128), np.float32), frame).shape == image.shape


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (1, 900), (900, 1), (31, 500), (512, 512), (1000, 700), (2000, 40)])
@pytest.mark.parametrize("size", [32, 128])
def test_geometry_of_any_shape(shape: tuple[int, int], size: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    square, frame = preprocess(image, size)
    assert square.shape == (size, size) and square.dtype == np.uint8
    assert (frame.height, frame.width) == shape
    back = restore(np.ones((size, size), np.float32), frame)
    assert back.shape == shape and back.dtype == np.float32 and back.min() >= 0 and back.max() <= 1.0001
    assert head_mask(image).shape == shape


def test_restore_undoes_apply_frame() -> None:
    phantom = make_phantom("meningioma", 1, 256, "coronal")
    for image, mask in ((phantom.image, phantom.mask), (phantom.image[:, 30:230], phantom.mask[:, 30:230])):
        _, frame = preprocess(image, 128)
        small = apply_frame(mask, frame, 128)
        assert small.shape == (128, 128) and small.dtype == np.uint8
        back = restore(small.astype(np.float32) / 255, frame) > 0.5
        truth = mask > 127
        assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.97


def test_frame_may_reach_outside_and_pads_with_zero() -> None:
    image = np.full((10, 20), 200, np.uint8)
    square = apply_frame(image, Frame(height=10, width=20, top=-5, left=0, side=20), 20)
    assert (square[:5] == 0).all() and (square[5:15] == 200).all() and (square[15:] == 0).all()
    outside = restore(np.ones((40, 40), np.float32), Frame(10, 20, 2, 3, 6))
    assert outside[2:8, 3:9].min() == 1 and outside.sum() == 36


def test_preprocessing_is_what_its_name_says() -> None:
    """A change of the preprocessing needs a new PREPROCESSING name, or older models silently see other pictures.

    The tolerance is for other versions of OpenCV.
    """
    y, x = np.mgrid[0:150, 0:200].astype(np.float64)
    r = np.hypot((y - 70) / 60, (x - 110) / 50)
    head = 120 + 60 * np.sin(x / 9) * np.cos(y / 7) + 40 * (r > 0.9)
    square, frame = preprocess(np.where(r < 1, head, 12 + (x + y) % 5).astype(np.uint8), 16)
    assert PREPROCESSING == "head-square-v1" and frame == Frame(150, 200, 5, 45, 131)
    wanted = bytes.fromhex(
        "0000000000000000000000000000000000000000006ed2b57a541d0000000000000000006799b8a05a1a1d6700000000"
        "000000736b6260626466666b66000000000028d085370c246daeb57e4a000000000086a47c4121346b9ba0773e2f0000"
        "000067405675867c5f45415877a7000000003e094092c1a758130a4799e7000000006b405475887e5f43405879b00000"
        "0000b7a27c4322356b9ba0773e480000000096b885370c246daeb57e321c000000000e8064605f60646667647a020000"
        "0000002f4a8db7a05a1a13518c000000000000006992a9965b282d6b0000000000000000004c726d86a75a0000000000"
        "00000000000000000000000000000000"
    )
    assert np.abs(square.astype(int).ravel() - np.frombuffer(wanted, np.uint8)).max() <= 3


def test_preprocessing_is_deterministic_and_leaves_its_input_alone() -> None:
    image = make_phantom("pituitary", 5, 300, "sagittal").image
    before = image.copy()
    first, frame = preprocess(image, 96)
    for variant in (image, np.asfortranarray(image), np.pad(image, 1)[1:-1, 1:-1]):
        again, same = preprocess(variant, 96)
        assert np.array_equal(first, again) and frame == same
    assert np.array_equal(image, before)


def test_coarse_size_does_not_depend_on_resolution() -> None:
    """The same head at twice the resolution gives nearly the same square."""
    image = make_phantom("glioma", 6, 512).image
    half = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    assert half.shape[0] > COARSE
    (large, frame), (small, again) = preprocess(image, 128), preprocess(half, 128)
    for name in ("top", "left", "side"):
        assert abs(getattr(frame, name) - 2 * getattr(again, name)) <= 3
    assert np.abs(large.astype(int) - small).mean() < 5


def test_sharpness_falls_with_blur(head: np.ndarray) -> None:
    assert sharpness(head) > 2 * sharpness(cv2.GaussianBlur(head, (0, 0), 2)) > 0


# ---- real data ----


def test_real_tumors_lie_in_the_head(real_data: Path) -> None:
    images = sorted((real_data / "segmentation" / "images").iterdir())[::40]
    assert images
    for path in images:
        image = read_scan(path).image
        mask = read_scan(real_data / "segmentation" / "masks" / path.name).image > 127
        assert (head_mask(image) & mask).sum() >= 0.99 * mask.sum(), path.name
        _, frame = preprocess(image, 128)
        back = restore(apply_frame(mask.astype(np.uint8) * 255, frame, 128).astype(np.float32), frame) > 127
        if mask.sum() > 400:
            assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.9, path.name


def test_real_class_folders(real_data: Path) -> None:
    for label in CLASSES:
        for path in sorted((real_data / "brain-tumor-mri" / "Testing" / label).iterdir())[::25]:
            square, frame = preprocess(read_scan(path).image, 128)
            assert square.std() > 15 and frame.side >= 0.3 * max(frame.height, frame.width), path.name


def test_real_dicom(real_data: Path) -> None:
    paths = sorted((real_data / "volumes" / "dicom").iterdir())
    for path in paths:
        scan = read_scan(path)
        assert scan.shape == (384, 274) and scan.spacing == pytest.approx((0.6667, 0.7), abs=1e-3)
        assert scan.info["plane"] == "axial" and scan.raw.dtype == np.int16
