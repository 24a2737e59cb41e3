"""config.json as a record: files of earlier versions are read, and written again as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from brain_mri.artifact.config import ArtifactConfig, ArtifactError, DecisionRule, Thresholds, TrainingFacts

NOVEMBER = Path(__file__).with_name("config_of_november.json")


@pytest.fixture
def stored() -> dict[str, Any]:
    return json.loads(NOVEMBER.read_text(encoding="utf-8"))


def test_a_config_of_november_2026_is_read_and_written_again_as_it_was(stored: dict[str, Any]) -> None:
    config = ArtifactConfig.read(stored, "here")
    assert config.to_json() == stored
    assert json.dumps(config.to_json(), sort_keys=True) == json.dumps(stored, sort_keys=True), "numbers keep their type"
    assert config.classes == ("glioma", "meningioma", "notumor", "pituitary")
    assert config.preprocessing.image_size == 160 and config.thresholds.min_fraction == 0.0005
    assert config.classifier.members == 3 and config.segmenter.shared and config.segmenter.is_network
    assert config.bias == (0.428201, 0.134806, -0.34246, -0.220545) and config.stacking is None
    assert config.training.refit and config.training.options.folded == 0.3 and len(config.training.others) == 5
    assert config.training.segmenter is not None and config.training.segmenter.best_epoch == 10
    assert config.data.patients == 169 and config.files["classifier.onnx"].bytes == 8451900


def test_what_earlier_artifacts_say_with_their_command_alone(stored: dict[str, Any]) -> None:
    training = ArtifactConfig.read(stored, "here").training
    assert training.official_split is False and training.init is False
    assert not {"official_split", "init"} & set(training.to_json())
    stored["training"]["command"] = "train.py --data D --official-split --init runs/a"
    training = ArtifactConfig.read(stored, "here").training
    assert training.official_split and training.init
    assert TrainingFacts().official_split is None, "nobody said"
    later = TrainingFacts(command="train.py --init runs/a", init=False)
    assert later.init is False and later.to_json()["init"] is False


def test_keys_of_later_versions_are_kept(stored: dict[str, Any]) -> None:
    stored |= {"contrast": "medium"}
    stored["training"]["options"] |= {"novel": [1, {"a": 2}]}
    assert ArtifactConfig.read(stored, "here").to_json() == stored


def test_a_config_lacks_or_has_unusable_values(stored: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"^here: config\.json lacks temperature, files\.$"):
        ArtifactConfig.read({k: v for k, v in stored.items() if k not in ("files", "temperature")}, "here")
    with pytest.raises(ArtifactError, match=r"^here: config\.json has no usable value for bias, training\.$"):
        ArtifactConfig.read(stored | {"bias": [1, 2, 3], "training": {"epochs": "many"}}, "here")


def test_thresholds_that_nobody_chose() -> None:
    rule = DecisionRule(classes=("a", "b"), temperature=1)
    assert rule.thresholds == Thresholds(mask=0.5, min_fraction=0.002, abstain=0.0, tumor=0.5)
    with pytest.raises(ValidationError):
        rule.temperature = 2  # type: ignore[misc]
