"""What the viewer of the Volume tab is given: the volume and its mask as two files for the browser of their visitor.

NiiVue (BSD-2, assets/niivue.umd.js) draws them there with WebGL2; assets/viewer.js is its frame, with the sliders and
tools. Both are loaded when the tab is opened for the first time; where they cannot work, the tab shows its planes.
"""

from __future__ import annotations

import gzip
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from brain_mri.imaging.orientation import DISPLAY, moved, permuted, turned
from brain_mri.inference.volume_analysis import VolumeAnalysis
from brain_mri.ui import common
from brain_mri.ui.html import safe
from brain_mri.ui.theme import ASSETS

SERVED = [ASSETS / name for name in ("viewer.js", "viewer.css", "niivue.umd.js")]
MOST_VOXELS = 2**25  # 512 x 512 x 128; a larger volume is shown coarser, for the browser holds it four bytes a voxel
LONGEST_SIDE = 2048  # voxels: what WebGL2 takes in practice
AXES = "RAS"  # of the arrays in the files: indices grow to the right, front and top, as slices are counted (DISPLAY)
AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}  # plane -> the axis of such an array that it cuts

# js_on_load of an element in the tab, which Gradio makes when the tab is first opened.
LOAD = """const {root, api_prefix} = window.gradio_config;
const at = `${root}${api_prefix}/file=FOLDER`;
const begin = () => window.volumeViewer(element.closest('[role=tabpanel]'), at);
if (window.volumeViewer) begin();
else document.head.append(Object.assign(document.createElement('script'), {src: `${at}/viewer.js`, onload: begin}));"""


def loader() -> str:
    """`js_on_load` for a gr.HTML of the tab: gets the viewer from this server, and nothing before."""
    gr.set_static_paths(SERVED)
    return LOAD.replace("FOLDER", ASSETS.as_posix())


def viewer(found: VolumeAnalysis) -> str:
    """The place of the viewer in the page, as HTML, and the two files that it asks for.

    They lie in a folder that cannot be guessed, and go together with `found`, at the latest with other downloads.
    """
    folder = common.output_folder()
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return f'<div data-volume="{safe(json.dumps(described(found, folder)))}"></div>'


def described(found: VolumeAnalysis, folder: Path) -> dict[str, Any]:
    """Writes volume.nii.gz and mask.nii.gz into `folder` and says what assets/viewer.js needs to know of them.

    volume, mask   paths of the files
    step           1, or how many voxels of the two directions within an acquired slice became one
    count, start   (3,) numbers of voxels of the whole volume along AXES, and the voxel to look at first
    planes         those that can be shown, the acquired one first; axis: plane -> which of AXES it cuts
    window         lowest and highest value shown at first; range: of all values
    mm             are lengths known?
    doubt          do they contradict the file?
    """
    volume = found.volume
    own = DISPLAY[volume.plane]
    step = 1
    while _too_large(volume.shape, step):
        step *= 2
    values, mask = _coarser(volume.voxels, step), _coarser(found.mask, step)
    low, high = float(values.min()), float(values.max())
    spacing = permuted(volume.spacing or (1.0, 1.0, 1.0), own, AXES)
    inside = permuted((False, True, True), own, AXES)
    size = [mm * (step if coarse else 1) for mm, coarse in zip(spacing, inside, strict=True)]
    for name, array in (("volume", values), ("mask", mask)):
        _write(turned(array, own, AXES), size, folder / f"{name}.nii.gz")
    return {
        "volume": (folder / "volume.nii.gz").as_posix(),
        "mask": (folder / "mask.nii.gz").as_posix(),
        "step": [step if coarse else 1 for coarse in inside],
        "count": list(permuted(volume.shape, own, AXES)),
        "start": list(moved(found.start(), volume.shape, own, AXES)),
        "planes": list(volume.planes),
        "axis": AXIS,
        "window": [float(limit) for limit in volume.limits],
        "range": [low, high],
        "mm": volume.spacing is not None,
        "doubt": bool(volume.doubt),
    }


def _too_large(shape: tuple[int, int, int], step: int) -> bool:
    depth, height, width = shape[0], -(-shape[1] // step), -(-shape[2] // step)
    return depth * height * width > MOST_VOXELS or max(height, width) > LONGEST_SIDE


def _coarser(stack: np.ndarray, step: int) -> np.ndarray:
    """(D, H, W) with the mean of step x step pixels as one; of a bool stack uint8, 1 where most of them are set."""
    stack = stack.astype(np.uint8) if stack.dtype == bool else stack
    if step == 1:
        return stack
    depth, height, width = stack.shape
    rows, columns = -height % step, -width % step
    made = np.empty((depth, (height + rows) // step, (width + columns) // step), stack.dtype)
    for i, picture in enumerate(stack):
        whole = cv2.copyMakeBorder(np.ascontiguousarray(picture), 0, rows, 0, columns, cv2.BORDER_REPLICATE)
        made[i] = cv2.resize(whole, made.shape[:0:-1], interpolation=cv2.INTER_AREA)
    return made


def _write(array: np.ndarray, spacing: list[float], path: Path) -> None:
    """NIfTI of an array along AXES. Its affine says voxel sizes only: slices are shown as they were acquired, and an
    oblique or sheared grid keeps the names of the directions that are nearest."""
    import nibabel as nib  # imported when needed: it takes a while

    image = nib.Nifti1Image(array, np.diag([*spacing, 1.0]), dtype=array.dtype)
    if array.dtype == np.float32:
        image.set_data_dtype(np.uint16)  # half the bytes, and more steps than a screen has; nibabel notes the scale
    path.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
