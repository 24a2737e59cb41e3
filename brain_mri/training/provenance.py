"""What an artifact says about itself in config.json: what it is, and where it came from."""

from __future__ import annotations

import datetime
import os
import platform
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from brain_mri.artifact.config import (
    ArtifactConfig,
    DataFacts,
    DecisionRule,
    FitFacts,
    Preprocessing,
    TrainingFacts,
)
from brain_mri.classes import NO_TUMOR, title
from brain_mri.data.dataset import Dataset
from brain_mri.imaging.preprocessing import PREPROCESSING
from brain_mri.inference.onnx_model import ort
from brain_mri.training.config import TrainConfig
from brain_mri.training.export import Exported
from brain_mri.training.run import Networks


def artifact_config(
    config: TrainConfig,
    precision: str,
    dataset: Dataset,
    networks: Networks,
    exported: Exported,
    rule: DecisionRule,
    guard: dict[str, Any] | None,
    run: str,
) -> ArtifactConfig:
    """All but the metrics and the list of files. precision: what the networks were fitted with; run: its name."""
    decision: dict[str, Any] = rule.to_json() | ({"guard": guard} if guard else {})
    none = NO_TUMOR if NO_TUMOR in dataset.classes else ""
    return ArtifactConfig(
        name=config.push or config.out.name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        preprocessing=Preprocessing(name=PREPROCESSING, image_size=config.size),
        classifier=exported.classifier,
        segmenter=exported.segmenter,
        training=training_facts(config, precision, networks, run),
        license=config.license,
        class_titles={name: title(name) for name in dataset.classes},
        no_tumor_class=none,
        data=DataFacts(**dataset.summary(), datasets=tuple(config.datasets)),
        versions=versions(),
        **decision,
    )


def training_facts(config: TrainConfig, precision: str, networks: Networks, run: str) -> TrainingFacts:
    first, *others = networks.classifiers
    masks_alone = networks.segmenter.stage if networks.segmenter else first.outlined
    options = asdict(config.fit_options()) | {"mask_loss": "bce_dice"}
    more: dict[str, Any] = {"segmenter": masks_alone} if masks_alone else {}
    more |= {"others": [other.stages for other in others]} if others else {}
    more |= {"left_out": tuple(config.leave_out)} if config.leave_out else {}
    return TrainingFacts(
        run=run,
        command=config.command,
        precision=precision,
        options=FitFacts(**options),
        refit=config.refit,
        seed=config.seed,
        epochs=config.epochs,
        hardware=hardware(),
        classifier=first.stage,
        official_split=config.official_split,
        init=config.init is not None,
        **more,
    )


def hardware() -> str:
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(gpus) if gpus else f"{os.cpu_count()} CPU cores ({platform.machine()})"


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
    }
