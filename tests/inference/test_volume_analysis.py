"""A volume agrees with its slices, lies on disk, and means the same point in every plane."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brain_mri.imaging.volume import read_volume
from brain_mri.inference import volume_analysis
from brain_mri.inference.predictor import Predictor
from tests.helpers.files import make_volume, write_nifti
from tests.helpers.handmade import write_handmade


@pytest.fixture(scope="module")
def found(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> volume_analysis.VolumeAnalysis:
    voxels, _, spacing = make_volume("meningioma", 5)
    path = write_nifti(tmp_path_factory.mktemp("volume") / "v.nii.gz", voxels, spacing)
    return volume_analysis.analyze_volume(predictor, read_volume(path))


def test_volume_agrees_with_its_slices(found: volume_analysis.VolumeAnalysis, predictor: Predictor) -> None:
    for i in range(0, len(found.area), 5):
        alone = predictor.analyze(found.volume.scan(i))
        assert np.array_equal(found.mask[i], alone.mask)
        assert found.tumor[i] == pytest.approx(alone.tumor_probability, abs=1e-4)
    spacing = found.volume.spacing
    assert spacing and found.millilitres == pytest.approx(found.area.sum() * spacing[0] / 1000, rel=1e-5)
    assert found.marked and json.dumps(found.to_dict())


def test_volume_lies_on_disk_and_goes_with_its_object(predictor: Predictor, tmp_path: Path) -> None:
    voxels, _, spacing = make_volume("glioma", 9)
    path = write_nifti(tmp_path / "v.nii", voxels, spacing)
    result = volume_analysis.analyze_volume(predictor, read_volume(path))
    folder = Path(result.folder.name)
    assert isinstance(result.volume.grid.voxels, np.memmap) and isinstance(result.mask, np.memmap) and folder.is_dir()
    del result
    assert not folder.exists()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_point_means_the_same_voxel_in_every_plane(found: volume_analysis.VolumeAnalysis, plane: str) -> None:
    volume = found.volume
    rng = np.random.default_rng(0)
    for _ in range(20):
        d, r, c = (int(rng.integers(n)) for n in volume.shape)
        point = (d, r, c)
        k, y, x = volume_analysis.to_plane(volume, point, plane)
        assert volume.reslice(volume.voxels, plane)[k, y, x] == volume.voxels[point]
        assert volume_analysis.from_plane(volume, (k, y, x), plane) == point
    assert volume.reslice(volume.voxels, plane).shape == volume_analysis.plane_shape(volume, plane)


def test_a_doubtful_slice_distance_is_said(predictor: Predictor, tmp_path: Path) -> None:
    voxels, _, (thickness, rows, columns) = make_volume("glioma", 9)
    for distance, doubtful in ((1.0, True), (thickness, False)):
        path = write_nifti(tmp_path / f"{distance:.0f}.nii", voxels, (distance, rows, columns))
        said = " ".join(volume_analysis.analyze_volume(predictor, read_volume(path)).warnings)
        assert ("if that is wrong" in said) == doubtful


def test_a_volume_says_what_its_slices_would(found: volume_analysis.VolumeAnalysis) -> None:
    """Nothing is marked, and the mean says "no tumor" at 40 %: by even odds a tumor, as of a single slice."""
    depth, none = len(found.area), np.zeros_like(found.area)
    chances = np.tile(np.array([0.3, 0.2, 0.4, 0.1], np.float32), (depth, 1))
    unmarked = replace(found, area=none, foreign=none > 0, probabilities=chances, tumor_first=True, abstain_below=0.5)
    assert unmarked.reason.endswith("most likely answer is Glioma: the two models disagree.")
    assert not unmarked.kind_unsure
    nothing = replace(unmarked, foreign=none == 0).to_dict()
    assert nothing["not_brain_mri"] and sum(nothing["probabilities"].values()) == pytest.approx(1)
    assert nothing["tumor_probability"] == pytest.approx(0.6)


def test_a_volume_of_poor_slices_is_not_answered(tmp_path: Path) -> None:
    strict = {"noise": 1e-6, "blur": 1e3, "flat": 1e3, "ghosts": 1e3}
    poor = Predictor.load(write_handmade(tmp_path / "a", quality=strict))
    voxels, _, spacing = make_volume("meningioma", 5)
    path = write_nifti(tmp_path / "v.nii.gz", voxels, spacing)
    said = volume_analysis.analyze_volume(poor, read_volume(path)).to_dict()
    assert said["quality"] == ["noisy"] and said["abstained"]
    assert said["reason"].endswith("but the picture is too noisy to judge.")
    assert volume_analysis.most_poor([("small", "moved"), (), ()]) == () == volume_analysis.most_poor([])
    assert volume_analysis.most_poor([("small", "moved"), ("noisy",), ("small",)]) == ("small",)


SIDE = 230 / 96  # mm of a pixel of the drawn series
MEASURED = [  # file, mm³ of a voxel by its tags, slices, what is said of doubts
    ("dicom-oddities/iop_jitter_6e-3", SIDE**2 * 120 / 11, 12, ""),
    ("dicom-oddities/iop_jitter_9th_decimal", SIDE**2 * 120 / 11, 12, ""),
    ("dicom-oddities/with_localizer", SIDE**2 * 120 / 11, 12, ""),
    ("gantry-tilt/series", SIDE**2 * 6 * np.cos(np.deg2rad(20)), 14, ""),
    ("gantry-tilt/shear20.nii.gz", SIDE**2 * 6 * np.cos(np.deg2rad(20)), 14, ""),
    ("qform/w2.nii", SIDE**2 * 120 / 11, 12, ""),
    ("contradicting-header/sform_1mm_64slices.nii.gz", 1.0, 64, "10.9 times as large"),
    ("contradicting-header/lr_disagree.nii.gz", SIDE**2 * 120 / 11, 12, "left and right"),
    ("few-slices/one.dcm", 1.2**2, 1, "how thick its slice is"),
    ("few-slices/truly_2d.nii.gz", 1.2**2, 1, "how thick its slice is"),
    ("few-slices/one_slice_2d.nii.gz", 1.2**2 * 5, 1, ""),
    ("few-slices/five_thin_slices.nii.gz", 1.8**2, 5, ""),
]


@pytest.fixture(scope="module")
def served(bundled: Path) -> Predictor:
    return Predictor.load(bundled)


@pytest.mark.parametrize("name, voxel, depth, doubt", MEASURED)
def test_cases_are_measured_as_their_tags_say(
    served: Predictor, cases: Path, name: str, voxel: float, depth: int, doubt: str
) -> None:
    found = volume_analysis.analyze_volume(served, read_volume(cases / name))
    assert len(found.area) == depth and found.marked
    assert found.millilitres == pytest.approx(np.count_nonzero(found.mask) * voxel / 1000, rel=1e-6)
    said = found.to_dict()["doubt"]
    assert doubt in said if doubt else said == ""


def test_case_of_a_meningioma_that_was_cut_in_half(served: Predictor, cases: Path) -> None:
    found = volume_analysis.analyze_volume(served, read_volume(cases / "dicom-oddities" / "iop_jitter_6e-3"))
    assert found.label == "meningioma" and found.millilitres == pytest.approx(15.1, rel=0.3)  # every slice, once
