"""From fitted models to the artifact: export, calibrate on validation, fit the guard, measure on test, write, publish.

Everything is measured on the exported ONNX files, as the app runs them. All thresholds come from validation rows.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import evaluate
import evaluation
import export
import guard
import model_card
import model_def
import report
from answers import class_probabilities, mask_evidence
from artifact import Artifact, ArtifactError, load_artifact, new_artifact, write_json
from calibration import choose_abstain_threshold, choose_tumor_threshold, fit_stacking, fit_temperature
from counterfactual import erased_copies
from data import Dataset
from fit import FitState, save_weights
from held_out import write_split
from inference import Outputs, run_model
from predictor import BUNDLED
from scan import CLASSES, NO_TUMOR, PREPROCESSING, Scan, ScanError, read_scan
from segmentation import postprocess

ERASED_WEIGHT = 0.25  # of lesion-erased slices beside the real ones without a tumor, when the stacking is fitted
GUARD_SLICES = 1500  # read again in full for the guard's statistics


class PushError(RuntimeError):
    """Publishing failed; the local artifact is whole."""


def bundled_fits(size: int) -> bool:
    """Is there a bundled segmenter with this input size?"""
    try:
        bundled = load_artifact(BUNDLED)
    except ArtifactError:
        return False
    return bundled.image_size == size and bundled.config["preprocessing"]["name"] == PREPROCESSING


@dataclass
class Trained:
    """A fitted model and how it came about."""

    name: str
    arguments: dict[str, Any]
    model: keras.Model
    state: FitState
    taught_by: str  # what its masks are from: "masks", "weak masks", "bundled" or "nothing"
    outlined: FitState | None = None  # the stage that taught it masks alone, before the classes

    def facts(self) -> dict[str, Any]:
        parameters = int(self.model.count_params())
        return {"architecture": self.name, "arguments": self.arguments, "parameters": parameters}

    def in_float32(self) -> keras.Model:
        """As it is served; backbones are not fetched again."""
        offline = {"weights": None} if self.name in ("vgg16", "efficientnet") else {}
        size = self.model.input.shape[1]
        return export.in_float32(lambda: model_def.build(self.name, size, **self.arguments, **offline), self.model)


def write_artifact(
    args: argparse.Namespace,
    dataset: Dataset,
    classifier: Trained,
    segmenter: Trained | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write args.out and return its metrics. segmenter: may be the classifier; None: the bundled one, or K-means."""
    masks_alone = classifier.outlined if segmenter in (None, classifier) else segmenter.state  # type: ignore[union-attr]
    own = {"segmenter": asdict(masks_alone)} if masks_alone else {}
    config: dict[str, Any] = {
        "name": args.push or args.out.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(CLASSES),
        "preprocessing": {"name": PREPROCESSING, "image_size": args.size},
        "classifier": classifier.facts(),
        "training": {
            **facts,
            "seed": args.seed,
            "epochs": args.epochs,
            "hardware": hardware(),
            "classifier": asdict(classifier.state),
            **own,
        },
        "data": dataset.summary(),
        "versions": versions(),
    }
    with new_artifact(args.out, config) as folder:
        print("\nExporting to ONNX.")
        export_models(args, folder, config, classifier, segmenter)
        print("Calibrating on validation, measuring on test.")
        calibrate(folder, config, dataset, args.seed if args.erased > 0 else None)
        if not args.brief:
            config["guard"] = fit_guard(folder, dataset, args.seed)
        write_split(folder, dataset)
        result = evaluation.evaluate(
            Artifact(folder, config), dataset, seed=args.seed, baseline=not args.brief, sanity=not args.brief
        )
        config["metrics"] = evaluate.summary(result.metrics)
        write_json(folder / "metrics.json", result.metrics)
        if args.brief:
            model_card.write_card(folder, config, result.metrics, [])
        else:
            report.write_all(folder, config, result, dataset)
    print(evaluate.table(result.metrics))
    return result.metrics


def export_models(
    args: argparse.Namespace,
    folder: Path,
    config: dict[str, Any],
    classifier: Trained,
    segmenter: Trained | None,
) -> None:
    """ONNX and Keras weights of both models into folder; config["segmenter"] is filled."""
    served = classifier.in_float32()
    export.export_classifier(served, folder / "classifier.onnx", mirrored=True, outlines=segmenter is classifier)
    save_weights(served, folder / "classifier.weights.h5")
    if segmenter is classifier:  # its weights are in classifier.weights.h5
        export.export_segmenter(served, folder / "segmenter.onnx", mirrored=True)
        config["segmenter"] = classifier.facts() | {"shared": True, "trained_on": classifier.taught_by}
    elif segmenter is not None:
        outliner = segmenter.in_float32()
        export.export_segmenter(outliner, folder / "segmenter.onnx", mirrored=True)
        save_weights(outliner, folder / "segmenter.weights.h5")
        config["segmenter"] = segmenter.facts() | {"trained_on": segmenter.taught_by}
    elif args.segmenter == "bundled":
        bundled = load_artifact(BUNDLED)
        shutil.copy2(bundled.folder / "segmenter.onnx", folder / "segmenter.onnx")
        config["segmenter"] = {**bundled.config["segmenter"], "trained_on": "bundled"}
    else:
        config["segmenter"] = {"architecture": "kmeans", "arguments": {}, "parameters": 0, "trained_on": "nothing"}


def calibrate(folder: Path, config: dict[str, Any], dataset: Dataset, seed: int | None = None) -> None:
    """Temperature, stacking and all thresholds, from the validation rows.

    seed: the stacking also learns from these rows with their lesions erased. Without them every slice without a tumor
    is from another source than those with one, and the faintest doubt of the U-Net would count as a tumor.
    """
    table = dataset.table
    rows = np.flatnonzero((table["split"] == "validation").to_numpy())
    outputs = run_model(folder, dataset.images[rows])
    labels = table["class"].iloc[rows].map({name: i for i, name in enumerate(CLASSES)}).fillna(-1).to_numpy(int)
    known = np.flatnonzero(labels >= 0)
    temperature = fit_temperature(outputs.logits[known], labels[known])
    config["temperature"] = float(temperature)
    evidence = mask_evidence(outputs.mask_probability)
    outlines = config["segmenter"]["architecture"] != "kmeans"  # which outlines something on every slice
    answers = rows[known], outputs.logits[known], evidence[known], labels[known]
    if outlines and (stacking := stack(folder, dataset, *answers, seed)):
        config["stacking"] = stacking
    probabilities = class_probabilities(config, outputs.logits[known], evidence[known])
    absent = CLASSES.index(NO_TUMOR)
    config["thresholds"] = {
        **choose_mask_thresholds(outputs, dataset, rows),
        # a gated net gives all slices without a lesion nearly the same confidence; do not cut through that plateau
        "abstain": max(0.0, choose_abstain_threshold(probabilities, labels[known], min_coverage=0.85) - 0.02),
        "tumor": float(choose_tumor_threshold(1 - probabilities[:, absent], labels[known] != absent)),
    }


def stack(
    folder: Path,
    dataset: Dataset,
    rows: np.ndarray,
    logits: np.ndarray,
    evidence: np.ndarray,
    labels: np.ndarray,
    seed: int | None,
) -> dict[str, list] | None:
    """The logistic regression of answers.py on labelled rows and, with a seed, on lesion-erased copies of them."""
    table, absent = dataset.table.iloc[rows], CLASSES.index(NO_TUMOR)
    parts = [(logits, evidence, labels, table["group"].to_numpy(str), np.ones(len(rows)))]
    tumor = rows[(table["has_mask"] & (table["class"] != NO_TUMOR)).to_numpy(bool)]
    if seed is not None and len(tumor):
        units = np.unique(dataset.table["cluster"].iloc[tumor].to_numpy(str), return_inverse=True)[1]
        pictures, source = erased_copies(dataset.images[tumor], dataset.masks[tumor], units, seed=seed)
        if len(pictures):
            erased = run_model(folder, pictures)
            groups = dataset.table["group"].iloc[tumor[source]].to_numpy(str)
            weight = ERASED_WEIGHT * np.count_nonzero(labels == absent) / len(pictures)
            answers = erased.logits, mask_evidence(erased.mask_probability), np.full(len(pictures), absent), groups
            parts.append((*answers, np.full(len(pictures), weight)))
    return fit_stacking(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def choose_mask_thresholds(outputs: Outputs, dataset: Dataset, rows: np.ndarray) -> dict[str, float]:
    """The cut and the smallest region that give the best mean Dice over validation slices whose mask is known.

    A tumor-free slice counts 1 when its mask stays empty and 0 otherwise, as Dice has it.
    """
    known = np.flatnonzero(dataset.table["has_mask"].to_numpy()[rows])
    best = {"mask": 0.5, "min_fraction": 0.002}
    if not len(known) or not (dataset.masks[rows[known]] > 127).any():
        return best
    truths = dataset.masks[rows[known]] > 127
    sizes = truths.sum((1, 2))
    best_score = -1.0
    for cut in (0.3, 0.4, 0.5, 0.6):
        for smallest in (0.0005, 0.001, 0.002, 0.004):
            found = np.stack([postprocess(outputs.mask_probability[i], cut, smallest) for i in known])
            total = sizes + found.sum((1, 2))
            dice = np.where(total > 0, 2 * (truths & found).sum((1, 2)) / np.maximum(total, 1), 1.0)
            score = float((dice[sizes > 0].mean() + (dice[sizes == 0].mean() if (sizes == 0).any() else 1.0)) / 2)
            if score > best_score:
                best_score, best = score, {"mask": cut, "min_fraction": smallest}
    return best


def fit_guard(folder: Path, dataset: Dataset, seed: int) -> dict[str, Any]:
    """The not-a-brain-MRI guard: fitted on training slices, its threshold on validation slices."""
    rng = np.random.default_rng(seed)

    def scans(split: str) -> Iterator[Scan]:
        for row in rng.permutation(dataset.rows(split))[:GUARD_SLICES]:
            with contextlib.suppress(ScanError):  # gone since the data was read; the other slices do
                yield read_scan(dataset.table["path"].iloc[row])

    return guard.fit_on_scans(
        scans("train"),
        scans("validation"),
        dataset.size,
        features=lambda squares: run_model(folder, squares).features,
        seed=seed,
    )


def hardware() -> str:
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(g).get("device_name", "GPU")
        for g in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(gpus) if gpus else f"{os.cpu_count()} CPU cores ({platform.machine()})"


def versions() -> dict[str, str]:
    import tensorflow as tf

    from onnx_model import ort

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
    }


def push(folder: Path, repo: str, *, private: bool) -> None:
    """Publish the artifact. Raises PushError with a sentence; the artifact itself stays whole."""
    import hub

    try:
        pushed = hub.push(folder, repo, private=private)
    except hub.HubError as error:
        raise PushError(
            f"{error} The artifact is safe in {folder}; publish it later: python hub.py push {folder} {repo}"
        ) from None
    print(
        f"Published {pushed.url} at revision {pushed.revision[:12]}."
        if pushed.changed
        else f"{pushed.url} is up to date."
    )
