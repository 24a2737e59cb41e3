"""Can the class be told without looking at the brain? Then a model will do that, and its score says little.

Each probe is a random forest that sees one thing only and is cross-validated by group, so that it cannot recognise a
patient or a copy. What it scores above the most frequent class is what source, export and scanner give away.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from brain_mri.classes import NO_TUMOR
from brain_mri.data.about import ABOUT, columns_about, number_in
from brain_mri.data.dataset import Dataset
from brain_mri.data.splits import folds
from brain_mri.evaluation.baselines import BORDER, THUMBNAIL, Forest, border

TREES, FOLDS = 150, 5
WORDS = 50  # different ones of a column that are told apart
ALARM = 0.10  # accuracy above the most frequent class from which a probe is called a shortcut


@dataclass(frozen=True)
class Probe:
    """One thing that has nothing to do with the tumor."""

    name: str
    title: str
    features: np.ndarray  # (rows, d)


def probes(dataset: Dataset, rows: np.ndarray) -> list[Probe]:
    """What is tried on these rows of the dataset."""
    table = dataset.table.iloc[rows]
    size = table[["width", "height"]].to_numpy(np.float32)
    size = np.column_stack([size, size[:, 0] / size[:, 1]])
    mode = pd.get_dummies(table["mode"] + "").to_numpy(np.float32)
    look = table[["mean", "std", "sharpness"]].to_numpy(np.float32)
    return [
        Probe("size", "width and height", size),
        Probe("mode", "colour mode of the file", mode),
        Probe("look", "mean, spread, sharpness", look),
        Probe("border", f"border of the picture ({BORDER} of {THUMBNAIL} pixels)", _ring(dataset.thumbnails[rows])),
        Probe("model border", f"preprocessed border ({BORDER} of {THUMBNAIL} pixels)", _ring(dataset.images[rows])),
        *_columns(table),
    ]


def _columns(table: pd.DataFrame) -> list[Probe]:
    """Age, sex, sequence and what else tables say of patients: as numbers where they are, else which word it is."""
    found = []
    for column in [*(["sequence"] if "sequence" in table else []), *columns_about(table)]:
        name, words = column.removeprefix(ABOUT), table[column]
        numbers = words.map(number_in)
        if words.nunique() < 2:
            continue
        if numbers[words != ""].notna().all():
            features = np.column_stack([numbers.fillna(-1), words == ""]).astype(np.float32)
        else:
            often = words.value_counts().index[:WORDS]
            features = pd.get_dummies(words.where(words.isin(often), "other")).to_numpy(np.float32)
        found.append(Probe(f"column {name}", f"column {name[:24]} of the tables", features))
    return found


def _ring(pictures: np.ndarray) -> np.ndarray:
    """uint8 (N, s, s) -> uint8 (N, 348): the border of the pictures at 32x32."""
    size = (THUMBNAIL, THUMBNAIL)
    return border(np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]))


def shortcuts(dataset: Dataset, rows: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """One line per probe: probe, title, accuracy, balanced_accuracy, majority, tumor_auc, alarm.

    rows: row numbers with a known class. tumor_auc: area under the ROC of tumor against no tumor, NaN without both.
    Empty when there are not two classes or too few groups to cross-validate.
    """
    table = dataset.table.iloc[rows].reset_index(drop=True)
    labels = table["class"].to_numpy(object).astype(str)
    columns = ["probe", "title", "accuracy", "balanced_accuracy", "majority", "tumor_auc", "alarm"]
    k = min(FOLDS, table["group"].nunique())
    if k < 2 or len(set(labels)) < 2:
        return pd.DataFrame(columns=columns)
    fold = folds(table, k, seed).to_numpy()
    tumor, classes = labels != NO_TUMOR, np.unique(labels)
    forest = Forest(TREES, min_samples_leaf=2, random_state=seed, n_jobs=-1)
    base = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    lines = []
    for probe in probes(dataset, rows):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that a fold lacks, or that none predicts
            shares = cross_val_predict(forest, probe.features, labels, cv=PredefinedSplit(fold), method="predict_proba")
            answer, chance = classes[shares.argmax(axis=1)], shares[:, classes != NO_TUMOR].sum(axis=1)
            score, balanced = accuracy_score(labels, answer), balanced_accuracy_score(labels, answer)
        auc = roc_auc_score(tumor, chance) if 0 < tumor.sum() < len(tumor) else np.nan
        lines.append((probe.name, probe.title, score, balanced, base, auc, bool(score >= base + ALARM)))
    return pd.DataFrame(lines, columns=columns)
