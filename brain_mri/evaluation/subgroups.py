"""By age, sex, sequence and whatever else tables say of patients: is a model as good for everybody?

    found = by_subgroup(judged(dataset, rows, answers, rule))     # [records.SubgroupScores]

A part of fewer than LEAST patients or groups has no line: its figure would say nothing, and metrics.json, which is
published with a model, names nobody. For the same reason columns that are called as if they named people have none.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from brain_mri.data.about import ABOUT, columns_about, number_in
from brain_mri.evaluation.by_source import scores_of
from brain_mri.evaluation.scores_of_patients import SubgroupScores

LEAST = 5  # groups in a part
MOST = 8  # parts of a column of words: more of them are names, dates or free text
AGES = ((18.0, "under 18"), (40.0, "18 to 39"), (60.0, "40 to 59"), (np.inf, "60 and over"))
_NAMES = re.compile(
    r"(?:^|patient|first|last|family|sur|full)[ _-]?name|physician|doctor|radiologist|reader|rater|operator|technician"
    r"|address|phone|mail|birth|\bdob\b|(?:^|[ _-])(?:id|mrn|ssn|accession)(?:$|[ _-])"
    r"|(?:patient|study|series|case|record|exam)[ _-]?(?:id|no|nr|number)$"
)
_WORDS = {"f": "female", "female": "female", "woman": "female", "w": "female",
          "m": "male", "male": "male", "man": "male"}  # fmt: skip


def by_subgroup(found: pd.DataFrame, *, seed: int = 0, resamples: int = 1000) -> list[SubgroupScores] | None:
    """Of each part of each column that tells at least two apart; None where none does."""
    free = found[~found["tumor"].to_numpy(bool)]
    scores = []
    for column in [*(["sequence"] if "sequence" in found else []), *columns_about(found)]:
        name = column.removeprefix(ABOUT)
        if _NAMES.search(name):
            continue
        for value, part in split_by(found, found[column], name):
            about: dict[str, Any] = {"source": name, "value": value[:40]}
            scores.append(SubgroupScores(**about, **scores_of(part, part, free, seed, resamples)))
    return scores or None


def split_by(found: pd.DataFrame, column: pd.Series, name: str) -> list[tuple[str, pd.DataFrame]]:
    """(part, its rows) of those that are large enough; [] where fewer than two are. column: a value for each row."""
    parts = parts_of(column, name)
    rows = {str(part): found[(parts == part).to_numpy()] for part in parts.cat.categories}
    large = [(part, some) for part, some in rows.items() if some["group"].nunique() >= LEAST]
    return large if len(large) > 1 else []


def parts_of(values: pd.Series, name: str) -> pd.Series:
    """The part that each row is in, as categories in order, none where nothing is known: ages by AGES, other numbers
    in thirds, words as they are; a column of more than MOST words has no parts."""
    text = values.astype(str).str.strip()
    text = text.map(lambda word: _WORDS.get(word.lower(), word)) if name in ("sex", "gender") else text
    words, numbers = sorted(set(text) - {""}), text.map(number_in)
    if name == "age":
        words = [label for _, label in AGES]
        text = numbers.map(lambda age: next((label for limit, label in AGES if age < limit), ""))
    elif len(words) > MOST and numbers[text != ""].notna().all():
        low, high = (float(limit) for limit in np.quantile(numbers.dropna(), [1 / 3, 2 / 3]))
        words = [f"up to {low:g}", f"{low:g} to {high:g}", f"over {high:g}"]
        text = numbers.map(lambda x: "" if np.isnan(x) else words[int(x > low) + int(x > high)])
    elif len(words) > MOST:
        words = []
    return pd.Series(pd.Categorical(text.where(text.isin(words)), words), values.index)
