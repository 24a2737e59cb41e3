"""Which rows of a data set answer which question."""

from __future__ import annotations

from typing import Any

import pandas as pd

from brain_mri.classes import CLASSES
from brain_mri.data import folders, selection


def table(**columns: Any) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    base = {"source": folders.CLASS_FOLDER, "class": "glioma", "has_mask": False, "duplicate_of": -1}
    return pd.DataFrame({key: columns.get(key, [value] * count) for key, value in base.items()})


def test_outlined_slices_count_once() -> None:
    found = table(
        source=[folders.CLASS_FOLDER, folders.MASK_PAIRS, folders.MASK_PAIRS, folders.CLASS_FOLDER, folders.MASK_PAIRS],
        has_mask=[True, True, True, True, False],
        duplicate_of=[-1, 0, 1, -1, -1],
        **{"class": ["glioma", "glioma", "glioma", "notumor", "glioma"]},
    )
    assert selection.mask_rows(found).tolist() == [1, 3]  # 0 repeats 1, 2 is a copy of 1, 4 has no mask
    without_pairs = found[found["source"] == folders.CLASS_FOLDER]
    assert selection.mask_rows(without_pairs).tolist() == [0, 1]


def test_classification_uses_class_folders_and_else_the_pairs() -> None:
    found = table(
        source=[folders.MASK_PAIRS, folders.CLASS_FOLDER, folders.MASK_PAIRS], **{"class": ["glioma", "glioma", ""]}
    )
    assert selection.classification_rows(found, CLASSES).tolist() == [1]
    assert selection.classification_rows(found.iloc[[0, 2]], CLASSES).tolist() == [0]


def test_the_official_rows_are_those_of_the_folders() -> None:
    found = pd.DataFrame({"official_split": ["Testing", "", "Training", "Validation", "Testing"]})
    assert [rows.tolist() for rows in selection.official_rows(found)] == [[2], [0, 4]]
