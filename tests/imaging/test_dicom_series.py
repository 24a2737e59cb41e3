"""DICOM series, archives and folders: any order, any plane, any trouble, and no bomb."""

from __future__ import annotations

import gzip
import os
import random
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from brain_mri.imaging import archive, dicom_series
from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.orientation import DISPLAY, turned
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from tests.helpers.files import SPACING, dicom, item, load, nifti, saved, series, zipped


def test_dicom_series_in_any_order(stack: np.ndarray, tmp_path: Path) -> None:
    files = series(stack)
    order = list(range(7))
    random.Random(3).shuffle(order)
    paths = []
    for i, j in enumerate(order):
        paths.append(tmp_path / f"IM{i:03d}")
        paths[-1].write_bytes(files[j])
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").write_bytes(b"x")
    for source in (paths, [*paths, tmp_path / "notes.txt"], tmp_path, str(tmp_path)):
        volume = read_volume(source)
        assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx(SPACING)
        assert volume.plane == "axial" and volume.warnings == ()
    archive = zipped(
        {f"study/s1/{p.name}": p.read_bytes() for p in paths} | {"__MACOSX/._IM000": b"x", "read.me": b"y"}
    )
    volume = read_volume(archive, name="study.zip")
    assert np.array_equal(volume.voxels, stack) and volume.name == "study.zip"

    mask = stack > 150
    own = load(volume.save_mask(mask, tmp_path / "mask.nii.gz"))
    assert own.shape == (36, 40, 7) and np.array_equal(np.asarray(own.dataobj), mask.transpose(2, 1, 0))
    # ImagePositionPatient is in LPS; voxel (0, 0, 0) is the first pixel of the lowest slice
    assert np.allclose(own.affine @ [0, 0, 0, 1], [20, 25, -30, 1])
    assert np.allclose(own.affine @ [1, 2, 3, 1], [20 - 1.25, 25 - 3.0, -30 + 18, 1])
    assert np.array_equal(read_volume(tmp_path / "mask.nii.gz").voxels, mask)


def test_dicom_series_head_first_or_feet_first(stack: np.ndarray) -> None:
    upside = [
        saved(
            dicom(
                np.ascontiguousarray(values[::-1]),
                InstanceNumber=i,
                ImageOrientationPatient=[1, 0, 0, 0, -1, 0],
                ImagePositionPatient=[0, 0, 5.0 * i],
                PixelSpacing=[1, 1],
            )
        )
        for i, values in enumerate(stack)
    ]
    volume = read_volume(zipped({f"{i}.dcm": d for i, d in enumerate(upside)}))
    assert np.array_equal(volume.voxels, stack)


def test_dicom_series_of_other_planes(stack: np.ndarray) -> None:
    files = {
        f"{i}": saved(
            dicom(
                v,
                ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
                ImagePositionPatient=[4.0 * -i, 0, 0],
                PixelSpacing=[1, 1],
            )
        )
        for i, v in enumerate(stack)
    }
    volume = read_volume(zipped(files))
    assert volume.plane == "sagittal" and np.array_equal(volume.voxels, stack)  # -x is right: counted towards right


def test_multiframe_dicom(stack: np.ndarray) -> None:
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, -3.0 * i])]) for i in range(7)]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=3)],
    )
    data = saved(dicom(stack[::-1], PerFrameFunctionalGroupsSequence=frames, SharedFunctionalGroupsSequence=[shared]))
    volume = read_volume(data)
    assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx((3, 1, 1))
    assert is_volume(data)


def test_series_with_troubles(stack: np.ndarray) -> None:
    files = series(stack)
    other = series(stack[:2, :20])  # another series in the same archive
    damaged = files[3][:-200]
    volume = read_volume(
        zipped({str(i): d for i, d in enumerate([*files[:3], damaged, *files[4:], *other])}), name="s.zip"
    )
    assert np.array_equal(volume.voxels, stack[[0, 1, 2, 4, 5, 6]])
    text = " ".join(volume.warnings)
    assert "passed over" in text and "2 series" in text and "evenly" in text
    twice = read_volume(zipped({str(i): d for i, d in enumerate(files + files)}))
    assert len(twice) == 7 and any("same place" in w for w in twice.warnings)
    bare = [saved(dicom(v, InstanceNumber=9 - i)) for i, v in enumerate(stack)]
    volume = read_volume(zipped({str(i): d for i, d in enumerate(bare)}))
    assert np.array_equal(volume.voxels, stack[::-1]) and volume.spacing is None and len(volume.warnings) >= 2


# ---- archives and folders ----


def test_zip_tricks(stack: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = series(stack)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    names = ["../../evil.dcm", "/etc/evil.dcm", "..\\..\\evil.dcm", "a/b/c.dcm", "a" * 250, "\u202egnp.dcm", "x\n.dcm"]
    volume = read_volume(zipped(dict(zip(names, files, strict=True))))
    assert np.array_equal(volume.voxels, stack)
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked to disk
    assert np.array_equal(read_volume(zipped({"v.nii.gz": gzip.compress(nifti(stack))})).voxels, stack)
    for bad in ({}, {"a.txt": b"hello", "b.png": b"\x89PNG"}, {"in.zip": zipped({"b.zip": zipped({"a": files[0]})})}):
        with pytest.raises(ScanError, match="holds no"):
            read_volume(zipped(bad), name="z.zip")
    good = zipped({str(i): d for i, d in enumerate(files)})
    for cut in (10, len(good) // 2, len(good) - 10):
        with pytest.raises(ScanError):
            read_volume(good[:cut])
    encrypted = bytearray(good)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := good.find(signature, start)) >= 0:
            encrypted[start + at] |= 1
            start += 4
    with pytest.raises(ScanError, match="password"):
        read_volume(bytes(encrypted))


def test_zip_bombs(stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL", 3_000_000)
    bomb = zipped({"a.dcm": bytes(128) + b"DICM" + bytes(40_000_000)})
    assert len(bomb) < 60_000
    with pytest.raises(ScanError, match="unpacks to more than"):
        read_volume(bomb)
    many = zipped({f"{i}.dcm": bytes(128) + b"DICM" + bytes(900_000) for i in range(9)})
    with pytest.raises(ScanError):
        read_volume(many)
    monkeypatch.setattr(archive, "MAX_FILES", 5)
    with pytest.raises(ScanError, match="more than 5 files"):
        read_volume(zipped({str(i): b"x" for i in range(6)}))


def test_too_many_voxels(stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_series, "MAX_VOXELS", 3 * 40 * 36)
    with pytest.raises(ScanError, match="voxels"):
        read_volume(zipped({str(i): d for i, d in enumerate(series(stack))}))


def test_folder_tricks(stack: np.ndarray, tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "deep" / "er").mkdir(parents=True)
    for i, data in enumerate(series(stack)):
        (study / "deep" / "er" / f"{i}").write_bytes(data)
    (study / "loop").symlink_to(study)
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(series(stack)[0])
    (study / "link.dcm").symlink_to(outside)
    os.mkfifo(study / "pipe")
    volume = read_volume(study)
    assert np.array_equal(volume.voxels, stack) and volume.warnings == ()
    for empty in (tmp_path / "none", tmp_path / "missing"):
        if empty.name == "none":
            empty.mkdir()
        with pytest.raises(ScanError):
            read_volume(empty)
    with pytest.raises(ScanError, match="No file"):
        read_volume([])


def test_pictures_are_no_volume(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((50, 50), np.uint8))
    with pytest.raises(ScanError, match="no volume"):
        read_volume(path)
    assert not is_volume(path)


def test_is_volume(stack: np.ndarray, tmp_path: Path) -> None:
    files = series(stack)
    for data, answer in (
        (nifti(stack), True),
        (gzip.compress(nifti(stack)), True),
        (nib.Nifti1Image(stack[0], np.eye(4)).to_bytes(), False),
        (files[0], False),
        (zipped({"a": files[0]}), True),
        (b"", False),
        (b"\x1f\x8b", False),
    ):
        path = tmp_path / "x"
        path.write_bytes(data)
        assert is_volume(data) is answer and is_volume(path) is answer
    assert is_volume(tmp_path) and not is_volume(tmp_path / "missing")


def test_save_mask_is_whole_or_not_there(stack: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = read_volume(nifti(stack))
    with pytest.raises(ValueError, match="shape"):
        volume.save_mask(stack[1:] > 5, tmp_path / "m.nii")
    with pytest.raises(ScanError, match="could not be written"):
        volume.save_mask(stack > 5, tmp_path / "no" / "folder" / "m.nii")
    path = volume.save_mask(stack > 5, tmp_path / "m.nii.gz")
    first = path.read_bytes()
    assert volume.save_mask(stack > 5, path).read_bytes() == first  # the same mask, the same bytes

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ScanError, match="No space"):
        volume.save_mask(stack > 9, path)
    assert path.read_bytes() == first and sorted(p.name for p in tmp_path.iterdir()) == ["m.nii.gz"]


def test_large_volume_stays_usable() -> None:
    """512 x 512 x 200 int16: the voxels are a view of the file's bytes, and a slice is ready in milliseconds."""
    import time
    import tracemalloc

    image = nib.Nifti1Image(np.zeros((512, 512, 200), np.int16), np.diag([-0.5, -0.5, 1, 1]))
    data = image.to_bytes()
    tracemalloc.start()
    start = time.perf_counter()
    volume = read_volume(data)
    scan = volume.scan(100)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scan.shape == (512, 512) and volume.shape == (200, 512, 512)
    assert peak < 0.6 * len(data) and seconds < 5


# ---- geometry, against the tags of the files ----


def oblique(
    stack: np.ndarray, jitter: float = 0.0, step: tuple[float, float, float] | None = None, **tags: Any
) -> list[bytes]:
    """Files of slices turned by 20 degrees about their rows, each next one `step` further (default: along the normal);
    every other slice is turned by `jitter` more about its normal."""
    normal = np.array([0, -np.sin(np.deg2rad(20)), np.cos(np.deg2rad(20))])
    way = normal * SPACING[0] if step is None else np.array(step)
    files = []
    for i, values in enumerate(stack):
        row, column = np.array([1.0, 0, 0]), np.cross(normal, [1.0, 0, 0])
        more = jitter * (i % 2)
        row, column = row * np.cos(more) + column * np.sin(more), column * np.cos(more) - row * np.sin(more)
        place = np.array([-20.0, -25, -30]) + i * way
        geometry: dict[str, Any] = {
            "SeriesInstanceUID": "1.2.3",
            "ImageOrientationPatient": [round(float(v), 12) for v in (*row, *column)],
            "ImagePositionPatient": [round(float(v), 6) for v in place],
            "PixelSpacing": [SPACING[1], SPACING[2]],
        }
        files.append(saved(dicom(values, InstanceNumber=i + 1, **(geometry | tags))))
    return files


def world(data: bytes, column: float, row: float) -> np.ndarray:
    """RAS mm of a pixel of a DICOM file, by the formula of the standard (C.7.6.2.1.1)."""
    tags = pydicom.dcmread(BytesIO(data))
    orientation, (down, right) = np.array(tags.ImageOrientationPatient, float), map(float, tags.PixelSpacing)
    lps = np.array(tags.ImagePositionPatient, float) + orientation[:3] * right * column + orientation[3:] * down * row
    return lps * [-1, -1, 1]


def check_mask(files: list[bytes], path: Path, away: float = 1e-3) -> None:
    """A mask that marks one pixel of each slice lies on these pixels, within `away` mm."""
    volume = read_volume(zipped({f"{i}.dcm": data for i, data in enumerate(files)}))
    for data in files:
        pixels = pydicom.dcmread(BytesIO(data)).pixel_array
        index = next(k for k in range(len(volume)) if np.array_equal(volume.grid.voxels[:, :, k].T, pixels))
        own = np.zeros(volume.grid.voxels.shape, bool)
        own[11, 29, index] = True
        mask = turned(own, volume.grid.axes, DISPLAY[volume.plane])
        image = load(volume.save_mask(mask, path))
        ((x, y, z),) = np.argwhere(np.asarray(image.dataobj))
        assert np.abs((image.affine @ [x, y, z, 1])[:3] - world(data, 11, 29)).max() < away
        qform, code = image.get_qform(coded=True)
        assert code == 0 or np.allclose(qform, image.affine, atol=1e-3)


@pytest.mark.parametrize("jitter", [0.0, 1e-9, 6e-3, 0.02])
def test_directions_that_differ_a_little_are_one_series(stack: np.ndarray, jitter: float, tmp_path: Path) -> None:
    files = oblique(stack, jitter)
    volume = read_volume(zipped({f"{i}": data for i, data in enumerate(files)}))
    assert len(volume) == 7 and volume.spacing == pytest.approx(SPACING, rel=1e-6) and volume.warnings == ()
    check_mask(files, tmp_path / "m.nii", away=1e-3 + jitter * 60)


def test_no_rounding_boundary_parts_a_series(stack: np.ndarray) -> None:
    """Whatever the directions are, a jitter of the ninth decimal about them stays one series."""
    for angle in np.deg2rad(np.linspace(0, 12, 17)):
        files = []
        for i, values in enumerate(stack):
            a = angle + (i % 2) * 2e-9
            across = [np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0]
            tags: dict[str, Any] = {
                "ImageOrientationPatient": [round(float(v), 12) for v in across],
                "PixelSpacing": [1, 1],
            }
            files.append(saved(dicom(values, InstanceNumber=i, ImagePositionPatient=[0, 0, 5.0 * i], **tags)))
        assert len(read_volume(zipped({f"{i}": d for i, d in enumerate(files)}))) == 7


def test_a_tilted_gantry(stack: np.ndarray, tmp_path: Path) -> None:
    files = oblique(stack, step=(0, 0, SPACING[0]))
    volume = read_volume(zipped({f"{i}": data for i, data in enumerate(files)}))
    assert volume.voxel_mm3 == pytest.approx(np.prod(SPACING) * np.cos(np.deg2rad(20)), rel=1e-6)
    assert any("tilted by 20 degrees" in w for w in volume.warnings)
    check_mask(files, tmp_path / "m.nii")


def test_slice_location_where_there_is_no_position(stack: np.ndarray) -> None:
    stated: list[dict[str, Any]] = [{"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, {}]
    for directions in stated:
        files = [
            saved(dicom(v, InstanceNumber=9 - i, SliceLocation=-30 + 6.5 * i, PixelSpacing=[1, 1], **directions))
            for i, v in enumerate(stack)
        ]
        volume = read_volume(zipped({f"{i}": data for i, data in enumerate(files)}))
        assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx((6.5, 1, 1))
        assert any("SliceLocation" in w for w in volume.warnings) and volume.doubt == ""


def test_distances_that_are_guessed_are_doubtful(stack: np.ndarray) -> None:
    bare: dict[str, Any] = {"ImagePositionPatient": None, "SeriesInstanceUID": "1"}
    volume = read_volume(zipped({f"{i}": data for i, data in enumerate(oblique(stack, **bare))}))
    assert "1 mm is assumed" in volume.doubt and volume.doubt in volume.warnings
    for thick in ({"SliceThickness": 4}, {"SliceThickness": 3, "SpacingBetweenSlices": 4}):
        volume = read_volume(zipped({f"{i}": data for i, data in enumerate(oblique(stack, **(bare | thick)))}))
        assert volume.spacing == pytest.approx((4, 1.5, 1.25)) and ("thickness" in volume.doubt) == (len(thick) == 1)
    volume = read_volume(oblique(stack)[0], name="one.dcm")
    assert len(volume) == 1 and "how thick" in volume.doubt and volume.planes == ("axial",)
    assert read_volume(oblique(stack, SliceThickness=4)[0]).doubt == ""
    files = oblique(stack)
    volume = read_volume(zipped({f"{i}": data for i, data in enumerate(files[:3] + files[4:])}))
    assert "not evenly spaced" in volume.doubt


def test_one_position_for_all_frames_says_nothing_of_each(stack: np.ndarray) -> None:
    one = dicom(stack, ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[1, 1])
    volume = read_volume(saved(one))
    assert np.array_equal(volume.voxels, stack) and any("where its slices lie" in w for w in volume.warnings)


def test_series_and_what_they_say_of_themselves(stack: np.ndarray) -> None:
    named: dict[str, Any] = {"SeriesDescription": "T1 +C / ax", "SeriesNumber": 4, "ImageType": ["ORIGINAL"]}
    named["ContrastBolusAgent"] = "Gd"
    scouts: dict[str, Any] = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [0, 0, 0]}
    scout = oblique(stack[:2, :36], **scouts)
    files = oblique(stack, **named) + oblique(stack, **named) + scout
    found, passed = dicom_series.series_of(((f"{i}", partial(bytes, data)) for i, data in enumerate(files)), "study")
    first, second = found
    assert passed == [] and (len(first.frames), first.places, len(second.frames), second.places) == (14, 7, 2, 1)
    assert (first.description, first.number, first.contrast, first.kind) == ("T1 +C - ax", 4, True, ("ORIGINAL",))
    assert (second.description, second.number, second.contrast, second.kind) == ("", None, False, ())
    assert np.array_equal(dicom_series.stack_of(first, "study").voxels, stack.transpose(2, 1, 0))


@pytest.mark.parametrize("folder", ["iop_jitter_6e-3", "iop_jitter_9th_decimal", "with_localizer"])
def test_cases_of_odd_directions(cases: Path, folder: str) -> None:
    volume = read_volume(cases / "dicom-oddities" / folder)
    assert len(volume) == 12 and volume.spacing == pytest.approx((120 / 11, 230 / 96, 230 / 96), rel=1e-6)
    for i, values in enumerate(volume.voxels):
        stored = pydicom.dcmread(cases / "dicom-oddities" / folder / f"{i}.dcm").pixel_array
        assert np.array_equal(values, stored)
    assert len(volume.warnings) == (folder == "with_localizer") and volume.doubt == ""


def test_case_of_a_tilted_gantry(cases: Path, tmp_path: Path) -> None:
    paths = sorted((cases / "gantry-tilt" / "series").iterdir())
    volume = read_volume(paths)
    assert volume.voxel_mm3 == pytest.approx((230 / 96) ** 2 * 6 * np.cos(np.deg2rad(20)), rel=1e-6)
    check_mask([path.read_bytes() for path in paths], tmp_path / "m.nii.gz")


def test_case_of_one_slice(cases: Path) -> None:
    path = cases / "few-slices" / "one.dcm"
    volume = read_volume(path)
    assert np.array_equal(volume.voxels[0], pydicom.dcmread(path).pixel_array) and volume.planes == ("axial",)
