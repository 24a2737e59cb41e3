"""Heads folded at their midline: one half as it is, the other its mirror image.

Folded to the half without the lesion, a slice shows a head without a tumor on the same scanner, contrast medium, skull
base and all, and nothing was painted over. Folded to the other half it has two lesions, and is as symmetrical.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 64  # pixels a side of what is compared with its mirror image
SYMMETRY = 0.93  # least correlation of the two; most axial and coronal slices have it, hardly any sagittal one
MARGIN = 0.02  # of the side: how far from the midline a lesion must stay for the other half to be without one

Axis = tuple[np.ndarray, float]


def midline(image: np.ndarray) -> Axis | None:
    """The axis of symmetry of a head, uint8 (S, S): the pixels p = (x, y) with normal @ p = distance.

    normal: float (2,), of length 1. None where the halves are not alike. The mirror image is laid over the picture by
    cv2.findTransformECC (Evangelidis & Psarakis 2008): the axis is halfway.
    """
    reduced = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.GaussianBlur(reduced.astype(np.float32), (0, 0), 1.5))
    mirrored = np.ascontiguousarray(small[:, ::-1])
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    start, everywhere = np.eye(2, 3, dtype=np.float32), np.ones(small.shape, np.uint8)
    try:
        alike, motion = cv2.findTransformECC(small, mirrored, start, cv2.MOTION_EUCLIDEAN, stop, everywhere, 3)
    except cv2.error:  # a constant picture
        return None
    if not alike >= SYMMETRY:
        return None
    turn = np.arctan2(motion[1, 0], motion[0, 0]) / 2
    normal = np.array([np.cos(turn), -np.sin(turn)])
    shift = np.array([SIDE - 1 - motion[0, 2], motion[1, 2]])  # of the reflection: the motion, then the mirror
    scale = image.shape[0] / SIDE
    return normal, float(scale * (shift @ normal) / 2 + (scale - 1) / 2 * normal.sum())


def fold(image: np.ndarray, axis: Axis, half: int) -> np.ndarray:
    """uint8 (S, S) with one half, 1 where normal @ p > distance or -1, mirrored to where the other one was."""
    everywhere = np.stack(np.meshgrid(*[np.arange(image.shape[0], dtype=np.float32)] * 2), axis=-1)
    places = folded(everywhere, axis, half)
    return cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_LINEAR)


def folded(places: np.ndarray, axis: Axis, half: int) -> np.ndarray:
    """Where to read from, float32 (..., 2) of (x, y), with what is not in this half moved to its mirror image."""
    normal, distance = axis
    beyond = np.minimum(half * (places @ normal - distance), 0)  # pixels from the axis, negative in the other half
    return places - (2 * half * beyond[..., None] * normal).astype(np.float32)


def from_midline(mask: np.ndarray, axis: Axis) -> np.ndarray:
    """float (K,): how far each pixel of a lesion, uint8 (S, S), is from the axis, positive in the half called 1."""
    y, x = np.nonzero(mask > 127)
    return np.stack([x, y], axis=-1) @ axis[0] - axis[1]


def free_half(mask: np.ndarray, axis: Axis) -> int | None:
    """The half, 1 or -1, that a lesion, uint8 (S, S), keeps away from; None where it reaches both or there is none."""
    away = from_midline(mask, axis)
    margin = MARGIN * mask.shape[0]
    if away.size and away.max() < -margin:
        return 1
    return -1 if away.size and away.min() > margin else None
