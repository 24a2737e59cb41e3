"""One slice cut out of a montage or of a viewer's screenshot: a rectangle is drawn around it, and it is analysed.

Not gr.ImageEditor: without its brushes it does not start (Gradio 6.31), and with them a visitor may draw on a scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
from PIL import Image, ImageOps

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import MIN_SIDE, ScanError, clean_name
from brain_mri.inference.jobs import stem_of
from brain_mri.ui import theme
from brain_mri.ui.common import output_folder
from brain_mri.ui.html import image

SHOWN = 1024  # pixels on the longer side of the picture that is drawn on
END = "_cropped.png"  # of the names of what was cut out
FIRST = "Drag a rectangle around one slice, or tap two opposite corners; what lies between them is analysed."
KEYS = "Keys: arrows move, Shift and an arrow by less, Enter sets a corner, Escape begins anew."
SECOND = "Now the opposite corner."
SMALL = "That is too small to be a slice; please draw a larger rectangle."
NOTHING = "Choose the picture above; a PNG, JPEG, WebP, GIF or BMP can be cropped here."
Box = tuple[float, float, float, float]  # x, y of one corner and of the opposite one, 0..1


@dataclass(frozen=True)
class Cut:
    """The picture that is cropped, and what was cut out of it last."""

    path: str
    box: Box | None = None


def picture() -> gr.HTML:
    """The component. Its `select` event says what was drawn: see `chosen`."""
    script = theme.fetched("crop", "[data-crop]", "select")
    return gr.HTML(board(None), elem_id="crop-board", apply_default_css=False, js_on_load=script)


def board(cut: Cut | None) -> str:
    """The picture to draw on."""
    if cut is None:
        return f'<p class="prose-small">{NOTHING}</p>'
    scan = read_scan(cut.path).image
    scale = min(1.0, SHOWN / max(scan.shape))
    shown = cv2.resize(scan, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = shown.shape
    left, top, right, bottom = _ordered(cut.box) if cut.box else (0.5, 0.5, 0.5, 0.5)
    mark = f"left:{left:.2%};top:{top:.2%};width:{right - left:.2%};height:{bottom - top:.2%}"
    again = "<button type='button' data-whole class='crop-whole'>Undo: analyse the whole picture</button>"
    return (
        f'<p class="prose-small">{FIRST} <span class="keys">{KEYS}</span></p>'
        '<div class="slice cropping" data-crop tabindex="0" '
        f'role="application" aria-label="The picture to crop. {KEYS}" data-first="" data-second="{SECOND}" '
        f'data-small="{SMALL}" data-width="{scan.shape[1]}" data-height="{scan.shape[0]}" data-least="{MIN_SIDE}" '
        f'style="aspect-ratio:{width}/{height};max-width:{width}px">{image(shown, "", zoom=False)}'
        f'<i class="crop-mark" style="{mark}"></i></div><p class="prose-small crop-says" role="status"></p>'
        f"{again if cut.box else ''}"
    )


def chosen(cut: Cut, data: dict[str, Any]) -> tuple[Cut, str]:
    """What remains after a `select` event, and the file to analyse: what was cut out, or the whole picture again."""
    if data.get("whole"):
        return Cut(cut.path), cut.path
    values = [min(max(float(value), 0.0), 1.0) for value in data["box"]]
    box = (values[0], values[1], values[2], values[3])
    return replace(cut, box=box), str(_cropped(cut.path, box))


def _ordered(box: Box) -> Box:
    """left, top, right, bottom"""
    (left, right), (top, bottom) = sorted((box[0], box[2])), sorted((box[1], box[3]))
    return left, top, right, bottom


def _cropped(path: str, box: Box) -> Path:
    """The pixels between two corners as the file holds them. Raises ScanError."""
    with Image.open(path) as opened:
        whole = ImageOps.exif_transpose(opened)
        left, top, right, bottom = (
            round(share * side) for share, side in zip(_ordered(box), 2 * whole.size, strict=True)
        )
        if min(right - left, bottom - top) < MIN_SIDE:
            raise ScanError(SMALL)
        part = whole.crop((left, top, right, bottom))
        target = output_folder() / f"{stem_of(clean_name(path))}{END}"
        (part.convert("RGB") if part.mode in ("CMYK", "YCbCr", "LAB", "HSV") else part).save(target)
    return target
