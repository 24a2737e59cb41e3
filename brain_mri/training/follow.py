"""Curves of a run while it trains: train.py --log tensorboard | trackio.

Both are optional, both stay on this machine: TensorBoard's files in OUT/logs, Trackio's in the folder trackio beside
the runs. What is already known of a run stands in its state.json beside the checkpoints, so a run that is resumed
writes its curves anew from the first epoch: none is lost with a disconnect, none is drawn twice.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras

from brain_mri.artifact.config import Stage

TENSORBOARD, TRACKIO = "tensorboard", "trackio"
LOGS = (TENSORBOARD, TRACKIO)
PROJECT = "brain-mri"
LOG_FOLDER = "logs"  # in OUT

Epoch = dict[str, float]


def require(log: str) -> None:
    """Raises ValueError with a sentence when what --log asks for is not installed."""
    if log and find_spec(log) is None:
        raise ValueError(f'--log {log} needs a package that is not installed: pip install "{log}".')


def followers(log: str, checkpoints: Path, state: Stage) -> list[keras.callbacks.Callback]:
    """The callback that writes the curves of one network, or none. To stand after the one that writes state.json.

    checkpoints: OUT/checkpoints/NAME. state: of the network as the run begins or goes on. Raises OSError where no curve
    could be kept: Trackio would say nothing, and TensorFlow end with errors of its own.
    """
    if not log:
        return []
    out, name = checkpoints.parents[1], checkpoints.name
    done = epochs_of(state.history, state.epoch)
    if log == TENSORBOARD:
        folder = out / LOG_FOLDER / name
        _check_writable(folder)
        print(f"Follow it: tensorboard --logdir {out / LOG_FOLDER}")
        return [Board(folder, done)]
    # read when trackio is imported: beside the runs, so that it outlives a disconnect as they do
    home = os.environ.setdefault("TRACKIO_DIR", str((out.parent / TRACKIO).absolute()))
    _check_writable(Path(home))
    print(f'Follow it: TRACKIO_DIR="{home}" trackio show --project {PROJECT}')
    return [Tracker(f"{state.run or out.name} {name}", state.run or out.name, done)]


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def epochs_of(history: Mapping[str, Sequence[float]], count: int) -> list[Epoch]:
    """The values of each of the first `count` epochs. One that was measured later on only is that of the last ones."""
    return [
        {name: values[at - count + len(values)] for name, values in history.items() if at - count + len(values) >= 0}
        for at in range(count)
    ]


def again(model: keras.Model, done: Sequence[Epoch]) -> Iterator[tuple[int, Epoch]]:
    """The epochs that are done, the optimiser standing at the learning rate of each while it is looked at."""
    iterations = _innermost(model).iterations
    now = int(iterations)
    for epoch, values in enumerate(done):
        iterations.assign(now * (epoch + 1) // len(done))
        yield epoch, values
    iterations.assign(now)


def _innermost(model: keras.Model) -> keras.optimizers.Optimizer:
    """Half precision wraps the optimiser, which then has the learning rate."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


class Board(keras.callbacks.TensorBoard):
    """Keras' TensorBoard callback, which begins with the epochs that are done."""

    def __init__(self, folder: Path, done: Sequence[Epoch]):
        super().__init__(log_dir=str(folder), write_graph=False)
        self._folder, self._done = folder, done

    def on_train_begin(self, logs: Any = None) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)  # of before the disconnect, or of another run in this folder
        super().on_train_begin(logs)
        for epoch, values in again(self.model, self._done):
            self.on_epoch_end(epoch, values)


class Tracker(keras.callbacks.Callback):
    """A run of Trackio for one network, written anew from the first epoch."""

    def __init__(self, name: str, group: str, done: Sequence[Epoch]):
        super().__init__()
        self._name, self._group, self._done = name, group, done
        self._run: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        import trackio  # optional

        try:
            earlier = [run for run in trackio.Api().runs(PROJECT) if run.name == self._name]
        except ValueError:  # no such project yet
            earlier = []
        for run in earlier:
            run.delete()
        # embed: in a notebook it would open a public link to the curves
        self._run = trackio.init(
            project=PROJECT, name=self._name, group=self._group, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        for epoch, values in again(self.model, self._done):
            self.on_epoch_end(epoch, values)

    def on_epoch_end(self, epoch: int, logs: Epoch | None = None) -> None:
        rate = float(keras.ops.convert_to_numpy(_innermost(self.model).learning_rate))
        self._run.log(
            {name: float(value) for name, value in (logs or {}).items()} | {"learning_rate": rate}, step=epoch
        )

    def on_train_end(self, logs: Any = None) -> None:
        import trackio  # optional

        trackio.finish()
