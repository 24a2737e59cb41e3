"""PNG, JPEG, TIFF, BMP, WebP, GIF, JPEG 2000, AVIF and HEIC -> gray values, nothing lost that the file holds.

Pillow decodes; OpenCV where Pillow would cut 16-bit colour to 8 bit or lacks a sample type (64-bit float TIFF).
"""

from __future__ import annotations

import io
import time
import warnings as python_warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from brain_mri.imaging.file_type import HEIF
from brain_mri.imaging.scan import MAX_FRAMES, MAX_PIXELS, MAX_SLICES, MAX_VOXELS, ScanError, TooLarge

# The decoders write a line to the console for every irregular tag; what matters becomes a ScanError or a warning.
python_warnings.filterwarnings("ignore", module=r"PIL\.")
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)  # silent; OpenCV 4 and 5 differ in the name

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
COUNTING = 2.0  # seconds at most to count the pictures of a file; a hostile one could take minutes
DEFLATE = 1100  # a byte of a PNG cannot stand for more bytes than this
_ORIENTATION = 0x0112  # EXIF tag
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
# One line filter instead of a trial of all five, least effort: half the time for files that are 2 % larger
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []


@dataclass(frozen=True, eq=False)
class Picture:
    """values: (H, W), or (N, H, W) of a stack, as stored (uint8, uint16, int16, float32); color: see Scan."""

    values: np.ndarray
    color: float
    info: dict[str, object]
    warnings: tuple[str, ...] = ()


def read_picture(data: bytes, name: str, index: int | None = None) -> Picture:
    """Decode frame `index` (default the first). Raises ScanError."""
    return _decoded(lambda: _read(data, name, index), name)


def read_stack(data: bytes, name: str) -> Picture:
    """Every picture of an animation or of a TIFF of many pages that is as large as the first. Raises ScanError."""
    return _decoded(lambda: _read_stack(data, name), name)


def _decoded(decode: Callable[[], Picture], name: str) -> Picture:
    try:
        return decode()
    except ScanError:
        raise
    except MemoryError:
        raise ScanError(f"{name} needs more memory than there is.") from None
    except Image.DecompressionBombError:
        raise ScanError(f"{name} has more than {MAX_PIXELS // 10**6} million pixels and was refused.") from None
    except Exception:  # the decoders raise anything on damaged files: OSError, SyntaxError, struct.error, ...
        raise ScanError(
            f"{name} is damaged or incomplete and could not be decoded; export or download it again."
        ) from None


def _open(source: bytes | Path, name: str) -> Image.Image:
    start = source[:64] if isinstance(source, bytes) else b""
    formats: tuple[str, ...] = FORMATS
    if start[:4] == b"\xff\x4f\xff\x51" or start[4:8] == b"jP  ":
        formats = ("JPEG2000",)
    elif start[4:8] == b"ftyp":
        kind = "HEIC" if start[8:12] in HEIF and b"avif" not in start else "AVIF"
        formats = ("HEIF",) if kind == "HEIC" else ("AVIF",)
        try:
            if kind == "HEIC":
                import pi_heif  # an optional package, and only when needed

                pi_heif.register_heif_opener()
            elif not features.check("avif"):
                raise ImportError
        except ImportError:
            raise ScanError(f"{name} holds {kind}, which cannot be read here; save it as PNG or JPEG.") from None
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)


def _read(data: bytes, name: str, index: int | None) -> Picture:
    try:
        picture = _open(data, name)
    except UnidentifiedImageError:
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _with_opencv(data, "TIFF", name, _tiff_size(data))
        raise
    check_size(picture.width, picture.height, name)
    warnings: tuple[str, ...] = ()
    if index:
        try:
            picture.seek(index)
        except EOFError:
            raise ScanError(f"{name} has no picture number {index} (counted from 0).") from None
        check_size(picture.width, picture.height, name)
    pictures = frame_count(data)
    if index is None and pictures > 1:
        warnings = (f"{name} holds {pictures} pictures; the first is shown: frame 1 of {pictures}.",)
    kind, bits = str(picture.format), _bits(picture, data)
    if kind == "PNG" and not _plausible_png(data, picture.width * picture.height):
        raise ScanError(f"{name} is damaged: it is too short for what its header states.")
    if bits > 8 and picture.mode in ("RGB", "RGBA", "RGBX", "LA", "L") and not index:
        return _with_opencv(data, kind, name, picture.size, warnings)
    picture.load()
    info: dict[str, object] = {"format": kind, "mode": picture.mode, "bits": bits, "index": index or 0}
    if pictures > 1:
        info["slices"] = pictures
    values, color = _gray(picture)
    orientation = _orientation(picture)
    if orientation != 1:
        values = _turn(values, orientation)
        info["orientation"] = f"EXIF {orientation} applied"
    return Picture(values, color, info, warnings)


def _plausible_png(data: bytes, pixels: int) -> bool:
    """Whether all chunks lie within the file and it is large enough for its pixels; OpenCV allocates what is stated."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at + 12 <= len(data) and pixels <= 8 * DEFLATE * len(data)  # at 1 bit a pixel


def _read_stack(data: bytes, name: str) -> Picture:
    with _open(data, name) as picture:
        check_size(picture.width, picture.height, name)
        size, kind, mode, bits = picture.size, str(picture.format), picture.mode, _bits(picture, data)
        frames: list[np.ndarray] = []
        color, passed = 0.0, 0
        for i in range(MAX_FRAMES):
            try:
                picture.seek(i)
            except EOFError:
                break
            if picture.size != size:  # a thumbnail, a smaller copy
                passed += 1
                continue
            if (len(frames) + 1) * size[0] * size[1] > MAX_VOXELS:
                raise TooLarge(f"{name} has more than {MAX_VOXELS // 10**6} million voxels.")
            if len(frames) == MAX_SLICES:
                raise TooLarge(f"{name} has more than {MAX_SLICES:,} pictures, which is the limit.")
            picture.load()
            values, saturation = _gray(picture)
            frames.append(values)
            color = max(color, saturation)
    warnings = (f"{passed} pictures of another size in {name} were passed over.",) if passed else ()
    info: dict[str, object] = {"format": kind, "mode": mode, "bits": bits}
    return Picture(compact(np.stack(frames)), color, info, warnings)


def frame_count(source: bytes | Path, most: int = MAX_VOXELS) -> int:
    """Pictures of a GIF, TIFF, WebP, PNG or AVIF that are as large as the first; at most `most` are counted."""
    end = time.monotonic() + COUNTING
    try:
        with _open(source, "") as picture:
            if picture.format not in ("GIF", "TIFF", "WEBP", "PNG", "AVIF"):
                return 1  # a phone's JPEG or HEIC may carry previews; they are no scans
            stated = getattr(picture, "n_frames", 1) if picture.format not in ("GIF", "TIFF") else 0
            size, count, i = picture.size, 1, 1
            while not stated and count < most and time.monotonic() < end:
                picture.seek(i)
                count += picture.size == size
                i += 1
            return min(stated or count, most)
    except EOFError:
        return count
    except Exception:  # no picture, or a damaged second one, which does not matter
        return 1


def check_size(width: int, height: int, name: str, limit: int = MAX_PIXELS) -> None:
    """Raises ScanError for a picture without pixels or with too many, before it is decoded."""
    if width < 1 or height < 1:
        raise ScanError(f"{name} has no pixels ({width}x{height}).")
    if width * height > limit:
        raise ScanError(
            f"{name} has {width}x{height} pixels; the limit is {limit // 10**6} million, so reduce it first."
        )


def _bits(picture: Image.Image, data: bytes) -> int:
    """Bits per sample as stored."""
    if picture.format == "PNG":
        return data[24]
    if picture.format == "TIFF":
        stored = picture.tag_v2.get(_BITS, (1,))  # type: ignore[attr-defined]
        return int(max(stored) if isinstance(stored, tuple) else stored)
    return {"1": 1, "F": 32, "I": 32}.get(picture.mode, 16 if picture.mode.startswith("I;16") else 8)


def _gray(picture: Image.Image) -> tuple[np.ndarray, float]:
    """(H, W) gray values and the colour measure of a loaded picture; alpha is composited on black."""
    mode = picture.mode
    if mode.startswith("I;16"):
        values = np.array(picture).astype(np.uint16)
        if picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
            values = np.iinfo(np.uint16).max - values  # white is zero; Pillow inverts 8 bit only
        return values, 0.0
    if mode in ("I", "F"):
        values = np.array(picture)
        if mode == "I" and picture.format == "TIFF" and _bits(picture, b"") == 32:
            tags = picture.tag_v2  # type: ignore[attr-defined]
            values = values.view(np.uint32) if tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 else values
        return compact(values), 0.0
    if mode == "1" or (mode == "L" and "transparency" not in picture.info):
        return np.array(picture.convert("L")), 0.0
    if mode in ("RGB", "CMYK", "YCbCr", "LAB", "HSV") and "transparency" not in picture.info:
        return gray_and_color(np.asarray(picture.convert("RGB")))
    return gray_and_color(_on_black(np.asarray(picture.convert("RGBA"))))


def compact(values: np.ndarray) -> np.ndarray:
    """Integers beyond 16 bit as int16 or uint16 when they fit, else as float32; everything else unchanged."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize <= 2:
        return values
    low, high = int(values.min()), int(values.max())
    for dtype in (np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.float32)


def _on_black(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4) -> (H, W, 3), alpha composited on black, same dtype."""
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., 3]
    if alpha.min() == top:
        return pixels[..., :3]
    wide = np.dtype(f"u{2 * pixels.itemsize}")  # just wide enough for the product
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for channel in range(3):  # one by one: a large picture must not need many times its size
        product = np.multiply(pixels[..., channel], alpha, dtype=wide)
        product += wide.type(top // 2)
        result[..., channel] = product // wide.type(top)
    return result


def gray_and_color(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """((H, W) luminance of the same dtype, 0..1 brightness-weighted saturation) of RGB pixels (H, W, 3)."""
    pixels = np.ascontiguousarray(pixels)
    red, green, blue = cv2.split(pixels)
    most = cv2.max(cv2.max(red, green), blue)
    spread = float(np.mean(most, dtype=np.float64)) - float(
        np.mean(cv2.min(cv2.min(red, green), blue), dtype=np.float64)
    )
    level = float(np.mean(most, dtype=np.float64))
    if spread <= 0:
        return red.copy(), 0.0
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), min(1.0, spread / level)


def _orientation(picture: Image.Image) -> int:
    try:
        value = int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is common and says nothing about the pixels
        return 1
    return value if 1 <= value <= 8 else 1


def _turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation 2..8 on (H, W)."""
    if orientation in (5, 6, 7, 8):
        values = values.T
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def _tiff_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the first picture of a TIFF, from its tags."""
    stream = io.BytesIO(data)
    tags = ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    return int(tags[256]), int(tags[257])


def _with_opencv(data: bytes, kind: str, name: str, size: tuple[int, int], warnings: tuple[str, ...] = ()) -> Picture:
    """16-bit colour and unusual sample types. Raises ScanError.

    OpenCV needs up to 50 bytes a pixel for these, so fewer of them are allowed.
    """
    check_size(*size, name, MAX_PIXELS // 4)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ScanError(f"{name} is a {kind} file of a kind that cannot be decoded here.")
    bits = pixels.dtype.itemsize * 8
    if pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    info: dict[str, object] = {
        "format": kind,
        "mode": f"{pixels.dtype}x{1 if pixels.ndim == 2 else pixels.shape[2]}",
        "bits": bits,
    }
    if pixels.ndim == 2:
        return Picture(compact(pixels), 0.0, info, warnings)
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        mean = pixels[..., :3].mean(axis=2, dtype=np.float32)
        return Picture(np.ascontiguousarray(mean), 0.0, info, warnings)
    if pixels.shape[2] == 2:  # gray with alpha
        pixels = np.dstack([pixels[..., :1]] * 3 + [pixels[..., 1:]])
    rgb = pixels[..., 2::-1]
    if pixels.shape[2] == 4:
        rgb = _on_black(np.dstack([rgb, pixels[..., 3]]))
    values, color = gray_and_color(rgb)
    return Picture(values, color, info, warnings)


def png(picture: np.ndarray) -> bytes:
    """PNG file of a uint8 (H, W) or RGB (H, W, 3) picture, or of a bool mask (white on black)."""
    if picture.dtype == bool:
        picture = picture.astype(np.uint8) * 255
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", picture, _PNG)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} could not be encoded")
    return data.tobytes()
