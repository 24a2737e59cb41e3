"""Heads folded at their midline while a network learns: what the same scanners show without a tumor, and with two.

Without them it sees no slice of the tumors' sources that is without one. Those with the tumor twice are as symmetrical,
so that symmetry says nothing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from brain_mri.imaging.midline import Axis, free_half, from_midline, midline

EMPTIED = 2 / 3  # of the heads that are folded: to the half without a tumor; the others to the half with it

Fold = tuple[Axis, int]  # where, and to which half (midline.fold)


@dataclass(frozen=True)
class Folds:
    """How each of N slices can be folded, and how many of those that can be are."""

    empty: list[Fold | None]  # to a half without a tumor
    full: list[Fold | None]  # to the half with more of it; of a head without a tumor to the other half
    share: float

    @classmethod
    def of(cls, images: np.ndarray, masks: np.ndarray, known: np.ndarray, share: float) -> Folds:
        """For uint8 (N, S, S) slices and masks; known, bool (N,): whose mask is, so that a half may be called empty."""
        with ThreadPoolExecutor() as pool:
            found = list(
                pool.map(lambda row: _ways(images[row], masks[row]) if known[row] else (None, None), range(len(images)))
            )
        return cls([empty for empty, _ in found], [full for _, full in found], share)

    def draw(self, rows: np.ndarray, seed: int) -> tuple[list[Fold | None], np.ndarray]:
        """For int (N,) rows: how to fold each, None for not at all, and who is emptied by it, bool (N,)."""
        luck = np.random.default_rng([seed, 1]).random(len(rows))  # not the numbers that the warp draws
        drawn: list[Fold | None] = []
        emptied = np.zeros(len(rows), bool)
        for i, row in enumerate(rows):
            emptied[i] = luck[i] < EMPTIED * self.share and self.empty[row] is not None
            full = EMPTIED * self.share <= luck[i] < self.share
            drawn.append(self.empty[row] if emptied[i] else self.full[row] if full else None)
        return drawn, emptied


def _ways(image: np.ndarray, mask: np.ndarray) -> tuple[Fold | None, Fold | None]:
    axis = midline(image)
    if axis is None:
        return None, None
    away = from_midline(mask, axis)
    if not away.size:
        return (axis, -1), (axis, 1)
    free = free_half(mask, axis)
    more = 1 if np.median(away) >= 0 else -1
    return (axis, free) if free else None, (axis, more)
