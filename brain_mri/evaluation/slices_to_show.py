"""A few slices of a model's own test split, to be shown as examples with it: drawn, not picked, and without a name.

    pictures, how = slices_to_show(artifact, dataset, 6)

Every class has its turn; within a class the order is random, from the seed of the training run, and no group (patient
or cluster of copies) comes twice. What the model says of a slice plays no part: among six there may well be a wrong
answer.
"""

from __future__ import annotations

import re
from collections import Counter

import cv2
import numpy as np

from brain_mri.artifact.examples import MOST
from brain_mri.artifact.folder import Artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.data.folders import DataError
from brain_mri.data.stacks import read_slice
from brain_mri.evaluation.held_out import DIGITS, held_out, test_pictures
from brain_mri.imaging.scan import ScanError

LONGEST = 512  # pixels of a side


def slices_to_show(artifact: Artifact, dataset: Dataset, count: int) -> tuple[dict[str, bytes], str]:
    """({"glioma_1.png": PNG, ...}, sentences on how they were chosen); fewer than `count` where there are no more.

    The PNG hold 8-bit gray values of the slice as it is shown, at most 512 pixels a side, and nothing else of the file.
    Raises DataError when the artifact does not say what it was tested on, or the data has nothing of it.
    """
    tested = test_pictures(artifact.folder)
    if tested is None:
        raise DataError(f"{artifact.folder} has no split.csv, so nobody knows what the model was not trained on.")
    table = held_out(artifact, dataset)[0].table
    ours = table["digest"].str[:DIGITS].isin(tested) & (table["split"] == "test")
    table = table[ours & table["class"].isin(artifact.classes)]
    if table.empty:
        raise DataError("None of these pictures is of the test split of this model; give the data of its training run.")
    seed = artifact.config.training.seed
    table = table.iloc[np.random.default_rng(seed).permutation(len(table))].drop_duplicates("group")
    table = table.assign(turn=table.groupby("class").cumcount(), place=table["class"].map(artifact.classes.index))
    pictures: dict[str, bytes] = {}
    numbers = Counter[str]()
    for row in table.sort_values(["turn", "place"], kind="stable").to_dict("records"):
        if len(pictures) == min(count, MOST):
            break
        try:
            png = _bare(read_slice(row["path"], row["slice"]).image)
        except (ScanError, OSError):
            continue
        name = "no_tumor" if row["class"] == NO_TUMOR else re.sub(r"\W+", "_", row["class"])
        numbers[name] += 1
        pictures[f"{name}_{numbers[name]}.png"] = png
    if not pictures:
        raise DataError("No slice of the test split can be read any more; has the data moved?")
    how = (
        f"{len(pictures)} slices of the test split, which this model was neither trained nor tuned on, drawn at random "
        f"(seed {seed}): the classes in turn, no patient or cluster of copies twice, whatever the model says of them."
    )
    return pictures, how


def _bare(image: np.ndarray) -> bytes:
    """uint8 (H, W) as PNG without any text or tag."""
    scale = LONGEST / max(image.shape)
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", image)[1].tobytes()
