"""Which rows of a dataset answer which question.

`table` is the one of data.Dataset (columns: path, source, class, split, group, official_split, duplicate_of, has_mask).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from brain_mri.classes import NO_TUMOR
from brain_mri.data.folders import CLASS_FOLDER, MASK_PAIRS


def classification_rows(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Row numbers to measure classification on: the class folders, or the mask pairs where there is nothing else.

    The mask pairs are the class folders' own slices once more, so counting both would count those patients twice.
    """
    known = table["class"].isin(list(classes)).to_numpy()
    folders = known & (table["source"] == CLASS_FOLDER).to_numpy()
    return np.flatnonzero(folders if folders.any() else known)


def mask_rows(table: pd.DataFrame) -> np.ndarray:
    """Row numbers to measure masks and heatmaps on: outlined slices once each, and the tumor-free class folder."""
    has = table["has_mask"].to_numpy(dtype=bool)
    free = (table["class"] == NO_TUMOR).to_numpy()
    pairs = (table["source"] == MASK_PAIRS).to_numpy()
    outlined = has & ~free & (pairs if (has & pairs & ~free).any() else ~pairs)
    # A copy inside the same set would count twice.
    here = set(table.index[outlined])
    copy = np.array([d in here for d in table["duplicate_of"]], dtype=bool)
    return np.flatnonzero((outlined & ~copy) | (has & free))


def known_sources(table: pd.DataFrame) -> list[str]:
    """Data sets that the rows come from, told by patient ids and file names: "phantoms", or "figshare", "kaggle"."""
    pairs, files, patients = table["source"] == MASK_PAIRS, table["path"].astype(str), table["patient"].astype(str)
    if patients.str.startswith("phantom-").any():
        return ["phantoms"]  # drawn ones imitate the names of the others
    found = {
        "figshare": bool((pairs & (table["fold"] >= 0) & patients.str.match(r"(?:MR)?\d{5,}[A-Z]?$")).any()),
        "kaggle": bool((~pairs & files.str.contains(r"(?:Tr|Te)-(?:gl|me|no|pi)[A-Za-z]*_\d+\.jpg$")).any()),
    }
    return [name for name, here in found.items() if here]


def official_rows(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, test rows) of the folders' own Training/Testing split; empty where there is none."""
    official = table["official_split"].to_numpy()
    return np.flatnonzero(official == "Training"), np.flatnonzero(official == "Testing")


def balanced_rows(table: pd.DataFrame, rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most `most` of these row numbers whose answer is known, drawn so that every source and class counts the same.

    Rows of a tumor of unknown kind are a class of their own.
    """
    part = table.iloc[rows]
    known = ((part["class"] != "") | part["tumor"]).to_numpy(bool)
    rows, part = rows[known], part[known]
    order = np.random.default_rng(seed).permutation(len(rows))
    turn = part.iloc[order].groupby(["origin", "class"]).cumcount().to_numpy()  # one of each, then another of each
    return np.sort(rows[order[np.argsort(turn, kind="stable")][:most]])
