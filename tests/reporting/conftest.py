"""One run of a handmade model on phantoms, and its whole hand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.artifact.folder import load_artifact
from brain_mri.data import dataset as data
from brain_mri.data import phantom
from brain_mri.evaluation import baselines, evaluate
from brain_mri.reporting import plot_style, report

HISTORY = {
    "loss": [2.0, 1.0, 0.8],
    "val_loss": [2.1, 1.2, 1.3],
    "logits_accuracy": [0.4, 0.7, 0.8],
    "val_logits_accuracy": [0.3, 0.6, 0.6],
    "mask_dice": [0.1, 0.4, 0.5],
    "val_mask_dice": [0.1, 0.3, 0.4],
}


@pytest.fixture(scope="package", autouse=True)
def coarse_figures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot_style, "DPI", 60)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, handmade_artifact: Path) -> dict[str, Any]:
    """dataset, evaluation, config of a handmade model on phantoms."""
    folder = phantom.write_dataset(tmp_path_factory.mktemp("data") / "phantoms", per_class=10, size=96)
    cache = tmp_path_factory.mktemp("cache")
    dataset = data.load_dataset(folder, folder / "segmentation", size=64, cache=cache, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 20)
        result = evaluate.evaluate(handmade_artifact, dataset, resamples=40)
    config = load_artifact(handmade_artifact).config.to_json()
    config["name"] = "somebody/brain-mri"
    config["training"] = {
        "seed": 0,
        "epochs": 3,
        "command": "train.py --data <D> & more",
        "options": {"batch_size": 32, "learning_rate": 0.001, "mask_loss": "bce_dice", "label_smoothing": 0.05},
        "classifier": {"history": HISTORY, "best_epoch": 1, "seconds": 90.0},
        "hardware": "2 CPU cores",
    }
    config["data"] = dataset.summary()
    return {"dataset": dataset, "evaluation": result, "config": ArtifactConfig.model_validate(config)}


@pytest.fixture(scope="session")
def written(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    report.write_all(folder, made["config"], made["evaluation"], made["dataset"])
    return folder
