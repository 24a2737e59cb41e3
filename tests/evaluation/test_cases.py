"""Which slices are shown: of different patients, in order."""

from __future__ import annotations

import numpy as np

from brain_mri.evaluation.cases import pick_cases


def test_cases_are_of_different_patients_and_in_order(evaluation, dataset):
    kinds = [case.kind for case in evaluation.cases]
    assert kinds == sorted(kinds, key=["best", "median", "worst"].index)
    best = [case.dice for case in evaluation.cases if case.kind == "best"]
    worst = [case.dice for case in evaluation.cases if case.kind == "worst"]
    assert min(best) >= max(worst)
    for case in evaluation.cases:
        assert case.image.shape == case.truth.shape == case.heatmap.shape == (64, 64)
        assert case.truth.any()


def test_few_cases_are_not_shown_twice():
    picked = pick_cases(np.array([0.9, 0.1]), np.array(["a", "b"], dtype=object))
    assert picked == [("best", 0), ("worst", 1)]
