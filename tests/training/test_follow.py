"""Curves of a run: complete after a run that was killed, in the files of TensorBoard and Trackio themselves."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import subprocess
import sys
import types
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import train
from brain_mri.artifact.config import Stage
from brain_mri.training import follow
from brain_mri.training.claim import Claim
from brain_mri.training.config import FitOptions
from brain_mri.training.fit import fit

EPOCHS = 4


@dataclass(frozen=True)
class Killing(Claim):
    """Ends the run at the end of the third epoch, before anything of it is kept."""

    seen: list[int] = field(default_factory=list)

    def check(self) -> None:
        self.seen.append(1)
        if len(self.seen) == 3:
            raise KeyboardInterrupt


def killed_and_resumed(out: Path, log: str) -> Stage:
    """A network whose run ended in its third epoch, and went on."""
    draw = np.random.default_rng(2)
    images = draw.random((24, 16, 16, 1)).astype(np.float32)
    truth, weight = {"mask": (images > 0.5).astype(np.float32)}, {"mask": np.ones(24, np.float32)}
    data = tf.data.Dataset.from_tensor_slices((images, truth, weight)).batch(8)

    def model() -> keras.Model:
        keras.utils.set_random_seed(3)
        image = keras.Input((16, 16, 1))
        return keras.Model(image, {"mask": keras.layers.Conv2D(1, 3, padding="same")(image)})

    options, folder = FitOptions(epochs=EPOCHS, patience=0, verbose=0, log=log), out / "checkpoints" / "outliner"
    with pytest.raises(KeyboardInterrupt):
        fit(model(), data, data, options, folder, claim=Killing())
    return fit(model(), data, data, options, folder, resume=True)


def expected(stage: Stage) -> list[float]:
    return [round(float(value), 4) for value in stage.history["loss"]]


def test_tensorboard_has_every_epoch_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    old = tmp_path / "logs" / "outliner" / "train"
    old.mkdir(parents=True)
    (old / "events.out.tfevents.1.old").write_bytes(b"another run's")
    stage = killed_and_resumed(tmp_path, follow.TENSORBOARD)
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in capsys.readouterr().out
    for part, name in (("train", "loss"), ("validation", "val_loss")):
        events = EventAccumulator(str(tmp_path / "logs" / "outliner" / part), {"tensors": 0}).Reload()
        points = events.Tensors("epoch_loss")
        assert [point.step for point in points] == list(range(EPOCHS))
        values = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
        assert values == pytest.approx(list(stage.history[name]), abs=1e-4)
    rates = EventAccumulator(str(tmp_path / "logs" / "outliner" / "train"), {"tensors": 0}).Reload()
    found = [float(tf.make_ndarray(point.tensor_proto)) for point in rates.Tensors("epoch_learning_rate")]
    assert len(set(found)) == EPOCHS and found[1] > found[3], "the rates of the epochs, not that of today"


def test_trackio_has_every_epoch_once(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    program = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.training.test_follow import killed_and_resumed, expected
stage = killed_and_resumed(Path({str(tmp_path / "run")!r}), "trackio")
from trackio.sqlite_storage import SQLiteStorage
rows = SQLiteStorage.get_logs("brain-mri", "run outliner")
print(json.dumps([expected(stage), [row["step"] for row in rows], [round(row["loss"], 4) for row in rows],
                  len({{row["learning_rate"] for row in rows}}), len(SQLiteStorage.get_run_records("brain-mri"))]))
"""
    env = {name: value for name, value in os.environ.items() if name != "TRACKIO_DIR"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted, steps, losses, rates, runs = json.loads(next(s for s in done.stdout.splitlines() if s.startswith("[[")))
    assert steps == list(range(EPOCHS)) and losses == wanted and rates == EPOCHS and runs == 1
    assert (tmp_path / "trackio").is_dir() and f'TRACKIO_DIR="{tmp_path / "trackio"}"' in done.stdout


def test_trackio_is_asked_for_nothing_public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package, so that the calls are checked where it is not installed."""
    logged: list[tuple[dict[str, float], int]] = []
    asked: dict[str, Any] = {}
    deleted: list[str] = []

    class Run:
        def __init__(self, name: str):
            self.name = name

        def log(self, values: dict[str, float], step: int) -> None:
            logged.append((values, step))

        def delete(self) -> None:
            deleted.append(self.name)

    def init(**options: Any) -> Run:
        asked.update(options)
        return Run(options["name"])

    def api() -> Any:
        return types.SimpleNamespace(runs=lambda project: [Run("run outliner"), Run("another")])

    fake = types.SimpleNamespace(Api=api, init=init, finish=lambda: None)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "mine"))
    stage = killed_and_resumed(tmp_path / "run", follow.TRACKIO)
    steps = [step for _, step in logged]
    assert steps == [0, 1, *range(EPOCHS)], "as far as it came, then from the first on"
    assert [round(values["loss"], 4) for values, _ in logged[2:]] == expected(stage)
    assert deleted == ["run outliner"] * 2 and asked["embed"] is False and "space_id" not in asked
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "mine")


def test_values_that_began_later_are_of_the_last_epochs() -> None:
    done = follow.epochs_of({"loss": (3.0, 2.0, 1.0), "dice": (0.5,)}, 3)
    assert done == [{"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0, "dice": 0.5}]
    assert follow.epochs_of({}, 0) == []


def test_a_package_that_is_missing_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(follow, "find_spec", lambda name: None)
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--log", "trackio"]
    assert train.main(words) == 1
    assert (
        capsys.readouterr().err
        == 'train.py: --log trackio needs a package that is not installed: pip install "trackio".\n'
    )
    follow.require("")


def test_the_log_makes_no_other_run() -> None:
    config = train.read_arguments(["--data", "."])
    assert replace(config, log="tensorboard").settings() == config.settings()
    assert config.fit_options().log == "" and replace(config, log="trackio").fit_options("segmenter").log == "trackio"
    assert follow.followers("", Path("out/checkpoints/x"), Stage()) == []


@pytest.mark.parametrize("log", follow.LOGS)
def test_curves_that_cannot_be_kept_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str) -> None:
    (tmp_path / "logs").touch()
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "logs" / "trackio"))
    with pytest.raises(OSError, match="logs"):
        follow.followers(log, tmp_path / "checkpoints" / "outliner", Stage())
