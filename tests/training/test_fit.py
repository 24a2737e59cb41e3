"""The training loop's own parts: fused batch normalisation and the moving average of the weights."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_def
from brain_mri.files import read_json
from brain_mri.training.claim import HOLDER, ClaimError, claimed
from brain_mri.training.config import FitOptions, TrainConfig
from brain_mri.training.fit import (
    SEEN,
    SOMEWHERE,
    MovingAverage,
    averaged_weights,
    bce_dice,
    choose_precision,
    fit,
    last_weights,
)

IMAGES = np.random.default_rng(0).normal(3, 2, (6, 5, 4, 7)).astype(np.float32)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_fused_batch_normalisation_is_that_of_keras(training, trainable):
    found = []
    for kind in (keras.layers.BatchNormalization, model_def.BatchNormalization):
        layer = kind(momentum=0.9, epsilon=1e-3)
        layer.build(IMAGES.shape)
        layer.trainable = trainable
        layer.set_weights([np.linspace(1, 2, 7), np.arange(7), np.full(7, 0.5), np.full(7, 4.0)])
        x = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y * tf.sin(y))
        found.append([y, tape.gradient(loss, x), *layer.get_weights()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_fused_batch_normalisation_reads_the_weight_files_of_keras(tmp_path):
    def small(kind):
        return keras.Sequential([keras.Input((5, 4, 7)), kind(name="n"), keras.layers.ReLU()])

    theirs, ours = small(keras.layers.BatchNormalization), small(model_def.BatchNormalization)
    theirs.layers[0].set_weights(list(np.random.default_rng(1).random((4, 7))))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    np.testing.assert_array_equal(np.stack(ours.get_weights()), np.stack(theirs.get_weights()))
    ours.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    np.testing.assert_array_equal(again(IMAGES), ours(IMAGES))


@pytest.mark.parametrize(
    ("flags", "depthwise", "expected"),
    [
        ("avx2 avx512_bf16", False, "float32"),
        ("amx_bf16 amx_tile", False, "mixed_bfloat16"),
        ("amx_bf16 amx_tile", True, "float32"),
    ],
)
def test_half_precision_only_where_the_processor_is_faster_with_it(tmp_path, monkeypatch, flags, depthwise, expected):
    processor = tmp_path / "cpuinfo"
    processor.write_text(f"flags : fpu {flags}\n")
    monkeypatch.setattr("brain_mri.training.fit.CPUINFO", processor)
    monkeypatch.setattr("brain_mri.training.fit.tf.config.list_physical_devices", lambda kind: [])
    before = keras.mixed_precision.dtype_policy()
    try:
        assert choose_precision(depthwise=depthwise) == expected == keras.mixed_precision.dtype_policy().name
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def test_a_moving_average_follows_all_weights_and_swaps_with_them():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), keras.layers.BatchNormalization()])
    average, start = MovingAverage(model, 0.5), model.get_weights()
    expected = [w.copy() for w in start]
    for step in range(1, 21):
        now = [w + step for w in start]
        model.set_weights(now)
        average.update(tf.constant(step))
        keep = min(0.5, (1 + step) / (10 + step))
        expected = [keep * old + (1 - keep) * new for old, new in zip(expected, now, strict=True)]
    average.swap()
    for found, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    average.swap()
    for found, wanted in zip(model.get_weights(), now, strict=True):
        np.testing.assert_allclose(found, wanted)


def masks_to_learn() -> tf.data.Dataset:
    rng = np.random.default_rng(2)
    images = rng.random((24, 16, 16, 1)).astype(np.float32)
    truth, weight = {"mask": (images > 0.5).astype(np.float32)}, {"mask": np.ones(24, np.float32)}
    return tf.data.Dataset.from_tensor_slices((images, truth, weight)).batch(8)


def outliner() -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 1))
    x = model_def.BatchNormalization(momentum=0.9)(keras.layers.Conv2D(4, 3, padding="same")(image))
    return keras.Model(image, {"mask": keras.layers.Conv2D(1, 1)(keras.layers.ReLU()(x))})


def test_every_checkpoint_names_its_run_and_no_other_one_is_loaded(tmp_path):
    options, data = FitOptions(epochs=1, patience=0, verbose=0), masks_to_learn()
    found = []
    for name in ("one", "two"):
        config = TrainConfig(data=tmp_path, out=tmp_path / name)
        with claimed(config) as claim:
            assert (
                fit(outliner(), data, data, options, tmp_path / name / "checkpoints" / "outliner", claim=claim).run
                == claim.run
            )
            found.append((claim, tmp_path / name / "checkpoints" / "outliner"))
    (one, folder), (two, other) = found
    files = sorted(path.name for path in folder.iterdir())
    assert {"state.json", "best.weights.h5", "epoch-0001.weights.h5"} < set(files)
    assert one.run != two.run and read_json(folder / "state.json")["run"] == one.run
    fit(outliner(), data, data, options, folder, resume=True, claim=one)
    with pytest.raises(ClaimError, match=rf"state\.json is of the run {one.run}, not of the run {two.run}"):
        fit(outliner(), data, data, options, folder, resume=True, claim=two)
    (other / "best.weights.h5").replace(folder / "best.weights.h5")  # as two runs at once left it
    with pytest.raises(ClaimError, match=rf"best\.weights\.h5 is of the run {two.run}, not of the run {one.run}"):
        fit(outliner(), data, data, options, folder, resume=True, claim=one)


def test_a_run_whose_folder_was_taken_over_stops_before_it_writes(tmp_path):
    options, data = FitOptions(epochs=1, patience=0, verbose=0), masks_to_learn()
    folder = tmp_path / "run" / "checkpoints"
    with claimed(TrainConfig(data=tmp_path, out=tmp_path / "run")) as claim:
        (folder / HOLDER).write_text('{"run": "another", "process": 1, "host": "far", "started": "now"}')
        with pytest.raises(ClaimError, match=r"taken over by the run another \(process 1 on far, since now\)"):
            fit(outliner(), data, data, options, folder / "outliner", claim=claim)
        assert not list((folder / "outliner").iterdir())


def test_the_averaged_weights_are_kept_and_a_resumed_run_goes_on_with_both(tmp_path, monkeypatch):
    options = FitOptions(epochs=3, average=0.9, learning_rate=0.05, patience=0, verbose=0)
    whole, data = outliner(), masks_to_learn()
    state = fit(whole, data, data, options, tmp_path / "whole")
    assert state.best_epoch == 2  # so easy a task gets better to the end
    kept = whole.get_weights()
    for path, alike in ((averaged_weights, True), (last_weights, False)):
        other = outliner()
        other.load_weights(path(tmp_path / "whole", 3))
        same = [np.allclose(a, b, atol=1e-6) for a, b in zip(other.get_weights(), kept, strict=True)]
        assert all(same) if alike else not any(same)

    def stop(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TerminateOnNaN, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(outliner(), data, data, options, tmp_path / "torn")
    resumed = outliner()
    again = fit(resumed, data, data, options, tmp_path / "torn", resume=True)
    assert again.history["val_loss"] == pytest.approx(state.history["val_loss"], abs=2e-4)
    for a, b in zip(resumed.get_weights(), kept, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
    assert sorted(path.name for path in (tmp_path / "torn").iterdir()) == [
        "best.weights.h5", "epoch-0003-averaged.weights.h5", "epoch-0003.weights.h5", "state.json",
    ]  # fmt: skip


def test_without_validation_the_averaged_weights_of_the_last_epoch_are_kept(tmp_path):
    options = FitOptions(epochs=3, average=0.9, learning_rate=0.05, patience=1, verbose=0)
    model, data = outliner(), masks_to_learn()
    state = fit(model, data, None, options, tmp_path)
    assert (state.epoch, state.best_epoch) == (3, 2) and "val_loss" not in state.history
    kept = outliner()
    kept.load_weights(averaged_weights(tmp_path, 3))
    for ours, theirs in zip(model.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    kept.load_weights(last_weights(tmp_path, 3))
    assert not np.allclose(model.get_weights()[0], kept.get_weights()[0], atol=1e-6)


def test_bce_dice_against_numpy():
    rng = np.random.default_rng(0)
    truth = (rng.random((3, 8, 8, 1)) > 0.7).astype(np.float32)
    truth[1] = 0  # no tumor: only a weak term on the false area
    truth[2] = SOMEWHERE  # a tumor that nobody outlined: only whether there is one
    logits = rng.normal(size=truth.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-logits))
    bce = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean((1, 2, 3))
    dice = (2 * (truth * p).sum((1, 2, 3)) + 1) / (truth.sum((1, 2, 3)) + p.sum((1, 2, 3)) + 1)
    area = p[1].mean()
    region = [1 - dice[0], 0.3 * area / (area + 0.01)]
    surest = p.max((1, 2, 3))  # of 64 pixels
    seen = -np.log(np.where([True, False, True], surest, 1 - surest))
    expected = np.append(bce[:2] + region, 0) + SEEN * seen
    np.testing.assert_allclose(bce_dice(truth, logits), expected, rtol=1e-4)
