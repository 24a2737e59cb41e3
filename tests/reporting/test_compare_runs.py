"""Many trainings in one table: gathered, resumed, and one that fails does not take the others along."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brain_mri.cli import leaderboard
from brain_mri.files import write_json
from brain_mri.reporting import compare_runs

STUB = """
import json, pathlib, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
name = words[words.index("--classifier") + 1] if "--classifier" in words else "fold"
if name == "broken":
    print("it broke")
    sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
with open(out / "calls", "a") as file:
    file.write("r" if "--resume" in words else "x")
if name == "stopped" and "--resume" not in words:
    sys.exit("stopped in the middle")
template = json.loads(pathlib.Path(__file__).with_name("metrics.json").read_text())
def value(flag, default):
    return int(words[words.index(flag) + 1]) if flag in words else default
config = {"training": {"command": "train.py " + " ".join(words), "classifier": {"seconds": 60},
                       "epochs": value("--epochs", 10)},
          "preprocessing": {"image_size": value("--size", 160)},
          "classifier": {"architecture": name, "parameters": 10},
          "segmenter": {"architecture": "unet", "parameters": 5, "trained_on": "masks"}}
(out / "config.json").write_text(json.dumps(config))
(out / "metrics.json").write_text(json.dumps(template))
other = words[words.index("--seed") + 1] != "0"
(out / "split.csv").write_text("digest,split\\n" + ("other" if other else "one") + ",test\\n")
"""


@pytest.fixture
def stub(tmp_path, monkeypatch, evaluation) -> Path:
    """A train.py that takes no time."""
    script = tmp_path / "stub" / "train.py"
    script.parent.mkdir()
    script.write_text(STUB)
    write_json(script.parent / "metrics.json", evaluation.metrics)
    monkeypatch.setattr(leaderboard, "TRAIN", script)
    return script


def options(tmp_path: Path, **changes: Any) -> Namespace:
    base = {"leaderboard": True, "folds": None, "out": tmp_path / "board", "data": tmp_path, "masks": None,
            "groups": None, "cache": None, "epochs": 2, "seed": 0, "only": None, "also": None, "size": None,
            "train_args": ""}  # fmt: skip
    return Namespace(**base | changes)


def entries(out: Path, *names: str) -> list[compare_runs.Entry]:
    return [compare_runs.Entry(name, ["--classifier", name], out / name) for name in names]


def test_leaderboard_gathers_resumes_and_survives_a_failure(stub, tmp_path, monkeypatch, capsys, evaluation):
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: entries(out, "gap_cnn", "broken", "guided"))
    args = options(tmp_path)
    assert leaderboard.run(args) == 1
    assert "it broke" in capsys.readouterr().err
    text = (args.out / "leaderboard.md").read_text()
    for name in ("gap_cnn", "guided", "Majority class", "1-nearest", "kmeans", "unet"):
        assert name in text
    assert "broken" not in text
    assert f"{evaluation.metrics['classification']['accuracy']['value']:.3f}" in text
    found = pd.read_csv(args.out / "leaderboard.csv")
    assert set(found["kind"]) == {"classifier", "segmenter"}
    assert (args.out / "leaderboard.png").stat().st_size > 3000
    briefly = {name: "--brief" in (args.out / f"{name}.log").read_text() for name in ("gap_cnn", "guided")}
    assert briefly == {"gap_cnn": False, "guided": True}  # baselines are measured once
    leaderboard.run(args)
    assert {name: (args.out / name / "calls").read_text() for name in briefly} == {"gap_cnn": "x", "guided": "x"}
    leaderboard.run(options(tmp_path, epochs=3))
    assert (args.out / "gap_cnn" / "calls").read_text() == "xx"  # another budget is another run


def test_only_what_the_same_command_began_is_resumed(stub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: entries(out, "stopped"))
    args = options(tmp_path)
    assert leaderboard.run(args) == 1
    assert "stopped in the middle" in capsys.readouterr().err
    assert leaderboard.run(args) == 0
    assert (args.out / "stopped" / "calls").read_text() == "xr"
    assert leaderboard.run(options(tmp_path, epochs=3)) == 1  # train.py would refuse to resume under another budget
    assert (args.out / "stopped" / "calls").read_text() == "xrx"


def test_rows_of_several_commands_and_folders_stand_in_one_table(stub, tmp_path, monkeypatch, capsys):
    asked: list[str] = []
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: entries(out, *asked))
    asked[:] = ["gap_cnn"]
    leaderboard.run(options(tmp_path))
    asked[:] = ["flatten_cnn"]
    leaderboard.run(options(tmp_path, size=96, epochs=5))
    asked[:] = ["vgg16"]
    leaderboard.run(options(tmp_path, seed=1, out=tmp_path / "foreign"))  # the stub then tests on other pictures
    asked[:] = ["resnet"]
    leaderboard.run(options(tmp_path, out=tmp_path / "elsewhere"))
    asked[:] = []
    capsys.readouterr()
    also = [tmp_path / "elsewhere" / "resnet", tmp_path / "foreign" / "vgg16"]
    assert leaderboard.run(options(tmp_path, also=also)) == 0
    found = pd.read_csv(tmp_path / "board" / "leaderboard.csv")
    models = found[(found["kind"] == "classifier") & ~found["baseline"]].set_index("name")
    assert set(models.index) == {"gap_cnn", "flatten_cnn", "resnet (resnet)"}
    assert models["epochs"].to_dict() == {"gap_cnn": 2, "flatten_cnn": 5, "resnet (resnet)": 2}
    assert models.at["flatten_cnn", "size"] == 96
    said = capsys.readouterr()
    assert "vgg16 was measured on other pictures" in said.err
    assert "flatten_cnn" in said.out


def test_a_classifier_that_only_kept_a_segmenter_company_has_no_row(stub, tmp_path, monkeypatch):
    unet = compare_runs.Entry("unet", ["--classifier", "gap_cnn"], tmp_path / "board" / "unet")
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: [unet])
    leaderboard.run(options(tmp_path))
    found = pd.read_csv(tmp_path / "board" / "leaderboard.csv")
    assert found.loc[~found["baseline"], "name"].tolist() == ["unet"]


def test_folds_end_with_mean_and_deviation(stub, tmp_path):
    args = options(tmp_path, leaderboard=False, folds=3, out=tmp_path / "folds")
    assert leaderboard.run(args) == 0
    text = (args.out / "folds.md").read_text()
    assert "fold 2" in text
    assert "mean ± SD" in text


def test_every_registered_architecture_is_covered(tmp_path):
    model_def = pytest.importorskip("model_def")
    found = leaderboard.architectures(options(tmp_path, masks=tmp_path), tmp_path)
    words = [entry.arguments for entry in found]
    assert {w[1] for w in words} == set(model_def.CLASSIFIERS)
    few = leaderboard.architectures(options(tmp_path, masks=tmp_path, only=["unet", "resnet", "gap_cnn"]), tmp_path)
    assert [entry.name for entry in few] == ["gap_cnn-unet", "resnet"]
    assert leaderboard.architectures(options(tmp_path, only=[]), tmp_path) == []
    assert set(model_def.SEGMENTERS) <= {w[3] for w in words}
    assert len({entry.folder for entry in found}) == len(found)
