"""Random warps of slices and masks together: affine and elastic in one map, so that pixels are interpolated once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from brain_mri.imaging.midline import folded
from brain_mri.training.midline_folds import Fold

ROTATION = 18.0  # degrees; this and the rest are half ranges at strength 1
ZOOM = 0.18  # logarithmic
STRETCH = 0.09  # of one axis against the other, logarithmic
SHEAR = 0.1
SHIFT = 0.07  # share of the side
ELASTIC = 0.02  # standard deviation of the displacement of a coarse grid's nodes, share of the side
NODES = 7  # of that grid along a side (Ronneberger et al. 2015 took 3)


def affine(size: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (2, 3), output to input about the centre; half of them mirror left and right."""
    angle = math.radians(ROTATION) * strength * rng.uniform(-1, 1)
    scale_x = math.exp(ZOOM * strength * rng.uniform(-1, 1))
    scale_y = scale_x * math.exp(STRETCH * strength * rng.uniform(-1, 1))
    mirror = rng.choice([-1.0, 1.0])
    linear = np.array(
        [
            [mirror * scale_x * math.cos(angle), SHEAR * strength * rng.uniform(-1, 1) - scale_x * math.sin(angle)],
            [mirror * scale_y * math.sin(angle), scale_y * math.cos(angle)],
        ]
    )
    centre = np.full(2, (size - 1) / 2)
    offset = centre - linear @ centre + SHIFT * size * rng.uniform(-1, 1, 2)
    return np.column_stack([linear, offset]).astype(np.float32)


def random_map(size: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (S, S, 2): where (x, y) to read each pixel from."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    nodes = rng.normal(0, ELASTIC * size * strength, (NODES, NODES, 2)).astype(np.float32)
    bent = cv2.resize(nodes, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ affine(size, strength, rng).T + bent


def warp(
    images: np.ndarray, masks: np.ndarray, strength: float, seed: int, folds: Sequence[Fold | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, S, S) slices and masks, each pair moved by a map of its own; what comes from outside is 0.

    folds: how to fold each head at its midline before (folds.Folds).
    """
    rng = np.random.default_rng(seed)
    warped = np.empty_like(images), np.empty_like(masks)
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        places = random_map(image.shape[0], strength, rng)
        if folds and (fold := folds[row]):
            places = folded(places, *fold)
        for target, source in zip(warped, (image, mask), strict=True):
            target[row] = cv2.remap(source, places[..., 0], places[..., 1], cv2.INTER_LINEAR)
    return warped
