"""Masks as DICOM-SEG, opened again by highdicom and pydicom: every voxel, what it refers to and what it tells."""

from __future__ import annotations

import importlib.util
import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from brain_mri.imaging import dicom_seg
from brain_mri.imaging.dicom_seg import Marked, slice_seg, volume_seg
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError, reduce
from brain_mri.imaging.volume import read_volume
from tests.helpers.files import dicom, item, nifti, saved, sentence, series, zipped

ROOT = Path(dicom_seg.__file__).resolve().parents[2]
BY = Marked("ada/brain-mri", "1a2b3c4d")
WHOSE = {
    "PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "19700101", "PatientSex": "F",
    "AccessionNumber": "A1", "StudyID": "S1", "StudyDate": "20260101", "StudyTime": "120000",
}  # fmt: skip
SECRET = {
    "InstitutionName": "Secret Hospital", "ReferringPhysicianName": "Secret^Doctor", "PatientComments": "Secret words",
    "StudyDescription": "Secret study", "SeriesDescription": "Secret series", "OtherPatientIDs": "Secret9",
    "PatientAddress": "Secret road", "DeviceSerialNumber": "Secret1", "ProtocolName": "Secret protocol",
    "PositionReferenceIndicator": "Secret place",
}  # fmt: skip


@pytest.fixture(autouse=True)
def needs_highdicom(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name and importlib.util.find_spec("highdicom") is None:
        pytest.skip("needs highdicom")


def identity() -> dict[str, Any]:
    return {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()} | WHOSE | SECRET


def marks(shape: tuple[int, ...]) -> np.ndarray:
    """Some slices with a mark that no turn or mirror leaves as it is, some without."""
    mask = np.zeros(shape, bool)
    mask[2:5, 4:14, 3:9] = True
    mask[3, 20:22, 30:33] = True
    return mask


def opened(data: bytes, sources: list[pydicom.Dataset]) -> np.ndarray:
    """(slices, rows, columns) bool on the source instances, as highdicom reads it; pydicom must agree on each frame."""
    import highdicom

    plain = pydicom.dcmread(io.BytesIO(data))
    assert plain.SOPClassUID == pydicom.uid.SegmentationStorage and plain.Modality == "SEG"
    frames = plain.pixel_array.reshape(-1, plain.Rows, plain.Columns)
    seg = highdicom.seg.segread(io.BytesIO(data))
    if "NumberOfFrames" in sources[0]:
        numbers = list(range(1, int(sources[0].NumberOfFrames) + 1))
        read = seg.get_pixels_by_source_frame(
            sources[0].SOPInstanceUID, numbers, assert_missing_frames_are_empty=True, combine_segments=True
        )
    else:
        uids = [source.SOPInstanceUID for source in sources]
        read = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, combine_segments=True)
    assert frames.sum() == read.sum()
    for frame, groups in zip(frames, plain.PerFrameFunctionalGroupsSequence, strict=True):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        for source, values in zip(sources, read, strict="NumberOfFrames" not in sources[0]):
            if source.get("ImagePositionPatient") == position:
                assert np.array_equal(frame, values)
    return np.asarray(read).astype(bool)


def headers(files: list[bytes]) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(io.BytesIO(data)) for data in files]


def test_a_series_in_any_order_and_any_container(stack: np.ndarray, tmp_path: Path) -> None:
    files = series(stack, **identity())
    shuffled = random.Random(1).sample(files, len(files))
    paths = [tmp_path / f"IM{i}" for i in range(len(files))]
    for path, data in zip(paths, shuffled, strict=True):
        path.write_bytes(data)
    mask = marks(stack.shape)
    for source in (paths, tmp_path, zipped({f"a/{i}": data for i, data in enumerate(shuffled)})):
        volume = read_volume(source, name="study.zip")
        data = volume_seg(source, volume, mask, BY)
        assert np.array_equal(opened(data, headers(files)), mask)
    none = volume_seg(tmp_path, read_volume(tmp_path), np.zeros(stack.shape, bool), BY)
    assert pydicom.dcmread(io.BytesIO(none)).pixel_array.sum() == 0


@pytest.mark.parametrize(
    "directions", [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], [0.8, 0.6, 0, 0, 0, -1]]
)
def test_other_planes_and_slices_that_are_turned_for_display(stack: np.ndarray, directions: list[float]) -> None:
    row, column = np.array(directions[:3]), np.array(directions[3:])
    normal, about, study = np.cross(row, column), identity(), generate_uid()
    files = [
        saved(
            dicom(
                np.ascontiguousarray(values[::-1]), InstanceNumber=9 - i, SeriesInstanceUID=study, **about,
                ImageOrientationPatient=(row.tolist() + (-column).tolist()), PixelSpacing=[1.5, 1.25],
                ImagePositionPatient=[round(float(v), 6) for v in normal * 6.0 * i],
            )
        )
        for i, values in enumerate(stack)
    ]  # fmt: skip
    bundle = zipped({str(i): data for i, data in enumerate(files)})
    volume = read_volume(bundle)
    # Marked by its gray values, so that a mask that lies elsewhere is no longer where they are
    level = np.percentile(stack, 80)
    read = opened(volume_seg(bundle, volume, volume.voxels > level, BY), headers(files))
    assert np.array_equal(read, np.stack([h.pixel_array for h in headers(files)]) > level)
    scan = read_scan(files[3])
    read = opened(slice_seg(files[3], scan.raw > level, BY), headers(files[3:4]))
    assert np.array_equal(read[0], headers(files)[3].pixel_array > level)


def enhanced(
    stack: np.ndarray, *, own_directions: bool = False, first: int = 0, echoes: int = 1, **about: Any
) -> bytes:
    direction = {"PlaneOrientationSequence": [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]}
    frames = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, -3.0 * (first + i % (len(stack) // echoes))])],
            **(direction if own_directions else {}),
        )
        for i in range(len(stack))
    ]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=3)], **({} if own_directions else direction)
    )
    dataset = dicom(
        stack, SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=frames,
        **({"SeriesInstanceUID": generate_uid()} | about),
    )  # fmt: skip
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    return saved(dataset)


@pytest.mark.parametrize("own_directions", [False, True])
def test_many_frames_in_one_file(stack: np.ndarray, own_directions: bool) -> None:
    data = enhanced(stack, own_directions=own_directions, **identity())
    volume = read_volume(data)  # feet to head, which the frames are not
    level = np.percentile(stack, 80)
    made = volume_seg(data, volume, volume.voxels > level, BY)
    assert np.array_equal(opened(made, headers([data])), stack > level)
    one = np.zeros(stack.shape, bool)
    one[2] = stack[2] > level
    assert np.array_equal(opened(slice_seg(data, one[2], BY, 2), headers([data])), one)


def test_frames_in_the_same_places(stack: np.ndarray) -> None:
    """Two echoes of every slice, of which a volume has one."""
    both = np.concatenate([stack, stack])
    data, level = enhanced(both, echoes=2, **identity()), np.percentile(stack, 80)
    volume = read_volume(data)
    assert len(volume) == len(stack)
    expected = np.zeros(both.shape, bool)
    for _, index in volume.grid.instances:
        expected[index] = both[index] > level
    assert np.array_equal(opened(volume_seg(data, volume, volume.voxels > level, BY), headers([data])), expected)
    one = np.zeros(both.shape, bool)
    one[-2] = stack[-2] > level
    made = slice_seg(data, one[-2], BY, len(both) - 2)
    assert np.array_equal(opened(made, headers([data])), one)


def test_what_it_refers_to_and_what_it_tells(stack: np.ndarray, tmp_path: Path) -> None:
    about = identity()
    files = series(stack, **about)
    bundle = zipped({f"DOE_JANE_{i}.dcm": data for i, data in enumerate(files)})
    data = volume_seg(bundle, read_volume(bundle), marks(stack.shape), BY)
    made = pydicom.dcmread(io.BytesIO(data))
    source = headers(files)[0]
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID and made.StudyInstanceUID == source.StudyInstanceUID
    assert made.SeriesInstanceUID != source.SeriesInstanceUID and made.SOPInstanceUID != source.SOPInstanceUID
    referenced = made.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in referenced.ReferencedInstanceSequence} == {
        h.SOPInstanceUID for h in headers(files)
    }
    for key, value in WHOSE.items():
        assert made[key].value == value, key
    assert b"Secret" not in data and b"DOE_JANE" not in data
    segment = made.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (BY.model, BY.revision)
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert "not for diagnosis" in made.SeriesDescription and "by hand" not in made.SeriesDescription
    edited = pydicom.dcmread(io.BytesIO(slice_seg(files[0], stack[0] > 99, Marked("m", "r", corrected=True))))
    assert edited.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC" and "by hand" in edited.SeriesDescription
    nameless = series(stack[:1], StudyInstanceUID=generate_uid(), FrameOfReferenceUID=generate_uid())[0]
    made = pydicom.dcmread(io.BytesIO(slice_seg(nameless, stack[0] > 99, BY)))
    assert made.PatientName == "" and made.PatientID == ""


@pytest.mark.parametrize(
    ("letters", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Müller^Jürgen"),
    ],
)
def test_names_of_patients_in_other_letters(stack: np.ndarray, letters: list[str] | str, name: str) -> None:
    data = series(stack[:1], **identity(), SpecificCharacterSet=letters)[0]
    source = headers([data])[0]
    source.PatientName = name
    made = pydicom.dcmread(io.BytesIO(slice_seg(saved(source), stack[0] > 99, Marked("Modell-Ä", "r"))))
    assert made.PatientName == name
    assert made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "Modell-Ä"


def test_tags_that_the_standard_forbids_are_left_empty(stack: np.ndarray) -> None:
    odd = {
        "PatientBirthDate": "1970-01-01", "StudyDate": "20261399", "StudyTime": "996199", "PatientSex": "female",
        "AccessionNumber": "0123456789abcdef0", "StudyID": "0123456789abcdef0",
    }  # fmt: skip
    data = series(stack[:1], **identity() | odd)[0]
    made = pydicom.dcmread(io.BytesIO(slice_seg(data, stack[0] > 99, BY)))
    assert made.PatientName == WHOSE["PatientName"] and not any(made[key].value for key in odd)


def test_a_picture_that_was_reduced_first() -> None:
    pixels = np.zeros((2100, 2400), np.uint8)
    pixels[300:900, 500:1100] = 200
    data = series(pixels[None], **identity())[0]
    scan = reduce(read_scan(data))
    assert scan.shape != pixels.shape
    read = opened(slice_seg(data, scan.raw > 100, BY), headers([data]))[0]
    wrong = np.count_nonzero(read != (pixels > 100))
    assert wrong < 0.01 * np.count_nonzero(read)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("FrameOfReferenceUID", "FrameOfReferenceUID"),
        ("StudyInstanceUID", "StudyInstanceUID"),
        ("ImagePositionPatient", "its place in the patient"),
        ("ImageOrientationPatient", "its place in the patient"),
        ("PixelSpacing", "its place in the patient"),
    ],
)
def test_what_a_viewer_would_miss_is_a_sentence(stack: np.ndarray, lost: str, said: str) -> None:
    datasets = headers(series(stack, **identity()))
    for dataset in datasets:
        delattr(dataset, lost)
    files = [saved(dataset) for dataset in datasets]
    with pytest.raises(ScanError, match=said) as error:
        slice_seg(files[0], stack[0] > 99, BY, name="a.dcm")
    sentence(error)
    bundle = zipped({str(i): data for i, data in enumerate(files)})
    with pytest.raises(ScanError, match=said):
        volume_seg(bundle, read_volume(bundle), stack > 99, BY)


def test_what_is_no_dicom_or_another_one_is_a_sentence(stack: np.ndarray, tmp_path: Path) -> None:
    scan = nifti(stack)
    with pytest.raises(ScanError, match="no DICOM series"):
        volume_seg(scan, read_volume(scan), stack > 99, BY)
    with pytest.raises(ScanError, match="no DICOM file"):
        slice_seg(scan, stack[0] > 99, BY)
    first, second = (zipped({str(i): data for i, data in enumerate(series(stack, **identity()))}) for _ in range(2))
    with pytest.raises(ScanError, match="not the series any more"):
        volume_seg(second, read_volume(first), stack > 99, BY)
    about = identity() | {"SeriesInstanceUID": generate_uid()}
    parts = zipped({str(i): enhanced(stack[i : i + 3], first=i, **about) for i in (0, 3)})
    with pytest.raises(ScanError, match="several multi-frame files"):
        volume_seg(parts, read_volume(parts), stack[:6] > 99, BY)
    strange = headers(series(stack[:1], **identity()))[0]
    strange.SOPClassUID = "1.2.3"  # no kind of picture that the standard knows
    with pytest.raises(ScanError, match="other forms"):
        slice_seg(saved(strange), stack[0] > 99, BY, name="a.dcm")


def test_without_highdicom_it_is_a_sentence(stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_seg, "find_spec", lambda name: None)
    assert not dicom_seg.available()
    with pytest.raises(ScanError, match="pip install highdicom"):
        slice_seg(series(stack)[0], stack[0] > 99, BY)


def test_no_log_quotes_a_patient(stack: np.ndarray, tmp_path: Path) -> None:
    about = identity() | {"PatientName": "Jane_Secret_Doe", "StudyDate": "Secret date"}
    with pytest.warns(UserWarning):  # pydicom warns of such a date
        (tmp_path / "a.dcm").write_bytes(series(stack[:1], **about)[0])
    code = (
        "import numpy as np; from brain_mri.imaging import dicom_seg as d;"
        f"d.slice_seg({str(tmp_path / 'a.dcm')!r}, np.ones({stack[0].shape}), d.Marked('m', 'r'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "Secret" not in done.stderr + done.stdout and "Traceback (most" not in done.stderr
