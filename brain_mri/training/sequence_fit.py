"""Fitting what names the sequence (inference/sequence.py) on training slices whose sequence a table or a file states.

Strongly held back, since that is what holds on sources that it has not seen; docs/experiments.md has the figures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from brain_mri.artifact.config import SequenceRule
from brain_mri.classes import NO_TUMOR, SEQUENCES
from brain_mri.data.dataset import Dataset
from brain_mri.inference.runner import run_model
from brain_mri.inference.sequence import chances, named
from brain_mri.training.operating_points import of_each_class

FEWEST = 20  # slices of a sequence; fewer teach nothing
MOST = 300  # slices of a source and sequence: more of the same heads teach little
PART = 256  # slices whose masks and heatmaps are in memory at once
HELD_BACK = 40.0  # C of the regression, for weights that sum to 1
RIGHT = 0.95  # of the validation slices that are called a sequence, this share should show it
LIMITS = np.arange(0.5, 1.0, 0.01)  # above one half no second sequence is as likely
NEVER = 2.0  # a limit that no probability reaches
SHARE = 0.25  # of the slices of a kind: kinds were learned on a sequence that holds as much of two of them


def fit_on_dataset(folder: Path, dataset: Dataset, seed: int) -> SequenceRule | None:
    """The rule for the exported networks in folder; None where fewer than two sequences are known."""
    rng = np.random.default_rng(seed)
    table = dataset.table
    known = {split: _some(table, dataset.rows(split), rng) for split in ("train", "validation")}
    counts = table["sequence"].iloc[known["train"]].value_counts()
    taught = [name for name in SEQUENCES if counts.get(name, 0) >= FEWEST]
    if len(taught) < 2:
        return None
    rows = {split: own[table["sequence"].iloc[own].isin(taught)] for split, own in known.items()}
    rule = fit(_features(folder, dataset, rows["train"]), *_cells(table, rows["train"]))
    if len(rows["validation"]):
        rule = limited(rule, _features(folder, dataset, rows["validation"]), *_cells(table, rows["validation"]))
    else:  # nobody knows from where on it is right
        rule = rule.model_copy(update={"limits": (NEVER,) * len(rule.limits)})
    unknown = np.setdiff1d(dataset.rows("train"), np.flatnonzero(table["sequence"] != ""))
    unknown = rng.permutation(unknown[_kinds(table)[unknown] != ""])[: 4 * MOST]
    looks = named(rule, _features(folder, dataset, unknown)) if len(unknown) else []
    guessed = dict(zip(unknown.tolist(), looks, strict=True))
    return rule.model_copy(update={"kinds_on": kinds_on(table, dataset.rows("train"), guessed)})


def fit(features: np.ndarray, sequences: np.ndarray, weights: np.ndarray) -> SequenceRule:
    """A rule without limits. features (N, F); sequences, str (N,); weights (N,) sum to 1."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    regression = LogisticRegression(C=HELD_BACK, max_iter=2000)
    regression.fit((features - mean) / scale, sequences, sample_weight=weights)
    slopes, start = of_each_class(regression)
    slopes = slopes / scale
    start = start - slopes @ mean
    return SequenceRule(
        sequences=tuple(map(str, regression.classes_)),
        weights=tuple(tuple(float(f"{w:.6g}") for w in row) for row in slopes.tolist()),
        bias=tuple(start.tolist()),
        limits=(0.0,) * len(start),
    )


def limited(rule: SequenceRule, features: np.ndarray, sequences: np.ndarray, weights: np.ndarray) -> SequenceRule:
    """The rule with the least limits from which each sequence is named rightly enough; arguments as of fit."""
    found = chances(rule, features)
    likeliest, surest = found.argmax(axis=1), found.max(axis=1)
    right = np.asarray(rule.sequences)[likeliest] == sequences

    def correct(said: np.ndarray) -> float:
        return float(weights[said] @ right[said] / weights[said].sum()) if said.any() else 0.0

    limits = np.array(
        [
            next((at for at in LIMITS if correct((likeliest == i) & (surest >= at)) >= RIGHT), NEVER)
            for i in range(len(rule.sequences))
        ]
    )
    said = surest >= limits[likeliest]
    chosen = tuple(round(float(limit), 2) for limit in limits)
    measured = {"named": round(float(weights[said].sum()), 4), "right": round(correct(said), 4)}
    return rule.model_copy(update={"limits": chosen, **measured})


def kinds_on(table: pd.DataFrame, rows: np.ndarray, guessed: dict[int, str]) -> tuple[str, ...]:
    """The sequences on which kinds of tumor were learned, "T1C+" first. guessed: of rows that no table tells."""
    kinds, stated = _kinds(table), table["sequence"].to_numpy(str)
    counts = pd.DataFrame(0.0, index=list(SEQUENCES), columns=sorted(set(kinds[rows]) - {""}))
    for kind in counts:
        of_kind = rows[kinds[rows] == kind]
        told, untold = of_kind[stated[of_kind] != ""], of_kind[stated[of_kind] == ""]
        looks = [guessed[row] for row in untold if row in guessed]
        for name in SEQUENCES:
            share = looks.count(name) / len(looks) if looks else 0.0
            counts.loc[name, kind] = ((stated[told] == name).sum() + share * len(untold)) / len(of_kind)
    learned = [name for name in SEQUENCES if (counts.loc[name] >= SHARE).sum() > 1]
    return tuple(sorted(learned, key=lambda name: name != "T1C+"))


def _kinds(table: pd.DataFrame) -> np.ndarray:
    """str (N,): the kind of tumor of each row, "" where it shows none or one of unknown kind."""
    return table["class"].where(table["class"] != NO_TUMOR, "").to_numpy(str)


def _some(table: pd.DataFrame, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most MOST of the rows of each source and sequence, of known sequence."""
    mixed = rng.permutation(rows)
    mixed = mixed[(table["sequence"].iloc[mixed] != "").to_numpy()]
    place = table.iloc[mixed].groupby(["origin", "sequence"]).cumcount().to_numpy()
    return np.sort(mixed[place < MOST])


def _cells(table: pd.DataFrame, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sequences (N,), weights (N,) that sum to 1): sequences weigh the same, and the sources within each."""
    own = table.iloc[rows]
    sizes = own.groupby(["origin", "sequence"])["file"].transform("size")
    sources = own.groupby("sequence")["origin"].transform("nunique")
    weights = (1 / (sizes * sources)).to_numpy(float)
    return own["sequence"].to_numpy(str), weights / weights.sum()


def _features(folder: Path, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    return np.concatenate([run_model(folder, dataset.images[part]).features for part in parts]).astype(np.float64)
