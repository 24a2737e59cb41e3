"""What every reader shares: `Scan`, the one exception, the limits, and windowing to 8 bit."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

MAX_BYTES = 512 * 2**20  # of one file, and of what a compressed file unpacks to
MAX_PIXELS = 50_000_000  # of one picture: the largest phone photographs, far above any MRI slice
MAX_VOXELS = 160_000_000  # of one volume: 512 x 512 x 600
MAX_SLICES = 1024  # of one volume: a head at a quarter of a millimetre; each slice is a pass through the models
MAX_FRAMES = 8 * MAX_SLICES  # of one file, of which a volume is taken: directions and times of the same slices
MAX_SIDE = 2048  # pixels on the longer side that the page works with; MRI slices stay far below
MIN_SIDE = 8  # pixels; nothing below this can show a head
WINDOW_PERCENTILES = (0.5, 99.8)


class ScanError(ValueError):
    """A file that cannot be read as a scan; the message is one sentence for a person."""


class TooLarge(ScanError):
    """More than the limits allow: a bomb, perhaps, so that nothing else of the upload is tried."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One 2D slice, ready for display and analysis.

    image     uint8 (H, W), gray; values beyond 8 bit are windowed to percentiles, 8-bit pictures stay as they are
    raw       (H, W) the stored values (uint8, uint16, int16 or float32) for a window/level control, oriented
              like `image`; DICOM: after the modality LUT, MONOCHROME1 inverted so that bright is bright
    spacing   (row, column) in mm per pixel, or None when the file does not state it
    name      file name without a path
    info      format, mode, bits, orientation, index, slices ...: only plain values
    warnings  sentences for a person
    color     0..1, brightness-weighted mean saturation of a colour picture; 0 for gray
    """

    image: np.ndarray
    raw: np.ndarray
    spacing: tuple[float, float] | None = None
    name: str = "scan"
    info: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    color: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.image.shape[0]), int(self.image.shape[1])

    @property
    def sequence(self) -> str:
        """One of classes.SEQUENCES where the file says which it is, else ""."""
        return str(self.info.get("sequence") or "")


@dataclass(frozen=True)
class Choice:
    """One volume of several in an upload: a series of DICOM files, or one file of an archive or folder.

    key       what read_volume takes as `choose`; title: its own name, for a person
    places    distinct positions: slices, not files
    """

    key: str
    title: str
    places: int
    chosen: bool = False


def clean_name(name: str | os.PathLike[str]) -> str:
    """The last part of a path as printable text of at most 120 characters, whatever bytes it was made of."""
    text = os.fspath(name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() else "_" for c in text).strip()
    return (text if len(text) <= 120 else text[:100] + "..." + text[-17:]) or "scan"


def content_of(source: str | Path | bytes | memoryview, name: str | None = None) -> tuple[bytes, str]:
    """(content, printable name) of a file or of its bytes. Raises ScanError."""
    if isinstance(source, (str, Path)):
        name = clean_name(name or source)
        return read_bytes(Path(source), name), name
    name = clean_name(name or "upload")
    return _checked(bytes(source), name), name


def _checked(data: bytes, name: str) -> bytes:
    if not data:
        raise ScanError(f"{name} is empty (0 bytes).")
    if len(data) > MAX_BYTES:
        raise ScanError(f"{name} is larger than the limit of {MAX_BYTES // 2**20} MB.")
    return data


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file of at most MAX_BYTES. name: for sentences. Raises ScanError."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ScanError(f"{name} is a folder; choose a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ScanError(f"{name} is not an ordinary file.")
        if status.st_size > MAX_BYTES:
            raise ScanError(f"{name} has {status.st_size / 2**20:.0f} MB; the limit is {MAX_BYTES // 2**20} MB.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except ScanError:
        raise
    except FileNotFoundError:
        raise ScanError(f"There is no file {name}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name or content cannot be read"
        raise ScanError(f"{name} could not be opened ({reason}).") from None
    return _checked(data, name)


def inflate(data: bytes, name: str, *, wbits: int = 31, limit: int = MAX_BYTES) -> bytes:
    """Bounded gzip (wbits 31) or raw deflate (wbits -15) decompression. Raises ScanError.

    A bomb stops at `limit` bytes instead of filling the memory. Concatenated gzip members are joined.
    """
    parts: list[bytes] = []
    total = 0
    while data:
        engine = zlib.decompressobj(wbits)
        try:
            part = engine.decompress(data, limit - total + 1)
        except zlib.error:
            if parts:  # bytes after the last member: padding
                break
            raise ScanError(f"{name} is damaged: its compressed content cannot be unpacked.") from None
        total += len(part)
        if total > limit:
            raise TooLarge(f"{name} unpacks to more than {limit // 2**20} MB and was refused.")
        if not engine.eof:
            raise ScanError(f"{name} is damaged or incomplete: its compressed content ends too early.")
        parts.append(part)
        data = engine.unused_data if wbits > 0 else b""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def finite(values: np.ndarray, name: str) -> tuple[np.ndarray, bool]:
    """(values with NaN and infinities replaced by the least finite value, whether there were any). Raises ScanError."""
    if values.dtype.kind != "f":
        return values, False
    good = np.isfinite(values)
    if good.all():
        return values, False
    if not good.any():
        raise ScanError(f"{name} holds no finite value, so there is nothing to show.")
    return np.where(good, values, values[good].min()), True


def stretched(spacing: tuple[float, float] | None) -> tuple[str, ...]:
    """A warning for pixels that are far from square: such a slice is shown, and analysed, out of shape."""
    if spacing is None or max(spacing) <= 1.25 * min(spacing):
        return ()
    return (f"The pixels are not square ({spacing[0]:.2g} x {spacing[1]:.2g} mm), so shapes look stretched.",)


def windowed(
    raw: np.ndarray,
    spacing: tuple[float, float] | None,
    name: str,
    info: dict[str, object],
    warnings: Sequence[str] = (),
    color: float = 0.0,
    limits: tuple[float, float] | None = None,
) -> Scan:
    """A Scan of stored values (H, W). limits: of the display window; by default what suits these values."""
    image = raw if raw.dtype == np.uint8 else to_uint8(raw, limits or window_limits(raw))
    if image.min() == image.max():
        what = name if limits is None else f"slice {info['index']}"
        warnings = (*warnings, f"Every pixel of {what} has the same value.")
    return Scan(image, raw, spacing, name, info, tuple(warnings), color)


def window_limits(values: np.ndarray) -> tuple[float, float]:
    """(low, high) of the display window: percentiles, or the extremes when the percentiles coincide."""
    step = max(1, int((values.size / 2_000_000) ** (1 / max(values.ndim, 1))))
    sample = values[(slice(None, None, step),) * values.ndim]
    low, high = (float(v) for v in np.percentile(sample, WINDOW_PERCENTILES))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return low, high


def to_uint8(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Map limits to 0..255, uint8. A window without width gives zeros."""
    low, high = limits
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    scale = 255.0 / (high - low)
    scaled = np.subtract(values, low, dtype=np.float64 if values.dtype.itemsize > 2 else np.float32)
    scaled *= scale
    scaled += 0.5
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def reduce(scan: Scan) -> Scan:
    """The scan with at most MAX_SIDE pixels on its longer side."""
    height, width = scan.shape
    factor = max(height, width) / MAX_SIDE
    if factor <= 1:
        return scan
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    note = f"The picture has {width} x {height} pixels and is shown and measured at {size[0]} x {size[1]}."
    return replace(
        scan,
        image=cv2.resize(scan.image, size, interpolation=cv2.INTER_AREA),
        raw=cv2.resize(scan.raw, size, interpolation=cv2.INTER_AREA),
        spacing=(scan.spacing[0] * height / size[1], scan.spacing[1] * width / size[0]) if scan.spacing else None,
        warnings=(*scan.warnings, note),
    )
