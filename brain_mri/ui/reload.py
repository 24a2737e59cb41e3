"""The row that appears when the Hub has a newer revision of the model than the page uses."""

from __future__ import annotations

from typing import Any

import gradio as gr

from brain_mri.inference.live_model import LiveModel
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import model_tab
from brain_mri.ui.html import safe

LOOK_EVERY = 30.0  # seconds between a page's questions to its own server, which asks the Hub far less often


def notice_of(predictor: Predictor) -> str:
    """HTML: which model answers and why, when it is not the one asked for.

    The reason may quote a foreign config.json; as Markdown it would bring links and pictures into the page.
    """
    return f"<strong>{safe(predictor.notice)}</strong>" if predictor.notice else ""


def newer_row() -> list[Any]:
    """The row, hidden: its frame, the offer, the button, and what came of pressing it."""
    with gr.Row(visible=False, elem_id="newer", equal_height=True) as row:
        offer = gr.HTML(elem_id="newer-offer", apply_default_css=False)
        button = gr.Button("Use the newer model", elem_id="newer-button", scale=0, min_width=220)
    return [row, offer, button, gr.HTML(elem_id="newer-said", visible=False, apply_default_css=False)]


def connect(page: gr.Blocks, live: LiveModel, newer: list[Any], named: list[Any]) -> None:
    """Offer a newer revision and load it on request. named: notice, identity and scores, which must follow it.

    A result on the screen stays with the revision that made it; scans analysed from then on use the new one.
    """
    row, offer, button, said = newer

    def look() -> list[Any]:
        newest = live.offer()
        if not newest:
            return [gr.Row(visible=False), ""]
        back = live.current.model_id != live.asked.split("@")[0]  # the Hub did not give the model when the page started
        text = "can be had from the Hub now: revision" if back else "has a newer revision on the Hub:"
        return [gr.Row(visible=True), safe(f"{live.asked} {text} {newest[:7]}.")]

    def facts() -> list[Any]:
        now = live.current
        notice = gr.HTML(notice_of(now), visible=bool(now.notice))
        return [notice, model_tab.identity(now), model_tab.scores(now)]

    def take() -> list[Any]:
        sentence = live.reload()
        return [gr.Row(visible=False), gr.HTML(safe(sentence), visible=True), *facts()]

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([page.load, gr.Timer(LOOK_EVERY).tick], look, None, [row, offer], **quiet)
    page.load(facts, None, named, **quiet)
    button.click(take, None, [row, said, *named], concurrency_id="reload", api_visibility="private")
