"""Several GPUs at once: each takes an equal share of every batch (tf.distribute.MirroredStrategy).

    with devices(config.batch_size).scope():
        networks = fit_networks(config, dataset, claim)

--batch-size counts the slices of all GPUs together, so that a step, and with it the learning rate and its schedule,
stay what they are on one. Losses and gradients are those of one device; only batch normalisation looks at each GPU's
own share, and what it remembers is the first one's.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def devices(batch_size: int) -> tf.distribute.Strategy:
    """All GPUs that there are, where they are several and each gets a slice of a batch; else TensorFlow's choice."""
    gpus = tf.config.list_logical_devices("GPU")
    if not 2 <= len(gpus) <= batch_size:
        return tf.distribute.get_strategy()
    print(f"{len(gpus)} GPUs, {batch_size / len(gpus):g} slices of each batch on each.")
    return tf.distribute.MirroredStrategy()


class _Together:
    """An optimiser that begins with the gradients of all devices added up.

    Keras (3.13 to 3.15) adds them up last: each device would clip its own share, and a loss scale would look for
    overflow on the first device only, and let what overflowed on another one into the weights.
    """

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        known = [one for one in grads if one is not None]
        added = iter(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, known))
        grads = [None if one is None else next(added) for one in grads]
        # Keras adds up once more, but a step of Adam is the same for any multiple of its gradients
        super().apply(grads, trainable_variables)  # type: ignore[misc]


class SharedAdamW(_Together, keras.optimizers.AdamW):
    pass


class SharedLossScale(_Together, keras.optimizers.LossScaleOptimizer):
    pass


def adamw(schedule: keras.optimizers.schedules.LearningRateSchedule, weight_decay: float) -> keras.optimizers.Optimizer:
    """AdamW with clipped gradients for the devices of the present scope, no weight decay on biases and normalisation.

    Of several devices half precision has its loss scale here; of one device Keras adds it.
    """
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    half = keras.mixed_precision.dtype_policy().name == "mixed_float16"
    kind = SharedAdamW if several and not half else keras.optimizers.AdamW
    optimizer = kind(schedule, weight_decay=weight_decay, clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return SharedLossScale(optimizer) if several and half else optimizer
