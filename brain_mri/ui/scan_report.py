"""The report of one scan: a self-contained HTML page that prints on one sheet, the same as JSON, the mask as PNG."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any

import segmentation
from brain_mri.classes import DISCLAIMER, title
from brain_mri.files import png, write_json
from brain_mri.inference.predictor import Predictor
from brain_mri.reporting import tables
from brain_mri.ui import views
from brain_mri.ui.html import banner, card, image, notes, safe, table
from brain_mri.ui.views import Settings, View

SHEET = """
@page { size: A4; margin: 10mm; }
body { margin: 0 auto; max-width: 190mm; padding: 4mm; font: 10.5pt/1.4 "IBM Plex Sans", system-ui, sans-serif;
  color: #12222b; background: #fff; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
h1 { font-size: 15pt; margin: 0 0 1mm; } .meta { color: #475a66; font-size: 9pt; margin: 0 0 3mm; }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: 3mm; margin: 3mm 0; }
.two { display: grid; grid-template-columns: repeat(2, 1fr); gap: 3mm; margin-top: 3mm; align-items: start; }
.card { padding: 3mm; break-inside: avoid; } .card header p { font-size: 8pt; }
.tiles { grid-template-columns: repeat(5, 1fr); } .tile dd { font-size: 11pt; } .tile small { font-size: 7pt; }
table.figures { font-size: 8.5pt; } table.figures th, table.figures td { padding: 3px 6px; }
.disclaimer { margin-top: 4mm; } .bars { gap: 8px; } .banner .sentence { font-size: 12.5pt; }
"""
LIBRARIES = ("gradio", "onnxruntime", "numpy", "opencv-python-headless", "pydicom", "nibabel")


@functools.cache  # looking them up takes 5 ms
def versions() -> dict[str, str]:
    """Versions of what produced an answer."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def report_data(view: View, settings: Settings, predictor: Predictor) -> dict[str, Any]:
    """The report without its pictures, ready for JSON. The measures are those of the mask at the chosen threshold."""
    a, mask = view.analysis, views.mask_of(view, settings)
    m = segmentation.measure(mask, a.head, a.spacing)
    return a.to_dict() | {
        "tumor_fraction": m.fraction,
        "tumor_pixels": m.pixels,
        "tumor_area_mm2": m.area_mm2,
        "tumor_diameter_mm": m.diameter_mm,
        "settings": {
            "mask_threshold": settings.threshold,
            "model_mask_threshold": view.mask_threshold,
            "abstain_below": view.abstain_below,
            "tumor_threshold": predictor.tumor_threshold,
            "temperature": predictor.temperature,
            "calibration": predictor.calibration,
            "heatmap_class": settings.heat_class or a.label,
            "window_centre": settings.centre,
            "window_width": settings.width,
        },
        "source": {key: value for key, value in view.info.items() if isinstance(value, (str, int, float, bool))},
        "versions": versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "disclaimer": DISCLAIMER,
    }


def report_html(view: View, settings: Settings, predictor: Predictor) -> str:
    a, data = view.analysis, report_data(view, settings, predictor)
    css = (Path(__file__).resolve().parent / "assets" / "style.css").read_text(encoding="utf-8")
    heat = settings.heat_class or a.label
    pictures = (
        ("Mask overlay", "Marked as tumor by the segmentation network.", views.overlay_picture(view, settings)),
        (
            "Grad-CAM heatmap",
            f"Where the classifier saw evidence for: {title(heat)}.",
            views.heat_picture(view, settings),
        ),
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
        "Mask threshold": f"{settings.threshold:.2f} (model: {view.mask_threshold:.2f})",
        "“Not sure” below": views.percent(view.abstain_below),
        "Window": f"level {settings.centre:g}, width {settings.width:g}"
        if settings.centre is not None
        else "as stored",
        "Versions": ", ".join(f"{name} {version}" for name, version in data["versions"].items()),
    }
    size = f"{a.image.shape[1]} × {a.image.shape[0]} pixels"
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Report: {safe(a.name)}</title><style>{css}{SHEET}</style>
</head><body><h1>Brain MRI report: {safe(a.name)}</h1><p class="meta">{data["created"]} · {size}</p>
{banner(*views.sentence(a))}{notes(a.warnings)}<div class="three">{panels}</div>{views.facts(view, settings)}
<div class="two">{_facts("Model", rows)}{_facts("Settings", chosen)}</div>
<p class="disclaimer"><strong>Not a diagnosis.</strong> {safe(DISCLAIMER)}</p></body></html>
"""


def _facts(name: str, rows: dict[str, str]) -> str:
    return table([name, ""], [[safe(key), safe(value)] for key, value in rows.items()])


def stem_of(name: str) -> str:
    """ "Slice 12.nii.gz" -> "Slice_12": the name of a scan as the beginning of a file name on any system."""
    stem = re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", name)
    return re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("._")[:60] or "scan"


def write_report(view: View, settings: Settings, predictor: Predictor, folder: Path) -> list[Path]:
    """Write NAME_report.html, NAME_result.json and NAME_mask.png (the mask at the scan's own resolution, 0 and 255)."""
    stem = stem_of(view.analysis.name)
    page, data, mask = (folder / f"{stem}_{end}" for end in ("report.html", "result.json", "mask.png"))
    page.write_text(report_html(view, settings, predictor), encoding="utf-8")
    write_json(data, report_data(view, settings, predictor))
    mask.write_bytes(png(views.mask_of(view, settings)))
    return [page, data, mask]
