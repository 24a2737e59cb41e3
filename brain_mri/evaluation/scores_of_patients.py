"""The parts of metrics.json about patients: as scores.py, of by_patient.py and subgroups.py."""

from __future__ import annotations

from brain_mri.artifact.config import Record
from brain_mri.evaluation.scores import Counted, SourceScores


class SubgroupScores(SourceScores):
    """Of the slices of patients who share a value of a column, which `source` names: sex, female."""

    value: str


class UnitScores(Record):
    """Of slices, or of patients: each counts once. sensitivity: called a tumor, of those with one; specificity: not
    called one, of those without."""

    tumors: int
    free: int
    tumor_roc_auc: Counted
    sensitivity: Counted
    specificity: Counted
    right: Counted
    answered: Counted
    right_answered: Counted
    dice: Counted


class PatientScores(Record):
    """Of the known patients, slice by slice and patient by patient; see by_patient.py for what a patient's answer is.

    share_roc_auc: tumor or none, by the share of a patient's slices that are called a tumor, in place of the highest
    one; volume_error: marked area less outlined area as a share of it, both summed over a patient's slices, without
    its sign.
    """

    patients: int
    slices: int
    by_slice: UnitScores
    by_patient: UnitScores
    share_roc_auc: Counted
    volume_error: Counted
