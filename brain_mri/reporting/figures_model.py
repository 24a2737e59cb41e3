"""Drawings of the method: the network as it was exported, and the way of a scan through the program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.reporting.plot_style import BASELINE, FAINT, INK, MODEL, PREDICTION, WARN, new_figure, save, styled
from brain_mri.reporting.tables import network as network_name


@dataclass
class Stage:
    """Convolutions in a row whose output has the same size."""

    size: int  # pixels
    channels: int  # the most of any of them
    convolutions: int


def stages(path: Path, members: int = 1) -> list[Stage]:
    """The convolutional stages of an ONNX file in the order of computation, each weight counted once.

    members: networks that answer together in the file; only the first is told, the others are like it.
    Squeeze-and-excitation branches (1 x 1 pixel) are left out. Empty when the shapes cannot be told.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    found: list[Stage] = []
    seen: set[str] = set()
    networks: dict[str, str] = {}  # value -> the network that computes it: the folder that Keras has put its weights in
    own: str | None = None
    for node in model.graph.node:
        # the exporter renames some weights; such a convolution belongs to the network that feeds it
        stated = "/".join(node.input[1].split("/")[:2]) if node.op_type == "Conv" and "/" in node.input[1] else ""
        scope = stated or next((networks[name] for name in node.input if name in networks), "")
        networks |= {name: scope for name in node.output if scope}
        shape = shapes.get(node.output[0], [])
        if node.op_type != "Conv" or len(shape) != 4 or shape[2] <= 1 or node.input[1] in seen:
            continue
        seen.add(node.input[1])
        own = own or scope
        if members > 1 and scope != own:
            continue
        if found and found[-1].size == shape[2]:
            found[-1].channels, found[-1].convolutions = max(shape[1], found[-1].channels), found[-1].convolutions + 1
        else:
            found.append(Stage(shape[2], shape[1], 1))
    return found


def joins(path: Path) -> bool:
    """Does the network concatenate feature maps, as a U-Net does?"""
    return any(node.op_type == "Concat" for node in onnx.load(str(path), load_external_data=False).graph.node)


@styled
def network(folder: Path, config: ArtifactConfig, path: Path) -> Path | None:
    """Every network of the artifact: blocks as high as the feature map, as wide as its channels (logarithmic)."""
    classifier, segmenter, shared = config.classifier, config.segmenter, config.segmenter.shared
    size = config.preprocessing.image_size
    rows: list[tuple[str, list[Stage], str, bool]] = []
    for file, part, ends in (("classifier.onnx", classifier, "4 classes"), ("segmenter.onnx", segmenter, "mask")):
        if (file == "segmenter.onnx" and shared) or not (folder / file).is_file():
            continue
        count = part.members
        found = stages(folder / file, count)
        if found:
            kind = "Classifier and segmenter" if shared else file.split(".")[0].capitalize()
            title = f"{kind}: {network_name(part)}, {part.parameters:,} parameters"
            title += f" (one of {count} is drawn)" if count > 1 else ""
            rows.append((title, found, "mask + 4 classes" if shared else ends, joins(folder / file)))
    if not rows:
        return None
    figure, axes = new_figure(9.6, 3.0 * len(rows), len(rows), 1, squeeze=False)
    for ax, (title, found, ends, joined) in zip(axes.flat, rows, strict=True):
        _blocks(ax, found, size, ends, joined)
        ax.set_title(title)
    return save(figure, path)


def _blocks(ax: Any, found: list[Stage], size: int, ends: str, joined: bool) -> None:
    ax.set_axis_off()
    x, places, smallest = 0.0, [], min(stage.size for stage in found)
    blocks = [(f"input\n{size}×{size}", size, 1, FAINT, 0)]
    blocks += [(f"{s.size}×{s.size}\n{s.channels} ch", s.size, s.channels, MODEL, s.convolutions) for s in found]
    for label, side, channels, color, count in blocks:
        height = 0.25 + 1.75 * np.log2(2 * side / smallest) / np.log2(2 * size / smallest)
        width = 0.12 + 0.09 * np.log2(1 + channels)
        ax.add_patch(Rectangle((x, -height / 2), width, height, facecolor=color, edgecolor="white"))
        if count:
            ax.text(x + width / 2, 0, f"{count}×", ha="center", va="center", color="white", fontsize=9, rotation=90)
        ax.text(x + width / 2, -1.12, label, ha="center", va="top", fontsize=8.5)
        places.append((x + width / 2, height / 2, side))
        x += width + 0.42
    arcs = False
    for i, (middle, top, side) in enumerate(places[2:], start=2):  # arcs to the same size on the way down
        same = [k for k in range(1, i - 1) if places[k][2] == side]
        if joined and same and side > places[i - 1][2]:
            bend = -0.9 / (middle - places[same[-1]][0])  # as high for long arcs as for short ones
            curve = FancyArrowPatch(
                places[same[-1]][:2], (middle, top), connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>",
                mutation_scale=9, color=WARN, linewidth=1.1,
            )  # fmt: skip
            ax.add_patch(curve)
            arcs = True
    ax.text(x, 0, ends, va="center", fontsize=10, fontweight="bold")
    after = "softmax, temperature,\nGrad-CAM of every class" if "class" in ends else "sigmoid, threshold"
    ax.text(x, -0.3, after, fontsize=8.5, va="top")
    legend = "n× = convolutions in a row, ch = channels" + (", arcs = skip connections" if arcs else "")
    ax.text(0, -1.68, legend, fontsize=8.5, color="#555555", va="top")
    ax.set_xlim(-0.3, x + 2.1)
    ax.set_ylim(-1.95, 1.6 if arcs else 1.15)


@styled
def pipeline(config: ArtifactConfig, path: Path) -> Path:
    """The way of one scan: file, head square, networks, calibrated answer."""
    size = config.preprocessing.image_size
    names = [network_name(config.classifier), network_name(config.segmenter)]
    shared = config.segmenter.shared
    middle = f"{names[0]}\nmask and classes" if shared else f"classifier {names[0]}\nsegmenter {names[1]}"
    way = (
        "network and mask together"
        if config.stacking
        else f"temperature {config.temperature:.2f}{', bias' * bool(config.bias)}"
    )
    steps = [
        ("Any scan", "PNG, JPEG, TIFF,\nDICOM, NIfTI;\n8 or 16 bit", FAINT),
        ("Head square", f"find the head,\nsquare box,\nbrightness set,\n{size}×{size} pixels", "#CFE3F3"),
        ("ONNX", middle, "#CFE3F3"),
        ("Calibrated answer", f'{way};\n"not sure" band;\nforeign-image guard', "#CFE3F3"),
    ]
    outputs = [("Class probabilities", MODEL), ("Tumor mask", PREDICTION), ("Grad-CAM heatmap", WARN)]
    figure, ax = new_figure(9.4, 2.3)
    ax.set_axis_off()
    for i, (head, text, color) in enumerate(steps):
        _box(ax, 2.55 * i, -0.75, 2.1, 1.5, color)
        ax.text(2.55 * i + 1.05, 0.48, head, ha="center", va="center", fontweight="bold", fontsize=10.5)
        ax.text(2.55 * i + 1.05, -0.16, text, ha="center", va="center", fontsize=8.5)
        _arrow(ax, (2.55 * i + 2.12, 0), (2.55 * i + 2.53, 0))
    for i, (text, color) in enumerate(outputs):
        y = 0.62 - 0.62 * i
        _box(ax, 10.2, y - 0.22, 2.1, 0.44, color)
        ax.text(11.25, y, text, ha="center", va="center", fontsize=9, color="white" if color != PREDICTION else INK,
                fontweight="bold")  # fmt: skip
    ax.set_xlim(-0.1, 12.5)
    ax.set_ylim(-1.0, 1.0)
    return save(figure, path)


def _box(ax: Any, x: float, y: float, width: float, height: float, color: str) -> None:
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.1")
    shape.set(facecolor=color, edgecolor=BASELINE if color.startswith(("#D", "#C")) else "none", linewidth=0.8)
    ax.add_patch(shape)


def _arrow(ax: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=INK, linewidth=1.2))
