"""Drawings of odd and of missing data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.reporting import figures, figures_data, figures_masks

typed = ArtifactConfig.model_validate


def test_example_rows_are_of_different_patients(made):
    table = made["dataset"].table
    rows = figures_data.example_rows(table, 4)
    assert len({table["group"].iloc[row] for row in rows}) == len(rows) > 1
    assert set(table["split"].iloc[rows]) == {"test"}


def test_curves_of_a_run_that_was_not_trained_are_left_out(tmp_path, made):
    assert (
        figures.training_curves(typed(made["config"].to_json() | {"training": {"epochs": 0}}), tmp_path / "a.png")
        is None
    )
    config = made["config"].to_json()
    config["training"]["segmenter"] = {"history": {"loss": [1.0], "mask_dice": [0.2]}, "best_epoch": 0}
    assert figures.training_curves(typed(config), tmp_path / "b.png") is not None


@pytest.mark.parametrize(("dice", "drawn"), [([0.7, 0.7, 0.7], ["loss"]), ([0.7, 0.71, 0.7], ["loss", "Dice"])])
def test_the_dice_of_a_u_net_that_stands_still_is_no_curve(made, dice, drawn):
    history = {"loss": [3.0, 2.0, 1.0], "mask_dice": [0.8, 0.81, 0.79], "val_loss": [3.0] * 3, "val_mask_dice": dice}
    config = made["config"].to_json() | {"training": {"classifier": {"history": history, "best_epoch": 2}}}
    assert [title for _, title, *_ in figures.curves_of(typed(config))] == drawn


def test_case_without_any_outline_is_drawn(tmp_path, made):
    case = made["evaluation"].cases[0]
    blank = replace(case, kind="worst", predicted=np.zeros_like(case.predicted))
    assert figures_masks.cases([case, blank], tmp_path / "c.png") is not None
    assert figures_masks.cases([], tmp_path / "d.png") is None
