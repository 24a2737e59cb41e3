"""Patients beside slices: made-up answers about a data set whose patients are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.artifact.config import DecisionRule
from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.by_patient import by_patient
from brain_mri.evaluation.records import Images, Metrics
from brain_mri.inference.decision import Answers
from brain_mri.reporting import overview

RULE = DecisionRule.model_validate({"classes": CLASSES, "temperature": 1.0, "thresholds": {"abstain": 0.6}})
SIDE = 8


def first(count: int) -> np.ndarray:
    """bool (SIDE, SIDE): so many pixels."""
    return np.arange(SIDE * SIDE).reshape(SIDE, SIDE) < count


def dataset_of(rows: list[tuple[str, str, int]], **more: Any) -> Dataset:
    """rows: (patient, class, pixels that are outlined; -1: nobody outlined it)."""
    patients, names, sizes = (list(column) for column in zip(*rows, strict=True))
    table = pd.DataFrame(
        {
            "patient": patients, "group": patients, "class": names, "origin": "a", "sequence": "",
            "tumor": [name not in ("", NO_TUMOR) for name in names], "duplicate_of": -1, "mask_from": -1,
            "has_mask": [size >= 0 for size in sizes],
        }
        | more
    )  # fmt: skip
    masks = np.stack([255 * first(max(size, 0)).astype(np.uint8) for size in sizes])
    skipped = pd.DataFrame(columns=["path", "reason"])
    return Dataset(table, masks, masks, skipped, SIDE, masks, masks)


def said_of(rows: list[tuple[str, float, int]]) -> Answers:
    """rows: (class that is said, its probability, pixels that are marked); the rest goes to another one."""
    chances, masks = np.zeros((len(rows), len(CLASSES))), np.stack([first(size) for _, _, size in rows])
    for i, (name, chance, _) in enumerate(rows):
        chances[i, CLASSES.index(name)] = chance
        other = "pituitary" if name == NO_TUMOR else NO_TUMOR
        chances[i, CLASSES.index(other)] = 1 - chance
    return Answers(chances, masks.astype(np.float32), masks)


DATA = [
    ("P1", "glioma", 10), ("P1", "glioma", 4), ("P1", NO_TUMOR, 0),
    ("P2", "meningioma", -1), ("P2", "meningioma", -1),
    ("P3", NO_TUMOR, 0), ("P3", NO_TUMOR, 0),
    ("", "glioma", 5),
]  # fmt: skip
SAID = [
    ("glioma", 0.9, 10), (NO_TUMOR, 0.8, 0), (NO_TUMOR, 0.9, 0),
    ("glioma", 0.9, 3), ("meningioma", 0.95, 3),
    (NO_TUMOR, 0.9, 0), ("glioma", 0.55, 2),
    ("glioma", 0.9, 5),
]  # fmt: skip


def test_slices_and_patients_count_differently() -> None:
    found = by_patient(dataset_of(DATA), np.arange(len(DATA)), said_of(SAID), RULE, resamples=50)
    assert found is not None and (found.patients, found.slices) == (3, 7), "the slice of nobody is no patient"
    slices, patients = found.by_slice, found.by_patient
    assert (slices.tumors, slices.free, patients.tumors, patients.free) == (4, 3, 2, 1)
    assert (slices.sensitivity.value, patients.sensitivity.value) == (0.75, 1.0)
    assert (slices.specificity.value, patients.specificity.value) == (pytest.approx(2 / 3), 0.0)
    assert slices.right.value == pytest.approx(4 / 7)
    assert patients.right.value == pytest.approx(2 / 3), "P2: 0.95 outweighs 0.9"
    assert patients.right.count == 3 and patients.answered.value == pytest.approx(1 / 3)
    assert patients.right_answered.value == 1.0 and patients.right_answered.count == 1
    assert patients.tumor_roc_auc.value == 1.0 and found.share_roc_auc.value == pytest.approx(0.5)
    assert slices.dice.value == pytest.approx(0.5) and slices.dice.count == 2
    assert patients.dice.value == pytest.approx(20 / 24) and patients.dice.count == 1
    assert found.volume_error.value == pytest.approx(4 / 14)
    assert patients.sensitivity.low is not None and patients.sensitivity.low <= 1.0


def test_copies_of_a_slice_count_once() -> None:
    """A slice of a class folder, and the same slice once more among the pairs."""
    rows, said = [*DATA[:7], DATA[0]], [*SAID[:7], (NO_TUMOR, 0.9, 0)]
    found = by_patient(dataset_of(rows, duplicate_of=[-1] * 7 + [0]), np.arange(8), said_of(said), RULE, resamples=10)
    assert found is not None and found.slices == 7
    lone = dataset_of(rows, duplicate_of=[-1] * 7 + [0])
    found = by_patient(lone, np.arange(1, 8), said_of(said[1:]), RULE, resamples=10)
    assert found is not None and found.slices == 7, "the slice that it copies is not among these rows"


def test_a_tumor_of_no_class_is_judged_for_being_one_only() -> None:
    rows = [("P1", "", 4), ("P1", "", 4), ("P2", NO_TUMOR, 0), ("P2", "", -1)]
    data = dataset_of(rows, tumor=[True, True, False, False])
    said = said_of([("glioma", 0.9, 4), (NO_TUMOR, 0.9, 0), (NO_TUMOR, 0.9, 0), ("glioma", 0.9, 1)])
    found = by_patient(data, np.arange(4), said, RULE, resamples=10)
    assert found is not None and (found.slices, found.by_patient.right.count) == (3, 1)
    assert found.by_patient.sensitivity.value == 1.0 == found.by_patient.specificity.value


def test_without_patients_there_is_nothing_beside_the_slices() -> None:
    rows = np.arange(len(DATA))
    for column in (["", "P1"] * 4, [f"P{i}" for i in rows], [""] * 8):
        assert by_patient(dataset_of(DATA, patient=column), rows, said_of(SAID), RULE) is None


def test_a_model_that_knows_no_normal_class_is_only_asked_which() -> None:
    rule = DecisionRule.model_validate(RULE.to_json() | {"classes": ["glioma", "meningioma"]})
    said = said_of(SAID)
    said = Answers(np.full((len(SAID), 2), 0.5), said.maps, said.masks)
    found = by_patient(dataset_of(DATA), np.arange(len(DATA)), said, rule, resamples=10)
    assert found is not None and found.by_patient.right.count and not found.by_patient.sensitivity.count
    assert found.share_roc_auc.value is None and found.by_slice.tumor_roc_auc.value is None
    text = overview.overview(Metrics(images=Images(count=8, groups=4), by_patient=found))
    assert "Right class" in text and "Called" not in text and "called a tumor" not in text


def test_the_table() -> None:
    found = by_patient(dataset_of(DATA), np.arange(len(DATA)), said_of(SAID), RULE, resamples=50)
    metrics = Metrics(images=Images(count=8, groups=4), by_patient=found)
    assert Metrics.model_validate(metrics.to_json()) == metrics
    text = overview.overview(metrics)
    assert "By patient, beside by slice" in text and "3 known patients, 7 slices" in text
    assert "4 / 3" in text and "2 / 1" in text and "Marked volume, off by" in text
    bare = replace(dataset_of(DATA), table=dataset_of(DATA).table.assign(has_mask=False))
    less = by_patient(bare, np.arange(len(DATA)), said_of(SAID), RULE, resamples=10)
    assert "Dice" not in overview.overview(metrics.model_copy(update={"by_patient": less}))
