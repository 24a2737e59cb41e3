"""Masks for class-folder slices that are copies or mirrors of a slice with a mask.

Most tumor pictures of the Kaggle class folders are figshare slices, and the mask set holds the same slices with their
tumors outlined. A mask is handed over only when both pictures, laid over each other in the receiver's square, agree.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd

from brain_mri.data.duplicates import local_contrast, shrunk
from brain_mri.data.neighbours import nearest, seconds, standardised

AGREEMENT = 0.95  # correlation of the two squares at full size
DETAIL = 0.80  # and of their local contrast, which neighbouring slices of one head do not reach
CERTAIN = 0.99, 0.95  # agreement and detail above which no other candidate is looked at
CANDIDATES, COARSE_WHOLE, COARSE_HEAD = 2, 0.95, 0.75  # per kind of thumbnail, and their least correlation at 32x32
Twin = tuple[int, int, bool, bool, float, float]
TWIN_COLUMNS = ["taker", "giver", "mirrored", "same_frame", "correlation", "detail"]


def find_twins(
    images: np.ndarray,
    whole: np.ndarray,
    head: np.ndarray,
    frames: np.ndarray,
    takers: np.ndarray,
    givers: np.ndarray,
) -> pd.DataFrame:
    """The best giver of each taker that has one: columns taker, giver, mirrored, same_frame, correlation, detail.

    images: uint8 (N, S, S); whole, head: duplicates.thumbnails; frames: int (N, 5), FRAME_COLUMNS of the table;
    takers, givers: row numbers. same_frame: the whole pictures correspond, so the mask has to be moved from
    square to square through the picture; otherwise (one is a crop of the other) the heads and thus the squares do.
    """
    if not len(takers) or not len(givers):
        return pd.DataFrame(columns=TWIN_COLUMNS)

    trials: dict[int, list[tuple[float, int, bool, bool]]] = {}  # of each taker: correlation, giver, mirrored, ...
    rows = np.r_[takers, givers]
    for same_frame, least in ((True, COARSE_WHOLE), (False, COARSE_HEAD)):
        small = standardised(shrunk(whole[rows]) if same_frame else local_contrast(shrunk(head[rows])))
        pairs = nearest(small, CANDIDATES, least, first=len(takers))
        for start in range(0, len(pairs), 1024):
            some = pairs[start : start + 1024]
            scores = np.einsum("ij,ij->i", small[some[:, 0]], seconds(small, some))
            for (a, b, mirrored), score in zip(some.tolist(), scores.tolist(), strict=True):
                trials.setdefault(int(rows[a]), []).append((score, int(rows[b]), bool(mirrored), same_frame))

    def best(taker: int, candidates: list[tuple[float, int, bool, bool]]) -> Twin | None:
        found: list[Twin] = []
        for _, giver, mirrored, same_frame in sorted(candidates, reverse=True):
            moved = move(images[giver], frames[giver], frames[taker], mirrored, same_frame)
            alike, detail = _agreement(images[taker], moved)
            if alike >= AGREEMENT and detail >= DETAIL:
                found.append((taker, giver, mirrored, same_frame, alike, detail))
            if alike >= CERTAIN[0] and detail >= CERTAIN[1]:
                break
        return max(found, key=lambda twin: twin[4] + twin[5], default=None)

    with ThreadPoolExecutor() as pool:
        found = pool.map(best, trials.keys(), trials.values())
        return pd.DataFrame(sorted(twin for twin in found if twin), columns=TWIN_COLUMNS)


def _agreement(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Correlation of two squares, and of their local contrast."""
    pair = np.stack([first, second])
    plain, detail = standardised(pair), standardised(local_contrast(pair))
    return float(plain[0] @ plain[1]), float(detail[0] @ detail[1])


def move(square: np.ndarray, giver: np.ndarray, taker: np.ndarray, mirrored: bool, same_frame: bool) -> np.ndarray:
    """The giver's square uint8 (S, S), a picture or a mask, as it lies in the taker's square; bilinear, 0 outside.

    giver, taker: (height, width, top, left, side), see find_twins.
    """
    size = square.shape[0]
    scale, shift = [1.0, 1.0], [0.0, 0.0]  # x and y, in pixels of the squares
    if same_frame:
        for axis, (extent, origin) in enumerate(((1, 3), (0, 2))):
            ratio = taker[extent] / giver[extent]  # of the two pictures' sizes
            scale[axis] = giver[4] * ratio / taker[4]
            start = giver[origin] * ratio
            if mirrored and axis == 0:
                start, scale[axis] = taker[extent] - start, -scale[axis]
            shift[axis] = (start - taker[origin]) * size / taker[4]
    elif mirrored:
        scale[0], shift[0] = -1.0, float(size)
    matrix = np.array(  # the centre of pixel i lies at i + 0.5
        [
            [scale[0], 0, 0.5 * scale[0] + shift[0] - 0.5],
            [0, scale[1], 0.5 * scale[1] + shift[1] - 0.5],
        ]
    )
    return cv2.warpAffine(square, matrix, (size, size), flags=cv2.INTER_LINEAR)


def hand_over(masks: np.ndarray, frames: np.ndarray, twins: pd.DataFrame) -> None:
    """Write the givers' masks into the takers' rows of masks uint8 (N, S, S), 0/255."""
    columns = (twins[name].tolist() for name in TWIN_COLUMNS[:4])
    for taker, giver, mirrored, same_frame in zip(*columns, strict=True):
        moved = move(masks[giver], frames[giver], frames[taker], mirrored, same_frame)
        masks[taker] = np.where(moved > 127, 255, 0)
