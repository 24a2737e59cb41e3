"""The scores of several finished runs as one table: Markdown, CSV and figure. Running them is leaderboard.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brain_mri.reporting import figures_runs, table_text, tables

SCORES = ("accuracy", "macro_f1", "tumor_roc_auc", "dice", "dice_median", "missed", "pointing_game", "energy_inside")
ABOUT_CLASSES = ("accuracy", "macro_f1", "tumor_roc_auc", "pointing_game", "energy_inside")
ABOUT_MASKS = ("dice", "dice_median", "missed")
TITLES = {"accuracy": "Accuracy", "macro_f1": "Macro F1", "tumor_roc_auc": "Tumor ROC-AUC", "dice": "Dice, mean",
          "dice_median": "Dice, median", "missed": "Missed", "pointing_game": "Pointing game"}  # fmt: skip


@dataclass
class Entry:
    """One training run."""

    name: str
    arguments: list[str]
    folder: Path
    metrics: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    given: bool = False  # trained by somebody else (--also): its rows bear its name


def board(entries: Sequence[Entry]) -> pd.DataFrame:
    """One line per model and baseline.

    Columns: kind, name, parameters, size (pixels of the input's side), epochs, warm (started from an earlier run),
    seconds, folder, baseline, and value, low, high of every score. Baselines are those of the first entry that has any.
    """
    done = [(entry, entry.metrics) for entry in entries if entry.metrics is not None]
    lines = [line for entry, metrics in done for line in _models(entry, metrics)]
    barred = [metrics for _, metrics in done if metrics.get("baselines")] or [metrics for _, metrics in done]
    lines += _baselines(barred[0]) if done else []
    found = pd.DataFrame(lines)
    return found if found.empty else found.assign(baseline=found.get("baseline", pd.Series(dtype=object)).eq(True))


def _models(entry: Entry, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    from brain_mri.cli.evaluate import summary

    config, scores = entry.config, summary(metrics)
    training, classifier = config.get("training") or {}, config["classifier"]["architecture"]
    kinds = ["classifier"]
    if (config.get("segmenter") or {}).get("trained_on") in ("masks", "weak masks"):
        kinds.append("segmenter")
        if entry.name == config["segmenter"]["architecture"] != classifier:
            kinds = ["segmenter"]  # the classifier only kept it company
    if entry.name.startswith("fold "):
        kinds = ["fold"]
    shared = {
        "size": (config.get("preprocessing") or {}).get("image_size"),
        "epochs": training.get("epochs"),
        "warm": "--init" in str(training.get("command", "")).split(),
        "folder": str(entry.folder),
    }
    alike = bool((config.get("segmenter") or {}).get("shared"))  # one network: every stage of its training counts
    lines = []
    for kind in kinds:
        part = config["classifier" if kind == "fold" else kind]
        keys = {"fold": SCORES, "classifier": ABOUT_CLASSES, "segmenter": ABOUT_MASKS}[kind]
        name = entry.name if kind == "fold" else part["architecture"]
        name += f" ({entry.name})" if entry.given else ""
        stages = [kind] if kind in training and not alike else ["classifier", "segmenter"]
        runs = [training, *(training.get("others") or [])]  # of every network that answers together with the first
        seconds = [float((run.get(stage) or {}).get("seconds") or 0) for run in runs for stage in stages]
        about = {"kind": kind, "name": name, "parameters": part.get("parameters"), "seconds": sum(seconds) or None}
        lines.append(about | shared | _flat({key: scores[key] for key in keys}))
    return lines


def _baselines(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for name, row in ((metrics.get("baselines") or {}).get("scores") or {}).items():
        bar = _flat({"accuracy": row["accuracy"], "macro_f1": row["macro_f1"]})
        lines.append({"kind": "classifier", "name": tables.BASELINE_TITLES[name], "baseline": True} | bar)
    simple = metrics.get("kmeans")
    if simple and simple["count"]:
        bar = _flat(
            {"dice": simple["dice"]["mean"], "dice_median": simple["dice"]["median"], "missed": simple["missed"]}
        )
        lines.append({"kind": "segmenter", "name": "kmeans", "parameters": 0, "baseline": True} | bar)
    return lines


def _flat(scores: dict[str, Any]) -> dict[str, Any]:
    return {f"{key}_{part}": (row or {}).get(part) for key, row in scores.items() for part in ("value", "low", "high")}


def as_tables(found: pd.DataFrame) -> list[table_text.Table]:
    """The board as tables, best first; folds end with their mean and standard deviation."""
    result = []
    for kind, title in (("classifier", "Classifiers"), ("segmenter", "Segmenters"), ("fold", "Folds by group")):
        part = found[found["kind"] == kind]
        keys = [k for k in TITLES if f"{k}_value" in part and part[f"{k}_value"].notna().any()]
        if part.empty or not keys:
            continue
        if kind != "fold":
            part = part.sort_values(f"{keys[0]}_value", ascending=False, na_position="last")
        rows = []
        for _, line in part.iterrows():
            scores = [
                table_text.score({p: _none(line.get(f"{key}_{p}")) for p in ("value", "low", "high")}) for key in keys
            ]
            minutes = "" if pd.isna(line["seconds"]) else f"{line['seconds'] / 60:.1f}"
            epochs = _whole(line["epochs"]) + ("+" if line["warm"] is True else "")
            rows.append([line["name"], _whole(line["parameters"]), _whole(line["size"]), epochs, minutes, *scores])
        if kind == "fold" and len(part) > 1:
            values = [part[f"{key}_value"].astype(float) for key in keys]
            rows.append(["mean ± SD", "", "", "", "", *(f"{v.mean():.3f} ± {v.std(ddof=1):.3f}" for v in values)])
        note = "Dice is measured in the model's input square." if kind == "segmenter" else ""
        if part["warm"].eq(True).any():
            note += " +: after the epochs of the run that it started from."
        columns = ["", "Parameters", "Input", "Epochs", "Minutes", *(TITLES[k] for k in keys)]
        result.append(table_text.Table(title, columns, rows, note.strip()))
    return result


def _whole(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{int(value):,}"


def _none(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(np.float64(value))


def write(out: Path, title: str, entries: Sequence[Entry]) -> None:
    """The board so far as Markdown, CSV and figure, each replaced as a whole; nothing without a finished entry."""
    found = board(entries)
    if found.empty:
        return
    first = next(entry.metrics for entry in entries if entry.metrics is not None)
    counts = first["classification"] or first["images"]
    seeds = sorted({str((entry.config.get("training") or {}).get("seed", 0)) for entry in entries if entry.metrics})
    intro = (
        "Epochs are the most that a model was given; the one with the best validation loss counts. Split by patient "
        f"and near-duplicate cluster, seed {', '.join(seeds)}"
        + ("" if title == "folds" else f", {counts['count']} test images of {counts['groups']} groups")
        + ". In brackets: 95 % interval of a bootstrap over groups."
    )
    parts = [f"### {table.title}\n\n{table_text.as_markdown(table)}" for table in as_tables(found)]
    for suffix, text in ((".md", "\n\n".join([intro, *parts]) + "\n"), (".csv", found.to_csv(index=False))):
        temporary = out / f".{title}{suffix}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, out / f"{title}{suffix}")
    figures_runs.board(found, out / f"{title}.png")
