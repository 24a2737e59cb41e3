"""The guard's regression and covariance are scikit-learn's now; the former ones by hand decided alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brain_mri.classes import CLASSES
from brain_mri.data.negatives import synthetic_negatives
from brain_mri.imaging.read import scan_from_array
from brain_mri.inference import guard
from brain_mri.inference.guard import Guard
from brain_mri.training import guard_fit


def newton(real: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """Weights of the same regression by Newton's method, as guard_fit had it until November 2026."""
    x, y = np.concatenate([real, foreign]), np.repeat([0.0, 1.0], [len(real), len(foreign)])
    weight = np.repeat([0.5 / len(real), 0.5 / len(foreign)], [len(real), len(foreign)])
    ridge = 0.002 * np.eye(x.shape[1])
    ridge[-1, -1] = 0  # the constant; it was 1e-9
    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        hessian = (x * (weight * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + ridge
        w -= np.linalg.solve(hessian, x.T @ (weight * (p - y)) + ridge @ w)
    return w


@pytest.mark.parametrize(("count", "others"), [(90, 40), (400, 700)])
def test_the_regression_is_the_former_one(count: int, others: int) -> None:
    rng = np.random.default_rng(count)
    real, foreign = (guard.quadratic(rng.normal(middle, 1.2, (n, 12))) for middle, n in ((0, count), (0.6, others)))
    np.testing.assert_allclose(guard_fit._logistic(real, foreign), newton(real, foreign), atol=1e-8)


def test_its_decisions_are_the_former_ones(phantom_image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = [scan_from_array(phantom_image(label, seed, 160)) for label in CLASSES for seed in range(12)]
    slices = np.stack([guard.describe(scan.image, 0.0, 64)[0] for scan in scans])
    drawn = np.stack([guard.describe(item.image, item.color, 64)[0] for item in synthetic_negatives(56, seed=3)])
    parts: Any = (slices[::2], None), (slices[1::2], None)
    negatives = guard_fit.synthetic(40, 0), None
    found = guard_fit.fit_guard(*parts, negatives=negatives)
    monkeypatch.setattr(guard_fit, "_logistic", newton)
    former = guard_fit.fit_guard(*parts, negatives=negatives)
    scores = [[Guard.read(fitted).score(one) for one in (*slices, *drawn)] for fitted in (found, former)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4)
    decided, before = (np.array(those) > 1 for those in scores)
    np.testing.assert_array_equal(decided, before)
    assert 40 < decided.sum() < len(decided)
