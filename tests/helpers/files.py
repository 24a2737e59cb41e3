"""Small files made by hand for the tests of the readers: pictures, DICOM, NIfTI, archives; and how a refusal reads."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.orientations import inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.scan import ScanError

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "assets" / "examples").iterdir())
HEAD_MM = 230.0  # width of a drawn slice
SPACING = (6.0, 1.5, 1.25)  # slice, row, column
Spacing = tuple[float, float, float]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sentence(error: pytest.ExceptionInfo[ScanError]) -> str:
    """The message, after checking that it is one sentence on one line."""
    text = str(error.value)
    assert text and "\n" not in text and text[-1] in ".)" and "Traceback" not in text and len(text) < 400
    return text


def decode(data: bytes) -> np.ndarray:
    """A PNG as it is, RGB where it has colours."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    return read if read.ndim == 2 else read[..., ::-1]


# ---- DICOM ----


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


# ---- volumes ----


def make_volume(label: str, seed: int, size: int = 128, depth: int = 20) -> tuple[np.ndarray, np.ndarray, Spacing]:
    """(voxels uint8, mask bool, both (depth, size, size), (slice, row, column) mm): axial slices, feet to head."""
    middle = -0.6 if label == "pituitary" else 0.25
    levels = np.linspace(-0.65 if label == "pituitary" else -0.35, 0.85, depth)
    slices = [
        make_phantom(label, seed, size, height=middle, slice_offset=round(float(level) - middle, 4)) for level in levels
    ]
    pixel = HEAD_MM / size
    spacing = (float(levels[1] - levels[0]) * 100 if depth > 1 else pixel, pixel, pixel)
    return np.stack([p.image for p in slices]), np.stack([p.mask > 127 for p in slices]), spacing


def write_nifti(path: Path, voxels: np.ndarray, spacing: Spacing) -> Path:
    """Write axial slices (D, H, W), front up and patient's right on the left, as NIfTI with that orientation."""
    slices, rows, columns = spacing
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([-columns, -rows, slices, 1.0]))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"synthetic phantom, no patient"
    data = image.to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.name.endswith(".gz") else data)
    return path


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


def series(stack: np.ndarray, **tags: Any) -> list[bytes]:
    """One DICOM file for each slice of a displayed axial stack, feet to head."""
    tags = {"SeriesInstanceUID": pydicom.uid.generate_uid()} | tags
    return [
        saved(
            dicom(
                values,
                InstanceNumber=i + 1,
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                ImagePositionPatient=[-20, -25, -30 + SPACING[0] * i],
                PixelSpacing=[SPACING[1], SPACING[2]],
                **tags,
            )
        )
        for i, values in enumerate(stack)
    ]


def of_a_patient(**tags: Any) -> dict[str, Any]:
    """Tags of files that a hospital viewer would take; one study and series a call."""
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    return {key: pydicom.uid.generate_uid() for key in uids} | {"PatientName": "Doe^Jane", "PatientID": "4711"} | tags


def metaimage(stack: np.ndarray, file: str = "LOCAL", packed: bool = False, **fields: object) -> bytes:
    """A displayed axial stack as .mha (axes L, P, S as MetaImage counts), or its header alone for another file."""
    voxels = stack.tobytes()
    said = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryDataByteOrderMSB": stack.dtype.byteorder == ">",
        "CompressedData": packed,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-20 -25 -30",
        "ElementSpacing": f"{SPACING[2]} {SPACING[1]} {SPACING[0]}",
        "DimSize": " ".join(str(n) for n in stack.shape[::-1]),
        "ElementType": {"u1": "MET_UCHAR", "i2": "MET_SHORT", "f4": "MET_FLOAT"}[stack.dtype.str[1:]],
    } | fields
    text = "".join(f"{key} = {value}\n" for key, value in said.items()) + f"ElementDataFile = {file}\n"
    return text.encode() + ((zlib.compress(voxels) if packed else voxels) if file == "LOCAL" else b"")


def nrrd(stack: np.ndarray, file: str = "", encoding: str = "raw", **fields: object) -> bytes:
    """A displayed axial stack as NRRD, or its header alone for another file; fields with _ for a blank."""
    voxels = gzip.compress(stack.tobytes()) if encoding == "gzip" else stack.tobytes()
    said = {
        "type": {"u1": "uchar", "i2": "short", "f4": "float"}[stack.dtype.str[1:]],
        "dimension": stack.ndim,
        "space": "left-posterior-superior",
        "sizes": " ".join(str(n) for n in stack.shape[::-1]),
        "space directions": f"({SPACING[2]},0,0) (0,{SPACING[1]},0) (0,0,{SPACING[0]})",
        "space origin": "(-20,-25,-30)",
        "endian": "big" if stack.dtype.byteorder == ">" else "little",
        "encoding": encoding,
    } | {key.replace("_", " "): value for key, value in fields.items()}
    text = "NRRD0004\n# made by hand\n" + "".join(f"{key}: {value}\n" for key, value in said.items())
    return f"{text}data file: {file}\n\n".encode() if file else f"{text}\n".encode() + voxels


def mgh(stack: np.ndarray) -> bytes:
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = 20, 25, -30
    return nib.MGHImage(stack.transpose(2, 1, 0), affine).to_bytes()


def tarred(files: dict[str, bytes], kind: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=kind) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()
