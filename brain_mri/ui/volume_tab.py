"""The Volume tab: a NIfTI file or a DICOM series in three planes, a chart along its slices, the mask to download."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

import gradio as gr

import segmentation
from brain_mri.classes import DISCLAIMER, title
from brain_mri.files import write_json
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.jobs import stem_of
from brain_mri.inference.live_model import Models
from brain_mri.inference.rows import guarded, versions
from brain_mri.inference.volume_analysis import (
    Point,
    VolumeAnalysis,
    analyze_volume,
    from_plane,
    plane_shape,
    planes,
    slice_axis,
    to_plane,
)  # fmt: skip
from brain_mri.ui import common
from brain_mri.ui.charts import along_slices
from brain_mri.ui.common import Example, speaking
from brain_mri.ui.html import banner, card, error_banner, image, notes, tiles

STATE_SECONDS = 20 * 60
HINT = """<p class="prose-small">Choose one NIfTI file (.nii, .nii.gz), one multi-frame DICOM, all DICOM files of a
series, or a zip archive of them. Every slice is analysed.</p>"""


def volume_tab(models: Models, examples: Sequence[Example]) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    kept = gr.State(None, time_to_live=STATE_SECONDS)  # a VolumeAnalysis
    volumes = [example for example in examples if example.volume]
    file, chooser = common.scan_inputs("volume", "Your volume", volumes, several=True, scales=(3, 2))
    gr.HTML(HINT, apply_default_css=False)
    finding = gr.HTML(elem_id="volume-finding", apply_default_css=False)
    with gr.Column(visible=False, elem_id="volume-result") as result:
        chart = gr.HTML(elem_id="volume-chart", apply_default_css=False, js_on_load=common.PICK)
        with gr.Row():
            sliders = [
                gr.Slider(1, 2, 1, step=1, label=name, buttons=[], elem_id=f"volume-{i}", min_width=200)
                for i, name in enumerate(("Slice", "Second plane", "Third plane"))
            ]
            opacity = gr.Slider(0, 1, 0.45, step=0.05, label="Mask opacity", buttons=[], min_width=160)
        views = gr.HTML(elem_id="volume-views", apply_default_css=False, js_on_load=common.PICK)
        facts = gr.HTML(elem_id="volume-facts", apply_default_css=False)
        with gr.Row():
            make = gr.Button("Make the download: NIfTI mask, CSV, JSON", variant="primary", elem_id="volume-make")
        downloads = common.download_box("volume-downloads")

    drawn = [views, chart]
    shown = [kept, finding, result, *sliders, *drawn, facts, downloads]

    def show(source: Any, progress: gr.Progress) -> common.Update:
        try:
            progress(0, desc="Reading the volume")
            volume = read_volume(source)
            found = analyze_volume(models.main, volume, lambda i, n: progress(i / n, desc=f"Slice {i} of {n}"))
        except Exception as error:
            said: common.Update = {kept: None, finding: error_banner(common.sentence_of(error))}
            return said | {result: gr.Column(visible=False), downloads: gr.File(visible=False)}
        said = {kept: found, finding: headline(found), result: gr.Column(visible=True), facts: volume_facts(found)}
        start = [*plane_sliders(found, found.start()), *draw(found, found.start(), 0.45)]
        return said | dict(zip([*sliders, *drawn], start, strict=True)) | {downloads: gr.File(visible=False)}

    def uploaded(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> common.Update:
        return {file: None} | (show(paths, progress) if paths else {})

    def picked(event: gr.EventData, progress: gr.Progress = gr.Progress()) -> common.Update:
        return show(str(common.chosen(volumes, event).path), progress)

    place = [kept, *sliders]
    still: dict[str, Any] = common.DRAW | {"trigger_mode": "always_last"}
    file.upload(uploaded, file, [file, *shown], show_progress_on=[finding], **common.HEAVY)
    chooser.select(picked, None, shown, show_progress_on=[finding], **common.HEAVY)
    for control in (*sliders, opacity):
        control.input(redraw, [*place, opacity], drawn, **still)
    for picture in drawn:
        picture.select(follow, place, sliders, **still).then(redraw, [*place, opacity], drawn, **still)
    make.click(download_files, kept, downloads, **common.HEAVY)


# --- what the events answer ------------------------------------------------------------------------------------


def redraw(found: VolumeAnalysis | None, first: float, second: float, third: float, opacity: float) -> Any:
    return draw(found, point_of(found, (first, second, third)), opacity) if found else gr.skip()


def follow(found: VolumeAnalysis | None, first: float, second: float, third: float, event: gr.EventData) -> Any:
    """A click in a view or in the chart moves the sliders."""
    if found is None:
        return gr.skip()
    return plane_sliders(found, clicked(found, point_of(found, (first, second, third)), event._data or {}))


@speaking
def download_files(found: VolumeAnalysis | None) -> gr.File:
    if found is None:
        raise gr.Error("The volume is no longer kept; please choose it again.", print_exception=False)
    return gr.File(write_files(found), visible=True)


def headline(found: VolumeAnalysis) -> str:
    height, width = found.volume.shape[1:]
    detail = (
        f"{found.volume.name} · {len(found.area)} {found.volume.plane} slices of {width} × {height} pixels · "
        f"answered by {found.model_id}, revision {found.revision[:12]}"
    )
    return banner(*sentence(found), detail) + notes(found.warnings)


def sentence(found: VolumeAnalysis) -> tuple[str, str, str]:
    """(kind, word, sentence) as views.sentence gives for a slice."""
    if found.reason:
        return ("foreign", "Not a brain MRI?", found.reason) if found.foreign.all() else ("unsure", "Not sure", found.reason)
    if not found.marked:
        return "clear", "Nothing marked", f"{found.said}."
    return "tumor", "Marked", f"{found.said}. The classifier's most likely answer there: {title(found.label)}."


def plane_sliders(found: VolumeAnalysis, point: Point) -> list[gr.Slider]:
    """A slider per plane, the acquired one first, standing at `point`."""
    sliders = []
    for plane in planes(found.volume):
        count = plane_shape(found.volume, plane)[0]
        label = f"{plane.capitalize()} slice" + (" (as acquired)" if plane == found.volume.plane else "")
        sliders.append(gr.Slider(maximum=max(2, count), value=to_plane(found.volume, point, plane)[0] + 1, label=label))
    return sliders


def point_of(found: VolumeAnalysis, numbers: Sequence[float | None]) -> Point:
    """The slider values (slice numbers from 1, one per plane) as a point of the acquired stack."""
    point = [0, 0, 0]
    for plane, number in zip(planes(found.volume), numbers, strict=True):
        axis = slice_axis(found.volume, plane)
        point[axis] = from_plane(found.volume, (int(number or 1) - 1, 0, 0), plane)[axis]
    return point[0], point[1], point[2]


def clicked(found: VolumeAnalysis, point: Point, data: dict[str, Any]) -> Point:
    """The point after a click in the chart or in the view of a plane: {"pick", "x", "y"}."""
    plane = data.get("pick")
    if plane == "chart":
        last = len(found.area) - 1
        return min(max(int(float(data["x"]) * (last + 1)), 0), last), point[1], point[2]
    if plane not in planes(found.volume):
        return point
    _, rows, columns = plane_shape(found.volume, plane)
    depth = to_plane(found.volume, point, plane)[0]
    return from_plane(found.volume, (depth, int(float(data["y"]) * rows), int(float(data["x"]) * columns)), plane)


def draw(found: VolumeAnalysis, point: Point, opacity: float) -> list[str]:
    cards = "".join(plane_view(found, point, plane, opacity) for plane in planes(found.volume))
    plot = card(
        "Along the slices",
        "Click to go to a slice.",
        along_slices(found.tumor.tolist(), found.area.tolist(), found.unit, point[0]),
    )
    return [f'<div class="three">{cards}</div>', plot]


def plane_view(found: VolumeAnalysis, point: Point, plane: str, opacity: float) -> str:
    """One plane with the mask and a cross at the point; a click in it moves the other two planes."""
    volume = found.volume
    index, row, column = to_plane(volume, point, plane)
    count, rows, columns = plane_shape(volume, plane)
    picture = segmentation.overlay(
        volume.scan(index, plane).image, volume.mask_slice(found.mask, index, plane), opacity
    )
    cross = (
        f'<i class="v" style="left:{100 * (column + 0.5) / columns:.2f}%"></i>'
        f'<i class="h" style="top:{100 * (row + 0.5) / rows:.2f}%"></i>'
    )
    alt = f"{plane} slice {index + 1} of {count} with the mask."
    height, width = picture.shape[:2]
    fit = "width" if width >= height else "height"
    body = (
        f'<div class="square"><div class="slice" data-pick="{plane}" style="aspect-ratio:{width}/{height};{fit}:100%">'
        f"{image(picture, alt, zoom=False)}{cross}</div></div>"
    )
    return card(plane.capitalize(), f"Slice {index + 1} of {count}. Click to move the cross.", body)


def volume_facts(found: VolumeAnalysis) -> str:
    spacing = found.volume.spacing
    ml = "–" if found.millilitres is None else f"{found.millilitres:.1f} mL"
    return tiles(
        [
            ("Marked volume", ml, "sum over the slices" if spacing else "the file states no voxel size"),
            ("Marked slices", f"{found.marked} of {len(found.area)}", f"acquired {found.volume.plane}"),
            (
                "Largest area",
                f"{found.area.max():,.0f} {found.unit}",
                f"slice {int(found.area.argmax()) + 1}" if found.marked else "",
            ),
            ("Highest probability", f"{100 * found.tumor.max():.0f} %", "of any tumor, on one slice"),
            (
                "Voxel size",
                " × ".join(f"{s:.3g}" for s in spacing) + " mm" if spacing else "unknown",
                "slice × row × column",
            ),
        ]
    )


def write_files(found: VolumeAnalysis) -> list[str]:
    """NAME_mask.nii.gz in the input's own geometry, NAME_slices.csv, NAME_volume.json."""
    folder, stem = common.output_folder(), stem_of(found.volume.name)
    data = found.to_dict() | {"versions": versions(), "disclaimer": DISCLAIMER}
    found.volume.save_mask(found.mask, folder / f"{stem}_mask.nii.gz")
    with (folder / f"{stem}_slices.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(data["per_slice"][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: guarded(value) for key, value in row.items()} for row in data["per_slice"])
    write_json(folder / f"{stem}_volume.json", data)
    return [str(path) for path in sorted(folder.iterdir())]
