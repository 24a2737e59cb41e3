"""Does the answer follow the lesion, or the source of the picture? Both ways it can be wrong.

Tumors and "no tumor" come from different sources in the public sets. So lesions are taken out of tumor slices, by
covering them and by folding heads at their midline, and put into heads of the tumor-free sources (counterfactual.py): a
model that looks at the lesion changes its answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brain_mri.artifact.folder import Artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.counterfactual import erased_copies, folded_copies, given_copies
from brain_mri.inference.decision import answers_of
from brain_mri.inference.runner import run_model

LEAST = 10  # copies of a kind; fewer say nothing


def counterfactual_metrics(
    artifact: Artifact, dataset: Any, rows: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> dict[str, Any] | None:
    """{"folded": ..., "erased": ..., "given": ...} on these rows of a data.Dataset; None where no copies can be made.

    Each {"count", "groups", "before", "called_tumor", "outlined"} or None: the share called a tumor among the slices
    that the copies were made from and among the copies, and the share of copies that get a mask (where a lesion was
    given: on it), as intervals. "folded" also has "twice", the share called a tumor among the same heads folded to the
    half with the lesion, which tells what folding alone does.
    """
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
    found: dict[str, dict[str, Any] | None] = {}
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
        found[kind] = {
            "count": len(copies),
            "groups": boot.groups,
            **{name: boot.mean(values.astype(float)) for name, values in shares.items()},
        }
    return found if any(found.values()) else None


def _answers(artifact: Artifact, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(called a tumor, bool (N,); masks as the app draws them, bool (N, S, S))."""
    said = answers_of(run_model(artifact.folder, images), artifact.config)
    return np.asarray(artifact.classes)[said.probabilities.argmax(axis=1)] != NO_TUMOR, said.masks
