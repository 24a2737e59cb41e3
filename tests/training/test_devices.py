"""Two devices learn what one does: the processor cut into two logical ones, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Slices so bright that gradients are clipped, and overflow in half precision on some steps of one half of the batch
# alone; the last batch of the validation has one slice, so that one device gets none.
PROGRAM = """
import json, sys
from pathlib import Path
import keras, numpy as np, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from brain_mri.training.config import FitOptions
from brain_mri.training.fit import fit

def batches():
    rng = np.random.default_rng(0)
    images = rng.random((33, 16, 16, 1)).astype(np.float32)
    images[::8] *= 1000
    truth = {"logits": np.eye(4, dtype=np.float32)[rng.integers(0, 4, 33)], "mask": (images > 0.7).astype(np.float32)}
    weight = {"logits": rng.random(33).astype(np.float32), "mask": np.ones(33, np.float32)}
    return tf.data.Dataset.from_tensor_slices((images, truth, weight))

def fitted(strategy, folder):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        image = keras.Input((16, 16, 1))
        x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
        kind = keras.layers.Dense(4, dtype="float32")(keras.layers.GlobalMaxPooling2D()(x))
        model = keras.Model(image, {"logits": kind, "mask": keras.layers.Conv2D(1, 1, dtype="float32")(x)})
        options = FitOptions(epochs=3, batch_size=8, patience=0, verbose=0, average=0.9)
        stage = fit(model, batches().batch(8, drop_remainder=True), batches().batch(8), options, folder)
    return {"history": stage.history, "weights": [weight.tolist() for weight in model.get_weights()]}

found = {}
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for policy in ("float32", "mixed_float16"):
    keras.mixed_precision.set_dtype_policy(policy)
    for name, strategy in (("one", tf.distribute.get_strategy()), ("two", two)):
        found[f"{policy} {name}"] = fitted(strategy, Path(sys.argv[1], policy, name))
Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_two_devices_learn_what_one_does(tmp_path):
    # oneDNN mixes up the nodes of two logical processors (TF 2.21); GPUs have none of it
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for policy, tolerance in (("float32", 1e-3), ("mixed_float16", 1e-2)):
        one, two = found[f"{policy} one"], found[f"{policy} two"]
        for name in ("loss", "val_loss", "mask_dice", "val_mask_dice", "logits_accuracy"):
            np.testing.assert_allclose(two["history"][name], one["history"][name], rtol=tolerance, err_msg=name)
        for ours, theirs in zip(two["weights"], one["weights"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_batches_are_shared_where_there_are_several_gpus_and_slices_enough(monkeypatch, capsys):
    devices = pytest.importorskip("brain_mri.training.devices")
    usual = devices.tf.distribute.get_strategy()
    monkeypatch.setattr(devices.tf.distribute, "MirroredStrategy", lambda: "shared")
    for gpus, batch_size, expected in ((0, 32, usual), (1, 32, usual), (2, 32, "shared"), (4, 3, usual)):
        monkeypatch.setattr(devices.tf.config, "list_logical_devices", lambda kind, n=gpus: ["GPU"] * n)
        assert devices.devices(batch_size) is expected or devices.devices(batch_size) == expected
    assert "2 GPUs, 16 slices of each batch on each" in capsys.readouterr().out
