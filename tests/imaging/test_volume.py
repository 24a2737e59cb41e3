"""Volumes of every kind come out the right way up, and masks go back into the geometry they came from."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import ornt_transform
from PIL import Image

from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.orientation import DISPLAY, PLANES, axes_of, moved, permuted, plane_of, turned
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import is_stack, read_volume
from tests.helpers.files import SPACING, encode, load, make_volume, nifti, write_nifti

# ---- orientation ----


ORIENTATIONS = ["".join(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)]
WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}  # axis and sign of RAS


def test_display_order_and_back() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert len(ORIENTATIONS) == 48
    for codes in ORIENTATIONS:
        affine = nib.orientations.inv_ornt_aff(
            ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)), (2, 3, 4)
        )
        axes = axes_of(affine)
        assert axes == codes
        for plane in PLANES:
            shown = turned(array, axes, DISPLAY[plane])
            assert np.shares_memory(shown, array), "a view, no copy"
            assert np.array_equal(turned(shown, DISPLAY[plane], axes), array)
            where = {WORLD[code][0]: (i, WORLD[code][1]) for i, code in enumerate(axes)}  # by hand, without nibabel
            wanted = [(*where[axis], sign) for axis, sign in (WORLD[code] for code in DISPLAY[plane])]
            expected = array.transpose([i for i, _, _ in wanted])
            expected = expected[tuple(slice(None, None, have * want) for _, have, want in wanted)]
            assert np.array_equal(shown, expected)
            assert permuted(array.shape, axes, DISPLAY[plane]) == shown.shape
            for point in np.ndindex(*array.shape):
                assert shown[moved(point, array.shape, axes, DISPLAY[plane])] == array[point]
        assert plane_of(axes, next(i for i, code in enumerate(axes) if code in "SI")) == "axial"
    for plane in PLANES:
        assert np.array_equal(turned(array, DISPLAY[plane], DISPLAY[plane]), array)


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
        count = len(volume.reslice(volume.voxels, plane))
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
    voxels, mask, spacing = make_volume("meningioma", 4, 64, 12)
    path = write_nifti(tmp_path / "v.nii.gz", voxels, spacing)
    volume = read_volume(path)
    assert np.array_equal(volume.voxels, voxels) and volume.spacing == pytest.approx(spacing, rel=1e-5)
    assert mask.any() and not mask[-1].any()


def test_unreadable_volume_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(b"nothing")
    with pytest.raises(ScanError, match=r"x\.nii"):
        read_volume(path)


# ---- pictures that are stacks ----


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_animations_and_pages_are_slices(stack: np.ndarray, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "scroll.bin"
    frames = [Image.fromarray(s) for s in stack]
    options = {"lossless": True} if kind == "WEBP" else {}
    path.write_bytes(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    volume = read_volume(path)
    assert np.array_equal(volume.voxels, stack) and volume.choice == "scroll.bin" and volume.info["format"] == kind
    assert volume.spacing is volume.voxel_mm3 is None and any(
        "neither orientation nor sizes" in w for w in volume.warnings
    )
    assert np.array_equal(
        load(volume.save_mask(stack > 99, tmp_path / "m.nii")).dataobj, (stack > 99).transpose(2, 1, 0)
    )
    assert is_stack(path) and is_stack(path.read_bytes()) and not is_volume(path)
    path.write_bytes(encode(frames[0], kind))
    assert not is_stack(path) and not is_stack(path.read_bytes())
    with pytest.raises(ScanError, match="is no volume"):
        read_volume(path)


def test_a_tiff_of_16_bit_and_a_page_of_another_size(stack: np.ndarray) -> None:
    deep = stack.astype(np.uint16) * 200
    pages = [Image.fromarray(s) for s in deep]
    data = encode(pages[0], "TIFF", save_all=True, append_images=[*pages[1:], Image.fromarray(deep[0, :20, :18])])
    volume = read_volume(data)
    assert np.array_equal(volume.voxels, deep) and any("1 pictures of another size" in w for w in volume.warnings)


def test_is_stack_raises_nothing(stack: np.ndarray, tmp_path: Path) -> None:
    flat = nib.Nifti1Image(stack[0], np.eye(4)).to_bytes()
    for data, answer in ((nifti(stack), True), (gzip.compress(nifti(stack)), True), (flat, False), (b"", False)):
        assert is_stack(data) is answer
    for data in (b"GIF89a", b"II*\0" + bytes(20), b"\x1f\x8b", b"hello", nifti(stack)[:300]):
        assert is_stack(data) is False
    assert not is_stack(tmp_path) and not is_stack(tmp_path / "missing") and not is_stack("nul\0byte")
