"""Which pictures are near each other, found without comparing all with all.

A tree halves the pictures again and again, at the median along the difference of two pictures taken at random, until
LEAF are left: near ones mostly stay together. Only what shares a leaf in one of TREES trees is compared, so that the
work grows with n log n. Up to EXACT pictures all are compared, which is quicker there. On the 13,593 pictures of
shared/data together the trees lead to the same 20,049 links as comparing all of them.

Every picture stands for two points, itself (row i of n) and its mirror image (n + i).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

EXACT, BLOCK = 10_000, 1024  # pictures that are all compared, and how many of them a part
LEAF, TREES = 256, 32
DIRECTIONS = 64  # along which the trees divide
CORES = os.cpu_count() or 2
Leaf = tuple[np.ndarray, np.ndarray]  # row numbers, and the points that they are compared with


def standardised(pictures: np.ndarray) -> np.ndarray:
    """(N, s, s) -> float32 (N, s*s) of mean 0 and length 1: a dot product is a correlation; constants give 0."""
    flat = pictures.reshape(len(pictures), pictures.shape[1] * pictures.shape[2]).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 1e-3, length, np.inf)


def mirror(features: np.ndarray) -> np.ndarray:
    """The features (N, s*s) of the mirrored pictures; standardising and local contrast commute with a mirror."""
    side = round(features.shape[1] ** 0.5)
    return np.ascontiguousarray(features.reshape(-1, side, side)[:, :, ::-1]).reshape(features.shape)


def near_pairs(features: np.ndarray, least: float, labels: np.ndarray) -> Iterator[np.ndarray]:
    """int64 (M, 3), part by part: a < b and whether b is mirrored, of the pairs that correlate at `least` or more.

    features: float32 (N, s*s) of `standardised`. labels: int (N,), pairs with equal ones are left out; it may
    change between two parts. A pair may come in several parts.
    """

    count = len(features)

    def near(leaf: Leaf) -> np.ndarray:
        rows, points, found = *leaf, []
        for flip, others in enumerate(_sides(points, count)):
            close = _scores(features, rows, others, flip) >= least
            close &= labels[rows, None] != labels[others]
            i, j = np.nonzero(close)
            found.append(np.stack([rows[i], others[j] + flip * count]))
        return np.concatenate(found, axis=1)

    with _side_by_side() as each:
        for part in _compared(features):
            yield _pairs(np.concatenate(list(each(near, part)), axis=1), count)


def nearest(features: np.ndarray, most: int, least: float, first: int = 0) -> np.ndarray:
    """int64 (M, 3) as `near_pairs`: of each picture the `most` nearest ones, as they are and mirrored.

    first: where it is not 0, only of the first ones, and only among the others.
    """
    count = len(features)
    best = np.full((2, count, most), -1, np.int64)  # of each orientation and picture: row numbers, and their scores
    value = np.full((2, count, most), -1, np.float32)

    def improve(leaf: Leaf) -> None:
        rows, points = leaf
        if first:
            rows, points = rows[rows < first], points[points % count >= first]
        for flip, others in enumerate(_sides(points, count)):
            if not len(others):
                continue
            scores, take = _scores(features, rows, others, flip), min(most, len(others))
            near = np.argpartition(-scores, take - 1, axis=1)[:, :take]
            index = np.concatenate([best[flip, rows], others[near]], axis=1)
            score = np.concatenate([value[flip, rows], np.take_along_axis(scores, near, axis=1)], axis=1)
            again = (index[:, :, None] == index[:, None, :]) & np.tri(index.shape[1], k=-1, dtype=bool)
            score[again.any(axis=2)] = -1
            order = np.argsort(-score, axis=1, kind="stable")[:, :most]
            best[flip, rows] = np.take_along_axis(index, order, axis=1)
            value[flip, rows] = np.take_along_axis(score, order, axis=1)

    with _side_by_side() as each:
        for part in _compared(features):
            list(each(improve, part))  # no picture is a row of two leaves of one part
    flip, rows, place = np.nonzero(value >= least)
    return _pairs(np.stack([rows, best[flip, rows, place] + flip * count]), count)


@contextlib.contextmanager
def _side_by_side() -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, a leaf on each core: threads within such small products wait for each other most of the time."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(CORES) as pool:
        yield pool.map


def _pairs(found: np.ndarray, count: int) -> np.ndarray:
    """Row and point (2, M) -> int64 (K, 3): a < b, mirrored; none twice."""
    rows, others, flip = found[0], found[1] % count, found[1] // count
    a, b = np.minimum(rows, others), np.maximum(rows, others)
    keys = np.unique((a * count + b) * 2 + flip)
    return np.stack([keys // 2 // count, keys // 2 % count, keys % 2], axis=1)


def seconds(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The features of the second picture of each pair (row, other row, mirrored), mirrored where the pair says so."""
    others, flip = features[pairs[:, 1]], pairs[:, 2] == 1
    others[flip] = mirror(others[flip])
    return others


def _sides(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The row numbers of the pictures among points, and those of the mirror images."""
    return points[points < count], points[points >= count] - count


def _scores(features: np.ndarray, rows: np.ndarray, others: np.ndarray, flip: int) -> np.ndarray:
    """Correlations (rows, others) as they are, or of mirror images; -1 of a picture with itself or its own."""
    left = mirror(features[rows]) if flip else features[rows]
    scores = left @ (features if len(others) == len(features) else features[others]).T  # all of them: no copy
    scores[rows[:, None] == others] = -1
    return scores


def _compared(features: np.ndarray) -> Iterator[list[Leaf]]:
    """(row numbers, points) to compare with each other, a part at a time: a block of all, or the leaves of one tree."""
    count = len(features)
    if count <= EXACT:
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count))
            yield [(some, np.arange(2 * count)) for some in np.array_split(rows, CORES)]
        return
    random = np.random.default_rng(0)
    first, second = features[random.integers(count, size=(2, DIRECTIONS))]
    places = np.concatenate([features @ (first - second).T, features @ mirror(first - second).T])
    for _ in range(TREES):
        nodes, leaves = [np.arange(2 * count)], []
        while nodes:
            node = nodes.pop()
            if len(node) <= LEAF:
                node.sort()  # so that all pictures are in their order
                leaves.append((node[node < count], node))
            else:
                half = len(node) // 2
                order = np.argpartition(places[node, random.integers(DIRECTIONS)], half)
                nodes += [node[order[:half]], node[order[half:]]]
        yield leaves
