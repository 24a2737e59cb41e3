"""One training loop for every model: AdamW, warm-up and cosine schedule, best checkpoint, early stopping, resume.

What is shipped is the best validation epoch, never simply the last one. A checkpoint is written beside its final name
and renamed, and the small state file that names it is replaced last, so that a run killed at any moment, also on a
mounted Drive, resumes from a whole epoch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from brain_mri.files import write_json
from brain_mri.training.losses import MASK_LOSSES, cross_entropy
from brain_mri.training.moving_average import MovingAverage

CPUINFO = Path("/proc/cpuinfo")  # of Linux; elsewhere there is none, and no AMX known


@dataclass
class FitOptions:
    """How to fit. The bundled weights were trained with the defaults, but for what README's command states."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    label_smoothing: float = 0.05
    mask_loss: str = "bce_dice"
    mask_weight: float = 1.0
    patience: int = 10
    average: float = 0.98  # decay of the moving average of the weights that is judged and kept; 0: none
    strength: float = 0.8  # of the augmentation
    transplants: float = 0.3  # share of slices that get another slice's lesion, where masks are known
    erased: float = 0.0  # share of tumor slices whose lesion is covered with another slice's tissue
    folded: float = 0.0  # share of nearly symmetrical heads that are folded at the midline
    seed: int = 0
    verbose: int | str = "auto"


@dataclass
class FitState:
    """What a resumed run must know besides the weights."""

    epoch: int = 0  # finished epochs
    best: float = math.inf
    best_epoch: int = -1
    waited: int = 0
    seconds: float = 0.0
    finished: bool = False
    history: dict[str, list[float]] = field(default_factory=dict)


def choose_precision(name: str = "auto", depthwise: bool = False) -> str:
    """Set Keras' dtype policy and return it: half precision where the hardware is faster with it, else float32.

    Processors are with AMX alone, and not for depthwise convolutions, those of the default encoder: there bfloat16
    takes 1.4 to 1.6 times as long; three other networks took 0.4 to 0.75 of the time (docs/speed.md).
    """
    if name == "auto":
        if tf.config.list_physical_devices("GPU"):
            name = "mixed_float16"
        else:
            amx = CPUINFO.is_file() and "amx_bf16" in CPUINFO.read_text()
            name = "mixed_bfloat16" if amx and not depthwise else "float32"
    keras.mixed_precision.set_dtype_policy(name)
    return name


class TumorDice(keras.metrics.Mean):
    """Mean Dice of the mask cut at probability 0.5, over the slices that show a tumor."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        truth = tf.cast(tf.cast(y_true, tf.float32) > 0.5, tf.float32)
        found = tf.cast(y_pred > 0, tf.float32)
        size = tf.reduce_sum(truth, axis=(1, 2, 3))
        overlap = tf.reduce_sum(truth * found, axis=(1, 2, 3))
        dice = 2 * overlap / tf.maximum(size + tf.reduce_sum(found, axis=(1, 2, 3)), 1.0)
        weight = tf.cast(size > 0, tf.float32)
        if sample_weight is not None:
            weight *= tf.cast(sample_weight, tf.float32)
        return super().update_state(dice, sample_weight=weight)


def compile_model(model: keras.Model, steps_per_epoch: int, options: FitOptions) -> None:
    """Attach optimiser, losses and metrics for whichever of "logits" and "mask" the model has."""
    total = max(2, steps_per_epoch * max(1, options.epochs))
    warmup = max(1, min(steps_per_epoch, total // 10))
    schedule = keras.optimizers.schedules.CosineDecay(
        options.learning_rate / 20, total - warmup, alpha=0.01, warmup_target=options.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=options.weight_decay,
        clipnorm=1.0,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    losses = {"logits": cross_entropy(options.label_smoothing), "mask": MASK_LOSSES[options.mask_loss]()}
    metrics = {
        "logits": keras.metrics.CategoricalAccuracy(name="accuracy"),
        "mask": TumorDice(name="dice"),
    }
    names = list(model.output)
    model.compile(
        optimizer,
        loss={name: losses[name] for name in names},
        loss_weights={name: {"logits": 1.0, "mask": options.mask_weight}[name] for name in names},
        weighted_metrics={name: [metrics[name]] for name in names},
        jit_compile=False,
    )


class Checkpoint(keras.callbacks.Callback):
    """Best weights, resume point (weights and optimiser), early stopping and history after every epoch.

    With an average it is the averaged weights that are validated and kept; training goes on with the others. Where
    nothing is validated the last epoch is kept.
    """

    def __init__(self, folder: Path, state: FitState, patience: int, average: MovingAverage | None = None):
        super().__init__()
        self.folder, self.state, self.patience, self.average = folder, state, patience, average

    def on_train_begin(self, logs: Any = None) -> None:
        self.started = time.monotonic() - self.state.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.average:
            self.average.update(self.model.optimizer.iterations.value)

    def on_test_begin(self, logs: Any = None) -> None:  # the validation at the end of each epoch
        if self.average:
            self.average.swap()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        state, logs = self.state, logs or {}
        validated = "val_loss" in logs
        if self.average and not validated:
            self.average.swap()
        for name, value in logs.items():
            state.history.setdefault(name, []).append(round(float(value), 5))
        state.epoch, state.seconds = epoch + 1, time.monotonic() - self.started
        score = float(logs.get("val_loss", logs.get("loss", math.nan)))
        if score < state.best or not validated:
            state.best, state.best_epoch, state.waited = score, epoch, 0
            self.save(self.folder / "best.weights.h5")
        else:
            state.waited += 1
            self.model.stop_training = self.patience > 0 and state.waited >= self.patience
        if self.average:
            self.save(averaged_weights(self.folder, state.epoch))
            self.average.swap()
        self.save(last_weights(self.folder, state.epoch))
        write_state(self.folder, state)
        current = averaged_weights(self.folder, state.epoch), last_weights(self.folder, state.epoch)
        for old in self.folder.glob("epoch-*.weights.h5"):
            if old not in current:
                old.unlink(missing_ok=True)

    def save(self, path: Path) -> None:
        temporary = path.with_name(f"tmp-{path.name}")
        save_weights(self.model, temporary)
        os.replace(temporary, path)


def last_weights(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.weights.h5"


def averaged_weights(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}-averaged.weights.h5"


def save_weights(model: keras.Model, path: Path) -> None:
    """Write weights and optimiser to `path`. Raises OSError, and then nothing is left there.

    HDF5 crashes the interpreter when a disk is full or a mounted Drive goes away, so it writes to a local folder with
    room enough, and only a plain copy can fail.
    """
    need = 16 * model.count_params() + 2**23  # float32, two moments of AdamW, and the structure
    with tempfile.TemporaryDirectory(prefix="brain-mri-weights-") as folder:
        if shutil.disk_usage(folder).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)
        local = Path(folder, path.name)
        model.save_weights(local)
        try:
            shutil.copyfile(local, path)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise


def write_state(folder: Path, state: FitState) -> None:
    write_json(folder / "state.json", {**vars(state), "best": state.best if math.isfinite(state.best) else None})


def read_state(folder: Path) -> FitState | None:
    """The state of an earlier run in `folder`, None when there is none."""
    try:
        stored = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if stored.get("best") is None:
        stored["best"] = math.inf
    return FitState(**stored)


def fit(
    model: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset | None,
    options: FitOptions,
    folder: Path,
    *,
    resume: bool = False,
) -> FitState:
    """Fit, leave the best weights in the model (without validation: the last), and return what happened.

    folder: for checkpoints; created. resume: continue an interrupted run found there (a finished one is only loaded).
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = int(training.cardinality())
    compile_model(model, steps, options)
    model.optimizer.build(model.trainable_variables)
    state = (read_state(folder) if resume else None) or FitState()
    average = MovingAverage(model, options.average) if options.average else None
    if state.epoch and not state.finished:
        if average:
            model.load_weights(averaged_weights(folder, state.epoch))
            average.start_from_model()
        model.load_weights(last_weights(folder, state.epoch))
        print(f"Resuming after epoch {state.epoch} of {options.epochs}.")
    if not state.finished and state.epoch < options.epochs:
        # BatchNormalization, dropout and shuffling differ per epoch by design; a resumed run draws on from here
        keras.utils.set_random_seed(options.seed + state.epoch)
        model.fit(
            training,
            validation_data=validation,
            epochs=options.epochs,
            initial_epoch=state.epoch,
            callbacks=[keras.callbacks.TerminateOnNaN(), Checkpoint(folder, state, options.patience, average)],
            shuffle=False,  # the tf.data set does that
            verbose=options.verbose,
        )
    state.finished = True
    write_state(folder, state)
    if state.best_epoch >= 0:
        model.load_weights(folder / "best.weights.h5")
    return state


def run_in_batches(model: keras.Model, images: np.ndarray, batch_size: int = 64) -> dict[str, np.ndarray]:
    """Outputs of the model for uint8 (N, S, S), as float32 arrays."""
    function = tf.function(lambda x: model(x, training=False))
    parts = [
        function(tf.cast(images[first : first + batch_size, ..., None], tf.float32))
        for first in range(0, len(images), batch_size)
    ]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
