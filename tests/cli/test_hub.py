"""push, pull and deploy as their own process: HF_ENDPOINT and HF_HUB_OFFLINE are read at import there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact.folder import load_artifact, new_artifact
from brain_mri.cli import hub
from brain_mri.evaluation.held_out import write_split
from tests.helpers.handmade import write_handmade
from tests.helpers.loopback_hub import LoopbackHub, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brain_mri", "hub", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_command_line(loopback: LoopbackHub, tmp_path: Path) -> None:
    model = write_model(tmp_path / "run1")
    done = run("push", str(model), "me/model", "--tag", "v1")
    assert done.returncode == 0 and "now holds" in done.stdout and "tag v1" in done.stdout, done.stderr
    assert "already held" in run("push", str(model), "me/model", "--tag", "v1").stdout
    got = run("pull", "me/model@v1")
    assert got.returncode == 0 and loopback.repo("me/model").tags["v1"] in got.stdout
    failed = run("pull", "me/other")
    assert failed.returncode == 1 and failed.stderr.startswith("error: There is no model me/other")
    assert "Traceback" not in failed.stderr
    offline = run("pull", "me/model", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and "HF_HUB_OFFLINE is set" in offline.stderr
    nowhere = run("pull", "me/other", HF_HUB_OFFLINE="1")
    assert nowhere.returncode == 1 and "HF_HUB_OFFLINE is set" in nowhere.stderr


@pytest.fixture
def measured(dataset: Any, tmp_path: Path) -> Path:
    """An artifact that says what it was tested on."""
    folder = write_handmade(tmp_path / "run", data={"fingerprint": dataset.fingerprint()})
    write_split(folder, dataset)
    # As train.py leaves it: listed in config.json
    with new_artifact(tmp_path / "whole", load_artifact(folder).config) as files:
        for path in folder.iterdir():
            if path.name != "config.json":
                shutil.copyfile(path, files / path.name)
    return tmp_path / "whole"


def test_examples_of_the_test_split_are_pushed_with_their_licence(
    loopback: LoopbackHub, measured: Path, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(folders), "--masks", str(folders / "segmentation")]
    for missing in ([], ["--examples-license", " "], ["--examples-license", "CC0"]):
        assert hub.main(["push", str(measured), "me/model", "--examples", "4", *missing]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: Examples are slices of patients") and "Nothing was pushed" in said
        assert ("model", "me/model") not in loopback.repos
    licence = ["--examples-license", "CC BY 4.0\n (phantoms)"]
    assert hub.main(["push", str(measured), "me/model", "--examples", "4", *licence, *data]) == 0
    said = capsys.readouterr().out
    assert "Names, tags and EXIF are gone; text that is burnt into a picture is not." in said
    files = loopback.repo("me/model").files
    names = sorted(name for name in files if name.startswith("examples/"))
    kinds = ("glioma", "meningioma", "no_tumor", "pituitary")
    assert names == ["examples/LICENSE.txt", *(f"examples/{kind}_1.png" for kind in kinds)]
    assert files["examples/LICENSE.txt"].content.startswith(b"CC BY 4.0 (phantoms)\n")
    card = files["README.md"].content.decode()
    assert "## Examples" in card and "whatever the model says of them" in card and "CC BY 4.0 (phantoms)" in card
    assert not [name for name in files if "phantom-" in name] and "phantom-" not in card
    assert hub.main(["push", str(measured), "me/model"]) == 0  # they stay with the run
    assert "already held" in capsys.readouterr().out
    assert hub.main(["push", str(measured), "me/model", "--examples", "0"]) == 0
    assert not [name for name in loopback.repo("me/model").files if name.startswith("examples/")]


def test_a_person_at_a_terminal_is_asked_and_enter_adds_none(
    loopback: LoopbackHub, measured: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers: list[str] = []
    monkeypatch.setattr("builtins.input", lambda _="": answers.pop(0))
    answers[:] = [""]
    assert hub.main(["push", str(measured), "me/model"]) == 0
    files = loopback.repo("me/model").files
    assert not answers and not [name for name in files if name.startswith("examples/")]
    answers[:] = ["y", str(folders), str(folders / "segmentation"), "CC BY 4.0"]
    assert hub.main(["push", str(measured), "me/model"]) == 0
    assert not answers and "examples/LICENSE.txt" in loopback.repo("me/model").files
    assert hub.main(["push", str(measured), "me/model"]) == 0  # it has some: nobody is asked again


def test_whoever_answers_nothing_pushes_nothing(
    loopback: LoopbackHub, measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answering(*answers: str) -> str:
        left = iter(answers)
        monkeypatch.setattr("builtins.input", lambda _="": next(left))
        assert hub.main(["push", str(measured), "me/another"]) == 1
        return capsys.readouterr().err

    def ctrl_d(_: str = "") -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert "where they lie" in answering("y", "", "", "CC BY 4.0")  # not in the folder where this runs
    monkeypatch.setattr("builtins.input", ctrl_d)
    assert hub.main(["push", str(measured), "me/another"]) == 1
    assert "were not answered" in capsys.readouterr().err


def test_a_model_without_a_split_has_none_to_show(
    loopback: LoopbackHub, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_handmade(tmp_path / "run")
    options = ["--examples", "2", "--examples-license", "CC0", "--data", str(folders)]
    assert hub.main(["push", str(model), "me/model", *options]) == 1
    assert "has no split.csv" in capsys.readouterr().err and ("model", "me/model") not in loopback.repos
