"""One process writes into a run's folder, what it leaves carries the run's name, and a dead one's place is taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain_mri.training.claim import HOLDER, RUN, Claim, ClaimError, claimed, default_out
from brain_mri.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from brain_mri.training.claim import claimed
from brain_mri.training.config import TrainConfig
with claimed(TrainConfig(data=[Path()], out=Path(sys.argv[1]))) as claim:
    (claim.folder / "run.json").write_text('{"run": "%s"}' % claim.run)
    print(claim.run, flush=True)
    sys.stdin.read()
"""


def config(out: Path, *, resume: bool = False, epochs: int = 1) -> TrainConfig:
    return TrainConfig(data=[Path()], out=out, resume=resume, epochs=epochs)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds tmp_path/run and waits; its `run` is on its first line."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def test_a_second_run_is_refused_by_name_and_the_first_goes_on(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.stdout
    run = other.stdout.readline().strip()
    holder = (tmp_path / "run" / "checkpoints" / HOLDER).read_text()
    for resume in (False, True):
        with pytest.raises(ClaimError) as told, claimed(config(tmp_path / "run", resume=resume)):
            pass
        assert f"run {run} (process {other.pid} on " in str(told.value) and ", since 20" in str(told.value)
    assert (tmp_path / "run" / "checkpoints" / HOLDER).read_text() == holder
    with claimed(config(tmp_path / "elsewhere")) as claim:
        assert claim.run != run
    other.communicate("")
    assert other.returncode == 0
    with claimed(config(tmp_path / "run")) as claim:  # its end gave the folder free
        assert claim.run != run


@pytest.mark.parametrize("resume", [False, True])
def test_a_killed_runs_place_is_taken_with_a_sentence(
    tmp_path: Path, other: subprocess.Popen[str], capsys: pytest.CaptureFixture[str], resume: bool
) -> None:
    assert other.stdout
    run = other.stdout.readline().strip()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with claimed(config(tmp_path / "run", resume=resume)) as claim:
        claim.check()
        assert (claim.run == run) == resume, "only what is resumed keeps its name"
    assert f"was left by the run {run} (process {other.pid} on " in capsys.readouterr().out
    with claimed(config(tmp_path / "run")):  # a proper end leaves no name
        pass
    assert capsys.readouterr().out == ""


def test_another_machines_run_is_taken_over_by_resume_only_and_then_stops(tmp_path: Path) -> None:
    """On a mounted Drive no machine sees another one's lock."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    far = {"run": "far", "process": 7, "host": "another.example", "started": "today", "token": "1"}
    (folder / HOLDER).write_text(json.dumps(far))
    (folder / RUN).write_text('{"run": "far"}')
    there = Claim("far", folder, far)
    with (
        pytest.raises(ClaimError, match=r"process 7 on another\.example.*with --resume"),
        claimed(config(tmp_path / "run")),
    ):
        pass
    there.check()
    with claimed(config(tmp_path / "run", resume=True)) as here:
        assert here.run == "far"
        here.check()
        with pytest.raises(ClaimError, match=rf"taken over by the run far \(process {os.getpid()} on "):
            there.check()


def test_a_refused_run_leaves_no_folder_and_a_check_of_the_data_claims_none(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(config(tmp_path / "a" / "run")):
        1 / 0  # noqa: B018
    with claimed(config(tmp_path / "b", epochs=0)) as claim:
        claim.check()
    assert not (tmp_path / "a" / "run").exists() and not (tmp_path / "b").exists()


def test_a_mount_without_locks_still_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "brain_mri.training.claim.FileLock.acquire", lambda *a, **k: (_ for _ in ()).throw(OSError(38, ""))
    )
    with claimed(config(tmp_path / "run")) as first, claimed(config(tmp_path / "run")) as second:
        second.check()
        with pytest.raises(ClaimError):
            first.check()


def test_without_out_each_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new = default_out("guided", False)
    assert (
        new.parent == Path("runs") and new.name.endswith("-guided") and len(new.name) == len("2026-11-29-031502-guided")
    )
    assert default_out("guided", True).parent == Path("runs")
    for name in ("2026-11-29-031502-guided", "2026-11-30-020000-gap_cnn", "first", "latest"):
        (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "2026-11-30-020000-gap_cnn.zip").write_bytes(b"")
    (tmp_path / "runs" / "2026-11-30-020000-gap_cnn-bundled").mkdir()
    assert default_out("guided", True) == Path("runs/2026-11-30-020000-gap_cnn")
