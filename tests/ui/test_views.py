"""What the page shows, without a browser: sentences, panels, redraws, charts, the report, batch tables, volumes."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from brain_mri import classes
from brain_mri.data.phantom import make_volume
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.imaging.scan import Scan, ScanError, reduce
from brain_mri.imaging.volume import read_volume
from brain_mri.inference import volume_analysis
from brain_mri.inference.batch import Row, Tables, named, stem_of, to_zip
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import charts, html, scan_report, views
from brain_mri.ui.analyze_tab import settings_from
from brain_mri.ui.volume_tab import clicked, draw, point_of, sentence, write_files
from tests.helpers.files import write_nifti


def decode(data: bytes) -> np.ndarray:
    """A PNG as it is, RGB where it has colours."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    return read if read.ndim == 2 else read[..., ::-1]


@pytest.fixture(scope="module")
def predictor(handmade_artifact: Path) -> Predictor:
    return Predictor.load(handmade_artifact)


@pytest.fixture(scope="module")
def view(predictor: Predictor, phantom_png) -> views.View:
    return views.analyze_scan(predictor, read_scan(phantom_png("meningioma", 21)))


# --- small pieces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", '"><img src=x onerror=1>', "{{x}}", "${value}", "`"])
def test_names_cannot_become_html_or_templates(nasty: str) -> None:
    text = html.safe(nasty)
    assert not re.search(r"[<>\"'{}$`]", text)
    assert not re.search(r"<script|<img src=x|\{\{|\$\{", html.banner("clear", nasty, nasty, nasty))


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1e-9, "<1 %"), (0.123, "12 %"), (0.9999, ">99 %"), (1.0, "100 %")]
)
def test_percent_claims_no_certainty(share: float, text: str) -> None:
    assert views.percent(share) == text


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_is_lossless(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(decode(png(picture)), picture)


def test_mask_png_is_black_and_white() -> None:
    mask = np.eye(4, dtype=bool)
    read = decode(png(mask))
    assert read.dtype == np.uint8 and np.array_equal(read, mask * 255)


# --- the sentence ----------------------------------------------------------------------------------------------


def test_sentence_says_what_the_analysis_says(view: views.View) -> None:
    a = replace(view.analysis, abstained=False, reason="", not_brain_mri=False, confidence=0.93)
    kind, _, text = views.sentence(replace(a, label="pituitary"))
    assert (kind, text) == ("tumor", "Most likely a pituitary tumor; the model is 93 % confident.")
    assert views.sentence(replace(a, label="notumor"))[0] == "clear"
    assert views.sentence(replace(a, abstained=True, reason="Not sure: x"))[0::2] == ("unsure", "Not sure: x")
    assert views.sentence(replace(a, not_brain_mri=True, abstained=True))[0] == "foreign"


def test_finding_names_model_and_revision(view: views.View, predictor: Predictor) -> None:
    text = views.finding(view)
    assert predictor.model_id in text and predictor.revision[:12] in text and view.analysis.name in text


# --- redraws ---------------------------------------------------------------------------------------------------


def test_redraw_needs_no_inference(view: views.View, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "_networks", None)
    start = views.settings_of(view)
    for change in ({"opacity": 0.9}, {"threshold": 0.2}, {"heat_class": "glioma"}, {"centre": 60.0, "width": 80.0}):
        changed = replace(start, **change)
        views.overlay_panel(view, changed), views.heat_panel(view, changed), views.facts(view, changed)


def test_threshold_moves_the_mask_and_its_figures(view: views.View) -> None:
    start = views.settings_of(view)
    sizes = [np.count_nonzero(views.mask_of(view, replace(start, threshold=t))) for t in (0.05, 0.5, 0.95)]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    assert np.array_equal(views.mask_of(view, start), view.analysis.mask)
    assert "Mask drawn at 0.20 instead of" in views.facts(view, replace(start, threshold=0.2))


def test_opacity_zero_shows_the_scan_below_the_outline(view: views.View) -> None:
    picture = views.overlay_picture(view, replace(views.settings_of(view), opacity=0.0))
    far = cv2.dilate(view.analysis.mask.astype(np.uint8), np.ones((15, 15))) == 0
    assert np.array_equal(picture[far][:, 0], view.analysis.image[far])


def test_window_changes_only_the_drawing(predictor: Predictor) -> None:
    values = (np.arange(64 * 64).reshape(64, 64) % 4000).astype(np.uint16)
    view = views.analyze_scan(predictor, scan_from_array(values))
    start = views.settings_of(view)
    assert np.array_equal(views.windowed(view, start), view.analysis.image)
    bright = views.windowed(view, replace(start, centre=100.0, width=100.0))
    assert (bright[values > 150] == 255).all() and (bright[values < 50] == 0).all()


def test_emptied_controls_fall_back(view: views.View) -> None:
    start = views.settings_of(view)
    assert settings_from(view, [None] * 6) == start
    assert settings_from(view, [7, -1, "nonsense", 3, None, None]).threshold == 0.99


def test_huge_pictures_are_reduced_and_said(predictor: Predictor) -> None:
    image = np.zeros((3000, 1500), np.uint8)
    scan = reduce(Scan(image, image, (0.1, 0.2), "big"))
    assert scan.shape == (2048, 1024) and "3000" in scan.warnings[-1]
    assert scan.spacing == pytest.approx((0.1 * 3000 / 2048, 0.2 * 1500 / 1024))


def test_foreign_pictures_get_no_figures(view: views.View) -> None:
    foreign = replace(view, analysis=replace(view.analysis, not_brain_mri=True))
    assert views.facts(foreign, views.settings_of(view)) == ""


def test_two_methods_and_the_histogram(view: views.View) -> None:
    assert "K-means" in views.methods(view) and "Dice" in views.methods(view)
    assert "Histogram" in views.picture_facts(view)
    assert "Choose a scan" in views.methods(None)


def test_chart_says_in_words_what_it_shows() -> None:
    chart = charts.along_slices([0.1, 0.9, 0.2], [0, 300, 20], "mm²", 2)
    assert "largest area 300 mm² on slice 2" in chart and "Slice 3 is shown" in chart
    assert "nothing marked" in charts.along_slices([0.1], [0], "mm²", 0)


# --- the report ------------------------------------------------------------------------------------------------


def test_report_is_complete_and_self_contained(view: views.View, predictor: Predictor, tmp_path: Path) -> None:
    settings = replace(views.settings_of(view), threshold=0.3)
    page, data, mask = scan_report.write_report(view, settings, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "url(" not in text
    for needed in (predictor.revision, classes.DISCLAIMER[:40], "0.30 (model: 0.50)", "onnxruntime", "Grad-CAM"):
        assert needed in text
    result = json.loads(data.read_text(encoding="utf-8"))
    assert result["settings"]["mask_threshold"] == 0.3 and result["disclaimer"] == classes.DISCLAIMER
    assert result["probabilities"] == view.analysis.probabilities and result["revision"] == predictor.revision
    read = decode(mask.read_bytes())
    assert np.array_equal(read > 0, views.mask_of(view, settings))
    assert result["tumor_pixels"] == np.count_nonzero(read)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a b.nii.gz", "a_b"), ("../../etc/passwd", "etc_passwd"), ("ö.png", "scan"), ("x.tar.dcm", "x.tar")],
)
def test_stems_are_safe_file_names(name: str, stem: str) -> None:
    assert stem_of(name) == stem


# --- batch -----------------------------------------------------------------------------------------------------


def test_batch_writes_a_row_for_every_file(predictor: Predictor, phantom_png, tmp_path: Path) -> None:
    good = [phantom_png("meningioma", 21), phantom_png("notumor", 2)]
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    rows = list(to_zip(predictor, named([good[0], bad, good[1], good[0]]), tmp_path))
    assert [bool(row.error) for row in rows] == [False, True, False, False] and "broken.png" in rows[1].error
    with zipfile.ZipFile(tmp_path / "results.zip") as bundle:
        names = bundle.namelist()
        table = list(csv.DictReader(io.StringIO(bundle.read("results.csv").decode())))
        mask = decode(bundle.read(f"masks/{good[0].stem}.png"))
    assert len([n for n in names if n.startswith("overlays/")]) == 3 and f"masks/{good[0].stem}-2.png" in names
    alone = predictor.analyze(read_scan(good[0]))
    assert np.array_equal(mask > 0, alone.mask)
    assert table[0]["label"] == alone.label and float(table[0]["p_notumor"]) == pytest.approx(
        alone.probabilities["notumor"], abs=1e-4
    )
    assert table[1]["error"] and not table[1]["label"]


def test_csv_cells_are_no_formulas(predictor: Predictor, tmp_path: Path) -> None:
    with Tables(tmp_path, "results", predictor) as tables:
        tables.add(Row("=HYPERLINK(1)", "=bad"))
    text = (tmp_path / "results.csv").read_text()
    assert "'=HYPERLINK" in text and "'=bad" in text


# --- volumes ---------------------------------------------------------------------------------------------------


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


def test_sliders_and_clicks_find_the_same_point(found: volume_analysis.VolumeAnalysis) -> None:
    volume = found.volume
    point = found.start()
    planes = volume_analysis.planes(volume)
    numbers = [volume_analysis.to_plane(volume, point, plane)[0] + 1 for plane in planes]
    assert point_of(found, numbers) == point and found.mask[point]
    for plane in planes:
        _, rows, columns = volume_analysis.plane_shape(volume, plane)
        _, y, x = volume_analysis.to_plane(volume, point, plane)
        assert clicked(found, point, {"plane": plane, "x": (x + 0.5) / columns, "y": (y + 0.5) / rows}) == point
    depth = len(found.area)
    assert clicked(found, point, {"share": 0.999})[0] == depth - 1 and clicked(found, point, {"share": -1})[0] == 0
    assert clicked(found, point, {"plane": "oblique"}) == point and clicked(found, point, {}) == point
    views_html, chart = draw(found, point, 0.4)
    assert views_html.count("<img") == 3 and f"Slice {point[0] + 1} is shown" in chart


def test_volume_files_keep_the_geometry(
    found: volume_analysis.VolumeAnalysis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import nibabel

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = {Path(path).name: path for path in write_files(found)}
    mask = nibabel.Nifti1Image.from_filename(paths["v_mask.nii.gz"])
    assert (
        np.allclose(np.asarray(mask.affine), found.volume.grid.affine) and mask.shape == found.volume.grid.voxels.shape
    )
    assert np.count_nonzero(np.asarray(mask.dataobj)) == np.count_nonzero(found.mask)
    assert len(Path(paths["v_slices.csv"]).read_text().splitlines()) == len(found.area) + 1


def test_a_volume_without_a_head_says_so(predictor: Predictor, found: volume_analysis.VolumeAnalysis) -> None:
    none = replace(found, foreign=np.ones_like(found.foreign), area=np.zeros_like(found.area))
    assert sentence(none)[0] == "foreign" and none.tumor.max() == 0
    empty = replace(found, area=np.zeros_like(found.area))
    assert sentence(empty)[0] == "clear"


def test_a_volume_of_brains_without_skulls_says_so(found: volume_analysis.VolumeAnalysis) -> None:
    assert not found.skull_stripped and "skull" not in sentence(found)[2]
    for area in (found.area, np.zeros_like(found.area)):
        bare = replace(found, stripped=~found.foreign, area=area)
        kind, _, text = sentence(bare)
        assert kind == "unsure" and "skull and scalp" in text and bare.to_dict()["skull_stripped"]
    few = np.zeros_like(found.foreign)
    few[0] = True
    assert not replace(found, stripped=few).skull_stripped


def test_a_doubtful_slice_distance_is_said(predictor: Predictor, tmp_path: Path) -> None:
    voxels, _, (thickness, rows, columns) = make_volume("glioma", 9)
    for distance, doubtful in ((1.0, True), (thickness, False)):
        path = write_nifti(tmp_path / f"{distance:.0f}.nii", voxels, (distance, rows, columns))
        said = " ".join(volume_analysis.analyze_volume(predictor, read_volume(path)).warnings)
        assert ("if that is wrong" in said) == doubtful


def test_unreadable_volume_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(b"nothing")
    with pytest.raises(ScanError, match=r"x\.nii"):
        read_volume(path)
