"""Scores of masks and heatmaps against outlined lesions: is the tumor found, how well, and is it looked at?

Overlap of one pair of masks is segmentation.scores; here it is summed up over a test set. Masks are scored twice: in
the model's square (160 x 160, say), which models of one size are compared on, and on the picture's own grid
(`file_masks`), which is what a person sees and what other papers score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd

import segmentation
from brain_mri.data.reader import FRAME_COLUMNS
from brain_mri.data.stacks import read_outline
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.scores import (
    Center,
    ExplanationScores,
    HeatPart,
    Limits,
    MaskPart,
    MaskScores,
    SizePart,
    Slices,
    TumorFree,
)
from brain_mri.imaging.preprocessing import Frame, restore
from brain_mri.imaging.scan import ScanError

MISSED_DICE = 0.1  # a lesion with less overlap than this counts as missed
FALSE_POSITIVE_FRACTION = 0.0005  # a mask on a tumor-free slice counts above this share of the picture (8 of 128 x 128)
MASK_SCORES = ("dice", "iou", "precision", "recall", "hd95")


def segmentation_metrics(
    predicted: np.ndarray | Sequence[np.ndarray],
    truth: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[str],
    groups: Sequence[Any] | np.ndarray,
    *,
    spacings: Sequence[Any] | None = None,
    per_image: bool = True,
    seed: int = 0,
    resamples: int = 1000,
) -> MaskScores:
    """Overlap over a test set.

    predicted, truth: N bool masks (H, W), equal shapes pair by pair. labels: N class names. groups: N patients.
    spacings: mm per pixel (row, column) of each pair, or None: HD95 is then in pixels of the masks.
    Slices with an empty truth are not averaged into Dice (an empty prediction there would count 1 and flatter);
    they give `tumor_free`: the share of them on which a tumor is drawn.
    by_size: terciles of the lesion's share of the picture. per_image: also slice by slice, in the order of the slices
    with a lesion.
    HD95 is undefined when nothing was drawn; `hd95.undefined` counts those slices, which `missed` contains.
    """
    if not len(predicted) == len(truth) == len(labels) == len(groups):
        raise ValueError(
            f"{len(predicted)} predictions, {len(truth)} masks, {len(labels)} labels and {len(groups)} groups "
            "do not belong together."
        )
    areas = np.array([float(np.mean(t)) for t in truth])
    lesion = np.flatnonzero(areas > 0)
    free = np.flatnonzero(areas == 0)
    names, groups = np.asarray(labels, dtype=object), np.asarray(groups, dtype=object)
    table = {key: np.full(len(lesion), np.nan) for key in MASK_SCORES}
    for row, i in enumerate(lesion.tolist()):
        spacing = spacings[i] if spacings is not None else None
        scores = segmentation.scores(np.asarray(predicted[i], bool), np.asarray(truth[i], bool), spacing)
        for key in MASK_SCORES:
            table[key][row] = scores[key] if scores[key] is not None else np.nan
    table["hd95"][~np.isfinite(table["hd95"])] = np.nan

    def summary(rows: np.ndarray, keys: Sequence[str] = ("dice", "hd95")) -> dict[str, Any]:
        """count, missed, and the mean and median of these scores, of rows, bool (N,), of the table."""
        boot = Bootstrap(groups[lesion][rows], resamples=resamples, seed=seed)
        found = {key: Center(mean=boot.mean(table[key][rows]), median=boot.median(table[key][rows])) for key in keys}
        undefined = int(np.isnan(table["hd95"][rows]).sum())
        found["hd95"] = found["hd95"].model_copy(update={"undefined": undefined})
        missed = boot.ratio(table["dice"][rows] < MISSED_DICE, np.ones(int(rows.sum())))
        return {**found, "count": int(rows.sum()), "missed": missed}

    by_class = {name: MaskPart(**summary(names[lesion] == name)) for name in sorted(set(names[lesion]))}
    by_size = []
    if len(lesion) >= 3:
        edges = np.quantile(areas[lesion], [0, 1 / 3, 2 / 3, 1])
        third = np.clip(np.searchsorted(edges[1:3], areas[lesion], side="right"), 0, 2)
        for tercile, size in enumerate(("small", "medium", "large")):
            rows = third == tercile
            if rows.any():
                least, most = float(areas[lesion][rows].min()), float(areas[lesion][rows].max())
                by_size.append(SizePart(size=size, fraction=Limits(**{"from": least, "to": most}), **summary(rows)))
    found = MaskScores(
        groups=len(set(groups[lesion])),
        **summary(np.ones(len(lesion), dtype=bool), MASK_SCORES),
        by_class=by_class,
        by_size=by_size,
        tumor_free=_tumor_free([predicted[i] for i in free.tolist()], groups[free], seed, resamples),
    )
    if not per_image:
        return found
    slices = Slices(
        dice=[round(float(v), 4) for v in table["dice"]],
        hd95=[round(float(v), 2) if np.isfinite(v) else None for v in table["hd95"]],
        fraction=[round(float(v), 5) for v in areas[lesion]],
    )
    return found.model_copy(update={"per_image": slices})


def _tumor_free(predicted: Sequence[np.ndarray], groups: np.ndarray, seed: int, resamples: int) -> TumorFree | None:
    """Slices without a tumor: how often is one drawn, and how large is it then? None without such slices."""
    if len(groups) == 0:
        return None
    fractions = np.array([float(np.mean(p)) for p in predicted])
    drawn = fractions > FALSE_POSITIVE_FRACTION
    boot = Bootstrap(groups, resamples=resamples, seed=seed)
    return TumorFree(
        count=len(groups),
        groups=len(set(groups)),
        false_positive=boot.ratio(drawn, np.ones(len(groups))),
        mean_fraction_when_drawn=float(fractions[drawn].mean()) if drawn.any() else None,
    )


def explanation_metrics(
    heatmaps: np.ndarray | Sequence[np.ndarray],
    masks: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[str],
    groups: Sequence[Any] | np.ndarray,
    *,
    heads: np.ndarray | Sequence[np.ndarray] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> ExplanationScores:
    """Does the heatmap sit on the lesion?

    heatmaps: N float maps >= 0 (h, w) of any size, enlarged bilinearly to the masks (H, W) bool. Slices without a
    lesion are left out. heads: N bool (H, W), where heat could reasonably lie; the whole picture without them.
    pointing_game: the hottest pixel lies in the lesion (Zhang et al. 2018); `tolerant`: within 5 % of the picture's
    side of it. energy: share of all heat inside the lesion (Wang et al. 2020). An all-zero heatmap scores 0.
    chance: the same two for heat spread evenly over the head (its expected hit rate and its energy are the
    lesion's share of the head). by_class: the same per class name.
    """
    rows = [i for i in range(len(masks)) if np.any(masks[i])]
    names, groups = np.asarray(labels, dtype=object)[rows], np.asarray(groups, dtype=object)[rows]
    hit, near, energy, chance, empty = (np.zeros(len(rows)) for _ in range(5))
    for k, i in enumerate(rows):
        mask = np.asarray(masks[i], dtype=bool)
        head = np.asarray(heads[i], dtype=bool) if heads is not None else np.ones_like(mask)
        chance[k] = (mask & head).sum() / max(1, head.sum())
        heat = enlarge(heatmaps[i], mask.shape)
        total = float(heat.sum())
        if total <= 0 or not np.isfinite(total):
            empty[k] = 1
            continue
        energy[k] = heat[mask].sum() / total
        top = np.unravel_index(int(np.argmax(heat)), heat.shape)
        hit[k] = mask[top]
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        near[k] = distance[top] <= 0.05 * max(mask.shape)

    def part(chosen: np.ndarray) -> HeatPart:
        boot = Bootstrap(groups[chosen], resamples=resamples, seed=seed)
        ones = np.ones(int(chosen.sum()))
        return HeatPart(
            count=int(chosen.sum()),
            pointing_game=boot.ratio(hit[chosen], ones),
            pointing_game_tolerant=boot.ratio(near[chosen], ones),
            energy_inside=boot.mean(energy[chosen]),
            chance=float(chance[chosen].mean()) if chosen.any() else None,
            empty=int(empty[chosen].sum()),
        )

    by_class = {str(name): part(names == name) for name in sorted(set(names))}
    return ExplanationScores(**dict(part(np.ones(len(rows), dtype=bool))), by_class=by_class)


def enlarge(heatmap: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A heatmap (h, w) bilinearly at another size (H, W), float32, negatives cut off."""
    heat = np.maximum(np.asarray(heatmap, dtype=np.float32), 0)
    return heat if heat.shape == tuple(shape[:2]) else cv2.resize(heat, (shape[1], shape[0]))


def heat_in_head(heatmap: np.ndarray, head: np.ndarray) -> np.ndarray:
    """A raw heatmap (h, w) as the app shows it: enlarged, cut to the head (bool (S, S)), scaled to 0..1."""
    heat = enlarge(np.nan_to_num(heatmap), head.shape) * head
    return heat / max(float(heat.max()), 1e-12)


def file_masks(
    table: pd.DataFrame, probability: np.ndarray, threshold: float, min_fraction: float
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(positions in table, masks of the model, masks of the files), the masks bool (H, W) of each picture.

    table: rows of data.Dataset.table; probability: float32 (N, S, S), their tumor maps. min_fraction: of the square, as
    in Predictor. Rows without a readable mask file of their own are left out.
    """
    places, predicted, truth = [], [], []
    columns = ("path", "mask_path", "slice", "mask_doubt")
    table = table if "mask_path" in table else table.head(0).assign(mask_path="")
    rows = zip(table[FRAME_COLUMNS].to_numpy(int), *(table[name] for name in columns), strict=True)
    for i, (values, path, mask, index, doubt) in enumerate(rows):
        if not mask or doubt:
            continue
        frame = Frame(*values.tolist())
        try:
            outline = read_outline(path, mask, index, (frame.height, frame.width))
        except (ScanError, OSError):  # gone since the data was read
            continue
        share = min_fraction * frame.side**2 / max(1, frame.height * frame.width)
        places.append(i)
        predicted.append(segmentation.postprocess(restore(probability[i], frame), threshold, share))
        truth.append(outline)
    return np.array(places, int), predicted, truth
