"""LiteRT files beside the ONNX files that they stand for, on the same slices: do they answer alike, and how fast?

Everything is compared after the decision rule, as an app would show it. Time is that of the processor, each file in one
thread and in turns slice by slice, so that all of them meet the same disturbances.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.artifact.config import CLASSIFIER, SEGMENTER
from brain_mri.artifact.folder import Artifact
from brain_mri.imaging.preprocessing import head_mask
from brain_mri.inference.decision import Answers, answers_of, decided
from brain_mri.inference.lite_model import LiteModel, lite_name
from brain_mri.inference.onnx_model import OnnxModel
from brain_mri.inference.runner import Outputs
from segmentation import dice, kmeans_mask

ONNX = "ONNX"
LOW = 5  # percentile of Dice that stands beside its mean


@dataclass(frozen=True)
class Slices:
    """What is compared on."""

    images: np.ndarray  # uint8 (N, S, S), preprocessed
    labels: np.ndarray  # int (N,): index into the artifact's classes, -1 where unknown
    masks: np.ndarray  # bool (N, S, S)
    outlined: np.ndarray  # bool (N,): is the mask known?


@dataclass(frozen=True)
class Comparison:
    """One kind of files. nan: nothing to compare."""

    kind: str  # ONNX, or one of lite_model.KINDS
    bytes: int  # of all its files
    milliseconds: float  # of a processor core, for one slice, median
    same_class: float  # share of the slices that ONNX gives the same class
    same_sure: float  # share of which both or neither are "not sure"
    probability: float  # the largest difference to ONNX of a class probability
    mask_dice: float  # with ONNX's mask, mean over the slices that either marks
    mask_dice_low: float  # and the 5th percentile
    right: float  # share of the slices of known class that it is right of
    outline_dice: float  # with the outlines that people drew, mean

    def to_json(self) -> dict[str, Any]:
        return {name: None if value != value else value for name, value in asdict(self).items()}


def compare(artifact: Artifact, folder: Path, kinds: Sequence[str], slices: Slices) -> list[Comparison]:
    """ONNX first, then each of kinds, whose files lie in folder. Raises LiteModelError, ArtifactError."""
    names = [CLASSIFIER]
    if artifact.config.segmenter.is_network and not artifact.config.segmenter.shared:
        names.append(SEGMENTER)
    files = {ONNX: [artifact.folder / name for name in names]}
    files |= {kind: [folder / lite_name(name, kind) for name in names] for kind in kinds}
    outputs, times = _in_turns({kind: _open(paths) for kind, paths in files.items()}, slices.images)
    answers = {kind: answers_of(found, artifact.config) for kind, found in outputs.items()}
    sizes = {kind: sum(path.stat().st_size for path in paths) for kind, paths in files.items()}
    return [_compared(artifact, kind, sizes[kind], times[kind], answers[kind], answers[ONNX], slices) for kind in files]


Model = Callable[[np.ndarray], dict[str, np.ndarray]]


def _open(paths: Sequence[Path]) -> list[Model]:
    def one(path: Path) -> Model:
        if path.suffix != ".onnx":
            return LiteModel(path)
        needed = ("mask",) if path.name == SEGMENTER else ("logits", "heatmaps", "features")
        return OnnxModel(path, 1, needed, ("mask",))

    return [one(path) for path in paths]


def _in_turns(models: dict[str, list[Model]], images: np.ndarray) -> tuple[dict[str, Outputs], dict[str, float]]:
    """(what each kind says of images, its median milliseconds a slice without K-means)."""
    found: dict[str, list[Outputs]] = {kind: [] for kind in models}
    spent: dict[str, list[float]] = {kind: [] for kind in models}
    for image in images:
        batch = image[None, ..., None].astype(np.float32)
        drawn = None
        for kind, parts in models.items():
            started = time.process_time()
            said = {name: value for model in parts for name, value in model(batch).items()}
            spent[kind].append(1000 * (time.process_time() - started))
            if "mask" not in said:
                drawn = kmeans_mask(image, head_mask) if drawn is None else drawn
                said["mask"] = drawn[None, ..., None].astype(np.float32)
            found[kind].append(Outputs(said["logits"], said["heatmaps"], said["features"], said["mask"][..., 0]))
    joined = {
        kind: Outputs(*(np.concatenate(column) for column in zip(*(vars(one).values() for one in each), strict=True)))
        for kind, each in found.items()
    }
    return joined, {kind: float(np.median(values)) for kind, values in spent.items()}


def _compared(
    artifact: Artifact, kind: str, size: int, milliseconds: float, own: Answers, onnx: Answers, slices: Slices
) -> Comparison:
    rule = artifact.config
    mine, theirs = decided(rule, own.probabilities), decided(rule, onnx.probabilities)
    every = np.arange(len(mine))
    sure = own.probabilities[every, mine] >= rule.thresholds.abstain
    sure_before = onnx.probabilities[every, theirs] >= rule.thresholds.abstain
    marked = np.flatnonzero(own.masks.any(axis=(1, 2)) | onnx.masks.any(axis=(1, 2)))
    alike = [dice(own.masks[i], onnx.masks[i]) for i in marked]
    drawn = np.flatnonzero(slices.outlined & slices.masks.any(axis=(1, 2)))
    known = slices.labels >= 0
    return Comparison(
        kind=kind,
        bytes=size,
        milliseconds=milliseconds,
        same_class=float(np.mean(mine == theirs)),
        same_sure=float(np.mean(sure == sure_before)),
        probability=float(np.abs(own.probabilities - onnx.probabilities).max()),
        mask_dice=float(np.mean(alike)) if alike else np.nan,
        mask_dice_low=float(np.percentile(alike, LOW)) if alike else np.nan,
        right=float(np.mean(mine[known] == slices.labels[known])) if known.any() else np.nan,
        outline_dice=float(np.mean([dice(own.masks[i], slices.masks[i]) for i in drawn])) if drawn.size else np.nan,
    )


def table(found: Sequence[Comparison]) -> str:
    """Markdown, a line a kind."""

    def share(value: float) -> str:
        return "–" if value != value else f"{value:.1%}"

    def number(value: float) -> str:
        return "–" if value != value else f"{value:.3f}"

    head = ("file", "MB", "ms of one core", "same class", "same \"not sure\"", "largest difference of a probability",
            "Dice with ONNX's mask: mean, lowest 5 %", "class right", "Dice with drawn outlines")  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for one in found:
        lines.append((
            one.kind, f"{one.bytes / 1e6:.2f}", f"{one.milliseconds:.1f}", share(one.same_class), share(one.same_sure),
            f"{one.probability:.4f}", f"{number(one.mask_dice)}, {number(one.mask_dice_low)}", share(one.right),
            number(one.outline_dice),
        ))  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
