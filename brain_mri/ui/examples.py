"""The examples of the page: those that come with the model, else synthetic slices drawn at the start. Works offline."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError

SYNTHETIC = Path(__file__).resolve().parents[2] / "assets" / "examples"
THUMBNAIL = 192  # pixels on the longer side


@dataclass(frozen=True)
class Example:
    path: Path
    thumbnail: np.ndarray  # uint8 (h, w)
    title: str
    detail: str
    synthetic: bool
    volume: bool


def load_examples(offered: Path, folder: Path) -> list[Example]:
    """Examples from the folder `offered` (of a model) when it has any that can be read, else synthetic ones.

    folder: where files may be written. Files that cannot be read are left out.
    """
    paths = sorted(p for p in offered.iterdir() if p.is_file()) if offered.is_dir() else []
    return _readable(paths, False) or _readable(sorted(SYNTHETIC.iterdir()), True)


def _readable(paths: Sequence[Path], synthetic: bool) -> list[Example]:
    found = []
    for path in paths:
        try:
            image = read_scan(path).image
        except ScanError:
            continue
        scale = THUMBNAIL / max(image.shape)
        small = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        found.append(Example(path, small, *caption(path), synthetic, is_volume(path)))
    return found


def caption(path: Path) -> tuple[str, str]:
    """ "synthetic_no_tumor_axial.jpg" -> ("No tumor", "axial, JPG")."""
    stem, _, suffix = path.name.removesuffix(".gz").rpartition(".")
    words = stem.removeprefix("synthetic_").replace("no_tumor", "no tumor").replace("16bit", "16-bit").split("_")
    return words[0].capitalize(), ", ".join([*words[1:], {"nii": "NIfTI", "dcm": "DICOM"}.get(suffix, suffix.upper())])


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Removed when the program ends."""
    return tempfile.TemporaryDirectory(prefix="brain-mri-examples-")
