"""What a picture is like, in a few dozen cheap statistics that tell brain MRI slices from other pictures.

Outline of the head, tones from the rim inwards, edges and spectrum; all at a fixed small size, so the cost is fixed too
(about 0.4 ms). guard.py decides what they mean.
"""

from __future__ import annotations

import cv2
import numpy as np

from brain_mri.imaging.preprocessing import Prepared

SIDE = 96  # pixels of the longer side at which a picture is described
NAMES = (
    "color", "head share", "border mean", "border head", "background dark", "background spread",
    "solidity", "ellipse", "roundness", "pieces",
    "entropy", "dark", "middle", "bright", "skew",
    "rim 1", "rim 2", "rim 3", "rim 4", "rim 5", "spread 1", "spread 2", "spread 3", "spread 4", "spread 5",
    "symmetry", "flat", "gradient", "gradient ratio", "axis edges", "laplace tail", "local", "slope", "low band",
    "middle band", "high band",
)  # fmt: skip
_LEVELS = np.arange(256.0)
_WINDOW = np.outer(np.hanning(64), np.hanning(64)).astype(np.float32)
_RADIUS = np.hypot(np.fft.fftfreq(64)[:, None] * 64, np.fft.rfftfreq(64)[None] * 64)
_RING = np.minimum(_RADIUS, 32).astype(np.int64).ravel()
_RING_SIZE = np.bincount(_RING, minlength=33)
_LOG = np.log(np.arange(2, 30))
_LOG = (_LOG - _LOG.mean()) / np.square(_LOG - _LOG.mean()).sum()


def descriptors(image: np.ndarray, color: float, prepared: Prepared, *, stretched: bool = True) -> np.ndarray:
    """float32 (len(NAMES),): what the picture is like, at a fixed small size and so at a fixed small cost.

    image: uint8 (H, W); color: mean saturation 0..1; prepared: from preprocessing.prepare. Gray values are judged as
    the models see them: a scan that is only brighter or flatter than others is no other picture. stretched=False: as
    they are in the file, for guards of before December 2026.
    """
    height, width = image.shape
    scale = SIDE / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    step = max(1, int(0.5 / scale))  # every second row and column of a large picture is plenty
    small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), size, interpolation=cv2.INTER_AREA)
    small = cv2.LUT(small, prepared.levels) if stretched else small
    inside = cv2.resize(prepared.head.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    square = cv2.resize(prepared.square, (64, 64), interpolation=cv2.INTER_AREA)
    found = [color, *_outline(small, inside), *_tones(small, inside), *_texture(square)]
    # float32 sums depend in the last bit on where the array lies in memory; the same file must give the same bits
    return np.nan_to_num(np.round(np.array(found, np.float64), 5).astype(np.float32))


def _outline(small: np.ndarray, inside: np.ndarray) -> list[float]:
    """Where the head is, how dark the rest is, and whether its outline is one smooth oval."""
    border = np.ones(small.shape, bool)
    border[3:-3, 3:-3] = False
    outside = small[inside == 0]
    share = 1 - outside.size / small.size
    moments = cv2.moments(inside, binaryImage=True)
    area = max(moments["m00"], 1.0)
    xx, yy, xy = (moments[k] / area for k in ("mu20", "mu02", "mu11"))
    determinant = max(xx * yy - xy * xy, 1e-6)
    spread = np.sqrt(max((xx - yy) ** 2 / 4 + xy * xy, 0.0))
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = sum(cv2.contourArea(cv2.convexHull(c)) for c in contours)
    solid = sum(cv2.contourArea(c) for c in contours) / max(hull, 1.0)
    return [
        share,
        float(small[border].mean()) / 255,
        float(inside[border].mean()),
        float((outside < 30).mean()) if outside.size else 0.0,
        float(outside.std()) / 64 if outside.size else 0.0,
        solid,
        area / (4 * np.pi * np.sqrt(determinant)),  # 1 for a filled ellipse, less for anything else
        np.sqrt(np.maximum((xx + yy) / 2 - spread, 1e-6) / np.maximum((xx + yy) / 2 + spread, 1e-6)),
        float(len(contours)),
    ]


def _tones(small: np.ndarray, inside: np.ndarray) -> list[float]:
    """Brightness of the head: its histogram, and its mean and spread on the way from the rim to the middle."""
    values = small[inside > 0]
    if values.size < 16:
        values = small.ravel()
        inside = np.ones_like(inside)
    counts = np.bincount(values, minlength=256) / values.size
    total = np.cumsum(counts)
    low, high = int(np.searchsorted(total, 0.01)), int(np.searchsorted(total, 0.99))
    tone = np.clip((_LEVELS - low) / max(high - low, 1), 0, 1)  # of each gray level
    share = np.bincount((tone * 31.99).astype(np.int64), counts, minlength=32)
    mean = float(tone @ counts)
    centred = tone - mean
    deviation = float(np.sqrt(centred * centred @ counts)) + 1e-3
    depth = cv2.distanceTransform(cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    depth = depth * (4.99 / max(float(depth.max()), 1e-3))
    pair = depth[1:-1, 1:-1][inside > 0].astype(np.int64) * 256 + values
    joint = np.bincount(pair, minlength=5 * 256)[: 5 * 256].reshape(5, 256)  # ring x gray level
    number = joint.sum(axis=1) + 1e-6
    means = joint @ tone / number
    squares = joint @ (tone * tone) / number
    return [
        -float((share * np.log2(share + 1e-9)).sum()),
        float(share[:6].sum()),
        float(share[6:20].sum()),
        float(share[24:].sum()),
        float(centred * centred * centred @ counts) / deviation**3,
        *means,
        *np.sqrt(np.maximum(squares - means**2, 0)),
    ]


def _texture(square: np.ndarray) -> list[float]:
    """Edges and spectrum of the model's square, uint8 (64, 64)."""
    values = square.astype(np.float32)
    centred = values - values.mean()
    energy = float((centred * centred).sum()) + 1.0
    gx = cv2.Sobel(values, cv2.CV_32F, 1, 0) / 8
    gy = cv2.Sobel(values, cv2.CV_32F, 0, 1) / 8
    gradient = cv2.magnitude(gx, gy)
    half = cv2.resize(values, (32, 32), interpolation=cv2.INTER_AREA)
    half_gradient = cv2.magnitude(cv2.Sobel(half, cv2.CV_32F, 1, 0), cv2.Sobel(half, cv2.CV_32F, 0, 1)) / 8
    squared = gradient * gradient
    along = np.minimum(np.abs(gx), np.abs(gy)) < 0.15 * np.maximum(np.abs(gx), np.abs(gy))
    laplace = cv2.Laplacian(values, cv2.CV_32F)
    smooth = cv2.blur(values, (5, 5))
    local = np.sqrt(np.maximum(cv2.blur(values * values, (5, 5)) - smooth * smooth, 0))
    lit = values > 12
    power = np.square(np.abs(np.fft.rfft2(centred * _WINDOW))).ravel()
    ring = np.bincount(_RING, power, minlength=33)
    logs = np.log(ring / _RING_SIZE + 1.0)
    total = ring[1:].sum() + 1.0
    return [
        float((centred * centred[:, ::-1]).sum()) / energy,
        float((gradient[lit] < 1.5).mean()) if lit.any() else 1.0,
        float(gradient.mean()) / 16,
        float(gradient.mean()) / (float(half_gradient.mean()) + 0.1),
        float(squared[along].sum() / (squared.sum() + 1.0)),
        float(np.abs(laplace).mean()) / (float(laplace.std()) + 0.1),
        float(local[lit].mean()) / (float(values[lit].std()) + 1.0) if lit.any() else 0.0,
        float((logs[2:30] * _LOG).sum()),
        float(np.log(ring[1:4].sum() / total + 1e-6)),
        float(np.log(ring[6:14].sum() / total + 1e-6)),
        float(np.log(ring[16:].sum() / total + 1e-6)),
    ]
