"""A drawn head without a tumor: T1-like gray values of axial, coronal and sagittal slices, from ellipses and noise.

Coordinates are those of the head: x to the right of the picture, y down, both about -1..1. Shapes are signed distances
in these units (negative inside); every edge is painted softly over about one pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

# As in T1 slices with contrast medium: the brain 2.5 times darker than fat, white matter barely brighter than gray.
FAT, MUSCLE, BONE, AIR, CSF, GRAY, WHITE, VESSEL, MUCOSA = 188.0, 74.0, 17.0, 5.0, 33.0, 72.0, 90.0, 168.0, 122.0
SELLA = {"axial": (0.0, -0.1), "coronal": (0.0, 0.2), "sagittal": (-0.13, 0.19)}
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
        self.fat, self.ventricles = (float(rng.uniform(*r)) for r in ((0.04, 0.07), (0.75, 1.3)))
        self.folds = float(rng.uniform(1.1, 1.8))
        self.furrows = float(rng.uniform(0.45, 0.9))  # how dark they are
        self.gray = GRAY - float(rng.uniform(0, 8))  # of the cortex: more or less unlike white matter
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
        first, second = (
            np.random.default_rng([self.seed, key, part]).standard_normal((cells, cells)).astype(np.float32)
            for part in (0, 1)
        )
        grid = math.cos(turn) / 0.7 * first + math.sin(turn) / 0.7 * second
        return cv2.remap(grid, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)

    def soft(self, signed: np.ndarray, width: float = 1.6) -> np.ndarray:
        return np.clip(0.5 - signed / (width * self.pixel), 0, 1)

    def paint(
        self, signed: np.ndarray, value: float | np.ndarray, *, strength: float | np.ndarray = 1.0, width: float = 1.6
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
                self.both(0.36, -0.01, 0.25 * w, 0.31, -10),
                self.at(0, 0.12, 0.24, 0.2),
                self.at(0, 0.36 * h, 0.59 * w, 0.46 * h),
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
        """Skin, fat of uneven brightness with its strands, and the dark layer on the bone."""
        self.paint(outline, MUSCLE + 24)
        self.paint(outline + 0.013, FAT + 12 * self.noise(21, 0.12) - 16 * self.strands(22, 0.1))
        deep = outline + self.fat * (0.68 + 0.14 * self.noise(23, 0.4))
        self.paint(deep, MUSCLE, strength=0.8, width=3)

    def strands(self, key: int, wavelength: float) -> np.ndarray:
        """Thin curved lines, 0..1: where smooth noise changes its sign."""
        return np.clip(1 - np.abs(self.noise(key, wavelength)) / 0.3, 0, 1)

    def soft_tissue(self, inside: np.ndarray) -> None:
        """Muscle between sheets of fat and vessels."""
        muscle = MUSCLE + 14 * self.noise(14, 0.16) + 10 * self.noise(19, 0.05)
        sheets = self.strands(24, 0.14) * np.clip(0.6 + 0.5 * self.noise(25, 0.25), 0, 1)
        self.paint(inside, muscle + sheets * (FAT - 20 - muscle), width=4)

    def air_cells(self, inside: np.ndarray, wavelength: float = 0.13) -> None:
        """A sinus: air, the thin bright lining of its wall and of the walls between its cells."""
        self.paint(inside, MUCOSA + 12 * self.noise(26, 0.1))
        air = AIR + 6 + 0.8 * (MUCOSA - AIR) * self.strands(27, wavelength) ** 2
        self.paint(inside + 0.018 + 0.008 * self.noise(28, 0.1), air, width=2)

    def skull(self, inner: np.ndarray, marrow_to: float = 9.0) -> None:
        """Bone with marrow (down to a height), dura and the fluid around the brain."""
        self.paint(inner - 0.072, BONE)
        thick = np.clip(0.011 + 0.006 * self.noise(29, 0.5), 0.003, 0.02)
        marrow = np.maximum(np.abs(inner - 0.04) - thick, self.y - marrow_to)
        self.paint(marrow, 78 + 20 * self.noise(4, 0.2), strength=0.8)
        dura = 0.6 + 0.4 * np.clip(self.noise(30, 0.3), -1, 1)  # enhanced here and there
        self.paint(np.abs(inner - 0.006) - 0.005, MUCOSA - 14, strength=0.8 * dura)
        self.paint(inner, CSF)

    def cortex(self, inner: np.ndarray, midline: np.ndarray | None = None, depth: float = 0.36) -> None:
        """Folded gray ribbon over white matter. midline: signed distance of the fissure between the halves."""
        fold = 0.7 * self.noise(5, 0.18, mirrored=True) + 0.6 * self.noise(6, 0.12, mirrored=True)
        reach = np.clip(1 + inner / (depth * self.folds), 0, 1)  # 1 at the surface, 0 deep inside
        sulci = np.abs(fold) - 0.28 * reach * self.folds
        groove = (inner > -0.012) | ((sulci < 0) & (reach > 0.02))
        if midline is not None:
            groove |= midline < 0
        away = cv2.distanceTransform((~groove).astype(np.uint8), cv2.DIST_L2, 5) * self.pixel
        ribbon = 0.032 + 0.006 * self.noise(7, 0.3)
        white = WHITE + 2 * self.noise(8, 0.25) + 1.5 * self.noise(9, 0.06)
        gray = self.gray + 3 * self.noise(10, 0.12)
        tissue = gray + np.clip((away - ribbon) / (2 * self.pixel), 0, 1) * (white - gray)
        fluid = np.clip(1 - away / (2.2 * self.pixel), 0, 1)
        tissue = tissue + self.furrows * fluid * (CSF - tissue)
        self.image += self.soft(inner + 0.006) * (tissue - self.image)

    def vessels(self, key: int, inner: np.ndarray) -> None:
        """Contrast agent in veins: bright thin curves at the surface, a few dots deeper; bright alone is no tumor."""
        near = np.exp(-(((inner + 0.05) / 0.09) ** 2)) * np.clip(self.noise(key + 10, 0.3) - 0.2, 0, 1)
        curves = np.clip(1 - np.abs(self.noise(key, 0.5)) / 0.07, 0, 1)
        self.image += curves * near * (inner < -0.01) * (VESSEL - self.image)
        rng = np.random.default_rng([self.seed, key, round(self.height * 8) + 100])
        rows, columns = np.nonzero(inner < -0.06)
        for _ in range(5 if len(rows) else 0):
            i = rng.integers(len(rows))
            cx, cy = float(self.x[rows[i], columns[i]]), float(self.y[rows[i], columns[i]])
            dot = self.at(cx, cy, rng.uniform(0.006, 0.016), 0.006, rng.uniform(0, 180))
            self.paint(dot, MUCOSA + 10, strength=rng.uniform(0.3, 0.9))

    def axial(self) -> None:
        if self.height < BASE:
            return self.axial_base()
        outline, inner = self.axial_outline(), self.brain
        self.scalp(outline)
        self.skull(inner)
        deep = math.exp(-(((self.height - 0.05) / 0.33) ** 2))  # how much of the ventricles this slice shows
        fissure = np.maximum(np.abs(self.x) - 0.007, 0.30 * deep - np.abs(self.y + 0.02))
        self.cortex(inner, fissure)
        falx = np.maximum(np.abs(self.x) - 0.004, 0.42 * deep - np.abs(self.y + 0.02))
        self.paint(np.maximum(falx, inner + 0.01), MUCOSA, strength=0.6)
        if deep > 0.15:
            self.deep_axial(self.ventricles * deep)
        self.paint(self.sinus_at_the_back(0.035, 0.028), VESSEL)
        self.vessels(31, inner)
        return None

    def sinus_at_the_back(self, rx: float, ry: float) -> np.ndarray:
        """The large vein in the midline where the brain ends."""
        back = float(self.y[np.abs(self.x) + np.abs(self.brain) < 0.05].max(initial=-1.0))
        return self.at(0, back - 0.03, rx, ry)

    def deep_axial(self, v: float) -> None:
        self.nuclei(
            (self.both(0.13, -0.2, 0.06, 0.1, -18), GRAY),  # caudate
            (self.both(0.29, -0.05, 0.06, 0.15, -14), GRAY + 3),  # lentiform nucleus
            (self.both(0.12, 0.1, 0.1, 0.13, -20), GRAY + 4),  # thalamus
        )
        self.paint(self.both(0.37, -0.03, 0.016, 0.15, -10), CSF + 16, strength=0.55, width=3)  # insula
        horns = union(
            self.both(0.075, -0.22, 0.038 * v, 0.13 * v, -20), self.both(0.045, -0.08, 0.03 * v, 0.11), blend=0.03
        )
        trigone = union(
            self.both(0.16, 0.24, 0.042 * v, 0.13 * v, -28), self.both(0.1, 0.12, 0.02 * v, 0.08, -30), blend=0.03
        )
        self.paint(union(horns, trigone, blend=0.02), CSF)
        self.paint(self.at(0, 0.02, 0.014 * v, 0.1), CSF)  # third ventricle
        self.paint(np.maximum(np.abs(self.x) - 0.008, np.abs(self.y + 0.19) - 0.14), WHITE - 4, strength=0.8)  # septum
        self.paint(self.both(0.15, 0.22, 0.014, 0.04, -28), VESSEL - 25, strength=0.8)  # choroid plexus

    def nuclei(self, *shapes: tuple[np.ndarray, float]) -> None:
        for shape, value in shapes:
            self.paint(shape, value + 2 * self.noise(12, 0.1), strength=0.8, width=6)

    def axial_base(self) -> None:
        """At the height of the sella: orbits and sinuses in front, midbrain and cerebellum behind."""
        inner, w = self.brain, self.wide
        face = union(
            self.at(0, 0.0, 0.72 * w, 0.84), self.both(0.3, -0.6, 0.26, 0.2), self.at(0, -0.86, 0.1, 0.1), blend=0.12
        )
        outline = union(face, inner - self.fat - 0.07, blend=0.1)
        self.scalp(outline)
        self.soft_tissue(outline + self.fat)
        orbit = union(self.both(0.32, -0.58, 0.17, 0.17), self.both(0.24, -0.36, 0.08, 0.2, 24), blend=0.12)
        self.paint(orbit - 0.015, BONE)
        self.paint(orbit + 0.008, FAT - 24 - 16 * self.strands(31, 0.07), width=4)
        for x, degrees in ((0.215, 14), (0.345, 32)):  # muscles of the eye
            self.paint(self.both(x, -0.43, 0.018, 0.13, degrees), MUCOSA - 10, strength=0.9, width=4)
        self.paint(self.both(0.265, -0.4, 0.016, 0.16, 22), GRAY + 8, width=4)  # optic nerve
        self.paint(self.both(0.33, -0.62, 0.127, 0.127), 96.0, width=2.5)
        self.paint(self.both(0.33, -0.62, 0.113, 0.113), CSF - 4 + 2 * self.noise(15, 0.2))  # eye
        self.paint(self.both(0.33, -0.708, 0.05, 0.022, 4), 80.0, width=3)
        self.air_cells(self.at(0, -0.5, 0.12, 0.27))  # ethmoid cells
        septum = np.maximum(np.abs(self.x + 0.02 * self.noise(35, 0.4)) - 0.006, np.abs(self.y + 0.52) - 0.26)
        self.paint(septum, MUCOSA - 20, strength=0.7)
        self.paint(inner - 0.055, BONE)
        self.paint(np.abs(inner - 0.032) - 0.008, 76 + 18 * self.noise(4, 0.2), strength=0.6)
        self.air_cells(self.at(0, -0.23, 0.15, 0.085), 0.3)  # sphenoid sinus
        petrous = np.maximum(self.both(0.5, 0.18, 0.17, 0.04, -28), inner - 0.05)
        self.paint(petrous, BONE + 8 + 12 * self.noise(15, 0.07))
        self.paint(np.abs(inner - 0.006) - 0.005, MUCOSA - 14, strength=0.6)
        self.paint(inner, CSF)
        self.cortex(inner, np.maximum(np.abs(self.x) - 0.006, 0.3 - self.y), depth=0.12)
        self.paint(self.both(0.345, 0.0, 0.012, 0.07, -12), CSF)  # temporal horns
        cistern = union(self.at(0, -0.06, 0.15, 0.09), self.both(0.12, 0.12, 0.05, 0.15, 12), blend=0.05)
        self.paint(cistern, CSF + 3 * self.noise(16, 0.1), width=3)
        self.paint(self.at(0, 0.14, 0.13, 0.125), WHITE - 2 + 2 * self.noise(16, 0.1), width=3)  # midbrain
        self.paint(self.at(0, 0.22, 0.012, 0.016), CSF)  # aqueduct
        self.cerebellum(self.at(0, 0.5, 0.36 * w, 0.24))
        tent = np.maximum(np.abs(self.at(0, 0.52, 0.37 * w, 0.27)) - 0.007, self.y - 0.62)
        self.paint(np.maximum(tent, inner), MUCOSA, strength=0.65)
        self.paint(self.both(0.12, -0.12, 0.045, 0.055), MUCOSA + 10 * self.noise(18, 0.05), width=3)  # cavernous sinus
        self.paint(self.both(0.125, -0.13, 0.02, 0.02), BONE, width=2.5)  # carotid arteries: fast blood is dark
        self.paint(self.at(0, 0.0, 0.016, 0.016), VESSEL - 20)  # basilar artery
        self.paint(self.sinus_at_the_back(0.05, 0.03), VESSEL)
        self.vessels(32, inner)

    def cerebellum(self, inner: np.ndarray) -> None:
        folia = np.sin((self.y * 1.2 + 0.35 * np.cos(2 * self.x) + 0.02 * self.noise(17, 0.2)) * 95)
        self.paint(inner, GRAY + 3 + 6 * self.folds * folia, width=3)
        self.paint(inner + 0.1, WHITE - 4 + 2 * folia, strength=0.7, width=8)

    def coronal(self) -> None:
        inner = self.brain
        cranium = inner - self.fat - 0.075
        outline = union(cranium, self.at(0, 0.42, 0.6 * self.wide, 0.5), self.at(0, 1.0, 0.42, 0.4), blend=0.12)
        self.face(outline)
        self.air_cells(self.both(0.23, 0.53, 0.11, 0.13, 8), 0.5)  # maxillary sinus
        self.air_cells(self.at(0, 0.52, 0.09, 0.16), 0.12)  # nose and its turbinates
        self.paint(self.at(0, 0.78, 0.24, 0.1), MUSCLE + 14 + 8 * self.noise(18, 0.08), width=4)  # tongue
        jaw = np.maximum(np.abs(self.both(0.41, 0.6, 0.04, 0.16, 5)) - 0.013, outline + self.fat)
        self.paint(jaw, BONE)
        self.scalp(np.maximum(np.maximum(outline, inner - 0.072 - self.fat), self.y - 0.15))
        self.skull(inner, 0.1)
        self.air_cells(self.at(0, 0.34, 0.14, 0.08), 0.35)  # sphenoid sinus
        self.cortex(inner, np.maximum(np.abs(self.x) - 0.006, self.y + 0.36))
        falx = np.maximum(np.maximum(np.abs(self.x) - 0.004, self.y + 0.42), inner)
        self.paint(falx, MUCOSA, strength=0.7)
        self.paint(self.at(0, -0.29, 0.17, 0.035), WHITE + 4, width=3)  # corpus callosum
        self.nuclei(
            (self.both(0.15, -0.17, 0.05, 0.08, 20), GRAY),
            (self.both(0.27, -0.1, 0.06, 0.11, 8), GRAY + 3),
            (self.both(0.1, 0.0, 0.075, 0.08), GRAY + 4),  # thalamus
        )
        v = self.ventricles
        self.paint(self.both(0.09, -0.2, 0.033 * v, 0.085 * v, 35), CSF)
        self.paint(self.at(0, 0.0, 0.014 * v, 0.09), CSF)
        self.paint(self.both(0.4, 0.02, 0.09, 0.013, 12), CSF + 6, width=2.5)  # Sylvian fissure
        self.paint(self.at(0, 0.17, 0.12, 0.055), CSF)  # cistern above the sella
        self.paint(self.at(0, 0.235, 0.05, 0.024), MUCOSA + 10)  # normal pituitary gland
        self.paint(self.both(0.11, 0.235, 0.04, 0.05), MUCOSA, strength=0.8, width=3)  # cavernous sinus
        self.paint(self.both(0.11, 0.225, 0.018, 0.018), BONE)  # carotid arteries: fast blood is dark
        self.paint(self.at(0, -0.8 * self.long, 0.035, 0.025), VESSEL)  # sagittal sinus
        self.vessels(33, np.maximum(inner, self.y - 0.1))

    def face(self, outline: np.ndarray) -> None:
        self.scalp(outline)
        self.soft_tissue(outline + self.fat + 0.01)

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
        self.air_cells(self.at(-0.46, 0.3, 0.24, 0.11, -8), 0.16)  # nasal cavity
        for i in range(3):
            self.paint(self.at(-0.46, 0.25 + 0.05 * i, 0.17, 0.014, -8), MUCOSA + 14, strength=0.8, width=3)
        self.paint(self.at(-0.36, 0.62, 0.26, 0.13, 10), MUSCLE + 16 + 8 * self.noise(18, 0.08), width=4)  # tongue
        self.paint(self.at(-0.02, 0.62, 0.035, 0.26, -6), AIR)  # airway
        self.paint(np.abs(self.at(-0.56, 0.74, 0.07, 0.09, 15)) - 0.016, BONE)  # jaw
        for i in range(4):  # vertebrae
            body = self.at(0.1 + 0.035 * i, 0.56 + 0.14 * i, 0.06, 0.05, -10)
            self.paint(body, 100 + 8 * self.noise(20, 0.1), width=3)
        self.scalp(np.maximum(cranium, self.y - 0.12))
        self.paint(inner - 0.07, BONE)
        marrow = np.maximum(np.abs(inner - 0.04) - 0.011, self.y - 0.05)
        self.paint(marrow, 78 + 20 * self.noise(4, 0.2), strength=0.8)
        self.paint(self.at(-0.03, 0.33, 0.1, 0.06, 40), 105 + 14 * self.noise(20, 0.1), width=3)  # clivus
        self.air_cells(self.at(-0.2, 0.31, 0.13, 0.08, -15), 0.3)  # sphenoid sinus
        self.air_cells(self.at(-0.62, -0.08, 0.045, 0.08, 10), 0.3)  # frontal sinus
        dura = 0.6 + 0.4 * np.clip(self.noise(30, 0.3), -1, 1)
        self.paint(np.abs(inner - 0.006) - 0.005, MUCOSA - 14, strength=0.8 * dura)
        self.paint(inner, CSF)
        self.cortex(inner, depth=0.34)
        self.paint(self.at(0.2, 0.42, 0.075, 0.5, -8), WHITE - 4 + 2 * self.noise(16, 0.1), width=3)  # brain stem
        self.paint(self.at(0.13, 0.25, 0.085, 0.11), WHITE, width=3)  # pons
        arch = np.abs(self.at(0.06, -0.12, 0.29, 0.19)) - 0.03
        v = self.ventricles
        self.paint(np.maximum(self.at(0.06, -0.1, 0.25, 0.13 * v), self.y + 0.06), CSF)  # lateral ventricle
        self.paint(np.maximum(arch, self.y + 0.06 - 0.1 * self.x), WHITE + 5, width=2.5)  # corpus callosum
        self.paint(self.at(0.1, 0.02, 0.12, 0.075), GRAY + 4, width=4)  # thalamus
        self.cerebellum(self.at(0.46, 0.27, 0.22, 0.17, -10))
        self.paint(self.at(0.25, 0.24, 0.03, 0.07, -8), CSF)  # fourth ventricle
        self.paint(self.at(-0.08, 0.14, 0.1, 0.05, -10), CSF)
        self.paint(self.at(0.62, 0.12, 0.1, 0.016, -35), VESSEL - 15, width=3)  # straight sinus
        self.paint(self.at(-0.13, 0.21, 0.045, 0.025), MUCOSA + 10)  # normal pituitary gland
        self.vessels(34, np.maximum(inner, self.y - 0.1))
