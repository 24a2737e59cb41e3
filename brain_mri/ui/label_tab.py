"""The tab Label: the owner of the page outlines the slices of a folder, one after the other; see data/labelling.py.

It is there with `python app.py --label DIR` only. What the visitor drew comes with the button that is pressed, and a
button counts for the slice that was on the board then: one that is pressed twice saves nothing twice.
"""

from __future__ import annotations

import html
import secrets
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from brain_mri.classes import title
from brain_mri.data.labelling import Item, Labelling
from brain_mri.imaging.scan import ScanError
from brain_mri.inference.live_model import Models
from brain_mri.ui import theme, views
from brain_mri.ui.common import Update, settled
from brain_mri.ui.html import banner, error_banner, notes, safe, tiles
from brain_mri.ui.outline_editor import board, drawn_now, mask_on, outline_editor

INTRO = """The model's mask is a proposal (amber line): correct it with brush and eraser, or draw your own. Each
outline is saved as a pair of files that `train.py --masks` reads. Accept no proposal that you would not have drawn: of
its own mask a model learns nothing new."""
KEYS = (
    "Keys: N or Enter saves and goes on, X says that no tumor is on this slice, S skips, P goes back, T takes the last "
    "one back."
)
BUTTONS = {"next": "Save, next", "none": "No tumor here", "skip": "Skip", "previous": "Previous"}
TAKE_BACK = "Take back"
ONE_BY_ONE: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "label", "concurrency_limit": 1}


@dataclass(frozen=True)
class At:
    """What is on the board of one page. shape: (H, W) of the picture there; saved: what this page saved, in order."""

    item: Item | None = None
    shape: tuple[int, int] = (0, 0)
    key: str = ""
    saved: tuple[Item, ...] = ()


def label_tab(page: gr.Blocks, models: Models, work: Labelling) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    at = gr.State(At())
    sent = gr.Textbox(visible=False, elem_id="label-sent")  # see drawn_now
    gr.Markdown(INTRO)
    said = gr.HTML(elem_id="label-said", apply_default_css=False)
    with gr.Row(elem_id="label-buttons"):
        pressed = {
            name: gr.Button(
                text, elem_id=f"label-{name}", variant="primary" if name == "next" else "secondary", min_width=120
            )
            for name, text in BUTTONS.items()
        }
        back = gr.Button(TAKE_BACK, elem_id="label-back", interactive=False, min_width=120)
    editor = outline_editor(views.NOTHING, "label-outline")
    gr.HTML(f'<p class="key keys">{KEYS}</p>', apply_default_css=False, js_on_load=theme.asset("label.js"))
    names = [(title(name), name) for name in work.labels]
    kind = gr.Dropdown(
        [("All of them", ""), *names], value="", label="Slices of", elem_id="label-kind", visible=len(names) > 1
    )
    progress = gr.HTML(elem_id="label-progress", apply_default_css=False)
    shown = [at, said, editor, back, progress]

    def failed(message: str) -> Update:
        """The sentence; what was drawn stays on the board."""
        return {said: error_banner(message)}

    def put(items: Iterable[Item], saved: tuple[Item, ...], drawn: np.ndarray | None = None) -> Update:
        """The first of the items that can be read on the board. drawn: bool, what its outline starts from."""
        for item in items:
            try:
                view = views.analyze_scan(models.main, work.scan(item))
            except ScanError:  # work.unread tells
                continue
            proposed = view.analysis.mask_at(view.predictor.mask_threshold)
            start = work.mask(item) if drawn is None else drawn
            start = proposed if start is None else _fitted(start, proposed.shape)
            now = At(item, view.analysis.image.shape, secrets.token_hex(8), saved)
            marks = board(view.analysis.image, start, proposed, now.key)
            return around(now) | {said: headline(work, item), editor: marks}
        return around(At(saved=saved)) | {said: finished(work), editor: views.NOTHING}

    def around(now: At) -> Update:
        last = now.item if now.item and work.is_saved(now.item) else next(iter(reversed(now.saved)), None)
        text = f"{TAKE_BACK} {Path(last.file).name}" if last else TAKE_BACK
        return {at: now, progress: progress_of(work), back: gr.Button(text, interactive=last is not None)}

    def keep(now: At, label: str, mask: np.ndarray) -> Update:
        assert now.item
        if why := work.save(now.item, mask):
            gr.Warning(html.escape(f"Saved, but training will leave it out: it {why}.", quote=False))
        saved = (*(one for one in now.saved if one != now.item), now.item)
        return put(work.walk(now.item, label), saved)

    def save(now: At, label: str, drawn: str | None) -> Update:
        mask = mask_on(drawn, now.key, now.shape) if now.item else None
        return gr.skip() if mask is None else keep(now, label, mask)

    def none(now: At, label: str, drawn: str | None) -> Update:
        return keep(now, label, np.zeros(now.shape, bool)) if sees(now, drawn) else gr.skip()

    def skip(now: At, label: str, drawn: str | None) -> Update:
        return put(work.walk(now.item, label), now.saved) if sees(now, drawn) else gr.skip()

    def previous(now: At, label: str, _: str | None) -> Update:
        item = next(iter(work.before(now.item, label) if now.item else reversed(now.saved)), None)
        if item is None:
            gr.Info("This is the first one.")
            return gr.skip()
        return put([item], now.saved)

    def take_back(now: At, *_: Any) -> Update:
        item = now.item if now.item and work.is_saved(now.item) else now.saved[-1] if now.saved else None
        if item is None:
            return gr.skip()
        mask, saved = work.take_back(item), tuple(one for one in now.saved if one != item)
        return put([item], saved, mask if mask is not None and mask.any() else None)

    def other_kind(now: At, label: str, _: str | None) -> Update:
        return put(work.walk(None, label), now.saved)

    given: Any = [at, kind, sent]
    handlers = {"next": save, "none": none, "skip": skip, "previous": previous}
    for name, handler in handlers.items():
        pressed[name].click(settled(handler, failed), given, shown, js=drawn_now("label-outline"), **ONE_BY_ONE)
    back.click(settled(take_back, failed), given, shown, **ONE_BY_ONE)
    kind.input(settled(other_kind, failed), given, shown, **ONE_BY_ONE)
    page.load(settled(other_kind, failed), given, shown, **ONE_BY_ONE)


def sees(now: At, drawn: str | None) -> bool:
    """Is what is on the visitor's board what the server has put there last?"""
    return now.item is not None and (drawn or "").partition(" ")[0] == now.key


def headline(work: Labelling, item: Item) -> str:
    state = "Saved; what you change counts when you save it again." if work.is_saved(item) else ""
    patient = f"Patient {item.patient}." if item.patient else ""
    return banner("", title(item.label), item.file, state, patient)


def finished(work: Labelling) -> str:
    left = sum(not work.is_saved(item) and item not in work.unread for item in work.items)
    if left:
        return banner("", "Done", f"Of these no slice is left; {left:,} of other kinds are.")
    return banner("", "Done", "Every slice that can be read is outlined.")


def progress_of(work: Labelling) -> str:
    """HTML: how many are saved, by class; where; and how to train on them."""
    counts = work.counts()
    done, total = sum(count.saved for count in counts), sum(count.total for count in counts)
    facts = [
        (
            title(count.label),
            f"{count.saved:,} of {count.total:,}",
            f"{count.empty:,} without a tumor" if count.empty else "",
        )
        for count in counts
    ]
    command = f"python train.py --data {_word(work.root)} --masks {_word(work.out)} --init weights"
    where = [f"{done:,} of {total:,} saved in {work.out}."]
    where += [f"Train on them: {command}"] if done else []
    unread = [f"Passed over: {sentence}" for sentence in list(work.unread.values())[:3]]
    more = [f"and {len(work.unread) - 3:,} more"] if len(work.unread) > 3 else []
    bar = f'<progress value="{done}" max="{total}" aria-label="Slices saved">{done} of {total}</progress>'
    text = "".join(f'<p class="detail">{safe(line)}</p>' for line in where)
    return f'<div class="progress">{bar}{text}{tiles(facts)}{notes([*unread, *more])}</div>'


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A saved mask at the size of a picture that was reduced."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT) > 0
