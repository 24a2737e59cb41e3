"""Source by source: the right rows, the right slices to compare with, and what counts as sure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.artifact.config import DecisionRule
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.evaluation import evaluate
from brain_mri.evaluation.by_source import LEAST_FREE, OTHER, by_class, by_source, judged
from brain_mri.evaluation.records import Metrics
from brain_mri.inference.decision import Answers
from brain_mri.reporting import overview
from brain_mri.reporting.overview import of_sources
from tests.helpers.handmade import write_handmade

RULE = {"classes": CLASSES, "temperature": 1.0, "thresholds": {"abstain": 0.6}}
TWO_QUESTIONS = RULE | {"outlined": {"weights": (1.0, 1.0), "bias": 0.0}}


def frame(origin: str, tumors: list[float], free: list[float], sequence: str = "", label: str = "glioma") -> Any:
    """Slices of patients of their own: what is said to be the chance of a tumor, with one and without."""
    chance, tumor = np.array([*tumors, *free]), np.arange(len(tumors) + len(free)) < len(tumors)
    return pd.DataFrame(
        {
            "origin": origin,
            "sequence": sequence,
            "class": np.where(tumor, label, NO_TUMOR),
            "group": [f"{origin} {sequence} {i}" for i in range(len(chance))],
            "tumor": tumor,
            "chance": chance,
            "called": chance > 0.5,
            "sure_free": chance < 0.2,
            "sure_tumor": chance > 0.8,
            "right": ((chance > 0.5) == tumor).astype(float),
            "answered": (abs(chance - 0.5) > 0.3).astype(float),
            "dice": np.where(tumor, chance, np.nan),
        }
    )


def test_shares_are_of_the_slices_that_they_speak_of() -> None:
    found = pd.concat([frame("a", [0.9, 0.6, 0.1, 0.05], [0.1, 0.9]), frame("b", [0.7], [0.3] * LEAST_FREE, "T2")])
    first, second = by_source(found, ["b"]) or []
    assert (first.source, first.left_out, second.source, second.sequence, second.left_out) == (
        "a",
        False,
        "b",
        "T2",
        True,
    )
    assert (first.tumors, first.tumor_groups, first.free, second.free) == (4, 4, 2, LEAST_FREE)
    for name, value, count in (
        ("called_tumor", 0.5, 4),
        ("surely_free", 0.5, 4),
        ("surely_tumor", 0.5, 2),
        ("right", 0.5, 6),
        ("answered", 5 / 6, 6),
        ("right_answered", 2 / 5, 5),
        ("dice", 0.4125, 4),
        ("missed", 0.25, 4),
    ):
        share = getattr(first, name)
        assert share.value == pytest.approx(value) and share.count == count, name
        assert share.low <= share.value <= share.high, name


def test_few_slices_without_a_tumor_are_compared_with_those_of_all_sources() -> None:
    few, many = frame("few", [0.6], [0.9]), frame("many", [0.6], [0.1] * LEAST_FREE)
    first, second = by_source(pd.concat([few, many])) or []
    assert (first.against_all, first.tumor_roc_auc.count) == (True, LEAST_FREE + 1)
    assert first.tumor_roc_auc.value == pytest.approx(LEAST_FREE / (LEAST_FREE + 1))
    assert (second.against_all, second.tumor_roc_auc.count, second.tumor_roc_auc.value) == (False, LEAST_FREE, 1.0)


def test_one_source_in_one_sequence_has_no_table_of_its_own() -> None:
    assert by_source(frame("a", [0.9], [0.1])) is None
    assert len(by_source(pd.concat([frame("a", [0.9], [0.1]), frame("a", [0.9], [0.1], "T1")])) or ()) == 2


def test_further_folders_are_told_by_class_and_never_mixed_with_the_main_rows() -> None:
    main = frame("main", [0.9], [0.2] * LEAST_FREE)
    other = pd.concat([frame("far", [0.7], [0.9], "T1"), frame("far", [0.1], [], "T1", label="")])
    scores = {row.label: row for row in by_class([other], main)}
    assert set(scores) == {"glioma", NO_TUMOR, OTHER} and {row.source for row in scores.values()} == {"far"}
    assert scores["glioma"].tumor_roc_auc.value == pytest.approx(LEAST_FREE / (LEAST_FREE + 1))
    assert scores[OTHER].tumor_roc_auc.value == 0.0 and scores[NO_TUMOR].tumor_roc_auc.value is None


@pytest.mark.parametrize(("rule", "surely"), [(RULE, False), (TWO_QUESTIONS, True)])
def test_a_tumor_whose_kind_is_open_is_a_sure_tumor_where_that_is_asked_by_itself(several, rule, surely) -> None:
    rows = np.flatnonzero(several.table["class"] == NO_TUMOR)[:1]
    said = Answers(np.array([[0.5, 0.3, 0.1, 0.1]]), np.zeros((1, 64, 64)), np.zeros((1, 64, 64), bool))
    found = judged(several, rows, said, DecisionRule.model_validate(rule)).iloc[0]
    assert (found["called"], found["sure_tumor"], found["answered"], found["right"]) == (True, surely, 0, 0)
    assert found["chance"] == pytest.approx(0.9)


def test_a_model_that_knows_no_normal_class_is_not_asked_whether_there_is_a_tumor(several) -> None:
    rule = DecisionRule.model_validate(RULE | {"classes": ["glioma", "meningioma", "pituitary"]})
    count = len(several.table)
    said = Answers(np.full((count, 3), 1 / 3), np.zeros((count, 64, 64)), np.zeros((count, 64, 64), bool))
    found = judged(several, np.arange(count), said, rule)
    assert found[["chance", "called", "sure_free", "sure_tumor"]].isna().all(axis=None) and found["right"].notna().any()
    row = (by_source(found) or [])[0]
    assert row.right.count and not row.called_tumor.count and row.tumor_roc_auc.value is None
    assert [table.title[:10] for table in of_sources([row], "source")] == ["Which kind"]


def test_rows_of_which_nothing_is_known_are_left_out(several) -> None:
    table = several.table.assign(**{"class": "", "tumor": False})
    count = len(table)
    said = Answers(np.full((count, 4), 0.25), np.zeros((count, 64, 64)), np.zeros((count, 64, 64), bool))
    assert judged(replace(several, table=table), np.arange(count), said, DecisionRule.model_validate(RULE)).empty


def test_an_evaluation_of_several_sources_shows_each(several, tmp_path) -> None:
    artifact = load_artifact(write_handmade(tmp_path / "a", training={"left_out": ["lgg"]}))
    whole = replace(several, table=several.table.assign(split="test"))
    metrics = evaluate.evaluate(artifact, whole, baseline=False, sanity=False, resamples=20, also=[whole]).metrics
    rows = {(row.source, row.sequence): row for row in metrics.by_source or ()}
    assert set(rows) == {
        ("data", ""), ("data-2", ""), ("data-2", "T1"), ("data-2", "T2"), ("lgg", "FLAIR"), ("lgg", "T1"), ("web", ""),
    }  # fmt: skip
    assert sum(row.tumors + row.free for row in rows.values()) == len(several.table)
    assert rows["web", ""].right.count == 0 and rows["web", ""].dice.count == 4 and rows["data", ""].dice.count == 0
    assert {row.source for row in rows.values() if row.left_out} == {"lgg"}
    assert Metrics.model_validate(metrics.to_json()) == metrics
    text = overview.overview(metrics)
    for said in ("Is there a tumor? By source", "lgg FLAIR (left out)", "By class of further folders", f"web: {OTHER}"):
        assert said in text
