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
from brain_mri.data.neighbours import mirror, standardised

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

    def features(rows: np.ndarray) -> list[np.ndarray]:
        return [standardised(shrunk(whole[rows])), standardised(local_contrast(shrunk(head[rows])))]

    def candidates(block: np.ndarray) -> list[list[tuple[float, int, bool, bool]]]:
        """Of a few takers: (correlation, giver, mirrored, same_frame) of the most similar givers."""
        found: list[list[tuple[float, int, bool, bool]]] = [[] for _ in block]
        for taken, theirs, least in zip(features(block), given, (COARSE_WHOLE, COARSE_HEAD), strict=True):
            for mirrored in (False, True):
                scores = (mirror(taken) if mirrored else taken) @ theirs.T
                near = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                for k, j in ((k, j) for k, row in enumerate(near) for j in row if scores[k, j] >= least):
                    found[k].append((float(scores[k, j]), int(givers[j]), mirrored, theirs is given[0]))
        return found

    def best(taker: int, trials: list[tuple[float, int, bool, bool]]) -> Twin | None:
        found: list[Twin] = []
        for _, giver, mirrored, same_frame in sorted(trials, reverse=True):
            moved = move(images[giver], frames[giver], frames[taker], mirrored, same_frame)
            alike, detail = _agreement(images[taker], moved)
            if alike >= AGREEMENT and detail >= DETAIL:
                found.append((taker, giver, mirrored, same_frame, alike, detail))
            if alike >= CERTAIN[0] and detail >= CERTAIN[1]:
                break
        return max(found, key=lambda twin: twin[4] + twin[5], default=None)

    def twins(block: np.ndarray) -> list[Twin]:
        found = [best(*pair) for pair in zip(block.tolist(), candidates(block), strict=True)]
        return [twin for twin in found if twin is not None]

    given, count = features(givers), min(CANDIDATES, len(givers))
    with ThreadPoolExecutor() as pool:
        blocks = pool.map(twins, [takers[start : start + 128] for start in range(0, len(takers), 128)])
        return pd.DataFrame([row for block in blocks for row in block], columns=TWIN_COLUMNS)


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
