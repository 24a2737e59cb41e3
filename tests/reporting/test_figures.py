"""Training curves of runs that stopped early, or never began."""

from __future__ import annotations

import pytest

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.reporting import figures

typed = ArtifactConfig.model_validate


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
