"""One picture laid over another: a small affine change is undone, and what has nothing in common stays apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from brain_mri.data import alignment
from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.preprocessing import preprocess


def test_alignment_undoes_a_small_affine_change() -> None:
    head = preprocess(make_phantom("pituitary", seed=1003, size=192).image, 64)[0]
    moved = cv2.warpAffine(head, np.array([[1.04, 0.03, -2.0], [-0.03, 0.98, 1.5]]), (64, 64))
    other = preprocess(make_phantom("glioma", seed=1004, size=192).image, 64)[0]
    assert alignment.agreement(head, moved) > 0.95
    assert alignment.agreement(head, other) < alignment.HEAD_ALIGNED
    assert alignment.agreement(head, np.zeros_like(head)) == 0.0
    assert alignment.agreement(np.full_like(head, 9), np.full_like(head, 9)) == 0.0


def test_moved_pictures_agree_more_than_others_to_first_order() -> None:
    heads = [preprocess(make_phantom("glioma", seed=seed, size=192).image, 64)[0] for seed in range(8)]
    move = np.array([[1.03, 0.03, -1.5], [-0.03, 1.0, 1.0]])
    moved = [cv2.warpAffine(head[:, ::-1] if seed % 2 else head, move, (64, 64)) for seed, head in enumerate(heads)]
    small = [cv2.resize(p, (24, 24), interpolation=cv2.INTER_AREA) for p in [*heads, *moved]]
    pictures = np.stack([alignment.local_contrast(picture) for picture in small])
    copies = np.array([(a, a + 8, a % 2) for a in range(8)])
    others = np.array([(a, b + 8, a % 2) for a in range(8) for b in range(8) if a != b])
    agreed = alignment.tangent_agreement(pictures, copies)
    assert agreed.min() > alignment.TANGENT and agreed.min() > alignment.tangent_agreement(pictures, others).max()
    assert not len(alignment.tangent_agreement(pictures, np.zeros((0, 3), np.int64)))


def test_only_the_most_promising_pairs_are_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of heads so alike that every other one is a candidate."""
    heads = np.stack([preprocess(make_phantom("glioma", seed=seed, size=96).image, 64)[0] for seed in range(40)])
    monkeypatch.setattr(alignment, "CANDIDATE", -1.0)
    monkeypatch.setattr(alignment, "TANGENT", 0.0)
    tried: list[int] = []

    def agreement(first: np.ndarray, second: np.ndarray, steps: int = 30) -> float:
        tried.append(steps)
        return 0.0

    monkeypatch.setattr(alignment, "agreement", agreement)
    assert alignment.aligned_pairs(heads, heads, np.arange(40)) == []
    assert 40 <= len(tried) <= 2 * alignment.TRIALS * 40  # whole and head


def test_a_copy_that_was_moved_far_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """To first order it may agree no better than a stranger of elsewhere, but better than any stranger at hand."""

    def tangent_agreement(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return np.where(pairs[:, 1] - pairs[:, 0] == 5, 0.5, 0.2).astype(np.float32)

    heads = np.stack([preprocess(make_phantom("glioma", seed=seed, size=96).image, 64)[0] for seed in range(10)])
    monkeypatch.setattr(alignment, "CANDIDATE", -1.0)
    monkeypatch.setattr(alignment, "NEIGHBOURS", 9)
    monkeypatch.setattr(alignment, "tangent_agreement", tangent_agreement)
    monkeypatch.setattr(alignment, "agreement", lambda *_, **__: 1.0)
    tried = {(a, b) for a, b, _, _ in alignment.aligned_pairs(heads, heads, np.arange(10))}
    assert tried == {(i, i + 5) for i in range(5)}
