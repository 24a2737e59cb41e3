"""Procedurally made pictures that are no brain MRI: what the guard is fitted against, beside real slices.

The kinds, one function each in guard_pictures.py, guard_scans.py and guard_body.py, are also the folds of the test: a
kind that was left out of the fit must still be flagged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from brain_mri.data import guard_body, guard_pictures, guard_scans
from brain_mri.data.guard_paint import grain, to_byte
from brain_mri.imaging.read import scan_from_array

Maker = Callable[[np.random.Generator, int], np.ndarray]
KINDS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        *(
            guard_pictures.clouds,
            guard_pictures.scene,
            guard_pictures.portrait,
            guard_pictures.things,
            guard_pictures.drawing,
            guard_pictures.figure,
        ),
        *(
            guard_pictures.text,
            guard_pictures.chart,
            guard_scans.chest,
            guard_scans.limb,
            guard_scans.ultrasound,
            guard_scans.cells,
        ),
        *(guard_body.thorax, guard_body.belly, guard_pictures.pattern, guard_pictures.noise),
    )
}


@dataclass(frozen=True, eq=False)
class Negative:
    """One picture that is no brain MRI. image: uint8 (H, W) gray; color: mean saturation 0..1; rgb as it was drawn."""

    kind: str
    image: np.ndarray
    color: float
    rgb: np.ndarray


def synthetic_negatives(n: int, seed: int = 0, kinds: tuple[str, ...] | None = None) -> list[Negative]:
    """n pictures, the kinds in turn, about half of the colour ones turned gray. The same seed gives the same bits."""
    names = kinds or tuple(KINDS)
    made = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        kind = names[i % len(names)]
        picture = KINDS[kind](rng, int(rng.integers(120, 280)))
        if picture.ndim == 3 and rng.random() < 0.5:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if rng.random() < 0.5:  # other aspect ratios
            side = picture.shape[0]
            part = rng.integers(int(0.6 * side), side)
            picture = np.ascontiguousarray(picture[:part] if rng.random() < 0.5 else picture[:, :part])
        if rng.random() < 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.5))
        gray, color = _gray_and_color(picture)
        made.append(Negative(kind, gray, color, picture))
    return made


def _gray_and_color(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """As scan.read_scan reports them; through its own function, so that the two cannot drift apart."""
    scan = scan_from_array(picture)
    return scan.image, scan.color


def vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A real slice as another scanner, program or screen might show it: uint8 (H, W) -> uint8 of another shape.

    Turned, mirrored, padded or cut, with other contrast, shading, sharpness and noise. The guard learns from these that
    such differences do not make a picture foreign.
    """
    height, width = image.shape
    side = int(max(height, width) * rng.uniform(0.95, 1.6 if rng.random() < 0.4 else 1.1))
    angle = rng.normal(0, 12) + (90 * rng.integers(0, 4) if rng.random() < 0.25 else 0)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, rng.uniform(0.9, 1.1))
    turn[:, 2] = turn[:, 2] + (side - np.array([width, height])) / 2 + rng.normal(0, 0.02 * side, 2)
    turned = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_LINEAR)
    values = (turned[:, ::-1] if rng.random() < 0.5 else turned).astype(np.float32) / 255
    shading = cv2.resize(rng.uniform(0.65, 1.0, (3, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    values = np.clip(values * shading, 0, 1) ** np.exp(rng.normal(0, 0.35))
    if rng.random() < 0.5:
        values = cv2.GaussianBlur(values, (0, 0), side / 256 * rng.uniform(0.3, 1.6))
    strength = rng.uniform(0, 0.06) if rng.random() < 0.5 else 0.0
    values = np.hypot(grain(rng, values, strength), strength * rng.standard_normal(values.shape))  # Rician, as in MRI
    return to_byte(values / max(float(values.max()), 1e-3) if rng.random() < 0.5 else values)
