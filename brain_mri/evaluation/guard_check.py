"""Does the guard tell brain MRI slices from other pictures? Both ways it can be wrong, as the app would be.

Real slices come from the rows that are measured, read again from their files. Other pictures are drawn
(data/negatives.py) with a seed that the fit has not seen; how kinds fare that were left out of a fit altogether is in
config["guard"]["unseen_kinds"].
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from brain_mri.artifact.folder import Artifact
from brain_mri.data.negatives import synthetic_negatives
from brain_mri.data.stacks import read_slice
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.scores import Drawn, GuardCheck, Stripped
from brain_mri.imaging.scan import Scan, ScanError
from brain_mri.imaging.skull_strip import strip_skull
from brain_mri.inference.predictor import Predictor, likeliest

SLICES = 600  # at most
LEAST = 10  # slices without a skull; fewer say nothing
DRAWN = 320  # 20 of each kind
FRESH = 1_000_003  # added to the seed: other drawings than those of the fit


def guard_metrics(
    artifact: Artifact, places: Sequence[tuple[str, int]], groups: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> GuardCheck | None:
    """None for a model without a guard, or where no file can be read.

    places: real slices: files, and which slice of a volume (see stacks.read_slice).
    groups (N,): their patients or clusters.

    flagged is the share that the app would call no brain MRI, noticed that of a brain without its skull; stripped are
    the same slices with their skull cut off (imaging/skull_strip.py).
    """
    stored = artifact.config.guard
    if not stored:
        return None
    predictor = Predictor(artifact, revision="measured")

    def foreign(scan: Scan) -> bool:
        return predictor.outline(scan).not_brain_mri

    found: list[tuple[int, bool, bool]] = []
    bare: list[tuple[int, bool, bool, bool]] = []
    for i in np.random.default_rng(seed).permutation(len(places))[:SLICES]:
        with contextlib.suppress(ScanError, OSError):  # it was readable when the data was read; the others do
            scan = read_slice(*places[i])
            whole = predictor.outline(scan)
            found.append((i, whole.not_brain_mri, whole.skull_stripped))
            if (brain := strip_skull(scan.image)) is not None:
                seen = predictor.outline(Scan(brain, brain, color=scan.color))
                same = likeliest(seen.probabilities) == likeliest(whole.probabilities)
                bare.append((i, seen.not_brain_mri, seen.skull_stripped, same))

    def shares(rows: Sequence[tuple[Any, ...]], *names: str) -> dict[str, Any]:
        own, *columns = zip(*rows, strict=True)
        boot = Bootstrap(np.asarray(groups, object)[list(own)], resamples=resamples, seed=seed)
        means = (boot.ratio(np.array(column, float), np.ones(len(rows))) for column in columns)
        return {"count": len(rows), **dict(zip(names, means, strict=True))}

    if not found:
        return None

    kinds: dict[str, list[bool]] = {}
    for item in synthetic_negatives(DRAWN, seed + FRESH):
        kinds.setdefault(item.kind, []).append(foreign(Scan(item.image, item.image, color=item.color)))
    drawn = {kind: float(np.mean(flagged)) for kind, flagged in kinds.items()}
    bare_shares = shares(bare, "flagged", "noticed", "same_answer") if len(bare) >= LEAST else None
    return GuardCheck(
        **shares(found, "flagged", "noticed"),
        stripped=Stripped(**bare_shares) if bare_shares else None,
        drawn=Drawn(count=DRAWN, flagged=float(np.mean(list(drawn.values()))), by_kind=drawn),
        unseen_kinds=stored.get("unseen_kinds"),
    )
