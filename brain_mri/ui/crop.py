"""One slice cut out of a montage or of a viewer's screenshot: two clicks, on opposite corners, and it is analysed.

Not gr.ImageEditor: without its brushes it does not start (Gradio 6.31), and with them a visitor may draw on a scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from PIL import Image, ImageOps

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import MIN_SIDE, ScanError, clean_name
from brain_mri.inference.jobs import stem_of
from brain_mri.ui.common import output_folder
from brain_mri.ui.html import image

SHOWN = 1024  # pixels on the longer side of the picture that is clicked on
END = "_cropped.png"  # of the names of what was cut out
FIRST = "Click one corner of the slice, then the opposite one; what lies between them is analysed."
SECOND = "Now click the opposite corner."
NOTHING = "Choose the picture above; a PNG, JPEG, WebP, GIF or BMP can be cropped here."
Place = tuple[float, float]  # (x, y), 0..1


@dataclass(frozen=True)
class Cut:
    """The picture that is cropped, and the corner that was clicked already."""

    path: str
    corner: Place | None = None


def board(cut: Cut | None) -> str:
    """The picture to click on."""
    if cut is None:
        return f'<p class="prose-small">{NOTHING}</p>'
    picture = read_scan(cut.path).image
    scale = min(1.0, SHOWN / max(picture.shape))
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = picture.shape
    x, y = cut.corner or (-1.0, -1.0)
    cross = f'<i class="v" style="left:{100 * x:.2f}%"></i><i class="h" style="top:{100 * y:.2f}%"></i>'
    body = image(picture, "The picture to crop.", zoom=False) + (cross if cut.corner else "")
    return (
        f'<p class="prose-small">{SECOND if cut.corner else FIRST}</p><div class="slice" data-pick="crop" '
        f'style="aspect-ratio:{width}/{height};max-width:{width}px">{body}</div>'
    )


def clicked(cut: Cut, data: dict[str, Any]) -> tuple[Cut, Path | None]:
    """What remains after a click {"x", "y"}, and after the second one the file of what was cut out."""
    place = tuple(min(max(float(data.get(key, 0)), 0.0), 1.0) for key in ("x", "y"))
    if cut.corner is None:
        return Cut(cut.path, (place[0], place[1])), None
    return Cut(cut.path), _cropped(cut.path, cut.corner, (place[0], place[1]))


def _cropped(path: str, one: Place, other: Place) -> Path:
    """The pixels between two corners as the file holds them. Raises ScanError."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        box = [round(sorted(pair)[i] * side) for i in (0, 1) for pair, side in
               zip(zip(one, other, strict=True), picture.size, strict=True)]  # fmt: skip
        if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
            raise ScanError("The two corners are too close together; click on opposite corners of the slice.")
        part = picture.crop((box[0], box[1], box[2], box[3]))
        target = output_folder() / f"{stem_of(clean_name(path))}{END}"
        (part.convert("RGB") if part.mode in ("CMYK", "YCbCr", "LAB", "HSV") else part).save(target)
    return target
