"""Medical pictures that are no brain MRI: X-rays, ultrasound, cells. As guard_pictures.py."""

from __future__ import annotations

import cv2
import numpy as np

from brain_mri.data.guard_paint import cloud, color, ellipse, grain, to_byte


def chest(rng: np.random.Generator, side: int) -> np.ndarray:
    """A chest X-ray: two dark lungs, ribs, spine and heart in a bright trunk that reaches the edges."""
    picture = 0.55 + 0.15 * cloud(rng, side, 1.8)
    picture *= 0.25 + 0.75 * cv2.GaussianBlur(ellipse(side, 0.5, 0.65, rng.uniform(0.42, 0.6), 0.7), (0, 0), side / 40)
    for x in (0.5 - rng.uniform(0.17, 0.22), 0.5 + rng.uniform(0.17, 0.22)):
        lung = cv2.GaussianBlur(ellipse(side, x, rng.uniform(0.42, 0.5), 0.14, 0.3), (0, 0), side / 50)
        picture *= 1 - rng.uniform(0.55, 0.8) * lung
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    bend = rows + 0.9 * np.abs(columns - 0.5) ** 1.5
    picture *= 1 + rng.uniform(0.1, 0.25) * np.sin(2 * np.pi * bend * rng.uniform(8, 13)) * (columns > 0.12) * (
        columns < 0.88
    )
    picture += 0.18 * np.exp(-(((columns - 0.5) / 0.04) ** 2)) + 0.25 * cv2.GaussianBlur(
        ellipse(side, 0.54, 0.6, 0.12, 0.14), (0, 0), side / 40
    )
    return to_byte(grain(rng, picture.astype(np.float32), 0.015))


def limb(rng: np.random.Generator, side: int) -> np.ndarray:
    """An X-ray of a limb or hand: bright shafts in grayer soft tissue on black."""
    picture = np.zeros((side, side), np.float32)
    number = int(rng.integers(1, 6))
    for i in range(number):
        x = (i + 0.5) / number + rng.uniform(-0.05, 0.05)
        top = (round(side * (x + rng.uniform(-0.1, 0.1))), round(side * rng.uniform(-0.1, 0.3)))
        low = (round(side * x), round(side * rng.uniform(0.8, 1.1)))
        width = max(4, round(side * rng.uniform(0.12, 0.34) / number**0.7))
        for share, tone in ((2.0, rng.uniform(0.15, 0.35)), (0.9, rng.uniform(0.6, 0.9)), (0.4, rng.uniform(0.4, 0.8))):
            layer = np.zeros((side, side), np.float32)
            cv2.line(layer, top, low, 1.0, max(1, round(width * share)))
            soft = cv2.GaussianBlur(layer, (0, 0), side / 120).astype(np.float32)
            picture = picture * (1 - soft) + soft * tone
    picture *= 0.9 + 0.2 * cloud(rng, side, 1.2)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-60, 60), 1)
    picture = cv2.warpAffine(picture, turn, (side, side)).astype(np.float32)
    return to_byte(grain(rng, picture, 0.012))


def ultrasound(rng: np.random.Generator, side: int) -> np.ndarray:
    """A speckled fan on black."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    radius, angle = np.hypot(x - 0.5, y + 0.15), np.arctan2(x - 0.5, y + 0.15)
    fan = (np.abs(angle) < rng.uniform(0.4, 0.8)) & (radius > 0.25) & (radius < 1.05)
    speckle = rng.rayleigh(1.0, (side, side)).astype(np.float32) * cloud(rng, side, rng.uniform(1.2, 1.8))
    return to_byte(cv2.GaussianBlur(speckle, (0, 0), 1.2) * fan * rng.uniform(0.5, 1.1))


def cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """A micrograph: many small blobs, light on dark or stained on light."""
    picture = np.full((side, side, 3), rng.uniform(0, 0.15) if rng.random() < 0.5 else rng.uniform(0.7, 1), np.float32)
    tone = np.array(color(rng), np.float32) / 255
    for _ in range(rng.integers(15, 90)):
        (x, y), (rx, ry) = rng.uniform(0, 1, 2), rng.uniform(0.012, 0.07, 2)
        blob = ellipse(side, x, y, rx, ry, rng.uniform(0, 180))[..., None]
        picture = picture * (1 - blob) + blob * tone * rng.uniform(0.5, 1.3)
    return to_byte(grain(rng, cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.0), 0.02))
