"""Which slices of an evaluation to show, and what the model says about them."""

from __future__ import annotations

from typing import Any

import numpy as np

from brain_mri.artifact.folder import Artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.counterfactual import folded_copies, one_of_each
from brain_mri.evaluation.records import FoldedCase, View
from brain_mri.inference.decision import answers_of, decided
from brain_mri.inference.runner import run_model

FOLDED = 6  # heads at most


def pick_cases(dice: np.ndarray, groups: np.ndarray, each: int = 3) -> list[tuple[str, int]]:
    """[("best" | "median" | "worst", position)]: up to `each` of every kind, one slice per patient, by Dice (N,)."""
    each = min(each, max(1, len(set(groups)) // 3))  # with few patients, some of each kind rather than only the best
    order = np.argsort(-np.asarray(dice), kind="stable")
    middle = sorted(range(len(order)), key=lambda rank: abs(rank - (len(order) - 1) / 2))
    picked: list[tuple[str, int]] = []
    seen: set[Any] = set()
    for kind, candidates in (("best", order), ("worst", order[::-1]), ("median", order[middle])):
        found = 0
        for position in candidates:
            if found < each and groups[position] not in seen:
                seen.add(groups[position])
                picked.append((kind, int(position)))
                found += 1
    rank = {"best": 0, "median": 1, "worst": 2}
    return sorted(picked, key=lambda pair: (rank[pair[0]], -dice[pair[1]]))


def folded_cases(artifact: Artifact, dataset: Dataset, rows: np.ndarray) -> list[FoldedCase]:
    """Heads of different patients among these rows, as they are and folded to either half. Empty for a model that
    knows no "no tumor"."""
    if NO_TUMOR not in artifact.classes:
        return []
    table = dataset.table.iloc[rows]
    rows = rows[(table["has_mask"] & (table["class"] != NO_TUMOR)).to_numpy(bool)]
    without, twice, of = folded_copies(dataset.images[rows], dataset.masks[rows], np.arange(len(rows)))
    if not len(of):
        return []
    groups = dataset.table["group"].iloc[rows[of]].to_numpy(str)
    chosen = np.random.default_rng(0).permutation(one_of_each(groups, seed=0))[:FOLDED]
    own = rows[of[chosen]]
    kinds = [_views(artifact, images) for images in (dataset.images[own], without[chosen], twice[chosen])]
    truths = dataset.masks[own] > 127
    return [FoldedCase(truth, *views) for truth, *views in zip(truths, *kinds, strict=True)]


def _views(artifact: Artifact, images: np.ndarray) -> list[View]:
    said = answers_of(run_model(artifact.folder, images), artifact.config)
    return [
        View(image, mask, artifact.classes[answer], float(chances[answer]))
        for image, mask, chances, answer in zip(
            images, said.masks, said.probabilities, decided(artifact.config, said.probabilities), strict=True
        )
    ]
