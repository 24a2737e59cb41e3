"""Copies that were cropped, padded, captioned or turned a little: found by laying one picture over the other.

Only the most similar pictures that no other link joins are tried. For each pair the affine map with the highest
enhanced correlation coefficient is estimated (Evangelidis & Psarakis 2008, cv2.findTransformECC), then their local
contrast is compared where both have pixels: heads with heads, whole pictures with whole pictures. On shared/data the
most alike slices of two patients reach 0.842 (heads) and 0.907 (whole; skulls weigh more), most copies 0.94 to 0.99.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

HEAD_ALIGNED, WHOLE_ALIGNED = 0.91, 0.93  # correlation of local contrast after alignment
NEIGHBOURS = 4  # pairs that are tried, of each picture, kind of thumbnail and orientation
CANDIDATE, CANDIDATE_SIDE = 0.7, 16  # their least correlation of local contrast at this size, unaligned
QUICK, QUICK_SIDE = 0.72, 32  # and aligned at half size, before it is done at full size
MAX_STRETCH, MAX_TURN, MIN_OVERLAP = 0.18, 9.0, 0.65  # change of scale, degrees, share of the square


def local_contrast(picture: np.ndarray) -> np.ndarray:
    """(s, s) -> float32 (s, s): (value - local mean) / local deviation, hardly moved by contrast changes."""
    picture = picture.astype(np.float32)
    sigma = max(2.0, picture.shape[0] / 16)
    detail = picture - cv2.GaussianBlur(picture, (0, 0), sigma)
    deviation = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma))
    return detail / (deviation + 4)  # 4 gray levels: below it there is only noise


def standardised(pictures: np.ndarray) -> np.ndarray:
    """(N, s, s) -> float32 (N, s*s) of mean 0 and length 1: a dot product is a correlation; constants give 0."""
    flat = pictures.reshape(len(pictures), pictures.shape[1] * pictures.shape[2]).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 1e-3, length, np.inf)


def mirror(features: np.ndarray) -> np.ndarray:
    """The features (N, s*s) of the mirrored pictures; standardising and local contrast commute with a mirror."""
    side = round(features.shape[1] ** 0.5)
    return np.ascontiguousarray(features.reshape(-1, side, side)[:, :, ::-1]).reshape(len(features), -1)


def aligned_pairs(whole: np.ndarray, head: np.ndarray, rows: np.ndarray) -> list[tuple[int, int, float, bool]]:
    """(a, b, correlation, b is a mirror) of the pairs among `rows` that agree once aligned; a < b.

    whole, head: uint8 (N, s, s), see duplicates.thumbnails.
    """
    trials = _candidates(head, rows) | _candidates(whole, rows)

    def attempt(trial: tuple[int, int, bool]) -> tuple[int, int, float, bool] | None:
        a, b, mirrored = trial
        for pictures, least in ((head, HEAD_ALIGNED), (whole, WHOLE_ALIGNED)):
            second = pictures[b][:, ::-1] if mirrored else pictures[b]
            quick = agreement(_resized(pictures[a], QUICK_SIDE), _resized(second, QUICK_SIDE), steps=15)
            if quick >= QUICK and (value := agreement(pictures[a], second)) >= least:
                return a, b, value, mirrored
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [pair for pair in pool.map(attempt, sorted(trials)) if pair is not None]


def _candidates(pictures: np.ndarray, rows: np.ndarray) -> set[tuple[int, int, bool]]:
    """(a, b, mirrored) of the most similar pairs among `rows`."""
    count = min(NEIGHBOURS, len(rows) - 1)
    if count < 1:
        return set()
    small = np.stack([local_contrast(_resized(pictures[row], CANDIDATE_SIDE)) for row in rows])
    features = standardised(small)
    found = set()
    for mirrored in (False, True):
        left = mirror(features) if mirrored else features
        for start in range(0, len(rows), 1024):
            scores = left[start : start + 1024] @ features.T
            own = np.arange(len(scores))
            scores[own, own + start] = -1
            near = np.argpartition(-scores, count - 1, axis=1)[:, :count]
            for i, j in zip(*np.nonzero(np.take_along_axis(scores, near, 1) >= CANDIDATE), strict=True):
                a, b = sorted((int(rows[start + i]), int(rows[near[i, j]])))
                found.add((a, b, mirrored))
    return found


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(picture, np.float32), (side, side), interpolation=cv2.INTER_AREA)


def agreement(first: np.ndarray, second: np.ndarray, steps: int = 30) -> float:
    """Correlation of the local contrast of two pictures (s, s) after alignment; 0 when no alignment is plausible."""
    fixed, moving = np.ascontiguousarray(first, np.float32), np.ascontiguousarray(second, np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    everywhere = np.ones(fixed.shape, np.uint8)
    try:
        start = np.eye(2, 3, dtype=np.float32)
        _, matrix = cv2.findTransformECC(fixed, moving, start, cv2.MOTION_AFFINE, stop, everywhere, 5)
    except cv2.error:  # nothing in common, or a constant picture
        return 0.0
    if not np.isfinite(matrix).all():
        return 0.0
    linear = np.asarray(matrix, np.float64)[:, :2]
    stretch = np.abs(np.linalg.svd(linear, compute_uv=False) - 1).max()
    turn = abs(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    size = fixed.shape[1], fixed.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones_like(fixed), matrix, size, flags=flags) > 0.99
    if stretch > MAX_STRETCH or turn > MAX_TURN or inside.mean() < MIN_OVERLAP:
        return 0.0
    moved = cv2.warpAffine(moving, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = local_contrast(fixed)[inside], local_contrast(moved)[inside]
    spread = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 1e-6 else 0.0
