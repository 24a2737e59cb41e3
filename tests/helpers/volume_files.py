"""What the tests of volumes share: one small stack as NIfTI, as a DICOM series and in archives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from nibabel.orientations import inv_ornt_aff, io_orientation, ornt_transform

from tests.helpers.dicom_files import dicom, saved

SPACING = (6.0, 1.5, 1.25)  # slice, row, column


def nifti(stack: np.ndarray, codes: str = "LPS") -> bytes:
    """A displayed axial stack (slices towards superior, rows towards posterior, columns towards left) stored with
    other axes: codes names the direction of each increasing array index, as nibabel does."""
    lps = nib.Nifti1Image(stack.transpose(2, 1, 0), np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0]))
    start = io_orientation(lps.affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    change = ornt_transform(start, wanted)
    data = nib.orientations.apply_orientation(np.asarray(lps.dataobj), change)
    image = nib.Nifti1Image(data, lps.affine @ inv_ornt_aff(change, lps.shape))
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    return image.to_bytes()


def load(path: str | Path) -> nib.Nifti1Image:
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image


def series(stack: np.ndarray) -> list[bytes]:
    """One DICOM file for each slice of a displayed axial stack, feet to head."""
    uid = pydicom.uid.generate_uid()
    return [
        saved(
            dicom(
                values,
                SeriesInstanceUID=uid,
                InstanceNumber=i + 1,
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                ImagePositionPatient=[-20, -25, -30 + SPACING[0] * i],
                PixelSpacing=[SPACING[1], SPACING[2]],
            )
        )
        for i, values in enumerate(stack)
    ]


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()
