"""Small DICOM files made by hand, for the tests of the readers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage


def dicom(
    pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, bits: int | None = None, **tags: Any
) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.Modality, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = "MR", 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    stored = pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    dataset.PixelData = pixels.astype(stored).tobytes()
    dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    dataset.update(item(**tags))
    return dataset


def item(**tags: Any) -> pydicom.Dataset:
    """One entry of a sequence."""
    dataset = pydicom.Dataset()
    for key, value in tags.items():
        setattr(dataset, key, value)
    return dataset


def saved(dataset: pydicom.Dataset, *, bare: bool = False) -> bytes:
    stream = io.BytesIO()
    if bare:
        syntax = dataset.file_meta.TransferSyntaxUID
        del dataset.file_meta
        pydicom.dcmwrite(
            stream, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian
        )
    else:
        pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
