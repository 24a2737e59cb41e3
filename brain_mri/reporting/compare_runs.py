"""Several finished runs in one table: Markdown, CSV and figure. recipes/leaderboard.sh trains them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.artifact.folder import load_artifact
from brain_mri.evaluation.held_out import test_pictures
from brain_mri.evaluation.records import Metrics, Summary, read_metrics
from brain_mri.evaluation.scores import Estimate
from brain_mri.files import FileError, atomic_write, guarded
from brain_mri.reporting.overview import of_sources
from brain_mri.reporting.plot_style import BASELINE, MODEL, new_figure, save, scored_bars, styled
from brain_mri.reporting.tables import BASELINE_TITLES, Table, as_markdown, number, score

ABOUT_CLASSES = ("accuracy", "macro_f1", "tumor_roc_auc", "pointing_game", "energy_inside")
ABOUT_MASKS = ("dice", "dice_median", "missed")
SCORES = {"classifier": ABOUT_CLASSES, "segmenter": ABOUT_MASKS, "fold": ABOUT_CLASSES + ABOUT_MASKS}
COLUMNS = {"accuracy": "Accuracy", "macro_f1": "Macro F1", "tumor_roc_auc": "Tumor ROC-AUC", "dice": "Dice, mean",
           "dice_median": "Dice, median", "missed": "Missed", "pointing_game": "Pointing game"}  # fmt: skip
KINDS = {"classifier": "Classifiers", "segmenter": "Segmenters", "fold": "Folds by group"}
DRAWN = {"classifier": ("accuracy",), "segmenter": ("dice",), "fold": ("accuracy", "dice")}
AREA = "tumor_roc_auc"  # of two classes, the question that they are asked: it stands first
OF_TWO = {AREA: "ROC-AUC"} | {key: name for key, name in COLUMNS.items() if key != AREA}
DRAWN_OF_TWO = DRAWN | {kind: (AREA, *DRAWN[kind]) for kind in ("classifier", "fold")}


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    folder: Path
    config: ArtifactConfig
    metrics: Metrics


@dataclass(frozen=True)
class Line:
    """A model or a baseline on the board."""

    kind: str  # a key of KINDS
    name: str
    scores: Mapping[str, Estimate | None]
    baseline: bool = False
    parameters: int | None = None
    size: int | None = None  # pixels of the input's side
    epochs: int | None = None
    warm: bool = False  # started from the weights of an earlier run
    seconds: float | None = None
    folder: str = ""

    def known(self, key: str) -> Estimate | None:
        """The score, None where it was not measured."""
        found = self.scores.get(key)
        return None if found is None or found.value is None else found


def read_run(folder: Path) -> Run:
    """Raises ArtifactError when it holds no finished run."""
    return Run(folder, load_artifact(folder).config, read_metrics(folder / "metrics.json"))


def comparable(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """(those measured on the same pictures as the first of them, the others)."""
    pictures = [test_pictures(run.folder) for run in runs]
    same = [found == pictures[0] for found in pictures]
    return [r for r, s in zip(runs, same, strict=True) if s], [r for r, s in zip(runs, same, strict=True) if not s]


def board(runs: Sequence[Run], *, folds: bool = False) -> list[Line]:
    """One line per model and baseline, those of one kind best first. Baselines are of the first run that has any.

    folds: the runs are folds of one cross-validation, in their order.
    """
    lines = [line for number, run in enumerate(runs) for line in _lines(run, f"fold {number}" if folds else "")]
    named = Counter((line.kind, line.name) for line in lines)
    lines = [
        replace(line, name=f"{line.name} ({Path(line.folder).name})") if named[line.kind, line.name] > 1 else line
        for line in lines
    ]
    lines += _baselines(next((run.metrics for run in runs if run.metrics.baselines), runs[0].metrics))
    pair = of_two_classes(runs)
    return lines if folds else sorted(lines, key=lambda line: _first(line, pair), reverse=True)


def left_out(out: Path, runs: Sequence[Run]) -> Path:
    """left_out.md and .csv: of each run the sources that it has not learned from. Raises FileError without any."""
    rows = [row for run in runs for row in run.metrics.by_source or () if row.left_out]
    if not rows:
        raise FileError("None of these runs left out a source (train.py --leave-out).")
    tables = of_sources(rows, "source, by networks that have not learned from it")
    text = "\n\n".join(f"### {table.title}\n\n{as_markdown(table)}" for table in tables) + "\n"
    _put(out, "left_out", text, pd.json_normalize([row.to_json() for row in rows]))
    return out / "left_out.md"


def _put(out: Path, name: str, text: str, frame: pd.DataFrame) -> None:
    """Markdown and CSV, each replaced as a whole."""
    out.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".md", text), (".csv", frame.map(guarded).to_csv(index=False))):
        with atomic_write(out / (name + suffix)) as temporary:
            temporary.write_text(content, encoding="utf-8")


def of_two_classes(runs: Sequence[Run]) -> bool:
    return all(len(run.config.classes) == 2 for run in runs)


def _first(line: Line, pair: bool) -> tuple[float, ...]:
    """The scores that order the lines of a kind; baselines, which have no ROC-AUC, come last where it counts."""
    found = map(line.known, (DRAWN_OF_TWO if pair else DRAWN)[line.kind])
    return tuple(-1.0 if one is None or one.value is None else one.value for one in found)


def _lines(run: Run, fold: str) -> list[Line]:
    config, training, summary = run.config, run.config.training, Summary.of(run.metrics)
    parts = {"classifier": config.classifier, "segmenter": config.segmenter}
    if config.segmenter.trained_on not in ("masks", "weak masks"):
        del parts["segmenter"]
    elif run.folder.name == config.segmenter.architecture != config.classifier.architecture:
        del parts["classifier"]  # it only kept the segmenter company
    if fold:
        parts = {"fold": config.classifier}
    stages = {"classifier": [one.classifier for one in (training, *training.others)]}
    stages["segmenter"] = [one.segmenter for one in (training, *training.others)]
    lines = []
    for kind, part in parts.items():
        # of one network every stage of its training counts; of every network that answers together with the first
        alone = kind != "fold" and not config.segmenter.shared and training.segmenter is not None
        counted = stages[kind] if alone else stages["classifier"] + stages["segmenter"]
        seconds = sum(stage.seconds for stage in counted if stage)
        scores = {key: getattr(summary, key) for key in SCORES[kind]}
        lines.append(
            Line(kind, fold or part.architecture, scores, False, part.parameters, config.preprocessing.image_size,
                 training.epochs, bool(training.init), seconds or None, str(run.folder))
        )  # fmt: skip
    return lines


def _baselines(metrics: Metrics) -> list[Line]:
    bars, simple = metrics.baselines.scores if metrics.baselines else {}, metrics.kmeans
    lines = [
        Line("classifier", BASELINE_TITLES[name], {"accuracy": row.accuracy, "macro_f1": row.macro_f1}, baseline=True)
        for name, row in bars.items()
    ]
    if simple and simple.count:
        scores = {"dice": simple.dice.mean, "dice_median": simple.dice.median, "missed": simple.missed}
        lines.append(Line("segmenter", "kmeans", scores, baseline=True, parameters=0))
    return lines


def as_tables(lines: Sequence[Line], pair: bool = False) -> list[Table]:
    """A table for each kind; folds end with their mean and standard deviation. pair: of models of two classes."""
    found, named = [], OF_TWO if pair else COLUMNS
    for kind, described in KINDS.items():
        part = [line for line in lines if line.kind == kind]
        keys = [key for key in named if any(line.known(key) for line in part)]
        if not keys:
            continue
        rows = [_cells(line, keys) for line in part]
        if kind == "fold" and len(part) > 1:
            rows.append(["mean ± SD", "", "", "", "", *(_spread(part, key) for key in keys)])
        note = "Dice is measured in the model's input square. " if kind == "segmenter" else ""
        note += "+: after the epochs of the run that it started from." if any(line.warm for line in part) else ""
        columns = ["", "Parameters", "Input", "Epochs", "Minutes", *(named[key] for key in keys)]
        found.append(Table(described, columns, rows, note.strip()))
    return found


def _cells(line: Line, keys: Sequence[str]) -> list[str]:
    whole = ["" if value is None else f"{value:,}" for value in (line.parameters, line.size, line.epochs)]
    minutes = "" if line.seconds is None else f"{line.seconds / 60:.1f}"
    return [line.name, *whole[:2], whole[2] + "+" * line.warm, minutes, *(score(line.known(key)) for key in keys)]


def _spread(lines: Sequence[Line], key: str) -> str:
    values = [found.value for line in lines if (found := line.known(key)) and found.value is not None]
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""


def as_frame(lines: Sequence[Line]) -> pd.DataFrame:
    """A column for every fact, and value, low and high of every score."""
    rows = []
    for line in lines:
        facts: dict[str, Any] = {name: value for name, value in vars(line).items() if name != "scores"}
        for key, found in line.scores.items():
            facts |= {f"{key}_{part}": getattr(found, part, None) for part in ("value", "low", "high")}
        rows.append(facts)
    return pd.DataFrame(rows)


def write(out: Path, runs: Sequence[Run], *, folds: bool = False) -> Path:
    """leaderboard.md, .csv and .png, or folds.*, each replaced as a whole. Returns the first."""
    lines, name, pair = board(runs, folds=folds), "folds" if folds else "leaderboard", of_two_classes(runs)
    measured = runs[0].metrics.classification or runs[0].metrics.images
    seeds = sorted({str(run.config.training.seed) for run in runs})
    intro = (
        "Epochs are the most that a model was given; the one with the best validation loss counts. Split by patient "
        f"and near-duplicate cluster, seed {', '.join(seeds)}"
        + ("" if folds else f", {measured.count} test images of {measured.groups} groups")
        + ". In brackets: 95 % interval of a bootstrap over groups."
    )
    text = "\n\n".join([intro, *(f"### {table.title}\n\n{as_markdown(table)}" for table in as_tables(lines, pair))])
    _put(out, name, text + "\n", as_frame(lines))
    draw(lines, out / f"{name}.png", pair)
    return out / f"{name}.md"


@styled
def draw(lines: Sequence[Line], path: Path, pair: bool = False) -> Path | None:
    """Models in blue, baselines in gray."""
    panels = []
    for kind, keys in (DRAWN_OF_TWO if pair else DRAWN).items():
        for key in keys:
            if part := [line for line in lines if line.kind == kind and line.known(key)]:
                panels.append((kind, key, part))
    if not panels:
        return None
    longest = max(len(part) for _, _, part in panels)
    figure, axes = new_figure(5.6 * len(panels), 1.0 + 0.42 * longest, 1, len(panels), squeeze=False)
    for ax, (kind, key, part) in zip(axes.flat, panels, strict=True):
        found = [line.scores[key] or Estimate() for line in part]
        colors = [BASELINE if line.baseline else MODEL for line in part]
        heights = scored_bars(ax, [line.name for line in part], found, colors)
        for y, one in zip(heights, found, strict=True):
            ax.text(1.025, y, number(one.value), va="center", fontweight="bold")
        shown = {"dice": "mean Dice", AREA: "ROC-AUC"}.get(key, key)
        ax.set(xlabel=f"{shown} (95 % interval over groups)", title=KINDS[kind])
    return save(figure, path)
