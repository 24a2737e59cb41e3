"""Tissue transplanted from one slice of a batch to another, image and mask together: lesions in, lesions out.

There are few patients and therefore few lesions; in other heads they teach more (CarveMix: Zhang et al. 2021; TumorCP:
Yang et al. 2021). A lesion given to a slice of the "no tumor" sources, and one that is covered with healthy tissue of
another head, also take away the use of the source as a sign: before, no slice of the skull base was without a tumor.
The donor is a slice that looks alike, so that the tissue is of the same plane and about the same place.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any
THUMBNAIL = 8  # pixels a side of what is compared
LEAST_ALIKE = 0.6  # correlation of the thumbnails
CHANCE = 0.3  # how much less alike a chosen donor may be than the most alike
CELL = 4  # pixels: patches are made of whole cells around a lesion, and one more on each side
TISSUE = 0.04  # darker is air, in 0..1
INSIDE_HEAD = 0.9  # share of a patch that must be tissue in both heads
WORST_SEAM = 0.14  # mean difference along the rim, in 0..1
LARGEST = 0.05  # share of the picture that a lesion may have to be covered: larger ones have changed what is around


def choose_donors(images: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """For each slice one that looks like it, with some chance: (row int (N,), is there one, bool (N,)).

    images float (N, S, S, 1); allowed bool (N, N): may slice i receive from slice j?
    """
    small = tf.image.resize(images, (THUMBNAIL, THUMBNAIL), method="area")
    flat = tf.reshape(small, (tf.shape(images)[0], THUMBNAIL**2))
    flat = tf.math.l2_normalize(flat - tf.reduce_mean(flat, axis=1, keepdims=True), axis=1)
    alike = tf.matmul(flat, flat, transpose_b=True)
    possible = allowed & (alike > LEAST_ALIKE) & ~tf.eye(tf.shape(flat)[0], dtype=tf.bool)
    score = tf.where(possible, alike + tf.random.uniform(tf.shape(alike), 0, CHANCE), -1.0)
    return tf.argmax(score, axis=1), tf.reduce_any(possible, axis=1)


def cells_of(masks: Tensor) -> Tensor:
    """float32 (N, S / CELL, S / CELL, 1): 1 where a lesion is, and one cell around it."""
    cells = tf.nn.max_pool2d(tf.cast(masks > 0.5, tf.float32), CELL, CELL, "SAME")
    return tf.nn.max_pool2d(cells, 3, 1, "SAME")


def blend(images: Tensor, tissue: Tensor, cells: Tensor, lesions: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Tissue of other slices over the images, where wanted, bool (N,), and inside the head: (images, patch).

    cells: where (cells_of); lesions (N, S, S, 1): what the rims, whose brightness is matched, leave out.
    """
    patch = tf.image.resize(cells, tf.shape(images)[1:3], method="bilinear")  # which gives it a soft edge

    def mean(values: Tensor, where: Tensor) -> Tensor:
        total = tf.reduce_sum(where, axis=(1, 2, 3), keepdims=True)
        return tf.reduce_sum(values * where, axis=(1, 2, 3), keepdims=True) / (total + 1e-3)

    rim = patch * (1 - lesions)
    gain = tf.clip_by_value((mean(images, rim) + 0.02) / (mean(tissue, rim) + 0.02), 0.6, 1.6)
    both = tf.cast((images > TISSUE) & (tissue > TISSUE), tf.float32)
    fits = (mean(both, patch) > INSIDE_HEAD) & (mean(tf.abs(images - gain * tissue), rim) < WORST_SEAM)
    done = fits & wanted[:, None, None, None]
    patch *= tf.cast(done, tf.float32)
    return tf.clip_by_value(images + patch * (tissue * gain - images), 0.0, 1.0), patch


def give_lesions(images: Tensor, masks: Tensor, hosts: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Another slice's lesion, rim included, for the slices that are wanted, bool (N,).

    images, masks: float32 (N, S, S, 1) in 0..1. hosts: bool (N, N), may slice i receive the lesion of slice j?
    Returns images, masks, the donor's row int (N,) and whether it was done, bool (N,).
    """
    donor, found = choose_donors(images, hosts & (tf.reduce_max(masks, axis=(1, 2, 3)) > 0.5)[None, :])
    lesions, tissue = tf.gather(masks, donor), tf.gather(images, donor)
    joined, patch = blend(images, tissue, cells_of(lesions), lesions, wanted & found)
    return joined, masks + patch * (lesions - masks), donor, tf.reduce_max(patch, axis=(1, 2, 3)) > 0


def cover_lesions(images: Tensor, masks: Tensor, known: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Another slice's healthy tissue over the whole, not too large lesion of the slices that are wanted, bool (N,).

    images, masks: float32 (N, S, S, 1) in 0..1. known: bool (N,), is the mask known?
    Returns images, masks (empty where covered) and whether it was done, bool (N,).
    """
    cells = cells_of(masks)
    flat = tf.reshape(cells, (tf.shape(cells)[0], -1))
    apart = tf.matmul(flat, flat, transpose_b=True) == 0  # the donor's lesion is elsewhere
    donor, found = choose_donors(images, apart & known[None, :])
    share = tf.reduce_mean(masks, axis=(1, 2, 3))
    wanted = wanted & found & known & (share > 0) & (share < LARGEST)
    joined, patch = blend(images, tf.gather(images, donor), cells, masks, wanted)
    done = tf.reduce_max(patch, axis=(1, 2, 3)) > 0
    return joined, tf.where(done[:, None, None, None], 0.0, masks), done
