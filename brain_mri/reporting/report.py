"""Everything that is handed in after a run: figures, report.html, slides.pptx and the model card.

    write_all(folder, config, evaluation, dataset)

A drawing that fails (a missing optional library, odd data) is named on the screen and left out: it must never cost the
training run that it describes.
"""

from __future__ import annotations

import base64
import functools
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import jinja2
from PIL import Image

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.records import Evaluation
from brain_mri.files import atomic_write
from brain_mri.reporting import figures, figures_data, figures_masks, model_card
from brain_mri.reporting.outline import REPORT, Outline, outline
from brain_mri.reporting.texts import ASSETS, WORDS

TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
).get_template("report.html")
OF_SCANS = ("cases", "folded", "preprocessing")  # figures that are a fifth of the size as JPEG


def write_all(
    folder: Path, config: ArtifactConfig, evaluation: Evaluation, dataset: Dataset | None = None, *, card: bool = True
) -> list[Path]:
    """Write figures/, report.html, slides.pptx and (card) README.md into folder; returns what was written.

    dataset: for the figures of the data; None leaves them out.
    """
    folder, metrics = Path(folder), evaluation.metrics
    drawn = write_figures(folder / "figures", config, evaluation, dataset)
    found = outline(config, metrics, drawn)
    steps: dict[str, Callable[[], Path | None]] = {
        "report.html": lambda: write_html(folder / "report.html", found),
        "slides.pptx": lambda: _slides(folder / "slides.pptx", found),
    }
    if card:
        steps["README.md"] = lambda: model_card.write_card(folder, config, metrics, drawn)
    return drawn + [path for name, step in steps.items() if (path := _attempt(name, step)) is not None]


def write_figures(
    folder: Path, config: ArtifactConfig, evaluation: Evaluation, dataset: Dataset | None = None
) -> list[Path]:
    """Every figure that can be drawn, as PNG in folder."""
    metrics = evaluation.metrics
    folder.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[Path], Path | None]] = {
        "pipeline": lambda path: _copied(ASSETS / path.name, path),
        "training": lambda path: figures.training_curves(config, path),
        "compared": lambda path: figures.compared(metrics, path),
        "confusion": lambda path: figures.confusion(metrics, path),
        "roc": lambda path: figures.roc(metrics, path),
        "reliability": lambda path: figures.reliability(metrics, path),
        "abstention": lambda path: figures.abstention(metrics, path),
        "dice": lambda path: figures_masks.dice(metrics, path),
        "explanation": lambda path: figures_masks.explanation(metrics, path),
        "counterfactual": lambda path: figures_masks.counterfactual(metrics, path),
        "cases": lambda path: figures_masks.cases(evaluation.cases, path),
        "folded": lambda path: figures_masks.folded(evaluation.folded, path),
    }
    if dataset is not None:
        steps["counts"] = lambda path: figures_data.counts(dataset, path)
        steps["preprocessing"] = lambda path: figures_data.preprocessing(dataset, path)
    drawn = []
    for name, draw in steps.items():
        path = folder / f"{name}.png"
        if (found := _attempt(f"figure {name}", functools.partial(draw, path))) is not None:
            drawn.append(found)
    return drawn


def _copied(drawing: Path, path: Path) -> Path:
    with atomic_write(path) as temporary:
        shutil.copyfile(drawing, temporary)
    return path


def _attempt(name: str, step: Callable[[], Path | None]) -> Path | None:
    try:
        return step()
    except Exception as error:  # whatever it is: the numbers and the model are worth more than a picture
        print(f"Note: {name} was left out ({type(error).__name__}: {error}).", file=sys.stderr)
        return None


def _slides(path: Path, found: Outline) -> Path | None:
    try:
        from brain_mri.reporting import slides  # python-pptx is optional
    except ModuleNotFoundError:
        print("Note: slides.pptx was left out; pip install python-pptx for it.", file=sys.stderr)
        return None
    return slides.write_slides(path, found)


def write_html(path: Path, found: Outline) -> Path:
    """A report that needs no other file: pictures are inside."""
    page = TEMPLATE.render(outline=found, sections=found.sections_for(REPORT), words=WORDS, picture=_picture)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _picture(path: Path) -> tuple[str, int]:
    """(data URI, width on the page)."""
    stored, kind = path.read_bytes(), "png"
    with Image.open(path) as image:
        width = image.width * 6 // 10
        if path.stem in OF_SCANS:
            buffer, kind = io.BytesIO(), "jpeg"
            image.convert("RGB").save(buffer, "JPEG", quality=88)
            stored = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(stored).decode()}", width
