"""Answers about spoilt scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.data.selection import balanced_rows
from brain_mri.evaluation.degraded import is_right, scan_of
from brain_mri.imaging.degrade import STEPS
from brain_mri.reporting import tables


def test_one_record_for_each_way_and_severity(evaluation: Any, dataset: Any) -> None:
    found = evaluation.metrics.degraded
    assert [(row.kind, row.severity) for row in found] == [("", 0.0), *STEPS]
    assert {row.count for row in found} == {len(dataset.rows("test"))}
    assert found[0].right.value > 0 and found[0].refused.value == 0  # no limits
    answered = [row for row in found if row.answered.value]
    assert answered and found[0].right != found[3].right
    for row in answered:
        expected = row.answered.value * (1 - row.right_answered.value)
        assert row.sure_and_wrong.value == pytest.approx(expected)
    table = tables.degraded(evaluation.metrics)
    assert table is not None and [row[0] for row in table.rows][:2] == ["As they are", "noise, 10"]


def test_what_counts_as_right() -> None:
    assert is_right("glioma", "glioma", True) and not is_right("pituitary", "glioma", True)
    assert is_right("glioma", "", True) and not is_right("notumor", "", True)
    assert is_right("notumor", "notumor", False) and not is_right("glioma", "notumor", False)


def test_sources_and_classes_count_the_same() -> None:
    names = ["a"] * 50 + ["b"] * 10 + ["c"] * 10
    table = pd.DataFrame({"origin": names, "class": "glioma", "tumor": True})
    table.loc[60:, ["class", "tumor"]] = "", False  # nothing known
    rows = balanced_rows(table, np.arange(70), 16, 0)
    assert len(set(rows)) == 16 and np.bincount(rows // 50, minlength=2).tolist() == [8, 8]
    assert not (rows >= 60).any() and np.array_equal(rows, balanced_rows(table, np.arange(70), 16, 0))
    assert len(balanced_rows(table, np.arange(60, 70), 16, 0)) == 0


def test_a_row_whose_file_has_gone_is_its_square(dataset: Any) -> None:
    assert not np.array_equal(scan_of(dataset, 0).image, dataset.images[0])
    gone = type(dataset)(**vars(dataset) | {"table": dataset.table.assign(path="/nowhere.png")})
    assert np.array_equal(scan_of(gone, 0).image, dataset.images[0])
