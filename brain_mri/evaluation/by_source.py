"""How a model does on each source and sequence by itself: a good mean may hide a source on which every tumor is missed.

    found = judged(dataset, rows, answers, rule)       # one line a slice
    by_source(found), by_class(others, found)          # records

Two questions, as decision.py asks them. Is there a tumor? Judged on every slice of which that is known, lesions of no
class included. Which kind, and where? Judged on slices with a class, and on those with an outline of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brain_mri.artifact.config import DecisionRule
from brain_mri.classes import NO_TUMOR
from brain_mri.data.about import columns_about
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.masks import MISSED_DICE
from brain_mri.evaluation.scores import Counted, SourceScores
from brain_mri.inference.decision import Answers, decided
from segmentation import dice

LEAST_FREE = 20  # slices without a tumor: fewer of its own, and a source is compared with those of all sources
OTHER = "tumor without a kind"  # the label of lesions of no class
PLACE = ["origin", "sequence"]


def judged(dataset: Dataset, rows: np.ndarray, said: Answers, rule: DecisionRule) -> pd.DataFrame:
    """What the model says of these rows of the dataset; those of which nothing is known are left out.

    Columns origin, sequence, class, group, patient, those of data.about, and tumor: is there one? chance: of any tumor,
    says the model; called: a tumor; sure_free, sure_tumor: and does not say "not sure" to that; right, answered: 1 or
    0, NaN without a class that the model knows; dice: NaN without an outline of its own. Of a model that knows no
    "no tumor" chance, called and what is sure are NaN: it is not asked whether there is a tumor.
    """
    table = dataset.table.iloc[rows]
    names, sure = np.asarray(rule.classes), rule.thresholds.abstain
    answer = decided(rule, said.probabilities)
    tumor = 1 - said.probabilities[:, names == NO_TUMOR].sum(axis=1)
    called, confident = names[answer] != NO_TUMOR, said.probabilities[np.arange(len(rows)), answer] >= sure
    of_a_class = table["class"].isin(rule.classes).to_numpy()
    told = 1.0 if NO_TUMOR in rule.classes else np.nan
    found = table[[*PLACE, "class", "group", "patient", "tumor", *columns_about(table)]].assign(
        chance=told * tumor,
        called=told * called,
        sure_free=told * (~called & confident),
        sure_tumor=told * (called & (confident | (tumor >= sure if rule.outlined else False))),  # its kind may be open
        right=np.where(of_a_class, names[answer] == table["class"], np.nan),
        answered=np.where(of_a_class, confident, np.nan),
        dice=_dices(dataset, rows, said.masks),
    )
    return found[(found["tumor"] | (found["class"] == NO_TUMOR)).to_numpy()].reset_index(drop=True)


def _dices(dataset: Dataset, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """float64 (N,): Dice of the masks, bool (N, S, S), where a slice has an outline, not handed over by a copy."""
    own = dataset.table["has_mask"].to_numpy(bool)[rows] & (dataset.table["mask_from"].to_numpy()[rows] < 0)
    found = np.full(len(rows), np.nan)
    for place in np.flatnonzero(own):
        truth = dataset.masks[rows[place]] > 127
        if truth.any():
            found[place] = dice(truth, masks[place])
    return found


def by_source(
    found: pd.DataFrame, left_out: Iterable[str] = (), *, seed: int = 0, resamples: int = 1000
) -> list[SourceScores] | None:
    """Of each sequence of each source; None where all is of one source and one sequence.

    left_out: sources that nothing was learned from.
    """
    if len(found[PLACE].drop_duplicates()) < 2:
        return None
    free, unseen = found[~found["tumor"]], set(left_out)
    scores = []
    for (origin, sequence), part in found.groupby(PLACE, sort=True):
        name: dict[str, Any] = {"source": origin, "sequence": sequence, "left_out": origin in unseen}
        scores.append(SourceScores(**name, **scores_of(part, part, free, seed, resamples)))
    return scores


def by_class(
    others: Sequence[pd.DataFrame], main: pd.DataFrame, *, seed: int = 0, resamples: int = 1000
) -> list[SourceScores]:
    """Of each class and sequence of further folders; lesions of no class are together.

    A tumor is compared with slices without one: of its folder and sequence, or with those of all folders and of main.
    """
    free = pd.concat([main, *others])
    free = free[~free["tumor"]]
    scores = []
    for (origin, sequence), part in pd.concat(others).groupby(PLACE, sort=True):
        for label, some in part.groupby("class", sort=True):
            name: dict[str, Any] = {"source": origin, "sequence": sequence, "label": label or OTHER}
            scores.append(SourceScores(**name, **scores_of(some, part, free, seed, resamples)))
    return scores


def scores_of(part: pd.DataFrame, place: pd.DataFrame, free: pd.DataFrame, seed: int, resamples: int) -> dict[str, Any]:
    """The fields of SourceScores that are figures, of a part of what `judged` found.

    place: all slices of this source and sequence; free: slices without a tumor of all sources."""
    tumors, own = part[part["tumor"]], place[~place["tumor"]]
    others = len(own) < LEAST_FREE
    negatives = free if others else own

    def mean(rows: pd.DataFrame, column: str) -> Counted:
        known = rows[rows[column].notna()]
        boot = Bootstrap(known["group"].to_numpy(object), resamples=resamples, seed=seed)
        return Counted(count=len(known), **dict(boot.ratio(known[column].to_numpy(float), np.ones(len(known)))))

    both = pd.concat([tumors, negatives])
    both = both[both["chance"].notna()]
    boot = Bootstrap(both["group"].to_numpy(object), resamples=resamples, seed=seed)
    area = boot.auc(both["chance"].to_numpy(), both["tumor"].to_numpy(bool))
    clear = part[~part["tumor"]]
    outlined = tumors[tumors["dice"].notna()]
    return {
        "tumors": len(tumors),
        "tumor_groups": int(tumors["group"].nunique()),
        "free": len(clear),
        "free_groups": int(clear["group"].nunique()),
        "tumor_roc_auc": Counted(count=len(negatives), **dict(area)),
        "against_all": others,
        "called_tumor": mean(tumors, "called"),
        "surely_free": mean(tumors, "sure_free"),
        "surely_tumor": mean(clear, "sure_tumor"),
        "right": mean(part, "right"),
        "answered": mean(part, "answered"),
        "right_answered": mean(part[part["answered"] == 1], "right"),
        "dice": mean(outlined, "dice"),
        "missed": mean(outlined.assign(missed=outlined["dice"] < MISSED_DICE), "missed"),
    }
