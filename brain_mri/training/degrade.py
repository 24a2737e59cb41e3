"""What scans suffer on their way to a visitor, done to slices while a network learns: noise, blur, motion, small size,
JPEG, another curve of brightness."""

from __future__ import annotations

import cv2
import numpy as np

from brain_mri.imaging.degrade import blurred, compressed, enlarged, moved, noisy, shrunk

SHARE = 0.35  # of the slices, at strength 1
NOISE = 50.0  # gray values; the standard deviation is up to this, mostly less
SHRINK = 5.0  # times, at most
JPEG = (5, 60)
CURVE = 0.3  # of the slices get another curve of brightness


def degraded(images: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """uint8 (N, S, S) -> the same, some of them spoilt in one or two ways."""
    rng = np.random.default_rng([seed, 2])
    result = np.empty_like(images)
    for row, image in enumerate(images):
        if rng.random() < CURVE * strength:
            image = _curved(image, rng)
        for chance in (SHARE, SHARE / 4):
            if rng.random() < chance * strength:
                image = _WAYS[rng.integers(len(_WAYS))](image, rng)
        result[row] = image
    return result


def _curved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another sequence, roughly: a smooth curve through a few random points, mostly but not always rising; air stays
    black."""
    steps = rng.gamma(1.5, 1.0, 5) * np.where(rng.random(5) < 0.2, -0.7, 1.0)
    points = np.concatenate([[0.0], np.cumsum(steps)])
    points -= min(0.0, points.min())
    curve = np.interp(np.arange(256), np.linspace(0, 255, 6), points)
    curve *= rng.uniform(200, 255) / max(float(curve.max()), 1e-3)
    curve = cv2.GaussianBlur(curve[None].astype(np.float32), (31, 1), 0, borderType=cv2.BORDER_REPLICATE)[0]
    curve[:9] *= np.linspace(0, 1, 9)
    return cv2.LUT(image, np.clip(curve, 0, 255).astype(np.uint8))


def _noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rician or Gaussian; on the head or everywhere."""
    spoilt = noisy(image, NOISE * rng.uniform(0.1, 1) ** 1.5, rng, rician=rng.random() < 0.4)
    return np.where(image > 0, spoilt, 0) if rng.random() < 0.5 else spoilt


def _blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return blurred(image, rng.uniform(0.5, 3.0))


def _moved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return moved(image, rng.uniform(0.05, 0.3), int(rng.integers(3, 25)), int(rng.integers(2)))


def _shrunk(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    way = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return enlarged(shrunk(image, rng.uniform(1.3, SHRINK)), image, way)


def _compressed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return compressed(image, int(rng.integers(*JPEG)))


_WAYS = (_noisy, _noisy, _blurred, _moved, _shrunk, _compressed)
