"""What gives the class away: probes that may not recognise a patient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.data import dataset as data
from brain_mri.data import folders
from brain_mri.evaluation.shortcuts import shortcuts


def test_columns_of_the_tables_are_probes() -> None:
    """A column that goes with the class is one; one that names the patient, is empty or always the same is none."""
    count, per = 60, 4
    group = np.repeat(np.arange(count), per)
    tumor = group % 2 == 0
    draw = np.random.default_rng(1)
    age = np.where(tumor, 60, 30)[::per].repeat(per) + draw.integers(0, 20, count).repeat(per)
    found = lines_of(
        group,
        np.where(tumor, "glioma", "notumor").astype(object),
        {
            "sequence": np.where(tumor, "T1C+", "T2"), "about age": [f"{a:03d}Y" for a in age],
            "about name": [f"name {g}" for g in group], "about site": "here", "about empty": "",
            "about sex": draw.choice(["F", "M", ""], count).repeat(per),
        },
    ).set_index("probe")  # fmt: skip
    assert {name for name in found.index if name.startswith("column")} == {
        "column sequence", "column age", "column name", "column sex",
    }  # fmt: skip
    alarms = found[found["alarm"].astype(bool)]
    assert list(alarms.index) == ["column sequence", "column age"] and alarms["tumor_auc"].min() > 0.9
    assert "column age of the tables" in set(found["title"])


def lines_of(group: np.ndarray, label: np.ndarray, columns: dict[str, Any]) -> pd.DataFrame:
    """The probes of equal gray pictures beside columns of tables."""
    pictures = np.full((len(group), 64, 64), 99, np.uint8)
    table = pd.DataFrame({"group": group.astype(str), "class": label, "source": folders.CLASS_FOLDER, "fold": -1})
    table = table.assign(digest=[str(i) for i in range(len(table))], width=64, height=64, mode="L")
    table = table.assign(mean=1.0, std=1.0, sharpness=1.0, **columns)
    skipped = pd.DataFrame(columns=["path", "reason"])
    dataset = data.Dataset(table, pictures, np.zeros_like(pictures), skipped, 64, pictures, pictures[:, ::2, ::2])
    return shortcuts(dataset, np.arange(len(table)))


def test_probes_do_not_see_patients() -> None:
    """Borders that name the patient but not the class must not count as a shortcut."""
    draw = np.random.default_rng(0)
    count, per = 40, 8
    group = np.repeat(np.arange(count), per)
    label = np.array(["glioma", "meningioma"], object)[group % 2]
    gray = np.clip(draw.integers(0, 255, count)[group] + draw.integers(0, 3, count * per), 0, 255).astype(np.uint8)
    pictures = np.repeat(gray, 64 * 64).reshape(-1, 64, 64)
    table = pd.DataFrame({"group": group.astype(str), "class": label, "source": folders.CLASS_FOLDER, "fold": -1})
    table["digest"] = [str(i) for i in range(len(table))]
    table = table.assign(width=64, height=64, mode="L", mean=1.0, std=1.0, sharpness=1.0)
    skipped = pd.DataFrame(columns=["path", "reason"])
    dataset = data.Dataset(table, pictures, np.zeros_like(pictures), skipped, 64, pictures, pictures[:, ::2, ::2])
    lines = shortcuts(dataset, np.arange(len(table)))
    assert not lines["alarm"].any(), lines.to_string()
    assert lines["majority"].iloc[0] == pytest.approx(0.5)
