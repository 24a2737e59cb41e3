"""DICOM series, archives and folders: any order, any plane, any trouble, and no bomb."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brain_mri.imaging import dicom_series
from brain_mri.imaging.file_type import is_volume
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
    for bad in ({}, {"a.txt": b"hello", "b.png": b"\x89PNG"}, {"inner.zip": zipped({"a": files[0]})}):
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
    monkeypatch.setattr(dicom_series, "MAX_TOTAL", 3_000_000)
    bomb = zipped({"a.dcm": bytes(128) + b"DICM" + bytes(40_000_000)})
    assert len(bomb) < 60_000
    with pytest.raises(ScanError, match="unpacks to more than"):
        read_volume(bomb)
    many = zipped({f"{i}.dcm": bytes(128) + b"DICM" + bytes(900_000) for i in range(9)})
    with pytest.raises(ScanError):
        read_volume(many)
    monkeypatch.setattr(dicom_series, "MAX_FILES", 5)
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
