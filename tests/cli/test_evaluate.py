"""The command line of evaluate: a whole hand-in, sentences instead of tracebacks, baselines without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from brain_mri.cli import evaluate as command
from brain_mri.evaluation import baselines
from brain_mri.evaluation.records import Summary
from brain_mri.files import read_json
from brain_mri.reporting import overview, plot_style


@pytest.fixture(scope="module", autouse=True)
def small_forests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 25)
        patch.setattr(plot_style, "DPI", 60)
        yield


def test_table_and_summary_hold_the_same_numbers(evaluation):
    text: str = overview.overview(evaluation.metrics)
    short: Any = Summary.of(evaluation.metrics)
    assert f"{short.accuracy.value:.3f}" in text
    assert f"{short.dice.value:.3f}" in text
    for name in ("1-nearest neighbour", "border only", "Majority class", "K-means", "Randomised-weights", "ROC-AUC"):
        assert name in text
    json.dumps(short.to_json(), allow_nan=False)


@pytest.mark.slow
def test_command_line_writes_a_whole_hand_in(handmade_artifact, folders, tmp_path, capsys):
    out = tmp_path / "out"
    status = command.main(
        ["--model", str(handmade_artifact), "--data", str(folders), "--masks", str(folders / "segmentation"),
         "--cache", str(tmp_path), "--out", str(out), "--resamples", "30"]
    )  # fmt: skip
    text, notes = capsys.readouterr()
    assert status == 0
    assert "1-nearest neighbour" in text
    assert "K-means" in text
    assert "was left out" not in notes
    metrics = read_json(out / "metrics.json")
    assert metrics["baselines"]["train"] == 0  # unknown training rows: baselines are cross-validated
    for name in ("report.html", "slides.pptx", "figures/compared.png", "figures/cases.png"):
        assert (out / name).stat().st_size > 3000, name
    assert not (out / "README.md").exists()  # the model's card is not overwritten by someone's evaluation
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "{tmp}/nothing", "--data", "{data}"], "nothing"),
        (["--model", "{model}", "--data", "{tmp}/nowhere"], "nowhere"),
        (["--model", "{model}", "--official", "{model}", "--data", "{data}", "--no-baselines"], "official-split"),
    ],
)
def test_wrong_calls_end_with_one_sentence(arguments, said, handmade_artifact, folders, tmp_path, capsys):
    words = [a.format(tmp=tmp_path, data=folders, model=handmade_artifact) for a in arguments]
    assert command.main([*words, "--cache", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_without_a_model_the_baselines_stand_on_both_splits(folders, tmp_path, capsys):
    assert command.main(["--data", str(folders), "--cache", str(tmp_path), "--resamples", "20"]) == 0
    text = capsys.readouterr().out
    for phrase in ("1-nearest neighbour", "How much the official split flatters", "Official Training/Testing"):
        assert phrase in text
    assert "model" not in text.lower()
