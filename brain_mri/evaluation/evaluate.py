"""Run an artifact on rows of a dataset and score everything that can be scored.

    evaluation = evaluate("runs/mine", dataset)     # the rows whose split is "test"
    evaluation.metrics      -> metrics.json
    evaluation.cases        -> pictures for figures.py and report.py

The command line is evaluate.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import segmentation
from brain_mri.artifact.config import ArtifactConfig
from brain_mri.artifact.folder import Artifact, load_artifact
from brain_mri.data.selection import (
    classification_rows,
    heat_in_head,
    known_sources,
    mask_rows,
    official_rows,
    pick_cases,
    split_baselines,
)
from brain_mri.evaluation.classification import classification_metrics
from brain_mri.evaluation.file_masks import file_masks
from brain_mri.evaluation.guard_check import guard_metrics
from brain_mri.evaluation.masks import explanation_metrics, segmentation_metrics
from brain_mri.evaluation.metrics_counterfactual import counterfactual_metrics
from brain_mri.evaluation.sanity_check import sanity_check
from brain_mri.imaging.preprocessing import head_mask
from brain_mri.inference.decision import answers_of, calibrated_by
from brain_mri.inference.runner import Outputs, run_model
from brain_mri.training.calibration import calibration_metrics, probabilities_of

METRICS_FORMAT = 1
LEARNED_FROM_VALIDATION = (
    "Networks that answer here have learned from the validation images, too: these figures are too good. "
    "Those of the test images and of the cross-validation are not touched by that."
)


@dataclass(frozen=True)
class Case:
    """One test slice to show."""

    kind: str  # "best", "median", "worst" by Dice, or "explanation"
    name: str
    image: np.ndarray  # uint8 (S, S)
    truth: np.ndarray  # bool (S, S)
    predicted: np.ndarray  # bool (S, S)
    heatmap: np.ndarray  # float32 (S, S) 0..1, Grad-CAM of the predicted class inside the head
    label: str
    answer: str
    confidence: float
    dice: float


@dataclass(frozen=True)
class Evaluation:
    metrics: dict[str, Any]
    cases: list[Case]


def evaluate(
    model: Any,
    dataset: Any,
    rows: np.ndarray | None = None,
    *,
    split: str = "test",
    baseline: bool = True,
    sanity: bool = True,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """Measure a model on rows of a data.Dataset (default: those whose split is `split`; "all" for every row).

    model: an Artifact, a Predictor or an artifact folder. baseline: also score the baselines, which see the rows whose
    split is "train". sanity: also compare heatmaps with those of a model with random weights, take lesions out and put
    them in, and try the guard.
    Raises ArtifactError for an unusable model, ValueError when no row is left.
    """
    artifact: Artifact = getattr(model, "artifact", model)
    if not isinstance(artifact, Artifact):
        artifact = load_artifact(artifact)
    table = dataset.table
    if rows is None:
        rows = np.arange(len(table)) if split == "all" else np.flatnonzero(table["split"] == split)
    rows = np.asarray(rows, dtype=int)
    if len(rows) == 0:
        raise ValueError(f"No image belongs to the split {split!r}, so there is nothing to evaluate.")
    result = evaluate_arrays(
        run_model(artifact.folder, dataset.images[rows]),
        dataset,
        rows,
        config=artifact.config,
        baseline=baseline,
        seed=seed,
        resamples=resamples,
    )
    result.metrics["split"] = split
    if split == "validation" and has_learned_from_validation(artifact.config):
        result.metrics["notes"].insert(0, LEARNED_FROM_VALIDATION)
    result.metrics.update(dict.fromkeys(("official_split", "sanity", "counterfactual", "guard")))
    if baseline:
        result.metrics["official_split"] = official_baselines(
            dataset, classes=artifact.classes, seed=seed, resamples=resamples
        )
    if sanity:
        result.metrics["sanity"] = _sanity(artifact, dataset, rows, seed)
        result.metrics["counterfactual"] = counterfactual_metrics(
            artifact, dataset, rows, seed=seed, resamples=resamples
        )
        own = table.iloc[rows]
        result.metrics["guard"] = guard_metrics(
            artifact, own["path"].tolist(), own["group"].to_numpy(object), seed=seed, resamples=resamples
        )
    return result


def has_learned_from_validation(config: ArtifactConfig) -> bool:
    """Is there a network among those that answer that was fitted on rows which the split calls validation?"""
    return config.classifier.members > 1 or config.training.refit  # several validate on patients of their own


def official_baselines(
    dataset: Any, *, classes: Sequence[str], seed: int = 0, resamples: int = 1000
) -> dict[str, Any] | None:
    """Baselines on the folders' own Training/Testing split; None without one. "model" is for evaluate.py --official."""
    train, test = official_rows(dataset.table)
    found = split_baselines(dataset, test, train=train, classes=classes, seed=seed, resamples=resamples)
    return None if found is None else {"baselines": found, "model": None}


def _sanity(artifact: Artifact, dataset: Any, rows: np.ndarray, seed: int, limit: int = 64) -> dict[str, Any]:
    """The randomised-weights check on up to `limit` slices, outlined ones where there are any."""
    table = dataset.table.iloc[rows]
    chosen = mask_rows(table)
    outlined = chosen[dataset.masks[rows[chosen]].any(axis=(1, 2))] if len(chosen) else chosen
    pool = rows[outlined] if len(outlined) else rows
    pick = np.sort(np.random.default_rng(seed).permutation(pool)[:limit])
    masks = dataset.masks[pick] > 127 if len(outlined) else None
    return sanity_check(artifact.folder, dataset.images[pick], masks, seed=seed)


def counts(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "count": len(table),
        "groups": int(table["group"].nunique()),
        "by_class": {name: int((table["class"] == name).sum()) for name in classes},
        "by_source": {str(k): int(v) for k, v in table["source"].value_counts().items()},
        "with_mask": int(table["has_mask"].sum()),
        "known_sources": known_sources(table),
    }


def evaluate_arrays(
    outputs: Outputs,
    dataset: Any,
    rows: np.ndarray,
    *,
    config: ArtifactConfig,
    baseline: bool = True,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """As `evaluate`, from model outputs (in the order of rows) that the caller has already.

    config needs classes and temperature; stacking, thresholds, name, classifier and segmenter are used when there.
    What cannot be measured (no masks, one class only, no training rows) is None in the metrics, and "notes" says why.
    """
    classes = list(config.classes)
    table: pd.DataFrame = dataset.table.iloc[rows]
    thresholds = config.thresholds
    notes: list[str] = []
    said = answers_of(outputs, config)
    probabilities = said.probabilities
    predicted = probabilities.argmax(axis=1)
    common: dict[str, Any] = {"seed": seed, "resamples": resamples}
    metrics: dict[str, Any] = {
        "format": METRICS_FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": {
            "name": config.name,
            "classifier": config.classifier.to_json(),
            "segmenter": config.segmenter.to_json(),
        },
        "split": "",
        "images": counts(table, classes),
        "resamples": resamples,
        "notes": notes,
    }

    # --- classification, on the class folders where there are any: the mask pairs repeat their slices
    chosen = classification_rows(table, classes)
    labels = np.array([classes.index(c) if c in classes else -1 for c in table["class"]])
    groups = table["group"].to_numpy(dtype=object)
    metrics["classification"] = metrics["calibration_before"] = metrics["baselines"] = None
    if len(chosen) == 0:
        notes.append("No labelled image of the model's classes, so classification was not measured.")
    else:
        metrics["classification"] = classification_metrics(
            probabilities[chosen],
            labels[chosen],
            groups[chosen],
            classes,
            tumor_threshold=thresholds.tumor,
            abstain_threshold=thresholds.abstain,
            **common,
        )
        before = calibration_metrics(probabilities_of(outputs.logits[chosen]), labels[chosen])
        metrics["calibration_before"] = {
            **before,
            "temperature": float(config.temperature),
            "method": calibrated_by(config),
        }
        if baseline:
            metrics["baselines"] = split_baselines(
                dataset, rows[chosen], classes=classes, predicted=predicted[chosen], **common
            )
            if metrics["baselines"] is None:
                notes.append("All images are of one group, so there are no baselines to compare with.")

    # --- masks and heatmaps
    chosen = mask_rows(table)
    metrics["segmentation"] = metrics["kmeans"] = metrics["explanation"] = None
    cases: list[Case] = []
    if len(chosen) == 0:
        notes.append("No image has an outlined lesion (--masks), so masks and heatmaps were not measured.")
        return Evaluation(metrics, cases)
    images, truth = dataset.images[rows[chosen]], dataset.masks[rows[chosen]] > 127
    maps, masks = said.maps[chosen], said.masks[chosen]
    names, own = list(table["class"].iloc[chosen]), groups[chosen]
    metrics["segmentation"] = segmentation_metrics(masks, truth, names, own, **common)
    metrics["segmentation"]["pixels"] = int(truth.shape[1])
    places, full, stored = file_masks(table.iloc[chosen], maps, thresholds.mask, thresholds.min_fraction)
    if any(mask.any() for mask in stored):
        found = segmentation_metrics(full, stored, [names[i] for i in places], own[places], **common)
        metrics["segmentation"]["files"] = {key: found[key] for key in ("count", "dice", "iou", "hd95", "missed")}
    simple = segmentation_metrics([segmentation.kmeans_mask(i, head_mask) for i in images], truth, names, own, **common)
    metrics["kmeans"] = {key: value for key, value in simple.items() if key != "per_image"}
    if not truth.any():
        notes.append("No image has an outlined lesion (--masks); of the masks only false alarms could be measured.")
        return Evaluation(metrics, cases)
    heads = [head_mask(image) for image in images]
    heat = [heat_in_head(outputs.heatmaps[i, :, :, predicted[i]], head) for i, head in zip(chosen, heads, strict=True)]
    metrics["explanation"] = explanation_metrics(heat, truth, names, own, heads=heads, **common)
    lesions = np.flatnonzero(truth.any(axis=(1, 2)))
    dices = metrics["segmentation"]["per_image"]["dice"]
    for kind, position in pick_cases(np.asarray(dices), own[lesions]):
        i = lesions[position]
        cases.append(
            Case(
                kind=kind,
                name=Path(str(table["path"].iloc[chosen[i]])).name,
                image=images[i],
                truth=truth[i],
                predicted=masks[i],
                heatmap=heat[i],
                label=names[i],
                answer=classes[predicted[chosen[i]]],
                confidence=float(probabilities[chosen[i]].max()),
                dice=float(dices[position]),
            )
        )
    return Evaluation(metrics, cases)
