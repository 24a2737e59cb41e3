"""Patients, not slices: what a model says of each, beside what it says slice by slice.

    found = by_patient(dataset, rows, answers, rule)     # records.PatientScores

A patient is called a tumor when one of the slices is (inference.patients says how the kind is found), so a patient with
many slices is missed less often and falsely alarmed more often than a slice: both shares stand side by side. The mask
of a patient is that of all slices together, as of a volume. Copies of a slice count once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from brain_mri.artifact.config import DecisionRule
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.by_source import judged
from brain_mri.evaluation.scores import Counted
from brain_mri.evaluation.scores_of_patients import PatientScores, UnitScores
from brain_mri.inference.decision import Answers
from brain_mri.inference.patients import patient_answer

Draws = dict[str, int]  # seed and resamples


def by_patient(
    dataset: Dataset, rows: np.ndarray, said: Answers, rule: DecisionRule, *, seed: int = 0, resamples: int = 1000
) -> PatientScores | None:
    """Of the known patients among these rows; None with fewer than two, or where each has a single slice."""
    table = dataset.table.iloc[rows]
    twin = table["duplicate_of"].isin(table.index[(table["patient"] != "").to_numpy()]).to_numpy()
    known = (table["tumor"] | (table["class"] == NO_TUMOR)).to_numpy(bool)
    keep = np.flatnonzero(known & (table["patient"] != "").to_numpy() & ~twin)
    whose = table["patient"].to_numpy(object)[keep]
    if len(set(whose)) < 2 or len(set(whose)) == len(whose):
        return None
    answers = Answers(said.probabilities[keep], said.maps[:0], said.masks[keep])  # maps are large, and not asked
    slices = judged(dataset, rows[keep], answers, rule)
    slices[["marked", "outlined", "both"]] = _pixels(dataset, rows[keep], answers.masks)
    size = slices["marked"] + slices["outlined"]
    slices["dice"] = (2 * slices["both"] / size).where(slices["outlined"] > 0)  # NaN pixels: nobody outlined it
    patients = pd.DataFrame(
        [
            _patient(slices.iloc[at], answers.probabilities[at], rule)
            for at in slices.groupby("patient", sort=True).indices.values()
        ]
    )
    draws = {"seed": seed, "resamples": resamples}
    area = _area(patients, "share", draws)
    return PatientScores(
        patients=len(patients),
        slices=len(slices),
        by_slice=_scores(slices, draws),
        by_patient=_scores(patients, draws),
        share_roc_auc=area,
        volume_error=_mean(patients, "volume_error", draws),
    )


def _pixels(dataset: Dataset, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """float64 (N, 3): marked, outlined and both, in pixels of the square; NaN where it is not known what is right."""
    found = np.full((len(rows), 3), np.nan)
    for place in np.flatnonzero(dataset.table["has_mask"].to_numpy(bool)[rows]):
        truth = dataset.masks[rows[place]] > 127
        found[place] = masks[place].sum(), truth.sum(), (truth & masks[place]).sum()
    return found


def _patient(slices: pd.DataFrame, chances: np.ndarray, rule: DecisionRule) -> dict[str, object]:
    """The line of one patient, with the columns of `judged`. chances: (N, C)."""
    tumors, called = slices[slices["tumor"].to_numpy(bool)], slices["called"].to_numpy(bool)
    kinds = set(tumors["class"]) if len(tumors) else {NO_TUMOR}
    truth = kinds.pop() if len(kinds) == 1 else ""
    label, mean = patient_answer(rule.classes, chances, called)
    told = truth in rule.classes
    marked, outlined, both = (float(slices[name].sum(min_count=1)) for name in ("marked", "outlined", "both"))
    return {
        "group": slices["group"].iloc[0],
        "tumor": bool(len(tumors)),
        "chance": slices["chance"].max(),
        "share": slices["called"].mean(),
        "called": slices["called"].max(),
        "right": float(label == truth) if told else np.nan,
        "answered": float(mean[list(rule.classes).index(label)] >= rule.thresholds.abstain) if told else np.nan,
        "dice": 2 * both / (marked + outlined) if outlined > 0 else np.nan,
        "volume_error": abs(marked - outlined) / outlined if outlined > 0 else np.nan,
    }


def _scores(units: pd.DataFrame, draws: Draws) -> UnitScores:
    tumor = units["tumor"].to_numpy(bool)
    silent = units.assign(silent=1 - units["called"].astype(float))
    return UnitScores(
        tumors=int(tumor.sum()),
        free=int((~tumor).sum()),
        tumor_roc_auc=_area(units, "chance", draws),
        sensitivity=_mean(units[tumor], "called", draws),
        specificity=_mean(silent[~tumor], "silent", draws),
        right=_mean(units, "right", draws),
        answered=_mean(units, "answered", draws),
        right_answered=_mean(units[units["answered"] == 1], "right", draws),
        dice=_mean(units, "dice", draws),
    )


def _area(units: pd.DataFrame, column: str, draws: Draws) -> Counted:
    """Under the ROC curve of a column for tumor or not; None of a model that is not asked that."""
    known = units[units[column].notna()]
    tumor = known["tumor"].to_numpy(bool)
    area = _boot(known, draws).auc(known[column].to_numpy(float), tumor)
    return Counted(count=int((~tumor).sum()), **dict(area))


def _boot(units: pd.DataFrame, draws: Draws) -> Bootstrap:
    return Bootstrap(units["group"].to_numpy(object), **draws)


def _mean(units: pd.DataFrame, column: str, draws: Draws) -> Counted:
    known = units[units[column].notna()]
    return Counted(
        count=len(known), **dict(_boot(known, draws).ratio(known[column].to_numpy(float), np.ones(len(known))))
    )
