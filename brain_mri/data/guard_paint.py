"""What drawn pictures are made of: clouds of noise, soft ellipses, colours, grain."""

from __future__ import annotations

import cv2
import numpy as np


def cloud(rng: np.random.Generator, side: int, exponent: float) -> np.ndarray:
    """float32 (side, side) 0..1 noise with the amplitude spectrum 1 / f^exponent, as natural pictures have."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    radius[0, 0] = 1 / side
    noise = np.fft.irfft2(spectrum / radius**exponent, (side, side))
    low, high = np.percentile(noise, (1, 99))
    return np.clip((noise - low) / (high - low + 1e-9), 0, 1).astype(np.float32)


def to_byte(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def color(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    return tuple(int(v) for v in rng.integers(low, high, 3))  # type: ignore[return-value]


def ellipse(side: int, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    """float32 (side, side): 1 in an ellipse given in shares of the side, with a soft edge of about a pixel."""
    canvas = np.zeros((side, side), np.uint8)
    centre, axes = (round(cx * side), round(cy * side)), (max(1, round(rx * side)), max(1, round(ry * side)))
    cv2.ellipse(canvas, centre, axes, angle, 0, 360, 255, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def grain(rng: np.random.Generator, picture: np.ndarray, strength: float) -> np.ndarray:
    return picture + strength * rng.standard_normal(picture.shape).astype(np.float32)
