"""Figures of the data: what there is, and what the preprocessing makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from brain_mri.classes import ANY_TUMOR, title
from brain_mri.data.dataset import Dataset
from brain_mri.data.folders import MASK_PAIRS
from brain_mri.data.stacks import read_slice
from brain_mri.imaging.scan import ScanError
from brain_mri.reporting.plot_style import BASELINE, MODEL, PREDICTION, TRUTH, WARN, bars, new_figure, save, styled

SPLIT_COLORS = {"train": BASELINE, "validation": PREDICTION, "test": MODEL}


@styled
def counts(dataset: Dataset, path: Path) -> Path:
    """Images and groups per class and split: many slices come from few patients."""
    table = dataset.table
    names = [name for name in dataset.classes if (table["class"] == name).any()]
    figure, axes = new_figure(8.6, max(2.9, 1.2 + 0.24 * len(names)), 1, 2, sharey=True)
    panels = (("Images", "size"), ("Independent groups (patients, clusters)", "nunique"))
    for ax, (described, how) in zip(axes, panels, strict=True):
        parts = []
        for split, color in SPLIT_COLORS.items():
            part = table[table["split"] == split].groupby("class")["group"]
            found = part.size() if how == "size" else part.nunique()
            parts.append((split, found.reindex(names, fill_value=0).to_numpy(), color))
        total = np.sum([widths for _, widths, _ in parts], axis=0)
        for y, width in zip(bars(ax, [title(name) for name in names], parts), total, strict=True):
            ax.text(width, y, f" {width:,}", va="center", fontsize=9)
        ax.set(xlim=(0, 1.16 * total.max()), title=described)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return save(figure, path)


@styled
def preprocessing(dataset: Dataset, path: Path, across: int = 4) -> Path | None:
    """Files as stored with the head square, and below what the network sees with the outlined lesion."""
    shown = []
    for row in example_rows(dataset.table, 3 * across):
        try:
            shown.append((row, read_slice(*dataset.table[["path", "slice"]].iloc[row]).image))
        except (ScanError, OSError):  # gone since the data was read
            continue
        if len(shown) == across:
            break
    if not shown:
        return None
    figure, axes = new_figure(2.35 * len(shown), 4.9, 2, len(shown), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for (above, below), (row, image) in zip(axes.T, shown, strict=True):
        line = dataset.table.iloc[row]
        above.imshow(image, cmap="gray", vmin=0, vmax=255)
        side = line["side"]
        above.add_patch(
            Rectangle((line["left"] - 0.5, line["top"] - 0.5), side, side, fill=False, edgecolor=WARN, linewidth=1.6)
        )
        above.set_title(f"as stored: {image.shape[1]}×{image.shape[0]}", fontsize=9, fontweight="normal")
        below.imshow(dataset.images[row], cmap="gray", vmin=0, vmax=255)
        if line["has_mask"] and dataset.masks[row].any():
            below.contour(dataset.masks[row] > 127, levels=[0.5], colors=[TRUTH], linewidths=1.4)
        below.set_title(
            f"{title(line['class'] or ANY_TUMOR * bool(line['tumor']))}, {dataset.size}×{dataset.size}",
            fontsize=9,
            fontweight="normal",
        )
    return save(figure, path)


def example_rows(table: Any, limit: int) -> list[int]:
    """Row numbers of test slices of different classes and groups; those with a free licence (mask pairs) first."""
    part = table[table["split"] == "test"]
    if (part["source"] == MASK_PAIRS).any():
        part = part[part["source"] == MASK_PAIRS]
    rank = part.groupby("class").cumcount()
    first = part.assign(_rank=rank).drop_duplicates("group").sort_values(["_rank", "class"])
    places = dict(zip(table.index, range(len(table)), strict=True))
    return [places[index] for index in first.index[:limit]]
