"""The three tumors of the phantoms, painted into a Head; the mask is exact because the same outline paints it.

glioma       irregular ring of contrast around a dark core, swelling around it
meningioma   homogeneous and bright, broad against the dura, with a dural tail
pituitary    small, bright, in the midline at the sella
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from brain_mri.data.phantom_anatomy import BASE, CSF, GRAY, SELLA, Head, union


@dataclass(frozen=True)
class Tumor:
    """label: the class; cx, cy, radius in head units; key: seed of its shape."""

    label: str
    cx: float
    cy: float
    radius: float
    key: int

    def draw(self, head: Head) -> np.ndarray:
        """Paint the tumor into the head; uint8 (H, W) mask, 255 inside."""
        return {"glioma": self._glioma, "meningioma": self._meningioma, "pituitary": self._pituitary}[self.label](head)

    def _blob(self, head: Head, rough: float, waves: int = 7) -> np.ndarray:
        """Signed distance to a wobbly disc."""
        rng = np.random.default_rng([self.key, 0])
        dx, dy = head.x - self.cx, head.y - self.cy
        angle = np.arctan2(dy, dx)
        edge = np.ones_like(angle)
        for k in range(2, waves + 2):
            edge += rough * float(rng.normal()) / k * np.cos(k * angle + float(rng.uniform(0, 6.28)))
        stretch, turn = float(rng.uniform(0.8, 1.0)), float(rng.uniform(0, math.pi))
        u = dx * math.cos(turn) + dy * math.sin(turn)
        v = (dy * math.cos(turn) - dx * math.sin(turn)) / stretch
        return np.hypot(u, v) - self.radius * edge

    def _glioma(self, head: Head) -> np.ndarray:
        rng = np.random.default_rng([self.key, 9])
        edge = self._blob(head, 0.1, 5) + 0.13 * self.radius * head.noise(48, 1.5 * self.radius)
        edge = np.maximum(edge, head.brain + 0.015)
        swelling = edge - self.radius * (0.75 + 0.4 * head.noise(41, 0.3))
        head.paint(
            np.maximum(swelling, head.brain + 0.03), GRAY - 16 + 3 * head.noise(42, 0.1), strength=0.85, width=18
        )
        thick = self.radius * np.clip(0.25 + 0.13 * head.noise(43, 0.14), 0.1, 0.65)
        bright = float(rng.uniform(118, 158)) + 12 * head.noise(44, 0.07)
        patchy = np.clip(0.8 + 0.4 * head.noise(46, 0.2), 0.35, 1)  # the barrier leaks here more than there
        head.paint(edge, bright, strength=patchy, width=4)
        head.paint(edge + thick, CSF + 16 + 12 * head.noise(45, 0.1), width=6)
        return np.where(edge < 0, 255, 0).astype(np.uint8)

    def _meningioma(self, head: Head) -> np.ndarray:
        rng = np.random.default_rng([self.key, 9])
        edge = np.maximum(self._blob(head, 0.06, 5), head.brain - 0.004)
        head.paint(np.maximum(edge - 0.015, head.brain), CSF + 12, strength=0.7, width=3)  # cleft of fluid
        distance = np.hypot(head.x - self.cx, head.y - self.cy)
        bright = float(rng.uniform(118, 155))
        tail = np.maximum(np.abs(head.brain + 0.004) - 0.01, distance - 1.75 * self.radius)
        head.paint(tail, bright - 6, strength=0.8)
        head.paint(edge, bright + 5 * head.noise(44, 0.09) + 3 * head.noise(47, 0.04), width=2.5)
        return np.where(edge < 0, 255, 0).astype(np.uint8)

    def _pituitary(self, head: Head) -> np.ndarray:
        """A ball in the sella; seen from the side or the front it grows up through the ring above it."""
        rng = np.random.default_rng([self.key, 9])
        edge = self._blob(head, 0.05, 4)
        if head.plane != "axial":
            above = np.hypot(head.x - self.cx, (head.y - self.cy + 1.1 * self.radius) / 0.9)
            edge = union(edge, above - self.radius * float(rng.uniform(0.5, 0.85)), blend=0.05)
        head.paint(edge - 0.02, CSF + 4, strength=0.8, width=4)
        bright = float(rng.uniform(114, 150))
        head.paint(edge, bright + 6 * head.noise(44, 0.06) + 3 * head.noise(47, 0.03), width=2.5)
        return np.where(edge < 0, 255, 0).astype(np.uint8)


def place_tumor(head: Head, label: str, rng: np.random.Generator, offset: float) -> Tumor | None:
    """Where and how large: from the person's seed; smaller away from the middle slice, None beyond the tumor."""
    largest = {"glioma": (0.17, 0.3), "meningioma": (0.12, 0.23), "pituitary": (0.085, 0.14)}[label]
    full = float(rng.uniform(*largest))
    pick = rng.random()
    if abs(offset) >= 0.95 * full:
        return None
    radius = math.sqrt(full**2 - offset**2)
    key = int(rng.integers(2**31))
    if label == "pituitary":
        cx, cy = SELLA[head.plane]
        return Tumor(label, cx + float(rng.uniform(-0.015, 0.015)), cy + float(rng.uniform(-0.02, 0.02)), radius, key)
    if label == "glioma":
        inside = head.brain < -1.05 * full
        inside &= np.abs(head.x) > 0.12 if head.plane != "sagittal" else head.y < 0.05
    else:
        inside = np.abs(head.brain + 0.55 * full) < 0.02
        inside &= head.y < (0.9 if head.plane == "axial" and head.height > BASE else 0.0)
    rows, columns = np.nonzero(inside if inside.any() else head.brain <= head.brain.min() + 0.02)
    i = int(pick * len(rows))
    return Tumor(label, float(head.x[rows[i], columns[i]]), float(head.y[rows[i], columns[i]]), radius, key)
