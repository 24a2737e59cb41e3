"""Near pictures are found without comparing all with all, and the work grows with n log n: comparisons are counted."""

from __future__ import annotations

import numpy as np
import pytest

from brain_mri.data import neighbours

SIDE = 8


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """float32 (3 * count, SIDE, SIDE): as many different ones, a noisy copy of each, and a noisy mirror image."""
    random = np.random.default_rng(seed)
    base = random.normal(size=(count, SIDE, SIDE))
    copies = [base, base, base[:, :, ::-1]]
    return np.concatenate([part + random.normal(size=part.shape) * 0.15 for part in copies]).astype(np.float32)


def pairs_of(features: np.ndarray) -> set[tuple[int, ...]]:
    parts = neighbours.near_pairs(features, 0.9, np.arange(len(features)))
    return {tuple(pair) for part in parts for pair in part.tolist()}


def test_all_pairs_are_compared_where_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    features = neighbours.standardised(pictures(40))
    flipped = neighbours.mirror(features)
    plain, mirrored = features @ features.T >= 0.9, features @ flipped.T >= 0.9
    wanted = {(a, b, int(m)) for m, table in enumerate((plain, mirrored)) for a, b in np.argwhere(table) if a < b}
    assert {(a, a + 40, 0) for a in range(40)} | {(a, a + 80, 1) for a in range(40)} <= wanted
    assert pairs_of(features) == wanted
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert pairs_of(features) == wanted


def test_trees_find_what_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    features = neighbours.standardised(pictures(500))
    wanted = pairs_of(features)
    nearest = {tuple(pair) for pair in neighbours.nearest(features, 1, 0.9).tolist()}
    assert len(wanted) >= 1500
    monkeypatch.setattr(neighbours, "EXACT", 0)
    monkeypatch.setattr(neighbours, "LEAF", 64)
    found = pairs_of(features)
    assert found <= wanted and len(found) >= 0.99 * len(wanted)
    assert len(nearest & {tuple(pair) for pair in neighbours.nearest(features, 1, 0.9).tolist()}) >= 0.99 * len(nearest)
    assert pairs_of(features) == found, "the same at every start"


def test_the_work_grows_with_n_log_n() -> None:
    def work(count: int) -> int:
        parts = neighbours._compared(neighbours.standardised(pictures(count // 3)))
        return sum(len(rows) * len(points) for part in parts for rows, points in part)

    few, many = 12_000, 48_000
    assert work(few) <= few * neighbours.TREES * neighbours.LEAF
    assert work(many) <= 4.8 * work(few), "all pairs would be 16 times as many"


def test_no_picture_and_one_picture_have_no_neighbours() -> None:
    for count in (0, 1):
        features = neighbours.standardised(np.ones((count, SIDE, SIDE), np.float32))
        assert not pairs_of(features) and not len(neighbours.nearest(features, 4, -0.5))
