"""A drawn head without a tumor: T1-like gray values of axial, coronal and sagittal slices, from ellipses and noise.

Coordinates are those of the head: x to the right of the picture, y down, both about -1..1. Shapes are signed distances
in these units (negative inside); every edge is painted softly over about one pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

FAT, MUSCLE, BONE, AIR, CSF, GRAY, WHITE, VESSEL = 208.0, 104.0, 26.0, 6.0, 42.0, 106.0, 143.0, 205.0
SELLA = {"axial": (0.0, 0.2), "coronal": (0.0, 0.2), "sagittal": (-0.13, 0.19)}
BASE = -0.4  # axial slices below this height show the skull base: eyes, temporal lobes, cerebellum


def ellipse(
    x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0
) -> np.ndarray:
    """Signed distance (first-order) to a rotated ellipse."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    dx, dy = x - cx, y - cy
    u = (dx * c + dy * s) / rx
    v = (dy * c - dx * s) / ry
    q = np.sqrt(u * u + v * v) + 1e-6
    slope = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) / q
    return (q - 1) / np.maximum(slope, 1 / max(rx, ry))


def union(*shapes: np.ndarray, blend: float = 0.06) -> np.ndarray:
    """Smooth union of signed distances."""
    result = shapes[0]
    for shape in shapes[1:]:
        h = np.clip(0.5 + 0.5 * (shape - result) / blend, 0, 1)
        result = shape + (result - shape) * h - blend * h * (1 - h)
    return result


@dataclass
class Head:
    """One synthetic person: everything random about the anatomy follows from the seed, the slice from `height`.

    height: -1 (skull base) .. 1 (vertex); it shapes axial slices and slides the folds of all.
    """

    seed: int
    plane: str
    height: float
    x: np.ndarray
    y: np.ndarray
    pixel: float
    image: np.ndarray = field(init=False)
    brain: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 11])
        # Python floats throughout: NumPy's would turn the float32 pictures into float64
        self.wide, self.long, self.egg = (float(rng.uniform(*r)) for r in ((0.95, 1.05), (0.97, 1.03), (0.04, 0.1)))
        self.fat, self.ventricles = (float(rng.uniform(*r)) for r in ((0.045, 0.075), (0.75, 1.3)))
        self.folds = float(rng.uniform(0.75, 1.25))
        shift = 0.012 * self.noise(1, 0.9), 0.012 * self.noise(2, 0.9)
        self.x, self.y = self.x + shift[0], self.y + shift[1]
        self.image = np.full(self.x.shape, AIR, np.float32)
        self.brain = self.brain_shape()

    # ---- tools ----
    def noise(self, key: int, wavelength: float, *, mirrored: bool = False) -> np.ndarray:
        """Smooth random field of unit variance that drifts with the height of the slice."""
        cells = int(6.0 / wavelength) + 8
        step = 2.0 / wavelength
        x = np.abs(self.x) if mirrored else self.x
        u, v = ((x + 1.5) * step + 1).astype(np.float32), ((self.y + 1.5) * step + 1).astype(np.float32)
        turn = 1.2 * self.height
        total = np.zeros(self.x.shape, np.float32)
        for part, weight in ((0, math.cos(turn)), (1, math.sin(turn))):
            grid = np.random.default_rng([self.seed, key, part]).standard_normal((cells, cells)).astype(np.float32)
            total += weight * cv2.remap(grid, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        return total / 0.7

    def soft(self, signed: np.ndarray, width: float = 1.6) -> np.ndarray:
        return np.clip(0.5 - signed / (width * self.pixel), 0, 1)

    def paint(
        self, signed: np.ndarray, value: float | np.ndarray, *, strength: float = 1.0, width: float = 1.6
    ) -> None:
        """Blend a value into the picture inside a shape."""
        self.image += (strength * self.soft(signed, width)) * (value - self.image)

    def at(self, cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> np.ndarray:
        return ellipse(self.x, self.y, cx, cy, rx, ry, degrees)

    def both(self, cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> np.ndarray:
        """The same ellipse left and right of the midline."""
        return ellipse(np.abs(self.x), self.y, cx, cy, rx, ry, degrees)

    # ---- outlines ----
    def brain_shape(self) -> np.ndarray:
        w, h = self.wide, self.long
        if self.plane == "coronal":
            return union(self.at(0, -0.24, 0.6 * w, 0.56 * h), self.both(0.36, 0.13, 0.2 * w, 0.17), blend=0.1)
        if self.plane == "sagittal":
            cerebrum = np.maximum(self.at(0.05, -0.24, 0.7 * w, 0.5 * h), self.y - 0.2 + 0.16 * self.x)
            stem = np.maximum(self.at(0.2, 0.42, 0.085, 0.5, -8), self.y - 0.95)
            return union(cerebrum, self.at(0.45, 0.27, 0.25, 0.2, -10), stem, blend=0.05)
        if self.height < BASE:
            return union(
                self.both(0.4, 0.13, 0.25 * w, 0.36, -12),
                self.at(0, 0.36, 0.17, 0.17),
                self.at(0, 0.56, 0.47 * w, 0.24),
                blend=0.07,
            )
        return self.axial_outline() + self.fat + 0.075

    def axial_outline(self) -> np.ndarray:
        size = math.sqrt(max(0.1, 1 - (0.9 * max(self.height, 0.0)) ** 2))
        x = self.x / (1 + self.egg * np.clip(self.y, -1, 1))
        return ellipse(x, self.y, 0, 0, 0.76 * self.wide * size, 0.93 * self.long * size)

    # ---- painting ----
    def draw(self) -> np.ndarray:
        """float32 (H, W), about 0..255."""
        {"axial": self.axial, "coronal": self.coronal, "sagittal": self.sagittal}[self.plane]()
        return self.image

    def scalp(self, outline: np.ndarray) -> None:
        self.paint(outline, FAT + 9 * self.noise(3, 0.15))

    def skull(self, inner: np.ndarray, marrow_to: float = 9.0) -> None:
        """Bone with marrow (down to a height), dura and the fluid around the brain."""
        self.paint(inner - 0.072, BONE)
        marrow = np.maximum(np.abs(inner - 0.04) - 0.011, self.y - marrow_to)
        self.paint(marrow, 85 + 18 * self.noise(4, 0.2), strength=0.8)
        self.paint(np.abs(inner - 0.006) - 0.006, 128.0, strength=0.7)  # dura
        self.paint(inner, CSF)

    def cortex(self, inner: np.ndarray, midline: np.ndarray | None = None, depth: float = 0.2) -> None:
        """Folded gray ribbon over white matter. midline: signed distance of the fissure between the halves."""
        fold = 0.8 * self.noise(5, 0.2, mirrored=True) + 0.5 * self.noise(6, 0.13)
        reach = np.clip(1 + inner / (depth * self.folds), 0, 1)  # 1 at the surface, 0 deep inside
        sulci = np.abs(fold) - 0.4 * reach * self.folds
        groove = (inner > -0.012) | ((sulci < 0) & (reach > 0.02))
        if midline is not None:
            groove |= midline < 0
        away = cv2.distanceTransform((~groove).astype(np.uint8), cv2.DIST_L2, 5) * self.pixel
        ribbon = 0.042 + 0.008 * self.noise(7, 0.3)
        white = WHITE + 4 * self.noise(8, 0.25) + 2.5 * self.noise(9, 0.06)
        gray = GRAY + 4 * self.noise(10, 0.12)
        tissue = gray + np.clip((away - ribbon) / (2.2 * self.pixel), 0, 1) * (white - gray)
        fluid = np.clip(1 - away / (1.8 * self.pixel), 0, 1)
        tissue = tissue + 0.75 * fluid * (CSF - tissue)
        self.image += self.soft(inner + 0.006) * (tissue - self.image)

    def vessels(self, key: int, count: int, inner: np.ndarray) -> None:
        """Bright dots and short strokes: contrast agent in vessels, so that bright alone is no tumor."""
        rng = np.random.default_rng([self.seed, key, round(self.height * 8) + 100])
        rows, columns = np.nonzero(inner < -0.02)
        for _ in range(count if len(rows) else 0):
            i = rng.integers(len(rows))
            cx, cy = float(self.x[rows[i], columns[i]]), float(self.y[rows[i], columns[i]])
            stroke = self.at(cx, cy, rng.uniform(0.01, 0.05), rng.uniform(0.006, 0.011), rng.uniform(0, 180))
            self.paint(stroke, VESSEL, strength=rng.uniform(0.4, 0.9))

    def axial(self) -> None:
        if self.height < BASE:
            return self.axial_base()
        outline, inner = self.axial_outline(), self.brain
        self.scalp(outline)
        self.paint(np.maximum(outline + 0.012, -(outline + 0.02)), 165.0, strength=0.6)  # skin
        self.skull(inner)
        deep = math.exp(-(((self.height - 0.05) / 0.33) ** 2))  # how much of the ventricles this slice shows
        fissure = np.maximum(np.abs(self.x) - 0.007, 0.30 * deep - np.abs(self.y + 0.02))
        self.cortex(inner, fissure)
        falx = np.maximum(np.abs(self.x) - 0.006, 0.42 * deep - np.abs(self.y + 0.02))
        self.paint(np.maximum(falx, inner + 0.01), 165.0, strength=0.7)
        if deep > 0.15:
            self.deep_axial(self.ventricles * deep)
        back = float(self.y[np.abs(self.x) + np.abs(inner) < 0.05].max(initial=-1.0))
        self.paint(self.at(0, back - 0.03, 0.04, 0.03), VESSEL)  # sagittal sinus
        self.vessels(31, 8, np.maximum(inner + 0.03, -inner - 0.3))
        return None

    def deep_axial(self, v: float) -> None:
        for shape, value in (
            (self.both(0.13, -0.2, 0.06, 0.1, -18), GRAY),  # caudate
            (self.both(0.29, -0.05, 0.06, 0.15, -14), GRAY + 6),  # lentiform nucleus
            (self.both(0.12, 0.1, 0.1, 0.13, -20), GRAY + 8),  # thalamus
        ):
            self.paint(shape, value + 3 * self.noise(12, 0.1), strength=0.85, width=5)
        self.paint(self.both(0.37, -0.03, 0.016, 0.15, -10), CSF + 30, strength=0.55, width=3)  # insula
        horns = union(
            self.both(0.075, -0.22, 0.038 * v, 0.13 * v, -20), self.both(0.045, -0.08, 0.03 * v, 0.11), blend=0.03
        )
        trigone = union(
            self.both(0.16, 0.24, 0.042 * v, 0.13 * v, -28), self.both(0.1, 0.12, 0.02 * v, 0.08, -30), blend=0.03
        )
        self.paint(union(horns, trigone, blend=0.02), CSF)
        self.paint(self.at(0, 0.02, 0.014 * v, 0.1), CSF)  # third ventricle
        self.paint(np.maximum(np.abs(self.x) - 0.008, np.abs(self.y + 0.19) - 0.14), WHITE - 8, strength=0.8)  # septum
        self.paint(self.both(0.15, 0.22, 0.014, 0.04, -28), VESSEL - 20, strength=0.8)  # choroid plexus

    def axial_base(self) -> None:
        face = union(self.at(0, 0.02, 0.74 * self.wide, 0.84), self.at(0, -0.82, 0.13, 0.14), blend=0.14)
        outline = union(face, self.brain - self.fat - 0.1, blend=0.1)
        self.paint(outline, FAT + 8 * self.noise(3, 0.15))
        self.paint(outline + self.fat, MUSCLE + 14 * self.noise(14, 0.12))
        self.paint(self.both(0.31, -0.42, 0.24, 0.24, 15), FAT - 25, width=4)  # orbit
        self.paint(self.both(0.31, -0.52, 0.125, 0.125), 150.0)
        self.paint(self.both(0.31, -0.52, 0.108, 0.108), 58.0)  # eye
        self.paint(self.both(0.31, -0.63, 0.05, 0.025), 120.0, width=2.5)
        self.paint(self.both(0.22, -0.3, 0.02, 0.14, 22), MUSCLE + 20)  # muscle of the eye
        self.paint(self.at(0, -0.4, 0.13, 0.3), AIR + 8)  # nasal cavity
        for i in range(-2, 3):
            self.paint(self.at(0.05 * i, -0.4, 0.012, 0.24), 135.0 + 10 * i, strength=0.8)
        self.paint(self.at(0, -0.05, 0.14, 0.1), AIR + 10)  # sphenoid sinus
        inner = self.brain
        self.paint(inner - 0.06, BONE + 10)
        self.paint(
            np.maximum(self.both(0.33, 0.45, 0.2, 0.035, 24), inner - 0.05), BONE + 25 + 12 * self.noise(15, 0.07)
        )  # petrous bone
        self.paint(np.abs(inner - 0.006) - 0.006, 125.0, strength=0.6)
        self.paint(inner, CSF)
        self.cortex(inner, np.maximum(np.abs(self.x) - 0.01, -1 - self.y), depth=0.12)
        self.paint(self.at(0, 0.2, 0.13, 0.1), CSF)  # cistern around the sella
        self.paint(self.at(0, 0.39, 0.14, 0.11), WHITE + 2 + 3 * self.noise(16, 0.1), width=3)  # pons
        self.cerebellum(self.at(0, 0.59, 0.44 * self.wide, 0.2))
        self.paint(self.at(0, 0.51, 0.05, 0.035), CSF)  # fourth ventricle
        self.paint(self.both(0.12, 0.2, 0.022, 0.02), VESSEL)  # carotid arteries
        self.paint(self.at(0, 0.265, 0.018, 0.018), VESSEL)  # basilar artery
        self.vessels(32, 5, inner + 0.03)

    def cerebellum(self, inner: np.ndarray) -> None:
        folia = np.sin((self.y * 1.2 + 0.35 * np.cos(2 * self.x) + 0.01 * self.noise(17, 0.2)) * 95)
        self.paint(inner, GRAY + 8 + 16 * folia, width=3)
        self.paint(inner + 0.1, WHITE - 4 + 5 * folia, strength=0.7, width=8)

    def coronal(self) -> None:
        inner = self.brain
        cranium = inner - self.fat - 0.075
        outline = union(cranium, self.at(0, 0.42, 0.6 * self.wide, 0.5), self.at(0, 1.0, 0.42, 0.4), blend=0.12)
        self.face(outline)
        self.paint(self.both(0.24, 0.5, 0.12, 0.14, 8), AIR + 6)  # maxillary sinus
        self.paint(self.at(0, 0.5, 0.085, 0.17), AIR + 12)
        self.paint(self.both(0.05, 0.5, 0.025, 0.11), 150.0, strength=0.85)  # turbinates
        self.paint(self.at(0, 0.78, 0.24, 0.1), MUSCLE + 25 + 10 * self.noise(18, 0.08))  # tongue
        self.paint(np.maximum(np.abs(self.both(0.41, 0.6, 0.04, 0.16, 5)) - 0.013, outline + self.fat), BONE)  # jaw
        self.scalp(np.maximum(np.maximum(outline, inner - 0.072 - self.fat), self.y - 0.15))
        self.skull(inner, 0.1)
        self.paint(self.at(0, 0.33, 0.13, 0.07), AIR + 8)  # sphenoid sinus
        self.cortex(inner, np.maximum(np.abs(self.x) - 0.008, self.y + 0.36))
        self.paint(np.maximum(np.maximum(np.abs(self.x) - 0.006, self.y + 0.42), inner), 165.0, strength=0.7)  # falx
        self.paint(self.at(0, -0.29, 0.17, 0.035), WHITE + 10, width=3)  # corpus callosum
        for shape, value in (
            (self.both(0.15, -0.17, 0.05, 0.08, 20), GRAY),
            (self.both(0.27, -0.1, 0.06, 0.11, 8), GRAY + 6),
        ):
            self.paint(shape, value + 3 * self.noise(12, 0.1), strength=0.85, width=5)
        self.paint(self.both(0.1, 0.0, 0.075, 0.08), GRAY + 9, strength=0.85, width=5)  # thalamus
        v = self.ventricles
        self.paint(self.both(0.09, -0.2, 0.033 * v, 0.085 * v, 35), CSF)
        self.paint(self.at(0, 0.0, 0.014 * v, 0.09), CSF)
        self.paint(self.both(0.4, 0.02, 0.09, 0.013, 12), CSF, width=2.5)  # Sylvian fissure
        self.paint(self.at(0, 0.17, 0.12, 0.055), CSF)  # cistern above the sella
        self.paint(self.at(0, 0.235, 0.05, 0.024), VESSEL - 35)  # normal pituitary gland
        self.paint(self.both(0.1, 0.21, 0.022, 0.022), VESSEL)  # carotid arteries
        self.paint(self.at(0, -0.8 * self.long, 0.035, 0.025), VESSEL)  # sagittal sinus
        self.vessels(33, 7, np.maximum(inner + 0.03, self.y - 0.1))

    def face(self, outline: np.ndarray) -> None:
        self.scalp(outline)
        self.paint(outline + self.fat + 0.01, MUSCLE + 26 * self.noise(14, 0.16) + 12 * self.noise(19, 0.07), width=4)

    def sagittal(self) -> None:
        inner = self.brain
        cranium = union(
            self.at(0.05, -0.22, 0.7 * self.wide, 0.52 * self.long) - self.fat - 0.075, self.at(0.42, 0.2, 0.36, 0.32)
        )
        outline = union(
            cranium,
            self.at(-0.36, 0.4, 0.36, 0.5, 8),
            self.at(-0.73, 0.28, 0.1, 0.13, 25),
            self.at(-0.55, 0.78, 0.14, 0.1),
            self.at(0.28, 0.9, 0.42, 0.6),
            blend=0.14,
        )
        self.face(outline)
        self.paint(self.at(-0.46, 0.3, 0.22, 0.09, -8), AIR + 10)  # nasal cavity
        for i in range(3):
            self.paint(self.at(-0.46, 0.25 + 0.05 * i, 0.17, 0.012, -8), 140.0, strength=0.8)
        self.paint(self.at(-0.36, 0.62, 0.26, 0.13, 10), MUSCLE + 28 + 12 * self.noise(18, 0.08))  # tongue
        self.paint(self.at(-0.02, 0.62, 0.035, 0.26, -6), AIR)  # airway
        self.paint(np.abs(self.at(-0.56, 0.74, 0.07, 0.09, 15)) - 0.016, BONE)  # jaw
        for i in range(4):
            self.paint(
                self.at(0.1 + 0.035 * i, 0.56 + 0.14 * i, 0.06, 0.05, -10), 150 + 8 * self.noise(20, 0.1)
            )  # vertebra
        self.scalp(np.maximum(cranium, self.y - 0.12))
        self.paint(inner - 0.07, BONE)
        marrow = np.maximum(np.abs(inner - 0.04) - 0.011, self.y - 0.05)
        self.paint(marrow, 85 + 18 * self.noise(4, 0.2), strength=0.8)
        self.paint(self.at(-0.22, 0.31, 0.12, 0.075, -15), AIR + 8)  # sphenoid sinus
        self.paint(self.at(-0.62, -0.08, 0.05, 0.08, 10), AIR + 10)  # frontal sinus
        self.paint(np.abs(inner - 0.006) - 0.006, 128.0, strength=0.7)
        self.paint(inner, CSF)
        self.cortex(inner, depth=0.34)
        self.paint(self.at(0.2, 0.42, 0.075, 0.5, -8), WHITE - 4 + 3 * self.noise(16, 0.1), width=3)  # brain stem
        self.paint(self.at(0.13, 0.25, 0.085, 0.11), WHITE + 4, width=3)  # pons
        arch = np.abs(self.at(0.06, -0.12, 0.29, 0.19)) - 0.03
        v = self.ventricles
        self.paint(np.maximum(self.at(0.06, -0.1, 0.25, 0.13 * v), self.y + 0.06), CSF)  # lateral ventricle
        self.paint(np.maximum(arch, self.y + 0.06 - 0.1 * self.x), WHITE + 14, width=2.5)  # corpus callosum
        self.paint(self.at(0.1, 0.02, 0.12, 0.075), GRAY + 9, width=4)  # thalamus
        self.cerebellum(self.at(0.46, 0.27, 0.22, 0.17, -10))
        self.paint(self.at(0.25, 0.24, 0.03, 0.07, -8), CSF)  # fourth ventricle
        self.paint(self.at(-0.08, 0.14, 0.1, 0.05, -10), CSF)
        self.paint(self.at(-0.13, 0.21, 0.045, 0.025), VESSEL - 35)  # normal pituitary gland
        self.vessels(34, 7, np.maximum(inner + 0.03, self.y - 0.1))
