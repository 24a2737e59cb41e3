"""Parts of a column: the right ones, none that names somebody, and figures of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.classes import NO_TUMOR
from brain_mri.data.about import ABOUT
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation import evaluate
from brain_mri.evaluation.records import Images, Metrics
from brain_mri.evaluation.subgroups import LEAST, by_subgroup, parts_of
from brain_mri.reporting import overview


def found_of(groups: int = 40, **columns: list[str]) -> pd.DataFrame:
    """Two slices of each group, one with a tumor that is called one in the first half only."""
    group = np.repeat(np.arange(groups), 2)
    tumor = np.tile([True, False], groups)
    called = tumor & (group < groups // 2)
    frame = pd.DataFrame(
        {
            "origin": "a", "sequence": "", "class": np.where(tumor, "glioma", NO_TUMOR), "patient": "",
            "group": group.astype(str), "tumor": tumor, "chance": called.astype(float), "called": called,
            "sure_free": ~called, "sure_tumor": called, "right": (called == tumor).astype(float), "answered": 1.0,
            "dice": np.where(tumor, called.astype(float), np.nan),
        }
    )  # fmt: skip
    return frame.assign(**{ABOUT + name: np.repeat(values, 2) for name, values in columns.items()})


def test_each_part_has_its_own_figures() -> None:
    rows = by_subgroup(found_of(sex=["F"] * 20 + ["m"] * 20, age=["0" + str(20 + i) + "Y" for i in range(40)]))
    scores = {(row.source, row.value): row for row in rows or ()}
    assert list(scores) == [("sex", "female"), ("sex", "male"), ("age", "18 to 39"), ("age", "40 to 59")]
    assert [row.called_tumor.value for row in scores.values()] == [1.0, 0.0, 1.0, 0.0]
    assert scores["sex", "female"].tumors == 20 == scores["sex", "female"].tumor_groups
    metrics = Metrics(images=Images(count=80, groups=40), by_subgroup=rows)
    assert Metrics.model_validate(metrics.to_json()) == metrics
    text = overview.overview(metrics)
    assert "Is there a tumor? By subgroup" in text and "sex: female" in text and "age: 40 to 59" in text


def test_no_part_names_anybody() -> None:
    names = [f"Name {i}" for i in range(40)]
    few = ["x"] * (40 - LEAST + 1) + ["y"] * (LEAST - 1)
    assert by_subgroup(found_of(name=names, site=few, empty=[""] * 40, same=["x"] * 40)) is None
    doctors, numbers = ["House", "Who"] * 20, [str(100200 + i) for i in range(40)]
    people: dict[str, Any] = dict.fromkeys(("name", "patient_name", "physician", "reader 1"), doctors)
    people |= dict.fromkeys(("year of birth", "mrn", "case_id", "studyid", "id"), numbers)
    assert by_subgroup(found_of(**people)) is None
    others = ("steroid", "fluid", "grade", "scanner_name", "number of lesions")
    some: dict[str, Any] = dict.fromkeys(others, doctors)
    assert tuple(row.source for row in (by_subgroup(found_of(**some)) or [])[::2]) == others
    enough = by_subgroup(found_of(site=["x"] * (40 - LEAST) + ["y"] * LEAST)) or []
    assert [row.value for row in enough] == ["x", "y"]


def test_the_sequence_is_a_column_too() -> None:
    rows = by_subgroup(found_of().assign(sequence=np.repeat(["T1", "T2"], 40)))
    assert [(row.source, row.value) for row in rows or ()] == [("sequence", "T1"), ("sequence", "T2")]


@pytest.mark.parametrize(
    ("name", "values", "parts"),
    [
        ("age", ["17", "18", "39", "40", "6M", "60", "", "old"],
         ["under 18", "18 to 39", "18 to 39", "40 to 59", "under 18", "60 and over", None, None]),
        ("gender", ["Female", "M", "w", ""], ["female", "male", "female", None]),
        ("dose", [str(i) for i in range(9)], ["up to 2.66667"] * 3 + ["2.66667 to 5.33333"] * 3 + ["over 5.33333"] * 3),
        ("grade", ["1", "2", "2", ""], ["1", "2", "2", None]),
        ("note", [f"word {i}" for i in range(9)], [None] * 9),
    ],
)  # fmt: skip
def test_parts(name: str, values: list[str], parts: list[str | None]) -> None:
    found = parts_of(pd.Series(values), name)
    assert [None if pd.isna(part) else part for part in found] == parts


def test_an_evaluation_has_patients_and_subgroups(several: Dataset, handmade_artifact: Path) -> None:
    table = several.table
    sex = np.where(pd.factorize(table["group"])[0] % 2 == 0, "F", "M")
    whole = replace(several, table=table.assign(split="test", **{ABOUT + "sex": sex}))
    metrics = evaluate.evaluate(handmade_artifact, whole, baseline=False, sanity=False, resamples=20).metrics
    assert metrics.by_patient and metrics.by_patient.patients == table.loc[table["patient"] != "", "patient"].nunique()
    assert [(row.source, row.value) for row in metrics.by_subgroup or ()][-2:] == [("sex", "female"), ("sex", "male")]
    assert Metrics.model_validate(metrics.to_json()) == metrics
