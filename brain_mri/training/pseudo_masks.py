"""Guessed masks for people without masks: where K-means and the classifier's Grad-CAM agree.

They are marked as weak wherever they are used; they teach a segmenter the habits of K-means, not anatomy.
"""

from __future__ import annotations

import cv2
import keras
import numpy as np

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.imaging.preprocessing import head_mask
from brain_mri.training.fit import run_in_batches
from brain_mri.training.gradcam import with_heatmaps
from segmentation import kmeans_mask

HEAT = 0.4  # of the map's maximum


def weak_masks(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(masks uint8 (N, S, S) 0/255, known bool (N,)) for uint8 images (N, S, S) and class indices (N,).

    "No tumor" slices get an empty mask. A tumor slice where the two do not overlap, or whose class is unknown,
    stays unknown.
    """
    heat = run_in_batches(with_heatmaps(classifier), images)["heatmaps"]
    masks, known = np.zeros_like(images), labels == CLASSES.index(NO_TUMOR)
    size = images.shape[1:]
    for row in np.flatnonzero((labels >= 0) & ~known):
        one = heat[row, ..., labels[row]].astype(np.float32)
        if one.max() <= 0:
            continue
        hot = cv2.resize(one / one.max(), size[::-1], interpolation=cv2.INTER_LINEAR) > HEAT
        both = kmeans_mask(images[row], head_mask) & hot
        if both.sum() >= 0.002 * both.size:
            masks[row], known[row] = both.astype(np.uint8) * 255, True
    return masks, known
