"""Tumor masks: a training-free method, post-processing, pictures, measurements and scores.

Images are uint8 (H, W), masks bool (H, W), spacing is (row, column) in mm per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

TINT = (255, 176, 0)  # amber, RGB: told from gray and from the heat map by people with any colour vision
CASING = (0, 0, 0)

# K-means. Lengths are shares of the head's size, which is the square root of its area.
SIDE = 144  # pixels of the longer side at which it works: as good as 256 and ten times faster
LEVELS = 4
SKULL = 0.07
SMOOTH = 0.012
CLEAN = 0.02
RING = 0.03
LEAST, MOST = 0.002, 0.2  # of the head's area


# --- masks -----------------------------------------------------------------------------------------------------


def postprocess(probability: np.ndarray, threshold: float, min_fraction: float) -> np.ndarray:
    """float32 (H, W) tumor probability -> bool (H, W): threshold, fill holes, drop specks.

    A connected component smaller than `min_fraction` of the array's area is a speck. NaN counts as no tumor.
    """
    binary = (probability >= threshold).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(binary)
    result = np.zeros(binary.shape, bool)
    if width == 0:
        return result
    box = binary[top : top + height, left : left + width].copy()
    contours, _ = cv2.findContours(box, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(box, contours, -1, 1, cv2.FILLED)  # only outer contours are drawn, so holes are filled
    count, labels, stats, _ = cv2.connectedComponentsWithStats(box, connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= max(1.0, min_fraction * binary.size)
    keep[0] = False
    result[top : top + height, left : left + width] = keep[labels] if count > 1 else False
    return result


# --- masks without training: K-means (k=2) on the brightness inside the skull, then erosion and dilation -----------


def kmeans_mask(image: np.ndarray, find_head: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """uint8 (H, W) -> bool (H, W): the most lesion-like bright piece; empty when there is no candidate.

    find_head: uint8 (h, w) -> bool (h, w), as imaging.preprocessing.head_mask. The same picture always gives the same
    mask. The usual student method takes the brighter of two clusters inside the skull as the tumor; on real slices that
    is mostly white matter and fat. Here the brighter cluster is split again and again, the pieces of every level are
    cleaned by erosion and dilation, their borders are found again by a K-means of their own surroundings, and the piece
    that looks most like a lesion is kept: brighter than what is around it, round, large and deep. It finds bright
    compact lesions; a dark or diffuse glioma it does not find.
    """
    height, width = image.shape
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    mask = _lesion(small, find_head(small))
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


# --- pictures --------------------------------------------------------------------------------------------------


def overlay(
    image: np.ndarray, mask: np.ndarray, opacity: float = 0.45, color: tuple[int, int, int] = TINT
) -> np.ndarray:
    """uint8 (H, W, 3) RGB: the scan with the mask tinted and outlined, at the scan's own resolution.

    image: uint8 (H, W), or (H, W, 3) RGB, as after another overlay. The outline is anti-aliased, its width grows with
    the picture (1.25 pixels at 256, 5 at 1024), and a thin dark casing keeps it visible on bright tissue.
    """
    rgb = image.copy() if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    binary = mask.astype(np.uint8)
    left, top, width, height = cv2.boundingRect(binary)
    if width == 0:
        return rgb
    half = max(1.25, 1.25 * min(image.shape[:2]) / 256) / 2
    pad = math.ceil(4 * half) + 3
    rows = slice(max(0, top - pad), min(image.shape[0], top + height + pad))
    columns = slice(max(0, left - pad), min(image.shape[1], left + width + pad))
    inside = np.pad(binary[rows, columns], 1)  # the frame of zeros closes a mask that touches the picture's edge
    # Distance to the border in pixels, positive inside; smoothing it turns pixel stairs into a line.
    to_outside = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_inside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = (
        to_outside - to_inside - (inside - np.float32(0.5))
    )  # both count from pixel centres; the border lies between
    distance = cv2.GaussianBlur(distance, (0, 0), 0.8 * max(1.0, half))[1:-1, 1:-1]
    part = rgb[rows, columns].astype(np.float32)
    for alpha, tone in (
        (opacity * np.clip(distance + 0.5, 0, 1), color),
        (0.55 * np.clip(half + 1.5 - np.abs(distance), 0, 1), CASING),
        (np.clip(half + 0.5 - np.abs(distance), 0, 1), color),
    ):
        part += alpha[..., None] * (np.array(tone, np.float32) - part)
    rgb[rows, columns] = np.clip(part + 0.5, 0, 255).astype(np.uint8)
    return rgb


def heat_overlay(image: np.ndarray, heatmap: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """uint8 (H, W, 3) RGB: the scan under the heat map (float 0..1), in inferno, which colour-blind people can read.

    The heat fades out towards zero, so that cold tissue stays gray instead of turning dark violet.
    """
    levels = np.arange(256, dtype=np.float32) / 255
    alpha = opacity * np.clip(levels / 0.4, 0, 1)
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256)
    inferno = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[..., ::-1]
    glow = np.ascontiguousarray(inferno * alpha[:, None] + 0.5, dtype=np.uint8)  # colour x opacity of each heat
    shade = (255 * (1 - alpha) + 0.5).astype(np.uint8)
    heat = np.clip(np.nan_to_num(heatmap) * 255 + 0.5, 0, 255).astype(np.uint8)
    gray = cv2.multiply(image, cv2.LUT(heat, shade), scale=1 / 255)
    return cv2.add(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), cv2.LUT(cv2.cvtColor(heat, cv2.COLOR_GRAY2RGB), glow))


# --- measurements ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measures:
    """Size of a mask. The millimetre figures are None when the spacing is not known."""

    fraction: float  # of the head's pixels, 0..1
    pixels: int
    area_mm2: float | None
    diameter_mm: float | None  # largest diameter (maximum Feret) of any one connected component


def measure(mask: np.ndarray, head: np.ndarray, spacing: tuple[float, float] | None) -> Measures:
    """Sizes of a bool mask (H, W) in a head (bool (H, W)). Mask pixels outside the head count for no fraction."""
    pixels = int(np.count_nonzero(mask))
    inside = int(np.count_nonzero(mask & head)) if pixels else 0
    fraction = inside / max(1, int(np.count_nonzero(head)))
    if spacing is None:
        return Measures(fraction, pixels, None, None)
    return Measures(fraction, pixels, pixels * spacing[0] * spacing[1], max_diameter(mask, spacing))


def max_diameter(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Largest distance in mm between the outer pixel corners of one component (maximum Feret diameter); 0 if empty."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    largest = 0.0
    for contour in contours:
        hull = cv2.convexHull(contour).reshape(-1, 1, 2)  # (x, y)
        x, y = ((hull + corners) * (spacing[1], spacing[0])).reshape(-1, 2).T
        largest = max(largest, float(np.hypot(x[:, None] - x, y[:, None] - y).max()))
    return largest


# --- scores ----------------------------------------------------------------------------------------------------


def _ratio(part: int, whole: int, both_empty: bool) -> float:
    return part / whole if whole else float(both_empty)


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """2|A∩B| / (|A|+|B|) of two masks of equal shape (2-D or 3-D); both empty: 1."""
    p, t = prediction.astype(bool), truth.astype(bool)
    return _ratio(2 * int((p & t).sum()), int(p.sum() + t.sum()), True)


def iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """|A∩B| / |A∪B|; both empty: 1."""
    p, t = prediction.astype(bool), truth.astype(bool)
    return _ratio(int((p & t).sum()), int((p | t).sum()), True)


def precision(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Share of the marked pixels that are tumor; nothing marked: 1 when there is no tumor, else 0."""
    p, t = prediction.astype(bool), truth.astype(bool)
    return _ratio(int((p & t).sum()), int(p.sum()), not t.any())


def recall(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Share of the tumor pixels that are marked; no tumor: 1 when nothing is marked, else 0."""
    return precision(truth, prediction)


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None = None) -> float:
    """95th-percentile Hausdorff distance in mm (in pixels without a spacing).

    The larger of the two directed 95th percentiles of the distances between the surfaces, where the surface is the
    mask minus its erosion (Huttenlocher et al. 1993, as in MONAI). Both masks empty: 0. One empty: inf, since there
    is no surface to measure to; averages should count such cases apart.
    """
    from scipy import ndimage  # 0.3 s to import, and only scores need it, not the app

    p, t = prediction.astype(bool), truth.astype(bool)
    if not p.any() or not t.any():
        return 0.0 if p.any() == t.any() else math.inf
    box = ndimage.find_objects((p | t).astype(np.uint8))[0]
    p, t = np.pad(p[box], 1), np.pad(t[box], 1)  # within the box of both, distances are the same as in the picture
    p_surface = p & ~ndimage.binary_erosion(p)
    t_surface = t & ~ndimage.binary_erosion(t)
    to_truth = ndimage.distance_transform_edt(~t_surface, sampling=spacing)[p_surface]
    to_prediction = ndimage.distance_transform_edt(~p_surface, sampling=spacing)[t_surface]
    return float(max(np.percentile(to_truth, 95), np.percentile(to_prediction, 95)))


def scores(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...] | None = None) -> dict[str, float]:
    """{"dice", "iou", "precision", "recall", "hd95"}; the edge cases are those of each function."""
    return {
        "dice": dice(prediction, truth),
        "iou": iou(prediction, truth),
        "precision": precision(prediction, truth),
        "recall": recall(prediction, truth),
        "hd95": hd95(prediction, truth, spacing),
    }


def agreement(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Share of the heat (float (H, W) >= 0) that lies inside the mask, 0..1; no heat or an empty mask: 0."""
    total = float(heatmap.sum(dtype=np.float64))
    return float(heatmap[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0
