"""Which way is up: from a patient-space affine to the usual radiological display.

The axes of an array are named as in nibabel: a letter for each, the side of the patient towards which its index grows
(Right, Left, Anterior, Posterior, Superior, Inferior). Displayed slices show, as on a radiologist's screen:

    axial      front of the head up,  patient's right on the left of the picture
    coronal    top of the head up,    patient's right on the left of the picture
    sagittal   top of the head up,    front of the head on the left of the picture

and slices are counted towards superior, anterior and right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DISPLAY = {"axial": "SPL", "coronal": "AIL", "sagittal": "RIP"}  # slices, rows, columns of a displayed stack
PLANES = tuple(DISPLAY)


def axes_of(affine: np.ndarray) -> str | None:
    """Names of the array's axes, nearest for oblique ones; None for an affine that says nothing usable."""
    # nibabel takes most of a second to import, and pictures need none of it: here and below only when needed
    from nibabel.affines import from_matvec
    from nibabel.orientations import aff2axcodes  # as above

    matrix = np.asarray(affine, np.float64)[:3, :3]
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) <= 1e-4 * np.linalg.norm(matrix, axis=0).prod():
        return None
    names = aff2axcodes(from_matvec(matrix))
    return None if None in names else "".join(names)


def plane_of(axes: str, slice_axis: int) -> str:
    """Name of the plane that slices along an array axis show."""
    return {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(axes[slice_axis], "sagittal")


def _change(axes: str, wanted: str) -> np.ndarray:
    """(3, 2): to which axis each array axis goes, and 1 or -1, as nibabel's functions take it."""
    from nibabel.orientations import axcodes2ornt, ornt_transform  # as above

    return ornt_transform(axcodes2ornt(axes), axcodes2ornt(wanted))


def turned(array: np.ndarray, axes: str, wanted: str) -> np.ndarray:
    """View of a 3D array with these axes that has the wanted ones."""
    from nibabel.orientations import apply_orientation  # as above

    return apply_orientation(array, _change(axes, wanted))


def permuted(values: Sequence[Any], axes: str, wanted: str) -> tuple[Any, Any, Any]:
    """What belongs to each axis (its spacing, its length) in the order of the wanted axes."""
    a, b, c = np.argsort(_change(axes, wanted)[:, 0])
    return values[a], values[b], values[c]


def moved(point: Sequence[int], shape: Sequence[int], axes: str, wanted: str) -> tuple[int, int, int]:
    """Where the voxel `point` of an array of this shape lies after `turned`."""
    signs = _change(axes, wanted)[:, 1]
    counted = [i if sign > 0 else length - 1 - i for i, length, sign in zip(point, shape, signs, strict=True)]
    return permuted(counted, axes, wanted)
