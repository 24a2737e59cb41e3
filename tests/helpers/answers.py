"""Made-up answers of a classifier."""

from __future__ import annotations

import numpy as np

from brain_mri.inference.runner import softmax


def random_case(count: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that know something about the labels, with ties; about three images per group."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    logits = np.round(logits, 1)
    return softmax(logits), labels, rng.integers(0, count // 3, count)
