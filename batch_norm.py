"""Batch normalisation in one operation: what Keras 3 computes, in TensorFlow's fused kernel.

Keras 3 writes batch normalisation out as a dozen elementary operations. On two CPU cores they were a third of a
training step; fused, a step of the default network takes 0.74 of the time (docs/speed.md). Other backends, inference
and inputs that are no images go Keras' own way.
"""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any


@keras.saving.register_keras_serializable("brain_mri")
class BatchNormalization(keras.layers.BatchNormalization):
    """keras.layers.BatchNormalization over the last axis of (N, H, W, C); named as it, so weight files fit both."""

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        fused = keras.backend.backend() == "tensorflow" and len(inputs.shape) == 4 and self.axis in (-1, 3)
        if not (fused and training and self.trainable and self.scale and self.center and mask is None):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        gamma, beta = (tf.cast(weight.value, tf.float32) for weight in (self.gamma, self.beta))
        found, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)[:3]
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count  # TensorFlow divides by one less; Keras does not
        for memory, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
            memory.assign(memory.value * self.momentum + seen * (1 - self.momentum))
        return found
