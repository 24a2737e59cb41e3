"""Does the guard tell brain MRI slices from other pictures? Both ways it can be wrong, as the app would be.

Real slices come from the rows that are measured, read again from their files. Other pictures are drawn
(guard_negatives.py) with a seed that the fit has not seen; how kinds fare that were left out of a fit altogether is in
config["guard"]["unseen_kinds"].
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from artifact import Artifact
from bootstrap import Bootstrap
from guard_negatives import synthetic_negatives
from predictor import Predictor
from scan import Scan, ScanError, read_scan

SLICES = 600  # at most
DRAWN = 300  # 20 of each kind
FRESH = 1_000_003  # added to the seed: other drawings than those of the fit


def guard_metrics(
    artifact: Artifact, paths: Sequence[Any], groups: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> dict[str, Any] | None:
    """None for a model without a guard. paths: files of real slices; groups (N,): their patients or clusters.

    Returns {"count", "flagged": interval, "drawn": {"count", "flagged", "by_kind": {kind: share}}, "unseen_kinds":
    {kind: share} or None}; flagged is the share that the app would call no brain MRI.
    """
    stored = artifact.config.get("guard")
    if not stored:
        return None
    predictor = Predictor(artifact, revision="measured")

    def foreign(scan: Scan) -> bool:
        return predictor.outline(scan).not_brain_mri

    chosen = np.random.default_rng(seed).permutation(len(paths))[:SLICES]
    found: list[tuple[int, bool]] = []
    for i in chosen:
        with contextlib.suppress(ScanError):  # it was readable when the data was read; the others do
            found.append((i, foreign(read_scan(paths[i]))))
    flags = np.array([flag for _, flag in found], float)
    boot = Bootstrap(np.asarray(groups, object)[[i for i, _ in found]], resamples=resamples, seed=seed)
    kinds: dict[str, list[bool]] = {}
    for item in synthetic_negatives(DRAWN, seed + FRESH):
        kinds.setdefault(item.kind, []).append(foreign(Scan(item.image, item.image, color=item.color)))
    drawn = {kind: float(np.mean(flagged)) for kind, flagged in kinds.items()}
    return {
        "count": len(flags),
        "flagged": boot.ratio(flags, np.ones(len(flags))),
        "drawn": {"count": DRAWN, "flagged": float(np.mean(list(drawn.values()))), "by_kind": drawn},
        "unseen_kinds": stored.get("unseen_kinds"),
    }
