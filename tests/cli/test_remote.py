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
    end = time.monotonic() + 300
    while not together.exists() and len(list(out.parent.glob("*/calls"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)  # the first trial waits until another one runs beside it
    if time.monotonic() > end:
        sys.exit("alone")
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
    end = time.monotonic() + 300
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


def test_a_lost_worker_leaves_nothing_that_writes_on_and_another_one_resumes(stub: str, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    with processes(tmp_path / "dask") as one, printed.open("w") as out:
        lost = one.worker()
        command = [sys.executable, "-m", "brain_mri", "remote", one.address, stub, "--out", "run", "--sleep"]
        asking = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=out)
        until((tmp_path / "run/process").exists)
        until((tmp_path / "run/process").read_text)
        until(lambda: "to stderr" in printed.read_text("utf-8"))
        lost.kill()
        one.worker()
        assert asking.wait(300) == 0
    assert (tmp_path / "run/calls").read_text() == "xr"
    until(lambda: gone(int((tmp_path / "run/process").read_text())))
    said = printed.read_text("utf-8")
    assert (
        said.index("begun f\u00fcr")
        < said.index("The worker was lost; another one goes on.")
        < said.index("begun again")
    )


def test_who_is_ended_ends_the_command(two: Processes, stub: str, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-m", "brain_mri", "remote", two.address, stub, "--out", f"run{number}", "--sleep"]
        asking = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored by what a shell runs behind &
        )  # fmt: skip
        process = tmp_path / f"run{number}/process"
        until(process.exists)
        until(process.read_text)
        asking.send_signal(number)
        assert asking.wait(300) == 130
        assert asking.stderr and asking.stderr.read().endswith("\nStopped.\n")
        assert gone(int(process.read_text()))


def test_what_the_command_began_ends_with_it_and_nothing_is_killed_that_would_end_itself(
    two: Processes, tmp_path: Path
) -> None:
    """As tune and its train.py."""
    (tmp_path / "outer.py").write_text(
        "import pathlib, subprocess, sys, time\n"
        "if len(sys.argv) > 1: time.sleep(600)\n"
        "inner = subprocess.Popen([sys.executable, __file__, 'inner'])\n"
        "pathlib.Path('inner.new').write_text(str(inner.pid)); pathlib.Path('inner.new').rename('inner')\n"
        "try: time.sleep(600)\n"
        "except KeyboardInterrupt: pathlib.Path('orderly').touch()\n"
    )
    asking = subprocess.Popen(
        [sys.executable, "-m", "brain_mri", "remote", two.address, str(tmp_path / "outer.py")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until((tmp_path / "inner").exists)
    asking.terminate()
    assert asking.wait(300) == 130 and (tmp_path / "orderly").exists()
    until(lambda: gone(int((tmp_path / "inner").read_text())))


def test_one_that_waits_for_a_worker_is_ended_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with processes(tmp_path / "dask") as none:
        patient = "import sys; from brain_mri.cli import remote; remote.PATIENCE = 3600; sys.exit(remote.main())"
        command = [sys.executable, "-c", patient, none.address, "phantom", "drawn"]
        asking = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )
        until(lambda: tasks(none))
        asking.terminate()
        assert asking.wait(300) == 130  # its patience is for one that runs
        none.worker()
        none.wait_for(1)
        assert not tasks(none) and not (tmp_path / "drawn").exists()


def test_without_a_reader_or_a_scheduler_it_is_one_sentence_and_the_command_ends(stub: str, tmp_path: Path) -> None:
    with processes(tmp_path / "dask") as one:
        one.worker()
        command = [sys.executable, "-m", "brain_mri", "remote", one.address, stub, "--sleep", "--out"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with open("/dev/full", "w") as full:
            asking = subprocess.run(
                [*command, "full"],
                env=environment,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=300,
            )
        assert asking.stderr.startswith("remote: [Errno 28]") and asking.returncode != 0
        begun = subprocess.Popen([*command, "gone"], env=environment, stderr=subprocess.PIPE, text=True)
        process = tmp_path / "gone/process"
        until(process.exists)  # the worker is free again
        until(process.read_text)
        one.scheduler.kill()
        assert begun.wait(300) == 2
        assert begun.stderr and begun.stderr.read().startswith("remote: The scheduler is gone;")
        until(lambda: gone(int(process.read_text())))


def tasks(cluster: Processes) -> int:
    from distributed import Client

    with Client(scheduler_file=cluster.address) as client:
        return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


def test_what_cannot_be_done_is_one_sentence(
    two: Processes, stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


@pytest.mark.parametrize("words", [["--cluster"], ["--cluster="], ["--cluster", ""]])
def test_a_recipe_needs_the_address_of_its_cluster(words: list[str], tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "recipes/folds.sh"), "--data", "drawn", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "--cluster needs the address of a scheduler.\n"
    assert not any(tmp_path.iterdir())


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
