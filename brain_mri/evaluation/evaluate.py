"""Run an artifact on rows of a dataset and score everything that can be scored.

    evaluation = evaluate("runs/mine", dataset)     # the rows whose split is "test"
    evaluation.metrics                              # records.Metrics, which is metrics.json
    evaluation.cases, evaluation.folded             # pictures to show

The command line is cli/evaluate.py.
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
from brain_mri.data.dataset import Dataset
from brain_mri.data.selection import classification_rows, known_sources, mask_rows, official_rows
from brain_mri.evaluation.baselines import baselines
from brain_mri.evaluation.by_patient import by_patient
from brain_mri.evaluation.by_source import by_class, by_source, judged
from brain_mri.evaluation.calibration import calibration_metrics
from brain_mri.evaluation.cases import folded_cases, pick_cases
from brain_mri.evaluation.classification import classification_metrics
from brain_mri.evaluation.counterfactual import counterfactual_metrics
from brain_mri.evaluation.degraded import degraded_metrics
from brain_mri.evaluation.guard_check import guard_metrics
from brain_mri.evaluation.masks import explanation_metrics, file_masks, heat_in_head, segmentation_metrics
from brain_mri.evaluation.records import METRICS_FORMAT, Case, Evaluation, Images, MeasuredModel, Metrics
from brain_mri.evaluation.sanity_check import sanity_check
from brain_mri.evaluation.scores import (
    Baselines,
    ClassificationScores,
    ExplanationScores,
    FileMasks,
    MaskScores,
    OfficialSplit,
    SanityCheck,
    Uncalibrated,
)
from brain_mri.evaluation.subgroups import by_subgroup
from brain_mri.imaging.preprocessing import head_mask
from brain_mri.inference.decision import Answers, answers_of, calibrated_by, decided
from brain_mri.inference.runner import Ask, Outputs, run_model, softmax

LEARNED_FROM_VALIDATION = (
    "Networks that answer here have learned from the validation images, too: these figures are too good. "
    "Those of the test images and of the cross-validation are not touched by that."
)


@dataclass(frozen=True)
class _Run:
    """What a model says about rows of a dataset, and how intervals are drawn."""

    artifact: Artifact
    dataset: Dataset
    rows: np.ndarray
    outputs: Outputs
    said: Answers
    draws: dict[str, Any]  # seed and resamples

    @property
    def table(self) -> pd.DataFrame:
        return self.dataset.table.iloc[self.rows]


def _ask(
    artifact: Artifact, dataset: Dataset, rows: np.ndarray, seed: int, resamples: int, ask: Ask = run_model
) -> _Run:
    outputs = ask(artifact.folder, dataset.images[rows])
    said = answers_of(outputs, artifact.config)
    return _Run(artifact, dataset, rows, outputs, said, {"seed": seed, "resamples": resamples})


def evaluate(
    model: Artifact | str | Path,
    dataset: Dataset,
    rows: np.ndarray | None = None,
    *,
    split: str = "test",
    baseline: bool = True,
    sanity: bool = True,
    also: Sequence[Dataset] = (),
    seed: int = 0,
    resamples: int = 1000,
    ask: Ask = run_model,
) -> Evaluation:
    """Measure a model on rows of a dataset (default: those whose split is `split`; "all" for every row).

    model: an artifact or its folder. baseline: also score the baselines, which see the rows whose split is "train".
    sanity: also compare heatmaps with those of a model with random weights, take lesions out and put them in, try
    the guard, and spoil scans. also: further data, whose rows with the split "test" are measured by class and sequence.
    ask: runs the networks on the rows.
    What cannot be measured (no masks, one class only, no training rows) is None in the metrics, and `notes` says why.
    Raises ArtifactError for an unusable model, ValueError when no row is left.
    """
    table = dataset.table
    if rows is None:
        rows = np.arange(len(table)) if split == "all" else np.flatnonzero(table["split"] == split)
    rows = np.asarray(rows, dtype=int)
    if len(rows) == 0:
        raise ValueError(f"No image belongs to the split {split!r}, so there is nothing to evaluate.")
    artifact = model if isinstance(model, Artifact) else load_artifact(model)
    config, run = artifact.config, _ask(artifact, dataset, rows, seed, resamples, ask)
    learned = split == "validation" and has_learned_from_validation(config)
    notes = [LEARNED_FROM_VALIDATION] if learned else []
    scores, before, bars = _classification(run, baseline, notes)
    masks, simple, heat, cases = _masks(run, notes)
    found = judged(dataset, rows, run.said, config)
    places, groups = run.table[["path", "slice"]].to_records(index=False).tolist(), run.table["group"].to_numpy(object)
    metrics = Metrics(
        format=METRICS_FORMAT,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=MeasuredModel(name=config.name, classifier=config.classifier, segmenter=config.segmenter),
        split=split,
        images=counts(run.table, config.classes),
        resamples=resamples,
        notes=notes,
        classification=scores,
        calibration_before=before,
        baselines=bars,
        segmentation=masks,
        kmeans=simple,
        explanation=heat,
        official_split=official_baselines(dataset, classes=config.classes, **run.draws) if baseline else None,
        sanity=_sanity(run) if sanity else None,
        counterfactual=counterfactual_metrics(artifact, dataset, rows, **run.draws) if sanity else None,
        guard=guard_metrics(artifact, places, groups, **run.draws) if sanity else None,
        by_source=by_source(found, config.training.left_out, **run.draws),
        also=by_class([_judged(artifact, other, ask) for other in also], found, **run.draws) if also else None,
        degraded=degraded_metrics(artifact, dataset, rows, **run.draws) if sanity else [],
        by_patient=by_patient(dataset, rows, run.said, config, **run.draws),
        by_subgroup=by_subgroup(found, **run.draws),
    )
    return Evaluation(metrics, cases, folded_cases(artifact, dataset, rows) if sanity else [])


def measure_also(
    artifact: Artifact, also: Sequence[Dataset], *, seed: int = 0, resamples: int = 1000, ask: Ask = run_model
) -> Metrics:
    """Further data alone: its rows with the split "test", by class and sequence."""
    found = [_judged(artifact, other, ask) for other in also]
    config = artifact.config
    return Metrics(
        model=MeasuredModel(name=config.name, classifier=config.classifier, segmenter=config.segmenter),
        images=counts(pd.concat([other.table.iloc[other.rows("test")] for other in also]), config.classes),
        resamples=resamples,
        also=by_class(found, found[0].head(0), seed=seed, resamples=resamples),
    )


def _judged(artifact: Artifact, other: Dataset, ask: Ask) -> pd.DataFrame:
    """What the model says of the rows of further data whose split is "test"."""
    rows = other.rows("test")
    said = answers_of(ask(artifact.folder, other.images[rows]), artifact.config)
    return judged(other, rows, said, artifact.config)


def has_learned_from_validation(config: ArtifactConfig) -> bool:
    """Is there a network among those that answer that was fitted on rows which the split calls validation?"""
    return config.classifier.members > 1 or config.training.refit  # several validate on patients of their own


def official_baselines(
    dataset: Dataset, *, classes: Sequence[str], seed: int = 0, resamples: int = 1000
) -> OfficialSplit | None:
    """Baselines on the folders' own Training/Testing split; None without one."""
    train, test = official_rows(dataset.table)
    found = baselines(dataset, test, train=train, classes=classes, seed=seed, resamples=resamples)
    return None if found is None else OfficialSplit(baselines=found, model=None)


def measure_baselines(dataset: Dataset, *, seed: int = 0, resamples: int = 1000) -> Metrics:
    """What is scored on the test rows without learning anything about tumors, by group and on the official split."""
    rows = dataset.rows("test")
    rows = rows[classification_rows(dataset.table.iloc[rows], dataset.classes)]
    common: dict[str, Any] = {"classes": dataset.classes, "seed": seed, "resamples": resamples}
    return Metrics(
        images=counts(dataset.table.iloc[rows], dataset.classes),
        resamples=resamples,
        baselines=baselines(dataset, rows, **common),
        official_split=official_baselines(dataset, **common),
    )


def measure_official(
    artifact: Artifact, dataset: Dataset, *, seed: int = 0, resamples: int = 1000
) -> ClassificationScores:
    """Of a model that was trained on the folders' own Training part, on their Testing part."""
    rows = np.flatnonzero((dataset.table["split"] == "test") & (dataset.table["official_split"] == "Testing"))
    rows = rows[classification_rows(dataset.table.iloc[rows], artifact.classes)]
    scores = _classification(_ask(artifact, dataset, rows, seed, resamples), False, [])[0] if len(rows) else None
    if scores is None:
        raise ValueError("No image belongs to the official test split, so there is nothing to evaluate.")
    return scores


def counts(table: pd.DataFrame, classes: Sequence[str]) -> Images:
    return Images(
        count=len(table),
        groups=int(table["group"].nunique()),
        by_class={name: int((table["class"] == name).sum()) for name in classes},
        by_source={str(k): int(v) for k, v in table["source"].value_counts().items()},
        with_mask=int(table["has_mask"].sum()),
        known_sources=known_sources(table),
    )


def _sanity(run: _Run, limit: int = 64) -> SanityCheck:
    """The randomised-weights check on up to `limit` slices, outlined ones where there are any."""
    chosen, dataset, seed = mask_rows(run.table), run.dataset, run.draws["seed"]
    outlined = chosen[dataset.masks[run.rows[chosen]].any(axis=(1, 2))] if len(chosen) else chosen
    pool = run.rows[outlined] if len(outlined) else run.rows
    pick = np.sort(np.random.default_rng(seed).permutation(pool)[:limit])
    masks = dataset.masks[pick] > 127 if len(outlined) else None
    return sanity_check(run.artifact.folder, dataset.images[pick], masks, seed=seed)


def _classification(
    run: _Run, baseline: bool, notes: list[str]
) -> tuple[ClassificationScores | None, Uncalibrated | None, Baselines | None]:
    """On the class folders where there are any: the mask pairs repeat their slices."""
    config, classes = run.artifact.config, list(run.artifact.classes)
    chosen = classification_rows(run.table, classes)
    if len(chosen) == 0:
        notes.append("No labelled image of the model's classes, so classification was not measured.")
        return None, None, None
    probabilities, part = run.said.probabilities[chosen], run.table.iloc[chosen]
    labels = np.array([classes.index(name) for name in part["class"]])
    predicted = decided(config, probabilities)
    scores = classification_metrics(
        probabilities,
        labels,
        part["group"].to_numpy(dtype=object),
        classes,
        tumor_threshold=config.thresholds.tumor,
        abstain_threshold=config.thresholds.abstain,
        predicted=predicted,
        **run.draws,
    )
    before = Uncalibrated(
        **dict(calibration_metrics(softmax(run.outputs.logits[chosen]), labels)),
        temperature=float(config.temperature),
        method=calibrated_by(config),
    )
    if not baseline:
        return scores, before, None
    bars = baselines(run.dataset, run.rows[chosen], classes=classes, predicted=predicted, **run.draws)
    if bars is None:
        notes.append("All images are of one group, so there are no baselines to compare with.")
    return scores, before, bars


def _masks(
    run: _Run, notes: list[str]
) -> tuple[MaskScores | None, MaskScores | None, ExplanationScores | None, list[Case]]:
    """Masks and heatmaps on outlined slices and on those of the tumor-free class folder, and cases to show."""
    config, chosen = run.artifact.config, mask_rows(run.table)
    if len(chosen) == 0:
        notes.append("No image has an outlined lesion (--masks), so masks and heatmaps were not measured.")
        return None, None, None, []
    part, rows = run.table.iloc[chosen], run.rows[chosen]
    images, truth, masks = run.dataset.images[rows], run.dataset.masks[rows] > 127, run.said.masks[chosen]
    names, groups = list(part["class"]), part["group"].to_numpy(dtype=object)
    scores = segmentation_metrics(masks, truth, names, groups, **run.draws)
    extra: dict[str, Any] = {"pixels": int(truth.shape[1])}
    limits = config.thresholds.mask, config.thresholds.min_fraction
    places, full, stored = file_masks(part, run.said.maps[chosen], *limits)
    if any(mask.any() for mask in stored):
        own = [names[i] for i in places]
        on_files = segmentation_metrics(full, stored, own, groups[places], per_image=False, **run.draws)
        extra["files"] = FileMasks(**{name: getattr(on_files, name) for name in FileMasks.model_fields})
    scores = scores.model_copy(update=extra)
    heads = [head_mask(image) for image in images]
    drawn = [segmentation.kmeans_mask(image, head_mask) for image in images]
    simple = segmentation_metrics(drawn, truth, names, groups, per_image=False, **run.draws)
    if not truth.any():
        notes.append("No image has an outlined lesion (--masks); of the masks only false alarms could be measured.")
        return scores, simple, None, []
    chances = run.said.probabilities[chosen]
    predicted = decided(config, chances)
    heatmaps = run.outputs.heatmaps[chosen, :, :, predicted]
    heat = [heat_in_head(heatmap, head) for heatmap, head in zip(heatmaps, heads, strict=True)]
    explanation = explanation_metrics(heat, truth, names, groups, heads=heads, **run.draws)
    lesions = np.flatnonzero(truth.any(axis=(1, 2)))
    dices = scores.per_image.dice if scores.per_image else []
    cases = []
    for kind, position in pick_cases(np.asarray(dices), groups[lesions]):
        i = lesions[position]
        case = Case(
            kind=kind,
            name=Path(str(part["path"].iloc[i])).name
            + (f", slice {index + 1}" if (index := part["slice"].iloc[i]) >= 0 else ""),
            image=images[i],
            truth=truth[i],
            predicted=masks[i],
            heatmap=heat[i],
            label=names[i],
            answer=config.classes[predicted[i]],
            confidence=float(chances[i, predicted[i]]),
            dice=float(dices[position]),
        )
        cases.append(case)
    return scores, simple, explanation, cases
