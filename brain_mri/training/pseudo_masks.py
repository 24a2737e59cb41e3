"""Pseudo masks for people without masks: where K-means and the classifier's Grad-CAM agree.

Artifacts call them weak masks: they teach a segmenter the habits of K-means, not anatomy.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import keras
import numpy as np

from brain_mri.imaging.preprocessing import head_mask
from brain_mri.training.gradcam import with_heatmaps
from brain_mri.training.training_set import TrainingSet
from segmentation import kmeans_mask

HEAT = 0.4  # of the map's maximum
LEAST = 0.002  # share of the picture


def with_pseudo_masks(slices: TrainingSet, classifier: keras.Model) -> TrainingSet:
    """The slices with guessed masks.

    "No tumor" slices get an empty mask. A tumor slice where the two do not overlap, or whose class is unknown, stays
    unknown.
    """
    heat = with_heatmaps(classifier).predict(slices.images[..., None], batch_size=64, verbose=0)["heatmaps"]
    masks, known = np.zeros_like(slices.images), slices.labels == slices.absent
    size = masks.shape[1:]
    for row in np.flatnonzero((slices.labels >= 0) & ~known):
        one = heat[row, ..., slices.labels[row]].astype(np.float32)
        if one.max() <= 0:
            continue
        hot = cv2.resize(one / one.max(), size[::-1], interpolation=cv2.INTER_LINEAR) > HEAT
        both = kmeans_mask(slices.images[row], head_mask) & hot
        if both.sum() >= LEAST * both.size:
            masks[row], known[row] = both.astype(np.uint8) * 255, True
    return replace(slices, masks=masks, has_mask=known)
