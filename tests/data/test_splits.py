"""Splits and folds of tables: no group is cut, shares are kept, the order of the rows does not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brain_mri.classes import CLASSES
from brain_mri.data import folders, splits


def _table(groups: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    rows = []
    for g in range(groups):
        label = CLASSES[draw.integers(4)]
        rows += [(f"g{g}", label, folders.CLASS_FOLDER, f"{g}-{i}") for i in range(1 + draw.geometric(0.15))]
    table = pd.DataFrame(rows, columns=["group", "class", "source", "digest"])
    return table.assign(fold=-1, official_split="")


@pytest.mark.parametrize("seed", range(6))
def test_split_shares_are_close_and_classes_complete(seed: int) -> None:
    table = _table(150, seed)
    split = splits.split_groups(table, seed)
    shares = pd.crosstab(table["class"], split, normalize="index")
    assert np.abs(shares["train"].to_numpy() - 0.7).max() < 0.06
    assert (shares.to_numpy() > 0.08).all()
    assert table.assign(split=split).groupby("group")["split"].nunique().max() == 1


def test_many_small_sources_leave_no_part_without_a_class() -> None:
    for seed in range(40):
        draw = np.random.default_rng(seed)
        table = _table(int(draw.integers(8, 40)), seed)
        place = pd.DataFrame({"origin": draw.choice(list("abcd"), 40), "sequence": draw.choice(["", "T1", "T2"], 40)})
        table[place.columns] = place.loc[table["group"].str[1:].astype(int)].to_numpy()
        split = splits.split_groups(table, seed)
        assert table.assign(split=split).groupby("group")["split"].nunique().max() == 1
        assert split.equals(splits.split_groups(table.sample(frac=1, random_state=0), seed).loc[table.index])
        groups = table.groupby("class")["group"].nunique()
        enough = table["class"].isin(groups.index[groups >= 3])
        assert split[enough].groupby(table["class"]).nunique().eq(3).all()


def test_split_needs_as_many_groups_as_parts() -> None:
    table = _table(2, 0)
    with pytest.raises(folders.DataError, match="only 2 groups"):
        splits.split_groups(table)
    assert set(splits.split_groups(table, fractions=(0.5, 0.5, 0.0))) == {"train", "validation"}


def test_every_network_of_an_ensemble_validates_on_groups_of_its_own() -> None:
    table = _table(60, 5).assign(split=lambda t: splits.split_groups(t, 5))
    found = splits.rotated(table, 3, 5)
    assert found[0].equals(table["split"])
    validated: set[str] = set()
    for split in found:
        assert ((split == "test") == (table["split"] == "test")).all()
        groups = {part: set(table.loc[split == part, "group"]) for part in splits.SPLITS}
        assert not groups["train"] & groups["validation"] and all(groups.values())
        assert not groups["validation"] & validated
        validated |= groups["validation"]
    with pytest.raises(folders.DataError, match="too few groups"):
        splits.rotated(table, 30, 5)


def test_folds_keep_groups_and_use_the_authors_where_stated() -> None:
    table = _table(80, 2)
    fold = splits.folds(table, 5, seed=1)
    assert set(fold) == set(range(5)) and table.assign(f=fold).groupby("group")["f"].nunique().max() == 1
    counts = pd.crosstab(table["class"], fold)
    assert np.abs(counts.div(counts.sum(axis=1), axis=0).to_numpy() - 0.2).max() < 0.13
    shuffled = table.sample(frac=1, random_state=5)
    assert splits.folds(shuffled, 5, seed=1).sort_index().tolist() == fold.tolist()
    known = table["group"].isin([f"g{g}" for g in range(30)])
    stated = table["group"].str[1:].astype(int) % 5 + 1
    table["fold"] = stated.where(known, -1)
    fold = splits.folds(table, 5, seed=1)
    assert (fold[known] == stated[known] - 1).all() and set(fold[~known]) == set(range(5))
    assert set(splits.folds(table, 3)) == {0, 1, 2}, "three folds cannot use five stated ones"
    with pytest.raises(folders.DataError):
        splits.folds(table, 1)
