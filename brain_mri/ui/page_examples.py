"""A row of examples to click, the same in every tab: real buttons with a picture, a name and the format."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from brain_mri.ui.examples import Example
from brain_mri.ui.html import data_uri, safe

PICK = """element.addEventListener('click', (event) => {
  const chosen = event.target.closest('.example');
  if (chosen) trigger('select', {index: Number(chosen.dataset.index)});
});"""


def example_chooser(examples: Sequence[Example], elem_id: str, title: str = "Or try an example") -> gr.HTML:
    """Its `select` event says which one was chosen: see `chosen`."""
    note = "synthetic drawings, not patients" if all(e.synthetic for e in examples) else "they come with the model"
    buttons = "".join(
        f'<button type="button" class="example" data-index="{i}"><img src="{data_uri(e.thumbnail)}" alt="">'
        f"<span>{safe(e.title)} <small>{safe(e.detail)}</small></span></button>"
        for i, e in enumerate(examples)
    )
    block = (
        f'<section class="examples-block"><h2>{safe(title)} <small>({note})</small></h2>'
        f'<div class="examples">{buttons}</div></section>'
    )
    return gr.HTML(block, elem_id=elem_id, apply_default_css=False, js_on_load=PICK)


def chosen(examples: Sequence[Example], event: gr.EventData) -> Example:
    """The example that a `select` event is about."""
    return examples[int((event._data or {}).get("index", 0))]
