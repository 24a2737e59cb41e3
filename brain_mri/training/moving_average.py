"""A moving average of all weights, which is what validation judges and what is kept.

Steps at a high learning rate overshoot to all sides; their mean does not (Polyak & Juditsky 1992), and networks
that are averaged alike end alike, whichever epoch is kept. The statistics of batch normalisation are averaged with the
weights that they belong to, which the averages of a Keras optimiser leave out.
"""

from __future__ import annotations

import keras
import tensorflow as tf


class MovingAverage:
    """Exponential average of model.weights over about 1 / (1 - decay) steps, fewer at the start."""

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
