"""Everything that is handed in after a run: figures, report.html, slides.pptx and the model card.

    write_all(folder, config, evaluation, dataset)

A drawing that fails (a missing optional library, odd data) is named on the screen and left out: it must never cost the
training run that it describes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.evaluation.evaluate import Evaluation

Metrics = Mapping[str, Any]


def write_all(
    folder: Path,
    config: ArtifactConfig,
    evaluation: Evaluation,
    dataset: Any = None,
    *,
    card: bool = True,
    model: Path | None = None,
) -> list[Path]:
    """Write figures/, report.html, slides.pptx and (card) README.md into folder; returns what was written.

    model: folder of the ONNX files, which is drawn and asked about folded heads (default: folder). dataset: a
    data.Dataset for the figures of the data; None leaves them out.
    """
    from brain_mri.reporting import report_html

    folder = Path(folder)
    drawn = write_figures(folder / "figures", config, evaluation, dataset, model=model or folder)
    written = list(drawn.values())
    steps: list[tuple[str, Callable[[], Path | None]]] = [
        ("report.html", lambda: report_html.write_html(folder / "report.html", config, evaluation.metrics, drawn)),
        ("slides.pptx", lambda: _slides(folder / "slides.pptx", config, evaluation.metrics, drawn)),
    ]
    if card:
        steps.append(("README.md", lambda: _card(folder, config, evaluation.metrics, [p.name for p in drawn.values()])))
    return written + [path for name, step in steps if (path := _attempt(name, step)) is not None]


def write_figures(
    folder: Path, config: ArtifactConfig, evaluation: Evaluation, dataset: Any = None, *, model: Path
) -> dict[str, Path]:
    """Every figure that can be drawn: name -> PNG in folder."""
    from brain_mri.reporting import figures, figures_data, figures_masks, figures_model

    metrics = evaluation.metrics
    folder.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[Path], Path | None]] = {
        "pipeline": lambda path: figures_model.pipeline(config, path),
        "network": lambda path: figures_model.network(model, config, path),
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
    }
    if dataset is not None:
        steps["counts"] = lambda path: figures_data.counts(dataset, path)
        steps["folded"] = lambda path: figures_masks.folded(model, config, dataset, path)
        steps["preprocessing"] = lambda path: figures_data.preprocessing(dataset, path)
    drawn = {}
    for name, draw in steps.items():
        path = folder / f"{name}.png"
        if (found := _attempt(f"figure {name}", functools.partial(draw, path))) is not None:
            drawn[name] = found
    return drawn


def _attempt(name: str, step: Callable[[], Path | None]) -> Path | None:
    try:
        return step()
    except Exception as error:  # whatever it is: the numbers and the model are worth more than a picture
        print(f"Note: {name} was left out ({type(error).__name__}: {error}).", file=sys.stderr)
        return None


def _slides(path: Path, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> Path | None:
    try:
        from brain_mri.reporting import slides
    except ModuleNotFoundError:
        print("Note: slides.pptx was left out; pip install python-pptx for it.", file=sys.stderr)
        return None
    return slides.write_slides(path, config, metrics, drawn)


def _card(folder: Path, config: ArtifactConfig, metrics: Metrics, names: Sequence[str]) -> Path:
    from brain_mri.reporting import model_card

    return model_card.write_card(folder, config, metrics, names)
