"""The Analyze tab: one slice, three panels, the facts below them, sliders that redraw without a new inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from brain_mri.classes import title
from brain_mri.imaging.read import read_scan
from brain_mri.ui import views
from brain_mri.ui.common import sentence_of, speaking
from brain_mri.ui.examples import Example
from brain_mri.ui.html import error_banner
from brain_mri.ui.model_tab import Models
from brain_mri.ui.page_examples import chosen, example_chooser
from brain_mri.ui.page_files import output_folder
from brain_mri.ui.scan_report import write_report
from brain_mri.ui.views import Settings, View
from brain_mri.ui.views_compare import methods, picture_facts

STATE_SECONDS = 30 * 60  # how long an idle visitor's scan is kept in memory
WELCOME = """<ol class="steps"><li>Choose an example, or your own slice</li>
<li>Read the sentence and the three panels</li><li>Move the sliders, compare, download the report</li></ol>"""


def analyze_tab(models: Models, examples: Sequence[Example]) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    kept = gr.State(None, time_to_live=STATE_SECONDS)

    with gr.Row(equal_height=True):
        with gr.Column(scale=2, min_width=280):
            file = gr.File(label="Your scan: PNG, JPEG, TIFF, DICOM, NIfTI", elem_id="scan-file", height=170)
        with gr.Column(scale=3, min_width=300):
            chooser = example_chooser(examples, "examples")
    finding = gr.HTML(WELCOME, elem_id="finding", apply_default_css=False)
    slice_number = gr.Slider(
        1, 2, 1, step=1, label="Slice of this file", visible=False, elem_id="slice-number", buttons=[]
    )
    with gr.Row(equal_height=True, elem_id="panels"):
        bars, overlay, heat = (
            gr.HTML(views.empty_panel(name), elem_id=f"panel-{name}", apply_default_css=False, min_width=280)
            for name in views.PANELS
        )
    facts = gr.HTML(elem_id="facts", apply_default_css=False)

    with gr.Tabs(elem_id="more"):
        with gr.Tab("Adjust the pictures", id="adjust"), gr.Row():
            with gr.Column(min_width=260):
                threshold = slider("Mask threshold", 0.05, 0.95, models.main.mask_threshold, "Lower marks more pixels.")
                opacity = slider("Mask opacity", 0.0, 1.0, 0.45, "Only the drawing, not the answer.")
            with gr.Column(min_width=260):
                heat_class = gr.Radio(
                    [(title(name), name) for name in models.main.classes],
                    label="Heatmap for",
                    info="What would have spoken for another answer?",
                )
                heat_opacity = slider("Heatmap opacity", 0.0, 1.0, 0.5, "")
            with gr.Column(min_width=260):
                centre = gr.Slider(
                    0, 255, 127.5, label="Window level", info="Stored value shown as mid-gray.", buttons=[]
                )
                width = gr.Slider(1, 255, 255, label="Window width", info="Smaller means more contrast.", buttons=[])
        with gr.Tab("U-Net and K-means", id="methods") as methods_tab:
            pair = gr.HTML(elem_id="methods", apply_default_css=False)
        with gr.Tab("The picture", id="picture") as picture_tab:
            picture = gr.HTML(elem_id="picture", apply_default_css=False)
        with gr.Tab("Report", id="report"):
            gr.Markdown(
                "One page with the pictures, the figures, the model's revision, your settings and the disclaimer; "
                "the same as JSON; the mask as PNG."
            )
            make = gr.Button("Make the report", variant="primary", elem_id="make-report")
            report = gr.File(
                label="Download", file_count="multiple", interactive=False, visible=False, elem_id="report-files"
            )

    controls: list[Any] = [threshold, opacity, heat_class, heat_opacity, centre, width]
    drawn = [overlay, heat, facts]
    shown = [kept, finding, slice_number, bars, *drawn, *controls, pair, picture, report]

    def show(path: str, name: str | None = None, index: int | None = None) -> list[Any]:
        """Analyse a file for `shown`; what cannot be read becomes a sentence, and no old result stays beside it."""
        try:
            view = views.analyze_scan(models.main, read_scan(path, name=name, index=index), path)
        except Exception as error:
            panels = [views.empty_panel(panel) for panel in views.PANELS]
            return [
                None, error_banner(sentence_of(error)), gr.Slider(visible=False), *panels, "",
                *[gr.skip()] * len(controls), "", "", gr.File(visible=False),
            ]  # fmt: skip
        settings = views.settings_of(view)
        return [
            view, views.finding(view), slice_slider(view), views.bars_panel(view), *draw(view, settings),
            settings.threshold, settings.opacity, settings.heat_class, settings.heat_opacity, *window_sliders(view),
            "", "", gr.File(visible=False),
        ]  # fmt: skip

    def uploaded(path: str | None) -> list[Any]:
        return [None, *(show(path) if path else [gr.skip()] * len(shown))]

    def picked(event: gr.EventData) -> list[Any]:
        return show(str(chosen(examples, event).path))

    def another_slice(view: View | None, number: float) -> list[Any]:
        return [gr.skip()] * len(shown) if view is None else show(view.path, view.analysis.name, int(number) - 1)

    def redraw(view: View | None, *values: Any) -> list[Any]:
        return [gr.skip()] * len(drawn) if view is None else draw(view, settings_from(view, values))

    @speaking
    def files(view: View | None, *values: Any) -> gr.File:
        if view is None:
            raise gr.Error(
                "Choose a scan or an example first; the report is made from its result.", print_exception=False
            )
        paths = write_report(view, settings_from(view, values), view.predictor, output_folder())
        return gr.File([str(path) for path in paths], visible=True)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    model: dict[str, Any] = {"concurrency_id": "model", "api_visibility": "private"}
    file.upload(uploaded, file, [file, *shown], show_progress_on=[finding], **model)
    chooser.select(picked, None, shown, show_progress_on=[finding], **model)
    slice_number.input(another_slice, [kept, slice_number], shown, trigger_mode="always_last", **model | quiet)
    for control in controls:
        control.input(redraw, [kept, *controls], drawn, trigger_mode="always_last", concurrency_id="draw", **quiet)
    methods_tab.select(methods, kept, pair, concurrency_id="draw", **quiet)
    picture_tab.select(picture_facts, kept, picture, concurrency_id="draw", **quiet)
    make.click(files, [kept, *controls], report, concurrency_id="draw", api_visibility="private")


def slider(label: str, low: float, high: float, value: float, info: str) -> gr.Slider:
    return gr.Slider(low, high, value, step=0.01, label=label, info=info or None, buttons=[])


def draw(view: View, settings: Settings) -> list[str]:
    return [views.overlay_panel(view, settings), views.heat_panel(view, settings), views.facts(view, settings)]


def settings_from(view: View, values: Sequence[Any]) -> Settings:
    """Values of the controls -> Settings; a field that was emptied falls back to what it was after the analysis."""
    start = views.settings_of(view)
    default = (start.threshold, start.opacity, start.heat_class, start.heat_opacity, start.centre, start.width)
    filled: list[Any] = [d if v is None else v for v, d in zip(values, default, strict=True)]
    threshold, opacity, name, heat_opacity, centre, width = filled
    if abs(threshold - view.mask_threshold) < 0.005:  # the slider's steps are coarser than the model's threshold
        threshold = view.mask_threshold
    return Settings(
        float(np.clip(threshold, 0.01, 0.99)),
        float(np.clip(opacity, 0, 1)),
        name if name in view.analysis.heatmaps else view.analysis.label,
        float(np.clip(heat_opacity, 0, 1)),
        float(centre),
        float(width),
    )


def slice_slider(view: View) -> gr.Slider:
    """Shown only for files of several slices."""
    count, index = (int(str(view.info.get(key, default))) for key, default in (("slices", 1), ("index", 0)))
    return gr.Slider(maximum=max(2, count), value=index + 1, visible=count > 1)


def window_sliders(view: View) -> tuple[gr.Slider, gr.Slider]:
    centre, width = views.window(view)
    low, high = float(view.raw.min()), float(view.raw.max())
    low, high = min(low, centre - width / 2), max(high, centre + width / 2)
    step = max((high - low) / 500, 1e-6)
    return (
        gr.Slider(minimum=low, maximum=high, value=centre, step=step),
        gr.Slider(minimum=step, maximum=high - low, value=width, step=step),
    )
