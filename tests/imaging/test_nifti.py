"""The geometry of NIfTI headers: sizes of sheared voxels, slips that are forgiven, contradictions that are named."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from tests.helpers.files import SPACING, load, nifti

QUATERNION, PIXDIM, SFORM = slice(256, 268), slice(76, 92), slice(280, 328)  # bytes of a NIfTI-1 header


def codes(data: bytes, qform: int, sform: int) -> bytearray:
    """The same file with other codes for its two matrices."""
    changed = bytearray(data)
    changed[252:256] = np.array([qform, sform], "<i2").tobytes()
    return changed


def with_qform(stack: np.ndarray) -> bytearray:
    """Only a qform, that of a displayed axial stack: half a turn about the body's axis."""
    image = nib.Nifti1Image(stack.transpose(2, 1, 0), np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0]))
    image.set_qform(image.affine, 1)
    return codes(image.to_bytes(), 1, 0)


def sheared(stack: np.ndarray) -> nib.Nifti1Image:
    """Slices one above the other, each turned by 20 degrees about its rows: stacked along a line off their normal."""
    angle = np.deg2rad(20)
    affine = np.eye(4)
    affine[:3, 0] = [-SPACING[2], 0, 0]
    affine[:3, 1] = np.array([0, -np.cos(angle), np.sin(angle)]) * SPACING[1]
    affine[:3, 2] = [0, 0, SPACING[0]]
    affine[:3, 3] = [12, 30, -40]
    return nib.Nifti1Image(stack.transpose(2, 1, 0), affine)


def test_a_sheared_volume_has_the_size_of_its_determinant(stack: np.ndarray, tmp_path: Path) -> None:
    image = sheared(stack)
    volume = read_volume(image.to_bytes())
    assert volume.voxel_mm3 == pytest.approx(np.prod(SPACING) * np.cos(np.deg2rad(20)), rel=1e-6)
    assert volume.spacing == pytest.approx(SPACING) and any("tilted by 20 degrees" in w for w in volume.warnings)
    own = load(volume.save_mask(stack > 99, tmp_path / "mask.nii.gz"))
    assert np.allclose(own.affine, image.affine, atol=1e-4)
    assert np.array_equal(np.asarray(own.dataobj), stack.transpose(2, 1, 0) > 99)
    straight = read_volume(nifti(stack))
    assert straight.voxel_mm3 == pytest.approx(np.prod(SPACING)) and straight.doubt == "" and straight.warnings == ()


@pytest.mark.parametrize("length", [1.0, 1 + 1e-7, 1 + 1e-6, 1.001])
def test_a_quaternion_that_rounding_made_too_long(stack: np.ndarray, length: float, tmp_path: Path) -> None:
    data = with_qform(stack)
    assert np.frombuffer(data[QUATERNION], "<f4").tolist() == [0, 0, 1]
    data[QUATERNION] = np.array([0, 0, length], "<f4").tobytes()
    volume = read_volume(bytes(data), name="q.nii")
    assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx(SPACING) and volume.doubt == ""
    own = load(volume.save_mask(stack > 99, tmp_path / "mask.nii"))
    assert np.allclose(own.affine, np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1]), atol=1e-5)


def test_qfac_of_zero_and_negative_sizes_are_taken_as_their_reference_library_does(stack: np.ndarray) -> None:
    data = with_qform(stack)
    pixdim = np.frombuffer(data[PIXDIM], "<f4").copy()
    pixdim[0], pixdim[3] = 0, -pixdim[3]
    data[PIXDIM] = pixdim.tobytes()
    volume = read_volume(bytes(data))
    assert np.array_equal(volume.voxels, stack) and volume.spacing == pytest.approx(SPACING)


def test_a_mask_lies_where_its_volume_does_whatever_code_the_matrix_has(stack: np.ndarray, tmp_path: Path) -> None:
    image = sheared(stack)
    (tmp_path / "v.nii").write_bytes(codes(image.to_bytes(), 0, 9))
    volume = read_volume(tmp_path / "v.nii")
    assert np.allclose(volume.grid.affine, image.affine, atol=1e-4)
    path = volume.save_mask(np.ones(volume.voxels.shape, bool), tmp_path / "mask.nii")
    assert np.allclose(load(path).affine, image.affine, atol=1e-4)


def test_sizes_that_contradict_each_other_are_named(stack: np.ndarray) -> None:
    data = codes(nifti(stack), 1, 2)
    data[SFORM] = np.diag([-1.0, -1, 1, 1])[:3].astype("<f4").tobytes()
    volume = read_volume(bytes(data), name="c.nii")
    times = np.prod(SPACING)
    assert volume.voxel_mm3 == 1 and f"{times:.3g} times" in volume.doubt and "contradicts itself" in volume.doubt
    assert "1 x 1 x 1 mm" in volume.doubt and "1.25 x 1.5 x 6 mm" in volume.doubt and volume.doubt in volume.warnings
    assert volume.doubt in read_scan(bytes(data), name="c.nii").warnings  # areas in mm², too


def test_left_and_right_that_contradict_each_other_are_named(stack: np.ndarray) -> None:
    data = with_qform(stack)
    data[252:256] = np.array([1, 1], "<i2").tobytes()
    assert read_volume(bytes(data)).doubt == ""
    data[SFORM] = np.diag([SPACING[2], -SPACING[1], SPACING[0], 1])[:3].astype("<f4").tobytes()
    volume = read_volume(bytes(data))
    assert "left and right" in volume.doubt and np.array_equal(volume.voxels, stack[:, :, ::-1])  # as the sform says
    data[SFORM] = np.diag([SPACING[2], SPACING[1], SPACING[0], 1])[:3].astype("<f4").tobytes()
    assert "which way is up" in read_volume(bytes(data)).doubt


def test_an_sform_that_says_nothing_leaves_the_word_to_the_qform(stack: np.ndarray) -> None:
    data = with_qform(stack)
    data[252:256] = np.array([1, 1], "<i2").tobytes()
    data[SFORM] = bytes(48)
    volume = read_volume(bytes(data))
    assert np.array_equal(volume.voxels, stack) and volume.warnings == ()


def test_voxels_in_meters_have_their_size_in_millimetres(stack: np.ndarray) -> None:
    image = nib.Nifti1Image(stack.transpose(2, 1, 0), np.diag([-0.0005, -0.0005, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    volume = read_volume(image.to_bytes())
    assert volume.voxel_mm3 == pytest.approx(0.5, rel=1e-5) and np.array_equal(volume.voxels, stack)


def test_a_few_slices_are_slices_whichever_way_they_lie() -> None:
    thin = np.random.default_rng(0).integers(0, 255, (5, 64, 60), np.uint8)
    for axis, plane in enumerate(("sagittal", "coronal", "axial")):
        volume = read_volume(nib.Nifti1Image(np.moveaxis(thin, 0, axis), np.diag([1.0, 1, 1, 1])).to_bytes())
        assert len(volume) == 5 and volume.plane == plane and volume.planes == (plane,)
    slab = read_volume(nib.Nifti1Image(np.zeros((20, 200, 220), np.uint8), np.eye(4)).to_bytes())
    assert slab.plane == "sagittal" and slab.planes == ("sagittal", "axial", "coronal")
    flat = read_volume(nib.Nifti1Image(thin[0], np.diag([1.0, 1, 1, 1])).to_bytes(), name="flat.nii")
    assert flat.planes == ("axial",) and "how thick" in flat.doubt
    assert not any("thick" in w for w in flat.scan().warnings)  # of no account for one slice


# ---- files as people have them ----


def test_cases_with_wrong_headers(cases: Path) -> None:
    volume = read_volume(cases / "qform" / "w2.nii")
    assert volume.spacing == pytest.approx((120 / 11, 230 / 96, 230 / 96), rel=1e-6) and volume.warnings == ()
    volume = read_volume(cases / "contradicting-header" / "sform_1mm_64slices.nii.gz")
    assert volume.voxel_mm3 == 1 and f"{(230 / 96) ** 2 * 40 / 21:.3g} times" in volume.doubt
    volume = read_volume(cases / "contradicting-header" / "lr_disagree.nii.gz")
    assert "left and right" in volume.doubt


def test_case_of_a_sheared_sform(cases: Path, tmp_path: Path) -> None:
    path = cases / "gantry-tilt" / "shear20.nii.gz"
    volume, given = read_volume(path), load(path)
    assert volume.voxel_mm3 == pytest.approx((230 / 96) ** 2 * 6 * np.cos(np.deg2rad(20)), rel=1e-6)
    mask = np.zeros(volume.shape, bool)
    mask[3:9, 20:60, 30:50] = True
    own = load(volume.save_mask(mask, tmp_path / "m.nii.gz"))
    assert np.array_equal(own.affine, given.affine) and own.shape == given.shape
    assert np.array_equal(np.asarray(given.dataobj)[np.asarray(own.dataobj) > 0].sum(), volume.voxels[mask].sum())


@pytest.mark.parametrize(
    "name, depth", [("one_slice_1mm", 1), ("one_slice_2d", 1), ("truly_2d", 1), ("five_thin_slices", 5)]
)
def test_cases_of_few_slices(cases: Path, name: str, depth: int) -> None:
    path = cases / "few-slices" / f"{name}.nii.gz"
    volume, stored = read_volume(path), np.asarray(load(path).dataobj)
    assert volume.planes == ("axial",) and len(volume) == depth
    assert np.array_equal(volume.voxels, np.atleast_3d(stored).transpose(2, 1, 0))
