"""The command line of evaluate: a whole hand-in, sentences instead of tracebacks, baselines without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml

from brain_mri.artifact.folder import load_artifact
from brain_mri.cli import evaluate as command
from brain_mri.evaluation import baselines
from brain_mri.evaluation.held_out import write_split
from brain_mri.evaluation.records import Summary
from brain_mri.files import read_json
from brain_mri.reporting import overview, plot_style
from tests.helpers.handmade import write_handmade


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
         "--cache", str(tmp_path), "--out", str(out), "--resamples", "30", "--benchmark", "me/brain-mri:which"]
    )  # fmt: skip
    text, notes = capsys.readouterr()
    assert status == 0
    assert "1-nearest neighbour" in text
    (result,) = yaml.safe_load((out / ".eval_results" / "brain-mri.yaml").read_text())
    assert result["dataset"] == {"id": "me/brain-mri", "task_id": "which"} and 0 < result["value"] <= 1
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


def test_further_folders_stand_beside_the_main_rows_or_alone(handmade_artifact, source_folders, tmp_path, capsys):
    (data, second), (lgg, web) = source_folders
    common = ["--cache", str(tmp_path), "--resamples", "20"]
    words = [str(handmade_artifact), "--data", str(data), "--no-baselines", "--also", str(second), str(lgg), str(web)]
    assert command.main([*words, *common, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    for said in (
        "lgg FLAIR: Glioma",
        "lgg T1: Glioma",
        "web: tumor without a kind",
        "data T1: No tumor",
        "lgg: The model",
    ):
        assert said in text
    stored = read_json(tmp_path / "out" / "metrics.json")
    assert {row["source"] for row in stored["also"]} == {"data", "lgg", "web"} and stored["by_source"] is None
    assert "data T1: No tumor" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert command.main([str(handmade_artifact), "--also", str(lgg), *common]) == 0
    alone = capsys.readouterr().out
    assert "lgg FLAIR: Glioma" in alone and "data T1" not in alone


def test_a_folder_that_cannot_be_measured_costs_nothing_but_itself(handmade_artifact, source_folders, tmp_path, capsys):
    (data, _), (lgg, _) = source_folders
    (tmp_path / "empty").mkdir()
    words = [
        str(handmade_artifact),
        "--data",
        str(data),
        "--no-baselines",
        "--cache",
        str(tmp_path),
        "--resamples",
        "20",
    ]
    assert command.main([*words, "--also", str(tmp_path / "empty"), str(lgg), str(tmp_path / "gone")]) == 1
    text, error = capsys.readouterr()
    assert "Classification beside" in text and "lgg T1: Glioma" in text
    lines = [line for line in error.splitlines() if line.startswith("evaluate: ")]
    assert [line.split(" was not measured: ")[0] for line in lines] == [
        f"evaluate: {tmp_path / 'empty'}", f"evaluate: {tmp_path / 'gone'}"
    ]  # fmt: skip
    assert command.main([str(handmade_artifact), "--also", str(tmp_path / "gone")]) == 1
    (tmp_path / "other" / "schwannoma").mkdir(parents=True)
    (tmp_path / "other" / "schwannoma" / "1.png").touch()
    assert "was not measured" in capsys.readouterr().err
    assert command.main([str(handmade_artifact), "--also", str(tmp_path / "other")]) == 1
    assert "holds no class folder with pictures" in (said := capsys.readouterr().err) and "mask" not in said


def test_a_further_folder_given_twice_counts_once(handmade_artifact, source_folders, tmp_path, capsys):
    _, (lgg, _) = source_folders
    words = [str(handmade_artifact), "--cache", str(tmp_path), "--resamples", "20", "--also", str(lgg)]
    assert command.main([*words, f"{lgg.parent}/./{lgg.name}/"]) == 0
    assert "lgg FLAIR: Glioma  4 / 4" in capsys.readouterr().out
    assert command.main([*words[:-1], str(source_folders[0][0] / "glioma")]) == 1
    assert "is the folder of a single class" in capsys.readouterr().err


def test_what_the_model_was_trained_on_is_taken_out_of_a_further_folder(several, source_folders, tmp_path, capsys):
    artifact = load_artifact(write_handmade(tmp_path / "a"))
    taught = several.table["origin"].isin(["lgg", "data"])
    known = replace(several, table=several.table.assign(split=np.where(taught, "train", "test")))
    write_split(artifact.folder, known)
    _, (lgg, web) = source_folders
    words = [str(artifact.folder), "--also", str(lgg), str(web), "--cache", str(tmp_path), "--resamples", "20"]
    assert command.main(words) == 1
    text, error = capsys.readouterr()
    assert "web: tumor without a kind" in text and "lgg T1" not in text
    assert f"evaluate: {lgg} was not measured: the model was trained or tuned on all of its pictures." in error


def test_nothing_to_measure_on_is_a_sentence(capsys):
    assert command.main(["weights"]) == 2
    assert capsys.readouterr().err == "evaluate: give labelled folders as --data, or a model and --also.\n"


def test_a_benchmark_needs_a_name_and_what_is_measured(tmp_path, capsys):
    assert command.main(["weights", "--also", str(tmp_path), "--benchmark", "me/a:b"]) == 2
    assert "needs a model, --data and --out" in capsys.readouterr().err
    assert command.main(["weights", "--data", "x", "--out", str(tmp_path / "out"), "--benchmark", "me/a"]) == 1
    assert "names no benchmark of the Hub" in capsys.readouterr().err and not (tmp_path / "out").exists()
