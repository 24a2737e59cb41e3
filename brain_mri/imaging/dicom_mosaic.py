"""Siemens mosaics: the slices of a volume tiled in one picture -> the same data set with a frame for each slice."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from brain_mri.imaging.dicom_pixels import decoder_of
from brain_mri.imaging.scan import MIN_SIDE, ScanError

_COUNT, _CREATOR = (0x0019, 0x100A), (0x0019, 0x0010)  # NumberOfImagesInMosaic, and who defined it


def is_mosaic(dataset: pydicom.Dataset) -> bool:
    """Whether the picture says that it is tiled, and is larger than one slice was measured."""
    kind = [str(word).upper() for word in np.atleast_1d(dataset.get("ImageType") or "")]
    measured = [int(n) for n in np.atleast_1d(dataset.get("AcquisitionMatrix") or 0)]
    return "MOSAIC" in kind and int(dataset.get("NumberOfFrames") or 1) == 1 and max(measured) < int(dataset.Rows)


def unpack(dataset: pydicom.Dataset, name: str) -> None:
    """Turn the tiles into frames with their positions. Raises ScanError when they cannot be told apart.

    A mosaic's own position is that of a single picture as large as all tiles around the middle of the first slice;
    the slices follow each other along the normal of the CSA header. Without it no positions are given.
    """
    csa = _csa(dataset)
    count = _count(dataset) or int(_first(csa, "NumberOfImagesInMosaic") or 0)
    side = math.ceil(math.sqrt(max(count, 0)))
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if count < 1 or rows % side or columns % side or min(rows, columns) // side < MIN_SIDE:
        raise ScanError(
            f"{name} is a Siemens mosaic, many slices tiled in one picture, that does not state how many; "
            "export it as single slices."
        )
    height, width = rows // side, columns // side
    stored = pixel_array(dataset, decoding_plugin=decoder_of(dataset))
    if stored.ndim != 2:
        raise ScanError(f"{name} is a Siemens mosaic in colours; export it as single slices.")
    tiles = stored.reshape(side, height, side, width).swapaxes(1, 2).reshape(-1, height, width)[:count]
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kind, bits = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2"), int(dataset.BitsStored)
    native = np.ascontiguousarray(tiles, tiles.dtype.newbyteorder("<"))
    dataset.set_pixel_data(native, kind, bits, generate_instance_uid=False)
    places = _positions(dataset, csa, (rows - height, columns - width), count)
    if "ImagePositionPatient" in dataset:
        del dataset.ImagePositionPatient
    if places is not None:
        dataset.PerFrameFunctionalGroupsSequence = [_at(place) for place in places]


def _positions(dataset: pydicom.Dataset, csa: dict[str, Any], beyond: tuple[int, int], count: int) -> np.ndarray | None:
    """(count, 3) LPS mm of the first pixel of each slice; None when the file does not state all that it takes."""
    position, stated, spacing = (
        dataset.get(key) for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    gap = dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness")
    normal = csa.get("SliceNormalVector", {}).get("items", [])
    if position is None or stated is None or spacing is None or not gap or len(normal) != 3:
        return None
    row, column = np.array(stated[:3], float), np.array(stated[3:], float)
    first = np.array(position, float) + row * float(spacing[1]) * beyond[1] / 2
    first += column * float(spacing[0]) * beyond[0] / 2
    return first + np.arange(count)[:, None] * float(gap) * np.array(normal, float)


def _at(place: np.ndarray) -> pydicom.Dataset:
    position, groups = pydicom.Dataset(), pydicom.Dataset()
    position.ImagePositionPatient = [round(float(v), 6) for v in place]
    groups.PlanePositionSequence = [position]
    return groups


def _count(dataset: pydicom.Dataset) -> int:
    """NumberOfImagesInMosaic of the private header; 0 when it is not stated."""
    if not str(dataset.get(_CREATOR, pydicom.DataElement(_CREATOR, "LO", "")).value).startswith("SIEMENS"):
        return 0
    value = dataset[_COUNT].value if _COUNT in dataset else 0
    if isinstance(value, bytes):  # the file does not say of what type it is
        return int.from_bytes(value, "little")
    return int(value or 0)


def _csa(dataset: pydicom.Dataset) -> dict[str, Any]:
    """The entries of the CSA header; none when there is none that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its DICOM part experimental
        from nibabel.nicom.csareader import get_csa_header  # only when needed
    try:
        return dict((get_csa_header(dataset) or {}).get("tags", {}))
    except Exception:  # the reader raises many kinds on damaged headers
        return {}


def _first(csa: dict[str, Any], key: str) -> Any:
    return next(iter(csa.get(key, {}).get("items", [])), None)
