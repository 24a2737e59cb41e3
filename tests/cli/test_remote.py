"""One command on a worker, folds and searches: a real Dask scheduler and worker processes on the loopback.

The train.py of most tests takes no time; that of the last one is ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from brain_mri.cli import remote
from brain_mri.files import read_json
from tests.helpers.dask_processes import Processes, processes

pytest.importorskip("distributed", reason="pip install -r requirements-scale.txt")

ROOT = Path(__file__).resolve().parents[2]
STUB = """
import json, os, pathlib, sys, time
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
out = pathlib.Path(value("--out"))
out.mkdir(parents=True, exist_ok=True)
with open(out / "calls", "a") as file:
    file.write("r" if "--resume" in words else "x")
print("begun", "f\u00fcr" if "--resume" not in words else "again", os.getcwd())
print("to stderr", file=sys.stderr)
if "--sleep" in words and "--resume" not in words:
    (out / "process").write_text(str(os.getpid()))
    time.sleep(600)
if "--status" in words:
    sys.exit(int(value("--status")))
if "--learning-rate" in words:
    state = out / "checkpoints" / "classifier"
    state.mkdir(parents=True, exist_ok=True)
    score = 1 - abs(float(value("--learning-rate")) - 0.002) * 100
    (state / "state.json").write_text(json.dumps({"history": {"val_logits_accuracy": [score] * 4, "loss": [1] * 4}}))
    together = out.parent / "together"
    while not together.exists() and len(list(out.parent.glob("*/calls"))) < 2:
        time.sleep(0.02)  # the first trial waits until another one runs beside it
    together.touch()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("dask") / "two") as started:
        started.worker(), started.worker()
        started.wait_for(2)
        yield started


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "train.py").write_text(STUB, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "train.py")


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def gone(process: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True


def test_it_prints_here_and_its_status_is_that_of_the_command(
    two: Processes, stub: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert remote.main([two.address, stub, "--out", "run", "--status", "3"]) == 3
    said = capfd.readouterr()
    assert sorted(said.out.splitlines()) == [f"begun f\u00fcr {tmp_path}", "to stderr"] and not said.err
    assert (tmp_path / "run/calls").read_text() == "x"
    assert remote.main([two.address, "phantom", "drawn", "--per-class", "1", "--size", "64"]) == 0
    assert "drawn" in capfd.readouterr().out and len(list((tmp_path / "drawn").rglob("*.png"))) >= 4


def test_a_lost_worker_leaves_nothing_that_writes_on_and_another_one_resumes(
    stub: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with processes(tmp_path / "dask") as one:
        lost = one.worker()
        command = [sys.executable, "-m", "brain_mri", "remote", one.address, stub, "--out", "run", "--sleep"]
        asking = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
        until((tmp_path / "run/process").exists)
        until((tmp_path / "run/process").read_text)
        lost.kill()
        one.worker()
        assert asking.wait(60) == 0
    assert (tmp_path / "run/calls").read_text() == "xr"
    until(lambda: gone(int((tmp_path / "run/process").read_text())))
    said = capfd.readouterr().out
    assert (
        said.index("begun f\u00fcr")
        < said.index("The worker was lost; another one goes on.")
        < said.index("begun again")
    )


def test_who_is_ended_ends_the_command(two: Processes, stub: str, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-m", "brain_mri", "remote", two.address, stub, "--out", f"run{number}", "--sleep"]
        asking = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )
        process = tmp_path / f"run{number}/process"
        until(process.exists)
        until(process.read_text)
        asking.send_signal(number)
        assert asking.wait(60) == 130
        assert asking.stderr and asking.stderr.read().endswith("\nStopped.\n")
        assert gone(int(process.read_text()))


def test_what_cannot_be_done_is_one_sentence(
    two: Processes, stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(os, "getcwd", lambda: "/no/such/folder")
    assert remote.main([two.address, stub, "--out", "run"]) == 2
    assert capsys.readouterr().err == (
        "remote: /no/such/folder is not there on a worker; work in a folder that all machines see.\n"
    )
    assert remote.main(["no.json", stub, "--out", "run"]) == 2
    assert capsys.readouterr().err.startswith("remote: There is no Dask scheduler at no.json")


def test_a_search_tries_as_many_at_once_as_there_are_workers(
    two: Processes, stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    from brain_mri.cli import tune

    monkeypatch.setattr(tune, "TRAIN", stub)
    monkeypatch.setattr(tune, "POLL", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    words = ["--data", "D", "--epochs", "4", "--out", "search", "--trials", "4"]
    assert tune.main([*words, "--cluster", two.address]) == 0  # the first two wait for each other
    assert capsys.readouterr().out.startswith("2 trials at once; dashboard: http://127.0.0.1")
    found = pd.read_csv("search/search.csv")
    assert len(found[found["state"] == "complete"]) >= 4 and set(found["state"]) <= {"complete", "pruned"}
    assert {path.read_text() for path in tmp_path.glob("search/*/calls")} == {"x"}
    assert "begun" in (tmp_path / "search/trial-000.log").read_text()


@pytest.mark.slow
def test_folds_are_trained_at_once(two: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own train.py, one epoch of the smallest network; the table is made here."""
    pytest.importorskip("tensorflow")
    from brain_mri.cli import phantom

    monkeypatch.chdir(tmp_path)
    phantom.main(["drawn", "--per-class", "10", "--size", "64", "--no-masks"])
    environment = os.environ | {"FOLDS": "0 1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["bash", str(ROOT / "recipes/folds.sh"), "--data", "drawn", "--cluster", two.address]
    command += ["--classifier", "gap_cnn", "--segmenter", "kmeans", "--size", "32", "--epochs", "1", "--brief"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    for fold in (0, 1):
        config = read_json(tmp_path / f"runs/folds/fold{fold}/config.json")
        assert f"--fold {fold}" in config["training"]["command"]
        assert "Written: " in (tmp_path / f"runs/folds/fold{fold}.log").read_text()
    assert (tmp_path / "runs/folds/folds.md").is_file() and "accuracy" in done.stdout.lower()
