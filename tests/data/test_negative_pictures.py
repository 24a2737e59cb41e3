"""Everyday pictures are drawn in the size that is asked for, the same for the same seed, and none is empty."""

from __future__ import annotations

import numpy as np
import pytest

from brain_mri.data import negative_pictures as pictures

KINDS = ("clouds", "scene", "portrait", "things", "drawing", "figure", "text", "chart", "pattern")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(kind: str) -> None:
    draw = getattr(pictures, kind)
    for side in (120, 201):
        first, again, other = (draw(np.random.default_rng(seed), side) for seed in (1, 1, 2))
        assert first.shape[:2] == (side, side) and first.shape[2:] in ((), (3,)) and first.dtype == np.uint8
        assert np.array_equal(first, again) and not np.array_equal(first, other)
        assert first.std() > 1 and other.std() > 1


def test_noise_is_sometimes_a_single_tone() -> None:
    drawn = [pictures.noise(np.random.default_rng(seed), 64) for seed in range(20)]
    assert 0 < sum(picture.std() == 0 for picture in drawn) < 20
