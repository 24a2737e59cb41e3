"""metrics.json as records: what was written by any version is read, and written again as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brain_mri.artifact.folder import BUNDLED
from brain_mri.evaluation.records import Metrics, Summary, read_metrics
from brain_mri.files import FileError, write_json

BRIEF: dict[str, Any] = {"images": {"count": 3, "groups": 2}, "notes": [], "classification": None, "later": {"a": [1]}}


def test_bundled_metrics_are_read_and_written_as_they_are():
    text = (BUNDLED / "metrics.json").read_text(encoding="utf-8")
    metrics = read_metrics(BUNDLED / "metrics.json")
    assert json.dumps(metrics.to_json(), sort_keys=True) == json.dumps(json.loads(text), sort_keys=True)
    stored = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))["metrics"]
    now = Summary.of(metrics).to_json()  # which may say more than an earlier version's
    assert {name: now[name] for name in stored} == Summary.model_validate(stored).to_json() == stored
    assert metrics.classification and metrics.classification.accuracy.value == stored["accuracy"]["value"]


def test_measured_metrics_are_read_and_written_as_they_are(evaluation, tmp_path):
    write_json(tmp_path / "metrics.json", stored := evaluation.metrics.to_json())
    assert read_metrics(tmp_path / "metrics.json") == evaluation.metrics
    assert read_metrics(tmp_path / "metrics.json").to_json() == stored


def test_keys_of_other_versions_survive_and_what_was_not_measured_is_none():
    metrics = Metrics.model_validate(BRIEF)
    assert metrics.to_json() == BRIEF
    assert metrics.segmentation is metrics.classification is metrics.guard is None
    assert Summary.of(metrics).accuracy is None
    assert Summary.of(metrics).to_json()["baselines"] == {}


@pytest.mark.parametrize(
    "broken",
    [{"images": 5}, {**BRIEF, "classification": []}, {**BRIEF, "resamples": "many"}, {**BRIEF, "images": {"count": 1}}],
)
def test_damaged_metrics_end_with_one_sentence(broken, tmp_path):
    write_json(tmp_path / "metrics.json", broken)
    with pytest.raises(FileError, match=r"metrics\.json is damaged: \w") as caught:
        read_metrics(tmp_path / "metrics.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match=r"no metrics\.json"):
        read_metrics(tmp_path / "nothing" / "metrics.json")


def test_records_do_not_change():
    metrics = Metrics.model_validate(BRIEF)
    with pytest.raises(ValueError, match="frozen"):
        metrics.split = "test"
    assert metrics.model_copy(update={"split": "test"}).split == "test"
    assert Metrics.model_validate(metrics.to_json()) == metrics
