"""The hyper-parameter search with a train.py that takes no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

optuna = pytest.importorskip("optuna")
from brain_mri.cli import tune  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # optuna's notes on experimental parts

STUB = """
import json, pathlib, sys, time
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
out = pathlib.Path(value("--out"))
rate = float(value("--learning-rate"))
if "--break" in words:
    print("no memory")
    sys.exit(1)
state = out / "checkpoints" / "classifier"
state.mkdir(parents=True, exist_ok=True)
score = 1 - abs(rate - 0.002) * 100
(state / "state.json").write_text(json.dumps({"history": {"val_logits_accuracy": [score] * 4, "loss": [1] * 4}}))
time.sleep(float(value("--sleep")) if "--sleep" in words else 0)
"""

# The first trial waits until another one runs beside it
TOGETHER = """
until = time.monotonic() + 300
while len(list(out.parent.glob("trial-*.log"))) < 2 and time.monotonic() < until:
    time.sleep(0.02)
"""


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "train.py"
    script.write_text(STUB)
    monkeypatch.setattr(tune, "TRAIN", str(script))
    monkeypatch.setattr(tune, "POLL", 0.02)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return tmp_path / "out"


def run(out: Path, *more: str) -> int:
    return tune.main(["--data", "D", "--out", str(out), "--epochs", "4", *more])


@pytest.mark.slow
def test_search_finds_the_better_rate_resumes_and_reports(quick, capsys):
    assert run(quick, "--trials", "3") == 0
    assert len(pd.read_csv(quick / "search.csv")) == 3
    assert run(quick, "--trials", "7") == 0
    found = pd.read_csv(quick / "search.csv")
    done = found[found["state"].isin(["complete", "pruned"])]
    assert len(done) == 7  # four more, not seven more
    best = found.iloc[0]
    expected = 1 - (found.loc[found["state"] == "complete", "learning-rate"] - 0.002).abs().min() * 100
    assert best["score"] == pytest.approx(expected)
    text = (quick / "search.md").read_text()
    assert f"--learning-rate {best['learning-rate']:.4g}" in text
    assert "Importance" in text
    assert "Test images were not used" in text
    assert (quick / "search.png").stat().st_size > 3000
    assert not list(quick.glob("trial-*/checkpoints"))
    assert run(quick, "--trials", "7") == 0
    assert "raise --trials" in capsys.readouterr().out


def test_other_settings_are_another_search(quick, capsys):
    assert run(quick, "--trials", "1") == 0
    assert run(quick, "--trials", "2", "--size", "64") == 1
    assert "other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_failed_trials_are_named_and_do_not_count(quick, capfd):
    """Three, and none but those: the command is wrong."""
    assert run(quick, "--trials", "20", "--break") == 1
    found = pd.read_csv(quick / "search.csv")
    assert list(found["state"]) == ["fail"] * 3
    assert set(found["error"]) == {"no memory"}
    said = capfd.readouterr().err
    assert "Trial 2 failed: no memory" in said and "Traceback" not in said
    assert f"tune: No trial could be trained; {quick}" in said


def test_what_is_no_search_is_a_sentence(quick, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("notes")
    assert run(quick, "--storage", str(tmp_path / "notes.txt")) == 1
    assert "notes.txt is no journal of Optuna" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "notes"
    assert run(quick, "--trials", "0") == 1
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_hopeless_trial_is_stopped_early(quick, monkeypatch):
    """A running trial far below the median is ended before its process would end by itself."""
    assert run(quick, "--trials", "6") == 0
    study = optuna.load_study(study_name=tune.STUDY, storage=f"sqlite:///{quick / 'search.db'}")
    fixed = optuna.trial.FixedTrial({"learning-rate": 0.005, "batch-size": 16, "augment": 1.0,
                                     "label-smoothing": 0.0, "width": 16})  # fmt: skip
    asked: dict[str, Any] = dict(fixed.params)
    study.enqueue_trial(asked | {"learning-rate": 0.005})
    trial = study.ask()
    with pytest.raises(optuna.TrialPruned):
        tune.objective(trial, quick, ["--data", "D", "--epochs", "4", "--sleep", "20"], [sys.executable, tune.TRAIN])


def test_progress_of_a_run_that_has_not_begun_is_empty(tmp_path):
    assert tune.progress(tmp_path) == []
    state = tmp_path / "checkpoints" / "classifier"
    state.mkdir(parents=True)
    history = {"val_logits_accuracy": [0.2, 0.4], "val_mask_dice": [0.4, 0.6], "loss": [1, 1], "val_loss": [2, 2]}
    (state / "state.json").write_text(json.dumps({"history": history}))
    assert tune.progress(tmp_path) == pytest.approx([0.3, 0.5])


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["{}/search.journal", "sqlite:///{}/shared.db"], ids=["journal", "database"])
def test_two_processes_search_at_once(quick, tmp_path, storage):
    """Each on a machine of its own, it might be: nothing is tried twice, lost or counted for one only."""
    (tmp_path / "train.py").write_text(STUB + TOGETHER)
    started = f"""
import sys
from pathlib import Path
from brain_mri.cli import tune
tune.TRAIN, tune.POLL = {str(tmp_path / "train.py")!r}, 0.02
sys.exit(tune.main(sys.argv[1:]))"""
    words = [
        "--data",
        "D",
        "--out",
        str(quick),
        "--epochs",
        "4",
        "--trials",
        "9",
        "--storage",
        storage.format(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    both = [subprocess.Popen([sys.executable, "-c", started, *words], env=environment) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    found = pd.read_csv(quick / "search.csv")
    done = found[found["state"].isin(["complete", "pruned"])]
    assert len(done) in (9, 10)  # one may still have been at work when the other one reached nine
    assert sorted(found["number"]) == list(range(len(found))) and not found["learning-rate"].duplicated().any()
    assert found["machine"].nunique() == 2
    best = done[done["state"] == "complete"].iloc[0]
    assert f"--learning-rate {best['learning-rate']:.4g}" in (quick / "search.md").read_text()
    assert (quick / "search.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("here.db", "sqlite:///here.db"),
        ("nonsense://user:secret@host/x", "nonsense"),
        ("sqlite:////nowhere/at/all/search.db", "unable to open database file"),
        ("/proc/nowhere/search.journal", "nowhere"),
    ],
)
def test_storage_that_cannot_be_had_is_a_sentence(quick, capsys, monkeypatch, storage, said):
    monkeypatch.setattr(tune.time, "sleep", lambda seconds: None)
    assert run(quick, "--storage", storage) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and said in told and "secret" not in told


def test_no_password_of_a_database_is_shown():
    assert tune.named("postgresql://me:secret@host/x") == "postgresql://me:***@host/x"
    assert tune.named("/shared/search.journal") == "/shared/search.journal"


@pytest.mark.parametrize("more", ["--refit", "--epochs 2 --members=3"])
def test_networks_that_learn_from_validation_rows_cannot_be_searched(quick, capsys, more):
    assert run(quick, *more.split()) == 1
    assert "learn from validation rows" in capsys.readouterr().err and not quick.exists()


def test_ctrl_c_is_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "search", stopped)
    assert tune.main(["--data", "D", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"
