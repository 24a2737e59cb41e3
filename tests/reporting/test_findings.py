"""Sentences that the numbers allow."""

from __future__ import annotations

from typing import Any

import pytest

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting import figures, findings, texts

typed, metrics_of = ArtifactConfig.model_validate, Metrics.model_validate


def lead(made: dict[str, Any], low: float, high: float) -> Metrics:
    def row(value: float, spread: float = 0.02) -> dict[str, Any]:
        return {"value": value, "low": value - spread, "high": value + spread}

    metrics = made["evaluation"].metrics.to_json()
    metrics["classification"] |= {"count": 10, "groups": 5, "accuracy": row(0.8)}
    bar = {"accuracy": row(0.7), "macro_f1": row(0.7), "lead": {"value": (low + high) / 2, "low": low, "high": high}}
    metrics["baselines"]["scores"] = {"border_forest": bar}
    return metrics_of(metrics)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.05, 0.15, "more than chance explains"), (-0.2, -0.1, "worse than that baseline"), (-0.1, 0.1, "too small")],
)
def test_verdict_says_what_the_interval_allows(made, low, high, said):
    assert said in " ".join(findings.verdict(lead(made, low, high)))


def test_both_stages_of_a_shared_network_are_told(made, tmp_path):
    config = made["config"].to_json()
    config["segmenter"] |= {"shared": True, "trained_on": "masks", "architecture": "guided"}
    config["classifier"]["architecture"] = "guided"
    config["training"]["segmenter"] = {"history": {"loss": [1.0, 0.5]}, "best_epoch": 1, "seconds": 30.0}
    settings = findings.training_settings(typed(config))
    assert settings["Epochs"] == (
        "masks alone: 2, the weights of epoch 2 are kept; then the class: 3, the weights of epoch 2 are kept"
    )
    assert settings["Time"].startswith("2 min on")
    config["training"]["command"] = "train.py --data /home/ann/My/scans --out runs/a --init /x/b/ -v"
    assert findings.training_settings(typed(config))["Command"] == "train.py --data scans --out runs/a --init b/ -v"
    assert settings["Segmenter"] == "the same network, learned from: masks outlined by hand"
    told = " ".join(texts.method(made["evaluation"].metrics, typed(config)))
    assert "decides where the classifier may look" in told and "on top of that U-Net, which stood still" in told
    assert figures.training_curves(typed(config), tmp_path / "c.png") is not None
    assert "Sequences" not in settings
    flat = {"weights": [[0.0], [0.0]], "bias": [0.0, 0.0], "limits": [0.5, 0.5]}
    config["sequence"] = flat | {"sequences": ["T1", "FLAIR"], "kinds_on": ["T1"], "named": 0.5, "right": 1}
    assert findings.training_settings(typed(config))["Sequences"] == (
        "T1, FLAIR: one is named on 50.0 % of the validation slices, rightly on 100.0 % of these; kinds of tumor were "
        "learned on T1"
    )
    del config["training"]["segmenter"]
    assert findings.training_settings(typed(config))["Epochs"].startswith("3, the weights")
