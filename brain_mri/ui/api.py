"""The named endpoints for programs. Each takes files and plain values and returns JSON and files; nothing of the page's
own events is exposed. See the page's footer, "Use via API", for the generated reference.

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    result, overlay, heatmap = client.predict(handle_file("slice.png"), None, api_name="/analyze")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component

import segmentation
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.jobs import slices_of, stem_of
from brain_mri.inference.live_model import Models
from brain_mri.inference.rows import Row
from brain_mri.inference.volume_analysis import analyze_volume
from brain_mri.ui import views, volume_tab
from brain_mri.ui.agents import HOW
from brain_mri.ui.batch_tab import patients_among, run_batch, weigh
from brain_mri.ui.common import TURN, heard, name_of, output_folder, speaking, spoken, visitor
from brain_mri.ui.places import Places
from brain_mri.ui.scan_report import report_data, write_report, write_seg
from brain_mri.ui.views import Settings, View

# What a volume or a batch answers: JSON and files
Answers = AsyncIterator[tuple[Any, Any]]


@dataclass(frozen=True)
class Api:
    """What each endpoint answers. The docstrings are its public documentation.

    Scans are named by content, see common.label_of; where many are asked about, the caller may want the files' names.
    """

    models: Models
    places: Places

    @speaking
    def analyze(
        self, scan: str, slice_index: float | None = None, model: str | None = None
    ) -> tuple[dict[str, Any], str, str]:
        """Analyse one slice: class probabilities, sequence, measures and warnings as JSON, the mask overlay and the
        Grad-CAM heatmap as PNG. For education and research only, not a diagnosis.

        Args:
            scan: the slice: PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI; of a volume, one slice is taken
            slice_index: which slice of a volume or frame, counted from 0; default: the one with the most tissue
            model: which model answers, one of "models" that the tool model lists; default: the first
        """
        view = self._view(scan, slice_index, model=model)
        chosen = views.settings_of(view)
        overlay = saved(view, "overlay", views.overlay_picture(view, chosen))
        return report_data(view, chosen), overlay, saved(view, "heatmap", views.heat_picture(view, chosen))

    @speaking
    def segment(
        self, scan: str, slice_index: float | None = None, threshold: float | None = None, method: str = "unet"
    ) -> tuple[dict[str, Any], str]:
        """Mark the tumor on one slice: measures as JSON and the mask as PNG (0 and 255) at the scan's own resolution.

        Args:
            scan: the slice: PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI; of a volume, one slice is taken
            slice_index: which slice of a volume or frame, counted from 0; default: the one with the most tissue
            threshold: from which probability a pixel is marked, between 0 and 1; default: the model's own
            method: "unet", the trained network, or "kmeans", which needs no training
        """
        view = self._view(scan, slice_index)
        chosen, a = settings(view, threshold), view.analysis
        mask = a.kmeans() if method == "kmeans" else views.mask_of(view, chosen)
        m = segmentation.measure(mask, a.head, a.spacing)
        data = {
            "name": a.name, "slice": views.which_slice(view) or None,
            "method": method, "threshold": chosen.threshold if method == "unet" else None,
            "tumor_fraction": m.fraction, "tumor_pixels": m.pixels, "tumor_area_mm2": m.area_mm2,
            "tumor_diameter_mm": m.diameter_mm, "model_id": a.model_id, "revision": a.revision,
        }  # fmt: skip
        return data, saved(view, "mask", mask)

    @speaking
    def heatmap(
        self, scan: str, slice_index: float | None = None, label: str | None = None, opacity: float = 0.5
    ) -> str:
        """Where the classifier saw evidence for a class on one slice: Grad-CAM over the scan, as PNG.

        Args:
            scan: the slice: PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI; of a volume, one slice is taken
            slice_index: which slice of a volume or frame, counted from 0; default: the one with the most tissue
            label: the class to explain, one of "classes" that the tool model lists; default: the model's answer
            opacity: of the colours over the scan, 0 to 1; default 0.5
        """
        view = self._view(scan, slice_index)
        return saved(view, "heatmap", views.heat_picture(view, settings(view, None, opacity, label)))

    @speaking
    def report(
        self,
        scan: str,
        slice_index: float | None = None,
        threshold: float | None = None,
        names: bool = False,
        dicom_seg: bool = False,
    ) -> list[str]:
        """The report of one slice: a self-contained HTML page, the same as JSON, and the mask as PNG.

        Args:
            scan: the slice: PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI; of a volume, one slice is taken
            slice_index: which slice of a volume or frame, counted from 0; default: the one with the most tissue
            threshold: from which probability a pixel is marked, between 0 and 1; default: the model's own
            names: true to call answers and files as the given file is called; else they are named by content
            dicom_seg: true for the mask as DICOM-SEG, too, of DICOM files; it names the patient as they do
        """
        view = self._view(scan, slice_index, names)
        chosen, folder = settings(view, threshold), output_folder()
        seg = write_seg(view, chosen, folder) if dicom_seg else []
        return [str(path) for path in (*write_report(view, chosen, folder), *seg)]

    async def volume(
        self,
        request: gr.Request,
        files: list[str],
        choose: str | None = None,
        names: bool = False,
        dicom_seg: bool = False,
    ) -> Answers:
        """Analyse a volume (one NIfTI file, a zip archive, or the DICOM files of a series): probability and area of
        every slice and the volume in mL as JSON; the mask as NIfTI in the input's own geometry, slices as CSV, JSON.

        Args:
            files: one NIfTI file, one zip archive, or all DICOM files of a series
            choose: where an upload holds several volumes, the key of another one of "choices"; default: the best
            names: true to call answers and files as the given file is called; else they are named by content
            dicom_seg: true for the mask as DICOM-SEG, too, of DICOM files; it names the patient as they do
        """
        paths = files or []

        def work(step: Callable[..., None]) -> tuple[dict[str, Any], list[str]]:
            own = name_of(paths, names) if paths else None
            volume = read_volume(paths, name=own, choose=choose or None, named=names)
            found = analyze_volume(self.models.main, volume, lambda i, n: step(f"Slice {i} of {n}."))
            written = volume_tab.write_files(found)
            seg = [volume_tab.write_seg(found, paths, Path(written[0]).parent)] if dicom_seg else []
            return found.to_dict(), [*written, *seg]

        async for answer in self._in_turn(request, lambda: slices_of([Path(path) for path in paths]), work):
            yield answer

    async def batch(
        self,
        request: gr.Request,
        files: list[str],
        slices: bool = False,
        names: bool = False,
        dicom_seg: bool = False,
    ) -> Answers:
        """Analyse many slices and volumes. Rows as JSON (a file that cannot be read is a row with its reason, a volume
        or a series is one row), a CSV, and a ZIP with overlays, masks and JSON.

        Args:
            files: any number of slices and volumes, up to 500 files; a CSV among them with the columns file and patient
                adds a row for each patient
            slices: true for a row for each slice of a volume, too
            names: true to call answers and files as the given file is called; else they are named by content
            dicom_seg: true for the mask as DICOM-SEG, too, of DICOM files; it names the patient as they do
        """

        def weighed() -> int:
            if not files:
                raise ScanError("No file was given; pass a list of them as `files`.")
            return weigh(files)

        def work(step: Callable[..., None]) -> tuple[dict[str, Any], list[str]]:
            each, kept, seg = bool(slices), bool(names), bool(dicom_seg)
            model = self.models.main
            patients = patients_among(model, files)
            rows, written = run_batch(model, files, step, slices=each, kept=kept, seg=seg, patients=patients)
            by_patient = {} if patients is None else {"patients": patients.lines()}
            return {"rows": [row_data(row) for row in rows]} | by_patient, written

        async for answer in self._in_turn(request, weighed, work):
            yield answer

    def model(self) -> dict[str, Any]:
        """Which models answer here, their revisions, classes, thresholds and measured scores."""
        main = self.models.main
        config = main.config
        return {
            "model_id": main.model_id, "revision": main.revision, "created": config.created or None,
            "classes": list(main.classes), "preprocessing": config.preprocessing.to_json(),
            "thresholds": config.thresholds.to_json(), "temperature": main.temperature,
            "calibration": main.calibration, "metrics": config.metrics, "notice": main.notice,
            "models": self.models.names,
        }  # fmt: skip

    async def _in_turn(
        self, request: gr.Request, weigh: Callable[[], int], work: Callable[[Callable[..., None]], Any]
    ) -> Answers:
        """The answer, after nothing while it waits and works: so Gradio notices when the connection is gone."""
        try:
            async with self.places.turn(visitor(request), weigh, work) as steps:
                async for _, answer in steps:
                    if not answer:
                        heard(request)
                    yield answer or (gr.skip(), gr.skip())
        except Exception as error:
            raise spoken(error) from None

    def _view(self, scan: str | None, slice_index: float | None, named: bool = False, model: str | None = None) -> View:
        if not scan:
            raise ScanError("No file was given; pass one slice as `scan`.")
        index = None if slice_index is None else int(slice_index)
        predictor = self.models.get(model) if model else self.models.main
        return views.analyze_scan(predictor, read_scan(scan, name=name_of([scan], named), index=index), scan)


def settings(view: View, threshold: float | None, opacity: float = 0.45, label: str | None = None) -> Settings:
    """What a caller asked for, the model's own where nothing was. Raises ScanError."""
    if threshold is not None and not 0 < threshold < 1:
        raise ScanError(f"The mask threshold must lie between 0 and 1, not at {threshold:g}.")
    if not 0 <= opacity <= 1:
        raise ScanError(f"The opacity must lie between 0 and 1, not at {opacity:g}.")
    start = views.settings_of(view)
    threshold, label = start.threshold if threshold is None else threshold, label or start.heat_class
    return replace(start, threshold=threshold, opacity=opacity, heat_class=label, heat_opacity=opacity)


def row_data(row: Row) -> dict[str, Any]:
    """files: the name that overlay and mask have in their folders of the ZIP."""
    if row.error:
        return {"name": row.file, "error": row.error}
    return row.result | {"files": Path(row.result["mask"]).name}


def saved(view: View, end: str, picture: np.ndarray) -> str:
    """The path of a PNG in a folder of its own."""
    path = output_folder() / f"{stem_of(view.analysis.name)}_{end}.png"
    path.write_bytes(png(picture))
    return str(path)


def endpoints(models: Models, places: Places) -> None:
    """Register every endpoint. Call inside `gr.Blocks`.

    The components are never shown. Their labels are documentation, and they are what checks that a path is an upload
    of this visitor and no other file.
    """
    api = Api(models, places)
    with gr.Row(visible=False):
        scan = gr.File(label="Scan: PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI")
        index = gr.Number(None, label="Slice of a volume or frame, from 0; empty: the fullest")
        model = gr.Textbox(None, label=f"Model, one of {', '.join(models.names)}; empty: the first")
        threshold = gr.Number(None, label="Mask threshold, 0 to 1")
        method = gr.Radio(["unet", "kmeans"], value="unet", label="Method")
        label = gr.Radio(list(models.main.classes), label="Class to explain; empty: the model's answer")
        opacity = gr.Number(0.5, label="Opacity, 0 to 1")
        series = gr.File(label="One NIfTI file, one zip archive, or a DICOM series", file_count="multiple")
        choose = gr.Textbox(None, label="Key of another volume of the upload; empty: the best one")
        scans = gr.File(label="Scans", file_count="multiple")
        slices = gr.Checkbox(False, label="A row for each slice of a volume, too")
        names = gr.Checkbox(False, label="Names of the files in the answer")
        seg = gr.Checkbox(False, label="Also DICOM-SEG, which names the patient as DICOM files do")
        result, measures, rows, about = (gr.JSON(label=name) for name in ("Result", "Measures", "Rows", "Model"))
        overlay, heatmap, mask = (
            gr.Image(label=name, format="png", type="filepath") for name in ("Mask overlay", "Grad-CAM heatmap", "Mask")
        )
        report, volume, table = (
            gr.File(label=name, file_count="multiple")
            for name in ("Report, JSON, mask", "Mask, CSV, JSON", "CSV and ZIP")
        )
        endpoint(api.analyze, [scan, index, model], [result, overlay, heatmap], api_name="analyze")
        endpoint(api.segment, [scan, index, threshold, method], [measures, mask], api_name="segment")
        endpoint(api.heatmap, [scan, index, label, opacity], [heatmap], api_name="heatmap")
        endpoint(api.report, [scan, index, threshold, names, seg], [report], api_name="report")
        endpoint(api.volume, [series, choose, names, seg], [result, volume], api_name="volume", **TURN)
        endpoint(api.batch, [scans, slices, names, seg], [rows, table], api_name="batch", **TURN)
        endpoint(api.model, [], [about], api_name="model")


def endpoint(
    answer: Callable[..., Any],
    inputs: list[Component],
    outputs: list[Component],
    *,
    api_name: str,
    **places: Any,
) -> None:
    """Its description is the docstring without the arguments, which tools for agents describe one by one."""
    said = (answer.__doc__ or "").partition("Args:")[0]
    description = " ".join([*said.split(), *([HOW] if any(isinstance(given, gr.File) for given in inputs) else [])])
    options: dict[str, Any] = {"api_name": api_name, "api_description": description, "concurrency_id": "model"}
    gr.Button().click(answer, inputs, outputs, **options | places)
