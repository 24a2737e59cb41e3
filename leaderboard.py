"""Train several models through train.py, one process each, and gather their scores in one table.

    python evaluate.py --leaderboard --data DIR --masks DIR --epochs 10 --out runs/leaderboard
    python evaluate.py --folds 5 --data DIR --masks DIR --epochs 10 --out runs/folds --train-args "--classifier guided"

Every model gets the same split, the same number of epochs and the same seed. A finished run is not trained again and an
interrupted one is resumed, so the same command can simply be given once more.
Writes leaderboard.md, leaderboard.csv and leaderboard.png (or folds.*), and beside every run its log.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import figures_runs
import tables
from artifact import CONFIG, ArtifactError, read_json

TRAIN = Path(__file__).resolve().with_name("train.py")
SCORES = ("accuracy", "macro_f1", "tumor_roc_auc", "dice", "dice_median", "missed", "pointing_game", "energy_inside")


@dataclass
class Entry:
    """One training run."""

    name: str
    arguments: list[str]
    folder: Path
    metrics: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def run(args: argparse.Namespace) -> int:
    """--leaderboard or --folds of evaluate.py. Returns 1 when any run failed, after the others were written."""
    title = "leaderboard" if args.leaderboard else "folds"
    out = args.out or Path("runs") / title
    entries = architectures(args, out) if args.leaderboard else folds(args.folds, out)
    out.mkdir(parents=True, exist_ok=True)
    for i, entry in enumerate(entries):
        print(f"[{i + 1}/{len(entries)}] {entry.name} (log: {entry.folder}.log)", flush=True)
        train_one(entry, args)
        if entry.error:
            print(f"evaluate.py: {entry.name}: {entry.error}", file=sys.stderr)
        write(out, title, entries, args)
    if any(entry.metrics for entry in entries):
        print("\n" + (out / f"{title}.md").read_text(encoding="utf-8"))
    return 1 if any(entry.error for entry in entries) else 0


def architectures(args: argparse.Namespace, out: Path) -> list[Entry]:
    """As few runs as cover every classifier and segmenter: one run trains one of each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import model_def  # imports Keras: only here, where models are trained anyway

    def chosen(text: str | None, names: Sequence[str]) -> list[str]:
        asked = [name.strip() for name in text.split(",") if name.strip()] if text is not None else list(names)
        if unknown := sorted(set(asked) - set(names)):
            raise ValueError(f"There is no architecture {', '.join(unknown)}; there are {', '.join(names)}.")
        return asked

    classifiers = chosen(args.classifiers, list(model_def.CLASSIFIERS))
    segmenters = chosen(args.segmenters, list(model_def.SEGMENTERS)) if args.masks else []
    own = [(name, "shared") for name in classifiers if name == "guided"]
    rest = [name for name in classifiers if name != "guided"]
    pairs = own + list(itertools.zip_longest(rest, segmenters))
    return [
        Entry(
            "-".join(name for name in (classifier, segmenter) if name),
            ["--classifier", classifier or "gap_cnn", "--segmenter", segmenter or "kmeans"],
            out / "-".join(name for name in (classifier, segmenter) if name),
        )
        for classifier, segmenter in pairs
    ]


def folds(count: int, out: Path) -> list[Entry]:
    """The first `count` of the five folds that train.py --fold knows."""
    if not 1 <= count <= 5:
        raise ValueError("There are five folds, so --folds is a number from 1 to 5.")
    return [Entry(f"fold {i}", ["--fold", str(i)], out / f"fold{i}") for i in range(count)]


def train_one(entry: Entry, args: argparse.Namespace) -> None:
    """Run train.py unless the folder holds this very run, finished; fills metrics and config, or error."""
    arguments = ["--data", str(args.data), "--epochs", str(args.epochs), "--seed", str(args.seed)]
    for flag, value in (("--masks", args.masks), ("--groups", args.groups), ("--cache", args.cache)):
        arguments += [flag, str(value)] if value else []
    arguments += ["--out", str(entry.folder), "--verbose", "2", *entry.arguments, *shlex.split(args.train_args)]
    if finished(entry, arguments):
        return
    log = entry.folder.with_name(f"{entry.folder.name}.log")
    resume = ["--resume"] if (entry.folder / "checkpoints" / "run.json").is_file() else []
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, str(TRAIN), *arguments, *resume]
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if status or not finished(entry, arguments):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        entry.error = f"training ended with status {status}: {lines[-1] if lines else 'no output'}"


def finished(entry: Entry, arguments: list[str]) -> bool:
    """Does the folder hold a complete artifact that these arguments made? Then fill the entry."""
    try:
        config = read_json(entry.folder / CONFIG)
        metrics = read_json(entry.folder / "metrics.json")
    except ArtifactError:
        return False
    stated = str((config.get("training") or {}).get("command", "")).split()
    if [word for word in stated[1:] if word != "--resume"] != " ".join(arguments).split():
        return False
    entry.metrics, entry.config = metrics, config
    return True


def board(entries: Sequence[Entry]) -> pd.DataFrame:
    """One line per model and baseline: kind, name, parameters, seconds, and value, low, high of every score."""
    from evaluate import summary

    lines: list[dict[str, Any]] = []
    done = [(entry, entry.metrics) for entry in entries if entry.metrics is not None]
    for entry, metrics in done:
        training, scores = entry.config.get("training") or {}, summary(metrics)
        taught = (entry.config.get("segmenter") or {}).get("trained_on")
        parts = ["classifier", "segmenter"] if taught in ("masks", "weak masks") else ["classifier"]
        for kind in ["fold"] if entry.name.startswith("fold ") else parts:
            part = entry.config["classifier" if kind == "fold" else kind]
            keys = {"fold": SCORES, "classifier": _ABOUT_CLASSES, "segmenter": _ABOUT_MASKS}[kind]
            name = entry.name if kind == "fold" else part["architecture"]
            state = training.get(kind) or training.get("classifier") or {}
            lines.append(
                {"kind": kind, "name": name, "parameters": part.get("parameters"), "seconds": state.get("seconds")}
                | _flat({key: scores[key] for key in keys})
            )
    for _, metrics in done[:1]:
        for name, row in ((metrics.get("baselines") or {}).get("scores") or {}).items():
            bar = _flat({"accuracy": row["accuracy"], "macro_f1": row["macro_f1"]})
            lines.append({"kind": "classifier", "name": tables.BASELINE_TITLES[name], "baseline": True} | bar)
        simple = metrics.get("kmeans")
        if simple and simple["count"]:
            bar = {
                "dice": simple["dice"]["mean"],
                "dice_median": simple["dice"]["median"],
                "missed": simple["missed"],
            }
            lines.append({"kind": "segmenter", "name": "kmeans", "parameters": 0, "baseline": True} | _flat(bar))
    found = pd.DataFrame(lines)
    return found if found.empty else found.assign(baseline=found.get("baseline", pd.Series(dtype=object)).eq(True))


_ABOUT_CLASSES = ("accuracy", "macro_f1", "tumor_roc_auc", "pointing_game", "energy_inside")
_ABOUT_MASKS = ("dice", "dice_median", "missed")


def _flat(scores: dict[str, Any]) -> dict[str, Any]:
    return {f"{key}_{part}": (row or {}).get(part) for key, row in scores.items() for part in ("value", "low", "high")}


def as_tables(found: pd.DataFrame) -> list[tables.Table]:
    """The board as tables, best first; folds end with their mean and standard deviation."""
    titles = {"accuracy": "Accuracy", "macro_f1": "Macro F1", "tumor_roc_auc": "Tumor ROC-AUC", "dice": "Dice, mean",
              "dice_median": "Dice, median", "missed": "Missed", "pointing_game": "Pointing game"}  # fmt: skip
    result = []
    for kind, title in (("classifier", "Classifiers"), ("segmenter", "Segmenters"), ("fold", "Folds by group")):
        part = found[found["kind"] == kind]
        keys = [k for k in titles if f"{k}_value" in part and part[f"{k}_value"].notna().any()]
        if part.empty or not keys:
            continue
        if kind != "fold":
            part = part.sort_values(f"{keys[0]}_value", ascending=False, na_position="last")
        rows = []
        for _, line in part.iterrows():
            scores = [
                tables.score({p: _none(line.get(f"{key}_{p}")) for p in ("value", "low", "high")}) for key in keys
            ]
            size = "" if pd.isna(line["parameters"]) else f"{int(line['parameters']):,}"
            minutes = "" if pd.isna(line["seconds"]) else f"{line['seconds'] / 60:.1f}"
            rows.append([line["name"], size, minutes, *scores])
        if kind == "fold" and len(part) > 1:
            values = [part[f"{key}_value"].astype(float) for key in keys]
            rows.append(["mean ± SD", "", "", *(f"{v.mean():.3f} ± {v.std(ddof=1):.3f}" for v in values)])
        result.append(tables.Table(title, ["", "Parameters", "Minutes", *(titles[k] for k in keys)], rows))
    return result


def _none(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(np.float64(value))


def write(out: Path, title: str, entries: Sequence[Entry], args: argparse.Namespace) -> None:
    """The board so far as Markdown, CSV and figure, each replaced as a whole."""
    found = board(entries)
    if found.empty:
        return
    first = next(entry.metrics for entry in entries if entry.metrics is not None)
    counts = first["classification"] or first["images"]
    intro = (
        f"Each model: at most {args.epochs} epochs, seed {args.seed}, split by patient and near-duplicate cluster"
        + ("" if title == "folds" else f", {counts['count']} test images of {counts['groups']} groups")
        + ". In brackets: 95 % interval of a bootstrap over groups."
    )
    parts = [f"### {table.title}\n\n{tables.as_markdown(table)}" for table in as_tables(found)]
    for suffix, text in ((".md", "\n\n".join([intro, *parts]) + "\n"), (".csv", found.to_csv(index=False))):
        temporary = out / f".{title}{suffix}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, out / f"{title}{suffix}")
    figures_runs.board(found, out / f"{title}.png")
