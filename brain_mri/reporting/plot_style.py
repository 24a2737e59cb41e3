"""One look for every figure: colours that colour-blind people tell apart, plain axes, sizes that read on a slide.

Figures are made with matplotlib's object interface (no pyplot), so nothing is shared between threads or notebooks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from brain_mri.evaluation.scores import Estimate
from brain_mri.files import atomic_write

# Okabe & Ito (2008)
CLASS_COLORS = {"glioma": "#D55E00", "meningioma": "#0072B2", "notumor": "#009E73", "pituitary": "#CC79A7"}
OTHER_COLORS = ("#E69F00", "#56B4E9", "#999933", "#882255", "#44AA99", "#332288", "#DDCC77", "#000000")
MANY = 10  # classes beyond which a figure shows no legend of all of them
WORST = 6  # classes that it shows instead
LONG = 16  # letters of a name that stand below a bar without touching the next
MODEL, BASELINE, WARN = "#0072B2", "#9AA0A6", "#D55E00"
TRUTH, PREDICTION = "#56B4E9", "#FFB000"
INK, FAINT = "#222222", "#D9DCE0"
DPI = 160

P = ParamSpec("P")
R = TypeVar("R")

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # names of folders and files with a $ are no formulas
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def class_color(name: str, index: int = 0) -> str:
    return CLASS_COLORS.get(name) or OTHER_COLORS[index % len(OTHER_COLORS)]


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in the house style, whatever a notebook has set."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return inner


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, squeeze: bool = True, **options: Any
) -> tuple[Figure, Any]:
    """A figure of width x height inches with its axes; call it inside a `styled` function."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=squeeze, **options)


def save(figure: Figure, path: Path) -> Path:
    """As PNG."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": ""})
    return path


def bars(ax: Any, names: Sequence[str], parts: Sequence[tuple[str, Any, Any]]) -> np.ndarray:
    """Horizontal bars from the top down, and their heights. parts: (label or "", values, color or colors), stacked."""
    heights, start = np.arange(len(names))[::-1], np.zeros(len(names))
    for label, values, color in parts:
        ax.barh(heights, values, 0.62, left=start, color=color, label=label or None)
        start = start + np.asarray(values, float)
    ax.set_yticks(heights, names)
    ax.grid(axis="y", visible=False)
    return heights


def scored_bars(ax: Any, names: Sequence[str], found: Sequence[Estimate], colors: Sequence[str]) -> np.ndarray:
    """Bars from 0 to 1 with their 95 % intervals; returns their heights."""
    values = [one.value for one in found]
    heights = bars(ax, names, [("", np.array(values, float), colors)])
    ax.errorbar(values, heights, xerr=error_limits(found), fmt="none", ecolor=INK, capsize=3, linewidth=1.2)
    ax.set_xlim(-0.01, 1.01)
    return heights


def error_limits(rows: Sequence[Estimate]) -> list[list[float]]:
    """Distances below and above each value, for matplotlib's xerr and yerr; 0 where there is no interval."""
    found = []
    for row in rows:
        if row.value is None or row.low is None or row.high is None:
            found.append((0.0, 0.0))
        else:
            found.append((max(0.0, row.value - row.low), max(0.0, row.high - row.value)))
    return [[below for below, _ in found], [above for _, above in found]]
