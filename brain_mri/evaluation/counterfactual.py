"""Does the answer follow the lesion, or the source of the picture? Slices as they might have been tell.

In the public sets "no tumor" comes from other sources than the tumors, so a classifier can be right by recognising the
source. So lesions are taken out of tumor slices, by covering them with tissue of the same slice and by folding heads at
their midline (which training does, too), and put into heads of the tumor-free sources by Poisson blending: a model that
looks at the lesion changes its answer. Erased copies of validation slices also show the calibration what it says
without a lesion.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np

from brain_mri.artifact.folder import Artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.scores import Changed, Counterfactuals
from brain_mri.imaging.midline import fold, free_half, midline
from brain_mri.inference import decision
from brain_mri.inference.decision import answers_of
from brain_mri.inference.runner import run_model

LEAST = 10  # copies of a kind; fewer say nothing

ALIKE = 0.6  # least correlation of two thumbnails whose slices may give and receive: same plane, about the same place
THUMBNAIL = 8  # pixels a side
AIR = 10  # gray values up to this are no tissue
IN_HEAD = 0.9  # share of a given lesion that must be tissue in both heads
VISIBLE = 25  # gray values by which a given lesion must differ from what was there and from what surrounds it
SHIFT_STEPS = np.arange(-0.36, 0.37, 0.09)  # where to look for donor tissue, as a share of the side


def erase(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Replace the masked region by the tissue of the same picture (shifted, or mirrored) that fits its rim best.

    image, mask: uint8 (S, S). Returns uint8 (S, S), or None when no place of the head is big enough to copy from.
    """
    size = image.shape[0]
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))) > 127
    rim = (cv2.dilate(grown.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~grown
    if not grown.any() or not rim.any():
        return None
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    rim_values, area = smooth[rim], max(int(grown.sum()), 1)
    barred = grown.astype(np.uint8)
    best, best_cost = None, np.inf
    for mirrored in (False, True):
        donor_image, donor_mask, donor_smooth = ((np.fliplr(a) if mirrored else a) for a in (image, barred, smooth))
        for dy in SHIFT_STEPS:
            for dx in SHIFT_STEPS:
                if not mirrored and abs(dx) + abs(dy) < 0.05:
                    continue
                move = np.array([[1, 0, dx * size], [0, 1, dy * size]], np.float32)
                moved_mask = cv2.warpAffine(donor_mask, move, (size, size), flags=cv2.INTER_NEAREST, borderValue=1)
                if moved_mask[grown].sum() > 0.02 * area:  # the donor must not bring the lesion back
                    continue
                moved = cv2.warpAffine(donor_smooth, move, (size, size))
                difference = np.abs(moved[rim] - rim_values).mean()
                dark = float((moved[grown] < 12).mean())  # air instead of tissue
                cost = difference * (1 + 4 * dark)
                if cost < best_cost:
                    best_cost = cost
                    best = cv2.warpAffine(donor_image, move, (size, size))
    if best is None:
        return None
    alpha = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), 2.0)
    offset = np.median(rim_values) - np.median(cv2.GaussianBlur(best, (0, 0), 1.5)[rim])
    filled = np.clip(best.astype(np.float32) + np.clip(offset, -30, 30), 0, 255)
    return np.round(alpha * filled + (1 - alpha) * image).astype(np.uint8)


def erased_copies(
    images: np.ndarray, masks: np.ndarray, units: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Lesion-erased copies of tumor slices, one of each unit of copies, where they can be made.

    images, masks: uint8 (N, S, S). units: int (N,), equal for copies of one slice; which of them is taken is random.
    Returns (pictures uint8 (M, S, S), source row int (M,)).
    """
    rows = one_of_each(units, seed)
    rows = rows[(masks[rows] > 127).any((1, 2))]
    with ThreadPoolExecutor() as pool:
        tried = list(pool.map(lambda row: erase(images[row], masks[row]), rows))
    found = [(row, picture) for row, picture in zip(rows, tried, strict=True) if picture is not None]
    pictures = np.stack([picture for _, picture in found]) if found else np.zeros((0, *images.shape[1:]), np.uint8)
    return pictures, np.asarray([row for row, _ in found], int)


def folded_copies(
    images: np.ndarray, masks: np.ndarray, units: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearly symmetrical heads with a lesion in one half, folded to either half: one of each unit of copies.

    Arguments as of erased_copies. Returns (without the lesion uint8 (M, S, S), with it twice (M, S, S), rows int (M,)).
    """
    found = []
    for row in one_of_each(units, seed):
        axis = midline(images[row])
        if axis and (free := free_half(masks[row], axis)):
            found.append((fold(images[row], axis, free), fold(images[row], axis, -free), row))
    if not found:
        return (*np.zeros((2, 0, *images.shape[1:]), np.uint8), np.zeros(0, int))
    without, twice, rows = zip(*found, strict=True)
    return np.stack(without), np.stack(twice), np.asarray(rows, int)


def one_of_each(units: np.ndarray, seed: int) -> np.ndarray:
    """int (K,): a row of each of the K units, int (N,), drawn at random."""
    order = np.random.default_rng(seed).permutation(len(units))
    return order[np.unique(units[order], return_index=True)[1]]


def give(host: np.ndarray, donor: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The masked lesion of `donor` at the same place in `host`, by Poisson blending (Perez et al. 2003).

    host, donor, mask: uint8 (S, S). Returns uint8 (S, S), or None where the lesion does not lie inside both heads, or
    could hardly be seen in this one.
    """
    width = max(7, host.shape[0] // 24) | 1  # seamlessClone takes 3 pixels off the edge of what it is given
    lesion, kernel = mask > 127, np.ones((width, width), np.uint8)
    grown = cv2.dilate(lesion.astype(np.uint8), kernel)
    grown[[0, -1]] = grown[:, [0, -1]] = 0
    inside = grown > 0
    if not inside.any() or min((picture[inside] > AIR).mean() for picture in (host, donor)) < IN_HEAD:
        return None
    x, y, w, h = cv2.boundingRect(grown)
    lesion_from, into = (cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) for picture in (donor, host))
    middle = (x + w // 2, y + h // 2)
    joined = np.asarray(cv2.seamlessClone(lesion_from, into, 255 * grown, middle, cv2.NORMAL_CLONE))[..., 0]
    around = (cv2.dilate(grown, kernel) > 0) & ~inside & (host > AIR)
    changed = np.median(np.abs(joined[lesion].astype(int) - host[lesion]))
    if not around.any() or min(changed, abs(np.median(joined[lesion]) - np.median(joined[around]))) < VISIBLE:
        return None
    return joined


def given_copies(
    images: np.ndarray, masks: np.ndarray, hosts: np.ndarray, donors: np.ndarray, *, each: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tumor-free slices with lesions of slices that look alike, up to `each` a host.

    images, masks: uint8 (N, S, S). hosts, donors: rows of them. Which donors of a host are taken is random.
    Returns (pictures uint8 (M, S, S), host rows int (M,), donor rows int (M,)).
    """
    rng, small = np.random.default_rng(seed), (THUMBNAIL, THUMBNAIL)

    def thumbnails(rows: np.ndarray) -> np.ndarray:
        found = [cv2.resize(images[row], small, interpolation=cv2.INTER_AREA) for row in rows]
        centred = np.reshape(found, (len(rows), THUMBNAIL**2)).astype(float)
        centred -= centred.mean(axis=1, keepdims=True)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)

    alike = thumbnails(hosts) @ thumbnails(donors).T > ALIKE
    found: list[tuple[np.ndarray, int, int]] = []
    for host, possible in zip(hosts, alike, strict=True):
        tried = ((give(images[host], images[row], masks[row]), row) for row in rng.permutation(donors[possible]))
        found += islice(((picture, host, row) for picture, row in tried if picture is not None), each)
    if not found:
        return np.zeros((0, *images.shape[1:]), np.uint8), np.zeros(0, int), np.zeros(0, int)
    pictures, of, by = zip(*found, strict=True)
    return np.stack(pictures), np.asarray(of, int), np.asarray(by, int)


def counterfactual_metrics(
    artifact: Artifact, dataset: Dataset, rows: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> Counterfactuals | None:
    """On these rows of a data.Dataset; a kind of which too few copies can be made is None, and so is the whole. None of
    a model that knows no "no tumor", too: it cannot change its answer to that.

    The share called a tumor among the slices that the copies were made from and among the copies, and the share of
    copies that get a mask (where a lesion was given: on it). `folded.twice` is the share called a tumor among the same
    heads folded to the half with the lesion, which tells what folding alone does.
    """
    if NO_TUMOR not in artifact.classes:
        return None
    table = dataset.table.iloc[rows]
    units = np.unique(table["cluster"].to_numpy(str), return_inverse=True)[1]
    outlined = np.flatnonzero(table["has_mask"] & (table["class"] != NO_TUMOR))
    free = np.flatnonzero(table["class"] == NO_TUMOR)
    hosts = free[np.unique(units[free], return_index=True)[1]]
    donors = outlined[np.unique(units[outlined], return_index=True)[1]]
    images, masks = dataset.images[rows], dataset.masks[rows]

    own = table["group"].to_numpy(object)
    with_lesion = images[outlined], masks[outlined], units[outlined]
    folded, twice, at = folded_copies(*with_lesion, seed=seed)
    erased, of = erased_copies(*with_lesion, seed=seed)
    at, of = outlined[at], outlined[of]
    given, host, donor = given_copies(images, masks, hosts, donors, seed=seed)
    lesions = masks[donor] > 127
    found: dict[str, Changed | None] = {}
    for kind, copies, source, groups in (
        ("folded", folded, at, own[at]),
        ("erased", erased, of, own[of]),
        ("given", given, host, own[donor]),
    ):
        found[kind] = None
        if len(copies) < LEAST:
            continue
        before, (after, drawn) = _answers(artifact, images[source])[0], _answers(artifact, copies)
        seen = drawn & lesions if kind == "given" else drawn
        boot = Bootstrap(groups, resamples=resamples, seed=seed)  # of lesions given: the patients they are from
        shares = {"before": before, "called_tumor": after, "outlined": seen.any(axis=(1, 2))}
        if kind == "folded":
            shares["twice"] = _answers(artifact, twice)[0]
        means = {name: boot.mean(values.astype(float)) for name, values in shares.items()}
        found[kind] = Changed(count=len(copies), groups=boot.groups, **means)
    return Counterfactuals(**found) if any(found.values()) else None


def _answers(artifact: Artifact, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(called a tumor, bool (N,); masks as the app draws them, bool (N, S, S))."""
    said = answers_of(run_model(artifact.folder, images), artifact.config)
    return decision.outlined(artifact.config, said.probabilities), said.masks
