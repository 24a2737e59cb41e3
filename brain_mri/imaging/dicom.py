"""DICOM files -> values and geometry: compressed syntaxes, multi-frame, MONOCHROME1, rescaling, missing preamble.

pydicom parses and decodes, each compressed syntax with one decoder. Sizes are checked before anything is decoded.
"""

from __future__ import annotations

import io
import logging
import warnings as python_warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from brain_mri.imaging import dicom_mosaic
from brain_mri.imaging.dicom_pixels import decoder_of
from brain_mri.imaging.dicom_sequence import sequence_of
from brain_mri.imaging.file_type import has_dicom_preamble
from brain_mri.imaging.orientation import DISPLAY, axes_of, permuted, plane_of, turned
from brain_mri.imaging.picture import check_size, compact, gray_and_color
from brain_mri.imaging.scan import (
    MAX_FRAMES,
    MAX_VOXELS,
    MIN_SIDE,
    Scan,
    ScanError,
    finite,
    inflate,
    stretched,
    to_uint8,
    window_limits,
    windowed,
)

# pydicom warns about every irregular tag and logs every failed decoder; what matters becomes a ScanError or a warning
for _logger in ("pydicom", "openjpeg", "pylibjpeg"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL)
python_warnings.filterwarnings("ignore", module=r"pydicom\.")

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
TERMS: dict[str, tuple[str, ...]] = {  # of the standard; other texts in these tags are shown nowhere
    "Modality": (
        "MR", "CT", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT", "ECG", "SEG", "SR", "PR", "KO", "REG", "RWV",
        "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "DOC", "FID", "MS",
    ),
    "PhotometricInterpretation": tuple(str(kind) for kind in PhotometricInterpretation),
}  # fmt: skip
_TO_RAS = np.array([-1.0, -1.0, 1.0])  # DICOM counts towards left and posterior, NIfTI towards right and anterior


@dataclass(frozen=True, eq=False)
class Place:
    """Where a frame lies in the patient; None for what the file does not state sensibly.

    spacing (row, column) mm; directions (3, 3), columns = RAS unit vectors of increasing column index, row index and
    slice normal; position: RAS mm of the first pixel; location: SliceLocation, mm along the normal.
    """

    spacing: tuple[float, float] | None
    directions: np.ndarray | None
    position: np.ndarray | None
    location: float | None = None

    @property
    def axes(self) -> str | None:
        return None if self.directions is None else axes_of(self.directions)


def open_dicom(data: bytes, name: str) -> pydicom.Dataset:
    """Parse a file and check everything but its pixels. Raises ScanError."""
    if has_dicom_preamble(data) and DeflatedExplicitVRLittleEndian.encode() in data[132:2000]:
        length = int.from_bytes(data[140:144], "little")  # of the meta header
        inflate(data[144 + length :], name, wbits=-15)  # only to know that it is no bomb
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        _settle_syntax(dataset)
        if not any(key in dataset for key in PIXELS):
            what = _known(dataset, "Modality") or "unknown modality"
            raise ScanError(f"{name} is a DICOM file without a picture ({what}).")
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames = frame_count(dataset)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        check_size(columns, rows, name)
        if min(rows, columns) < MIN_SIDE:
            raise ScanError(f"{name} has only {columns}x{rows} pixels, too few to show a head.")
        if not 1 <= frames <= MAX_FRAMES or samples not in (1, 3, 4) or frames * rows * columns > MAX_VOXELS:
            raise ScanError(f"{name} has {frames} frames of {columns}x{rows} pixels, which cannot be read here.")
        if dicom_mosaic.is_mosaic(dataset):
            _check_stream(dataset, 0)
            dicom_mosaic.unpack(dataset, name)
    except ScanError:
        raise
    except Exception:  # pydicom raises many kinds on damaged files
        raise ScanError(f"{name} is a damaged or incomplete DICOM file.") from None
    return dataset


def _settle_syntax(dataset: pydicom.Dataset) -> None:
    """Give a file without a meta header the transfer syntax that it was parsed with."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if not isinstance(stated, str) or not stated:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def frame_count(dataset: pydicom.Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def frame_values(dataset: pydicom.Dataset, index: int, name: str) -> tuple[np.ndarray, float]:
    """((rows, columns) values, colour measure) of a frame. Raises ScanError.

    uint8, int16, uint16 or float32; after the modality LUT, MONOCHROME1 inverted, padding and NaN at the least value.
    """
    try:
        kind = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
        _check_stream(dataset, index)
        options: dict[str, Any] = {"decoding_plugin": decoder_of(dataset)}
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:  # the tag tells of the time before it was compressed
            options["planar_configuration"] = 0
        values = pixel_array(dataset, index=index, **options)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)
        if values.ndim == 3 and values.shape[2] >= 3:
            if values.dtype not in (np.uint8, np.uint16):
                values = to_uint8(values, window_limits(values))
            return gray_and_color(values[..., :3])
        padding = dataset.get("PixelPaddingValue")
        padded = None if padding is None else values == int(padding)
        values = _modality(values, dataset, index)
    except MemoryError:
        raise ScanError(f"{name} needs more memory than there is.") from None
    except Exception:  # the decoders raise many kinds on damaged or unsupported streams
        raise ScanError(
            f"{name} is a DICOM file whose picture is damaged or in a form that cannot be decoded here "
            f"({_syntax(dataset)})."
        ) from None
    if values.ndim != 2:
        raise ScanError(f"{name} is a DICOM file whose picture has the shape {values.shape}.")
    values, _ = finite(values, name)
    if padded is not None and padded.any() and not padded.all():
        values = np.where(padded, values[~padded].min(), values)
    if kind == "MONOCHROME1":
        low, high = values.min(), values.max()
        values = (high - (values - low)).astype(values.dtype)
    return values, 0.0


def _known(dataset: pydicom.Dataset, key: str) -> str:
    """A term of the standard, or "" for any other text: whoever filled it in may have written a name there."""
    text = str(dataset.get(key) or "").strip()
    return text if text in TERMS[key] else ""


def _syntax(dataset: pydicom.Dataset) -> str:
    syntax = dataset.file_meta.TransferSyntaxUID
    return str(syntax.name) if syntax in AllTransferSyntaxes else "unknown transfer syntax"


def _modality(values: np.ndarray, dataset: pydicom.Dataset, index: int) -> np.ndarray:
    """Stored values -> modality values; whole numbers stay whole when the rescaling changes nothing."""
    if dataset.get("ModalityLUTSequence"):
        return compact(apply_modality_lut(values, dataset).astype(np.float32))
    item = functional(dataset, index, "PixelValueTransformationSequence")
    slope, intercept = float(item.get("RescaleSlope") or 1), float(item.get("RescaleIntercept") or 0)
    if (slope, intercept) != (1.0, 0.0):
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if values.dtype == np.int8:
        return values.astype(np.int16)
    return values.astype(np.float32) if values.dtype.kind == "f" else compact(values)


def _check_stream(dataset: pydicom.Dataset, index: int) -> None:
    """Raises ValueError for a compressed frame that would decode to another size than the tags state (a bomb)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    frame = get_frame(dataset.PixelData, index, number_of_frames=frame_count(dataset))
    samples = int(dataset.get("SamplesPerPixel") or 1)
    expected = int(dataset.Rows) * int(dataset.Columns) * samples * (int(dataset.BitsAllocated) // 8 or 1)
    if len(frame) > 2 * expected + 65536:
        raise ValueError("more compressed than uncompressed bytes")
    stated = stream_size(frame)
    if stated is not None and stated != (int(dataset.Columns), int(dataset.Rows)):
        raise ValueError("the compressed picture has another size")


def stream_size(frame: bytes) -> tuple[int, int] | None:
    """(width, height) in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None when there is none (RLE)."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(frame[at : at + size], "big")

    start = frame.find(b"\xff\x4f\xff\x51", 0, 512)  # JPEG 2000: SOC, SIZ
    if start >= 0:
        x, y, x0, y0 = (number(start + at, 4) for at in (8, 12, 16, 20))
        return x - x0, y - y0
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 < len(frame):
        if frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7):
            return number(at + 7, 2), number(at + 5, 2)
        at += 2 if marker in (0xFF, 0x01) else 2 + max(number(at + 2, 2), 2)
    return None


def functional(dataset: pydicom.Dataset, index: int, sequence: str) -> pydicom.Dataset:
    """Enhanced multi-frame: the item of a functional group that holds for a frame; else the data set itself."""
    for groups, i in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(groups)
        if items and i < len(items) and items[i].get(sequence):
            return items[i].get(sequence)[0]
    return dataset


def numbers(item: pydicom.Dataset, key: str, count: int) -> np.ndarray | None:
    """`count` finite numbers of a tag, or None."""
    try:
        values = np.array([float(v) for v in np.atleast_1d(item.get(key))], np.float64)
    except (TypeError, ValueError, AttributeError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def frame_place(dataset: pydicom.Dataset, index: int) -> Place:
    """Spacing, directions and position of a frame."""
    spacing = numbers(functional(dataset, index, "PixelMeasuresSequence"), "PixelSpacing", 2)
    if spacing is None:
        spacing = numbers(dataset, "ImagerPixelSpacing", 2)
    if spacing is not None and not ((spacing > 0.01) & (spacing < 100)).all():
        spacing = None
    stated = numbers(functional(dataset, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    item = functional(dataset, index, "PlanePositionSequence")
    position, location = numbers(item, "ImagePositionPatient", 3), numbers(dataset, "SliceLocation", 1)
    if item is dataset and frame_count(dataset) > 1:
        position = location = None  # one place for all frames says nothing of each
    directions = None
    if stated is not None:
        row, column = stated[:3] * _TO_RAS, stated[3:] * _TO_RAS
        normal = np.cross(row, column)
        if abs(np.linalg.norm(normal) - 1) <= 0.05:  # two perpendicular unit vectors
            vectors = np.column_stack([row, column, normal])
            directions = vectors / np.linalg.norm(vectors, axis=0)
    return Place(
        None if spacing is None else (float(spacing[0]), float(spacing[1])),
        directions,
        None if position is None else position * _TO_RAS,
        None if location is None else float(location[0]),
    )


def describe(dataset: pydicom.Dataset) -> dict[str, object]:
    """Plain facts for Scan.info; nothing that identifies a person."""
    sequence = sequence_of(dataset, functional(dataset, 0, "MRImageFrameTypeSequence"))
    return {
        "format": "DICOM",
        "mode": _known(dataset, "PhotometricInterpretation"),
        "bits": int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0),
        "modality": _known(dataset, "Modality"),
        "syntax": _syntax(dataset),
    } | ({"sequence": sequence} if sequence else {})


def read_dicom_slice(data: bytes, name: str, index: int | None = None) -> Scan:
    """One frame of a DICOM file, by default the middle one, turned to radiological display. Raises ScanError."""
    dataset = open_dicom(data, name)
    frames = frame_count(dataset)
    chosen = frames // 2 if index is None else index
    if not 0 <= chosen < frames:
        raise ScanError(f"{name} has the frames 0 to {frames - 1}, so there is no frame {chosen}.")
    raw, color = frame_values(dataset, chosen, name)
    try:
        place, info = frame_place(dataset, chosen), describe(dataset)
    except Exception:  # tags of a wrong type, found only when they are looked at
        raise ScanError(f"{name} is a damaged or incomplete DICOM file.") from None
    spacing, axes, warnings = place.spacing, place.axes, []
    info |= {"plane": "unknown", "orientation": "as stored", "index": chosen, "slices": frames}
    if axes is None:
        warnings.append(f"{name} does not state its orientation; it is shown as stored.")
    else:
        plane = plane_of(axes, 2)
        info |= {"plane": plane, "orientation": "from ImageOrientationPatient"}
        raw = np.ascontiguousarray(turned(raw.T[:, :, None], axes, DISPLAY[plane])[0])
        if spacing is not None:
            spacing = permuted((spacing[1], spacing[0], None), axes, DISPLAY[plane])[1:]
    if frames > 1 and index is None:
        warnings.append(
            f"{name} holds {frames} slices; slice {chosen + 1} of {frames} (frame {chosen}, counted from 0) is shown."
        )
    return windowed(raw, spacing, name, info, [*warnings, *stretched(spacing)], color)
