"""What becomes of a batch while a network learns: lesions move between heads, brightness and sharpness change.

The intensity changes make the sources of the data set hard to tell apart: gamma, contrast, tone curve, bias field, blur
or sharpening, noise.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from brain_mri.training.config import FitOptions
from brain_mri.training.lesion_transplant import cover_lesions, give_lesions

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


def compatible(labels: Tensor, known: Tensor, absent: int) -> Tensor:
    """bool (N, N): may slice i get the lesion of slice j? Where i has none, or one of the same kind.

    labels: one-hot (N, C); known: bool (N,), is the mask known? absent: the label of "no tumor", below 0 without one.
    """
    healthy = labels[:, absent] > 0.5 if absent >= 0 else tf.zeros_like(known)
    same = tf.matmul(labels, labels, transpose_b=True) > 0.5
    return (healthy[:, None] | same) & known[:, None] & known[None, :]


def exchange_lesions(
    x: Tensor,
    mask: Tensor,
    label: Tensor,
    weight: Tensor,
    *,
    known: Tensor,
    emptied: Tensor,
    healthy_weight: float,
    options: FitOptions,
    absent: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slices, masks, labels and their weights, some with another slice's lesion, some covered and so "no tumor".

    x, mask: float32 (N, S, S, 1) in 0..1; label: one-hot (N, C); weight: float32 (N,). known: bool (N,), is the mask
    known? emptied: bool (N,), was the lesion folded away? healthy_weight: of what has become "no tumor"; absent: the
    label of that.
    """
    luck = tf.random.uniform(tf.shape(weight))
    x, mask, gone = cover_lesions(x, mask, known, luck > 1 - options.erased)
    gone |= emptied
    label = tf.where(gone[:, None], tf.one_hot(absent, label.shape[1]), label)
    weight = tf.where(gone, healthy_weight, weight)
    hosts = compatible(label, known, absent) & ~gone[:, None]
    x, mask, donor, given = give_lesions(x, mask, hosts, luck < options.transplants)
    label = tf.where(given[:, None], tf.gather(label, donor), label)
    return x, mask, label, tf.where(given, tf.gather(weight, donor), weight)
