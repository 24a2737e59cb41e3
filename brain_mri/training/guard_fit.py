"""Fitting the not-a-brain-MRI guard (guard.py) on real slices and on drawn pictures of other things.

Each threshold is set on validation slices so that both judges together flag at most `rate` of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from brain_mri.data.dataset import Dataset
from brain_mri.data.negatives import synthetic_negatives, vary
from brain_mri.data.stacks import read_slice
from brain_mri.imaging.degrade import STEPS, degrade
from brain_mri.imaging.scan import Scan, ScanError
from brain_mri.imaging.skull_strip import strip_skull
from brain_mri.inference.guard import SURE, Judges, Scales, describe, odds, quadratic
from brain_mri.inference.guard_descriptors import NAMES
from brain_mri.inference.runner import run_model

Described = tuple[np.ndarray, np.ndarray | None]  # descriptors (N, D) and classifier features (N, F) of N pictures
Features = Callable[[np.ndarray], np.ndarray]  # uint8 (N, S, S) -> float32 (N, F)
DIRECTIONS = 16  # principal directions of the classifier's features that are kept
FEWEST = 10  # stripped brains; fewer teach nothing
NEGATIVES = 1120  # 70 of each kind
SLICES = 1500  # of each part of a data set, read again in full
LOOKS = [step for step in STEPS if step[0] != "negative"]  # what half of the variants suffer
RIDGE = 0.002  # penalty on the weights of the regressions


def fit_on_dataset(folder: Path, dataset: Dataset, seed: int) -> dict[str, Any]:
    """config["guard"] of the exported networks in folder: fitted on training slices, its cuts on validation slices."""
    rng = np.random.default_rng(seed)
    chosen = {split: rng.permutation(dataset.rows(split))[:SLICES] for split in ("train", "validation")}
    if (dataset.table["slice"] >= 0).any():  # slices of one volume together: it is read once
        chosen = {split: np.sort(rows) for split, rows in chosen.items()}

    def scans(split: str) -> Iterator[Scan]:
        for row in chosen[split]:
            with contextlib.suppress(ScanError, OSError):  # gone since the data was read; the other slices do
                yield read_slice(*dataset.table[["path", "slice"]].iloc[row])

    return fit_on_scans(
        scans("train"),
        scans("validation"),
        dataset.size,
        features=lambda squares: run_model(folder, squares).features,
        groups=dataset.table["group"].iloc[chosen["validation"]].nunique(),
        seed=seed,
    )


def fit_on_scans(
    train: Iterable[Scan],
    validation: Iterable[Scan],
    size: int,
    *,
    features: Features | None = None,
    groups: int | None = None,
    seed: int = 0,
    rate: float = 0.005,
) -> dict[str, Any]:
    """config["guard"] from scans read in full; train and validation must not share patients.

    size: side of the model's input; features: the classifier's, for slices, their variants and the negatives alike;
    groups: see fit_guard.
    Takes a few milliseconds for each scan and each of up to NEGATIVES negatives (fewer for fewer scans).
    """

    def described(pictures: Iterable[tuple[np.ndarray, float]]) -> Described:
        rows = [describe(image, color, size) for image, color in pictures]
        squares = np.stack([square for _, square in rows])
        return np.stack([row for row, _ in rows]), features(squares) if features else None

    rng = np.random.default_rng(seed)
    slices = [(scan.image, scan.color) for scan in train]
    kept = [(scan.image, scan.color) for scan in validation] or slices  # tiny data sets may have no validation part
    bare = [(brain, color) for image, color in slices[1::2] if (brain := strip_skull(image)) is not None]
    count = min(NEGATIVES, max(NEGATIVES // 4, len(slices)))
    foreign = synthetic_negatives(count, seed)
    return fit_guard(
        described(slices),
        described(kept),
        variants=described(_variants(slices, rng)),
        stripped=described((vary(image, rng) if i % 2 else image, color) for i, (image, color) in enumerate(bare))
        if len(bare) >= FEWEST
        else None,
        negatives=described((item.image, item.color) for item in foreign),
        kinds=[item.kind for item in foreign],
        groups=groups,
        rate=rate,
    )


def _variants(
    slices: Sequence[tuple[np.ndarray, float]], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, float]]:
    """One of each: from elsewhere, and every other one spoilt, too."""
    for i, (image, color) in enumerate(slices):
        varied = vary(image, rng)
        kind, severity = LOOKS[rng.integers(len(LOOKS))]
        yield (varied if i % 2 else degrade(varied, kind, severity, i)), color


def fit_guard(
    train: Described,
    validation: Described,
    *,
    variants: Described | None = None,
    stripped: Described | None = None,
    negatives: Described,
    kinds: Sequence[str] | None = None,
    groups: int | None = None,
    rate: float = 0.005,
) -> dict[str, Any]:
    """config["guard"] from described slices; train and validation must not share patients.

    rate: the largest share of validation slices that may be flagged. variants: training slices made to look as if
    they came from elsewhere, some of them spoilt. stripped: training slices without their skull, which are brain MRI,
    too, but are told from whole heads. negatives: pictures that are no brain MRI; where they have no features, the
    discriminative judge does without as well. kinds: of each negative; then "unseen_kinds" says which share of each
    kind is flagged when the fit has not seen that kind. groups: how many patients and clusters the validation slices
    are of; by default each is one of its own.
    """
    slices = len(train[0])
    if variants is not None:
        train = _joined(train, variants)
    whole = len(train[0])
    if stripped is not None:
        train = _joined(train, stripped)
    described = np.asarray(train[0], np.float64)
    scales = _scales(described, train[1])
    both = negatives[1] is not None and train[1] is not None
    x, held_out = scales.standard(*train), scales.standard(*validation)
    foreign = scales.standard(negatives[0], negatives[1] if both else None)
    # Slices of one patient look alike: few patients say little about the tail of all, and the cuts keep more distance
    doubt = float(1 / np.sqrt(groups or len(held_out)))
    judges = _judges(x, foreign, held_out, rate, doubt)
    if stripped is not None:
        seen = quadratic(x[:, : foreign.shape[1]])
        weights = _logistic(seen[:whole], seen[whole:])
        if float((odds(held_out, weights) > SURE).mean()) <= 2 * rate:
            judges = replace(judges, skull=weights)  # else the slices have no skull, or none that can be told
    unseen = {}
    for kind in dict.fromkeys(kinds or ()):
        own = np.asarray(kinds) == kind
        unseen[kind] = float(_judges(x, foreign[~own], held_out, rate, doubt).flagged(foreign[own]).mean())
    arrays = {key: value for key, value in (vars(scales) | vars(judges)).items() if value is not None}
    return {
        "descriptors": list(NAMES),
        "stretched": True,
        **{key: _plain(value) for key, value in arrays.items()},
        "judged": foreign.shape[1],
        "rate": rate,
        "flagged_validation": float(judges.flagged(held_out).mean()),
        "missed_negatives": float((odds(foreign, judges.weights) <= judges.logit).mean()),
        **({"unseen_kinds": unseen} if unseen else {}),
        "slices": slices,
        "variants": whole - slices,
        "stripped": len(described) - whole,
        "negatives": len(foreign),
    }


def _scales(described: np.ndarray, features: np.ndarray | None) -> Scales:
    mean = described.mean(axis=0)
    spread = described.std(axis=0) + 0.02 * np.abs(mean) + 1e-3
    if features is None:
        return Scales(mean, spread)
    values = np.asarray(features, np.float64)
    middle, width = values.mean(axis=0), values.std(axis=0)
    width += 0.01 * width.mean() + 1e-9  # a unit that never fires tells nothing
    whitened = (values - middle) / width
    directions = np.linalg.svd(whitened, full_matrices=False)[2][:DIRECTIONS]
    return Scales(mean, spread, middle, width, directions, (whitened @ directions.T).std(axis=0) + 1e-9)


def _judges(real: np.ndarray, foreign: np.ndarray, held_out: np.ndarray, rate: float, doubt: float) -> Judges:
    """All arrays are standardised; those of foreign pictures may be without features, which then are not judged."""
    centre, count = real.mean(axis=0), foreign.shape[1]
    shrunk = ledoit_wolf(real - centre, assume_centered=True)[0]
    precision = np.linalg.inv(shrunk + 1e-6 * np.eye(len(shrunk)))
    weights = _logistic(quadratic(real[:, :count]), quadratic(foreign))
    uncut = Judges(centre, precision, weights, distance=np.inf, logit=np.inf)
    distances, logits = uncut.judge(held_out)
    # Above 0 the regression itself finds "foreign" the likelier answer; below it, no picture is flagged by it.
    return replace(
        uncut,
        distance=_upper(distances, rate / 2) * (1 + doubt),
        logit=max(0.0, _upper(logits, rate / 2) + 10 * doubt),
    )


def synthetic(n: int, seed: int) -> np.ndarray:
    """float32 (n, D): descriptors of synthetic pictures that are no brain MRI."""
    return np.stack([describe(item.image, item.color)[0] for item in synthetic_negatives(n, seed)])


def _joined(first: Described, second: Described) -> Described:
    if first[1] is None or second[1] is None:
        return np.concatenate([first[0], second[0]]), None
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def _logistic(real: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """Weights (D,) of a ridge logistic regression, foreign = 1, both weighing the same; the last column is constant."""
    x, y = np.concatenate([real, foreign]), np.repeat([0, 1], [len(real), len(foreign)])
    weight = np.repeat([0.5 / len(real), 0.5 / len(foreign)], [len(real), len(foreign)])
    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-10)
    model.fit(x[:, :-1], y, sample_weight=weight)
    return np.append(model.coef_[0], model.intercept_)


def _upper(values: np.ndarray, rate: float) -> float:
    """The least value with at most `rate` of the values above it."""
    return float(np.sort(values)[max(0, len(values) - 1 - int(rate * len(values)))])


def _plain(value: Any) -> Any:
    """For JSON: arrays to lists with 7 significant digits."""
    if not isinstance(value, np.ndarray):
        return value
    return [_plain(row) for row in value] if value.ndim > 1 else [float(f"{v:.7g}") for v in value]
