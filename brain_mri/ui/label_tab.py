"""The tab Label: the owner of the page outlines the slices of a folder, one after the other; see data/labelling.py.

It is there with `python app.py --label DIR` only. What the visitor drew comes with the button that is pressed, and a
button counts for the slice that was on the board then: one that is pressed twice saves nothing twice.
"""

from __future__ import annotations

import html
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
OTHER = "Somebody else saved this slice meanwhile. Save again to put yours in its place, or skip it."
BUTTONS = {"next": "Save, next", "none": "No tumor here", "skip": "Skip", "previous": "Previous"}
TAKE_BACK = "Take back"
GONE = """The server no longer knows which slice this is: the page was asleep for long, or the program was started anew.
Nothing was saved. Load the page again."""
ONE_BY_ONE: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "label", "concurrency_limit": 1}


@dataclass(frozen=True, eq=False)
class At:
    """What is on the board of one page.

    start  bool (H, W): the outline that drawing began with
    key    comes back with what was drawn
    version  of what was saved of the item then
    user   who has signed in, "" on a page without passwords
    saved  what this page saved, in order
    drafts  bool (H, W): what was drawn on other slices and is not saved
    """

    item: Item | None = None
    start: np.ndarray | None = None
    key: str = ""
    version: int = 0
    user: str = ""
    saved: tuple[Item, ...] = ()
    drafts: Mapping[Item, np.ndarray] = field(default_factory=dict)

    def with_saved(self, item: Item) -> At:
        now = self.without(item)
        return replace(now, saved=(*now.saved, item))

    def without(self, item: Item, draft: np.ndarray | None = None) -> At:
        """draft: what the slice starts from when it comes again."""
        drafts = {one: mask for one, mask in self.drafts.items() if one != item}
        drafts |= {} if draft is None else {item: draft}
        return replace(self, saved=tuple(one for one in self.saved if one != item), drafts=drafts)

    def last(self, work: Labelling) -> Item | None:
        """What would be taken back: the slice on the board, else the one that this page saved last."""
        if self.item and work.is_saved(self.item):
            return self.item
        return self.saved[-1] if self.saved else None


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

    def put(items: Iterable[Item], now: At) -> Update:
        """The first of the items that can be read on the board."""
        for item in items:
            try:
                view = views.analyze_scan(models.main, work.scan(item))
            except ScanError:  # work.unread tells
                continue
            proposed = view.analysis.mask_at(view.predictor.mask_threshold)
            start = now.drafts.get(item, work.mask(item))
            start = proposed if start is None else _fitted(start, proposed.shape)
            now = replace(now, item=item, start=start, key=secrets.token_hex(8), version=work.version(item))
            work.boards[now.user] = item
            marks = board(view.analysis.image, start, proposed, now.key)
            return around(now) | {said: headline(work, item, item in now.drafts), editor: marks}
        return around(replace(now, item=None)) | {said: finished(work), editor: views.NOTHING}

    def around(now: At) -> Update:
        last = now.last(work)
        text = f"{TAKE_BACK} {Path(last.file).name}" if last else TAKE_BACK
        return {
            at: now,
            progress: progress_of(work, len(now.drafts)),
            back: gr.Button(text, interactive=last is not None),
        }

    def keep(now: At, label: str, mask: np.ndarray) -> Update:
        assert now.item
        if work.version(now.item) != now.version:
            kept = replace(now, drafts={**now.drafts, now.item: mask})
            return put([now.item], kept) | {said: headline(work, now.item, draft=True, other=True)}
        if why := work.save(now.item, mask):
            gr.Warning(html.escape(f"Saved, but training will leave it out: it {why}.", quote=False))
        return put(work.walk(now.item, label, now.user), now.with_saved(now.item))

    def save(now: At, label: str, drawn: str | None) -> Update:
        mask = seen(now, drawn)
        return gr.skip() if mask is None else keep(now, label, mask)

    def none(now: At, label: str, drawn: str | None) -> Update:
        mask = seen(now, drawn)
        return gr.skip() if mask is None else keep(now, label, np.zeros_like(mask))

    def skip(now: At, label: str, drawn: str | None) -> Update:
        return gr.skip() if seen(now, drawn) is None else put(work.walk(now.item, label, now.user), aside(now, drawn))

    def previous(now: At, label: str, drawn: str | None) -> Update:
        now = aside(now, drawn)
        items = list(work.before(now.item, label) if now.item else reversed(now.saved))
        if not items:
            gr.Info("This is the first one.")
            return gr.skip()
        return put(items, now)

    def take_back(now: At, _: str, drawn: str | None) -> Update:
        gone, item = seen(now, drawn) is None and now.item, now.last(work)
        if gone or item is None:
            return gr.skip()
        now, mask = aside(now, drawn), work.take_back(item)
        return put([item], now.without(item, mask if mask is not None and mask.any() else None))

    def other_kind(now: At, label: str, drawn: str | None) -> Update:
        return put(work.walk(None, label, now.user), aside(now, drawn))

    def come(now: At, label: str, drawn: str | None, request: gr.Request) -> Update:
        return other_kind(replace(now, user=request.username or ""), label, drawn)

    events: list[tuple[Any, Any]] = [
        (pressed["next"].click, save),
        (pressed["none"].click, none),
        (pressed["skip"].click, skip),
    ]
    events += [(pressed["previous"].click, previous), (back.click, take_back), (kind.input, other_kind)]
    for event, handler in [*events, (page.load, come)]:
        event(
            settled(handler, failed),
            [at, kind, sent],
            shown,
            js=drawn_now("label-outline"),
            show_progress_on=[said],
            **ONE_BY_ONE,
        )


def seen(now: At, drawn: str | None) -> np.ndarray | None:
    """bool (H, W): what is drawn on the visitor's board, None when the server has put another slice there since. Raises
    ScanError, also when the server has forgotten the page."""
    if drawn and not now.key:
        raise ScanError(GONE)
    return None if now.item is None or now.start is None else mask_on(drawn, now.key, now.start.shape)


def aside(now: At, drawn: str | None) -> At:
    """With what was drawn and is not saved laid aside, until the slice comes again."""
    mask = seen(now, drawn)
    if now.item is None or now.start is None or mask is None or np.array_equal(mask, now.start):
        return now
    return replace(now, drafts={**now.drafts, now.item: mask})


def headline(work: Labelling, item: Item, draft: bool, other: bool = False) -> str:
    """other: somebody else saved the slice while it was on the board."""
    state = "Saved; what you change counts when you save it again." if work.is_saved(item) else ""
    state = "Here is what you drew before; it is not saved." if draft else state
    state = OTHER if other else state
    patient = f"Patient {item.patient}." if item.patient else ""
    return banner("", title(item.label), item.file, state, patient)


def finished(work: Labelling) -> str:
    left = sum(not work.is_saved(item) and item not in work.unread for item in work.items)
    if left:
        return banner("", "Done", f"Of these no slice is left; {left:,} of other kinds are.")
    return banner("", "Done", "Every slice that can be read is outlined.")


def progress_of(work: Labelling, drafts: int = 0) -> str:
    """HTML: how many are saved, by class; where; and how to train on them. drafts: drawn and not saved."""
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
    command = f"python train.py --data {shlex.quote(work.asked)} --masks {shlex.quote(str(work.out))} --init weights"
    where = [f"{done:,} of {total:,} saved in {work.out}."]
    where += [f"Train on them: {command}"] if done else []
    some = "1 slice is" if drafts == 1 else f"{drafts:,} slices are"
    where += [f"{some} drawn and not saved; go back to save what you drew."] if drafts else []
    unread = [f"Passed over: {sentence}" for sentence in list(work.unread.values())[:3]]
    more = [f"and {len(work.unread) - 3:,} more"] if len(work.unread) > 3 else []
    bar = f'<progress value="{done}" max="{total}" aria-label="Slices saved">{done} of {total}</progress>'
    text = "".join(f'<p class="detail">{safe(line)}</p>' for line in where)
    return f'<div class="progress" data-drafts="{drafts}">{bar}{text}{tiles(facts)}{notes([*unread, *more])}</div>'


def _fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A saved mask at the size of a picture that was reduced."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT) > 0
