"""Drawn pictures of what people upload by mistake: photographs, drawings, screenshots, patterns, noise.

Each kind has one function (generator, side) -> uint8 (side, side) gray or (side, side, 3) RGB. They only need to share
the coarse statistics of the real ones; nothing is downloaded. Other scans than brain MRI are in negatives.py.
"""

from __future__ import annotations

import cv2
import numpy as np

WORDS = ["Invoice", "Total", "Date", "Name", "report", "patient", "of", "the", "and", "page", "2024", "table", "3.14"]


# -- what drawn pictures are made of ----------------------------------------------------------------------------------
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


# -- the kinds -------------------------------------------------------------------------------------------------------
def clouds(rng: np.random.Generator, side: int) -> np.ndarray:
    """Colour noise with the spectrum of photographs."""
    exponent = rng.uniform(0.6, 2.0)
    shared = cloud(rng, side, exponent)
    planes = [0.6 * shared + 0.4 * cloud(rng, side, exponent) for _ in range(3)]
    return to_byte(np.stack(planes, axis=-1) ** rng.uniform(0.6, 1.6))


def scene(rng: np.random.Generator, side: int) -> np.ndarray:
    """A landscape or street: graded sky, ragged horizon, textured ground, boxes and trunks."""
    rows = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    sky = np.array(color(rng, 90), np.float32) / 255
    ground = np.array(color(rng, 0, 180), np.float32) / 255
    picture = sky * (1 - 0.4 * rows) + 0.15 * (cloud(rng, side, 1.8)[..., None] - 0.5)
    ridge = rng.uniform(0.3, 0.7) + rng.uniform(0.02, 0.15) * (cloud(rng, side, 1.6)[0] - 0.5)
    land = rows[..., 0] > ridge[None]
    texture = ground * (0.5 + cloud(rng, side, rng.uniform(0.7, 1.3))[..., None])
    picture = np.where(land[..., None], texture, picture).astype(np.float32)
    for _ in range(rng.integers(0, 9)):
        x, y = rng.integers(0, side, 2)
        w, h = rng.integers(side // 20, side // 3, 2)
        tone = np.array(color(rng), np.float32) / 255
        picture[y : y + h, x : x + w] = tone * (0.7 + 0.3 * cloud(rng, side, 1.0)[y : y + h, x : x + w, None])
    return to_byte(grain(rng, picture, 0.02))


def portrait(rng: np.random.Generator, side: int) -> np.ndarray:
    """A face or animal head: a shaded oval with eyes and mouth before a blurred background."""
    back = cloud(rng, side, rng.uniform(1.4, 2.2))[..., None] * (np.array(color(rng), np.float32) / 255)
    rx, ry = rng.uniform(0.16, 0.3), rng.uniform(0.22, 0.38)
    cx, cy = rng.uniform(0.4, 0.6), rng.uniform(0.38, 0.55)
    skin = np.array(color(rng, 80), np.float32) / 255
    light = np.linspace(rng.uniform(0.4, 1), rng.uniform(0.4, 1), side, dtype=np.float32)[None, :, None]
    body = ellipse(side, cx, cy + ry + 0.3, rx * 1.9, 0.35)[..., None]
    hair = ellipse(side, cx, cy - 0.06, rx * 1.15, ry * 1.1)[..., None]
    face = ellipse(side, cx, cy, rx, ry)[..., None]
    picture = back * (1 - body) + body * (np.array(color(rng), np.float32) / 255) * (0.6 + 0.4 * light)
    picture = picture * (1 - hair) + hair * 0.4 * skin * (0.6 + 0.8 * cloud(rng, side, 0.9)[..., None])
    picture = picture * (1 - face) + face * skin * light
    for x, y, a, b in ((-0.4, -0.1, 0.18, 0.08), (0.4, -0.1, 0.18, 0.08), (0, 0.5, 0.35, 0.07), (0, 0.15, 0.1, 0.2)):
        spot = ellipse(side, cx + x * rx, cy + y * ry, a * rx, b * ry)[..., None]
        picture = picture * (1 - rng.uniform(0.4, 0.9) * spot)
    return to_byte(grain(rng, picture.astype(np.float32), 0.015))


def things(rng: np.random.Generator, side: int) -> np.ndarray:
    """Objects on a plain background, often black: fruit, planets, coins, products."""
    black = rng.random() < 0.6
    picture = np.full((side, side, 3), 0.0 if black else rng.uniform(0.3, 1.0), np.float32)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    for _ in range(rng.integers(1, 5)):
        cx, cy, rx, ry = *rng.uniform(0.25, 0.75, 2), *rng.uniform(0.08, 0.38, 2)
        if rng.random() < 0.7:
            shape = ellipse(side, cx, cy, rx, ry, rng.uniform(0, 180))
        else:
            shape = ((np.abs(x - cx) < rx) & (np.abs(y - cy) < ry)).astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        shade = 0.6 + rng.uniform(0.2, 1.2) * ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle))
        texture = 1 + rng.uniform(0, 0.5) * (cloud(rng, side, rng.uniform(0.8, 1.8)) - 0.5)
        tone = np.array(color(rng, 60), np.float32) / 255
        picture += shape[..., None] * (tone * (shade * texture)[..., None] - picture)
    return to_byte(grain(rng, picture, 0.01))


def drawing(rng: np.random.Generator, side: int) -> np.ndarray:
    """Line art or a flat-coloured logo, dark on light or the reverse."""
    paper = 255 if rng.random() < 0.6 else 0
    picture = np.full((side, side, 3), paper, np.uint8)
    for _ in range(rng.integers(3, 25)):
        tone = color(rng) if rng.random() < 0.4 else (255 - paper,) * 3
        width = int(rng.integers(1, 6))
        points = rng.integers(0, side, (int(rng.integers(2, 7)), 2)).astype(np.int32)
        choice = rng.random()
        if choice < 0.4:
            cv2.polylines(picture, [points], bool(rng.random() < 0.5), tone, width, cv2.LINE_AA)
        elif choice < 0.7:
            radius = int(rng.integers(4, side // 3))
            cv2.circle(picture, tuple(map(int, points[0])), radius, tone, width, cv2.LINE_AA)
        elif choice < 0.85:
            cv2.rectangle(picture, tuple(map(int, points[0])), tuple(map(int, points[1])), tone, width)
        else:
            cv2.fillPoly(picture, [points], tone, cv2.LINE_AA)
    return picture


def figure(rng: np.random.Generator, side: int) -> np.ndarray:
    """A figure cut out on black, painted or engraved: an animal, a person, an instrument."""
    picture = np.zeros((side, side), np.float32)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    texture = 1 + rng.uniform(0, 0.6) * (cloud(rng, side, rng.uniform(0.8, 1.8)) - 0.5)
    tone, ink, middle = rng.uniform(0.25, 1.0), rng.uniform(0.3, 1.0), rng.uniform(0.4, 0.6, 2)
    width = int(rng.integers(1, 4))
    for _ in range(rng.integers(3, 13)):
        cx, cy = middle + rng.normal(0, 0.13, 2)
        rx, ry = rng.uniform(0.03, 0.24), rng.uniform(0.03, 0.14)
        part = ellipse(side, cx, cy, rx, ry, rng.uniform(0, 180))
        angle = rng.uniform(0, 2 * np.pi)
        light = 1 + rng.uniform(0, 3) * ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle))
        picture += part * (tone * rng.uniform(0.7, 1.3) * light * texture - picture)
        line = cv2.morphologyEx(part, cv2.MORPH_GRADIENT, np.ones((2 * width + 1,) * 2, np.uint8))
        picture *= 1 - ink * line
    for _ in range(rng.integers(0, 12)):
        points = (side * (middle + rng.normal(0, 0.13, (int(rng.integers(2, 5)), 2)))).astype(np.int32)
        stroke = cv2.polylines(np.zeros((side, side), np.float32), [points], False, 1.0, width, cv2.LINE_AA)
        picture *= 1 - ink * stroke
    return to_byte(grain(rng, picture, rng.uniform(0, 0.02)))


def text(rng: np.random.Generator, side: int) -> np.ndarray:
    """A page or a screenshot: lines of words, a title bar, buttons."""
    dark = rng.random() < 0.4
    ink, paper = (230, 20) if dark else (20, 245)
    picture = np.full((side, side, 3), paper, np.uint8)
    scale = rng.uniform(0.3, 0.9)
    step = int(30 * scale) + 2
    for y in range(step, side, step):
        if rng.random() < 0.12:
            continue
        line = " ".join(rng.choice(WORDS, int(rng.integers(2, 14))))
        cv2.putText(picture, line, (int(rng.integers(2, 30)), y), 0, scale, (ink,) * 3, 1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        x, y = (int(v) for v in rng.integers(0, side, 2))
        cv2.rectangle(picture, (x, y), (x + side // 4, y + step), color(rng), -1)
    if rng.random() < 0.5:
        picture[: step + 2] = color(rng)
    return picture


def chart(rng: np.random.Generator, side: int) -> np.ndarray:
    """Axes with bars, a curve or points."""
    picture = np.full((side, side, 3), 255, np.uint8)
    left, bottom = side // 8, side - side // 8
    if rng.random() < 0.5:
        for x in np.linspace(left, side - 10, int(rng.integers(4, 14)))[:-1].astype(int):
            top = int(rng.integers(10, bottom))
            cv2.rectangle(picture, (int(x), top), (int(x) + side // 24, bottom), color(rng), -1)
    for _ in range(rng.integers(1, 4)):
        xs = np.linspace(left, side - 8, 40)
        ys = bottom - cloud(rng, side, 1.6)[0, :40] * (bottom - 20)
        cv2.polylines(picture, [np.stack([xs, ys], 1).astype(np.int32)], False, color(rng), 2, cv2.LINE_AA)
    cv2.line(picture, (left, 8), (left, bottom), (0, 0, 0), 1)
    cv2.line(picture, (left, bottom), (side - 8, bottom), (0, 0, 0), 1)
    cv2.putText(picture, str(rng.choice(WORDS)), (left, side - 6), 0, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def pattern(rng: np.random.Generator, side: int) -> np.ndarray:
    """Checkerboards, stripes, gradients, rings."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle, count = rng.uniform(0, np.pi), rng.uniform(1, 20)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    waves = np.sin(2 * np.pi * count * along), np.sin(2 * np.pi * count * across)
    choice = rng.integers(0, 5)
    radius = np.hypot(x - 0.5, y - 0.5)
    values = [
        (waves[0] * waves[1] > 0).astype(np.float32),
        0.5 + 0.5 * waves[0],
        along - along.min(),
        radius * rng.uniform(0.8, 1.6),
        0.5 + 0.5 * np.sin(2 * np.pi * count * radius),
    ][choice]
    return to_byte(values if rng.random() < 0.7 else 1 - values)


def noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Plain noise of several distributions, or a picture of one tone."""
    choice = rng.integers(0, 4)
    if choice == 0:
        return np.full((side, side), rng.integers(0, 256), np.uint8)
    if choice == 1:
        return rng.integers(0, 256, (side, side), dtype=np.uint8)
    if choice == 2:
        return to_byte(rng.uniform(0, 0.8) + rng.uniform(0.02, 0.3) * rng.standard_normal((side, side)))
    return np.where(rng.random((side, side)) < rng.uniform(0.02, 0.5), 255, 0).astype(np.uint8)
