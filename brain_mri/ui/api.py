"""The named endpoints for programs. Each takes files and plain values and returns JSON and files; nothing of the page's
own events is exposed. See the page's footer, "Use via API", for the generated reference.

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    result, overlay, heatmap = client.predict(handle_file("slice.png"), None, api_name="/analyze")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component

import segmentation
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.batch import stem_of
from brain_mri.inference.live_model import Models
from brain_mri.inference.volume_analysis import analyze_volume
from brain_mri.ui import views
from brain_mri.ui.batch_tab import run_batch
from brain_mri.ui.common import output_folder, speaking
from brain_mri.ui.scan_report import report_data, write_report
from brain_mri.ui.views import Settings, View
from brain_mri.ui.volume_tab import write_files


def endpoints(models: Models) -> None:
    """Register every endpoint. Call inside `gr.Blocks`."""
    classes = list(models.main.classes)

    def view_of(scan: str | None, slice_index: float | None, model: str | None = None) -> View:
        if not scan:
            raise ScanError("No file was given; pass one slice as `scan`.")
        index = None if slice_index is None else int(slice_index)
        return views.analyze_scan(models.get(model or models.main.model_id), read_scan(scan, index=index), scan)

    def settings(view: View, threshold: float | None, opacity: float = 0.45, name: str | None = None) -> Settings:
        if threshold is not None and not 0 < threshold < 1:
            raise ScanError(f"The mask threshold must lie between 0 and 1, not at {threshold:g}.")
        if not 0 <= opacity <= 1:
            raise ScanError(f"The opacity must lie between 0 and 1, not at {opacity:g}.")
        start = views.settings_of(view)
        chosen = start.threshold if threshold is None else threshold
        return Settings(chosen, opacity, name or start.heat_class, opacity, start.centre, start.width)

    def saved(view: View, end: str, picture: np.ndarray) -> str:
        """A PNG in a folder of its own."""
        path = output_folder() / f"{stem_of(view.analysis.name)}_{end}.png"
        path.write_bytes(png(picture))
        return str(path)

    @speaking
    def analyze(
        scan: str, slice_index: float | None = None, model: str | None = None
    ) -> tuple[dict[str, Any], str, str]:
        """Analyse one slice: class probabilities, measures and warnings as JSON, the mask overlay and the Grad-CAM
        heatmap as PNG. For education and research only, not a diagnosis."""
        view = view_of(scan, slice_index, model)
        chosen = views.settings_of(view)
        data = report_data(view, chosen)
        return (
            data,
            saved(view, "overlay", views.overlay_picture(view, chosen)),
            saved(view, "heatmap", views.heat_picture(view, chosen)),
        )

    @speaking
    def segment(
        scan: str, slice_index: float | None = None, threshold: float | None = None, method: str = "unet"
    ) -> tuple[dict[str, Any], str]:
        """Mark the tumor on one slice: measures as JSON and the mask as PNG (0 and 255) at the scan's own resolution.
        threshold: 0..1, default the model's own; method: "unet", or "kmeans", which needs no training."""
        view = view_of(scan, slice_index)
        chosen = settings(view, threshold)
        mask = view.analysis.kmeans() if method == "kmeans" else views.mask_of(view, chosen)
        m = segmentation.measure(mask, view.analysis.head, view.analysis.spacing)
        data = {
            "name": view.analysis.name, "method": method, "threshold": chosen.threshold if method == "unet" else None,
            "tumor_fraction": m.fraction, "tumor_pixels": m.pixels, "tumor_area_mm2": m.area_mm2,
            "tumor_diameter_mm": m.diameter_mm, "model_id": view.analysis.model_id, "revision": view.analysis.revision,
        }  # fmt: skip
        return data, saved(view, "mask", mask)

    @speaking
    def heatmap(scan: str, slice_index: float | None = None, label: str | None = None, opacity: float = 0.5) -> str:
        """Grad-CAM of one slice over the scan, as PNG. label: the class to explain, default the model's answer;
        opacity: 0..1."""
        view = view_of(scan, slice_index)
        return saved(view, "heatmap", views.heat_picture(view, settings(view, None, opacity, label)))

    @speaking
    def report(scan: str, slice_index: float | None = None, threshold: float | None = None) -> list[str]:
        """The report of one slice: a self-contained HTML page, the same as JSON, and the mask as PNG."""
        view = view_of(scan, slice_index)
        return [str(p) for p in write_report(view, settings(view, threshold), output_folder())]

    @speaking
    def volume(files: list[str]) -> tuple[dict[str, Any], list[str]]:
        """Analyse a volume (one NIfTI file, a zip archive, or the DICOM files of a series): probability and area of
        every slice and the volume in mL as JSON; the mask as NIfTI in the input's own geometry, slices as CSV, JSON."""
        found = analyze_volume(models.main, read_volume(files or []))
        return found.to_dict(), write_files(found)

    @speaking
    def batch(files: list[str], progress: gr.Progress = gr.Progress()) -> tuple[dict[str, Any], list[str]]:
        """Analyse many slices. Rows as JSON (a file that cannot be read is a row with its reason), a CSV, and a ZIP
        with overlays, masks and JSON."""
        if not files:
            raise ScanError("No file was given; pass a list of them as `files`.")
        rows, written = run_batch(models.main, files, progress)
        return {"rows": [row.result or {"name": row.file, "error": row.error} for row in rows]}, written

    def model() -> dict[str, Any]:
        """Which models answer here, their revisions, classes, thresholds and measured scores."""
        main = models.main
        config = main.config
        return {
            "model_id": main.model_id, "revision": main.revision, "created": config.created or None, "classes": classes,
            "preprocessing": config.preprocessing.to_json(), "thresholds": config.thresholds.to_json(),
            "temperature": main.temperature, "calibration": main.calibration,
            "metrics": config.metrics, "notice": main.notice,
            "models": models.names,
        }  # fmt: skip

    def one() -> list[Component]:
        return [
            file("Scan: PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI"),
            number("Slice of a volume or frame, from 0; empty: the fullest"),
        ]

    chosen = gr.Textbox(None, label=f"Model, one of {', '.join(models.names)}; empty: the first")
    endpoint(analyze, [*one(), chosen], [gr.JSON(label="Result"), picture("Mask overlay"), picture("Grad-CAM heatmap")])
    method = gr.Radio(["unet", "kmeans"], value="unet", label="Method")
    endpoint(segment, [*one(), number("Mask threshold, 0 to 1"), method], [gr.JSON(label="Measures"), picture("Mask")])
    label = gr.Radio(classes, label="Class to explain; empty: the model's answer")
    opacity = gr.Number(0.5, label="Opacity, 0 to 1")
    endpoint(heatmap, [*one(), label, opacity], [picture("Grad-CAM heatmap")])
    endpoint(report, [*one(), number("Mask threshold, 0 to 1")], [files("Report, JSON, mask")])
    heavy: dict[str, Any] = {"concurrency_id": "heavy"}
    endpoint(
        volume,
        [files("One NIfTI file, one zip archive, or a DICOM series")],
        [gr.JSON(label="Result"), files("Mask, CSV, JSON")],
        **heavy,
    )
    endpoint(batch, [files("Scans")], [gr.JSON(label="Rows"), files("CSV and ZIP")], **heavy)
    endpoint(model, [], [gr.JSON(label="Model")])


def endpoint(
    handler: Callable[..., Any], inputs: Sequence[Component], outputs: Sequence[Component], **options: Any
) -> None:
    """A public endpoint named like its function; its documentation is the docstring and the labels of the components.

    The components are never shown. They are what checks that a path is an upload of this visitor and no other file.
    """
    options = {"concurrency_id": "model"} | options
    trigger = gr.Button(visible=False)
    for component in (*inputs, *outputs):
        component.visible = False
    description = " ".join((handler.__doc__ or "").split())
    name = handler.__name__
    trigger.click(handler, list(inputs), list(outputs), api_name=name, api_description=description, **options)


def file(label: str) -> gr.File:
    return gr.File(label=label, visible=False)


def files(label: str) -> gr.File:
    return gr.File(label=label, file_count="multiple", visible=False)


def number(label: str) -> gr.Number:
    return gr.Number(None, label=label, visible=False)


def picture(label: str) -> gr.Image:
    return gr.Image(label=label, format="png", type="filepath", visible=False)
