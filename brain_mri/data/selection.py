"""Which rows of a dataset answer which question, and which slices to show.

`table` is the one of data.Dataset (columns: path, source, class, split, group, official_split, duplicate_of, has_mask).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from brain_mri.classes import NO_TUMOR
from brain_mri.evaluation.baselines import baselines
from brain_mri.evaluation.masks import enlarge

CLASS_FOLDER, MASK_PAIRS = "class folder", "mask pairs"


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


def heat_in_head(heatmap: np.ndarray, head: np.ndarray) -> np.ndarray:
    """A raw heatmap (h, w) as the app shows it: enlarged, cut to the head (bool (S, S)), scaled to 0..1."""
    heat = enlarge(np.nan_to_num(heatmap), head.shape) * head
    return heat / max(float(heat.max()), 1e-12)


def split_baselines(
    dataset: Any,
    test: np.ndarray,
    *,
    train: np.ndarray | None = None,
    classes: Sequence[str],
    predicted: np.ndarray | None = None,
    thumbs: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any] | None:
    """Baselines on the rows `test` after seeing the rows `train` (default: split "train") of the same source.

    None when there is nothing to compare: no test rows, or neither training rows nor two groups to cross-validate.
    """
    table = dataset.table
    source = table["source"].to_numpy()[test]
    if train is None:
        train = np.flatnonzero(table["split"] == "train")
    usable = table["class"].isin(list(classes)).to_numpy() & np.isin(table["source"].to_numpy(), np.unique(source))
    train = np.setdiff1d(train[usable[train]], test)
    if len(test) == 0 or (len(train) == 0 and table["group"].iloc[test].nunique() < 2):
        return None
    both = np.r_[train, test]
    part = table.iloc[both]
    return baselines(
        dataset.images[both],
        np.array([list(classes).index(c) for c in part["class"]]),
        np.arange(len(train)),
        np.arange(len(train), len(both)),
        classes=classes,
        groups=part["group"].to_numpy(dtype=object),
        paths=list(part["path"]),
        thumbs=None if thumbs is None else thumbs[both],
        predicted=predicted,
        seed=seed,
        resamples=resamples,
    )


def pick_cases(dice: np.ndarray, groups: np.ndarray, each: int = 3) -> list[tuple[str, int]]:
    """[("best" | "median" | "worst", position)]: up to `each` of every kind, one slice per patient, by Dice (N,)."""
    each = min(each, max(1, len(set(groups)) // 3))  # with few patients, some of each kind rather than only the best
    order = np.argsort(-np.asarray(dice), kind="stable")
    middle = sorted(range(len(order)), key=lambda rank: abs(rank - (len(order) - 1) / 2))
    picked: list[tuple[str, int]] = []
    seen: set[Any] = set()
    for kind, candidates in (("best", order), ("worst", order[::-1]), ("median", order[middle])):
        found = 0
        for position in candidates:
            if found < each and groups[position] not in seen:
                seen.add(groups[position])
                picked.append((kind, int(position)))
                found += 1
    rank = {"best": 0, "median": 1, "worst": 2}
    return sorted(picked, key=lambda pair: (rank[pair[0]], -dice[pair[1]]))


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
