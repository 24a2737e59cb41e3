"""Many trainings in one table: gathered, resumed, and one that fails does not take the others along."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import model_def
from brain_mri.artifact.folder import load_artifact
from brain_mri.cli import compare
from brain_mri.files import write_json
from brain_mri.reporting import compare_runs

ROOT = Path(__file__).resolve().parents[2]
Recipe = Callable[..., "subprocess.CompletedProcess[str]"]
STUB = """
import json, pathlib, shutil, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
def value(flag, default):
    return type(default)(words[words.index(flag) + 1]) if flag in words else default
name, segmenter = value("--classifier", "guided"), value("--segmenter", "shared")
if name == "broken":
    print("it broke")
    sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
with open(out / "calls", "a") as file:
    file.write("r" if "--resume" in words else "b" if "--brief" in words else "x")
if name == "stopped" and "--resume" not in words:
    sys.exit("stopped in the middle")
shutil.copytree(pathlib.Path(__file__).with_name("template"), out, dirs_exist_ok=True)
config = json.loads((out / "config.json").read_text())
config["classifier"] = {"architecture": name, "parameters": 10}
config["segmenter"] = {"architecture": name if segmenter == "shared" else segmenter, "parameters": 5,
                       "shared": segmenter == "shared", "trained_on": "nothing" if segmenter == "kmeans" else "masks"}
config["training"] = {"command": "train.py " + " ".join(words), "classifier": {"seconds": 60.0},
                      "epochs": value("--epochs", 10)}
config["preprocessing"]["image_size"] = value("--size", 160)
(out / "config.json").write_text(json.dumps(config))
if "--leave-out" in words:
    taken = words[words.index("--leave-out") + 1 : words.index("--data")]
    metrics = json.loads((out / "metrics.json").read_text())
    (row, *_) = metrics["by_source"]
    metrics["by_source"] = [row, *(row | {"source": name, "left_out": True} for name in taken)]
    (out / "metrics.json").write_text(json.dumps(metrics))
(out / "split.csv").write_text("digest,split\\n" + ("other" if value("--seed", 0) else "one") + ",test\\n")
"""


@pytest.fixture
def recipe(tmp_path: Path, handmade_artifact: Path, evaluation: Any) -> Recipe:
    """recipes/leaderboard.sh or another with a train.py that takes no time."""
    script, template = tmp_path / "stub" / "train.py", tmp_path / "stub" / "template"
    script.parent.mkdir()
    script.write_text(STUB)
    template.mkdir()
    for path in handmade_artifact.iterdir():
        (template / path.name).write_bytes(path.read_bytes())
    write_json(template / "metrics.json", evaluation.metrics.to_json())

    def run(*words: str, name: str = "leaderboard", out: Path = tmp_path / "board", **settings: str) -> Any:
        environment = os.environ | {"TRAIN": f"{sys.executable} {script}", "OUT": str(out)} | settings
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        command = ["bash", str(ROOT / "recipes" / f"{name}.sh"), "--data", str(tmp_path), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def calls(*folders: Path) -> dict[str, str]:
    return {folder.name: (folder / "calls").read_text() for folder in folders}


@pytest.mark.slow
def test_leaderboard_gathers_resumes_and_survives_a_failure(recipe, tmp_path, evaluation):
    words, out = ("--masks", str(tmp_path), "--epochs", "2"), tmp_path / "board"
    done = recipe(*words, ONLY="gap_cnn broken guided unet")
    assert done.returncode == 1
    assert "it broke" in done.stderr
    text = (out / "leaderboard.md").read_text()
    for name in ("gap_cnn", "guided", "Majority class", "1-nearest", "kmeans", "unet"):
        assert name in text
    assert "broken" not in text
    measured = evaluation.metrics.classification
    assert measured and f"{measured.accuracy.value:.3f}" in text
    found = pd.read_csv(out / "leaderboard.csv")
    assert set(found["kind"]) == {"classifier", "segmenter"}
    assert (out / "leaderboard.png").stat().st_size > 3000
    assert calls(out / "gap_cnn", out / "guided") == {"gap_cnn": "x", "guided": "b"}  # baselines are measured once
    recipe(*words, ONLY="gap_cnn guided")
    assert calls(out / "gap_cnn", out / "guided") == {"gap_cnn": "x", "guided": "b"}
    recipe(*words[:-1], "3", ONLY="gap_cnn")
    assert calls(out / "gap_cnn") == {"gap_cnn": "xx"}  # another budget is another run


@pytest.mark.slow
def test_only_what_the_same_command_began_is_resumed(recipe, tmp_path):
    stopped = tmp_path / "board" / "stopped"
    done = recipe(ONLY="stopped")
    assert done.returncode == 1
    assert "stopped in the middle" in done.stderr
    assert recipe(ONLY="stopped").returncode == 0
    assert calls(stopped) == {"stopped": "xr"}
    assert recipe("--epochs", "3", ONLY="stopped").returncode == 1  # train.py would refuse to resume another budget
    assert calls(stopped) == {"stopped": "xrx"}


@pytest.mark.slow
def test_rows_of_several_commands_and_folders_stand_in_one_table(recipe, tmp_path, capsys):
    recipe("--epochs", "2", ONLY="gap_cnn")
    recipe("--size", "96", "--epochs", "5", ONLY="flatten_cnn")
    foreign, elsewhere = tmp_path / "foreign", tmp_path / "elsewhere"
    recipe("--seed", "1", ONLY="vgg16", out=foreign)  # the stub then tests on other pictures
    recipe("--epochs", "2", ONLY="resnet", out=elsewhere)
    runs = [tmp_path / "board" / "gap_cnn", tmp_path / "board" / "flatten_cnn", elsewhere / "resnet", foreign / "vgg16"]
    assert compare.main([*map(str, runs), "--out", str(tmp_path / "all")]) == 0
    found = pd.read_csv(tmp_path / "all" / "leaderboard.csv")
    models = found[(found["kind"] == "classifier") & ~found["baseline"]].set_index("name")
    assert set(models.index) == {"gap_cnn", "flatten_cnn", "resnet"}
    assert models["epochs"].to_dict() == {"gap_cnn": 2, "flatten_cnn": 5, "resnet": 2}
    assert models.at["flatten_cnn", "size"] == 96
    said = capsys.readouterr()
    assert "vgg16 was measured on other pictures" in said.err
    assert "flatten_cnn" in said.out
    twice = recipe("--epochs", "2", ONLY="gap_cnn", ALSO=f"{elsewhere / 'resnet'} {runs[0]}")
    assert twice.returncode == 0 and "gap_cnn (gap_cnn)" in twice.stdout and "| resnet |" in twice.stdout


@pytest.mark.slow
def test_a_classifier_that_only_kept_a_segmenter_company_has_no_row(recipe, tmp_path):
    assert recipe("--masks", str(tmp_path), ONLY="unet").returncode == 0
    found = pd.read_csv(tmp_path / "board" / "leaderboard.csv")
    assert set(found.loc[~found["baseline"], "name"]) == {"unet"}


@pytest.mark.slow
def test_folds_end_with_mean_and_deviation(recipe, tmp_path):
    assert recipe(name="folds", out=tmp_path / "folds", FOLDS="0 1 2").returncode == 0
    text = (tmp_path / "folds" / "folds.md").read_text()
    assert "fold 2" in text
    assert "mean ± SD" in text


@pytest.mark.slow
def test_each_source_is_left_out_once_and_all_stand_in_one_table(recipe, tmp_path):
    out, pairs = tmp_path / "out", tmp_path / "pairs"
    named = ("kaggle:ada/brain/versions/3", "hf:ada/heads@refs/pr/1")
    done = recipe("--masks", str(pairs), *named, "--epochs", "2", name="leave_one_out", out=out)
    assert done.returncode == 0, done.stderr
    sources = {tmp_path.name, "pairs", "brain", "heads"}
    assert {path.name for path in out.iterdir() if path.is_dir()} == {f"without-{source}" for source in sources}
    found = pd.read_csv(out / "left_out.csv")
    assert set(found["source"]) == sources and found["tumor_roc_auc.value"].notna().all()
    assert "| pairs (left out) |" in (out / "left_out.md").read_text() and "pairs (left out)" in done.stdout
    done = recipe(name="leave_one_out", out=tmp_path / "two", SOURCES="a,b c")
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(tmp_path / "two" / "left_out.csv")["source"]) == ["a", "b", "c"]


def test_runs_that_left_nothing_out_have_no_such_table(tmp_path, handmade_artifact, evaluation, capsys):
    template = tmp_path / "run"
    template.mkdir()
    for path in handmade_artifact.iterdir():
        (template / path.name).write_bytes(path.read_bytes())
    write_json(template / "metrics.json", evaluation.metrics.to_json())
    assert compare.main([str(template), "--left-out", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "compare: None of these runs left out a source (train.py --leave-out).\n"


@pytest.mark.slow
def test_every_registered_architecture_is_covered(recipe, tmp_path):
    recipe("--masks", str(tmp_path))
    runs = [load_artifact(path.parent).config for path in (tmp_path / "board").glob("*/config.json")]
    assert {run.classifier.architecture for run in runs} == set(model_def.CLASSIFIERS)
    assert set(model_def.SEGMENTERS) <= {run.segmenter.architecture for run in runs}
    bare = recipe(out=tmp_path / "bare", ONLY="unet")
    assert bare.returncode == 1 and "Without --masks" in bare.stderr


def test_board_is_drawn_from_gathered_runs(tmp_path, handmade_artifact, evaluation):
    config, metrics = load_artifact(handmade_artifact).config, evaluation.metrics
    run = compare_runs.Run(tmp_path, config, metrics)
    found = compare_runs.board([run])
    assert sum(line.baseline for line in found) >= 4
    assert compare_runs.draw(found, tmp_path / "board.png") is not None
