"""The Volume tab without a browser: sentences, sliders and clicks, the files to download."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from brain_mri.imaging.volume import read_volume
from brain_mri.inference import volume_analysis
from brain_mri.inference.predictor import Predictor
from brain_mri.ui.common import name_of
from brain_mri.ui.volume_tab import clicked, draw, headline, point_of, sentence, write_files
from tests.helpers.files import make_volume, write_nifti


@pytest.fixture(scope="module")
def found(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> volume_analysis.VolumeAnalysis:
    voxels, _, spacing = make_volume("meningioma", 5)
    path = write_nifti(tmp_path_factory.mktemp("volume") / "v.nii.gz", voxels, spacing)
    return volume_analysis.analyze_volume(predictor, read_volume(path))


def test_sliders_and_clicks_find_the_same_point(found: volume_analysis.VolumeAnalysis) -> None:
    volume = found.volume
    point = found.start()
    planes = volume.planes
    numbers = [volume_analysis.to_plane(volume, point, plane)[0] + 1 for plane in planes]
    assert point_of(found, numbers) == point and found.mask[point]
    for plane in planes:
        _, rows, columns = volume_analysis.plane_shape(volume, plane)
        _, y, x = volume_analysis.to_plane(volume, point, plane)
        assert clicked(found, point, {"pick": plane, "x": (x + 0.5) / columns, "y": (y + 0.5) / rows}) == point
    depth = len(found.area)
    assert (
        clicked(found, point, {"pick": "chart", "x": 0.999})[0] == depth - 1
        and clicked(found, point, {"pick": "chart", "x": -1})[0] == 0
    )
    assert clicked(found, point, {"pick": "oblique"}) == point and clicked(found, point, {}) == point
    views_html, chart = draw(found, point, 0.4)
    assert views_html.count("<img") == 3 and f"Slice {point[0] + 1} is shown" in chart


def test_volume_files_keep_the_geometry(
    found: volume_analysis.VolumeAnalysis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = {Path(path).name: path for path in write_files(found)}
    mask = nibabel.Nifti1Image.from_filename(paths["v_mask.nii.gz"])
    assert (
        np.allclose(np.asarray(mask.affine), found.volume.grid.affine) and mask.shape == found.volume.grid.voxels.shape
    )
    assert np.count_nonzero(np.asarray(mask.dataobj)) == np.count_nonzero(found.mask)
    assert len(Path(paths["v_slices.csv"]).read_text().splitlines()) == len(found.area) + 1


def test_series_of_two_uploads_that_are_called_alike_have_files_of_different_names(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    names = set[str]()
    for seed in (5, 9):
        voxels, _, spacing = make_volume("meningioma", seed, depth=4)
        with zipfile.ZipFile(tmp_path / "study.zip", "w") as bundle:
            for kind in ("flair", "t1ce"):
                bundle.write(write_nifti(tmp_path / f"x_{kind}.nii.gz", voxels, spacing), f"x_{kind}.nii.gz")
        study = read_volume(tmp_path / "study.zip", name=name_of([str(tmp_path / "study.zip")], False), named=False)
        names |= {Path(path).name for path in write_files(volume_analysis.analyze_volume(predictor, study))}
    assert len(names) == 6 and all(name.startswith("scan-") for name in names)


def test_a_volume_without_a_head_says_so(predictor: Predictor, found: volume_analysis.VolumeAnalysis) -> None:
    none = replace(found, foreign=np.ones_like(found.foreign), area=np.zeros_like(found.area))
    assert sentence(none)[0] == "foreign" and none.tumor.max() == 0
    empty = replace(found, area=np.zeros_like(found.area))
    assert sentence(empty)[0] == "clear"


def test_a_volume_with_a_tumor_of_unsure_kind_says_so(unsure_predictor: Predictor, tmp_path: Path) -> None:
    voxels, _, spacing = make_volume("meningioma", 5)
    volume = read_volume(write_nifti(tmp_path / "v.nii", voxels, spacing))
    found = volume_analysis.analyze_volume(unsure_predictor, volume)
    kind, word, first, why = sentence(found)
    assert (kind, word, first) == ("tumor", "Tumor", "A tumor, its kind not sure.")
    assert why.startswith("Marked on") and "is the likeliest kind at" in why and "A tumor" not in why
    data = found.to_dict()
    assert data["kind_unsure"] and data["abstained"] and data["tumor"]
    marked = [one["label"] for one in data["per_slice"] if one["area"]]
    assert marked and "notumor" not in marked
    page = headline(found)
    assert "v.nii · FLAIR (by its looks)" in page and "kinds of tumor were learned mostly on" in page


def test_a_volume_of_brains_without_skulls_says_so(found: volume_analysis.VolumeAnalysis) -> None:
    assert not found.skull_stripped and "skull" not in sentence(found)[2]
    for area in (found.area, np.zeros_like(found.area)):
        bare = replace(found, stripped=~found.foreign, area=area)
        kind, _, text = sentence(bare)
        assert kind == "unsure" and "skull and scalp" in text and bare.to_dict()["skull_stripped"]
    few = np.zeros_like(found.foreign)
    few[0] = True
    assert not replace(found, stripped=few).skull_stripped
