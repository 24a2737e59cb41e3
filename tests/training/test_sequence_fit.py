"""What names the sequence, fitted on slices whose sequence is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.inference.sequence import named
from brain_mri.training import sequence_fit


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, sequences, weights) of three sequences, of which T1 and T1C+ overlap."""
    rng = np.random.default_rng(seed)
    sequences = rng.choice(["T1", "T1C+", "T2"], count, p=[0.1, 0.1, 0.8])
    middle = {"T1": (30.0, 0.0), "T1C+": (31.0, 0.0), "T2": (30.0, 0.2)}
    features = np.array([middle[name] for name in sequences]) + rng.normal(0, (0.5, 0.02), (count, 2))
    shares = pd.Series(sequences).map(pd.Series(sequences).value_counts()).to_numpy()
    return features, sequences, 1 / shares / 3


def test_what_overlaps_is_named_only_where_it_is_sure() -> None:
    rule = sequence_fit.limited(sequence_fit.fit(*drawn(2000, 0)), *drawn(2000, 1))
    features, sequences, weights = drawn(2000, 2)
    found = np.array(named(rule, features))
    said = found != ""
    right = (weights * (found == sequences))[said].sum() / weights[said].sum()
    assert right > 0.93 and (found == "T2").sum() == pytest.approx((sequences == "T2").sum(), rel=0.05)
    assert 0 < (found == "T1C+").sum() < (sequences == "T1C+").sum(), "some lie too near to T1"
    assert rule.right >= sequence_fit.RIGHT and 0.7 < rule.named < 1


def test_two_sequences_and_one_that_is_never_right() -> None:
    features, sequences, weights = drawn(1000, 0)
    two = sequences != "T1"
    rule = sequence_fit.fit(features[two], sequences[two], weights[two] / weights[two].sum())
    assert named(rule, features[two]) == sequences[two].tolist()
    never = sequence_fit.limited(rule, features[two], np.where(sequences[two] == "T2", "T1C+", "T2"), weights[two])
    assert named(never, features) == [""] * len(features) and never.named == 0


def test_kinds_were_learned_where_two_of_them_are_common() -> None:
    rows = [("glioma", "T1C+")] * 6 + [("meningioma", "")] * 8 + [("glioma", "FLAIR")] * 6 + [("glioma", "T1")] * 2
    table = pd.DataFrame([*rows, ("meningioma", "T2"), ("notumor", "T2")], columns=["class", "sequence"])
    every = np.arange(len(table))
    looks = {row: "T1C+" for row in range(6, 12)}
    assert sequence_fit.kinds_on(table, every, looks) == ("T1C+",)
    both = table.assign(sequence=np.where(every % 2, "T1", "T1C+"))
    assert sequence_fit.kinds_on(both, every, {}) == ("T1C+", "T1")
    assert sequence_fit.kinds_on(table, every[-1:], {}) == ()


def test_the_rule_of_a_data_set(dataset: Any, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_fit, "FEWEST", 3)
    table = dataset.table
    assert sequence_fit.fit_on_dataset(handmade_artifact, dataset, 0) is None, "no table says any"
    shown = table["class"].map({"glioma": "T1C+", "pituitary": "T1C+", "notumor": "T2"}).fillna("")
    rule = sequence_fit.fit_on_dataset(handmade_artifact, replace(dataset, table=table.assign(sequence=shown)), 0)
    assert rule is not None and set(rule.sequences) == {"T1C+", "T2"} and len(rule.weights[0]) == 3
    assert rule.kinds_on == ("T1C+",) and rule.right >= sequence_fit.RIGHT and rule.named > 0
    taught = shown.where(table["split"] == "train", "")
    rule = sequence_fit.fit_on_dataset(handmade_artifact, replace(dataset, table=table.assign(sequence=taught)), 0)
    assert rule is not None and set(rule.limits) == {sequence_fit.NEVER}, "no validation slice says when it is right"
    one = replace(dataset, table=table.assign(sequence="T1"))
    assert sequence_fit.fit_on_dataset(handmade_artifact, one, 0) is None
