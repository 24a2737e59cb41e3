"""Volumes of every kind come out the right way up, and masks go back into the geometry they came from."""

from __future__ import annotations

import gzip
import io
import os
import random
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import dicom, saved
from nibabel.orientations import inv_ornt_aff, io_orientation, ornt_transform

import phantom
import read_series
from orientation import PLANES, apply_order, axes_of, display_axes, display_order, plane_of, undo_order
from scan import ScanError, read_scan
from volume import is_volume, read_volume

SPACING = (6.0, 1.5, 1.25)  # slice, row, column


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """uint8 (7, 40, 36) in radiological display, no symmetry, no two slices alike."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 150, 7 * 40 * 36).reshape(7, 40, 36)
    return (ramp + rng.integers(0, 100, (7, 40, 36))).astype(np.uint8)


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


# ---- orientation ----


def test_display_order_and_back() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    for codes in ("RAS", "LPS", "ARS", "SLA", "IPR"):
        affine = nib.orientations.inv_ornt_aff(
            ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)), (2, 3, 4)
        )
        axes = axes_of(affine)
        assert axes is not None
        for plane in PLANES:
            order = display_order(axes, plane)
            assert np.array_equal(undo_order(apply_order(array, order), order), array)
        assert plane_of(axes, [a for a, _ in axes].index(2)) == "axial"
    for plane in PLANES:
        assert display_order(display_axes(plane), plane) == ((0, 1, 2), (False, False, False))


def test_useless_affines() -> None:
    for affine in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1])):
        assert axes_of(affine) is None


# ---- NIfTI ----


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "RPI", "AIL", "SAR", "PSL", "IRA"])
def test_nifti_orientations(stack: np.ndarray, codes: str, tmp_path: Path) -> None:
    path = tmp_path / "volume.nii"
    path.write_bytes(nifti(stack, codes))
    volume = read_volume(path)
    assert np.array_equal(volume.voxels, stack) and volume.plane == "axial" and volume.warnings == ()
    assert volume.spacing == pytest.approx(SPACING) and volume.shape == stack.shape and len(volume) == 7
    scan = volume.scan(3)
    assert np.array_equal(scan.image, stack[3]) and scan.spacing == pytest.approx(SPACING[1:])
    assert np.array_equal(read_scan(path, index=3).image, scan.image)

    mask = stack > 180
    own = load(volume.save_mask(mask, tmp_path / "mask.nii.gz"))
    given = load(path)
    assert own.shape == given.shape and np.array_equal(own.affine, given.affine) and own.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(own.dataobj), np.asarray(given.dataobj) > 180)
    assert np.array_equal(read_volume(tmp_path / "mask.nii.gz").voxels, mask)


def test_nifti_oblique(stack: np.ndarray, tmp_path: Path) -> None:
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-SPACING[2], -SPACING[1], SPACING[0]])
    affine[:3, 3] = 11, -5, 3
    nib.save(nib.Nifti1Image(stack.transpose(2, 1, 0), affine), tmp_path / "o.nii.gz")
    volume = read_volume(tmp_path / "o.nii.gz")
    assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx(SPACING)
    volume.save_mask(stack > 100, tmp_path / "m.nii.gz")
    assert np.allclose(load(tmp_path / "m.nii.gz").affine, load(tmp_path / "o.nii.gz").affine)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4", "c8", "f2"])
def test_nifti_types(stack: np.ndarray, dtype: str) -> None:
    values = (stack // 2).astype(dtype)
    if dtype == "f2":  # no NIfTI type; nibabel writes it as float32
        values = values.astype("f4")
    order = ">" if dtype.startswith(">") else "<"
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(values.dtype)
    image = nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1, -1, 4, 1]), header)
    volume = read_volume(image.to_bytes())
    assert volume.voxels.dtype in (np.uint8, np.int16, np.uint16, np.float32)
    assert np.array_equal(volume.voxels, stack // 2)


def test_nifti_scaling_rgb_and_nifti2(stack: np.ndarray) -> None:
    image = nib.Nifti1Image(stack.transpose(2, 1, 0).astype(np.int16), np.diag([-1, -1, 4, 1]))
    image.header.set_slope_inter(0.5, -3)
    data = bytearray(image.to_bytes())
    data[352:] = stack.transpose(2, 1, 0).astype(np.int16).tobytes(order="F")
    data[112:120] = np.array([0.5, -3], "<f4").tobytes()
    assert np.allclose(read_volume(bytes(data)).voxels, stack * 0.5 - 3)
    rgb = np.zeros(stack.transpose(2, 1, 0).shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for c in "RGB":
        rgb[c] = stack.transpose(2, 1, 0)
    assert np.allclose(read_volume(nib.Nifti1Image(rgb, np.diag([-1, -1, 4, 1])).to_bytes()).voxels, stack)
    two = nib.Nifti2Image(stack.transpose(2, 1, 0), np.diag([-1, -1, 4, 1]))
    assert np.array_equal(read_volume(two.to_bytes()).voxels, stack)


def test_nifti_2d_and_4d(stack: np.ndarray, tmp_path: Path) -> None:
    flat = nib.Nifti1Image(stack[0].T, np.diag([-1, -1, 1, 1]))
    nib.save(flat, tmp_path / "flat.nii")
    volume = read_volume(tmp_path / "flat.nii")
    assert np.array_equal(volume.voxels, stack[:1])
    saved_mask = load(volume.save_mask(stack[:1] > 50, tmp_path / "m.nii"))
    assert saved_mask.shape == (36, 40) and np.array_equal(np.asarray(saved_mask.dataobj), stack[0].T > 50)
    four = np.stack([stack.transpose(2, 1, 0), np.zeros_like(stack.transpose(2, 1, 0))], 3)
    volume = read_volume(nib.Nifti1Image(four, np.diag([-1, -1, 4, 1])).to_bytes(), name="four.nii")
    assert np.array_equal(volume.voxels, stack) and any("first volume" in w for w in volume.warnings)
    own = load(volume.save_mask(stack > 9, tmp_path / "four.nii.gz"))
    assert own.shape == (36, 40, 7)


def test_nifti_without_orientation_says_so(stack: np.ndarray) -> None:
    data = bytearray(nifti(stack, "LAS"))
    data[252:256] = bytes(4)  # qform_code, sform_code
    volume = read_volume(bytes(data), name="a.nii")
    assert any("orientation" in w for w in volume.warnings)
    broken = bytearray(nifti(stack))
    broken[252:256] = b"\0\0\1\0"
    broken[280:328] = np.full(12, np.nan, "<f4").tobytes()
    volume = read_volume(bytes(broken))
    assert volume.shape[0] in (7, 36, 40) and any("orientation" in w for w in volume.warnings)


def test_nifti_nan_and_units(stack: np.ndarray, tmp_path: Path) -> None:
    values = stack.astype(np.float32)
    values[2, 3, 4], values[2, 3, 5] = np.nan, np.inf
    image = nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([-0.001, -0.001, 0.004, 1]))
    image.header.set_xyzt_units("meter")
    volume = read_volume(image.to_bytes())
    assert np.isfinite(volume.voxels).all() and any("finite" in w for w in volume.warnings)
    assert volume.spacing == pytest.approx((4, 1, 1))
    with pytest.raises(ScanError, match="finite"):
        read_volume(nib.Nifti1Image(np.full((9, 9, 9), np.nan, np.float32), np.eye(4)).to_bytes())


def test_nifti_damage(stack: np.ndarray) -> None:
    data = nifti(stack)
    for cut in (352, 400, len(data) - 1):
        with pytest.raises(ScanError, match="incomplete"):
            read_volume(data[:cut])
    with pytest.raises(ScanError):
        read_volume(data[:200])
    huge = bytearray(data)
    huge[40:56] = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1], "<i2").tobytes()
    with pytest.raises(ScanError, match="voxels"):
        read_volume(bytes(huge))
    with pytest.raises(ScanError, match="pair"):
        read_volume(data[:344] + b"ni1\0" + data[348:])
    packed = gzip.compress(data)
    for cut in (20, len(packed) // 2, len(packed) - 4):
        with pytest.raises(ScanError, match="damaged"):
            read_volume(packed[:cut])
    assert np.array_equal(read_volume(packed + bytes(100)).voxels, stack)  # padded download


def test_thick_slices_decide_the_acquired_plane() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 255, (30, 9, 32), np.uint8)  # R A S: nine thick coronal slices
    volume = read_volume(nib.Nifti1Image(values, np.diag([1.0, 7.0, 1.0, 1.0])).to_bytes())
    assert volume.plane == "coronal" and volume.shape == (9, 32, 30)
    assert np.array_equal(volume.voxels[4], values[::-1, 4, ::-1].T)
    sagittal = read_volume(nib.Nifti1Image(values, np.diag([7.0, 1.0, 1.0, 1.0])).to_bytes())
    assert sagittal.plane == "sagittal" and np.array_equal(sagittal.voxels[5], values[5, ::-1, ::-1].T)
    even = read_volume(nib.Nifti1Image(values, np.diag([1.0, 1.1, 1.0, 1.0])).to_bytes())
    assert even.plane == "axial"


def test_other_planes_and_their_masks(stack: np.ndarray) -> None:
    volume = read_volume(nifti(stack, "RAS"))
    mask = np.zeros(stack.shape, bool)
    mask[2:5, 10:20, 5:15] = True
    for plane in PLANES:
        count = volume.count(plane)
        scan = volume.scan(count // 2, plane)
        assert scan.info["plane"] == plane and scan.info["slices"] == count
        assert volume.mask_slice(mask, count // 2, plane).shape == scan.shape
        assert scan.spacing is not None
        assert plane == "axial" or scan.spacing[0] == scan.spacing[1]
    coronal = volume.scan(40 - 1 - 15, "coronal")  # counted from posterior to anterior
    assert coronal.shape == (round(7 * 6 / 1.25), 36)
    assert np.array_equal(coronal.raw[0], stack[6, 15]) and np.array_equal(coronal.raw[-1], stack[0, 15])
    part = volume.mask_slice(mask, 40 - 1 - 15, "coronal")
    assert part.any() and abs(part.mean() - 3 / 7 * 10 / 36) < 0.02
    with pytest.raises(ScanError, match="no plane"):
        volume.scan(0, "diagonal")
    for plane in ("acquired", "coronal"):
        with pytest.raises(ScanError, match="no slice 99"):
            volume.scan(99, plane)


def test_fullest_slice_is_shown_first(stack: np.ndarray) -> None:
    values = np.zeros((9, 40, 36), np.uint8)
    values[5] = 200
    values[4, :20] = 200
    assert read_volume(nifti(values)).scan().info["index"] == 5
    assert read_scan(nifti(values)).info["index"] == 5


def test_float_volume_is_windowed_as_a_whole(stack: np.ndarray) -> None:
    values = stack.astype(np.float32) * 37 - 500
    volume = read_volume(nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1, -1, 4, 1])).to_bytes())
    low, high = volume.scan(0).image.mean(), volume.scan(6).image.mean()
    assert high - low > 60  # the ramp from slice to slice is still there
    assert np.array_equal(volume.scan(2).raw, values[2])


# ---- DICOM series ----


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
    def item(**tags: object) -> pydicom.Dataset:
        dataset = pydicom.Dataset()
        for key, value in tags.items():
            setattr(dataset, key, value)
        return dataset

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
    monkeypatch.setattr(read_series, "MAX_TOTAL", 3_000_000)
    bomb = zipped({"a.dcm": bytes(128) + b"DICM" + bytes(40_000_000)})
    assert len(bomb) < 60_000
    with pytest.raises(ScanError, match="unpacks to more than"):
        read_volume(bomb)
    many = zipped({f"{i}.dcm": bytes(128) + b"DICM" + bytes(900_000) for i in range(9)})
    with pytest.raises(ScanError):
        read_volume(many)
    monkeypatch.setattr(read_series, "MAX_FILES", 5)
    with pytest.raises(ScanError, match="more than 5 files"):
        read_volume(zipped({str(i): b"x" for i in range(6)}))


def test_too_many_voxels(stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_series, "MAX_VOXELS", 3 * 40 * 36)
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


# ---- real data ----


def test_real_volumes_round_trip(real_data: Path, tmp_path: Path) -> None:
    for patient in ("patient01", "patient02"):
        image_path = real_data / "volumes" / f"{patient}_Scan_T1.nii.gz"
        mask_path = real_data / "volumes" / f"{patient}_Mask.nii.gz"
        volume, mask = read_volume(image_path), read_volume(mask_path)
        assert volume.shape == mask.shape == (24, 256, 256) and volume.plane == "axial"
        out = volume.save_mask(mask.voxels > 0, tmp_path / "mask.nii.gz")
        own, truth = load(out), load(mask_path)
        assert np.array_equal(np.asarray(own.dataobj), np.asarray(truth.dataobj))
        assert np.array_equal(own.affine, load(image_path).affine)


def test_real_dicom_folder(real_data: Path) -> None:
    volume = read_volume(real_data / "volumes" / "dicom")
    assert volume.shape == (16, 384, 274) and volume.plane == "axial" and volume.warnings == ()
    assert volume.spacing == pytest.approx((8.0, 0.6667, 0.7), abs=1e-3)
    head = volume.voxels[:, :, 100:170]  # the back of the head is low in the picture, the (removed) face high
    assert head[8:, :60].mean() < head[8:, 200:].mean()


def test_phantom_volume(tmp_path: Path) -> None:
    voxels, mask, spacing = phantom.make_volume("meningioma", 4, 64, 12)
    path = phantom.write_nifti(tmp_path / "v.nii.gz", voxels, spacing)
    volume = read_volume(path)
    assert np.array_equal(volume.voxels, voxels) and volume.spacing == pytest.approx(spacing, rel=1e-5)
    assert mask.any() and not mask[-1].any()
