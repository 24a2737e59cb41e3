"""From where on is a picture too poor to judge? Validation slices of every source are spoilt until the answers show it.

Each limit of inference/quality.py is the loosest one at which, at every severity, no more slices become surely wrong
by being spoilt than TARGET leaves beside those that are surely wrong anyway; never looser than what was tried, and
never so tight that good slices were refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from brain_mri.artifact.config import DecisionRule, QualityRule
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.data.selection import balanced_rows
from brain_mri.evaluation.degraded import is_right, scan_of
from brain_mri.imaging.degrade import degrade
from brain_mri.imaging.preprocessing import prepare
from brain_mri.inference.decision import answers_of, decided
from brain_mri.inference.quality import MEASURES, measured
from brain_mri.inference.runner import run_model

SLICES = 300  # at most; each is spoilt in all ways
TARGET = 0.08  # of spoilt slices may be surely wrong,
LEAST = 0.02  # and this share by being spoilt where good ones come near to that: some turn by chance
REFUSED = 0.01  # of good slices, by all measures together
TRIED: dict[str, dict[str, tuple[float, ...]]] = {  # of each measure: until a head is hardly seen
    "noise": {"noise": (25, 50, 80, 120), "noise in the head only": (50, 80)},
    "blur": {"blur": (2, 4, 6, 8), "shrunk and enlarged": (4, 8, 12), "shrunk": (8, 12)},
    "flat": {"JPEG": (20, 10, 5, 2)},
    "ghosts": {"motion": (0.2, 0.35, 0.5, 0.7)},
}


def fit_quality(folder: Path, rule: DecisionRule, dataset: Dataset, rows: np.ndarray, seed: int) -> QualityRule:
    """Limits for the networks in folder, which answer by `rule`.  rows: of validation."""
    chosen = balanced_rows(dataset.table, rows, SLICES, seed)
    images = [scan_of(dataset, row).image for row in chosen]
    truth = dataset.table[["class", "tumor"]].iloc[chosen].to_records(index=False).tolist()
    free = np.array([not tumor for _, tumor in truth], bool)

    def surely_wrong(squares: np.ndarray) -> np.ndarray:
        """bool (N,)"""
        chances = answers_of(run_model(folder, squares), rule).probabilities
        answers, absent = decided(rule, chances), np.array(rule.classes) == NO_TUMOR
        sure = chances[np.arange(len(chances)), answers] >= rule.thresholds.abstain
        if rule.outlined:  # "A tumor, its kind not sure" is a sure answer, too, where there is none
            sure |= free & ~absent[answers] & (1 - chances[:, absent].sum(axis=1) >= rule.thresholds.abstain)
        right = [is_right(rule.classes[answer], *one) for answer, one in zip(answers, truth, strict=True)]
        return np.asarray(sure & ~np.array(right))

    def spoilt(kind: str, severity: float) -> np.ndarray:
        """uint8 (N, S, S)"""
        worse = (degrade(image, kind, severity, seed + i) for i, image in enumerate(images))
        return np.stack([prepare(image, dataset.size).square for image in worse])

    def pairs(place: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(the measure, has it become wrong?) of all slices, for each severity"""
        for kind, severities in TRIED[MEASURES[place]].items() if images else ():
            for severity in severities:
                squares = spoilt(kind, severity)
                yield np.array([measured(square)[place] for square in squares]), surely_wrong(squares) & ~wrong_anyway

    wrong_anyway = surely_wrong(dataset.images[chosen]) if images else np.zeros(0, bool)
    good = np.stack([measured(square) for square in dataset.images[rows]])
    floors = np.quantile(good, 1 - REFUSED / len(MEASURES), axis=0, method="higher")
    left = max(LEAST, TARGET - wrong_anyway.mean()) if images else TARGET
    limits = {name: loosest_limit(list(pairs(place)), floors[place], left) for place, name in enumerate(MEASURES)}
    return QualityRule(**limits)


def loosest_limit(tried: list[tuple[np.ndarray, np.ndarray]], floor: float, left: float) -> float:
    """The highest limit that lets no more than a share `left` become wrong at any severity.

    tried: (measure (N,), bool (N,): has the answer become wrong?) at each severity. floor: what good slices reach;
    the limit where nothing was tried.
    """
    limit = max((float(values.max()) for values, _ in tried), default=floor)  # beyond it nobody knows
    for values, wrong in tried:
        order = np.argsort(values)
        over = np.flatnonzero(np.cumsum(wrong[order]) > left * len(values))
        if len(over):
            limit = min(limit, float(values[order[max(0, over[0] - 1)]]))
    return float(np.ceil(max(limit, floor, 1e-4) * 1e4) / 1e4)  # upwards: rounding refuses nothing
