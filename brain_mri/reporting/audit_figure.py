"""The one figure of the audit: what there is, what repeats, what leaks, what gives the class away."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from brain_mri.classes import title
from brain_mri.data.folders import CLASS_FOLDER
from brain_mri.evaluation.audit import AuditResult
from brain_mri.reporting.plot_style import BASELINE, INK, MANY, WARN, bars, class_color, save, styled

EXACT, NEAR, RELATED, NEW = "#A63A1E", "#E58A4E", "#F5CFA0", "#8DBFDC"
LEAK_COLORS = {"exact copy": EXACT, "near copy": NEAR, "same patient or cluster": RELATED, "clean": NEW}
PAIRS = 6  # examples of copies
COLUMNS = 6  # of the tables beside the data, among the shortcuts


@styled
def draw(result: AuditResult, path: Path) -> Path:
    """Write the figure as PNG and return its path."""
    figure = Figure(figsize=(15, 9.6))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, left=0.085, right=0.985, top=0.9, bottom=0.345, wspace=0.4, hspace=0.52)
    axes = np.array([[figure.add_subplot(grid[row, column]) for column in range(3)] for row in range(2)])
    strip = figure.add_gridspec(1, PAIRS, left=0.02, right=0.985, top=0.2, bottom=0.055, wspace=0.05)
    _copies(axes[0, 0], result)
    _intensities(axes[0, 1], result)
    _sizes(axes[0, 2], result)
    _leaks(axes[1, 0], result)
    _groups(axes[1, 1], result)
    _shortcuts(axes[1, 2], result)
    _examples(figure, strip, result)
    table = result.dataset.table
    figure.suptitle(
        f"{len(table):,} pictures, {table['cluster'].nunique():,} distinct slices, "
        f"{table['group'].nunique():,} groups of patients and copies",
        x=0.02, y=0.975, ha="left", fontsize=15, fontweight="bold",
    )  # fmt: skip
    return save(figure, path)


def _nothing(ax: Any, text: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#777777")


def _of(shown: int, count: int) -> str:
    return "" if shown == count else f" ({shown} of {count} classes)"


def _copies(ax: Any, result: AuditResult) -> None:
    table = result.dataset.table
    table = table[table["source"] == CLASS_FOLDER]
    present = [label for label in result.dataset.classes if (table["class"] == label).any()]
    labels = sorted(present, key=lambda label: -(table["class"] == label).sum())[:MANY]
    labels = [label for label in present if label in labels]
    exact_rows, slice_rows = table.duplicated(["class", "digest"]), table.duplicated(["class", "cluster"])
    total = np.array([(table["class"] == label).sum() for label in labels])
    copies = np.array([(slice_rows & (table["class"] == label)).sum() for label in labels])
    exact = np.array([(exact_rows & (table["class"] == label)).sum() for label in labels])
    parts = [("first of its slice", total - copies, NEW), ("near copy", copies - exact, NEAR)]
    heights = bars(ax, [title(label) for label in labels], [*parts, ("exact copy", exact, EXACT)])
    for place, number in zip(heights, total, strict=True):
        ax.text(number, place, f" {number:,}", va="center", fontsize=9)
    ax.set(
        xlim=(0, 1.15 * total.max() if len(total) else 1),
        title=f"Class folders{_of(len(labels), len(present))}: how much is new",
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.1), ncols=3, columnspacing=1, handlelength=1.1)


def _intensities(ax: Any, result: AuditResult) -> None:
    for index, (label, shares) in enumerate(result.histograms.items()):
        width = 256 / len(shares)
        centres = (np.arange(len(shares)) + 0.5) * width
        ax.plot(centres[1:], shares[1:], color=class_color(label, index), linewidth=2, label=title(label))
    ax.set(title="Gray values as stored, without black", xlabel="gray value")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(ylabel="share of pixels", xlim=(0, 256))
    ax.set_ylim(0)
    if len(result.histograms) <= MANY:
        ax.legend()


def _sizes(ax: Any, result: AuditResult) -> None:
    table = result.dataset.table
    table = table[table["source"] == CLASS_FOLDER]
    classes = result.dataset.classes
    table = table[table["class"].isin(classes)]
    spread = np.random.default_rng(0)
    order = spread.permutation(len(table))
    reach = 0.008 * float(max(table["width"].max(), table["height"].max(), 1)) if len(table) else 1.0
    shift = spread.normal(0, reach, (2, len(table)))
    colors = np.array([class_color(label, classes.index(label)) for label in table["class"]], dtype=object)[order]
    x, y = table["width"].to_numpy(float) + shift[0], table["height"].to_numpy(float) + shift[1]
    ax.scatter(x[order], y[order], s=9, c=list(colors), alpha=0.45, linewidths=0)
    ax.set(title="Sizes of the files, by class", xlabel="width, pixels", ylabel="height, pixels")


def _leaks(ax: Any, result: AuditResult) -> None:
    leaks = result.leaks
    if leaks.empty:
        _nothing(ax, "No Training and Testing folders to compare")
        return
    count = int((leaks["class"] != "all").sum())
    leaks = leaks.sort_values("testing", ascending=False, kind="stable")[: MANY + 1].sort_index()  # "all" is among them
    ax.set_title(f"Testing pictures{_of(len(leaks) - 1, count)}: what Training holds of them")
    names = ["All" if label == "all" else title(label) for label in leaks["class"]]
    shares = [(name, (leaks[name] / leaks["testing"]).to_numpy(float), color) for name, color in LEAK_COLORS.items()]
    bars(ax, names, shares)
    for container, (_, values, _) in zip(ax.containers, shares, strict=True):
        ax.bar_label(container, [f"{v:.0%}" if v >= 0.07 else "" for v in values], label_type="center", fontsize=8.5)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlim(0, 1)
    ax.legend(loc="upper center", bbox_to_anchor=(0.42, -0.1), ncols=4, columnspacing=0.9, handlelength=1)


def _groups(ax: Any, result: AuditResult) -> None:
    sizes = result.dataset.table.groupby("group").size()
    edges = np.array([1, 2, 5, 17, 65, 257, 1025, 10**9])
    counts = np.histogram(sizes, edges)[0]
    last = int(np.flatnonzero(counts).max()) + 1
    names = ["1", *(f"{low}–{high - 1}" for low, high in itertools.pairwise(edges[1:]))]
    ax.bar(np.arange(last), counts[:last], 0.7, color=BASELINE)
    for place, number in enumerate(counts[:last]):
        ax.text(place, number, f"{number}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(np.arange(last), names[:last])
    ax.set_ylim(0, 1.12 * counts.max())
    ax.grid(axis="x", visible=False)
    ax.set(
        title=f"Sizes of the groups (largest {sizes.max()})", xlabel="pictures of one patient or slice", ylabel="groups"
    )


def _shortcuts(ax: Any, result: AuditResult) -> None:
    table = result.shortcuts
    if table.empty:
        _nothing(ax, "Too few groups or classes to look for shortcuts")
        return
    columns = table[table["probe"].str.startswith("column ")]
    table = table.drop(columns.sort_values("accuracy").index[:-COLUMNS])  # those that tell most
    names = [name.replace(" (", "\n(") for name in table["title"]]
    y = bars(ax, names, [("", table["accuracy"], [WARN if alarm else BASELINE for alarm in table["alarm"]])])
    base = float(table["majority"].max())
    ax.axvline(base, color=INK, linewidth=1.2, linestyle="--")
    ax.text(base, len(table) - 0.42, " most frequent class", fontsize=8.5, va="center")
    for place, value in zip(y, table["accuracy"], strict=True):
        ax.text(value, place, f" {value:.0%}", va="center", fontsize=9)
    ax.tick_params("y", labelsize=9)
    ax.set(xlim=(0, 1), ylim=(-0.5, len(table) - 0.2))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_title("Accuracy without seeing the brain")


def _examples(figure: Figure, strip: Any, result: AuditResult) -> None:
    """Pairs of copies: across Training and Testing first, as many kinds and classes as there are."""
    figure.text(0.02, 0.235, "One slice, twice", fontsize=12, fontweight="bold")
    table, links = result.dataset.table, result.dataset.links
    side, label = table["official_split"].to_numpy(object), table["class"].to_numpy(object)
    files = (table["source"] == CLASS_FOLDER).to_numpy()
    links = links[files[links["a"]] & files[links["b"]]]
    if links.empty:
        _nothing(figure.add_subplot(strip[:]), "No picture shows the same slice as another one")
        return
    first, second = links["a"].to_numpy(), links["b"].to_numpy()
    worth = 2 * (label[first] != label[second]).astype(int) + (side[first] != side[second])
    kind = links["kind"].to_numpy(object) + np.where(links["mirrored"], ", mirrored", "")
    links = links.assign(worth=worth, label=label[first], kind=kind).sample(frac=1, random_state=3)
    links = links.sort_values("worth", ascending=False, kind="stable")
    chosen = links.drop_duplicates("kind").head(PAIRS)
    more = links.drop(chosen.index).drop_duplicates(["kind", "label"]).head(PAIRS - len(chosen))
    size = result.dataset.size
    gap = np.full((size, max(1, size // 24)), 255, np.uint8)
    pairs = [tuple(row) for part in (chosen, more) for row in part[["a", "b", "kind"]].to_numpy().tolist()]
    for place, (a, b, name) in enumerate(pairs):
        ax = figure.add_subplot(strip[place])
        ax.set_axis_off()
        both = np.hstack([result.dataset.images[a], gap, result.dataset.images[b]])
        ax.imshow(both, cmap="gray", vmin=0, vmax=255)
        ax.set_title(name, fontsize=10, fontweight="normal", pad=3)
        for x, row in ((0.24, a), (0.76, b)):
            text = "\n".join(part for part in (title(label[row]), side[row]) if part)
            ax.text(x, -0.04, text, transform=ax.transAxes, ha="center", va="top", fontsize=8.5, color="#555555")
