"""A mask lands on the lesion of the copy, however the copy was changed, and on no other slice."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from brain_mri.data import duplicates, mask_transfer
from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.preprocessing import Frame, apply_frame, preprocess

SIZE = 128


def _thumbs(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [duplicates.thumbnails(p, preprocess(p, SIZE)[0]) for p in pictures]
    return np.stack([whole for whole, _, _ in pairs]), np.stack([head for _, _, head in pairs])


def _crop(p: np.ndarray) -> np.ndarray:
    edge = round(0.03 * len(p))
    return p[edge:-edge, edge:-edge]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda p: p,
    "half size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "padded": lambda p: cv2.copyMakeBorder(p, 20, 20, 20, 20, cv2.BORDER_CONSTANT),
    "cropped": _crop,
}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_masks_land_on_the_lesion_of_the_copy(mirrored: bool, change: str) -> None:
    phantoms = [make_phantom("meningioma", seed=70 + seed, size=192) for seed in range(4)]
    alter = CHANGES[change]
    copies = [alter(p.image[:, ::-1].copy() if mirrored else p.image) for p in phantoms]
    truths = [alter(p.mask[:, ::-1].copy() if mirrored else p.mask) for p in phantoms]
    pictures = [p.image for p in phantoms] + copies
    squares, frames = zip(*[preprocess(p, SIZE) for p in pictures], strict=True)
    numbers = np.array([(f.height, f.width, f.top, f.left, f.side) for f in frames])
    masks = np.zeros((8, SIZE, SIZE), np.uint8)
    for row, p in enumerate(phantoms):
        masks[row] = _square_mask(p.mask, frames[row])
    whole, head = _thumbs(pictures)
    twins = mask_transfer.find_twins(np.stack(squares), whole, head, numbers, np.arange(4, 8), np.arange(4))
    assert (twins["taker"] - twins["giver"] == 4).all()
    assert len(twins) == 4 or (change in ("padded", "cropped") and len(twins) >= 1)
    assert (twins["mirrored"] == mirrored).all()
    mask_transfer.hand_over(masks, numbers, twins)
    for row in twins["giver"]:
        expected, got = _square_mask(truths[row], frames[4 + row]) > 127, masks[4 + row] > 127
        overlap = 2 * (expected & got).sum() / (expected.sum() + got.sum())
        assert overlap > 0.9, f"Dice {overlap:.3f} for picture {row}"


def _square_mask(mask: np.ndarray, frame: Frame) -> np.ndarray:
    return np.where(apply_frame((mask > 127).astype(np.uint8) * 255, frame, SIZE) > 127, 255, 0).astype(np.uint8)


def test_neighbouring_slices_give_no_mask() -> None:
    near = [make_phantom("glioma", seed=5, size=192, slice_offset=offset).image for offset in (0.0, 0.5)]
    squares, frames = zip(*[preprocess(p, SIZE) for p in near], strict=True)
    numbers = np.array([(f.height, f.width, f.top, f.left, f.side) for f in frames])
    whole, head = _thumbs(near)
    assert mask_transfer.find_twins(np.stack(squares), whole, head, numbers, np.array([0]), np.array([1])).empty
