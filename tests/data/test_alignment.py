"""One picture laid over another: a small affine change is undone, and what has nothing in common stays apart."""

from __future__ import annotations

import cv2
import numpy as np

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
