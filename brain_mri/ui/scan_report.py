"""The report of one scan: a self-contained HTML page that prints on one sheet, the same as JSON, the mask as PNG."""

from __future__ import annotations

import datetime
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import segmentation
from brain_mri.classes import DISCLAIMER, title
from brain_mri.files import write_json
from brain_mri.imaging.picture import png
from brain_mri.inference.jobs import stem_of
from brain_mri.inference.rows import versions
from brain_mri.inference.sequence import said_of
from brain_mri.reporting import tables
from brain_mri.ui import theme, views
from brain_mri.ui.html import banner, card, image, notes, safe, table, unexplained
from brain_mri.ui.views import Settings, View


def write_report(view: View, settings: Settings, folder: Path) -> list[Path]:
    """Write NAME_report.html, NAME_result.json and NAME_mask.png (the model's mask at the scan's own resolution, 0 and
    255); of an outline that was corrected by hand also NAME_mask_corrected.png and NAME_overlay_corrected.png."""
    stem = stem_of(view.analysis.name)
    page, result, mask = (folder / f"{stem}_{end}" for end in ("report.html", "result.json", "mask.png"))
    data = report_data(view, settings)
    page.write_text(report_html(view, settings, data), encoding="utf-8")
    write_json(result, data)
    mask.write_bytes(png(views.model_mask(view, settings)))
    if view.corrected is None:
        return [page, result, mask]
    own, overlay = (folder / f"{stem}_{end}_corrected.png" for end in ("mask", "overlay"))
    own.write_bytes(png(view.corrected))
    overlay.write_bytes(png(views.overlay_picture(view, settings)))
    return [page, result, mask, own, overlay]


def write_seg(view: View, settings: Settings, folder: Path) -> list[Path]:
    """Write NAME_mask.dcm, the model's mask as DICOM-SEG, and NAME_mask_corrected.dcm of an outline that was corrected.
    Raises ScanError with a sentence for what is no DICOM file."""
    from brain_mri.imaging.dicom_seg import Marked, slice_seg  # pydicom, only when needed

    a, index = view.analysis, int(str(view.scan.info.get("index", 0)))
    masks = {"mask": views.model_mask(view, settings)}
    masks |= {} if view.corrected is None else {"mask_corrected": view.corrected}
    paths = [folder / f"{stem_of(a.name)}_{end}.dcm" for end in masks]
    for path, (end, mask) in zip(paths, masks.items(), strict=True):
        by = Marked(a.model_id, a.revision, end != "mask")
        path.write_bytes(slice_seg(view.path, mask, by, index, a.name))
    return paths


def report_data(view: View, settings: Settings) -> dict[str, Any]:
    """The report without its pictures, ready for JSON. The measures are those of the model's mask at the chosen
    threshold; those of an outline that was corrected by hand stand apart, under "corrected"."""
    a, predictor, mask = view.analysis, view.predictor, views.model_mask(view, settings)
    m = segmentation.measure(mask, a.head, a.spacing)
    return a.to_dict() | {
        "slice": views.which_slice(view) or None,
        "tumor_fraction": m.fraction,
        "tumor_pixels": m.pixels,
        "tumor_area_mm2": m.area_mm2,
        "tumor_diameter_mm": m.diameter_mm,
        "corrected": _corrected(view, mask),
        "settings": {
            "mask_threshold": settings.threshold,
            "model_mask_threshold": predictor.mask_threshold,
            "abstain_below": predictor.abstain_below,
            "tumor_threshold": predictor.tumor_threshold,
            "temperature": predictor.temperature,
            "calibration": predictor.calibration,
            "heatmap_class": settings.heat_class,
            "window_centre": settings.centre,
            "window_width": settings.width,
        },
        "source": {key: value for key, value in view.scan.info.items() if isinstance(value, (str, int, float, bool))},
        "versions": versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "disclaimer": DISCLAIMER,
    }


def _corrected(view: View, model: np.ndarray) -> dict[str, Any] | None:
    """The figures of the visitor's outline. model: bool (H, W), the model's mask that it is compared with."""
    if view.corrected is None:
        return None
    m = segmentation.measure(view.corrected, view.analysis.head, view.analysis.spacing)
    return {
        "by": "hand",
        "tumor_fraction": m.fraction,
        "tumor_pixels": m.pixels,
        "tumor_area_mm2": m.area_mm2,
        "tumor_diameter_mm": m.diameter_mm,
        "dice_with_model": segmentation.dice(view.corrected, model),
    }


def report_html(view: View, settings: Settings, data: dict[str, Any]) -> str:
    """data: what report_data gives."""
    a, predictor = view.analysis, view.predictor
    evidence = f"Where the classifier saw evidence for: {title(settings.heat_class)}."
    marked = ("Mask overlay", "Marked as tumor by the segmentation network.")
    if view.corrected is not None:
        marked = views.OWN_OVERLAY
    pictures = (
        (*marked, views.overlay_picture(view, settings)),
        ("Grad-CAM heatmap", evidence, views.heat_picture(view, settings)),
    )
    panels = views.bars_panel(view) + "".join(
        card(name, text, image(picture, name, zoom=False)) for name, text, picture in pictures
    )
    config = predictor.config
    rows = {
        "Model": a.model_id,
        "Revision": a.revision,
        "Trained": (config.created or "unknown")[:10],
        "Networks": f"{tables.network(config.classifier)}, {tables.network(config.segmenter)}",
        "Preprocessing": f"{config.preprocessing.name}, {predictor.image_size} × {predictor.image_size}",
    }
    chosen = {
        "Mask threshold": f"{settings.threshold:.2f} (model: {predictor.mask_threshold:.2f})",
        "“Not sure” below": views.percent(predictor.abstain_below),
        "Window": f"level {settings.centre:g}, width {settings.width:g}",
        "Versions": ", ".join(f"{name} {version}" for name, version in data["versions"].items()),
    }
    page = Template(theme.asset("report.html")).substitute(
        css=theme.asset("style.css"),
        name=safe(a.name),
        created=data["created"],
        size=f"{a.image.shape[1]} × {a.image.shape[0]}" + (f", {data['slice']}" if data["slice"] else ""),
        sequence=safe(f" · {said_of(a.sequence, a.sequence_from)}" if a.sequence else ""),
        finding=banner(*views.sentence(a)) + notes(a.warnings),
        panels=panels,
        facts=views.facts(view, settings),
        model=_facts("Model", rows),
        settings=_facts("Settings", chosen),
        disclaimer=safe(DISCLAIMER),
    )
    return unexplained(page)


def _facts(name: str, rows: dict[str, str]) -> str:
    return table([name, ""], [[safe(key), safe(value)] for key, value in rows.items()])
