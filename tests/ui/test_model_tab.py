"""The Model tab without a browser: what a model without figures says, and what a measured one shows."""

from __future__ import annotations

import base64
import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import BUNDLED
from brain_mri.imaging.read import read_scan
from brain_mri.inference.batch import to_folder
from brain_mri.inference.jobs import named
from brain_mri.inference.live_model import LiveModel, Models
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import model_tab, views
from brain_mri.ui.page import build_interface
from brain_mri.ui.scan_report import write_report
from tests.helpers.handmade import write_handmade


def test_a_model_without_figures_says_how_to_get_them(handmade_artifact: Path) -> None:
    predictor = Predictor.load(handmade_artifact)
    assert "came without figures" in model_tab.scores(predictor) and "handmade" in model_tab.identity(predictor)
    assert "came without figures" in model_tab.figure_grid(predictor)


def test_the_scores_of_a_config_stand_beside_the_baselines(tmp_path: Path) -> None:
    accuracy = {"value": 0.912, "low": 0.88, "high": 0.94}
    scores = {"accuracy": accuracy, "dice": 0.5, "baselines": {"majority": {"value": 0.31}}}
    predictor = Predictor.load(write_handmade(tmp_path / "m", metrics=scores, license="cc-by-nc-sa-4.0"))
    text = model_tab.scores(predictor)
    assert "0.912 [0.880, 0.940]" in text and "0.310" in text and "Majority class" in text
    assert all(said in model_tab.identity(predictor) for said in ("91.2", "0.50", "licence cc-by-nc-sa-4.0"))


def test_of_two_classes_the_first_figure_is_their_question(tmp_path: Path) -> None:
    scores = {"accuracy": 0.912, "tumor_roc_auc": 0.987, "sensitivity": 0.91, "specificity": 0.83}
    for classes, asked in (["notumor", "tumor"], "tumor or not"), (["HGG", "LGG"], "LGG or HGG"):
        text = model_tab.identity(Predictor.load(write_handmade(tmp_path / asked, classes=classes, metrics=scores)))
        assert f"0.987<small>{asked}, on patients" in text and "sensitivity 91.0 %, specificity 83.0 %" in text
        assert "91.2" not in text


def test_what_a_model_is_for_follows_its_classes(tmp_path: Path) -> None:
    def said(*classes: str) -> str:
        return model_tab.intended_use(
            Predictor.load(write_handmade(tmp_path / str(len(classes)), classes=list(classes)))
        )

    assert "whether they show a tumor, and which of 3 kinds" in said("glioma", "meningioma", "notumor", "pituitary")
    assert "which class?" in (grades := said("II", "<b>III", "IV")) and "never whether there is a tumor" in grades
    assert "“No tumor” means" not in grades and "&lt;b&gt;III" in grades
    assert "Anything but tumors" in (binary := said("notumor", "tumor")) and "kinds" not in binary
    assert "and 34 more" in said(*(f"kind {i}" for i in range(42)), "notumor")
    assert "FLAIR only of gliomas" in model_tab.intended_use(Predictor.load(BUNDLED)) and "FLAIR" not in binary


HOSTILE: dict[str, dict[str, Any]] = {
    "summary of other types": {"metrics": {"accuracy": "<img src=x>", "dice": [1, 2]}},
    "summary of numbers that are none": {"metrics": {"accuracy": {"value": 1e400}}},
    "baselines of other types": {"metrics": {"accuracy": 0.5, "baselines": {"majority": 3}}},
    "measured of other types": {"measured": {"classification": {"count": "many"}}},
    "measured without its parts": {"measured": {"classification": None}},
    "measured is empty": {"measured": {"classification": {}, "images": {}}},
    "measured holds no number": {"measured": {"classification": float("nan")}},
    "measured is long": {
        "measured": {"classification": None, "images": {"count": 1, "groups": 1}, "notes": ["x" * 2**21]}
    },
    "measured is a list": {"measured": [1]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_scores_of_other_types_are_one_sentence_on_a_page_that_stands(tmp_path: Path, name: str) -> None:
    changes = dict(HOSTILE[name])
    measured = changes.pop("measured", None)
    folder = write_handmade(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    if measured is not None:
        (folder / "metrics.json").write_text(json.dumps(measured))
    try:
        predictor = Predictor.load(folder)
    except ArtifactError as error:
        assert "could not be read as JSON" in str(error) and "Infinity" in str(error)
        return
    text = model_tab.scores(predictor)
    assert 'role="alert"' in text and "<img src=x" not in text
    assert any(part in text for part in ("is damaged", "could not be read", "not an object", "says too much"))
    assert "handmade" in model_tab.identity(predictor)
    assert build_interface(predictor)


def test_words_of_a_model_are_plain_text_in_every_piece_of_html(tmp_path: Path, phantom_png) -> None:
    """Its name, its classes, and whatever else of its config reaches the page, a report or a table."""
    evil = "=<img src=//evil.example/a.png onerror=x()>${1}"
    network = {"architecture": evil, "trained_on": evil}
    words: dict[str, Any] = {"name": evil, "created": evil, "classifier": network, "segmenter": network}
    classes = [f"{evil}1", f"{evil}2", "notumor", f"{evil}3"]
    folder = write_handmade(
        tmp_path / "m", classes=classes, metrics={"accuracy": 0.5, "baselines": {evil: {"value": 0.1}}}, **words
    )
    predictor = Predictor.load(folder)
    path = phantom_png("glioma", 1)
    view = views.analyze_scan(predictor, read_scan(path), str(path))
    pieces = [model_tab.identity(predictor), model_tab.scores(predictor), views.bars_panel(view)]
    pieces += [views.facts(view, views.settings_of(view)), model_tab.figure_grid(predictor)]
    models = Models(LiveModel(predictor), [folder])
    pieces.append(model_tab.side_by_side(models, models.names, read_scan(path)))
    files = write_report(view, views.settings_of(view), tmp_path)
    pieces += [file.read_text(encoding="utf-8") for file in files if file.suffix == ".html"]
    assert len(pieces) == 7
    for piece in pieces:
        assert "<img src=//" not in piece and "onerror=x()>" not in piece
    assert any("&lt;img src=//" in piece for piece in pieces)
    for row in to_folder(predictor, named([path]), tmp_path / "out", threads=1):
        assert not row.error
    cells = [cell for line in csv.reader((tmp_path / "out/predictions.csv").open(encoding="utf-8")) for cell in line]
    assert not [cell for cell in cells if cell.startswith("=")]
    assert predictor.model_id in {cell.removeprefix("'") for cell in cells}


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_figures_that_are_none_are_not_shown(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m")
    (folder / "figures").mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(model_tab.PNG + b"of another folder")
    (folder / "figures" / "a.png").write_bytes(model_tab.PNG + b"own")
    (folder / "figures" / "b.png").symlink_to(secret)
    (folder / "figures" / "c.png").write_text("<script>")
    text = model_tab.figure_grid(Predictor.load(folder))
    assert text.count("<img") == 1 and "2 more are not shown" in text
    assert base64.b64encode(secret.read_bytes()).decode() not in text


def test_two_models_answer_side_by_side(handmade_artifact: Path, tmp_path: Path, phantom_png) -> None:
    other = write_handmade(tmp_path / "other", name="other", temperature=5.0)
    models = Models(LiveModel(handmade_artifact), [other])
    assert models.names == ["handmade", str(other)]
    text = model_tab.side_by_side(models, models.names, read_scan(phantom_png("glioma", 1)))
    assert text.count('class="banner') == 2 and models.get(str(other)) is models.get(str(other))
    with pytest.raises(ValueError, match="There is no model /etc here"):
        models.get("/etc")
