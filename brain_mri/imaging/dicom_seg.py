"""Masks as DICOM-SEG, which hospital viewers lay over the scan: for slices and series that came as DICOM.

data = slice_seg("slice.dcm", mask, Marked("user/model", "1a2b3c"), index=0)
data = volume_seg("study.zip", volume, mask, Marked("user/model", "1a2b3c"))

The object refers to the pictures that it was made of, and belongs to their patient and study: without that no viewer
lays it over them. So it holds PATIENT and UIDs of the files, and nothing else of their tags; it is made only for who
asks for it. highdicom writes it (Bridge et al. 2022, "Highdicom", J Digit Imaging), where it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import warnings as python_warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import cv2
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from brain_mri.imaging.archive import Source, open_upload
from brain_mri.imaging.dicom import Place, frame_count, frame_place, functional
from brain_mri.imaging.dicom_mosaic import is_mosaic
from brain_mri.imaging.file_type import looks_like_dicom
from brain_mri.imaging.orientation import DISPLAY, plane_of, turned
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import Volume

# Its warnings quote the names of patients
python_warnings.filterwarnings("ignore", module=r"highdicom\.")
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

MISSING = "DICOM-SEG needs one more package on the computer that runs this program: pip install highdicom"
PATIENT = (  # what says whose and of which examination it is; type 2: each must be there, if only empty
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
)  # fmt: skip
_DATE, _TIME = (r"\d{8}", DA), (r"\d{2}(\d\d(\d\d(\.\d{1,6})?)?)?", TM)
_SHORT = (r".{0,16}", str)
FORMS = {
    "PatientBirthDate": _DATE, "StudyDate": _DATE, "StudyTime": _TIME,
    "PatientSex": (r"[MFO]", str), "AccessionNumber": _SHORT, "StudyID": _SHORT,
}  # fmt: skip
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
COPIED = (*IDENTITY, "Rows", "Columns", "Modality")
MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
LONGEST = 64  # characters of a text in DICOM


@dataclass(frozen=True)
class Marked:
    """By which model and which revision of it, and whether a person has corrected what it marked."""

    model: str
    revision: str
    corrected: bool = False


def available() -> bool:
    return find_spec("highdicom") is not None


def require() -> None:
    """Raises ScanError with a sentence when there is no highdicom."""
    if not available():
        raise ScanError(MISSING)


def slice_seg(source: Source, mask: np.ndarray, by: Marked, index: int = 0, name: str | None = None) -> bytes:
    """The mask of one slice as a DICOM-SEG file. Raises ScanError.

    source: the DICOM file that was read; mask: (H, W), as the slice is displayed, of its size or reduced; index: which
    frame of it; name: what sentences call it.
    """
    require()
    header = next(iter(_headers(source, name).values()), None)
    if header is None:
        raise ScanError(f"{name or 'This file'} is no DICOM file, so no DICOM-SEG can be made of it.")
    axes = _place(header, index, name).axes or "LPS"
    own: np.ndarray = turned((mask > 0)[None], DISPLAY[plane_of(axes, 2)], axes)[:, :, 0].T.astype(np.uint8)
    if own.shape != (header.Rows, header.Columns):
        own = cv2.resize(own, (int(header.Columns), int(header.Rows)), interpolation=cv2.INTER_NEAREST)
    return _written([(header, index)], own[None], by, name)


def volume_seg(source: Source, volume: Volume, mask: np.ndarray, by: Marked) -> bytes:
    """The mask (D, H, W) of a volume that was read from `source` as a DICOM-SEG file. Raises ScanError."""
    require()
    instances, name = volume.grid.instances, volume.name
    if not instances:
        raise ScanError(f"{name} is no DICOM series, so no DICOM-SEG can be made of it.")
    headers = _headers(source, name, {uid for uid, _ in instances})
    if any(uid not in headers for uid, _ in instances):
        raise ScanError(f"{name} is not the series any more that was analysed, so no DICOM-SEG can be made of it.")
    own = turned(mask > 0, DISPLAY[volume.plane], volume.grid.axes).transpose(2, 1, 0)
    slices = [(headers[uid], index) for uid, index in instances]
    return _written(slices, own, by, name, volume.spacing[0] if volume.spacing else 1.0)


def _headers(source: Source, name: str | None, wanted: set[str] | None = None) -> dict[str, pydicom.Dataset]:
    """SOPInstanceUID -> tags, without pictures, of the DICOM files of an upload; all of them or the wanted ones."""
    found: dict[str, pydicom.Dataset] = {}
    for member in open_upload(source, name, named=False).members:
        if looks_like_dicom(member.start):
            try:
                header = pydicom.dcmread(io.BytesIO(member.load()), force=True, stop_before_pixels=True)
                uid = str(header.get("SOPInstanceUID") or "")
            except ScanError:
                raise
            except Exception:  # pydicom raises many kinds on damaged files, which the reader passed over, too
                continue
            if wanted is None or uid in wanted:
                found.setdefault(uid, header)
    return found


def _place(header: pydicom.Dataset, index: int, name: str | None) -> Place:
    """Where a frame lies. Raises ScanError with what a viewer would miss."""
    missing = [key for key in IDENTITY if not header.get(key)]
    try:
        place = frame_place(header, index)
    except Exception:  # tags of a wrong type
        raise ScanError(f"{name} is a damaged or incomplete DICOM file.") from None
    if None in (place.spacing, place.axes) or place.position is None:
        missing.append("its place in the patient")
    if is_mosaic(header):
        missing = ["single slices (it is a mosaic)"]
    if missing:
        what = ", ".join(missing)
        raise ScanError(f"{name} states not all that a DICOM-SEG refers to ({what}); the mask has its other forms.")
    return place


def _written(
    slices: Sequence[tuple[pydicom.Dataset, int]],
    masks: np.ndarray,
    by: Marked,
    name: str | None,
    thickness: float = 1.0,
) -> bytes:
    """slices: (tags, frame) of each of the masks (n, rows, columns), as they are stored; thickness: mm of a slice where
    the file does not say."""
    for header, index in slices:
        _place(header, index, name)
    first, numbers = slices[0][0], [index for _, index in slices]
    if frame_count(first) == 1:
        sources = [_bare(header) for header, _ in slices]
        for one in sources:  # which differ in the last digits, at most: dicom_series.TOLERANCE
            one.ImageOrientationPatient = sources[0].ImageOrientationPatient
    elif any(header is not first for header, _ in slices):
        raise ScanError(f"{name} has its slices in several multi-frame files, of which no DICOM-SEG can be made here.")
    else:
        sources = [_bare_frames(first, numbers)]
    try:
        for one in sources:
            measures = functional(one, 0, "PixelMeasuresSequence")
            measures.SliceThickness = measures.get("SliceThickness") or round(thickness, 6)  # a viewer draws slices
        return _encoded(sources, masks, by, numbers)
    except Exception as error:  # highdicom and pydicom raise many kinds on tags that the standard forbids
        what = f"Of the tags of {name or 'this file'} no DICOM-SEG can be made ({type(error).__name__})"
        raise ScanError(f"{what}; the mask has other forms.") from None


def _bare(header: pydicom.Dataset) -> pydicom.Dataset:
    """What a DICOM-SEG may know of a file: nothing that is not in these lists goes into it."""
    bare = pydicom.Dataset()
    bare.SpecificCharacterSet = "ISO_IR 192"  # of what was read it is all; highdicom knows no ["", "ISO 2022 IR 87"]
    for key in PATIENT:
        value = header.get(key) or ""
        setattr(bare, key, "" if key in FORMS and not _is_one(str(value), *FORMS[key]) else value)
    for key in (*COPIED, *MEASURES, "ImagePositionPatient", "ImageOrientationPatient"):
        if header.get(key) is not None:
            setattr(bare, key, header.get(key))
    return bare


def _is_one(value: str, form: str, kind: type) -> bool:
    """What DICOM allows there, not what programs that anonymize leave of it."""
    with contextlib.suppress(ValueError):
        return bool(re.fullmatch(form, value) and kind(value))
    return False


def _bare_frames(header: pydicom.Dataset, numbers: Sequence[int]) -> pydicom.Dataset:
    """The same of these frames of a file, whose direction and pixel sizes are those of one of them for all. Its others
    may lie in the same places (echoes, moments), which highdicom refuses."""
    bare, shared = _bare(header), pydicom.Dataset()
    for sequence, keys in (
        ("PixelMeasuresSequence", MEASURES),
        ("PlaneOrientationSequence", ("ImageOrientationPatient",)),
    ):
        setattr(shared, sequence, [_only(functional(header, numbers[0], sequence), keys)])
    bare.NumberOfFrames, bare.SharedFunctionalGroupsSequence = len(numbers), [shared]
    bare.PerFrameFunctionalGroupsSequence = []
    for i in numbers:
        group = pydicom.Dataset()
        position = _only(functional(header, i, "PlanePositionSequence"), ("ImagePositionPatient",))
        group.PlanePositionSequence = [position]
        bare.PerFrameFunctionalGroupsSequence.append(group)
    return bare


def _only(item: pydicom.Dataset, keys: Sequence[str]) -> pydicom.Dataset:
    own = pydicom.Dataset()
    for key in keys:
        if item.get(key) is not None:
            setattr(own, key, item.get(key))
    return own


def _encoded(sources: list[pydicom.Dataset], masks: np.ndarray, by: Marked, numbers: Sequence[int]) -> bytes:
    highdicom, codes = importlib.import_module("highdicom"), importlib.import_module("pydicom.sr.codedict").codes
    model, revision = by.model[:LONGEST], by.revision[:LONGEST] or "unknown"
    who = "marked by a model, corrected by hand" if by.corrected else "marked by a model"
    segment = highdicom.seg.SegmentDescription(
        1,
        f"Tumor, {who}",
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Neoplasm,
        getattr(highdicom.seg.SegmentAlgorithmTypeValues, "SEMIAUTOMATIC" if by.corrected else "AUTOMATIC"),
        highdicom.AlgorithmIdentificationSequence(model, codes.DCM.ArtificialIntelligence, revision),
        anatomic_regions=[codes.SCT.Brain],
    )
    made = highdicom.seg.Segmentation(
        sources,
        masks.astype(np.uint8),
        highdicom.seg.SegmentationTypeValues.BINARY,
        [segment],
        series_instance_uid=highdicom.UID(),
        series_number=900,  # behind those of a scanner
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="brain-mri-demo",
        manufacturer_model_name="Brain MRI tumor explorer",
        software_versions=revision,
        device_serial_number="none",
        content_label="TUMOR",
        content_description="For research; not for diagnosis",
        series_description=f"Tumor {who}, not for diagnosis",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    for one in made.iterall():
        if one.keyword == "ReferencedFrameNumber":  # among the frames in `sources`
            one.value = numbers[int(one.value) - 1] + 1
    stream = io.BytesIO()
    made.save_as(stream)
    return stream.getvalue()
