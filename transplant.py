"""Lesions transplanted from one slice of a batch to another, image and mask together.

There are few patients and therefore few lesions; in other heads they teach more (CarveMix: Zhang et al. 2021; TumorCP:
Yang et al. 2021). A transplant into a slice of the "no tumor" sources also takes away their use as a sign of health.
The donor is a slice that looks alike, so that a lesion lands in the same plane and about where it was.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any
THUMBNAIL = 8  # pixels a side of what is compared
LEAST_ALIKE = 0.5  # correlation of the thumbnails
TISSUE = 0.04  # darker is air, in 0..1
INSIDE_HEAD = 0.9  # share of the transplant that must fall on tissue


def choose_donors(images: Tensor, hosts: Tensor, donors: Tensor) -> tuple[Tensor, Tensor]:
    """For each slice the donor that looks most like it, with some chance: (row int (N,), found bool (N,)).

    images float (N, S, S, 1). hosts (N, N) bool: may row i receive from row j? donors (N,) bool: has a lesion to give.
    """
    small = tf.image.resize(images, (THUMBNAIL, THUMBNAIL), method="area")
    flat = tf.reshape(small, (tf.shape(images)[0], THUMBNAIL**2))
    flat = tf.math.l2_normalize(flat - tf.reduce_mean(flat, axis=1, keepdims=True), axis=1)
    alike = tf.matmul(flat, flat, transpose_b=True)
    possible = hosts & donors[None, :] & (alike > LEAST_ALIKE) & ~tf.eye(tf.shape(flat)[0], dtype=tf.bool)
    score = tf.where(possible, alike + tf.random.uniform(tf.shape(alike), 0, 0.5), -1.0)
    return tf.argmax(score, axis=1), tf.reduce_any(possible, axis=1)


def transplant(images: Tensor, masks: Tensor, hosts: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give about `share` of the slices another slice's lesion.

    images, masks: float32 (N, S, S, 1) in 0..1. hosts: bool (N, N), may row i receive the lesion of row j?
    Returns images, masks, the donor's row int (N,) and whether there was a transplant, bool (N,).
    """
    donor, found = choose_donors(images, hosts, tf.reduce_max(masks, axis=(1, 2, 3)) > 0.5)
    lesion, tissue = tf.gather(masks, donor), tf.gather(images, donor)
    coarse = tf.nn.max_pool2d(tf.nn.max_pool2d(tf.cast(lesion > 0.5, tf.float32), 4, 4, "SAME"), 3, 1, "SAME")
    patch = tf.image.resize(coarse, tf.shape(images)[1:3], method="bilinear")  # which gives it a soft edge

    def mean(values: Tensor, where: Tensor) -> Tensor:
        axes = (1, 2, 3)
        total = tf.reduce_sum(where, axis=axes, keepdims=True)
        return tf.reduce_sum(values * where, axis=axes, keepdims=True) / (total + 1e-3)

    rim = patch * (1 - lesion)
    gain = tf.clip_by_value((mean(images, rim) + 0.02) / (mean(tissue, rim) + 0.02), 0.6, 1.6)
    inside = mean(tf.cast(images > TISSUE, tf.float32), patch)[:, 0, 0, 0] > INSIDE_HEAD
    given = found & inside & (tf.random.uniform(tf.shape(found)) < share)
    patch *= tf.cast(given, tf.float32)[:, None, None, None]
    joined = tf.clip_by_value(images + patch * (tissue * gain - images), 0.0, 1.0)
    return joined, masks + patch * (lesion - masks), donor, given
