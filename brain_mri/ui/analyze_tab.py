"""The Analyze tab: one slice, three panels, the facts below them, sliders that redraw without a new inference."""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import segmentation
from brain_mri.classes import CLASSES, NO_TUMOR, title
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError, clean_name
from brain_mri.inference.live_model import Models
from brain_mri.ui import common, crop, views
from brain_mri.ui.common import Upload
from brain_mri.ui.crop import Cut
from brain_mri.ui.examples import Example, chosen, scan_inputs
from brain_mri.ui.html import error_banner, explainer, notes, open_tab
from brain_mri.ui.keeping import Kept, shelf, still_there
from brain_mri.ui.outline_editor import (
    all_has_come,
    answer_to,
    board,
    drawn,
    mask_of_runs,
    outline_editor,
    runs_of,
    sent_last,
)
from brain_mri.ui.scan_report import write_report, write_seg
from brain_mri.ui.views import Settings, View

WELCOME = """<section class="welcome"><h2>Three steps</h2><ol class="steps">
<li><b>Choose a slice</b> of a brain MRI: an example, or a file of your own. Cut names off pictures first.</li>
<li><b>Read the answer</b>: a sentence, then how likely each answer is, the area marked as tumor, and where the model
looked.</li>
<li><b>Look closer</b>: dotted words explain themselves, sliders change the pictures, and a report keeps it
all.</li></ol>
<p><b>What it cannot do:</b> tell whether somebody is ill. {knows}, sees one slice at a
time, and can be sure and wrong ({often}). Everything else, a stroke or bleeding, it does not
recognise.</p></section>"""
REPORT = """One page with the pictures, the figures, the model's revision, your settings and the disclaimer; the same as
JSON; the mask as PNG, a corrected outline as PNG beside it."""
CORRECT = """Draw where the model's mask (amber line) is wrong. The outline becomes yours (blue): the panel, the sizes
and the report show it as corrected by hand, beside the model's. Nothing is learned from it, and the answer stays."""
LATE = "Your last stroke has not reached the server yet; please make the report again in a moment."
ONE_BY_ONE: dict[str, Any] = common.QUIET | {"concurrency_id": "outline", "concurrency_limit": 1}
REPORTS: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "report", "concurrency_limit": 4}


def welcome(classes: Sequence[str]) -> str:
    """What stands on the tab before the first scan."""
    kinds = [name for name in classes if name != NO_TUMOR]
    write = explainer()
    named = ", ".join(write(title(name).lower() if name in CLASSES else title(name)) for name in kinds[: views.FEW])
    more = f" and {len(kinds) - views.FEW} more" if len(kinds) > views.FEW else ""
    count = "one kind of answer" if len(kinds) == 1 else f"{len(kinds)} kinds"
    what = f"knows {count} besides “no tumor”" if NO_TUMOR in classes else f"knows {count} and no “no tumor”"
    return WELCOME.format(knows=f"It {what} ({named}{more})", often=open_tab("Model", "how often?"))


def analyze_tab(models: Models, examples: Sequence[Example]) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    kept = gr.State(None)  # a View, on the shelf
    source = gr.State(None)  # an Upload
    file, chooser = scan_inputs("scan", "Your scan: PNG, JPEG, TIFF, DICOM, NIfTI", examples)
    cut = gr.State(None)  # a Cut
    looks_at = gr.State("")  # the smaller tab opened last but the first; what stands in others is made when they open
    with gr.Accordion("Crop one slice out of a montage or a screenshot", open=False, elem_id="crop") as cropping:
        whole = crop.picture()
    finding = gr.HTML(welcome(models.main.classes), elem_id="finding", apply_default_css=False)
    slice_number = gr.Slider(
        1, 2, 1, step=1, label="Slice of this file", visible=False, elem_id="slice-number", buttons=[]
    )
    with gr.Row(equal_height=True, elem_id="panels"):
        panels = [
            gr.HTML(views.panel(name), elem_id=f"panel-{name}", apply_default_css=False, min_width=280)
            for name in views.PANELS
        ]
    facts = gr.HTML(elem_id="facts", apply_default_css=False)
    with gr.Tabs(elem_id="more"):
        with gr.Tab("Adjust the pictures", id="adjust"):
            controls = adjust_controls(models)
        with gr.Tab("Correct the outline", id="correct") as correct_tab:
            gr.Markdown(CORRECT)
            editor = outline_editor(views.NOTHING)
            correction = gr.HTML(elem_id="correction", apply_default_css=False)  # below, lest the canvas move
        with gr.Tab("U-Net and K-means", id="methods") as methods_tab:
            methods = gr.HTML(elem_id="methods", apply_default_css=False)
        with gr.Tab("The picture", id="picture") as picture_tab:
            picture = gr.HTML(elem_id="picture", apply_default_css=False)
        with gr.Tab("Report", id="report") as report_tab:
            gr.Markdown(REPORT)
            names = common.names_box("scan", "Name of my file in the report", "Else it is named by content.")
            seg = common.seg_box("scan")
            sent = gr.Textbox(visible=False)  # what was drawn last, see sent_last
            make = gr.Button("Make the report", variant="primary", elem_id="make-report")
            report = common.download_box("report-files")

    bars, *redrawn = *panels, facts
    later = [methods, picture, editor, correction, report]  # made when a visitor asks for them
    shown = [kept, finding, slice_number, bars, *redrawn, *controls, *later]

    def failed(message: str) -> common.Update:
        """The sentence, and nothing of any scan."""
        blank: common.Update = {kept: None, finding: error_banner(message), facts: ""}
        blank |= {methods: views.NOTHING, picture: views.NOTHING, editor: views.NOTHING, correction: ""}
        blank |= {box: views.panel(kind) for box, kind in zip(panels, views.PANELS, strict=True)}
        return blank | {slice_number: gr.Slider(visible=False), report: gr.File(visible=False)}

    def begun(before: Upload | None, path: str | Path) -> common.Update:
        upload = Upload.instead_of(before, [path])
        return failed("") | {finding: common.working(upload), source: upload}

    def uploaded(before: Upload | None, path: str | None) -> common.Update:
        return begun(before, path) | {file: None} | nothing_to_crop() if path else {file: None}

    def picked(before: Upload | None, event: gr.EventData) -> common.Update:
        return begun(before, chosen(examples, event).path) | nothing_to_crop()

    def nothing_to_crop() -> common.Update:
        return {cropping: gr.Accordion(open=False), cut: None, whole: crop.board(None)}

    def cropped(before: Upload | None, at: Cut | None, event: gr.EventData) -> common.Update:
        if at is None:
            return gr.skip()
        still_there([at.path])
        after, part = crop.chosen(at, event._data or {})
        return begun(before, part) | {cut: after, whole: crop.board(after)}

    def show(upload: Upload, tab: str) -> common.Update:
        return shown_slice(upload.paths[0], tab)

    def shown_slice(path: str, tab: str, index: int | None = None, before: View | None = None) -> common.Update:
        still_there([path])
        view = views.analyze_scan(models.main, read_scan(path, name=common.label_of(path), index=index), path)
        view = with_outlines_of(before, view) if before else view
        start = views.settings_of(view)
        drawing = zip([bars, *redrawn], [views.bars_panel(view), *draw(view, start)], strict=True)
        said: common.Update = {
            kept: shelf.put(view, memory=view.nbytes),
            finding: views.finding(view),
            slice_number: slice_slider(view),
        }
        if views.is_picture(view) and not path.endswith(crop.END):  # else what it was cut out of stays
            said |= {cut: Cut(path), whole: crop.board(Cut(path))}
            said |= {cropping: gr.Accordion(open=True)} if view.analysis.not_brain_mri else {}
        return said | dict(drawing) | dict(zip(controls, start_of(view), strict=True)) | inside(tab, view, start)

    def another_slice(_: Upload | None, on_shelf: Kept[View] | None, tab: str, number: float) -> common.Update:
        blank: common.Update = {methods: "", picture: "", editor: "", correction: "", report: gr.File(visible=False)}
        view = shelf.get(on_shelf)
        return blank | shown_slice(view.path, tab, int(number) - 1, view)

    def inside(tab: str, view: View, settings: Settings) -> common.Update:
        """What stands in a smaller tab."""
        if tab == "correct":
            marks = views.mask_of(view, settings), views.model_mask(view, settings)
            return {
                editor: board(views.windowed(view, settings), *marks, view.key, view.step),
                correction: said_of(view, settings),
            }
        made = {"methods": (methods, views.methods), "picture": (picture, views.picture_facts)}
        return {box: content(view) for name, (box, content) in made.items() if name == tab}

    def looked_at(_: Upload | None, on_shelf: Kept[View] | None, *values: Any, tab: str) -> common.Update:
        if not on_shelf or tab == "report":
            return {looks_at: tab}
        view = shelf.get(on_shelf)
        return {looks_at: tab} | inside(tab, view, settings_from(view, values))

    def corrected(_: Upload | None, on_shelf: Kept[View] | None, event: gr.EventData, *values: Any) -> common.Update:
        view = shelf.get(on_shelf)
        settings = settings_from(view, values)
        found = drawn(event._data, view.key, views.model_mask(view, settings), view.step)
        if found is None:
            return gr.skip()
        view = with_outline(view, settings, *found)
        drawing = dict(zip(redrawn, draw(view, settings), strict=True))
        if on_shelf:
            shelf.exchange(on_shelf, view)
        return drawing | {correction: said_of(view, settings), report: gr.File(visible=False)}

    def redraw(_: Upload | None, on_shelf: Kept[View] | None, *values: Any) -> common.Update:
        view = shelf.get(on_shelf)
        return dict(zip(redrawn, draw(view, settings_from(view, values)), strict=True))

    def settled(handler: Any) -> Any:
        return common.settled(handler, failed)

    starts = [(file.upload, settled(uploaded), [source, file]), (chooser.select, settled(picked), source)]
    starts.append((whole.select, settled(cropped), [source, cut]))
    everything = [file, source, cropping, cut, whole, *shown]
    common.analyzed(starts, settled(show), [source, looks_at], everything, finding, **common.MODEL)
    last: dict[str, Any] = {"trigger_mode": "always_last"}
    other = common.newest(settled(another_slice))
    slice_number.input(other, [source, kept, looks_at, slice_number], everything, **last, **common.MODEL | common.QUIET)
    for control in controls:
        control.input(common.newest(settled(redraw)), [source, kept, *controls], shown, **last, **common.DRAW)
    for opened in (correct_tab, methods_tab, picture_tab, report_tab):  # the first is opened by every page that loads
        look = common.newest(settled(functools.partial(looked_at, tab=opened.id)))
        opened.select(look, [source, kept, *controls], [looks_at, *shown], **ONE_BY_ONE)
    editor.drawn(
        common.newest(settled(corrected)), [source, kept, *controls], shown, trigger_mode="multiple", **ONE_BY_ONE
    )
    files = common.settled(report_files, common.no_download)
    make.click(files, [kept, names, seg, *controls, sent], report, js=sent_last(), **REPORTS)


def adjust_controls(models: Models) -> list[Any]:
    """In the order of the fields of `Settings`."""
    with gr.Row():
        with gr.Column(min_width=260):
            threshold = slider("Mask threshold", 0.05, 0.95, models.main.mask_threshold, "Lower marks more pixels.")
            opacity = slider("Mask opacity", 0.0, 1.0, 0.45, "Only the drawing, not the answer.")
        with gr.Column(min_width=260):
            answers = [(title(name), name) for name in models.main.classes]
            question = "What would have spoken for another answer?"
            choice = gr.Radio if len(answers) <= views.FEW else gr.Dropdown
            heat_class = choice(answers, label="Heatmap for", info=question)
            heat_opacity = slider("Heatmap opacity", 0.0, 1.0, 0.5, "")
        with gr.Column(min_width=260):
            centre = gr.Slider(0, 255, 127.5, label="Window level", info="Stored value shown as mid-gray.", buttons=[])
            width = gr.Slider(1, 255, 255, label="Window width", info="Smaller means more contrast.", buttons=[])
    return [threshold, opacity, heat_class, heat_opacity, centre, width]


def slider(label: str, low: float, high: float, value: float, info: str) -> gr.Slider:
    return gr.Slider(low, high, value, step=0.01, label=label, info=info or None, buttons=[])


def draw(view: View, settings: Settings) -> list[str]:
    return [views.overlay_panel(view, settings), views.heat_panel(view, settings), views.facts(view, settings)]


def settings_from(view: View, values: Sequence[Any]) -> Settings:
    """Values of the controls -> Settings; a field that was emptied falls back to what it was after the analysis."""
    start = astuple(views.settings_of(view))
    filled: list[Any] = [default if value is None else value for value, default in zip(values, start, strict=True)]
    threshold, opacity, name, heat_opacity, centre, width = filled
    if abs(threshold - view.predictor.mask_threshold) < 0.005:  # the slider's steps are coarser than that
        threshold = view.predictor.mask_threshold
    return Settings(
        float(np.clip(threshold, 0.01, 0.99)),
        float(np.clip(opacity, 0, 1)),
        name if name in view.analysis.heatmaps else view.analysis.label,
        float(np.clip(heat_opacity, 0, 1)),
        float(centre),
        float(width),
    )


def with_outline(view: View, settings: Settings, mask: np.ndarray, step: int) -> View:
    """The view with an outline that its visitor drew; one that is the model's mask is no correction."""
    same = np.array_equal(mask, views.model_mask(view, settings))
    return replace(view, corrected=None if same else mask, step=step)


def with_outlines_of(before: View, view: View) -> View:
    """Another slice of the same file, with what its visitor drew there and on the others."""
    drawn = dict(before.drawn)
    if before.corrected is not None:
        drawn[views.slice_of(before)[0]] = runs_of(before.corrected)
    own = drawn.pop(views.slice_of(view)[0], None)
    return replace(view, drawn=drawn, corrected=None if own is None else mask_of_runs(own, view.analysis.mask.shape))


def said_of(view: View, settings: Settings) -> str:
    """What stands below the editor."""
    answer = answer_to(view.key, view.step)
    if view.corrected is None:
        return answer + notes(["This is the model’s mask; nothing is corrected yet."], kind="info")
    m = segmentation.measure(view.corrected, view.analysis.head, view.analysis.spacing)
    size = f"{m.pixels:,} pixels"
    if m.area_mm2 is not None:
        size += f", {views.area_of(m)}, largest diameter {views.diameter_of(m)}"
    same = views.percent(segmentation.dice(view.corrected, views.model_mask(view, settings)))
    kept = "It stays until another file is chosen; the report holds it."
    if views.slice_of(view)[1] > 1:
        kept = "Every slice keeps its own until another file is chosen; the report is of the slice that is shown."
    return answer + notes([f"Your outline: {size}; overlap with the model’s mask (Dice) {same}. {kept}"], kind="info")


def report_files(on_shelf: Kept[View] | None, named: bool, seg: bool, *values: Any) -> gr.File:
    *chosen, sent = values
    view = shelf.get(on_shelf)
    if not all_has_come(sent, view.key, view.step):
        raise ScanError(LATE)
    view = views.renamed(view, clean_name(view.path)) if named else view
    settings, folder = settings_from(view, chosen), common.output_folder()
    paths = write_report(view, settings, folder)
    if seg:
        try:
            paths += write_seg(view, settings, folder)
        except ScanError as error:
            gr.Warning(html.escape(str(error), quote=False))
    return gr.File([str(path) for path in paths], visible=True)


def slice_slider(view: View) -> gr.Slider:
    """Shown only for files of several slices."""
    index, count = views.slice_of(view)
    return gr.Slider(maximum=max(2, count), value=index + 1, visible=count > 1)


def start_of(view: View) -> list[Any]:
    """The controls right after an analysis; those of the window get the range of the stored values."""
    *others, centre, width = astuple(views.settings_of(view))
    low, high = float(view.scan.raw.min()), float(view.scan.raw.max())
    low, high = min(low, centre - width / 2), max(high, centre + width / 2)
    step = max((high - low) / 500, 1e-6)
    return [
        *others,
        gr.Slider(minimum=low, maximum=high, value=centre, step=step),
        gr.Slider(minimum=step, maximum=high - low, value=width, step=step),
    ]
