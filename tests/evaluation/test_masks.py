"""Scores of masks and heatmaps against scikit-learn and small cases by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from brain_mri.evaluation import masks

scored: Any = masks  # None is no number, says mypy


def disc(row: int, column: int, radius: int, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def test_segmentation_scores_by_hand():
    truth = [disc(20, 20, 8), disc(30, 30, 5), disc(40, 20, 3), disc(20, 40, 9), np.zeros((64, 64), bool)]
    predicted = [truth[0], disc(30, 33, 5), np.zeros((64, 64), bool), disc(20, 40, 7), disc(5, 5, 4)]
    labels = ["glioma", "meningioma", "pituitary", "glioma", "notumor"]
    result = scored.segmentation_metrics(predicted, truth, labels, ["a", "b", "c", "a", "d"])
    dices = [sk.f1_score(t.ravel(), p.ravel()) for t, p in zip(truth[:4], predicted[:4], strict=True)]
    ious = [sk.jaccard_score(t.ravel(), p.ravel()) for t, p in zip(truth[:4], predicted[:4], strict=True)]
    assert result.count == 4
    assert result.groups == 3
    assert result.per_image.dice == pytest.approx(dices, abs=1e-4)
    assert result.dice.mean.value == pytest.approx(np.mean(dices))
    assert result.dice.median.value == pytest.approx(np.median(dices))
    assert result.iou.mean.value == pytest.approx(np.mean(ious))
    assert result.missed.value == 0.25
    assert result.hd95.undefined == 1
    assert result.per_image.hd95[0] == 0
    assert result.per_image.hd95[2] is None
    assert result.by_class["glioma"].dice.mean.value == pytest.approx((dices[0] + dices[3]) / 2)
    assert sum(row.count for row in result.by_size) == 4
    assert result.tumor_free.count == 1
    assert result.tumor_free.false_positive.value == 1.0
    json.dumps(result.to_json(), allow_nan=False)


def test_empty_masks_do_not_flatter_the_mean():
    """Ten tumor-free slices that are rightly left empty must not raise Dice."""
    truth = [disc(20, 20, 8)] + [np.zeros((64, 64), bool)] * 10
    predicted = [disc(20, 26, 8)] + [np.zeros((64, 64), bool)] * 10
    result = scored.segmentation_metrics(predicted, truth, ["glioma"] + ["notumor"] * 10, range(11))
    assert result.dice.mean.value < 0.8
    assert result.tumor_free.false_positive.value == 0.0
    assert result.tumor_free.mean_fraction_when_drawn is None
    nothing = scored.segmentation_metrics(predicted[1:], truth[1:], ["notumor"] * 10, range(10))
    assert nothing.count == 0
    assert nothing.dice.mean.value is None
    json.dumps(nothing.to_json(), allow_nan=False)
    none = scored.segmentation_metrics([], [], [], [])
    assert none.tumor_free is None
    json.dumps(none.to_json(), allow_nan=False)


def test_hd95_uses_the_spacing():
    truth, predicted = [disc(30, 30, 8)], [disc(30, 36, 8)]
    one = scored.segmentation_metrics(predicted, truth, ["glioma"], ["a"])
    two = scored.segmentation_metrics(predicted, truth, ["glioma"], ["a"], spacings=[(2.0, 2.0)])
    assert two.hd95.mean.value == pytest.approx(2 * one.hd95.mean.value)


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="belong together"):
        scored.segmentation_metrics([disc(1, 1, 1)], [], [], [])


def test_pointing_game_and_energy_by_hand():
    mask = disc(32, 32, 8)
    inside, outside, near = np.zeros((3, 64, 64), np.float32)
    inside[32, 32], inside[5, 5] = 3, 1
    outside[5, 5] = 1
    near[32, 42] = 1  # two pixels outside the lesion's edge; 5 % of 64 is 3.2
    maps = [inside, outside, near, np.zeros((64, 64), np.float32)]
    result = scored.explanation_metrics(maps, [mask] * 4, ["glioma", "glioma", "pituitary", "pituitary"], range(4))
    assert result.pointing_game.value == 0.25
    assert result.pointing_game_tolerant.value == 0.5
    assert result.energy_inside.value == pytest.approx(0.75 / 4)
    assert result.empty == 1
    assert result.chance == pytest.approx(mask.mean())
    assert result.by_class["glioma"].energy_inside.value == pytest.approx(0.375)
    json.dumps(result.to_json(), allow_nan=False)


def test_small_heatmaps_are_enlarged_and_slices_without_lesion_left_out():
    heat = np.zeros((8, 8), np.float32)
    heat[2, 5] = 1  # its centre is at pixel (20, 44) of 64
    masks = [disc(20, 44, 10), np.zeros((64, 64), bool)]
    result = scored.explanation_metrics([heat, heat], masks, ["glioma", "notumor"], ["a", "b"])
    assert result.count == 1
    assert result.pointing_game.value == 1.0
    assert result.energy_inside.value > 0.8
    heads = [disc(32, 32, 30)] * 2
    narrower = scored.explanation_metrics([heat, heat], masks, ["glioma", "notumor"], ["a", "b"], heads=heads)
    assert narrower.chance > result.chance


def test_uniform_heat_scores_chance():
    mask, head = disc(32, 32, 8), disc(32, 32, 30)
    row = scored.explanation_metrics([head.astype(np.float32)], [mask], ["glioma"], ["a"], heads=[head])
    assert row.energy_inside.value == pytest.approx(row.chance)
