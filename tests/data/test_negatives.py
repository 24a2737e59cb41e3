"""Drawn pictures that are no brain MRI: the same bits for the same seed, and every kind; real slices are varied."""

from __future__ import annotations

import numpy as np

from brain_mri.data.negatives import KINDS, synthetic_negatives, vary
from brain_mri.data.phantom import make_phantom


def test_negatives_are_repeatable_and_of_every_kind() -> None:
    first, again = synthetic_negatives(len(KINDS), 5), synthetic_negatives(len(KINDS), 5)
    assert [n.kind for n in first] == list(KINDS)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1].image, synthetic_negatives(len(KINDS), 6)[1].image[: first[1].image.shape[0]])
    assert any(n.color > 0.1 for n in synthetic_negatives(28, 0)) and any(n.color == 0 for n in first)
    for n in first:
        assert n.image.dtype == np.uint8 and n.image.ndim == 2 and 0 <= n.color <= 1


def test_kinds_are_drawn_alone_and_unlike_each_other() -> None:
    for kind in KINDS:
        (drawn,) = synthetic_negatives(1, 3, (kind,))
        assert drawn.kind == kind and drawn.rgb.dtype == np.uint8
        assert np.array_equal(drawn.rgb, synthetic_negatives(1, 3, (kind,))[0].rgb)


def test_a_varied_slice_is_another_picture_of_the_same_head() -> None:
    image = make_phantom("glioma", 3, 160).image
    first, again = (vary(image, np.random.default_rng(1)) for _ in range(2))
    assert first.dtype == np.uint8 and first.ndim == 2 and first.shape[0] == first.shape[1]
    assert np.array_equal(first, again) and not np.array_equal(first, vary(image, np.random.default_rng(2)))
    assert first.std() > 20
