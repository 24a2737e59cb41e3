"""DICOM files of every syntax give the right pixels, geometry and no patient, or one sentence."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from brain_mri.imaging.dicom import stream_size
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from tests.helpers.files import dicom, encode, item, saved, sentence

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
