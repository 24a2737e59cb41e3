"""One training loop for every model: AdamW, warm-up and cosine schedule, best checkpoint, early stopping, resume.

What is shipped is the best validation epoch, never simply the last one. A checkpoint is written beside its final name
and renamed, and the small state file that names it is replaced last, so that a run killed at any moment, also on a
mounted Drive, resumes from a whole epoch.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf
from keras import ops

from brain_mri.artifact.config import Stage
from brain_mri.files import atomic_write, read_json, write_json
from brain_mri.inference.decision import SUREST
from brain_mri.training.claim import Claim
from brain_mri.training.config import FitOptions
from brain_mri.training.devices import adamw
from brain_mri.training.follow import followers

CPUINFO = Path("/proc/cpuinfo")  # of Linux; elsewhere there is none, and no AMX known
STATE = "state.json"  # what a resumed run must know besides the weights
SILENCE = 0.3  # weight of the region term on images without a tumor
UNCLAIMED = Claim()
SOMEWHERE = -1.0  # in place of a mask: the slice shows a tumor, nobody says where
SEEN = 1.0  # weight of the question whether there is a tumor at all, beside that where

Tensor = Any


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


def bce_dice(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice (Milletari et al. 2016), one value per image so that sample weights work.

    An image without tumor is left to the cross-entropy, with a weak region term: a full Dice term there says that one
    false pixel is as bad as a missed lesion, and the net learned to keep silent on a fifth of the lesions.
    Beside it stands the question that decision.py asks of the mask, whether there is a tumor at all. It alone is asked
    where nobody outlined a tumor that is there (multiple instance learning: Ilse et al. 2018).
    y_true (N, S, S, 1) in 0..1, all SOMEWHERE for such an image; y_pred logits of the same shape.
    """
    everywhere = (1, 2, 3)
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    somewhere = ops.max(y_true, axis=everywhere) < 0
    y_true = ops.maximum(y_true, 0.0)
    probability = ops.sigmoid(y_pred)
    overlap = ops.sum(y_true * probability, axis=everywhere)
    total = ops.sum(y_true, axis=everywhere) + ops.sum(probability, axis=everywhere)
    false_area = ops.mean(probability, axis=everywhere)
    region = ops.where(
        ops.max(y_true, axis=everywhere) > 0.5,
        1 - (2 * overlap + 1) / (total + 1),
        SILENCE * false_area / (false_area + 0.01),
    )
    outlined = ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=True), axis=everywhere) + region
    present = ops.where(somewhere, 1.0, surest(y_true))
    seen = ops.binary_crossentropy(present, surest(probability))
    return ops.where(somewhere, 0.0, outlined) + SEEN * seen


def surest(probability: Tensor) -> Tensor:
    """(N, S, S, 1) -> (N,): the mean of the surest pixels, as many as decision.mask_evidence looks at."""
    flat = ops.reshape(probability, (-1, probability.shape[1] * probability.shape[2]))
    return ops.mean(ops.top_k(flat, max(1, round(SUREST * flat.shape[1])))[0], axis=1)


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
    cross_entropy = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=options.label_smoothing)
    losses = {"logits": cross_entropy, "mask": bce_dice}
    metrics = {"logits": keras.metrics.CategoricalAccuracy(name="accuracy"), "mask": TumorDice(name="dice")}
    names = list(model.output)
    model.compile(
        adamw(schedule, options.weight_decay),
        loss={name: losses[name] for name in names},
        loss_weights={name: {"logits": 1.0, "mask": options.mask_weight}[name] for name in names},
        weighted_metrics={name: [metrics[name]] for name in names},
        jit_compile=False,
    )


class MovingAverage:
    """Exponential average of model.weights over about 1 / (1 - decay) steps, fewer at the start.

    It is what validation judges and what is kept: steps at a high learning rate overshoot to all sides; their mean does
    not (Polyak & Juditsky 1992), and networks that are averaged alike end alike, whichever epoch is kept. The
    statistics of batch normalisation are averaged with the weights that they belong to, which the averages of a Keras
    optimiser leave out.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        self.weights = [weight.value for weight in model.weights]
        self.averages = [tf.Variable(weight, trainable=False) for weight in self.weights]

    @tf.function
    def update(self, step: tf.Tensor) -> None:
        """After a step; step: how many there were, this one included."""
        step = tf.cast(step, tf.float32)
        change = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign_add(tf.cast(change, average.dtype) * (weight - average))

    @tf.function
    def swap(self) -> None:
        """Exchange the weights of the model and their averages."""
        for average, weight in zip(self.averages, self.weights, strict=True):
            kept = tf.identity(average)
            average.assign(weight)
            weight.assign(kept)

    def start_from_model(self) -> None:
        """The weights that the model has now are the averages."""
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign(weight)


class Checkpoint(keras.callbacks.Callback):
    """Best weights, resume point (weights and optimiser), early stopping and history after every epoch.

    With an average it is the averaged weights that are validated and kept; training goes on with the others. Where
    nothing is validated the last epoch is kept. Raises ClaimError when another process has taken the folder over.
    """

    def __init__(self, folder: Path, state: Stage, patience: int, average: MovingAverage | None, claim: Claim):
        super().__init__()
        self.folder, self.state, self.patience, self.average, self.claim = folder, state, patience, average, claim

    def on_train_begin(self, logs: Any = None) -> None:
        self.started = time.monotonic() - self.state.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.average:
            self.average.update(self.model.optimizer.iterations.value)

    def on_test_begin(self, logs: Any = None) -> None:  # the validation at the end of each epoch
        if self.average:
            self.average.swap()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.claim.check()
        folder, before, logs, run = self.folder, self.state, logs or {}, self.claim.run
        validated = "val_loss" in logs
        if self.average and not validated:
            self.average.swap()
        score = float(logs.get("val_loss", logs.get("loss", math.nan)))
        better = not validated or score < (math.inf if before.best is None else before.best)
        self.state = before.model_copy(
            update={
                "epoch": epoch + 1,
                "seconds": time.monotonic() - self.started,
                "history": {k: (*before.history.get(k, ()), round(float(value), 5)) for k, value in logs.items()},
            }
            | ({"best": score, "best_epoch": epoch, "waited": 0} if better else {"waited": before.waited + 1})
        )
        self.model.stop_training |= 0 < self.patience <= self.state.waited
        if better:
            save_weights(self.model, folder / "best.weights.h5", run)
        current = [last_weights(folder, epoch + 1)]
        if self.average:
            current.append(averaged_weights(folder, epoch + 1))
            save_weights(self.model, current[-1], run)
            self.average.swap()
        save_weights(self.model, current[0], run)
        write_json(folder / STATE, self.state.to_json())
        for old in folder.glob("epoch-*.weights.h5"):
            if old not in current:
                old.unlink(missing_ok=True)


def last_weights(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.weights.h5"


def averaged_weights(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}-averaged.weights.h5"


def save_weights(model: keras.Model, path: Path, run: str = "") -> None:
    """Write weights and optimiser, and the name of their run, to `path`. Raises OSError; then nothing is left there.

    HDF5 crashes the interpreter when a disk is full or a mounted Drive goes away, so it writes to a local folder with
    room enough, and only a plain copy can fail.
    """
    need = 16 * model.count_params() + 2**23  # float32, two moments of AdamW, and the structure
    with tempfile.TemporaryDirectory(prefix="brain-mri-weights-") as folder:
        if shutil.disk_usage(folder).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)
        local = Path(folder, "local.weights.h5")
        model.save_weights(local)
        if run:
            with h5py.File(local, "a") as file:
                file.attrs["run"] = run
        with atomic_write(path) as temporary:
            shutil.copyfile(local, temporary)


def load_weights(model: keras.Model, path: Path, claim: Claim) -> None:
    """Raises ClaimError when another run left them."""
    with h5py.File(path) as file:
        claim.check_part(str(file.attrs.get("run", "")), path)
    model.load_weights(path)


def fit(
    model: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset | None,
    options: FitOptions,
    folder: Path,
    *,
    resume: bool = False,
    claim: Claim = UNCLAIMED,
) -> Stage:
    """Fit, leave the best weights in the model (without validation: the last), and return what happened.

    folder: for checkpoints; created. resume: continue an interrupted run found there (a finished one is only loaded).
    claim: of the run that all this is part of. Raises ClaimError where a checkpoint is another run's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = int(training.cardinality())
    compile_model(model, steps, options)
    model.optimizer.build(model.trainable_variables)
    state = Stage(run=claim.run)
    if resume and (folder / STATE).is_file():
        state = Stage.model_validate(read_json(folder / STATE))
    claim.check_part(state.run, folder / STATE)
    average = MovingAverage(model, options.average) if options.average else None
    if state.epoch and not state.finished:
        if average:
            load_weights(model, averaged_weights(folder, state.epoch), claim)
            average.start_from_model()
        load_weights(model, last_weights(folder, state.epoch), claim)
        print(f"Resuming after epoch {state.epoch} of {options.epochs}.")
    if not state.finished and state.epoch < options.epochs:
        # BatchNormalization, dropout and shuffling differ per epoch by design; a resumed run draws on from here
        keras.utils.set_random_seed(options.seed + state.epoch)
        checkpoint = Checkpoint(folder, state, options.patience, average, claim)
        model.fit(
            training,
            validation_data=validation,
            epochs=options.epochs,
            initial_epoch=state.epoch,
            callbacks=[keras.callbacks.TerminateOnNaN(), checkpoint, *followers(options.log, folder, state)],
            shuffle=False,  # the tf.data set does that
            verbose=options.verbose,
        )
        state = checkpoint.state
    claim.check()
    state = state.model_copy(update={"finished": True})
    write_json(folder / STATE, state.to_json())
    if state.best_epoch >= 0:
        load_weights(model, folder / "best.weights.h5", claim)
    return state
