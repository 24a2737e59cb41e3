"""Any upload -> `Scan`.

    scan = read_scan("slice.dcm")            # a file, or its bytes; raises ScanError with a sentence for a person
    square, frame = preprocess(scan.image, 128)

The content decides what a file is, never its name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brain_mri.imaging.file_type import (
    GZIP,
    archive_kind,
    has_dicom_preamble,
    is_other_volume,
    is_picture,
    looks_like_dicom,
    looks_like_nifti,
    not_a_scan,
)
from brain_mri.imaging.nifti import load_nifti
from brain_mri.imaging.picture import compact, gray_and_color, read_picture
from brain_mri.imaging.scan import MIN_SIDE, Scan, ScanError, clean_name, content_of, finite, inflate, windowed
from brain_mri.imaging.volume import volume_of
from brain_mri.imaging.volume_formats import load_other

FORMATS = "PNG, JPEG, TIFF, BMP, WebP, GIF, JPEG 2000, AVIF, HEIC, DICOM, NIfTI, MetaImage, NRRD, MGZ"


def read_scan(source: str | Path | bytes, *, name: str | None = None, index: int | None = None) -> Scan:
    """Read one slice of a file or of its bytes.

    index: the frame of a multi-frame DICOM, GIF or TIFF or the slice of a NIfTI volume, counted from 0. Default:
    the first picture, the middle DICOM frame, the NIfTI slice with the most content. Raises ScanError.
    """
    data, name = content_of(source, name)
    packed = data[:2] == GZIP
    if packed:
        data = inflate(data, name)
    if not has_dicom_preamble(data) and is_picture(data):
        picture = read_picture(data, name, index)
        return _scan(picture.values, None, name, picture.info, picture.warnings, picture.color)
    if is_other_volume(data):
        return volume_of(load_other(data, name), name).scan(index)
    if looks_like_nifti(data):
        return volume_of(load_nifti(data, name), name).scan(index)
    if looks_like_dicom(data):
        from brain_mri.imaging.dicom import read_dicom_slice  # pydicom takes a quarter of a second: only when needed

        return read_dicom_slice(data, name, index)
    kind = archive_kind(data)
    if kind:
        raise ScanError(f"{name} is a {kind} archive; open it as a series, or unpack it and choose one slice.")
    if packed:
        raise ScanError(f"{name} is compressed but holds no scan that can be read here; unpack it first.")
    raise ScanError(f"{name} {not_a_scan(data) or f'is none of the formats that can be read here ({FORMATS})'}.")


def scan_from_array(array: np.ndarray, *, spacing: tuple[float, float] | None = None, name: str = "array") -> Scan:
    """A Scan from (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4) values of any real dtype. Raises ScanError."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype.kind not in "buif" or array.size == 0:
        raise ScanError(f"{name} is no array of numbers.")
    color = 0.0
    if array.ndim == 3 and array.shape[2] in (3, 4):
        if array.dtype in (np.uint8, np.uint16):
            array, color = gray_and_color(array[..., :3])
        else:
            array = array[..., :3].mean(axis=2)
    if array.ndim != 2:
        raise ScanError(f"{name} has the shape {array.shape}; a slice of height x width is needed.")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        array = compact(array)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    return _scan(array, spacing, clean_name(name), {"format": "array", "mode": str(array.dtype)}, (), color)


def _scan(
    values: np.ndarray,
    spacing: tuple[float, float] | None,
    name: str,
    info: dict[str, object],
    warnings: tuple[str, ...],
    color: float,
) -> Scan:
    """Window the values of a picture and check their shape. Raises ScanError."""
    height, width = values.shape
    if min(height, width) < MIN_SIDE:
        raise ScanError(f"{name} has only {width}x{height} pixels, too few to show a head.")
    values, replaced = finite(values, name)
    if replaced:
        warnings = (*warnings, "Some pixels hold no finite number and are shown black.")
    return windowed(values, spacing, name, info, warnings, color)
