"""tf.data batches with on-the-fly augmentation, image and mask together.

One fused warp of each slice (warp.py) instead of a chain of Keras layers, which halved U-Net throughput on two cores;
lesions of other slices (transplant.py); then intensity changes that make the sources of the data set hard to tell
apart: gamma, contrast, tone curve, bias field, blur or sharpening, noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.training.lesion_transplant import cover_lesions, give_lesions
from brain_mri.training.midline_folds import Folds
from brain_mri.training.warp import warp

Tensor = Any


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


def compatible(labels: Tensor, known: Tensor) -> Tensor:
    """bool (N, N): may slice i get the lesion of slice j? Where i has none, or one of the same kind.

    labels: one-hot (N, C); known: bool (N,), is the mask known?
    """
    healthy = labels[:, CLASSES.index(NO_TUMOR)] > 0.5
    same = tf.matmul(labels, labels, transpose_b=True) > 0.5
    return (healthy[:, None] | same) & known[:, None] & known[None, :]


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
    transplants: float = 0.0,
    covered: float = 0.0,
    folded: float = 0.0,
    class_count: int = 4,
) -> tf.data.Dataset:
    """Batches (image, {output: target}, {output: weight}) for `keras.Model.fit`.

    images, masks: uint8 (N, S, S). labels: int (N,), -1 where unknown. outputs: any of "logits", "mask".
    weights: float32 (N,) per output; 0 switches a row off for that output (unknown class, unknown mask).
    units: int (N,), equal for copies of one slice: a training epoch shows one of them, drawn anew each time.
    transplants, covered: shares of the slices that get another one's lesion, and whose lesion is covered with another
    one's tissue, which makes them "no tumor"; only where weights["mask"] says that the mask is known.
    folded: share of nearly symmetrical heads that are folded at the midline (folds.py).
    training=True shuffles anew every epoch and augments; otherwise the order is kept and pixels are untouched.
    """
    size = images.shape[1]
    all_labels = tf.one_hot(labels, class_count)
    all_weights = {name: tf.constant(weights[name], tf.float32) for name in outputs}
    absent = CLASSES.index(NO_TUMOR)
    healthy = weights["logits"][labels == absent] if "logits" in outputs else np.zeros(0)
    healthy_weight = float(healthy.mean()) if healthy.size else 1.0
    all_known = tf.constant(weights["mask"] > 0) if "mask" in weights else None

    heads = Folds.of(images, masks, weights["mask"] > 0, folded) if training and folded and "mask" in weights else None

    def read(rows: np.ndarray, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen, none = (images[rows], masks[rows]), np.zeros(len(rows), bool)
        if not training:
            return *chosen, none
        folds, emptied = heads.draw(rows, int(draw)) if heads else (None, none)
        return *warp(*chosen, strength, int(draw), folds), emptied

    def gather(rows: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        # The rows of the arrays themselves: as constants of the graph they would be in memory once more
        draw = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int64) if training else tf.constant(0, tf.int64)
        *found, emptied = tf.numpy_function(read, [rows, draw], [tf.uint8, tf.uint8, tf.bool])
        emptied = tf.ensure_shape(emptied, [None])
        x, mask = (tf.cast(tf.ensure_shape(part, [None, size, size])[..., None], tf.float32) for part in found)
        mask /= 255.0
        weight = {name: tf.gather(all_weights[name], rows) for name in outputs}
        label = tf.gather(all_labels, rows)
        if training:
            x /= 255.0
            if (transplants or covered or folded) and all_known is not None:
                luck, known = tf.random.uniform(tf.shape(rows)), tf.gather(all_known, rows)
                x, mask, gone = cover_lesions(x, mask, known, luck > 1 - covered)
                gone |= emptied
                label = tf.where(gone[:, None], tf.one_hot(absent, class_count), label)
                hosts = compatible(label, known) & ~gone[:, None]
                x, mask, donor, given = give_lesions(x, mask, hosts, luck < transplants)
                label = tf.where(given[:, None], tf.gather(label, donor), label)
                if "logits" in outputs:
                    own = tf.where(gone, healthy_weight, weight["logits"])
                    weight["logits"] = tf.where(given, tf.gather(own, donor), own)
            x = 255.0 * tf.ensure_shape(change_intensity(x, strength), [None, size, size, 1])
        truths = {"logits": label, "mask": mask}
        return x, {name: truths[name] for name in outputs}, weight

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
