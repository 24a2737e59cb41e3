"""Tumor outlines without training: K-means (k=2) on the brightness inside the skull, then erosion and dilation.

The usual student method takes the brighter cluster as the tumor; on real slices that is mostly white matter and fat.
Here the brighter cluster is split again and again, the pieces of every level are cleaned by erosion and dilation, their
borders are found again by a K-means of their own surroundings, and the piece that looks most like a lesion is kept:
brighter than what is around it, round, large and deep. It finds bright compact lesions; a dark or diffuse glioma it
does not find.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from brain_mri.imaging.preprocessing import head_mask

SIDE = 144  # pixels of the longer side at which it works: as good as 256 and ten times faster
LEVELS = 4
# Lengths in shares of the head's size, which is the square root of its area.
SKULL = 0.07
SMOOTH = 0.012
CLEAN = 0.02
RING = 0.03
LEAST, MOST = 0.002, 0.2  # of the head's area


def kmeans_mask(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) -> bool (H, W): the most lesion-like bright piece; empty when there is no candidate.

    The same picture always gives the same mask.
    """
    height, width = image.shape
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    mask = _lesion(small, head_mask(small))
    if scale == 1:
        return mask
    return cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR) > 127


def _lesion(image: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The best candidate, bool (H, W)."""
    area = int(np.count_nonzero(head))
    size = math.sqrt(area)
    inside = _erode(head, SKULL * size)
    result = np.zeros(image.shape, bool)
    if np.count_nonzero(inside) < 64:
        return result
    smooth = cv2.GaussianBlur(image, (0, 0), max(0.6, SMOOTH * size)).astype(np.float32)
    low, high = (float(v) for v in np.percentile(smooth[inside], (1, 99.5)))
    values = np.clip(smooth, low, max(high, low + 1))
    depth = cv2.distanceTransform(np.pad(head, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1] / size
    best = 0.0
    for piece in _pieces(values, inside, size, area):
        for candidate in (piece, _redrawn(piece, values, inside, size)):
            fits = LEAST * area <= np.count_nonzero(candidate) <= MOST * area
            score = _likeness(candidate, values, inside, depth, size) if fits else 0.0
            if score > best:
                best, result = score, candidate
    return result


def _pieces(values: np.ndarray, inside: np.ndarray, size: float, area: int) -> list[np.ndarray]:
    """Connected pieces, holes filled, of the brighter cluster, of its brighter cluster, and so on."""
    found = []
    level = values[inside]
    for _ in range(LEVELS):
        cut = two_means(level)
        bright = _clean(inside & (values > cut), size) & inside
        count, labels, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=4)
        for label in range(1, count):
            if LEAST * area <= stats[label, cv2.CC_STAT_AREA] <= MOST * area:
                found.append(_filled(labels == label))
        level = level[level > cut]
        if level.size < 2 * LEAST * area:
            break
    return found


def _redrawn(piece: np.ndarray, values: np.ndarray, inside: np.ndarray, size: float) -> np.ndarray:
    """The piece with its border where K-means puts it among the piece and its surroundings alone."""
    window = _dilate(piece, 2 * math.sqrt(np.count_nonzero(piece) / math.pi)) & inside
    bright = _clean(window & (values > two_means(values[window])), size)
    count, labels = cv2.connectedComponents(bright.astype(np.uint8), connectivity=4)
    shared = np.bincount(labels[piece], minlength=count)
    shared[0] = 0
    return _filled(labels == shared.argmax()) if shared.max() > 0 else piece


def _likeness(piece: np.ndarray, values: np.ndarray, inside: np.ndarray, depth: np.ndarray, size: float) -> float:
    """How much a piece looks like a lesion: contrast x roundness^2 x sqrt(area) x depth."""
    ring = _dilate(piece, RING * size) & inside & ~piece
    if not ring.any():
        return 0.0
    contrast = max(0.0, float(values[piece].mean() - values[ring].mean()))
    contours, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    length = max(cv2.arcLength(contour, True) for contour in contours)
    pixels = np.count_nonzero(piece)
    roundness = min(1.0, 4 * math.pi * pixels / max(length, 1.0) ** 2)
    return contrast * roundness**2 * math.sqrt(pixels) * float(np.median(depth[piece]))


def two_means(values: np.ndarray) -> float:
    """The brightness halfway between the two centres of K-means (k=2) of float32 values (n,)."""
    if values.size < 2 or values.min() == values.max():
        return float(values.max(initial=0.0))
    samples = np.ascontiguousarray(values, np.float32).reshape(-1, 1)
    start = (samples > samples.mean()).astype(np.int32)  # a fixed start: no chance, no repeated attempts
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.1)
    _, _, centres = cv2.kmeans(samples, 2, start, stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return float(centres.mean())


def _clean(mask: np.ndarray, size: float) -> np.ndarray:
    """Erosion, then dilation: bridges and specks thinner than 2 CLEAN of the head's size go."""
    return _dilate(_erode(mask, CLEAN * size), CLEAN * size)


def _disc(radius: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(radius)) + 1,) * 2)


def _erode(mask: np.ndarray, radius: float) -> np.ndarray:
    """bool (H, W) eroded by a disc; beyond the picture's edge there is no head."""
    return cv2.erode(mask.astype(np.uint8), _disc(radius), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0


def _dilate(mask: np.ndarray, radius: float) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0


def _filled(mask: np.ndarray) -> np.ndarray:
    binary = mask.astype(np.uint8)
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(binary, contours, -1, 1, cv2.FILLED) > 0
