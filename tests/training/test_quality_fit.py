"""Limits of picture quality, chosen where answers become wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brain_mri.artifact.config import TumorRule
from brain_mri.artifact.folder import load_artifact
from brain_mri.inference.quality import MEASURES, measured
from brain_mri.training import quality_fit
from brain_mri.training.quality_fit import fit_quality, loosest_limit


def test_the_limit_lies_where_too_many_become_wrong() -> None:
    values = np.arange(100.0)
    fine, late = np.zeros(100, bool), values >= 60
    assert loosest_limit([(values, fine)], 5.0, 0.04) == 99.0  # never beyond what was tried
    limit = loosest_limit([(values, fine), (values, late)], 5.0, 0.04)
    assert np.sum(late & (values <= limit)) == 4
    assert loosest_limit([(values, values >= 0)], 50.0, 0.04) == 50.0  # good slices are answered
    assert loosest_limit([], 7.0, 0.04) == 7.0


def test_limits_refuse_hardly_any_good_slice(
    handmade_artifact: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = {"noise": {"noise": (50,)}, "blur": {"blur": (4,)}, "flat": {"JPEG": (5,)}, "ghosts": {"motion": (0.5,)}}
    monkeypatch.setattr(quality_fit, "TRIED", tried)
    rows, rule = dataset.rows("validation"), load_artifact(handmade_artifact).config
    found = fit_quality(handmade_artifact, rule, dataset, rows, 0)
    limits = np.array([getattr(found, name) for name in MEASURES])
    assert all((measured(image) <= limits).all() for image in dataset.images[rows])
    assert found == fit_quality(handmade_artifact, rule, dataset, rows, 0)
    unlabelled = dataset.table.assign(**{"class": "", "tumor": False})  # nothing to be wrong about
    blind = fit_quality(handmade_artifact, rule, type(dataset)(**vars(dataset) | {"table": unlabelled}), rows, 0)
    assert all(getattr(blind, name) <= getattr(found, name) for name in MEASURES)


def test_a_tumor_of_unsure_kind_is_surely_wrong_where_there_is_none(
    handmade_artifact: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chances(squares: np.ndarray, _: Any) -> SimpleNamespace:
        noisy = np.array([measured(square)[0] > 12 for square in squares])
        return SimpleNamespace(
            probabilities=np.where(noisy[:, None], [[0.3, 0.3, 0.1, 0.3]], [[0.05, 0.05, 0.85, 0.05]])
        )

    monkeypatch.setattr(quality_fit, "TRIED", {name: {"noise": (50.0,)} for name in MEASURES})
    monkeypatch.setattr(quality_fit, "run_model", lambda _, squares: squares)
    monkeypatch.setattr(quality_fit, "answers_of", chances)
    rule, rows = load_artifact(handmade_artifact).config, np.flatnonzero(dataset.table["class"] == "notumor")
    two = rule.model_copy(update={"outlined": TumorRule(weights=(1.0, 1.0), bias=0.0)})
    plain, asked = (fit_quality(handmade_artifact, one, dataset, rows, 0).noise for one in (rule, two))
    assert asked < 0.9 * plain, "without two questions it is no answer"
