"""Intervals over groups: they cover the truth, and equal a loop over the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brain_mri.evaluation.bootstrap import Bootstrap


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Clustered coin flips with a known rate: the cluster bootstrap covers it, one over images does not."""
    rng = np.random.default_rng(1)
    cluster, single = 0, 0
    for trial in range(120):
        groups = np.repeat(np.arange(40), 8)
        hits = rng.random(len(groups)) < np.repeat(rng.beta(1.5, 0.5, 40), 8)  # mean 0.75, patients differ
        for grouping in (groups, np.arange(len(groups))):
            row: Any = Bootstrap(grouping, resamples=200, seed=trial).ratio(hits, np.ones(len(hits)))
            inside = row.low <= 0.75 <= row.high
            cluster, single = (cluster + inside, single) if grouping is groups else (cluster, single + inside)
    assert cluster / 120 > 0.88
    assert single / 120 < 0.75


def test_missing_group_names_count_as_groups_of_one():
    assert Bootstrap(["a", "a", "", "", None, float("nan")]).groups == 5
    assert Bootstrap([]).groups == 0


def test_weighted_median_equals_a_loop():
    values = np.round(np.random.default_rng(7).random(41), 1)
    values[5] = np.nan
    boot = Bootstrap(np.arange(41) // 3, resamples=50, seed=0)
    drawn = []
    for weights in boot.weights.astype(int):
        sample = np.repeat(values, weights[boot.codes])
        sample = np.sort(sample[np.isfinite(sample)])
        drawn.append(sample[(len(sample) - 1) // 2])
    row = boot.median(values)
    assert row.value == np.nanmedian(values)
    assert [row.low, row.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
