"""The Volume tab: a NIfTI file or a DICOM series in three planes, a chart along its slices, the mask to download."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

import segmentation
from brain_mri.classes import DISCLAIMER, title
from brain_mri.files import guarded, write_json
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import Volume, read_volume
from brain_mri.inference.analysis import KIND_UNSURE
from brain_mri.inference.jobs import slices_of, stem_of
from brain_mri.inference.live_model import Models
from brain_mri.inference.rows import versions
from brain_mri.inference.sequence import said_of
from brain_mri.inference.volume_analysis import (
    Point,
    VolumeAnalysis,
    analyze_volume,
    from_plane,
    plane_shape,
    slice_axis,
    to_plane,
)  # fmt: skip
from brain_mri.ui import common
from brain_mri.ui.charts import along_slices
from brain_mri.ui.common import Upload
from brain_mri.ui.examples import Example, chosen, scan_inputs
from brain_mri.ui.html import banner, card, error_banner, image, notes, tiles
from brain_mri.ui.keeping import Kept, shelf, still_there
from brain_mri.ui.places import Places
from brain_mri.ui.viewer import loader, viewer

WHICH = "It holds several; another one is read and analysed anew."
HINT = """<p class="prose-small">Choose one volume (NIfTI, MetaImage, NRRD, MGZ, a multi-frame DICOM), all DICOM files
of a series, or an archive of them. Every slice is analysed.</p>"""

OnShelf = Kept[VolumeAnalysis] | None


def volume_tab(models: Models, examples: Sequence[Example], places: Places) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    kept = gr.State(None)  # a VolumeAnalysis, on the shelf
    source = gr.State(None)  # an Upload
    volumes = [example for example in examples if example.volume]
    file, chooser = scan_inputs("volume", "Your volume", volumes, several=True, scales=(3, 2))
    with gr.Row():
        gr.HTML(HINT, elem_id="volume-hint", apply_default_css=False, js_on_load=loader())
        names = common.names_box("volume")
    finding = gr.HTML(elem_id="volume-finding", apply_default_css=False)
    which = gr.Dropdown([], label="Volume of this upload", info=WHICH, visible=False, elem_id="volume-which")
    with gr.Column(visible=False, elem_id="volume-result") as result:
        chart = gr.HTML(elem_id="volume-chart", apply_default_css=False, js_on_load=common.PICK)
        turned = gr.HTML(elem_id="volume-viewer", apply_default_css=False, js_on_load=None)
        with gr.Row(elem_id="volume-sliders"):  # and the views: where the browser has no WebGL2, see assets/viewer.js
            sliders = [
                gr.Slider(1, 2, 1, step=1, label=name, buttons=[], elem_id=f"volume-{i}", min_width=200)
                for i, name in enumerate(("Slice", "Second plane", "Third plane"))
            ]
            opacity = gr.Slider(0, 1, 0.45, step=0.05, label="Mask opacity", buttons=[], min_width=160)
        views = gr.HTML(elem_id="volume-views", apply_default_css=False, js_on_load=common.PICK)
        facts = gr.HTML(elem_id="volume-facts", apply_default_css=False)
        with gr.Row():
            seg = common.seg_box("volume")
            make = gr.Button("Make the download: NIfTI mask, CSV, JSON", variant="primary", elem_id="volume-make")
        downloads = common.download_box("volume-downloads")

    drawn = [views, chart]
    shown = [kept, finding, result, turned, *sliders, *drawn, facts, downloads]

    def failed(message: str) -> common.Update:
        """The sentence, and nothing of any volume."""
        empty: common.Update = dict.fromkeys([*drawn, turned, facts], "") | {kept: None, finding: error_banner(message)}
        return empty | {result: gr.Column(visible=False), downloads: gr.File(visible=False)}

    def begun(before: Upload | None, paths: Sequence[str | Path]) -> common.Update:
        upload = Upload.instead_of(before, paths)
        return failed("") | {finding: common.working(upload), source: upload}

    def uploaded(before: Upload | None, paths: list[str] | None) -> common.Update:
        return begun(before, paths) | {file: None, which: no_choice()} if paths else {file: None}

    def picked(before: Upload | None, event: gr.EventData) -> common.Update:
        return begun(before, [chosen(volumes, event).path]) | {which: no_choice()}

    def another(before: Upload | None) -> common.Update:
        return begun(before, before.paths) if before else gr.skip()

    def weigh(upload: Upload) -> int:
        still_there(upload.paths)
        return slices_of([Path(path) for path in upload.paths])

    def show(step: Callable[..., None], upload: Upload, key: str | None, named: bool) -> common.Update:
        paths = upload.paths
        own = common.name_of(paths, named)
        volume = read_volume(paths[0] if len(paths) == 1 else paths, name=own, choose=key, named=named)
        found = analyze_volume(models.main, volume, lambda i, n: step(f"Slice {i} of {n}."))
        said: common.Update = {kept: shelf.put(found, disk=found.nbytes)}
        said |= {finding: headline(found), facts: volume_facts(found), turned: viewer(found)}
        start = [*plane_sliders(found, found.start()), *draw(found, found.start(), 0.45)]
        said |= dict(zip([*sliders, *drawn], start, strict=True))
        return said | {which: choice_of(volume), result: gr.Column(visible=True)}

    def redraw(_: Upload | None, on_shelf: OnShelf, *numbers: float) -> common.Update:
        found = shelf.get(on_shelf)
        return dict(zip(drawn, draw(found, point_of(found, numbers[:3]), numbers[3]), strict=True))

    def follow(on_shelf: OnShelf, a: float, b: float, c: float, event: gr.EventData) -> common.Update:
        """A click in a view or in the chart moves the sliders."""
        found = shelf.get(on_shelf)
        point = clicked(found, point_of(found, (a, b, c)), event._data or {})
        return dict(zip(sliders, plane_sliders(found, point), strict=True))

    def settled(handler: Any) -> Any:
        return common.settled(handler, failed)

    starts = [(file.upload, settled(uploaded), [source, file]), (chooser.select, settled(picked), source)]
    starts.append((which.input, settled(another), source))
    everything = [file, source, which, *shown]
    common.analyzed_in_turn(starts, places, weigh, show, failed, [source, which, names], everything, finding)
    place, still_shown = [kept, *sliders], common.newest(settled(redraw))
    still: dict[str, Any] = common.DRAW | {"trigger_mode": "always_last"}
    for control in (*sliders, opacity):
        control.input(still_shown, [source, *place, opacity], shown, **still)
    for picture in drawn:
        moved = picture.select(settled(follow), place, shown, **still)
        moved.then(still_shown, [source, *place, opacity], shown, **still)
    files = common.settled(download_files, common.no_download)
    make.click(files, [kept, source, seg], downloads, **common.HEAVY)


# --- what the events answer ------------------------------------------------------------------------------------


def no_choice() -> gr.Dropdown:
    return gr.Dropdown(choices=[], value=None, visible=False)


def choice_of(volume: Volume) -> gr.Dropdown:
    """Shown when an upload holds several volumes."""
    offered = [(f"{c.title} ({c.places} slice{'s' * (c.places != 1)})", c.key) for c in volume.choices]
    taken = next((c.key for c in volume.choices if c.chosen), None)
    return gr.Dropdown(choices=offered, value=taken, visible=len(offered) > 1)


def own_name(volume: Volume) -> str:
    """Of what was taken from an upload."""
    return volume.choice if len(volume.choices) > 1 else volume.name


def download_files(on_shelf: OnShelf, upload: Upload, seg: bool) -> gr.File:
    found = shelf.get(on_shelf)
    paths = write_files(found)
    if seg:
        try:
            paths.append(write_seg(found, upload.paths, Path(paths[0]).parent))
        except ScanError as error:
            gr.Warning(html.escape(str(error), quote=False))
    return gr.File(paths, visible=True)


def headline(found: VolumeAnalysis) -> str:
    volume = found.volume
    depth, height, width = volume.shape
    name = own_name(volume) + (f" of {volume.name}" if own_name(volume) != volume.name else "")
    shows = said_of(found.sequence, found.sequence_from)
    name += f" · {shows}" if shows else ""
    slices = f"{depth} {volume.plane} slices" if depth > 1 else f"one {volume.plane} slice"
    detail = f"{name} · {slices} of {width} × {height} pixels · answered by {found.model_id}"
    return banner(*sentence(found), f"{detail}, revision {found.revision[:12]}") + notes(found.warnings)


def sentence(found: VolumeAnalysis) -> tuple[str, ...]:
    """(kind, word, sentence) as views.sentence gives for a slice."""
    if found.kind_unsure:
        where, _, why = found.reason.partition(f" {KIND_UNSURE}: ")
        return "tumor", "Tumor", f"{KIND_UNSURE}.", f"{where} {why}"
    if found.reason:
        kind, word = ("foreign", "Not a brain MRI?") if found.foreign.all() else ("unsure", "Not sure")
        return kind, word, found.reason
    if not found.marked:
        return "clear", "Nothing marked", f"{found.said}."
    return "tumor", "Marked", f"{found.said}. The classifier's most likely answer there: {title(found.label)}."


def plane_sliders(found: VolumeAnalysis, point: Point) -> list[gr.Slider]:
    """A slider per plane that can be shown, the acquired one first, standing at `point`; the others are hidden."""
    volume, sliders = found.volume, []
    for plane in volume.planes:
        count = plane_shape(volume, plane)[0]
        label = f"{plane.capitalize()} slice" + (" (as acquired)" if plane == volume.plane else "")
        value = to_plane(volume, point, plane)[0] + 1
        sliders.append(gr.Slider(maximum=max(2, count), value=value, label=label, visible=count > 1))
    return sliders + [gr.Slider(visible=False)] * (3 - len(sliders))


def point_of(found: VolumeAnalysis, numbers: Sequence[float | None]) -> Point:
    """The slider values (slice numbers from 1, one per plane) as a point of the acquired stack.

    Without the sliders of the other planes it lies in the middle of the slice.
    """
    _, rows, columns = found.volume.shape
    point = [0, rows // 2, columns // 2]
    for plane, number in zip(found.volume.planes, numbers, strict=False):
        axis = slice_axis(found.volume, plane)
        point[axis] = from_plane(found.volume, (int(number or 1) - 1, 0, 0), plane)[axis]
    return point[0], point[1], point[2]


def clicked(found: VolumeAnalysis, point: Point, data: dict[str, Any]) -> Point:
    """The point after a click in the chart or in the view of a plane: {"pick", "x", "y"}."""
    plane = data.get("pick")
    if plane == "chart":
        last = len(found.area) - 1
        return min(max(int(float(data["x"]) * (last + 1)), 0), last), point[1], point[2]
    if plane not in found.volume.planes:
        return point
    _, rows, columns = plane_shape(found.volume, plane)
    depth = to_plane(found.volume, point, plane)[0]
    return from_plane(found.volume, (depth, int(float(data["y"]) * rows), int(float(data["x"]) * columns)), plane)


def draw(found: VolumeAnalysis, point: Point, opacity: float) -> list[str]:
    cards = "".join(plane_view(found, point, plane, opacity) for plane in found.volume.planes)
    plot = card(
        "Along the slices",
        "Click to go to a slice.",
        along_slices(found.tumor.tolist() if found.tells_none else None, found.area.tolist(), found.unit, point[0]),
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
    sure = "doubtful: see the note above" if found.volume.doubt else "sum over the slices"
    return tiles(
        [
            ("Marked volume", ml, sure if spacing else "the file states no voxel size"),
            ("Marked slices", f"{found.marked} of {len(found.area)}", f"acquired {found.volume.plane}"),
            (
                "Largest area",
                f"{found.area.max():,.0f} {found.unit}",
                f"slice {int(found.area.argmax()) + 1}" if found.marked else "",
            ),
            ("Highest probability", f"{100 * found.tumor.max():.0f} %", "of any tumor, on one slice")
            if found.tells_none
            else ("Highest probability", "–", "the model knows no answer without a tumor"),
            (
                "Voxel size",
                " × ".join(f"{s:.3g}" for s in spacing) + " mm" if spacing else "unknown",
                "slice × row × column",
            ),
        ]
    )


def write_seg(found: VolumeAnalysis, source: Sequence[str], folder: Path) -> str:
    """Write NAME_mask.dcm, a DICOM-SEG of the series that was uploaded as `source`. Raises ScanError."""
    from brain_mri.imaging.dicom_seg import Marked, volume_seg  # pydicom, only when needed

    path = folder / f"{stem_of(found.volume.name)}_mask.dcm"
    path.write_bytes(volume_seg(source, found.volume, found.mask, Marked(found.model_id, found.revision)))
    return str(path)


def write_files(found: VolumeAnalysis) -> list[str]:
    """NAME_mask.nii.gz in the input's own geometry, NAME_slices.csv, NAME_volume.json."""
    folder, volume = common.output_folder(), found.volume
    # Of one series of many, of which each patient's study may have one called alike, also where it came from
    stem = "_".join(dict.fromkeys(stem_of(name) for name in (volume.name, own_name(volume))))
    data = found.to_dict() | {"versions": versions(), "disclaimer": DISCLAIMER}
    found.volume.save_mask(found.mask, folder / f"{stem}_mask.nii.gz")
    with (folder / f"{stem}_slices.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(data["per_slice"][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: guarded(value) for key, value in row.items()} for row in data["per_slice"])
    write_json(folder / f"{stem}_volume.json", data)
    return [str(path) for path in sorted(folder.iterdir())]
