"""Figures of several runs: leaderboard, folds, hyper-parameter search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from brain_mri.reporting.plot_style import BASELINE, INK, MODEL, WARN, error_limits, new_figure, save, styled


@styled
def board(table: Any, path: Path) -> Path | None:
    """table: leaderboard.board. Best first; models in blue, baselines in gray."""
    panels = [(kind, key, label) for kind, key, label in (
        ("classifier", "accuracy", "accuracy"), ("segmenter", "dice", "mean Dice"), ("fold", "accuracy", "accuracy"),
        ("fold", "dice", "mean Dice")) if f"{key}_value" in table and
        table.loc[table["kind"] == kind, f"{key}_value"].notna().any()]  # fmt: skip
    if not panels:
        return None
    longest = max(int((table["kind"] == kind).sum()) for kind, _, _ in panels)
    figure, axes = new_figure(5.6 * len(panels), 1.0 + 0.42 * longest, 1, len(panels), squeeze=False)
    for ax, (kind, key, label) in zip(axes.flat, panels, strict=True):
        part = table[(table["kind"] == kind) & table[f"{key}_value"].notna()]
        if kind != "fold":
            part = part.sort_values(f"{key}_value", ascending=False)
        _board_panel(figure, ax, part, key, label, kind)
    return save(figure, path)


def _board_panel(figure: Figure, ax: Any, part: Any, key: str, label: str, kind: str) -> None:
    values = part[f"{key}_value"].astype(float).to_numpy()
    rows = [
        {"value": v, "low": None if np.isnan(low) else low, "high": high}
        for v, low, high in zip(
            values, part[f"{key}_low"].astype(float), part[f"{key}_high"].astype(float), strict=True
        )
    ]
    heights = np.arange(len(part))[::-1]
    colors = [BASELINE if flag else MODEL for flag in part["baseline"]]
    ax.barh(heights, values, 0.62, color=colors)
    ax.errorbar(values, heights, xerr=error_limits(rows), fmt="none", ecolor=INK, capsize=3, linewidth=1.2)
    for y, value in zip(heights, values, strict=True):
        ax.text(1.015, y, f"{value:.3f}", va="center", fontweight="bold")
    ax.set_yticks(heights, list(part["name"]))
    ax.grid(axis="y", visible=False)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"{label} (95 % interval over groups)")
    ax.set_title({"classifier": "Classifiers", "segmenter": "Segmenters", "fold": "Folds by group"}[kind])


@styled
def search(table: Any, importance: Mapping[str, float], path: Path) -> Path | None:
    """table: search.trials. Score of every trial in order with the best so far, and what mattered."""
    done = table[(table["state"] == "complete") & table["score"].notna()].sort_values("trial")
    if done.empty:
        return None
    figure, axes = new_figure(8.6, 3.2, 1, 2 if importance else 1, squeeze=False)
    ax = axes.flat[0]
    ax.plot(done["trial"], done["score"], "o", color=MODEL, label="trial")
    ax.step(done["trial"], done["score"].cummax(), where="post", color=WARN, label="best so far")
    ax.set_xlabel("trial")
    ax.set_ylabel("score on validation")
    ax.set_title("Search")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="lower right")
    if importance:
        ax, names = axes.flat[1], list(importance)[::-1]
        ax.barh(names, [importance[name] for name in names], 0.62, color=BASELINE)
        ax.set_xlim(0, 1)
        ax.grid(axis="y", visible=False)
        ax.set_title("Share of the score's variation explained")
    return save(figure, path)
