"""Drawn pictures that are no brain MRI: what the guard is fitted against, beside real slices.

The kinds, one function each here (other scans) and in negative_pictures.py (everyday pictures), are also the folds of
the test: a kind that was left out of the fit must still be flagged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from brain_mri.data import negative_pictures as pictures
from brain_mri.data.negative_pictures import cloud, color, ellipse, grain, to_byte
from brain_mri.imaging.read import scan_from_array

Maker = Callable[[np.random.Generator, int], np.ndarray]


# -- X-rays, ultrasound, cells ----------------------------------------------------------------------------------------
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


# -- sections through a body below the head, in CT or MR --------------------------------------------------------------
# The nearest of the foreign pictures: an oval on black with a bright rim and gray parts in it, as a head is.
@dataclass(frozen=True)
class Tones:
    """Brightness 0..1 of tissues, as a window of CT or a sequence of MR shows them."""

    skin: float
    fat: float
    muscle: float
    organ: float
    blood: float
    bone: float
    lung: float


def tones(rng: np.random.Generator) -> Tones:
    """Of a CT in a soft tissue or a lung window, or of an MR whose fat is bright, or suppressed."""
    kind = rng.integers(0, 4)
    if kind == 0:
        fat, muscle = rng.uniform(0.08, 0.3), rng.uniform(0.4, 0.62)
        organ = muscle + rng.uniform(-0.02, 0.1)
        return Tones(muscle, fat, muscle, organ, organ + rng.uniform(0, 0.3), 1.0, rng.uniform(0, 0.06))
    if kind == 1:
        soft = rng.uniform(0.65, 0.95)
        return Tones(soft, soft - 0.06, soft, soft, soft, 1.0, rng.uniform(0.05, 0.3))
    fat, muscle = (rng.uniform(0.6, 1.0) if kind == 2 else rng.uniform(0.1, 0.25)), rng.uniform(0.15, 0.45)
    blood = 0.05 if rng.random() < 0.5 else rng.uniform(0.4, 0.9)  # in black-blood sequences dark
    return Tones(fat, fat, muscle, rng.uniform(0.25, 0.6), blood, rng.uniform(0.2, 0.8), rng.uniform(0.0, 0.06))


def blob(
    rng: np.random.Generator, side: int, cx: float, cy: float, rx: float, ry: float, ragged: float = 0.25
) -> np.ndarray:
    """float32 (side, side): 1 in an oval with a wavy outline, given in shares of the side."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle = np.arctan2((y - cy) / ry, (x - cx) / rx)
    wave = sum(ragged / k * rng.uniform(-1, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
    radius = np.hypot((x - cx) / rx, (y - cy) / ry)
    return np.clip((1 + wave - radius) * side * min(rx, ry), 0, 1).astype(np.float32)


def lay(picture: np.ndarray, shape: np.ndarray, tone: float | np.ndarray) -> np.ndarray:
    """The picture with a tone where shape, 0..1, covers it."""
    return picture + shape * (tone - picture)


def wall(rng: np.random.Generator, side: int, tone: Tones, wide: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """(picture, what is inside): skin, fat and muscle around an empty space, with a spine at its back, perhaps ribs."""
    picture = np.zeros((side, side), np.float32)
    body = blob(rng, side, 0.5, 0.5, wide, high, 0.06)
    picture = lay(lay(picture, body, tone.skin), blob(rng, side, 0.5, 0.5, wide - 0.008, high - 0.008, 0.05), tone.fat)
    thick = rng.uniform(0.02, 0.09)
    flesh = blob(rng, side, 0.5, 0.5, wide - thick, high - thick, 0.05) * body
    picture = lay(picture, flesh, tone.muscle)
    thick += rng.uniform(0.02, 0.05)
    inside = blob(rng, side, 0.5, 0.49, wide - thick, high - thick, 0.06) * flesh
    for angle in np.arange(rng.uniform(0, 25), 360, rng.uniform(22, 45)) if rng.random() < 0.8 else ():
        turn = np.radians(angle + rng.normal(0, 3))
        cx, cy = 0.5 + (wide - thick + 0.012) * np.cos(turn), 0.49 + (high - thick + 0.012) * np.sin(turn)
        slant = np.degrees(np.arctan2(high * np.cos(turn), -wide * np.sin(turn)))
        rib = ellipse(side, cx, cy, rng.uniform(0.02, 0.06), 0.012, slant)
        picture = lay(picture, rib * body, tone.bone * rng.uniform(0.8, 1.0))
    return picture, inside


def spine(rng: np.random.Generator, side: int, picture: np.ndarray, tone: Tones, high: float) -> np.ndarray:
    """A vertebra with its canal and processes at the back of a body."""
    y = 0.5 + high * rng.uniform(0.5, 0.62)
    body = rng.uniform(0.05, 0.075)
    back = ellipse(side, 0.5, y + body * 1.7, body * 2.6, body) * (picture > 0.02)
    picture = lay(picture, back, tone.muscle)
    for cx, angle in ((0.5 - 1.2 * body, -25), (0.5 + 1.2 * body, 25), (0.5, 90)):
        arm = ellipse(side, cx, y + body * 1.5, body * 1.1, body * 0.22, angle)
        picture = lay(picture, arm, tone.bone)
    picture = lay(picture, ellipse(side, 0.5, y, body, body * 0.8), tone.bone * rng.uniform(0.6, 1.0))
    return lay(picture, ellipse(side, 0.5, y + body * 1.05, body * 0.4, body * 0.35), tone.muscle)


def half_axes(rng: np.random.Generator) -> tuple[float, float]:
    """Half the width and half the depth of a body, in shares of the side."""
    wide = rng.uniform(0.36, 0.49)
    return wide, wide * rng.uniform(0.58, 0.85)


def finish(rng: np.random.Generator, side: int, picture: np.ndarray) -> np.ndarray:
    """Perhaps the table that the patient lies on; blur, uneven light, grain."""
    if rng.random() < 0.3:
        x = np.linspace(0, 1, 40)
        arc = np.stack([x, 0.97 - rng.uniform(0.05, 0.3) * (x - 0.5) ** 2], axis=1) * side
        cv2.polylines(picture, [arc.astype(np.int32)], False, rng.uniform(0.2, 0.8), 1, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (0, 0), side * rng.uniform(0.002, 0.007))
    return to_byte(grain(rng, picture * (0.92 + 0.16 * cloud(rng, side, 1.4)), rng.uniform(0.005, 0.03)))


def thorax(rng: np.random.Generator, side: int) -> np.ndarray:
    """A section through the chest: two lungs with their vessels, heart and aorta between them."""
    tone = tones(rng)
    wide, high = half_axes(rng)
    picture, inside = wall(rng, side, tone, wide, high)
    lungs = inside * (1 - blob(rng, side, 0.5, 0.5, rng.uniform(0.05, 0.12), high * 1.2, 0.1))
    picture = lay(lay(picture, inside, tone.fat), lungs, tone.lung)
    for _ in range(rng.integers(0, 60)):
        x, y = rng.uniform(0.15, 0.85, 2)
        rx, ry = rng.uniform(0.002, 0.012, 2)
        vessel = ellipse(side, x, y, rx, ry, rng.uniform(0, 180))
        picture = lay(picture, vessel * lungs, tone.muscle)
    if rng.random() < 0.75:
        heart = blob(rng, side, rng.uniform(0.48, 0.62), 0.5 - high * rng.uniform(0.1, 0.35), rng.uniform(0.09, 0.2),
                     rng.uniform(0.08, 0.16))  # fmt: skip
        picture = lay(picture, heart * inside, tone.organ)
        for _ in range(rng.integers(0, 5)):
            x, y, rx, ry = rng.normal(0.53, 0.06), rng.normal(0.44, 0.04), *rng.uniform(0.02, 0.07, 2)
            picture = lay(picture, blob(rng, side, x, y, rx, ry) * heart, tone.blood)
    for _ in range(rng.integers(1, 6)):
        vessel = ellipse(side, rng.normal(0.52, 0.05), rng.normal(0.5, 0.08), *rng.uniform(0.015, 0.04, 2))
        picture = lay(picture, vessel * inside, tone.blood)
    return finish(rng, side, spine(rng, side, picture, tone, high))


def belly(rng: np.random.Generator, side: int) -> np.ndarray:
    """A section through belly or pelvis: liver, kidneys, gut in fat, or hip bones around the bladder."""
    tone = tones(rng)
    wide, high = half_axes(rng)
    picture, inside = wall(rng, side, tone, wide, high)
    picture = lay(picture, inside, rng.choice([tone.fat, tone.muscle, tone.organ]))  # the lean have little fat within
    part = rng.integers(0, 3)
    if part < 2:  # with a liver, and perhaps a stomach
        left = rng.choice([-1.0, 1.0])
        liver = blob(rng, side, 0.5 - left * wide * rng.uniform(0.25, 0.45), 0.47, wide * rng.uniform(0.4, 0.75),
                     high * rng.uniform(0.5, 0.85))  # fmt: skip
        texture = tone.organ * (1 + rng.uniform(0, 0.2) * (cloud(rng, side, 0.6) - 0.5))
        picture = lay(picture, liver * inside, texture)
        spleen = blob(rng, side, 0.5 + left * wide * 0.6, 0.55, wide * 0.2, high * 0.3)
        picture = lay(picture, spleen * inside, tone.organ * rng.uniform(0.85, 1.15))
        stomach = blob(rng, side, 0.5 + left * wide * 0.35, 0.5 - high * 0.35, wide * 0.3, high * 0.3)
        picture = lay(picture, stomach * inside * (rng.random() < 0.7), rng.choice([0.0, tone.muscle, tone.organ]))
    for hand in (-1, 1):
        x, y = 0.5 + hand * wide * rng.uniform(0.35, 0.5), 0.5 + high * rng.uniform(0.2, 0.4)
        if part < 2:
            kidney = blob(rng, side, x, y, *rng.uniform(0.04, 0.08, 2))
            picture = lay(picture, kidney * inside, tone.blood)
        else:  # hip bones
            hip = blob(rng, side, x, y, rng.uniform(0.03, 0.1), rng.uniform(0.08, 0.16), 0.5)
            picture = lay(picture, hip, tone.bone * rng.uniform(0.7, 1.0))
    for _ in range(rng.integers(3, 18)):
        (x, y), (rx, ry) = rng.normal((0.5, 0.47), (wide * 0.4, high * 0.3)), rng.uniform(0.015, 0.07, 2)
        gut = rng.choice([tone.muscle, tone.organ, tone.blood, 0.0], p=[0.4, 0.3, 0.2, 0.1])
        picture = lay(picture, blob(rng, side, x, y, rx, ry, 0.4) * inside, gut)
    return finish(rng, side, spine(rng, side, picture, tone, high))


# -- the kinds, and slices as other scanners show them ----------------------------------------------------------------
KINDS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        *(pictures.clouds, pictures.scene, pictures.portrait, pictures.things, pictures.drawing, pictures.figure),
        *(pictures.text, pictures.chart, chest, limb, ultrasound, cells, thorax, belly, pictures.pattern),
        pictures.noise,
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
        scan = scan_from_array(picture)  # gray and colour as the readers report them: the two cannot drift apart
        made.append(Negative(kind, scan.image, scan.color, picture))
    return made


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
