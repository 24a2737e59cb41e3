"""Slices spoilt at random while a network learns."""

from __future__ import annotations

import numpy as np

from brain_mri.training.degrade import degraded


def test_some_slices_are_spoilt_and_none_at_strength_nothing(head: np.ndarray) -> None:
    images = np.stack([head[20:140, :120]] * 40)
    found = degraded(images, 1.0, 5)
    changed = (found != images).any(axis=(1, 2))
    assert found.dtype == np.uint8 and 5 < changed.sum() < 40
    assert np.array_equal(found, degraded(images, 1.0, 5))
    assert np.array_equal(degraded(images, 0.0, 5), images)
