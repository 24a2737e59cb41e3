"""The Model tab without a browser: what a model without figures says, and what a measured one shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_mri.imaging.read import read_scan
from brain_mri.inference.live_model import LiveModel, Models
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import model_tab
from tests.helpers.handmade import write_handmade


def test_a_model_without_figures_says_how_to_get_them(handmade_artifact: Path) -> None:
    predictor = Predictor.load(handmade_artifact)
    assert "came without figures" in model_tab.scores(predictor) and "handmade" in model_tab.identity(predictor)
    assert "came without figures" in model_tab.figure_grid(predictor)


def test_the_scores_of_a_config_stand_beside_the_baselines(tmp_path: Path) -> None:
    accuracy = {"value": 0.912, "low": 0.88, "high": 0.94}
    scores = {"accuracy": accuracy, "dice": 0.5, "baselines": {"majority": {"value": 0.31}}}
    predictor = Predictor.load(write_handmade(tmp_path / "m", metrics=scores))
    text = model_tab.scores(predictor)
    assert "0.912 [0.880, 0.940]" in text and "0.310" in text and "Majority class" in text
    assert "91.2" in model_tab.identity(predictor) and "0.50" in model_tab.identity(predictor)


def test_two_models_answer_side_by_side(handmade_artifact: Path, tmp_path: Path, phantom_png) -> None:
    other = write_handmade(tmp_path / "other", name="other", temperature=5.0)
    models = Models(LiveModel(handmade_artifact), [other])
    assert models.names == ["handmade", str(other)]
    text = model_tab.side_by_side(models, models.names, read_scan(phantom_png("glioma", 1)))
    assert text.count('class="banner') == 2 and models.get(str(other)) is models.get(str(other))
    with pytest.raises(ValueError, match="There is no model /etc here"):
        models.get("/etc")
