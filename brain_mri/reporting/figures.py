"""The figures of an evaluation, drawn from metrics.json (and from config.json for the training curves).

Each function takes the metrics and a path and returns the path, or None when there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.artifact.config import ArtifactConfig, Stage
from brain_mri.classes import title as class_title
from brain_mri.reporting.plot_style import (
    BASELINE,
    FAINT,
    INK,
    MODEL,
    WARN,
    class_color,
    error_limits,
    new_figure,
    save,
    styled,
)
from brain_mri.reporting.tables import BASELINE_TITLES, architecture

Metrics = Mapping[str, Any]


def curves_of(config: ArtifactConfig) -> list[tuple[str, str, Any, Any, int]]:
    """What training_curves draws: (kind, title, training, validation, epoch kept) of every curve that can move."""
    training = config.training
    panels: list[tuple[str, str, Any, Any, int]] = []
    shared = config.segmenter.shared  # one network, perhaps taught masks alone first
    stages = [("classifier", "")]
    if training.segmenter:
        stages = [("classifier", "classifier: "), ("segmenter", "segmenter: ")]
        if shared:
            first = "network 1, " if training.others else ""
            stages = [("segmenter", f"{first}masks alone: "), ("classifier", f"{first}then the class: ")]
    for part, prefix in stages:
        state: Stage = getattr(training, part) or Stage()
        history, best = state.history, state.best_epoch
        for title, ending in (("loss", "loss"), ("accuracy", "accuracy"), ("Dice", "dice")):
            names = [n for n in history if n.endswith(ending) and not n.startswith("val_")]
            name = ending if ending in names else next(iter(names), None)
            checked = history.get(f"val_{name}", ())
            still = ending == "dice" and len(checked) > 1 and min(checked) == max(checked)  # the U-Net is not fitted
            if name and not still and (part == "classifier" or ending != "accuracy"):
                panels.append((ending, prefix + title, history[name], checked, best))
    return panels


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
    for ax, (ending, title, fitted, checked, best) in zip(axes.flat, panels, strict=False):
        epochs = np.arange(1, len(fitted) + 1)
        ax.plot(epochs, fitted, color=BASELINE, marker="o", markersize=3, label="training (augmented)")
        if checked:
            ax.plot(epochs[: len(checked)], checked, color=MODEL, marker="o", markersize=3, label="validation")
        if checked and 0 <= best < len(checked):
            ax.axvline(best + 1, color=WARN, linestyle=":", label="weights kept")
        ax.set_title(title[0].upper() + title[1:])
        ax.set_xlabel("epoch")
        ax.set_xlim(0.5, max(len(fitted), 2) + 0.5)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if ending != "loss":
            ax.set_ylim(0, 1)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return save(figure, path)


@styled
def confusion(metrics: Metrics, path: Path) -> Path | None:
    """Rows are the truth; shade is the share of the row, numbers are images."""
    found = metrics.get("classification")
    if not found:
        return None
    counts = np.array(found["confusion"])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [class_title(name) for name in found["classes"]]
    figure, ax = new_figure(1.6 + 0.95 * len(names), 1.3 + 0.75 * len(names))
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    for i, j in np.ndindex(*counts.shape):
        color = "white" if share[i, j] > 0.55 else INK
        ax.text(j, i, f"{counts[i, j]}\n{100 * share[i, j]:.0f} %", ha="center", va="center", color=color)
    ticks = range(len(names))
    ax.set_xticks(ticks, [name.replace(" tumor", "\ntumor") for name in names])
    ax.set_yticks(ticks, [f"{n}\n(n = {c})" for n, c in zip(names, counts.sum(axis=1), strict=True)])
    ax.set_xlabel("answer of the model")
    ax.set_ylabel("truth")
    ax.set_title("Confusion matrix")
    return save(figure, path)


@styled
def roc(metrics: Metrics, path: Path) -> Path | None:
    found = metrics.get("classification")
    curves = (found or {}).get("curves", {}).get("roc", {})
    if not found or not curves:
        return None
    figure, ax = new_figure(4.8, 4.4)
    ax.plot([0, 1], [0, 1], color=BASELINE, linestyle=":", linewidth=1)
    for i, (name, curve) in enumerate(curves.items()):
        tumor = name == "tumor"
        area = found["binary"]["roc_auc"] if tumor else found["per_class"][name]["roc_auc"]
        label = f"{'Any tumor' if tumor else class_title(name)}: {area['value']:.3f}"
        color = INK if tumor else class_color(name, i)
        ax.plot(curve["fpr"], curve["tpr"], color=color, linewidth=2.2 if tumor else 1.5,
                linestyle="--" if tumor else "-", label=label)  # fmt: skip
    if (binary := found.get("binary")) and "tumor" in curves:
        point = binary["operating_point"]
        if point["specificity"]["value"] is not None and point["sensitivity"]["value"] is not None:
            ax.plot(1 - point["specificity"]["value"], point["sensitivity"]["value"], "o", color=INK, markersize=7,
                    label="operating point, any tumor")  # fmt: skip
    ax.set_xlabel("false positive rate")
    ax.set_ylabel("true positive rate")
    ax.set_title("ROC, one class against the rest (area)")
    ax.set_aspect("equal")
    ax.legend(loc="lower right")
    return save(figure, path)


@styled
def reliability(metrics: Metrics, path: Path) -> Path | None:
    """Is a confidence of 80 % right in 80 % of the cases? Before and after calibration."""
    found, before = metrics.get("classification"), metrics.get("calibration_before")
    if not found or not before:
        return None
    panels = [
        (before, "Before: softmax as trained"),
        (found["calibration"], "After calibration on validation"),
    ]
    figure, axes = new_figure(7.4, 3.9, 1, 2, sharey=True)
    for ax, (part, title) in zip(axes, panels, strict=True):
        bins = [row for row in part["bins"] if row["count"]]
        total = sum(row["count"] for row in bins)
        middle = [(row["low"] + row["high"]) / 2 for row in part["bins"]]
        width = part["bins"][0]["high"] - part["bins"][0]["low"]
        ax.bar(
            middle, [row["count"] / total for row in part["bins"]], width * 0.9, color=FAINT, label="share of images"
        )
        ax.plot([0, 1], [0, 1], color=BASELINE, linestyle=":", linewidth=1)
        big = [row for row in bins if row["count"] >= 5]  # a bin of three images is noise
        ax.plot([r["confidence"] for r in big], [r["accuracy"] for r in big], color=MODEL, marker="o", label="accuracy")
        ax.set_title(f"{title}\nECE {part['ece']['value']:.3f}")
        ax.set_xlabel("confidence")
        ax.set_xlim(0.2, 1.0)
        ax.set_ylim(0, 1.02)
    axes[0].set_ylabel("accuracy (bins of 5 or more images)")
    axes[0].legend(loc="upper left")
    return save(figure, path)


@styled
def abstention(metrics: Metrics, path: Path) -> Path | None:
    found = metrics.get("classification")
    if not found or len(found["abstention"]["curve"]) < 2:
        return None
    band = found["abstention"]
    figure, ax = new_figure(4.8, 3.4)
    x, y = [row["coverage"] for row in band["curve"]], [row["accuracy"] for row in band["curve"]]
    ax.plot(x, y, color=MODEL, marker="o", markersize=3)
    if band["accuracy_answered"]["value"] is not None:
        ax.plot(band["coverage"]["value"], band["accuracy_answered"]["value"], "D", color=WARN, markersize=8,
                label=f"the app: answers from {100 * band['threshold']:.0f} % confidence")  # fmt: skip
        ax.legend(loc="lower left")
    ax.set_xlabel("share of images that get an answer, most confident first")
    ax.set_ylabel("accuracy of the answers")
    ax.set_title('Saying "not sure"')
    ax.set_xlim(0, 1.03)
    ax.set_ylim(min(0.5, *y) - 0.02, 1.01)
    return save(figure, path)


@styled
def compared(metrics: Metrics, path: Path) -> Path | None:
    """Accuracy of the model and of what knows nothing about tumors, with intervals; the official split beside it."""
    found, bars = metrics.get("classification"), metrics.get("baselines")
    if not found or not bars:
        return None
    official = metrics.get("official_split") or {}
    scores = (official.get("baselines") or {}).get("scores") or {}
    lines = [
        (
            f"This model ({architecture(metrics)})",
            found["accuracy"],
            (official.get("model") or {}).get("accuracy"),
            MODEL,
        )
    ]
    lines += [
        (BASELINE_TITLES.get(name, name), row["accuracy"], (scores.get(name) or {}).get("accuracy"), BASELINE)
        for name, row in sorted(bars["scores"].items(), key=lambda pair: -pair[1]["accuracy"]["value"])
    ]
    figure, ax = new_figure(8.6, 1.2 + 0.5 * len(lines))
    heights = np.arange(len(lines))[::-1]
    for y, (_, own, other, color) in zip(heights, lines, strict=True):
        ax.barh(y, own["value"], 0.62, color=color)
        ax.errorbar(own["value"], y, xerr=error_limits([own]), color=INK, capsize=3, linewidth=1.2)
        ax.text(1.015, y, f"{own['value']:.3f}", va="center", fontweight="bold")
        if other and other["value"] is not None:
            ax.plot(other["value"], y, "D", color=WARN, markersize=7, zorder=5)
    if scores:
        ax.plot([], [], "D", color=WARN, label="on the official Training/Testing split")
        figure.legend(loc="outside lower right")
    ax.set_yticks(heights, [line[0] for line in lines])
    ax.grid(axis="y", visible=False)
    ax.set_xlim(0, 1)
    ax.set_xlabel("accuracy on unseen patients and clusters, with 95 % interval")
    figure.suptitle("The model beside baselines that know nothing about tumors", fontweight="bold", fontsize=11)
    return save(figure, path)
