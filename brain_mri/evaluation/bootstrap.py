"""95 % intervals by resampling groups (patients, near-duplicate clusters), never single images.

Slices of one patient are not independent, so resampling images makes intervals too narrow. Here whole groups are
drawn with replacement (the cluster bootstrap: Davison & Hinkley 1997, ch. 3.8; Field & Welsh 2007). A draw is one
row of counts per group, so that every sum over images becomes a matrix product: 1000 draws take milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from brain_mri.evaluation.scores import Estimate

CHUNK = 4_000_000  # numbers in one temporary array of `auc` and `median`: about 32 MB


def _number(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


class Bootstrap:
    """Draws of groups for N images; every method gives a value with its percentile interval.

    groups: (N,) any labels; images that share one are drawn together. `None`, NaN and "" count as a group of one.
    With fewer than two groups there is nothing to resample and the limits are None.
    """

    def __init__(self, groups: Sequence[Any] | np.ndarray, *, resamples: int = 1000, seed: int = 0) -> None:
        names = [f"\0{i}" if g is None or g != g or str(g) == "" else str(g) for i, g in enumerate(np.asarray(groups))]
        self.codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)[1].reshape(-1)
        self.groups = int(self.codes.max()) + 1 if len(names) else 0
        rng = np.random.default_rng(seed)
        rows = resamples if self.groups > 1 else 0
        self.weights = (
            rng.multinomial(self.groups, np.full(self.groups, 1 / self.groups), rows).astype(np.float64)
            if rows
            else np.zeros((0, self.groups))
        )  # (R, G) how often each group was drawn

    def sums(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum over images of values (N, ...): (total (...), of every draw (R, ...))."""
        values = np.asarray(values, dtype=np.float64)
        per_group = np.zeros((self.groups, *values.shape[1:]))
        np.add.at(per_group, self.codes, values)
        flat = self.weights @ per_group.reshape(self.groups, math.prod(values.shape[1:]))
        return values.sum(axis=0), flat.reshape(len(self.weights), *values.shape[1:])

    def interval(self, value: Any, draws: np.ndarray, *, proportion: int = 0) -> Estimate:
        """Value with the 2.5 and 97.5 percentiles of its draws.

        proportion: number of independent groups behind a proportion. One group tells nothing about others, so there is
        no interval. At exactly 0 or 1 every draw agrees and the percentile interval has no width; the Clopper-Pearson
        limit for that many groups is stated instead.
        """
        known = _number(value)
        draws = np.asarray(draws, dtype=np.float64)
        draws = draws[np.isfinite(draws)]
        if known is None or len(draws) == 0 or proportion == 1:
            return Estimate(value=known, low=None, high=None)
        low, high = np.percentile(draws, [2.5, 97.5])
        if proportion > 1 and low == high and value in (0.0, 1.0):
            limit = 0.025 ** (1 / proportion)
            low, high = (limit, 1.0) if value == 1.0 else (0.0, 1.0 - limit)
        return Estimate(value=known, low=float(low), high=float(high))

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
        """sum(numerator) / sum(denominator) over images (N,), undefined when the denominator is 0."""
        (top, tops), (bottom, bottoms) = self.sums(numerator), self.sums(denominator)
        with np.errstate(invalid="ignore", divide="ignore"):
            value, draws = np.divide(top, bottom), tops / bottoms
        involved = len(np.unique(self.codes[np.asarray(denominator) != 0]))
        return self.interval(value, draws, proportion=involved)

    def mean(self, values: np.ndarray) -> Estimate:
        """Mean over images; NaN entries are left out."""
        values = np.asarray(values, dtype=np.float64)
        known = np.isfinite(values)
        (top, tops), (bottom, bottoms) = self.sums(np.where(known, values, 0.0)), self.sums(known)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.interval(np.divide(top, bottom), tops / bottoms)

    def median(self, values: np.ndarray) -> Estimate:
        """Median over images; NaN entries are left out."""
        values = np.asarray(values, dtype=np.float64)
        known = np.flatnonzero(np.isfinite(values))
        if len(known) == 0:
            return self.interval(None, np.zeros(0))
        order = known[np.argsort(values[known], kind="stable")]
        draws = []
        for weights in self._chunks(len(order)):
            total = np.cumsum(weights[:, self.codes[order]], axis=1)
            middle = (total < total[:, -1:] / 2).sum(axis=1)
            draws.append(np.where(total[:, -1] > 0, values[order][np.minimum(middle, len(order) - 1)], np.nan))
        return self.interval(np.median(values[known]), np.concatenate(draws) if draws else np.zeros(0))

    def auc(self, scores: np.ndarray, positive: np.ndarray) -> Estimate:
        """Area under the ROC curve of scores (N,) for positive (N,) bool: the Mann-Whitney form, ties count half.

        Undefined (None) when all images are positive or none is.
        """
        scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
        if positive.all() or not positive.any():
            return self.interval(None, np.zeros(0))
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
        sign = positive[order]
        draws = [_weighted_auc(weights[:, self.codes[order]], sign, starts) for weights in self._chunks(len(order))]
        value = _weighted_auc(np.ones((1, len(order))), sign, starts)[0]
        return self.interval(value, np.concatenate(draws) if draws else np.zeros(0))

    def _chunks(self, width: int) -> list[np.ndarray]:
        step = max(1, CHUNK // max(1, width))
        return [self.weights[i : i + step] for i in range(0, len(self.weights), step)]


def _weighted_auc(weights: np.ndarray, positive: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """weights (R, N) in ascending order of the score, positive (N,), starts: first index of each run of ties."""
    up = np.add.reduceat(weights * positive, starts, axis=1)
    down = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    with np.errstate(invalid="ignore", divide="ignore"):
        return (up * (below + down / 2)).sum(axis=1) / (up.sum(axis=1) * down.sum(axis=1))
