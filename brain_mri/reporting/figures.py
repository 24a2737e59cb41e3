"""The figures of an evaluation, and the training curves.

Each function takes records and a path and returns the path, or None when there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.classes import ANY_TUMOR, title
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting import two_classes
from brain_mri.reporting.plot_style import (
    BASELINE,
    FAINT,
    INK,
    MANY,
    MODEL,
    WARN,
    WORST,
    class_color,
    new_figure,
    save,
    scored_bars,
    styled,
)
from brain_mri.reporting.tables import BASELINE_TITLES, network, number


class Curve(NamedTuple):
    """One measure, epoch by epoch."""

    kind: str  # "loss", "accuracy", "dice"
    title: str
    fitted: Sequence[float]
    checked: Sequence[float]  # on validation; may be empty
    kept: int  # the epoch whose weights are shipped, from 0


def curves_of(config: ArtifactConfig) -> list[Curve]:
    """Of every measure that can move."""
    training, found = config.training, []
    stages = [(training.classifier, "")]
    if training.segmenter and config.segmenter.shared:  # one network, taught masks alone first
        first = "network 1, " if training.others else ""
        stages = [(training.segmenter, f"{first}masks alone: "), (training.classifier, f"{first}then the class: ")]
    elif training.segmenter:
        stages = [(training.classifier, "classifier: "), (training.segmenter, "segmenter: ")]
    for stage, prefix in stages:
        history = stage.history if stage else {}
        for measure, ending in (("loss", "loss"), ("accuracy", "accuracy"), ("Dice", "dice")):
            names = [n for n in history if n.endswith(ending) and not n.startswith("val_")]
            name = ending if ending in names else next(iter(names), None)
            checked = history.get(f"val_{name}", ())
            still = ending == "dice" and len(checked) > 1 and min(checked) == max(checked)  # the U-Net is not fitted
            if stage and name and not still and (stage is training.classifier or ending != "accuracy"):
                found.append(Curve(ending, prefix + measure, history[name], checked, stage.best_epoch))
    return found


@styled
def training_curves(config: ArtifactConfig, path: Path) -> Path | None:
    """Loss, accuracy and Dice per epoch, training and validation, with the epoch that is shipped."""
    panels = curves_of(config)
    if not panels:
        return None
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = new_figure(3.4 * across, 2.9 * down, down, across, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, curve in zip(axes.flat, panels, strict=False):
        epochs = np.arange(1, len(curve.fitted) + 1)
        known = epochs[: len(curve.checked)]
        ax.plot(epochs, curve.fitted, color=BASELINE, marker="o", markersize=3, label="training (augmented)")
        if curve.checked:
            ax.plot(known, curve.checked, color=MODEL, marker="o", markersize=3, label="validation")
        if 0 <= curve.kept < len(curve.checked):
            ax.axvline(curve.kept + 1, color=WARN, linestyle=":", label="weights kept")
        ax.set(title=curve.title[0].upper() + curve.title[1:], xlabel="epoch", xlim=(0.5, max(len(epochs), 2) + 0.5))
        ax.xaxis.get_major_locator().set_params(integer=True)
        if curve.kind != "loss":
            ax.set_ylim(0, 1)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return save(figure, path)


@styled
def confusion(metrics: Metrics, path: Path) -> Path | None:
    """Rows are the truth; shade is the share of the row, numbers are images."""
    found = metrics.classification
    if not found:
        return None
    counts = np.array(found.confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [title(name) for name in found.classes]
    many = len(names) > MANY
    across, down = (0.24, 0.21) if many else (0.95, 0.75)  # inches a cell
    small = 7 if counts.max(initial=0) < 1000 else 5
    figure, ax = new_figure((3.2 if many else 1.6) + across * len(names), (2.8 if many else 1.3) + down * len(names))
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    for i, j in np.ndindex(*counts.shape):
        color = "white" if share[i, j] > 0.55 else INK
        said = str(counts[i, j] or "") if many else f"{counts[i, j]}\n{100 * share[i, j]:.0f} %"
        ax.text(j, i, said, ha="center", va="center", color=color, fontsize=small if many else None)
    ticks, gap = range(len(names)), " " if many else "\n"
    ax.set_xticks(ticks, [name.replace(" tumor", f"{gap}tumor") for name in names], rotation=90 if many else 0)
    ax.set_yticks(ticks, [f"{n}{gap}(n = {c})" for n, c in zip(names, counts.sum(axis=1), strict=True)])
    ax.set(xlabel="answer of the model", ylabel="truth", title="Confusion matrix")
    return save(figure, path)


@styled
def roc(metrics: Metrics, path: Path) -> Path | None:
    found = metrics.classification
    if not found or not found.curves.roc:
        return None
    figure, ax = new_figure(4.8, 4.4 if len(found.curves.roc) <= MANY else 5.4)
    ax.plot([0, 1], [0, 1], color=BASELINE, linestyle=":", linewidth=1)
    drawn, pair = found.curves.roc, two_classes.asked(metrics)
    if pair:  # one question has one curve
        drawn = {name: curve for name, curve in drawn.items() if name == pair.asked}
    if many := len(drawn) > MANY:
        areas = {name: found.per_class[name].roc_auc.value or 0.0 for name in drawn if name in found.per_class}
        drawn = {
            name: drawn[name]
            for name in drawn
            if name not in areas or name in sorted(areas, key=areas.__getitem__)[:WORST]
        }
    for i, (name, curve) in enumerate(drawn.items()):
        if found.binary and name == found.binary.asked:
            label, area = "Any tumor" if name == ANY_TUMOR else title(name), found.binary.roc_auc
            look: dict[str, Any] = {"color": INK, "linewidth": 2.2, "linestyle": "--"}
        else:
            label, area, look = title(name), found.per_class[name].roc_auc, {"color": class_color(name, i)}
        ax.plot(curve.fpr, curve.tpr, label=f"{label}: {number(area.value)}", **look)
    if found.binary and found.binary.asked in drawn:
        point = found.binary.operating_point
        if point.specificity.value is not None and point.sensitivity.value is not None:
            ax.plot(1 - point.specificity.value, point.sensitivity.value, "o", color=INK, markersize=7,
                    label=f"operating point{'' if pair else ', any tumor'}")  # fmt: skip
    ax.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title=f"ROC of the {WORST} hardest classes (area)"
        if many
        else "ROC (area)"
        if pair
        else "ROC, one class against the rest (area)",
        aspect="equal",
    )
    if many:
        figure.legend(loc="outside lower center", ncols=2)
    else:
        ax.legend(loc="lower right")
    return save(figure, path)


@styled
def reliability(metrics: Metrics, path: Path) -> Path | None:
    """Is a confidence of 80 % right in 80 % of the cases? Before and after calibration."""
    found, before = metrics.classification, metrics.calibration_before
    if not found or not before:
        return None
    panels = [
        (before, "Before: softmax as trained"),
        (found.calibration, "After calibration on validation"),
    ]
    figure, axes = new_figure(7.4, 3.9, 1, 2, sharey=True)
    least = min(0.2, *(row.low for part, _ in panels for row in part.bins if row.count))  # of many classes
    for ax, (part, name) in zip(axes, panels, strict=True):
        total = sum(row.count for row in part.bins)
        middle = [(row.low + row.high) / 2 for row in part.bins]
        width = 0.9 * (part.bins[0].high - part.bins[0].low)
        ax.bar(middle, [row.count / total for row in part.bins], width, color=FAINT, label="share of images")
        ax.plot([0, 1], [0, 1], color=BASELINE, linestyle=":", linewidth=1)
        big = [row for row in part.bins if row.count >= 5]  # a bin of three images is noise
        ax.plot([r.confidence for r in big], [r.accuracy for r in big], color=MODEL, marker="o", label="accuracy")
        ax.set(title=f"{name}\nECE {number(part.ece.value)}", xlabel="confidence", xlim=(least, 1.0), ylim=(0, 1.02))
    axes[0].set_ylabel("accuracy (bins of 5 or more images)")
    axes[0].legend(loc="upper left")
    return save(figure, path)


@styled
def abstention(metrics: Metrics, path: Path) -> Path | None:
    found = metrics.classification
    if not found or len(found.abstention.curve) < 2:
        return None
    band = found.abstention
    figure, ax = new_figure(4.8, 3.4)
    x, y = [row.coverage for row in band.curve], [row.accuracy for row in band.curve]
    ax.plot(x, y, color=MODEL, marker="o", markersize=3)
    if band.accuracy_answered.value is not None:
        ax.plot(band.coverage.value, band.accuracy_answered.value, "D", color=WARN, markersize=8,
                label=f"the app: answers from {100 * band.threshold:.0f} % confidence")  # fmt: skip
        ax.legend(loc="lower left")
    ax.set(
        xlabel="share of images that get an answer, most confident first",
        ylabel="accuracy of the answers",
        title='Saying "not sure"',
        xlim=(0, 1.03),
        ylim=(min(0.5, *y) - 0.02, 1.01),
    )
    return save(figure, path)


@styled
def compared(metrics: Metrics, path: Path) -> Path | None:
    """Accuracy of the model and of what knows nothing about tumors, with intervals; the official split beside it."""
    model, simple, official = metrics.classification, metrics.baselines, metrics.official_split
    if not model or not simple:
        return None
    scores = official.baselines.scores if official else {}
    trained = official.model.accuracy if official and official.model else None
    lines = [(f"This model ({network(metrics.model.classifier)})", model.accuracy, trained, MODEL)]
    lines += [
        (BASELINE_TITLES.get(name, name), row.accuracy, scores[name].accuracy if name in scores else None, BASELINE)
        for name, row in sorted(simple.scores.items(), key=lambda pair: -(pair[1].accuracy.value or 0))
    ]
    figure, ax = new_figure(8.6, 1.2 + 0.5 * len(lines))
    names, found, others, colors = zip(*lines, strict=True)
    for y, own, other in zip(scored_bars(ax, names, found, colors), found, others, strict=True):
        ax.text(1.025, y, number(own.value), va="center", fontweight="bold")
        if other and other.value is not None:
            ax.plot(other.value, y, "D", color=WARN, markersize=7, zorder=5)
    if scores:
        ax.plot([], [], "D", color=WARN, label="on the official Training/Testing split")
        figure.legend(loc="outside lower right")
    ax.set_xlabel("accuracy on unseen patients and clusters, with 95 % interval")
    figure.suptitle("The model beside baselines that know nothing about tumors", fontweight="bold", fontsize=11)
    return save(figure, path)
