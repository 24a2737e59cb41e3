"""tf.data batches with on-the-fly augmentation, image and mask together.

One fused affine warp for a whole batch (flip, rotation, shift, zoom, shear) instead of a chain of Keras layers, which
halved U-Net throughput on two cores; then intensity changes that make the sources of the data set hard to tell
apart: gamma, contrast, tone curve, bias field, blur or sharpening, noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any


def affine_transforms(count: Tensor, size: int, rotation: float, zoom: float, shift: float, shear: float) -> Tensor:
    """Random output-to-input transforms (count, 8) for ImageProjectiveTransformV3, about the image centre.

    rotation in degrees, zoom as a log-scale half range, shift as a share of the side; half of them mirrored.
    """

    def uniform(limit: float) -> Tensor:
        return tf.random.uniform([count], -limit, limit)

    angle = uniform(math.radians(rotation))
    scale_x, scale_y = tf.exp(uniform(zoom)), tf.exp(uniform(zoom / 2))
    scale_y = scale_x * scale_y  # mostly the same zoom for both axes, and a little anisotropy
    mirror = tf.where(tf.random.uniform([count]) < 0.5, -1.0, 1.0)
    cos, sin, skew = tf.cos(angle), tf.sin(angle), uniform(shear)
    a, b = mirror * scale_x * cos, -scale_x * sin + skew
    d, e = mirror * scale_y * sin, scale_y * cos
    centre = (size - 1) / 2
    dx, dy = uniform(shift) * size, uniform(shift) * size
    c = centre - a * centre - b * centre + dx
    f = centre - d * centre - e * centre + dy
    zero = tf.zeros_like(a)
    return tf.stack([a, b, c, d, e, f, zero, zero], axis=1)


def warp(batch: Tensor, transforms: Tensor) -> Tensor:
    """Bilinear warp of float32 (N, S, S, K); what comes from outside is 0."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=transforms,
        output_shape=tf.shape(batch)[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )


def change_intensity(x: Tensor, strength: float) -> Tensor:
    """Random tone, bias field, blur and noise on float32 (N, S, S, 1) in 0..1."""
    count = tf.shape(x)[0]

    def uniform(low: float, high: float) -> Tensor:
        return tf.random.uniform([count, 1, 1, 1], low, high)

    x = tf.pow(tf.maximum(x, 1e-4), tf.exp(uniform(-0.5, 0.5) * strength))
    x += uniform(-0.12, 0.12) * strength * tf.sin(2 * math.pi * x)  # a bent tone curve, other tissue contrasts
    x *= tf.exp(uniform(-0.35, 0.15) * strength)  # mostly darker: what is clipped is lost
    field = tf.random.normal([count, 3, 3, 1], stddev=0.1 * strength)
    x *= tf.exp(tf.image.resize(field, tf.shape(x)[1:3], method="bilinear"))
    x += uniform(-0.8, 0.8) * strength * (tf.nn.avg_pool2d(x, 3, 1, "SAME") - x)  # < 0 sharpens, > 0 blurs
    x += tf.random.normal(tf.shape(x)) * tf.square(uniform(0, 0.2)) * strength
    return tf.clip_by_value(x, 0.0, 1.0)


def augment(images: Tensor, masks: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """uint8 (N, S, S, 1) images and masks -> float32 images 0..255 and masks 0..1, changed together."""
    size = images.shape[1]
    both = tf.concat([tf.cast(images, tf.float32), tf.cast(masks, tf.float32)], axis=-1) / 255.0
    transforms = affine_transforms(tf.shape(images)[0], size, 18 * strength, 0.18 * strength, 0.07, 0.1 * strength)
    both = warp(both, transforms)
    return change_intensity(both[..., :1], strength) * 255.0, both[..., 1:]


def batches(
    images: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    weights: dict[str, np.ndarray],
    outputs: tuple[str, ...],
    *,
    batch_size: int,
    units: np.ndarray | None = None,
    seed: int = 0,
    training: bool = False,
    strength: float = 1.0,
    class_count: int = 4,
) -> tf.data.Dataset:
    """Batches (image, {output: target}, {output: weight}) for `keras.Model.fit`.

    images, masks: uint8 (N, S, S). labels: int (N,), -1 where unknown. outputs: any of "logits", "mask".
    weights: float32 (N,) per output; 0 switches a row off for that output (unknown class, unknown mask).
    units: int (N,), equal for copies of one slice: a training epoch shows one of them, drawn anew each time.
    training=True shuffles anew every epoch and augments; otherwise the order is kept and pixels are untouched.
    """
    size = images.shape[1]
    all_labels = tf.one_hot(labels, class_count)
    all_weights = {name: tf.constant(weights[name], tf.float32) for name in outputs}

    def gather(rows: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        # The rows of the arrays themselves: as constants of the graph they would be in memory once more
        found = tf.numpy_function(lambda chosen: (images[chosen], masks[chosen]), [rows], [tf.uint8, tf.uint8])
        x, mask = (tf.ensure_shape(part, [None, size, size])[..., None] for part in found)
        if training:
            x, mask = augment(x, mask, strength)
            x, mask = tf.ensure_shape(x, [None, size, size, 1]), tf.ensure_shape(mask, [None, size, size, 1])
        else:
            x, mask = tf.cast(x, tf.float32), tf.cast(mask, tf.float32) / 255.0
        targets = {"logits": tf.gather(all_labels, rows), "mask": mask}
        return (
            x,
            {name: targets[name] for name in outputs},
            {name: tf.gather(all_weights[name], rows) for name in outputs},
        )

    if not training:
        rows = tf.data.Dataset.range(len(images)).batch(batch_size)
    else:
        _, unit_of_row, copies = np.unique(
            np.arange(len(images)) if units is None else units, return_inverse=True, return_counts=True
        )
        by_unit = tf.constant(np.argsort(unit_of_row, kind="stable"), tf.int64)
        first = tf.constant(np.cumsum(copies) - copies, tf.int64)
        count = tf.constant(copies, tf.int64)

        def draw(unit: Tensor) -> Tensor:
            place = tf.random.uniform(tf.shape(unit)) * tf.cast(tf.gather(count, unit), tf.float32)
            place = tf.minimum(tf.cast(place, tf.int64), tf.gather(count, unit) - 1)
            return tf.gather(by_unit, tf.gather(first, unit) + place)

        rows = tf.data.Dataset.range(len(copies)).shuffle(len(copies), seed=seed, reshuffle_each_iteration=True)
        # A last batch of another size is left out: oneDNN (TF 2.21, float32) corrupted memory on it, and crashed
        rows = rows.batch(batch_size, drop_remainder=len(copies) >= batch_size).map(draw, num_parallel_calls=1)
    return rows.map(gather, num_parallel_calls=2, deterministic=True).prefetch(4)
