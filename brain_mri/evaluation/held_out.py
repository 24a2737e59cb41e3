"""Which pictures may judge a model: only those that it has never seen, whoever evaluates it and wherever the files lie.

train.py leaves split.csv in the artifact: a digest of the pixels of every picture with its part. When the artifact is
evaluated later, on the same folders or on a friend's copy with other names, every picture that it was trained on is
recognised, and so is every picture of the same patient or cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from brain_mri.artifact.folder import Artifact
from brain_mri.data.class_names import ClassChoice
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.folders import DataError
from brain_mri.data.splits import SPLITS, split_groups
from brain_mri.files import atomic_write

SPLIT_FILE = "split.csv"
DIGITS = 16  # of the digest; 64 bits tell a hundred thousand pictures apart


def write_split(folder: Path, dataset: Dataset) -> Path:
    """split.csv with the columns digest, split, one line per distinct picture; about 25 bytes a picture."""
    table = pd.DataFrame({"digest": dataset.table["digest"].str[:DIGITS], "split": dataset.table["split"]})
    path = Path(folder) / SPLIT_FILE
    with atomic_write(path) as temporary:
        table.drop_duplicates().sort_values(["digest", "split"]).to_csv(temporary, index=False)
    return path


def read_split(path: Path) -> pd.DataFrame:
    """The columns digest and split of a split.csv, which may come from anybody. Raises DataError."""
    try:
        return pd.read_csv(path, dtype=str)[["digest", "split"]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no split.csv of an artifact ({type(error).__name__}).") from None


def as_trained(
    artifact: Artifact,
    data: str | Path | Sequence[str | Path],
    masks: str | Path | Sequence[str | Path] | None = None,
    *,
    groups: Path | None = None,
    cache: Path | None = None,
    choice: ClassChoice | None = None,
) -> Dataset:
    """The data read and split as this artifact's training run did, with its classes; see load_dataset.

    choice: what was said about folders (no_tumor, stated). Raises DataError.
    """
    training = artifact.config.training
    return load_dataset(
        data,
        masks,
        groups=groups,
        size=artifact.image_size,
        cache=cache,
        seed=training.seed,
        official_split=bool(training.official_split),
        min_classes=1,
        choice=of_artifact(artifact, choice),
    )


def of_artifact(artifact: Artifact, choice: ClassChoice | None = None) -> ClassChoice:
    """The choice that reads folders as this artifact's classes."""
    return replace(choice or ClassChoice(), wanted=artifact.classes, literal=True)


def held_out(artifact: Artifact, dataset: Dataset) -> tuple[Dataset, str]:
    """(dataset whose split says what this artifact has seen, a sentence on how that is known).

    1. The data is the training data, split the same way (equal fingerprints): nothing changes.
    2. The artifact has a split.csv: a group with a picture that was trained on is "train", one with a picture that
       chose the epoch or the thresholds "validation", everything else "test".
    3. Neither: every picture is "test", and the sentence says that some may have been trained on.

    Raises DataError for a split.csv that is none.
    """
    if artifact.config.data.fingerprint == dataset.fingerprint():
        return dataset, "The data and its split are those of the training run; the test rows were held out from it."
    path = artifact.folder / SPLIT_FILE
    table = dataset.table.copy()
    if not path.is_file():
        table["split"] = "test"
        return replace(dataset, table=table), (
            "The model does not say which pictures it was trained on, so all of them are measured; "
            "scores are too good where it has seen them."
        )
    known = read_split(path)
    parts = {name: set(known.loc[known["split"] == name, "digest"]) for name in ("train", "validation")}
    digest, split = table["digest"].str[:DIGITS], np.full(len(table), "test", dtype=object)
    for name in ("validation", "train"):  # a group that touches both counts as trained on
        groups = set(table.loc[digest.isin(parts[name]), "group"])
        split[table["group"].isin(groups).to_numpy()] = name
    table["split"] = split
    seen = int((split != "test").sum())
    return replace(dataset, table=table), (
        f"{seen} of {len(table)} pictures are set aside, because the model was trained or tuned on them or on others "
        "of the same patient or cluster."
        if seen
        else "None of the pictures was part of the training run."
    )


def carried_on(artifact: Artifact, dataset: Dataset) -> tuple[Dataset, str]:
    """(dataset for a training that starts from this artifact, a sentence): what it has seen is not tested on.

    What it was trained on, tuned on or tested on keeps its part; what is new to it is split as `dataset` is, so that it
    can be learned from. Raises DataError as `held_out` does.
    """
    judged, seen = held_out(artifact, dataset)
    path = artifact.folder / SPLIT_FILE
    if judged is dataset or not path.is_file():
        return dataset, seen
    table, known = dataset.table, read_split(path)
    tested = table["digest"].str[:DIGITS].isin(known.loc[known["split"] == "test", "digest"])
    stays = (judged.table["split"] != "test") | table["group"].isin(table.loc[tested, "group"])
    return replace(dataset, table=table.assign(split=judged.table["split"].where(stays, table["split"]))), seen


def as_before(path: Path, dataset: Dataset, seed: int) -> Dataset:
    """The dataset split as the split.csv of an earlier run says; groups that were not part of it are dealt anew.

    So that figures of two versions are of the same patients. A group that touches two parts is of the one that has
    seen more: train before validation before test; fewer new groups than parts are to learn from. Raises DataError when
    path is no split.csv, or that of other pictures.
    """
    known = read_split(path)
    table, digest = dataset.table.copy(), dataset.table["digest"].str[:DIGITS]
    split = np.full(len(table), "", dtype=object)
    for name in reversed(SPLITS):
        groups = set(table.loc[digest.isin(known.loc[known["split"] == name, "digest"]), "group"])
        split[table["group"].isin(groups).to_numpy()] = name
    fresh = split == ""
    if fresh.all():
        raise DataError(f"{path} is the split of other data: it knows none of these {len(table)} pictures.")
    if fresh.any():
        enough = table.loc[fresh, "group"].nunique() >= len(SPLITS)
        split[fresh] = split_groups(table[fresh], seed) if enough else SPLITS[0]
    return replace(dataset, table=table.assign(split=split))


def test_pictures(folder: Path) -> frozenset[str] | None:
    """Digests of the pictures that the model in `folder` was measured on, None when it does not say."""
    path = Path(folder) / SPLIT_FILE
    if not path.is_file():
        return None
    known = read_split(path)
    return frozenset(known.loc[known["split"] == "test", "digest"])
