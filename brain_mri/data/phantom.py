"""Synthetic brain slices with exact tumor masks: for tests and a first training run.

They are drawings that look like contrast-enhanced T1 slices; nothing about real scans follows from them.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import fft

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data.phantom_anatomy import Head
from brain_mri.data.phantom_tumors import place_tumor

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True, eq=False)
class Phantom:
    """image uint8 (size, size); mask uint8 (size, size), 255 on the tumor; the class; the plane."""

    image: np.ndarray
    mask: np.ndarray
    label: str
    plane: str


def make_phantom(
    label: str,
    seed: int,
    size: int = 256,
    plane: str = "axial",
    *,
    height: float | None = None,
    slice_offset: float = 0.0,
) -> Phantom:
    """Draw a slice. The same arguments give the same bits.

    height: of an axial slice, -1 (skull base) .. 1 (vertex); by default chosen from the seed.
    slice_offset: distance from the middle of the tumor in head units (about 10 cm): neighbouring slices of one person.
    """
    if label not in CLASSES or plane not in PLANES:
        raise ValueError(f"label must be one of {CLASSES} and plane one of {PLANES}, not {label!r}, {plane!r}.")
    person = np.random.default_rng([seed, 1])
    middle = _height(label, plane, person) if height is None else height
    x, y = _grid(size, person)
    level = middle + (slice_offset if plane == "axial" else 0.3 * slice_offset)
    head = Head(seed, plane, level, x, y, 2 / size)
    tumor = None
    if label != NO_TUMOR:
        anchor = head if slice_offset == 0 else Head(seed, plane, middle, x, y, 2 / size)
        tumor = place_tumor(anchor, label, np.random.default_rng([seed, 3]), slice_offset)
    if tumor is not None and label != "pituitary":  # the mass pushes the brain aside
        push = 0.28 * np.exp(-((x - tumor.cx) ** 2 + (y - tumor.cy) ** 2) / (2 * (1.5 * tumor.radius) ** 2))
        head = Head(seed, plane, level, x - push * (x - tumor.cx), y - push * (y - tumor.cy), 2 / size)
    head.draw()
    mask = np.zeros((size, size), np.uint8) if tumor is None else tumor.draw(head)
    noise = np.random.default_rng([seed, 2, round(1000 * level) + 10_000])
    return Phantom(_finish(head.image, person, noise), mask, label, plane)


def _height(label: str, plane: str, rng: np.random.Generator) -> float:
    base = rng.random() < 0.15
    value = rng.uniform(-0.15, 0.6)
    if plane == "axial" and (label == "pituitary" or base):
        return -0.6
    return value


def _grid(size: int, person: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Head coordinates of every pixel: the head a little turned, scaled and shifted."""
    angle = math.radians(person.uniform(-6, 6))
    scale = float(person.uniform(1.0, 1.18))
    dx, dy = (float(d) for d in person.uniform(-0.04, 0.04, 2))
    v, u = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) * (2 / size) - 1
    u, v = (u - dx) * scale, (v - dy) * scale
    c, s = math.cos(angle), math.sin(angle)
    return u * c + v * s, v * c - u * s


def _finish(image: np.ndarray, person: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """As a scanner takes it: coil shading, frequencies on a grid coarser than the picture, noise in them -> uint8.

    The coarse grid gives partial volume and faint ripples beside sharp edges; the magnitude of complex noise is Rician
    (Gudbjartsson and Patz 1995).
    """
    size = image.shape[0]
    cells = person.uniform(0.86, 1.14, (3, 3)).astype(np.float32)
    shading = cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
    v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    shading *= 0.95 + float(person.uniform(0.0, 0.3)) * (u * u + v * v)  # coils hear best what is near
    shading *= np.clip((1 - v) / 0.1, 0, 1)  # and little of the neck
    image = image * shading * float(person.uniform(0.9, 1.1))
    taken = 2 * round(size * float(person.uniform(0.36, 0.48)))
    sigma = float(person.uniform(2.0, 6.0))
    first = (size - taken) // 2
    window = np.hanning(taken + 2)[1:-1].astype(np.float32) ** float(person.uniform(0.15, 0.5))
    middle = (slice(first, first + taken),) * 2
    waves = np.zeros((size, size), np.complex64)
    waves[middle] = fft.fftshift(fft.fft2(image))[middle]
    waves[middle] += sigma * size * noise.standard_normal((taken, 2 * taken), np.float32).view(np.complex64)
    waves[middle] *= window[:, None] * window
    return np.clip(np.abs(fft.ifft2(fft.ifftshift(waves))) + 0.5, 0, 255).astype(np.uint8)


def write_dataset(root: str | Path, per_class: int = 40, seed: int = 0, masks: bool = True, size: int = 256) -> Path:
    """Write a data set as people have it on Drive, all of it synthetic; returns the root.

        Training/<class>/*.jpg  Testing/<class>/*.jpg   a fifth of the persons of each class is in Testing
        groups.csv                                      file,class,group,kind: which pictures show one person
        segmentation/images/*.png  masks/*.png          (masks=True) the tumor slices again, as in the real data sets;
        segmentation/patients.csv                       file,class,patient,fold    some class-folder copies are mirrored

    A person has four slices, neighbours in one or two planes. Raises OSError when something cannot be written.
    """
    root = Path(root)
    groups: list[tuple[object, ...]] = [("file", "class", "group", "kind")]
    patients: list[tuple[object, ...]] = [("file", "class", "patient", "fold")]
    for c, label in enumerate(CLASSES):
        for i in range(per_class):
            person, k = divmod(i, 4)
            patient = f"phantom-{label[:2]}{person:04d}"
            plane, offset = PLANES[(person + k // 3) % 3], 0.06 * ((k * 2) % 3 - 1) + 0.01 * k
            phantom = make_phantom(label, (seed * 4 + c) * 100_000 + person, size, plane, slice_offset=offset)
            last = 0 < person == (per_class - 1) // 4 < 5  # of few persons one is kept for testing
            split = "Testing" if person % 5 == 4 or last else "Training"
            file = f"{split}/{label}/{split[:2]}-{label[:2]}_{i:04d}.jpg"
            copy = phantom.image[:, ::-1] if masks and i % 3 == 2 else phantom.image
            _write(root / file, copy, [cv2.IMWRITE_JPEG_QUALITY, 92])
            groups.append((file, label, patient, "patient"))
            if masks and label != NO_TUMOR:
                number = f"{len(patients):04d}.png"
                _write(root / "segmentation" / "images" / number, phantom.image)
                _write(root / "segmentation" / "masks" / number, phantom.mask)
                patients.append((number, label, patient, person % 5 + 1))
    _write_csv(root / "groups.csv", groups)
    if masks:
        _write_csv(root / "segmentation" / "patients.csv", patients)
    return root


def _write(path: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image, options or [])
    if not done:
        raise OSError(f"{path.name} could not be encoded.")
    path.write_bytes(data.tobytes())


def _write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
