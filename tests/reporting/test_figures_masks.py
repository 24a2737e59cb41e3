"""Slices with nothing outlined, and nothing to show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brain_mri.reporting import figures_masks


def test_case_without_any_outline_is_drawn(tmp_path, made):
    case = made["evaluation"].cases[0]
    blank = replace(case, kind="worst", predicted=np.zeros_like(case.predicted))
    assert figures_masks.cases([case, blank], tmp_path / "c.png") is not None
    assert figures_masks.cases([], tmp_path / "d.png") is None
