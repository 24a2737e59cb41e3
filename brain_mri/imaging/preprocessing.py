"""The one preprocessing: picture -> square uint8 model input, the same bits in training, evaluation and serving.

Pure NumPy and OpenCV. The head is found, a square with a small margin is laid around it, and the gray values
of the head are stretched to 0..255. The margin, frame and contrast with which a picture was exported say more
about its source than about the brain in it, and this step removes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PREPROCESSING = "head-square-v1"
MARGIN = 0.04  # of the head's longer side, on each side
COARSE = 128  # pixels; the head is looked for at this size
PERCENTILES = (1.0, 99.5)
EXACT = 4096  # squares up to this side are padded exactly; larger ones to the nearest model pixel, to save memory


@dataclass(frozen=True)
class Frame:
    """The model's square in pixels of the picture (height x width); it may reach outside the picture."""

    height: int
    width: int
    top: int
    left: int
    side: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as the models see it."""

    square: np.ndarray  # uint8 (S, S)
    frame: Frame  # where it lies in the picture
    head: np.ndarray  # bool (H, W)
    levels: np.ndarray  # uint8 (256,): what has become of each gray value


def head_mask(image: np.ndarray) -> np.ndarray:
    """bool (H, W): the head with its holes filled; the whole frame when no head stands out from a background.

    image: uint8 (H, W).
    """
    return _head(image)[2] > 0


def _head(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(coarse picture, coarse inside of the head, head at the picture's resolution); heads are 0/255.

    Found on a picture of at most COARSE pixels, where letters and lines vanish; then the edge is drawn sharp.
    """
    height, width = image.shape
    scale = min(1.0, COARSE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    smooth = cv2.GaussianBlur(small, (3, 3), 0)
    mask, level = _body(smooth, None)
    _, _, box_width, box_height = cv2.boundingRect(mask)
    area = np.count_nonzero(mask)
    if area > 0.9 * box_width * box_height:  # a rectangle is no head: a gray scan on a black page, or a close crop
        inner, higher = _body(smooth, mask)
        if np.count_nonzero(inner) > 0.5 * area:
            mask, level = inner, higher
    if np.count_nonzero(mask) < 0.06 * mask.size:
        return small, np.full_like(small, 255), np.full_like(image, 255)
    inside = cv2.erode(mask, _disc(small, 5), borderType=cv2.BORDER_CONSTANT, borderValue=255)
    around, core = (cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in (mask, inside))
    bright = cv2.threshold(cv2.blur(image, (3, 3)), level, 255, cv2.THRESH_BINARY)[1]
    sharp = cv2.bitwise_or(cv2.bitwise_and(around, bright), core)
    return small, inside, cv2.threshold(sharp, 127, 255, cv2.THRESH_BINARY)[1]


def _body(smooth: np.ndarray, within: np.ndarray | None) -> tuple[np.ndarray, int]:
    """(0/255, threshold): the large solid parts that stand out from the dark of a picture, or of a part of it.

    The threshold lies a little above the darkest gray values, not at zero: exported pictures often have a gray floor.
    """
    low, _ = _percentiles(smooth, within, (2.0, 98.0))
    lit = cv2.threshold(smooth, low + 8, 255, cv2.THRESH_BINARY)[1]  # so that the size of the margin does not matter
    if not lit.any():
        return np.zeros_like(smooth), low
    _, high = _percentiles(smooth, lit if within is None else cv2.bitwise_and(lit, within), (2.0, 95.0))
    level = int(low + 0.18 * (high - low))
    mask = cv2.threshold(smooth, level, 255, cv2.THRESH_BINARY)[1]
    for view in (mask, mask[::-1], mask.T, mask.T[::-1]):
        _strip_frame(view)
    mask = _fill(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(smooth, 5)))
    core = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(smooth, 9))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the background
    kept = np.where((areas > 0) & (areas >= 0.2 * areas.max()), 255, 0).astype(np.uint8)
    return cv2.bitwise_and(mask, cv2.dilate(kept[labels], _disc(smooth, 7))), level


def _percentiles(picture: np.ndarray, mask: np.ndarray | None, wanted: tuple[float, float]) -> tuple[int, int]:
    """Gray values below which two percentages of the (masked) pixels lie."""
    total = np.cumsum(cv2.calcHist([picture], [0], mask, [256], [0, 256]).ravel())
    low, high = np.searchsorted(total, total[-1] * np.array(wanted) / 100)
    return int(low), int(high)


def _disc(picture: np.ndarray, diameter: int) -> np.ndarray:
    """An elliptic structuring element, `diameter` pixels wide in a picture of COARSE pixels."""
    width = max(1, round(diameter * max(picture.shape) / COARSE)) | 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))


def _fill(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a 0/255 mask."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED)


def _strip_frame(mask: np.ndarray) -> None:
    """Clear, in place, a bright line or bar along the first rows of a mask: nearly full rows that end abruptly."""
    depth = max(2, mask.shape[0] // 12)
    full = np.count_nonzero(mask[: depth + 3], axis=1) / mask.shape[1]
    for row in range(min(depth, len(full) - 4), -1, -1):
        if full[row] > 0.75 and full[row + 1 : row + 4].min() < (0.8 if full[row] > 0.97 else 0.6) * full[row]:
            mask[: row + 1] = 0
            return


def _square(mask: np.ndarray) -> Frame:
    """The square around a head (0/255, the picture's resolution), without a margin when the head fills the picture."""
    x, y, w, h = cv2.boundingRect(mask)
    height, width = mask.shape
    whole = (w, h) == (width, height)
    side = max(1, round(max(w, h) * (1.0 if whole else 1 + 2 * MARGIN)))
    return Frame(height, width, (2 * y + h - side) // 2, (2 * x + w - side) // 2, side)


def preprocess(image: np.ndarray, size: int) -> tuple[np.ndarray, Frame]:
    """(uint8 (size, size), the square it shows).  image: uint8 (H, W)."""
    prepared = prepare(image, size)
    return prepared.square, prepared.frame


def prepare(image: np.ndarray, size: int) -> Prepared:
    """`preprocess`, `head_mask` and the stretch of the gray values at the cost of one.  image: uint8 (H, W)."""
    small, inside, head = _head(image)
    frame = _square(head)
    low, high = _percentiles(small, inside, PERCENTILES)
    if high <= low:
        low, high = int(small.min()), int(small.max())
    table = np.clip((np.arange(256) - low) * (255.0 / max(high - low, 1)) + 0.5, 0, 255).astype(np.uint8)
    square = cv2.LUT(apply_frame(image, frame, size), table)
    return Prepared(cv2.bitwise_and(square, _surroundings(head, frame, size)), frame, head > 0, table)


def _surroundings(head: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """uint8 (size, size): 255 on the convex hull of the head and a little around it, 0 where only the source is seen.

    The hull forgives a head_mask with notches; letters, ticks, frames and noise beyond it go.
    """
    contours, _ = cv2.findContours(head, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(contours)).astype(np.float64)
    points = (hull + 0.5 - (frame.left, frame.top)) * (size / frame.side) - 0.5
    region = cv2.fillConvexPoly(np.zeros((size, size), np.uint8), np.round(points).astype(np.int32), 255)
    width = 2 * max(1, round(0.4 * MARGIN * size)) + 1
    return cv2.dilate(region, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))


def apply_frame(array: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """(H, W) -> (size, size) of the same dtype: the square of `frame`, 0 outside the picture.

    Area resize when shrinking, bilinear when enlarging. A mask goes in as uint8 0/255 and is cut at 127 by the caller.
    """
    rows, columns, to_rows, to_columns = _overlap(frame, size)
    part = array[rows, columns]
    if frame.side <= EXACT:
        square = np.zeros((frame.side, frame.side), array.dtype)
        square[
            rows.start - frame.top : rows.stop - frame.top, columns.start - frame.left : columns.stop - frame.left
        ] = part
        return _resize(square, (size, size))
    result = np.zeros((size, size), array.dtype)
    result[to_rows, to_columns] = _resize(part, (to_columns.stop - to_columns.start, to_rows.stop - to_rows.start))
    return result


def restore(map_: np.ndarray, frame: Frame) -> np.ndarray:
    """float32 (s, s) in the square -> float32 (H, W) on the picture: bilinear, 0 outside the square."""
    rows, columns, from_rows, from_columns = _overlap(frame, map_.shape[0])
    map_ = np.ascontiguousarray(map_, np.float32)
    result = np.zeros((frame.height, frame.width), np.float32)
    if frame.side <= EXACT:
        square = cv2.resize(map_, (frame.side, frame.side), interpolation=cv2.INTER_LINEAR)
        result[rows, columns] = square[
            rows.start - frame.top : rows.stop - frame.top, columns.start - frame.left : columns.stop - frame.left
        ]
        return result
    shape = columns.stop - columns.start, rows.stop - rows.start
    result[rows, columns] = cv2.resize(map_[from_rows, from_columns], shape, interpolation=cv2.INTER_LINEAR)
    return result


def _resize(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """To (width, height): averaging areas when anything shrinks, else bilinear."""
    shrinks = array.shape[1] > shape[0] or array.shape[0] > shape[1]
    return cv2.resize(array, shape, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _overlap(frame: Frame, size: int) -> tuple[slice, slice, slice, slice]:
    """(rows, columns) of the picture inside the square, and, to the nearest pixel, of the (size, size) input."""
    top, bottom = max(frame.top, 0), min(frame.top + frame.side, frame.height)
    left, right = max(frame.left, 0), min(frame.left + frame.side, frame.width)
    scale = size / frame.side

    def place(start: int, stop: int, origin: int) -> slice:
        first = min(round((start - origin) * scale), size - 1)
        return slice(first, max(first + 1, min(round((stop - origin) * scale), size)))

    return slice(top, bottom), slice(left, right), place(top, bottom, frame.top), place(left, right, frame.left)


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of a uint8 (H, W) picture: low for a blurred one."""
    return float(cv2.Laplacian(image, cv2.CV_32F).var())
