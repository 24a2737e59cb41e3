"""The report of one scan: complete, self-contained, the same figures in HTML, JSON and PNG."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from brain_mri import classes
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import scan_report, views
from tests.helpers.files import decode, make_volume, of_a_patient, series


@pytest.fixture(scope="module")
def view(predictor: Predictor, phantom_png) -> views.View:
    return views.analyze_scan(predictor, read_scan(phantom_png("meningioma", 21)))


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


def test_the_report_of_a_tumor_of_unsure_kind(unsure_predictor: Predictor, phantom_png, tmp_path: Path) -> None:
    view = views.analyze_scan(unsure_predictor, read_scan(phantom_png("meningioma", 21)))
    page, data, _ = scan_report.write_report(view, views.settings_of(view), tmp_path)
    text, result = page.read_text(encoding="utf-8"), json.loads(data.read_text(encoding="utf-8"))
    assert "A tumor, its kind not sure" in text and "is the likeliest kind" in text
    assert "pixels · FLAIR (by its looks)" in text and "learned mostly on T1 with contrast medium" in text
    assert result["kind_unsure"] and (result["sequence"], result["sequence_from"]) == ("FLAIR", "picture")


def test_dicom_seg_of_the_models_mask_and_of_the_corrected_one(predictor: Predictor, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    path = tmp_path / "a.dcm"
    path.write_bytes(series(make_volume("meningioma", 5)[0][9:10], **of_a_patient())[0])
    view = views.analyze_scan(predictor, read_scan(path), str(path))
    settings = views.settings_of(view)
    assert [p.name for p in scan_report.write_seg(view, settings, tmp_path)] == ["a_mask.dcm"]
    own = np.zeros_like(view.analysis.mask)
    own[30:50, 40:45] = True
    both = [pydicom.dcmread(p) for p in scan_report.write_seg(replace(view, corrected=own), settings, tmp_path)]
    assert [made.SegmentSequence[0].SegmentAlgorithmType for made in both] == ["AUTOMATIC", "SEMIAUTOMATIC"]
    for made, mask in zip(both, (view.analysis.mask, own), strict=True):
        assert made.pixel_array.sum() == mask.sum() > 0
    assert np.array_equal(both[1].pixel_array.squeeze(), own)
