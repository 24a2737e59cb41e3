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
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

import model_def
from brain_mri.artifact.config import ArtifactConfig, ArtifactError, Segmenter
from brain_mri.artifact.folder import BUNDLED, Artifact, install, load_artifact, staging
from brain_mri.classes import CLASSES
from brain_mri.data.dataset import Dataset
from brain_mri.data.splits import rotated
from brain_mri.evaluation import evaluate as evaluation
from brain_mri.evaluation.held_out import write_split
from brain_mri.evaluation.records import Summary
from brain_mri.files import write_json
from brain_mri.imaging.preprocessing import PREPROCESSING
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import Scan, ScanError
from brain_mri.inference.runner import run_model
from brain_mri.reporting import model_card, report, tables
from brain_mri.training import export, guard_fit
from brain_mri.training.calibrate import Part, ask, calibrate
from brain_mri.training.cross_validation import cross_validation
from brain_mri.training.fit import FitState, save_weights

GUARD_SLICES = 1500  # read again in full for the guard's statistics


class PushError(RuntimeError):
    """Publishing failed; the local artifact is whole."""


def bundled_fits(size: int) -> bool:
    """Is there a bundled segmenter with this input size?"""
    try:
        bundled = load_artifact(BUNDLED)
    except ArtifactError:
        return False
    return bundled.image_size == size and bundled.config.preprocessing.name == PREPROCESSING


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

    def history(self) -> dict[str, Any]:
        """How it was fitted: {"classifier": ..., "segmenter": ...}, the latter where masks alone came first."""
        return {"classifier": asdict(self.state)} | ({"segmenter": asdict(self.outlined)} if self.outlined else {})

    def in_float32(self, half: bool = False) -> keras.Model:
        """As it is served; backbones are not fetched again. half: with weights that float16 can hold."""
        offline = {"weights": None} if self.name in ("vgg16", "efficientnet") else {}
        size = self.model.input.shape[1]
        twin = export.in_float32(lambda: model_def.build(self.name, size, **self.arguments, **offline), self.model)
        return export.rounded(twin) if half else twin


def numbered(number: int) -> str:
    """What tells the files of the second, third, ... network from those of the first: "", "-2", "-3", ..."""
    return "" if number == 1 else f"-{number}"


def answering(args: argparse.Namespace, classifiers: Sequence[Trained]) -> Sequence[Trained]:
    """Those that answer together: the first, with --refit the last, which have learned from validation rows, too."""
    return classifiers[-args.members :] if args.refit else classifiers[: args.members]


def calibrating(args: argparse.Namespace, classifiers: Sequence[Trained]) -> Sequence[Trained]:
    """Those that have validation rows of their own."""
    return classifiers[: -args.members] if args.refit else classifiers


def together(classifiers: Sequence[Trained]) -> dict[str, Any]:
    """The facts of networks that answer together."""
    facts = classifiers[0].facts()
    if len(classifiers) == 1:
        return facts
    return facts | {"parameters": facts["parameters"] * len(classifiers), "members": len(classifiers)}


def write_artifact(
    args: argparse.Namespace,
    dataset: Dataset,
    classifiers: Sequence[Trained],
    segmenter: Trained | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write args.out and return its metrics.

    classifiers: see answering and calibrating; dataset.table's split is the first one's. segmenter: may be the first
    one that answers, and then all of them outline; None: the bundled one, or K-means.
    """
    first, *others = classifiers
    served, judges = answering(args, classifiers), calibrating(args, classifiers)
    masks_alone = first.outlined if segmenter in (None, served[0]) else segmenter.state  # type: ignore[union-attr]
    own = {"segmenter": asdict(masks_alone)} if masks_alone else {}
    config: dict[str, Any] = {
        "name": args.push or args.out.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(CLASSES),
        "preprocessing": {"name": PREPROCESSING, "image_size": args.size},
        "classifier": together(served),
        "training": {
            **facts,
            "seed": args.seed,
            "epochs": args.epochs,
            "hardware": hardware(),
            "classifier": asdict(first.state),
            **own,
            **({"others": [other.history() for other in others]} if others else {}),
        },
        "data": dataset.summary(),
        "versions": versions(),
    }
    with staging(args.out) as folder:
        print("\nExporting to ONNX.")
        half = len(served) > 1
        export_models(args, folder, config, [one.in_float32(half) for one in served], served[0], segmenter)
        print("Calibrating on validation, measuring on test.")
        splits, seed = rotated(dataset.table, len(judges), args.seed), args.seed if args.erased > 0 else None
        if len(classifiers) == 1:
            parts = [ask(folder, dataset, dataset.rows("validation"), seed)]
        else:
            parts = each_alone([one.in_float32(half) for one in judges], splits, dataset, seed)
        outliner = Segmenter(**config["segmenter"])
        config |= calibrate(parts, outliner, dataset).to_json()
        if not args.brief:
            config["guard"] = fit_guard(folder, dataset, args.seed)
        write_split(folder, dataset)
        unmeasured = Artifact(folder, ArtifactConfig(**config))
        result = evaluation.evaluate(
            unmeasured, dataset, seed=args.seed, baseline=not args.brief, sanity=not args.brief
        )
        if len(parts) > 1:
            found = cross_validation(parts, outliner, dataset, seed=args.seed)
            result = replace(result, metrics=result.metrics.model_copy(update={"cross_validation": found}))
        metrics = result.metrics.to_json()
        config["metrics"] = Summary.of(result.metrics).to_json()
        typed = ArtifactConfig(**config)
        write_json(folder / "metrics.json", metrics)
        if args.brief:
            model_card.write_card(folder, typed, result.metrics)
        else:
            report.write_all(folder, typed, result, dataset)
        install(folder, args.out, typed)
    print(tables.overview(result.metrics))
    return metrics


def export_models(
    args: argparse.Namespace,
    folder: Path,
    config: dict[str, Any],
    models: Sequence[keras.Model],
    classifier: Trained,
    segmenter: Trained | None,
) -> None:
    """ONNX and Keras weights of all networks into folder; config["segmenter"] is filled.

    models: the float32 twins of the classifiers that answer, of which classifier is the first.
    """
    shared, (served, *partners) = segmenter is classifier, models
    common: dict[str, Any] = {"mirrored": True, "partners": partners}
    export.export_classifier(served, folder / "classifier.onnx", outlines=shared, **common)
    for number, model in enumerate(models, 1):
        save_weights(model, folder / f"classifier{numbered(number)}.weights.h5")
    if shared:  # its weights are in classifier.weights.h5
        export.export_segmenter(served, folder / "segmenter.onnx", **common)
        config["segmenter"] = config["classifier"] | {"shared": True, "trained_on": classifier.taught_by}
    elif segmenter is not None:
        outliner = segmenter.in_float32()
        export.export_segmenter(outliner, folder / "segmenter.onnx", mirrored=True)
        save_weights(outliner, folder / "segmenter.weights.h5")
        config["segmenter"] = segmenter.facts() | {"trained_on": segmenter.taught_by}
    elif args.segmenter == "bundled":
        bundled = load_artifact(BUNDLED)
        shutil.copy2(bundled.folder / "segmenter.onnx", folder / "segmenter.onnx")
        config["segmenter"] = {**bundled.config.segmenter.to_json(), "trained_on": "bundled"}
    else:
        config["segmenter"] = {"architecture": "kmeans", "arguments": {}, "parameters": 0, "trained_on": "nothing"}


def each_alone(
    models: Sequence[keras.Model], splits: Sequence[pd.Series], dataset: Dataset, seed: int | None
) -> list[Part]:
    """What every network, a float32 twin, says by itself about its own validation rows."""
    parts = []
    for model, split in zip(models, splits, strict=True):
        with tempfile.TemporaryDirectory(prefix="brain-mri-member-") as alone:
            export.export_classifier(model, Path(alone, "classifier.onnx"), mirrored=True, outlines=True)
            parts.append(ask(Path(alone), dataset, np.flatnonzero(split == "validation"), seed))
    return parts


def fit_guard(folder: Path, dataset: Dataset, seed: int) -> dict[str, Any]:
    """The not-a-brain-MRI guard: fitted on training slices, its threshold on validation slices."""
    rng = np.random.default_rng(seed)
    chosen = {split: rng.permutation(dataset.rows(split))[:GUARD_SLICES] for split in ("train", "validation")}

    def scans(split: str) -> Iterator[Scan]:
        for row in chosen[split]:
            with contextlib.suppress(ScanError):  # gone since the data was read; the other slices do
                yield read_scan(dataset.table["path"].iloc[row])

    return guard_fit.fit_on_scans(
        scans("train"),
        scans("validation"),
        dataset.size,
        features=lambda squares: run_model(folder, squares).features,
        groups=dataset.table["group"].iloc[chosen["validation"]].nunique(),
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

    from brain_mri.inference.onnx_model import ort

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
    }


def push(folder: Path, repo: str, *, private: bool) -> None:
    """Publish the artifact. Raises PushError with a sentence; the artifact itself stays whole."""
    from brain_mri.artifact import hub_client, hub_push

    try:
        pushed = hub_push.push(folder, repo, private=private)
    except hub_client.HubError as error:
        raise PushError(
            f"{error} The artifact is safe in {folder}; publish it later: python hub.py push {folder} {repo}"
        ) from None
    print(
        f"Published {pushed.url} at revision {pushed.revision[:12]}."
        if pushed.changed
        else f"{pushed.url} is up to date."
    )
