"""The files that the viewer of the Volume tab is given: voxels, mask and directions as nibabel reads the input."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.affines import voxel_sizes

from brain_mri.imaging.orientation import DISPLAY, permuted
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import VolumeAnalysis, analyze_volume
from brain_mri.ui import viewer as module
from brain_mri.ui.viewer import AXIS, described, loader, viewer
from tests.helpers.files import load, make_volume

ROTATED = {
    "straight": np.eye(3),
    "oblique": np.array([[0.936, -0.275, 0.218], [0.290, 0.956, -0.037], [-0.198, 0.098, 0.975]]),
}


@pytest.fixture
def analyzed(predictor: Predictor, tmp_path: Path) -> Callable[..., VolumeAnalysis]:
    def make(codes: str, rotation: np.ndarray, dtype: Any = np.int16) -> VolumeAnalysis:
        """A drawn head, stored along other axes in a rotated scanner."""
        voxels, _, (slices, rows, columns) = make_volume("meningioma", 5, size=64, depth=20)
        voxels = (voxels * 4).astype(dtype).transpose(2, 1, 0)
        image = nibabel.Nifti1Image(voxels, np.diag([-columns, -rows, slices, 1]))
        change = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
        )
        image = image.as_reoriented(change)
        turned = np.eye(4)
        turned[:3, :3] = rotation
        path = tmp_path / f"{codes}.nii"
        nibabel.Nifti1Image(np.asarray(image.dataobj), turned @ image.affine).to_filename(path)
        found = analyze_volume(predictor, read_volume(path))
        mask = np.zeros(found.volume.shape, bool)
        mask[8:14, 20:41, 10:26] = True
        mask[8:11, 20:30, 30:33] = True  # no mirror image of itself along any axis
        return replace(found, mask=mask, area=np.count_nonzero(mask, axis=(1, 2)).astype(np.float32))

    return make


@pytest.mark.parametrize("rotation", ROTATED)
@pytest.mark.parametrize("codes", ["LPS", "RAS", "PSR", "AIL"])
def test_voxels_and_mask_lie_as_nibabel_says(
    analyzed: Callable[..., VolumeAnalysis], tmp_path: Path, codes: str, rotation: str
) -> None:
    found = analyzed(codes, ROTATED[rotation])
    said = described(found, tmp_path)
    scan, mask = load(said["volume"]), load(said["mask"])
    given = nibabel.as_closest_canonical(load(tmp_path / f"{codes}.nii"))
    assert np.array_equal(np.asarray(scan.dataobj), np.asarray(given.dataobj))
    assert scan.get_data_dtype() == np.int16 and mask.get_data_dtype() == np.uint8
    found.volume.save_mask(found.mask, tmp_path / "own.nii")
    own = nibabel.as_closest_canonical(load(tmp_path / "own.nii"))
    assert found.mask.any() and np.array_equal(np.asarray(mask.dataobj), np.asarray(own.dataobj))
    for image in (scan, mask):
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.allclose(voxel_sizes(image.affine), voxel_sizes(given.affine), rtol=1e-5)
    assert said["count"] == list(scan.shape) and said["step"] == [1, 1, 1] and said["mm"]
    assert not said["doubt"]
    doubtful = replace(found, volume=replace(found.volume, doubt="The header contradicts itself."))
    assert described(doubtful, tmp_path)["doubt"] is True
    start = said["start"]
    assert np.asarray(mask.dataobj)[tuple(start)] == found.mask[found.start()] == 1
    assert said["planes"] == list(found.volume.planes)


def test_a_slice_has_the_number_that_the_other_planes_give_it() -> None:
    """All count towards right, front and top: a slider and the chart need no other sum than this."""
    for plane, axis in AXIS.items():
        assert DISPLAY[plane][0] == "RAS"[axis]


def test_a_large_volume_is_halved_within_its_slices(
    analyzed: Callable[..., VolumeAnalysis], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = analyzed("LPS", np.eye(3))
    monkeypatch.setattr(module, "MOST_VOXELS", 20 * 33 * 33)
    said = described(found, tmp_path)
    scan, mask = load(said["volume"]), load(said["mask"])
    assert scan.shape == mask.shape == (32, 32, 20) and said["step"] == [2, 2, 1] and said["count"] == [64, 64, 20]
    assert found.volume.spacing
    spacing = permuted(found.volume.spacing, DISPLAY["axial"], "RAS")
    assert np.allclose(voxel_sizes(scan.affine), np.multiply(spacing, [2, 2, 1]))
    whole = np.asarray(nibabel.as_closest_canonical(load(tmp_path / "LPS.nii")).dataobj).astype(float)
    means = whole.reshape(32, 2, 32, 2, 20).mean(axis=(1, 3))
    assert np.abs(np.asarray(scan.dataobj) - means).max() <= 0.5
    marked = 4 * np.count_nonzero(np.asarray(mask.dataobj))
    assert marked == pytest.approx(np.count_nonzero(found.mask), rel=0.07)  # its sides are odd
    monkeypatch.setattr(module, "LONGEST_SIDE", 31)
    assert described(found, tmp_path)["step"] == [4, 4, 1]


def test_an_odd_number_of_rows_is_filled_up() -> None:
    stack = np.arange(2 * 5 * 7, dtype=np.int16).reshape(2, 5, 7)
    made = module._coarser(stack, 2)
    assert made.shape == (2, 3, 4) and made[1, 0, 0] == stack[1, :2, :2].mean() and made[1, 2, 3] == stack[1, 4, 6]


def test_fractions_become_16_bit_and_keep_their_values(analyzed: Callable[..., VolumeAnalysis], tmp_path: Path) -> None:
    found = analyzed("LPS", np.eye(3), np.float32)
    scan = load(described(found, tmp_path)["volume"])
    given = np.asarray(nibabel.as_closest_canonical(load(tmp_path / "LPS.nii")).dataobj)
    assert scan.get_data_dtype() == np.uint16
    assert np.abs(np.asarray(scan.dataobj) - given).max() < np.ptp(given) / 60_000


def test_files_go_with_the_result(
    analyzed: Callable[..., VolumeAnalysis], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    found = analyzed("LPS", np.eye(3))
    html = viewer(found)
    said = json.loads(unescape(html.split('data-volume="')[1].split('"')[0]))
    files = [Path(said["volume"]), Path(said["mask"])]
    assert all(path.exists() and (tmp_path / "served") in path.parents for path in files)
    assert files[0].parent.name.startswith("out-") and "LPS" not in html  # nothing of the file's name
    del found
    gc.collect()
    assert not files[0].parent.exists()


def test_the_loader_names_files_that_are_there() -> None:
    assert all(path.exists() for path in module.SERVED) and "FOLDER" not in loader()
    told = (module.ASSETS / "niivue-license.txt").read_text()
    assert "0.69.0" in told and "BSD 2-Clause" in told
