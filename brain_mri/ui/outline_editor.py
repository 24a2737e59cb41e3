"""A brush and an eraser for the mask of a scan, in the browser: picture and mask go there, a mask comes back.

    box = outline_editor("Choose a scan first.")                 # inside gr.Blocks
    box.drawn(handler, ...)                                      # after every stroke, undo or reset; gets gr.EventData
    return {box: board(picture, mask, model, "which scan")}      # what is drawn on
    found = drawn(event._data, "which scan", model, step)        # (mask, its step), or None: see there

Where a mask is wanted only when a button is pressed, it comes with that: `drawn_now` and `mask_on`.

Not gr.ImageEditor: it brings 0.75 MB of scripts with every page, paints with soft edges on layers as large as the
screen, and gives pictures back; here, with 10 kB that come when the editor is opened, every pixel is in or out.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from brain_mri.imaging.scan import ScanError
from brain_mri.ui import theme
from brain_mri.ui.html import image, safe

HANDS = "Draw with the mouse, a pen or a finger; two fingers move the page."
KEYS = (
    "Keys on the picture: arrows move the brush, space paints, Shift and an arrow draw a line; B brush, E eraser, "
    "[ and ] size, H hide, Ctrl+Z undo."
)
LONGEST = 2_000_000  # characters of a mask as runs; an outline of 2048 x 2048 pixels has some thousand
_GROUPS = (  # of buttons: (what it does, what stands on it, what it is for)
    (("brush", "Brush", "Add to the outline"), ("eraser", "Eraser", "Take away from the outline")),
    (("undo", "Undo", "Undo the last step"), ("redo", "Redo", "Do the undone step again")),
    (("model", "Model’s mask", "Start again from the model’s mask"), ("none", "Empty", "Start from an empty outline")),
    (("out", "−", "Smaller picture"), ("in", "+", "Larger picture"), ("hide", "Hide", "Hide the outlines")),
)
_CHOICES = ("brush", "eraser", "hide")  # buttons that stay pressed


def outline_editor(before: str, elem_id: str = "outline") -> gr.HTML:
    """The component, with what stands there before the first `board`. Its `drawn` event carries what `drawn_mask`
    reads."""
    script = theme.fetched("outline_editor", ".outline", "drawn")
    return gr.HTML(before, elem_id=elem_id, apply_default_css=False, js_on_load=script)


def board(picture: np.ndarray, mask: np.ndarray, model: np.ndarray, of: str, step: int = 0) -> str:
    """What is drawn on. picture: uint8 (H, W); mask: bool (H, W), where drawing starts; model: bool (H, W), shown as a
    line and gone back to by a button; of: comes back with every mask. The same `of` and mask again keep what can be
    undone. step: of the `drawn` event that the mask came with; what was drawn since stays on the board."""
    height, width = mask.shape
    most = max(8, min(height, width) // 4)
    size = max(1, round(min(height, width) / 40))
    groups = "".join(
        '<span class="group">' + "".join(_button(*button) for button in group) + "</span>" for group in _GROUPS
    )
    return (
        f'<div class="outline" data-of="{safe(of)}" data-width="{width}" data-height="{height}" data-brush="{size}" '
        f'data-step="{step}" data-mask="{runs_of(mask)}" data-model="{runs_of(model)}">'
        '<div class="beside"><div class="tools" role="toolbar" aria-label="Tools for the outline">'
        f'{groups}<label class="size">Size <input type="range" data-size min="1" max="{most}" value="{size}" '
        'aria-label="Size of the brush in pixels">'
        f'<span data-says="size"></span></label></div><p class="key">{HANDS} <span class="keys">{KEYS}</span></p></div>'
        f'<div class="desk"><div class="sheet" style="aspect-ratio:{width}/{height}">{image(picture, "", zoom=False)}'
        f'<canvas width="{width}" height="{height}" tabindex="0" role="application" '
        f'aria-label="The scan with the outline. {KEYS}"></canvas><i class="ring"></i></div></div></div>'
    )


def _button(does: str, label: str, purpose: str) -> str:
    pressed = ' aria-pressed="false"' if does in _CHOICES else ""
    name = f"{label}: {purpose}" if len(label) > 1 else purpose
    return (
        f'<button type="button" data-do="{does}" title="{safe(purpose)}" aria-label="{safe(name)}"{pressed}>'
        f"{safe(label)}</button>"
    )


def drawn(data: dict[str, Any] | None, of: str, model: np.ndarray, after: int = 0) -> tuple[np.ndarray, int] | None:
    """(bool (H, W), step) of a `drawn` event. None when it was drawn on another scan, which has gone since, or before
    step `after`: a slow net may turn their order round. model: bool (H, W), the model's mask as it is now; on the board
    may be one of before. Raises ScanError."""
    data = data or {}
    step = data.get("step")
    if data.get("of") != of or not isinstance(step, int) or step <= after:
        return None
    mask = mask_of_runs(data.get("runs"), model.shape)
    return (model if data.get("model") is True else mask), step


def sent_last(elem_id: str = "outline") -> str:
    """For `js=` of an event: waits some seconds until the page has the answer to what was drawn last, the `answer_to`
    in one of its components, and puts that in place of the last input: what never came is told by `all_has_come`. It
    is the page that waits, for over a slow net the answer to a later event may come first."""
    return (
        "async (...values) => [...values.slice(0, -1), "
        f"await document.querySelector('#{elem_id} [data-sent]')?.answered()]"
    )


def answer_to(of: str, step: int) -> str:
    """HTML that tells the page which `drawn` event is answered."""
    return f'<i hidden data-answer="{safe(of)} {step}"></i>'


def all_has_come(sent: str | None, of: str, step: int) -> bool:
    """sent: what `sent_last` put in; of, step: of the last `drawn` event that came."""
    on, _, last = (sent or "").partition(" ")
    return on != of or not last.isdecimal() or int(last) <= step


def drawn_now(elem_id: str = "outline") -> str:
    """For `js=` of an event: puts the mask as it stands in the editor in place of the last input, for `mask_on`."""
    return (
        "(...values) => { const board = document.querySelector('#" + elem_id + " .outline')?.dataset; "
        "return [...values.slice(0, -1), board ? `${board.of} ${board.now ?? board.mask}` : '']; }"
    )


def mask_on(sent: str | None, of: str, shape: tuple[int, int]) -> np.ndarray | None:
    """bool (H, W) of what `drawn_now` put in; None when something else was on the board. Raises ScanError."""
    on, _, runs = (sent or "").partition(" ")
    return mask_of_runs(runs, shape) if on == of else None


def runs_of(mask: np.ndarray) -> str:
    """bool (H, W) -> "off,on,off,..." pixels, row by row; as COCO's uncompressed RLE, but by rows."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.flat[-1]]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return ",".join(map(str, np.diff(changes, prepend=0)))


def mask_of_runs(runs: Any, shape: tuple[int, int]) -> np.ndarray:
    """bool (H, W) of what `runs_of` wrote; whatever a browser may send. Raises ScanError."""
    try:
        if not isinstance(runs, str) or len(runs) > LONGEST:
            raise ValueError
        lengths = np.array(runs.split(","), np.int64)
        pixels = shape[0] * shape[1]
        if lengths.min() < 0 or lengths.max() > pixels or int(lengths.sum()) != pixels:
            raise ValueError
    except (ValueError, OverflowError):
        raise ScanError("The outline arrived damaged; please load the page again.") from None
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape)
