"""Augmentation moves image and mask together, and feeds what it says."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from augment import augment, batches, change_intensity
from counterfactual import counterfactuals, erase
from phantom import make_phantom


def phantoms(labels, size=96):
    drawn = [make_phantom(label, seed, size) for seed, label in enumerate(labels)]
    return np.stack([p.image for p in drawn]), np.stack([p.mask for p in drawn])


def test_image_and_mask_move_together():
    tf.random.set_seed(0)
    squares = np.zeros((16, 64, 64, 1), np.uint8)
    for i in range(16):
        squares[i, 20 + i : 40, 10:30] = 255
    images, masks = augment(squares, squares, strength=1.0)
    moved = masks.numpy() > 0.5
    assert (moved[..., 0] != (squares[..., 0] > 127)).any((1, 2)).all()  # something happened to each
    for image, mask in zip(images.numpy(), moved, strict=True):
        assert image[mask].mean() > 2 * image[~mask].mean() + 20  # and to both alike


def test_intensity_changes_keep_the_range_and_shape():
    tf.random.set_seed(1)
    x = tf.random.uniform((8, 32, 32, 1))
    y = change_intensity(x, 1.0).numpy()
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1 and np.isfinite(y).all()
    assert np.abs(y - x.numpy()).mean() > 0.01


def test_batches_without_training_are_the_pixels_in_order():
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    masks = np.where(images > 128, 255, 0).astype(np.uint8)
    labels = np.array([0, 1, -1, 3, 2])
    weights = {"logits": np.array([1, 1, 0, 1, 1], np.float32), "mask": np.ones(5, np.float32)}
    got = list(batches(images, masks, labels, weights, ("logits", "mask"), batch_size=2))
    np.testing.assert_array_equal(np.concatenate([b[0] for b in got])[..., 0], images)
    np.testing.assert_array_equal(np.concatenate([b[1]["mask"] for b in got])[..., 0] * 255, masks)
    np.testing.assert_array_equal(np.concatenate([b[1]["logits"] for b in got]).argmax(1)[[0, 1, 3, 4]], [0, 1, 3, 2])
    np.testing.assert_array_equal(np.concatenate([b[2]["logits"] for b in got]), weights["logits"])


def test_an_epoch_shows_one_copy_of_each_slice():
    values = np.arange(24, dtype=np.uint8) * 10
    images = np.repeat(values, 32 * 32).reshape(24, 32, 32)
    units = np.arange(24) // 3  # eight slices, three copies of each
    weights = {"logits": np.ones(24, np.float32)}
    feed = batches(
        images, images, values % 4, weights, ("logits",), batch_size=8, units=units, training=True, strength=0.0
    )
    drawn: set[int] = set()
    for _ in range(20):
        ((x, _, _),) = list(feed)
        shown = np.round(np.median(x.numpy()[:, 8:24, 8:24, 0], (1, 2)) / 10).astype(int)
        assert sorted(units[shown]) == list(range(8))
        drawn |= set(shown.tolist())
    assert len(drawn) > 20


def test_erasing_changes_the_lesion_and_nothing_else():
    images, masks = phantoms(["meningioma", "glioma", "pituitary"])
    for image, mask in zip(images, masks, strict=True):
        result = erase(image, mask)
        assert result is not None
        far = np.ones(mask.shape, bool)
        ys, xs = np.nonzero(mask)
        far[max(0, ys.min() - 16) : ys.max() + 17, max(0, xs.min() - 16) : xs.max() + 17] = False
        np.testing.assert_array_equal(result[far], image[far])
        assert np.abs(result[mask > 0].astype(int) - image[mask > 0]).mean() > 5


def test_counterfactuals_take_one_of_each_unit_and_name_their_source():
    images, masks = phantoms(["meningioma", "meningioma", "notumor", "pituitary"])
    tumor = masks.any((1, 2))
    pictures, rows, erased = counterfactuals(
        images, masks, tumor, np.array([0, 0, 1, 2]), erased=1.0, retouched=1.0, seed=1
    )
    assert erased.sum() == 2 and len(set(rows[erased]) & {0, 1}) == 1 and 3 in rows[erased]
    assert not tumor[2] and 2 not in rows[erased]
    assert pictures.dtype == np.uint8 and pictures.shape[1:] == images.shape[1:]
    for picture, row in zip(pictures[~erased], rows[~erased], strict=True):
        lesion = masks[row] > 0  # a retouched copy keeps its lesion
        assert np.abs(picture[lesion].astype(int) - images[row][lesion]).mean() < 6 if lesion.any() else True


def test_counterfactuals_without_tumors_are_none():
    images, masks = phantoms(["notumor", "notumor"])
    pictures, rows, erased = counterfactuals(images, masks, np.zeros(2, bool), np.arange(2))
    assert pictures.shape == (0, *images.shape[1:]) and len(rows) == len(erased) == 0
