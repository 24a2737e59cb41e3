"""A head without its skull and scalp, as research data sets come (BraTS and others), roughly cut out of a slice.

Heads here are whole. So that a brain alone is not taken for something else, the guard is shown such copies. They need
the outline only: a real tool would follow the brain's surface in the volume (BET: Smith 2002).
"""

from __future__ import annotations

import cv2
import numpy as np

from brain_mri.imaging.preprocessing import head_mask

RIM = 0.09  # radii of the head: scalp and skull at least
DARK = 0.25  # of the way from the darkest to the brightest tissue: the skull is darker
CORE = 0.05  # radii: how thin a bridge from the brain to what lies outside may be
SHARES = 0.35, 0.85  # of the head that a brain may fill; otherwise it was not found


def strip_skull(image: np.ndarray) -> np.ndarray | None:
    """uint8 (H, W) -> uint8 (H, W), black outside the brain; None where no brain is found."""
    head = head_mask(image).astype(np.uint8)
    area = int(np.count_nonzero(head))
    radius = np.sqrt(area / np.pi)
    if radius < 12:
        return None

    def disc(share: float) -> np.ndarray:
        side = 2 * max(1, round(share * radius)) + 1
        return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))

    inner = cv2.erode(head, disc(RIM))
    smooth = cv2.GaussianBlur(image, (0, 0), 0.015 * radius)
    if not inner.any():
        return None
    low, high = np.percentile(smooth[inner > 0], (2, 98))
    tissue = ((smooth > low + DARK * (high - low)) & (inner > 0)).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(cv2.erode(tissue, disc(CORE)))
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    brain = cv2.bitwise_and(cv2.dilate((pieces == largest).astype(np.uint8), disc(1.2 * CORE)), inner)
    outlines, _ = cv2.findContours(brain, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(brain, outlines, -1, 1, cv2.FILLED)
    share = np.count_nonzero(brain) / area
    return cv2.bitwise_and(image, image, mask=brain) if SHARES[0] < share < SHARES[1] else None
