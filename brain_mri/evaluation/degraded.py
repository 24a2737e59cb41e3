"""What a model says of spoilt scans: noise, blur, small size, JPEG, motion, other gray values.

A few slices of every source and class are read from their files again, spoilt (imaging/degrade.py) and uploaded, so
to say: reading apart, everything is as on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from brain_mri.artifact.folder import Artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.data.selection import balanced_rows
from brain_mri.data.stacks import read_slice
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.scores import DegradedScores
from brain_mri.imaging.degrade import STEPS, degrade
from brain_mri.imaging.scan import Scan, ScanError
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.predictor import Predictor

SLICES = 240  # at most: some 4,300 analyses
AT_ONCE = 32  # analyses that are kept, each with its masks


def scan_of(dataset: Dataset, row: int) -> Scan:
    """A row as its file shows it; as the model's square when the file has gone."""
    try:
        return read_slice(*dataset.table[["path", "slice"]].iloc[row])
    except (ScanError, OSError):
        return Scan(dataset.images[row], dataset.images[row])


def is_right(said: str, name: str, tumor: bool) -> bool:
    """Is the class right; of a lesion of unknown kind, is it called a tumor?"""
    return (said != NO_TUMOR) == tumor if name == "" else said == name


def degraded_metrics(
    artifact: Artifact, dataset: Dataset, rows: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> list[DegradedScores]:
    """One record for the slices as they are, and one for each way and severity. Empty without a slice that has an
    answer."""
    if NO_TUMOR not in artifact.classes:  # every lesion of unknown kind would be right
        rows = rows[(dataset.table["class"].iloc[rows] != "").to_numpy()]
    chosen = balanced_rows(dataset.table, rows, SLICES, seed)
    if not len(chosen):
        return []
    predictor = Predictor(artifact, revision="measured")
    table = dataset.table.iloc[chosen]
    truth = list(zip(table["class"], table["tumor"].astype(bool), strict=True))
    scans = [scan_of(dataset, row) for row in chosen]
    boot = Bootstrap(table["group"].to_numpy(object), resamples=resamples, seed=seed)
    found = []
    for kind, severity in [("", 0.0), *STEPS]:
        spoilt = (
            _again(scan, degrade(scan.image, kind, severity, seed + i) if kind else scan.image)
            for i, scan in enumerate(scans)
        )
        said = _said(predictor, spoilt)
        found.append(_scores(kind, severity, said, truth, boot))
    return found


def _again(scan: Scan, image: np.ndarray) -> Scan:
    return Scan(image, image, color=scan.color)


def _said(predictor: Predictor, scans: Iterator[Scan]) -> Iterator[Analysis]:
    """Analyses in order, a few at once."""
    waiting: list[Scan] = []
    for scan in scans:
        waiting.append(scan)
        if len(waiting) == AT_ONCE:
            yield from predictor.analyze_batch(waiting)
            waiting = []
    yield from predictor.analyze_batch(waiting)


def _scores(
    kind: str, severity: float, said: Iterator[Analysis], truth: Sequence[tuple[str, bool]], boot: Bootstrap
) -> DegradedScores:
    table = np.array(
        [
            (
                right := is_right(a.label, name, tumor),
                not a.abstained,
                right and not a.abstained,
                # "A tumor, its kind not sure" is a sure answer, too, where there is none.
                not right and (not a.abstained or (a.kind_unsure and not tumor)),
                a.not_brain_mri,
                bool(a.quality),
            )
            for a, (name, tumor) in zip(said, truth, strict=True)
        ],
        float,
    )
    right, answered, right_answered, sure_and_wrong, flagged, refused = table.T
    return DegradedScores(
        kind=kind,
        severity=severity,
        count=len(table),
        groups=boot.groups,
        right=boot.mean(right),
        answered=boot.mean(answered),
        right_answered=boot.ratio(right_answered, answered),
        sure_and_wrong=boot.mean(sure_and_wrong),
        flagged=boot.mean(flagged),
        refused=boot.mean(refused),
    )
