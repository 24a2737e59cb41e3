"""Limits of picture quality, chosen where answers become wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
