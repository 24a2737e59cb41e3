"""Figures of masks and heatmaps: how well lesions are outlined, where the classifier looks, and cases to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.classes import NO_TUMOR, title
from brain_mri.evaluation.records import Case, FoldedCase, Metrics
from brain_mri.evaluation.scores import Estimate, HeatPart
from brain_mri.reporting.plot_style import (
    BASELINE,
    INK,
    LONG,
    MANY,
    MODEL,
    PREDICTION,
    TRUTH,
    WARN,
    WORST,
    class_color,
    error_limits,
    new_figure,
    save,
    scored_bars,
    styled,
)
from brain_mri.reporting.tables import number
from segmentation import heat_overlay


@styled
def dice(metrics: Metrics, path: Path) -> Path | None:
    """Distribution of Dice, and Dice against the size of the lesion."""
    found = metrics.segmentation
    if not found or not found.count or not found.per_image:
        return None
    values, sizes = np.array(found.per_image.dice), 100 * np.array(found.per_image.fraction)
    figure, axes = new_figure(8.6, 3.5, 1, 2)
    ax = axes[0]
    ax.hist(values, bins=np.linspace(0, 1, 21), color=MODEL, edgecolor="white", linewidth=0.6)
    top = 1 / 1.35  # the lines end below the legend
    ax.axvline(found.dice.median.value, 0, top, color=WARN, label=f"median {number(found.dice.median.value, 2)}")
    ax.axvline(
        found.dice.mean.value, 0, top, color=WARN, linestyle=":", label=f"mean {number(found.dice.mean.value, 2)}"
    )
    if metrics.kmeans and metrics.kmeans.count:
        other = metrics.kmeans.dice.mean.value
        ax.axvline(other, 0, top, color=BASELINE, linestyle="--", label=f"K-means, mean {number(other, 2)}")
    ax.set_ylim(0, 1.35 * ax.get_ylim()[1])  # room for the legend
    ax.set(xlabel="Dice", ylabel="test slices", title=f"Overlap with the truth (n = {found.count})")
    ax.legend(loc="upper left", ncols=2)
    ax = axes[1]
    ax.plot(sizes, values, "o", color=MODEL, markersize=3, alpha=0.45, markeredgewidth=0)
    for row in found.by_size:
        low, high, mean = 100 * row.fraction.from_, 100 * row.fraction.to, row.dice.mean.value
        ax.plot([low, high], [mean] * 2, color=WARN, linewidth=2.5)
        ax.annotate(number(mean, 2), (np.sqrt(low * high), mean), xytext=(0, 5),
                    textcoords="offset points", ha="center", color=WARN, fontweight="bold")  # fmt: skip
    ax.set_xscale("log")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if sizes.min() * 0.8 <= t <= sizes.max() * 1.2]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set(
        xlabel="size of the lesion, % of the square",
        ylabel="Dice",
        ylim=(-0.03, 1.03),
        title="Dice by size (bars: mean of each third)",
    )
    return save(figure, path)


@styled
def explanation(metrics: Metrics, path: Path) -> Path | None:
    """Pointing game and heat inside the lesion by class, beside chance and random weights."""
    found = metrics.explanation
    if not found or not found.count:
        return None
    kinds: list[tuple[str, HeatPart]] = list(found.by_class.items()) if len(found.by_class) > 1 else []
    if many := len(kinds) > MANY:
        kinds = sorted(kinds, key=lambda pair: pair[1].energy_inside.value or 0.0)[:WORST]
    parts: list[tuple[str, str, HeatPart]] = [("All", BASELINE, found)]
    parts += [(title(n), class_color(n, i), row) for i, (n, row) in enumerate(kinds)]
    random = metrics.sanity.stages[-1].energy_inside if metrics.sanity else None
    figure, axes = new_figure(8.6, 3.2, 1, 2, sharey=True)
    panels = (
        ("pointing_game", "Hottest pixel in the lesion"),
        ("energy_inside", "Share of the heat in the lesion"),
    )
    for ax, (key, described) in zip(axes, panels, strict=True):
        x = np.arange(len(parts))
        rows = [getattr(row, key) for _, _, row in parts]
        values = [row.value for row in rows]
        ax.bar(x, values, 0.62, color=[color for _, color, _ in parts])
        ax.errorbar(x, values, yerr=error_limits(rows), fmt="none", ecolor="#555555", capsize=3)
        for i, (_, _, row) in enumerate(parts):
            ax.plot([i - 0.36, i + 0.36], [row.chance] * 2, color=INK, linewidth=2,
                    label="by chance (evenly over the head)" if i == 0 else None)  # fmt: skip
        if key == "energy_inside" and random is not None:
            ax.axhline(random, color=INK, linestyle=":", label="random weights")
        ax.set_xticks(x, [name.replace(" tumor", "\ntumor") for name, _, _ in parts])
        if many or max(len(name) for name, _, _ in parts) > LONG:
            ax.tick_params("x", rotation=90)
        ax.grid(axis="x", visible=False)
        ax.set(ylim=(0, 1.05), title=described)
    handles, names = axes[1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    if many:
        figure.suptitle(f"The {WORST} classes with the least heat in the lesion, of {len(found.by_class)}", fontsize=10)
    return save(figure, path)


@styled
def counterfactual(metrics: Metrics, path: Path) -> Path | None:
    """How often slices are called a tumor as they are, and with their lesion gone or another one put in."""
    found = metrics.counterfactual
    lines: list[tuple[str, Estimate, str, float]] = []  # the last: what a model of lesions alone would say
    for kind, before, after, right in (
        ("folded", "heads with a tumor in one half", "the other half twice", 0.0),
        ("erased", "slices with a tumor", "their lesion covered", 0.0),
        ("given", 'slices of the "no tumor" sources', "a lesion put in", 1.0),
    ):
        if part := getattr(found, kind, None):
            lines += [(f"{before} (n = {part.count})", part.before, BASELINE, 1 - right)]
            lines += [(after, part.called_tumor, MODEL, right)]
    if not lines:
        return None
    figure, ax = new_figure(7.6, 0.8 + 0.48 * len(lines))
    names, shares, colors, wanted = zip(*lines, strict=True)
    y = scored_bars(ax, names, shares, colors)
    ax.plot(wanted, y, "D", color=INK, markersize=5, clip_on=False,
            label="an answer that follows the lesion alone")  # fmt: skip
    ax.set(xlabel="share called a tumor", title="Does the answer follow the lesion?")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center")
    return save(figure, path)


@styled
def cases(found: Sequence[Case], path: Path) -> Path | None:
    """Best, median and worst slices by Dice: outlines on the scan, and the heatmap beside it."""
    kinds = [kind for kind in ("best", "median", "worst") if any(case.kind == kind for case in found)]
    if not kinds:
        return None
    across = max(sum(case.kind == kind for case in found) for kind in kinds)
    figure, axes = new_figure(2.95 * across, 1.78 * len(kinds) + 0.45, len(kinds), 2 * across, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, kind in enumerate(kinds):
        for j, case in enumerate(case for case in found if case.kind == kind):
            scan, heat = axes[i, 2 * j], axes[i, 2 * j + 1]
            scan.imshow(case.image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
            outline(scan, case.truth, TRUTH, 1.6)
            outline(scan, case.predicted, PREDICTION, 1.3)
            heat.imshow(heat_overlay(case.image, case.heatmap), interpolation="bilinear")
            outline(heat, case.truth, TRUTH, 1.0)
            right = case.answer == case.label if case.label else case.answer != NO_TUMOR
            drawn = "" if case.predicted.any() else "\nnothing outlined"
            scan.set_title(f"{kind}: Dice {case.dice:.2f}{drawn}", fontsize=9)
            answer = f"{title(case.answer)} {100 * case.confidence:.0f} %"
            answer += "" if right else f"\n(is {title(case.label) if case.label else 'a tumor'})"
            heat.set_title(answer, fontsize=9, fontweight="normal", color=INK if right else WARN)
    outline_legend(figure, axes[0, 0])
    return save(figure, path)


@styled
def folded(found: Sequence[FoldedCase], path: Path) -> Path | None:
    """Heads of different patients, and below what the model says when they are folded to either half."""
    if not found:
        return None
    kinds = ("whole", "as it is"), ("without", "half without the tumor"), ("twice", "half with the tumor")
    figure, axes = new_figure(1.75 * len(found), 1.75 * len(kinds) + 0.7, len(kinds), len(found), squeeze=False)
    for line, (kind, described) in zip(axes, kinds, strict=True):
        for ax, case in zip(line, found, strict=True):
            view = getattr(case, kind)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.imshow(view.image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
            outline(ax, view.predicted, PREDICTION, 1.3)
            wrong = (view.answer == NO_TUMOR) != (kind == "without")
            answer = f"{title(view.answer)} {100 * view.confidence:.0f} %"
            ax.set_title(answer, fontsize=9, fontweight="normal", color=WARN if wrong else INK)
        line[0].set_ylabel(described, fontsize=9)
    for ax, case in zip(axes[0], found, strict=True):
        outline(ax, case.truth, TRUTH, 1.6)
    outline_legend(figure, axes[0, 0])
    return save(figure, path)


def outline(ax: Any, mask: np.ndarray, color: str, width: float) -> None:
    """Draw the border of a bool mask (H, W) on an image axis."""
    if mask.any() and not mask.all():
        padded = np.pad(mask.astype(float), 1)
        y, x = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
        ax.contour(x, y, padded, levels=[0.5], colors=[color], linewidths=width)
        ax.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def outline_legend(figure: Any, ax: Any) -> None:
    """Say below a figure whose outlines are whose."""
    handles = [
        ax.plot([], [], color=TRUTH, label="outlined by hand (truth)")[0],
        ax.plot([], [], color=PREDICTION, label="outlined by the model")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
