"""Copies that were cropped, padded, captioned or turned a little: found by laying one picture over the other.

Only the most similar pictures that no other link joins are tried, of each the one that agrees best to first order, and
two more that agree as well as copies on shared/data (TANGENT: none has less than 0.767). Of copies cropped by up to a
fifth or turned by up to 7 degrees a third agrees less, but nine in ten of those still stand first; that leaves a tenth
of the pairs to try. For each the affine map with the highest enhanced correlation coefficient is estimated
(Evangelidis & Psarakis 2008, cv2.findTransformECC), then their local contrast is compared where both have pixels:
heads with heads, whole pictures with whole pictures. On shared/data the most alike slices of two patients reach 0.842
(heads) and 0.907 (whole; skulls weigh more), most copies 0.94 to 0.99.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from brain_mri.data.neighbours import nearest, seconds, standardised

HEAD_ALIGNED, WHOLE_ALIGNED = 0.91, 0.93  # correlation of local contrast after alignment
NEIGHBOURS = 4  # pairs that are looked at, of each picture, kind of thumbnail and orientation
CANDIDATE, CANDIDATE_SIDE = 0.7, 16  # their least correlation of local contrast at this size, unaligned
TRIALS, TANGENT, TANGENT_SIDE = 3, 0.7, 24  # aligned pairs of each picture, and what all but the best one need
PAIRS = 1024  # that are looked at at once
QUICK, QUICK_SIDE = 0.72, 32  # and aligned at half size, before it is done at full size
MAX_STRETCH, MAX_TURN, MIN_OVERLAP = 0.18, 9.0, 0.65  # change of scale, degrees, share of the square


def local_contrast(picture: np.ndarray) -> np.ndarray:
    """(s, s) -> float32 (s, s): (value - local mean) / local deviation, hardly moved by contrast changes."""
    picture = picture.astype(np.float32)
    sigma = max(2.0, picture.shape[0] / 16)
    detail = picture - cv2.GaussianBlur(picture, (0, 0), sigma)
    deviation = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma))
    return detail / (deviation + 4)  # 4 gray levels: below it there is only noise


def aligned_pairs(whole: np.ndarray, head: np.ndarray, rows: np.ndarray) -> list[tuple[int, int, float, bool]]:
    """(a, b, correlation, b is a mirror) of the pairs among `rows` that agree once aligned; a < b.

    whole, head: uint8 (N, s, s), see duplicates.thumbnails.
    """

    def attempt(trial: tuple[int, int, int]) -> tuple[int, int, float, bool] | None:
        a, b, mirrored = trial
        for pictures, least in ((head, HEAD_ALIGNED), (whole, WHOLE_ALIGNED)):
            second = pictures[b][:, ::-1] if mirrored else pictures[b]
            quick = agreement(_resized(pictures[a], QUICK_SIDE), _resized(second, QUICK_SIDE), steps=15)
            if quick >= QUICK and (value := agreement(pictures[a], second)) >= least:
                return a, b, value, bool(mirrored)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [pair for pair in pool.map(attempt, _promising(whole, head, rows).tolist()) if pair is not None]


def _promising(whole: np.ndarray, head: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 (M, 3): a < b of `rows`, mirrored; of each picture the pairs most worth an alignment."""

    def contrast(pictures: np.ndarray, side: int) -> np.ndarray:
        small = [local_contrast(_resized(pictures[row], side)) for row in rows]
        return np.stack(small) if small else np.zeros((0, side, side), np.float32)

    near = [nearest(standardised(contrast(p, CANDIDATE_SIDE)), NEIGHBOURS, CANDIDATE) for p in (head, whole)]
    found = np.unique(np.concatenate(near), axis=0)
    score = np.max([tangent_agreement(contrast(p, TANGENT_SIDE), found) for p in (head, whole)], axis=0)
    both = np.r_[score, score]
    order = np.lexsort((-both, np.r_[found[:, 0], found[:, 1]]))
    owner = np.r_[found[:, 0], found[:, 1]][order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)  # of each pair among those of one picture
    kept = order[(rank == 0) | ((rank < TRIALS) & (both[order] >= TANGENT))]
    kept = np.unique(kept % max(len(found), 1))
    return np.column_stack([rows[found[kept, 0]], rows[found[kept, 1]], found[kept, 2]])


def tangent_agreement(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """float32 (M,): how far the pictures (N, s, s) of each pair (a, b, mirrored) agree once one is moved a little.

    The part of one that is a sum of the other one and its derivatives along the six moves of an affine map (the
    tangent distance of Simard et al. 1993), of either over the other.
    """
    features, best = standardised(pictures), np.zeros(len(pairs), np.float32)
    side = pictures.shape[1]
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    for left, right in ((0, 1), (1, 0)):
        order = np.argsort(pairs[:, left], kind="stable")
        for some in np.array_split(order, len(order) // PAIRS + 1):
            rows, place = np.unique(pairs[some, left], return_inverse=True)
            moved_y, moved_x = np.gradient(pictures[rows], axis=(1, 2))
            moves = [pictures[rows], moved_x, moved_y, x * moved_x, y * moved_x, x * moved_y, y * moved_y]
            basis = np.stack(moves, axis=1).reshape(len(rows), len(moves), side * side)
            basis -= basis.mean(axis=2, keepdims=True)
            gram = basis @ basis.transpose(0, 2, 1)
            gram += 1e-5 * (np.trace(gram, axis1=1, axis2=2)[:, None, None] + 1) * np.eye(len(moves), dtype=np.float32)
            other = seconds(features, pairs[some][:, [left, right, 2]])
            onto = (basis[place] @ other[:, :, None])[:, :, 0]
            share = (onto * np.linalg.solve(gram[place], onto[:, :, None])[:, :, 0]).sum(axis=1)
            best[some] = np.maximum(best[some], share)
    return best


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
