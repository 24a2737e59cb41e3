"""What the Analyze tab shows, without a browser: sentences, panels, redraws, charts."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import views
from brain_mri.ui.html import unexplained


@pytest.fixture(scope="module")
def view(predictor: Predictor, phantom_png) -> views.View:
    return views.analyze_scan(predictor, read_scan(phantom_png("meningioma", 21)))


# --- small pieces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1e-9, "<1 %"), (0.123, "12 %"), (0.9999, ">99 %"), (1.0, "100 %")]
)
def test_percent_claims_no_certainty(share: float, text: str) -> None:
    assert views.percent(share) == text


# --- the sentence ----------------------------------------------------------------------------------------------


def test_sentence_says_what_the_analysis_says(view: views.View) -> None:
    a = replace(view.analysis, abstained=False, reason="", not_brain_mri=False, confidence=0.93)
    kind, _, text = views.sentence(replace(a, label="pituitary"))
    assert (kind, text) == ("tumor", "Most likely a pituitary tumor; the model is 93 % confident.")
    clear = replace(a, label="notumor")
    assert views.sentence(clear)[0] == "clear" and "easily missed" in views.sentence(replace(clear, sequence="T2"))[2]
    assert views.sentence(replace(clear, sequence="T1C+"))[2].endswith("the model is 93 % confident.")
    assert "nothing tells it surely" in views.details(view)
    assert views.sentence(replace(a, abstained=True, reason="Not sure: x"))[0::2] == ("unsure", "Not sure: x")
    assert views.sentence(replace(a, not_brain_mri=True, abstained=True))[0] == "foreign"


def test_a_tumor_of_unsure_kind_is_an_answer_with_mask_and_heatmap(unsure_predictor: Predictor, phantom_png) -> None:
    view = views.analyze_scan(unsure_predictor, read_scan(phantom_png("meningioma", 21)))
    a, settings = view.analysis, views.settings_of(view)
    assert a.kind_unsure and a.tumor and a.mask.any() and a.label != "notumor"
    assert views.sentence(a)[:2] == ("tumor", "Tumor")
    said = views.finding(view)
    first = re.search(r'class="sentence">(.*?)</p><p class="detail">(.*?)</p>', unexplained(said))
    assert first and re.fullmatch(r"A tumor, its kind not sure \(\d+% for a tumor\)\.", first[1])
    assert re.match(r"\w.* is the likeliest kind at \d+%, followed by ", first[2])
    assert "FLAIR (by its looks)" in said and "This looks like FLAIR. The kinds of tumor were learned mostly on" in said
    assert "of the head marked" in views.overlay_panel(view, settings)
    assert "nothing in the head" not in views.heat_panel(view, settings)


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


def test_foreign_pictures_get_no_figures(view: views.View) -> None:
    foreign = replace(view, analysis=replace(view.analysis, not_brain_mri=True))
    assert views.facts(foreign, views.settings_of(view)) == ""


def test_two_methods_and_the_histogram(view: views.View) -> None:
    assert "K-means" in views.methods(view) and "Dice" in views.methods(view)
    assert "Histogram" in views.picture_facts(view)
    assert "Choose a scan" in views.methods(None)


def test_a_corrected_outline_is_never_called_the_models(predictor: Predictor, phantom_png) -> None:
    view = views.analyze_scan(predictor, read_scan(phantom_png("meningioma", 21)))
    settings = views.settings_of(view)
    own = np.zeros_like(view.analysis.mask)
    own[100:130, 100:120] = True
    drawn = replace(view, corrected=own)
    before, after = views.facts(view, settings), views.facts(drawn, settings)
    assert "by hand" not in before and "600 pixels" in after and views.CORRECTED in after
    assert f"the model’s mask: {view.analysis.measures.pixels:,} pixels" in after
    assert views.mask_of(drawn, replace(settings, threshold=0.9)) is own  # whatever the threshold
    assert "stays" in views.facts(drawn, replace(settings, threshold=0.9))
    assert np.array_equal(views.model_mask(drawn, settings), view.analysis.mask)
    assert "drawn by hand, not by the model" in views.overlay_panel(drawn, settings)
    picture = views.overlay_picture(drawn, settings)[115, 110].astype(int)
    assert picture[2] > picture[0]  # blue, where the model's is amber
