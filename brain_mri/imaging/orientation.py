"""Which way is up: from a patient-space affine to the usual radiological display. Pure geometry.

World axes are 0 right, 1 anterior, 2 superior (RAS, as in NIfTI). Displayed slices show, as on a radiologist's screen:

    axial      front of the head up,  patient's right on the left of the picture
    coronal    top of the head up,    patient's right on the left of the picture
    sagittal   top of the head up,    front of the head on the left of the picture

and slices are counted towards superior, anterior and right.
"""

from __future__ import annotations

import numpy as np

PLANES = ("axial", "coronal", "sagittal")

# (world axis, sign of increasing index) of the slice, row and column axes of a displayed stack
_DISPLAY = {
    "axial": ((2, 1), (1, -1), (0, -1)),
    "coronal": ((1, 1), (2, -1), (0, -1)),
    "sagittal": ((0, 1), (2, -1), (1, -1)),
}
_OF_WORLD_AXIS = {2: "axial", 1: "coronal", 0: "sagittal"}

Axes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
Order = tuple[tuple[int, int, int], tuple[bool, bool, bool]]


def axes_of(affine: np.ndarray) -> Axes | None:
    """(world axis, sign) of each array axis, nearest for oblique ones; None for an affine that says nothing usable."""
    from nibabel.orientations import io_orientation  # imported when needed: nibabel takes a while

    matrix = np.asarray(affine, np.float64)[:3, :3]
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        return None
    found = io_orientation(np.vstack([np.column_stack([matrix, np.zeros(3)]), [0, 0, 0, 1]]))
    if np.isnan(found).any():
        return None
    first, second, third = ((int(axis), int(sign)) for axis, sign in found)
    return first, second, third


def plane_of(axes: Axes, slice_axis: int) -> str:
    """Name of the plane that slices along an array axis show."""
    return _OF_WORLD_AXIS[axes[slice_axis][0]]


def display_axes(plane: str) -> Axes:
    """`Axes` of a stack (slices, rows, columns) that is displayed in a plane."""
    return _DISPLAY[plane]


def display_order(axes: Axes, plane: str) -> Order:
    """(permutation, flips) that bring an array with these axes to (slices, rows, columns) of a displayed plane."""
    where = {axis: (i, sign) for i, (axis, sign) in enumerate(axes)}
    chosen = [(*where[axis], sign) for axis, sign in _DISPLAY[plane]]
    (a, fa), (b, fb), (c, fc) = ((i, have != want) for i, have, want in chosen)
    return (a, b, c), (fa, fb, fc)


def apply_order(array: np.ndarray, order: Order) -> np.ndarray:
    """A transposed and flipped view of a 3D array."""
    permutation, flips = order
    return array.transpose(permutation)[tuple(slice(None, None, -1 if f else 1) for f in flips)]


def undo_order(array: np.ndarray, order: Order) -> np.ndarray:
    """The inverse of apply_order, as a view."""
    permutation, flips = order
    flipped = array[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    return flipped.transpose(np.argsort(permutation))
