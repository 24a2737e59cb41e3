"""What anybody scores without learning anything about tumors: the bar that a model has to clear.

Majority class, the most similar training picture, and random forests, one of which sees nothing but the outermost
border. They work on thumbnails of the whole picture as stored, not on the model's head-centred square, because the
frame, the margins and the aspect ratio are exactly what gives the source (and with it the class) away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from brain_mri.data.dataset import Dataset
from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.classification import label_metrics, paired_difference
from brain_mri.evaluation.scores import Baselines, BaselineScores, Subset, Subsets

THUMBNAIL = 32
BORDER = 3
TREES = 300
COPY_CORRELATION = 0.995
DESCRIPTIONS = {
    "majority": "Always the most frequent class of the training images",
    "nearest_neighbour": f"Class of the most similar training image ({THUMBNAIL} x {THUMBNAIL} thumbnails)",
    "border_forest": f"Random forest that sees only the outermost {BORDER} pixels of the thumbnail, never the brain",
    "thumbnail_forest": "Random forest on the whole thumbnail",
}


def border(thumbs: np.ndarray) -> np.ndarray:
    """The outermost ring of thumbnails (N, 32, 32) as (N, 348)."""
    ring = np.ones(thumbs.shape[1:], dtype=bool)
    ring[BORDER:-BORDER, BORDER:-BORDER] = False
    return thumbs[:, ring]


class Forest(RandomForestClassifier):
    """Grows on threads, but adds its trees up in their order: rounding lets ties fall alike in every run."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        seen = np.asarray(X, np.float32)
        return sum(tree.predict_proba(seen) for tree in self.estimators_) / len(self.estimators_)


def _ways(thumbs: np.ndarray, seed: int) -> dict[str, tuple[Any, np.ndarray]]:
    """Every baseline: its estimator, and what it sees of thumbnails uint8 (N, 32, 32)."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32) / 255
    return {
        "majority": (DummyClassifier(strategy="most_frequent"), flat),
        "nearest_neighbour": (KNeighborsClassifier(1, algorithm="brute"), flat),
        "border_forest": (Forest(TREES, random_state=seed, n_jobs=-1), border(thumbs)),
        "thumbnail_forest": (Forest(TREES, random_state=seed, n_jobs=-1), flat),
    }


def predict_baselines(
    thumbs: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Labels (len(test),) int that each baseline gives; thumbs uint8 (N, 32, 32), labels (N,) int, row numbers."""
    ways = _ways(thumbs, seed).items()
    return {name: model.fit(seen[train], labels[train]).predict(seen[test]) for name, (model, seen) in ways}


def predict_out_of_fold(
    thumbs: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, folds: int = 5, seed: int = 0
) -> dict[str, np.ndarray]:
    """As `predict_baselines`, for data without training rows: each fold of groups is predicted from the others.

    Empty with fewer than two groups.
    """
    count = min(folds, len(np.unique(groups)))
    if count < 2:
        return {}
    split = list(GroupKFold(count).split(thumbs, labels, groups))
    ways = _ways(thumbs, seed).items()
    return {name: cross_val_predict(model, seen, labels, cv=split) for name, (model, seen) in ways}


def near_copies(thumbs: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """bool (len(test),): a training picture correlates with this one at COPY_CORRELATION or more, plain or mirrored.

    Works on standardised thumbnails, so a change of brightness or contrast does not hide a copy.
    """
    if len(train) == 0 or len(test) == 0:
        return np.zeros(len(test), dtype=bool)

    def standard(pictures: np.ndarray) -> np.ndarray:
        flat = pictures.reshape(len(pictures), -1).astype(np.float32)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    reference, asked, mirrored = standard(thumbs[train]), standard(thumbs[test]), standard(thumbs[test][:, :, ::-1])
    best = np.maximum((asked @ reference.T).max(axis=1), (mirrored @ reference.T).max(axis=1))
    return best >= COPY_CORRELATION


def baselines(
    dataset: Dataset,
    test: np.ndarray,
    *,
    train: np.ndarray | None = None,
    classes: Sequence[str],
    predicted: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Baselines | None:
    """Scores of every baseline on the rows `test` after seeing the rows `train` of the same source.

    train: those of the split "train" by default. Without any (a model measured on foreign data) the baselines are
    cross-validated over the groups of the test rows themselves: `train` is 0 then, and `subsets` is None.
    predicted: (len(test),) int, the model's labels, to state its lead over each baseline and its subsets' scores.
    None when there is nothing to compare: no test rows, or neither training rows nor two groups to cross-validate.
    """
    table = dataset.table
    if train is None:
        train = np.flatnonzero(table["split"] == "train")
    sources = table["source"].to_numpy()
    usable = table["class"].isin(list(classes)).to_numpy() & np.isin(sources, np.unique(sources[test]))
    train = np.setdiff1d(train[usable[train]], test)
    if len(test) == 0 or (len(train) == 0 and table["group"].iloc[test].nunique() < 2):
        return None
    both: np.ndarray = np.r_[train, test]
    part = table.iloc[both]
    thumbs = dataset.small[both]
    labels, groups = np.array([list(classes).index(c) for c in part["class"]]), part["group"].to_numpy(dtype=object)
    seen, asked = np.arange(len(train)), np.arange(len(train), len(both))
    truth, own = labels[asked], groups[asked]
    if len(train):
        answers = predict_baselines(thumbs, labels, seen, asked, seed=seed)
    else:
        answers = predict_out_of_fold(thumbs, truth, own.astype(str), seed=seed)
    scores = {}
    for name, answer in answers.items():
        full = label_metrics(answer, truth, Bootstrap(own, resamples=resamples, seed=seed), classes)
        lead = {}
        if predicted is not None:
            lead["lead"] = paired_difference(predicted == truth, answer == truth, own, seed=seed, resamples=resamples)
        scores[name] = BaselineScores(
            description=DESCRIPTIONS[name],
            accuracy=full.accuracy,
            macro_f1=full.macro.f1,
            recall={key: row.recall.value for key, row in full.per_class.items()},
            **lead,
        )

    def subset(rows: np.ndarray) -> Subset:
        """Of the test rows where rows, bool (N,), is set."""
        boot, ones = Bootstrap(own[rows], resamples=resamples, seed=seed), np.ones(int(rows.sum()))
        return Subset(
            count=int(rows.sum()),
            share=float(rows.mean()),
            accuracy=boot.ratio((predicted == truth)[rows], ones) if predicted is not None else None,
            baselines={key: boot.ratio((answer == truth)[rows], ones) for key, answer in answers.items()},
        )

    subsets = None
    if len(train):
        subsets = Subsets(
            without_copy=subset(~near_copies(thumbs, seen, asked)),
            unseen_groups=subset(~np.isin(own.astype(str), np.unique(groups[seen].astype(str)))),
        )
    return Baselines(train=len(train), test=len(test), scores=scores, subsets=subsets)
