"""Train, validation and test, and folds, that never cut a group.

A group is everything that may show the same patient or the same slice (duplicates.group_names). All splits depend on
the names of the groups and the seed only: neither the order of the files nor a renamed folder changes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from brain_mri.data.folders import DataError

SPLITS = ("train", "validation", "test")


def _strata(table: pd.DataFrame) -> pd.DataFrame:
    """Group x (source, class) counts, of each origin and sequence where there are several; sorted by name."""
    columns = ["source", "class", *(name for name in ("origin", "sequence") if name in table)]
    counts = pd.crosstab(table["group"], [table[name] for name in columns])
    return counts.sort_index(axis=0).sort_index(axis=1)


def _shuffled(names: pd.Index, seed: int) -> np.ndarray:
    """Positions in an order that the seed decides for each name by itself, so that a new group moves no other."""
    keys = [hashlib.sha256(f"{seed}|{name}".encode()).hexdigest() for name in names]
    return np.argsort(np.array(keys), kind="stable")


def split_groups(
    table: pd.DataFrame, seed: int = 0, fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
) -> pd.Series:
    """ "train", "validation" or "test" for each row of table, by group, stratified.

    table: columns group, source, class and, where known, origin and sequence.

    Groups are dealt in shuffled order, the large ones first, each to the part that lacks most of its classes; a class
    with at least three groups is in all three parts. Raises DataError when there are fewer groups than parts.
    """
    parts = [i for i, fraction in enumerate(fractions) if fraction > 0]
    counts = _strata(table)
    if len(counts) < len(parts):
        raise DataError(
            f"The data falls into only {len(counts)} group{'s' * (len(counts) != 1)} of patients or copies; "
            f"a split into {len(parts)} parts needs at least {len(parts)}."
        )
    share = np.array(fractions, float) / sum(fractions)
    weights = (counts / counts.sum(axis=0)).to_numpy()  # share of each class that a group holds
    order = _shuffled(counts.index, seed)
    order = order[np.argsort(-np.floor(50 * weights[order].max(axis=1)), kind="stable")]  # only the large ones go first
    sizes = counts.sum(axis=1).to_numpy()
    weights = np.column_stack([weights, 0.02 * sizes / sizes.sum()])  # size decides where the classes do not
    goal = np.outer(share, np.append(np.ones(weights.shape[1] - 1), 0.02))
    filled = np.zeros_like(goal)
    chosen = np.zeros(len(counts), np.int64)
    for group in order:
        lack = [(weights[group] * (goal[i] - filled[i])).sum() / share[i] for i in parts]
        chosen[group] = best = parts[int(np.argmax(np.round(lack, 12)))]
        filled[best] += weights[group]
    holds = pd.crosstab(table["group"], [table["source"], table["class"]]).loc[counts.index].to_numpy() > 0
    _spread(chosen, holds, parts, [int(group) for group in order[np.argsort(sizes[order], kind="stable")]])
    by_group = pd.Series([SPLITS[i] for i in chosen], index=counts.index)
    return table["group"].map(by_group).rename("split")


def _spread(chosen: np.ndarray, holds: np.ndarray, parts: list[int], order: list[int]) -> None:
    """Move groups to parts, in place, that lack a class although it has groups enough: many small sources fill each
    part by chance. chosen (G,): the part of each; holds bool (G, C): which classes it has; order: of the first choice.
    """
    for name in range(holds.shape[1]):
        for part in parts:
            own = [group for group in order if holds[group, name]]
            if len(own) < len(parts) or part in chosen[own]:
                continue
            for group in own:  # one that is missed nowhere
                rest = (chosen == chosen[group]) & (np.arange(len(chosen)) != group)
                if holds[rest][:, holds[group]].any(axis=0).all():
                    chosen[group] = part
                    break


def leave_out(table: pd.DataFrame, origins: Sequence[str]) -> pd.Series:
    """The split of table, but whatever is of these sources, or of the same patient or cluster, is "test".

    Raises DataError for a source that the table does not have, and when none is left to learn from.
    """
    known = sorted(set(table["origin"]))
    for name in origins:
        if name not in known:
            raise DataError(f"There is no source {name!r} to leave out; the data has {', '.join(known)}.")
    if not set(known) - set(origins):
        raise DataError(f"No source is left to learn from: the data has only {', '.join(known)}.")
    groups = table.loc[table["origin"].isin(list(origins)), "group"]
    return table["split"].mask(table["group"].isin(groups), "test")


def split_official(table: pd.DataFrame, seed: int = 0, validation: float = 0.15) -> pd.Series:
    """The Training/Testing folders as they are: Testing is the test split, validation is carved from Training by group.

    This is the split that leaks; it exists to show by how much. Mask pairs have no official side and go by group as in
    split_groups. Raises DataError when there is no Training or no Testing folder.
    """
    official = table["official_split"]
    for side in ("Training", "Testing"):
        if not (official == side).any():
            raise DataError(f"The official split was asked for, but the data has no {side} folder.")
    split = split_groups(table, seed)
    training = official == "Training"
    if (official == "Validation").any():
        split[training], split[official == "Validation"] = "train", "validation"
    else:
        split[training] = split_groups(table[training], seed, (1 - validation, validation, 0.0))
    split[official == "Testing"] = "test"
    return split


def folds(table: pd.DataFrame, k: int = 5, seed: int = 0) -> pd.Series:
    """Fold 0..k-1 of each row, by group, stratified by class.

    Where the table states the authors' own folds (column fold, numbers of exactly k folds) all rows of such a group get
    theirs; the other groups are dealt with scikit-learn's StratifiedGroupKFold. Raises DataError for too few groups.
    """
    if not 2 <= k <= table["group"].nunique():
        raise DataError(f"{k} folds need at least 2 folds and as many groups; there are {table['group'].nunique()}.")
    result = pd.Series(-1, index=table.index, name="fold", dtype=np.int64)
    stated = sorted(set(table["fold"]) - {-1})
    if len(stated) == k:
        result = table["fold"].map({fold: i for i, fold in enumerate(stated)} | {-1: -1}).astype(np.int64)
    rest = table[result == -1].sort_values(["group", "source", "class", "digest"])
    if rest["group"].nunique() >= k:
        kinds = rest["source"] + "/" + rest["class"]
        if (kinds.value_counts() < k).all():  # too few of each to be dealt by kind
            kinds = pd.Series("any", kinds.index)
        dealer = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
        for fold, (_, rows) in enumerate(dealer.split(rest, kinds, rest["group"])):
            result[rest.index[rows]] = fold
    else:
        for place, group in enumerate(sorted(rest["group"].unique())):
            result[rest.index[rest["group"] == group]] = place % k
    return result


def rotated(table: pd.DataFrame, count: int, seed: int = 0) -> list[pd.Series]:
    """The split of table, and count - 1 others with the same test part that each validate on groups of their own.

    For the networks of an ensemble: each has an honest validation part, and between them they learn from everything
    but the test part. Raises DataError when there are too few groups for that.
    """
    splits = [table["split"]]
    unused = table["split"] == "train"
    for member in range(1, count):
        share = float((table["split"] == "validation").sum() / unused.sum())
        if not 0 < share <= 1:
            raise DataError(f"There are too few groups for {count} networks that each validate on groups of their own.")
        dealt = split_groups(table[unused], seed + member, (1 - share, share, 0.0))
        own = table["split"].replace("validation", "train")
        own[dealt.index[dealt == "validation"]] = "validation"
        splits.append(own)
        unused &= own != "validation"
    return splits
