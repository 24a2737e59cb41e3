"""What scans suffer on their way to a visitor: noise, blur, motion, small size, JPEG, other gray values.

Networks learn from such looks (training/degrade.py), picture quality is judged by them (training/quality_fit.py), and
models are measured on them (evaluation/degraded.py).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np


def noisy(image: np.ndarray, sigma: float, rng: np.random.Generator, *, rician: bool = False) -> np.ndarray:
    """Gaussian noise of `sigma` gray values, or Rician, as of magnitudes (Gudbjartsson & Patz 1995).  uint8 (H, W)."""
    real = image + rng.normal(0, sigma, image.shape)
    found = np.hypot(real, rng.normal(0, sigma, image.shape)) if rician else real
    return np.clip(found, 0, 255).astype(np.uint8)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def moved(image: np.ndarray, share: float, shift: int, axis: int) -> np.ndarray:
    """Ghosts along one axis, and the smear of a head that moves."""
    ghosts = (np.roll(image, shift, axis).astype(np.float32) + np.roll(image, -shift, axis)) / 2
    return np.clip((1 - share) * image + share * ghosts, 0, 255).astype(np.uint8)


def shrunk(image: np.ndarray, times: float) -> np.ndarray:
    """1/times of its size, at least 16 pixels."""
    height, width = (max(16, round(side / times)) for side in image.shape)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def enlarged(image: np.ndarray, like: np.ndarray, way: int = cv2.INTER_LINEAR) -> np.ndarray:
    return cv2.resize(image, like.shape[::-1], interpolation=way)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """A JPEG file of this quality, read again."""
    file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE))


def _levels(curve: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, np.clip(curve(np.arange(256.0)), 0, 255).astype(np.uint8))


Way = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
WAYS: dict[str, Way] = {
    "noise": noisy,
    "noise in the head only": lambda image, sigma, rng: np.where(image > 8, noisy(image, sigma, rng), image),
    "blur": lambda image, sigma, _: blurred(image, sigma),
    "shrunk and enlarged": lambda image, times, _: enlarged(shrunk(image, times), image),
    "shrunk": lambda image, times, _: shrunk(image, times),
    "JPEG": lambda image, quality, _: compressed(image, round(quality)),
    "motion": lambda image, share, rng: moved(image, share, int(rng.integers(5, 25)), int(rng.integers(2))),
    "brighter": lambda image, more, _: _levels(lambda value: value + more, image),
    "flatter": lambda image, share, _: _levels(lambda value: 128 + share * (value - 128), image),
    "gamma": lambda image, power, _: _levels(lambda value: 255 * (value / 255) ** power, image),
    "negative": lambda image, _, __: 255 - image,
}
# Standard deviations in gray values or pixels, times, JPEG quality, share of the ghosts, gray values, share of the
# contrast, power: what is common, and what is hardly worth uploading.
SEVERITIES: dict[str, tuple[float, ...]] = {
    "noise": (10, 25, 50),
    "noise in the head only": (50,),
    "blur": (2, 4),
    "shrunk and enlarged": (4, 8),
    "shrunk": (8,),
    "JPEG": (20, 5),
    "motion": (0.5,),
    "brighter": (90,),
    "flatter": (0.25,),
    "gamma": (0.5, 2),
    "negative": (1,),
}


STEPS = tuple((kind, severity) for kind, severities in SEVERITIES.items() for severity in severities)


def degrade(image: np.ndarray, kind: str, severity: float, seed: int) -> np.ndarray:
    """uint8 (H, W) -> the same picture, spoilt; "shrunk" is smaller. The same seed gives the same noise."""
    return WAYS[kind](image, severity, np.random.default_rng(seed))
