"""Lesion-erased slices: the same head, the same scanner, no tumor.

In the public sets "no tumor" comes from other sources than the tumors, so a classifier can be right by recognising
the source. An erased copy of a tumor slice, labelled "no tumor", takes that away: only the lesion differs. So that
the trace of the retouching does not become the new shortcut, healthy places of other slices are retouched in the
same way with their label unchanged.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

SHIFT_STEPS = np.arange(-0.36, 0.37, 0.09)  # where to look for donor tissue, as a share of the side


def erase(image: np.ndarray, mask: np.ndarray, avoid: np.ndarray | None = None) -> np.ndarray | None:
    """Replace the masked region by the tissue of the same picture (shifted, or mirrored) that fits its rim best.

    image, mask, avoid: uint8 (S, S); nothing is copied from where mask or avoid is set.
    Returns uint8 (S, S), or None when no place of the head is big enough to copy from.
    """
    size = image.shape[0]
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))) > 127
    rim = (cv2.dilate(grown.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~grown
    if not grown.any() or not rim.any():
        return None
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    rim_values, area = smooth[rim], max(int(grown.sum()), 1)
    barred = (grown if avoid is None else grown | (avoid > 0)).astype(np.uint8)
    best, best_cost = None, np.inf
    for mirrored in (False, True):
        donor_image, donor_mask, donor_smooth = ((np.fliplr(a) if mirrored else a) for a in (image, barred, smooth))
        for dy in SHIFT_STEPS:
            for dx in SHIFT_STEPS:
                if not mirrored and abs(dx) + abs(dy) < 0.05:
                    continue
                move = np.array([[1, 0, dx * size], [0, 1, dy * size]], np.float32)
                moved_mask = cv2.warpAffine(donor_mask, move, (size, size), flags=cv2.INTER_NEAREST, borderValue=1)
                if moved_mask[grown].sum() > 0.02 * area:  # the donor must not bring the lesion back
                    continue
                moved = cv2.warpAffine(donor_smooth, move, (size, size))
                difference = np.abs(moved[rim] - rim_values).mean()
                dark = float((moved[grown] < 12).mean())  # air instead of tissue
                cost = difference * (1 + 4 * dark)
                if cost < best_cost:
                    best_cost = cost
                    best = cv2.warpAffine(donor_image, move, (size, size))
    if best is None:
        return None
    alpha = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), 2.0)
    offset = np.median(rim_values) - np.median(cv2.GaussianBlur(best, (0, 0), 1.5)[rim])
    filled = np.clip(best.astype(np.float32) + np.clip(offset, -30, 30), 0, 255)
    return np.round(alpha * filled + (1 - alpha) * image).astype(np.uint8)


def retouch(image: np.ndarray, shape: np.ndarray, keep: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Erase a lesion-shaped place of a picture that is not its lesion, so that retouching means nothing.

    shape: a lesion mask of another slice, moved to a random place of the head that does not touch `keep`.
    """
    size = image.shape[0]
    for _ in range(6):
        dy, dx = rng.integers(-size // 3, size // 3, 2)
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        place = cv2.warpAffine(shape, move, (size, size), flags=cv2.INTER_NEAREST)
        inside = place > 127
        if inside.sum() > 20 and (image[inside] > 12).mean() > 0.9 and not (inside & (keep > 0)).any():
            return erase(image, place, avoid=keep)
    return None


def counterfactuals(
    images: np.ndarray,
    masks: np.ndarray,
    has_tumor: np.ndarray,
    units: np.ndarray,
    *,
    erased: float = 0.3,
    retouched: float = 0.15,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Erased copies of a share of the tumor slices, then retouched copies of a share of all; one per unit of copies.

    images, masks: uint8 (N, S, S), every mask known. has_tumor: bool (N,). units: int (N,), equal for copies.
    Returns (pictures uint8 (M, S, S), source row int (M,), erased bool (M,)); an erased copy is "no tumor" with an
    empty mask, a retouched one keeps label and mask of its source row.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    one_each = order[np.unique(units[order], return_index=True)[1]]
    tumors = one_each[has_tumor[one_each] & (masks[one_each] > 127).any((1, 2))]
    jobs: list[tuple[int, np.random.Generator | None]]
    jobs = [(row, None) for row in rng.permutation(tumors)[: round(erased * len(tumors))]]
    if len(tumors):
        others = rng.permutation(one_each)[: round(retouched * len(one_each))]
        jobs += [(row, np.random.default_rng([seed, row])) for row in others]

    def work(job: tuple[int, np.random.Generator | None]) -> np.ndarray | None:
        row, own = job
        if own is None:
            return erase(images[row], masks[row])
        return retouch(images[row], masks[own.choice(tumors)], masks[row], own)

    with ThreadPoolExecutor() as pool:
        found = [(job, picture) for job, picture in zip(jobs, pool.map(work, jobs), strict=True) if picture is not None]
    pictures = np.stack([picture for _, picture in found]) if found else np.zeros((0, *images.shape[1:]), np.uint8)
    rows = np.asarray([row for (row, _), _ in found], int)
    return pictures, rows, np.asarray([own is None for (_, own), _ in found], bool)
