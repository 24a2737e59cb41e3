"""Augmentation moves image and mask together, and feeds what it says."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from brain_mri.classes import CLASSES
from brain_mri.data.phantom import make_phantom
from brain_mri.training.augment import change_intensity
from brain_mri.training.config import FitOptions
from brain_mri.training.lesion_transplant import choose_donors, cover_lesions, give_lesions
from brain_mri.training.training_set import TrainingSet
from brain_mri.training.warp import random_map, warp


def batches(images, masks, labels, weights, outputs, *, batch_size, training=False, units=None, **shares):
    """What a network is fed with such weights, and with no augmentation but the given shares."""
    units = np.arange(len(images)) if units is None else units
    known = weights["mask"] > 0 if "mask" in weights else np.zeros(len(images), bool)
    options = FitOptions(batch_size=batch_size, **{"transplants": 0.0, "erased": 0.0, "folded": 0.0} | shares)
    known_tumor, one = np.zeros(len(images), bool), np.zeros(len(images), int)
    return TrainingSet(images, masks, labels, known, units, known_tumor, one).feed(
        outputs, options, training, weights["logits"]
    )


def test_image_and_mask_move_together():
    squares = np.zeros((16, 64, 64), np.uint8)
    for i in range(16):
        squares[i, 20 + i : 40, 10:30] = 255
    images, masks = warp(squares, squares, 1.0, seed=0)
    np.testing.assert_array_equal(images, masks)
    assert ((masks > 127) != (squares > 127)).any((1, 2)).all()  # something happened to each
    for left, right in zip(warp(squares, squares, 1.0, seed=0), (images, masks), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (warp(squares, squares, 1.0, seed=1)[0] != images).any((1, 2)).all()


def test_warps_bend_but_do_not_fold():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = random_map(64, 1.0, rng).astype(float)
        across, down = np.gradient(places, axis=1), np.gradient(places, axis=0)
        area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        assert (np.sign(area) == np.sign(area.mean())).mean() > 0.995
        assert np.abs(places.mean((0, 1)) - 31.5).max() < 12  # still in view
        straight = np.linspace(places[32, 0], places[32, -1], 64)
        assert np.abs(places[32] - straight).max() > 0.3  # elastic


def heads_with_lesions():
    """(images, masks) float32 in 0..1 of phantoms: two gliomas, a meningioma and a healthy one, alike in plane."""
    drawn = [make_phantom(label, seed, 96) for label, seed in (("glioma", 1), ("glioma", 2), ("meningioma", 3))]
    drawn.append(make_phantom("notumor", 4, 96))
    both = (np.stack([getattr(p, name) for p in drawn])[..., None] / 255.0 for name in ("image", "mask"))
    return tuple(part.astype(np.float32) for part in both)


ALL = np.ones(4, bool)


def test_a_given_lesion_brings_image_and_mask_of_the_donor():
    tf.random.set_seed(0)
    images, masks = heads_with_lesions()
    hosts = np.zeros((4, 4), bool)
    hosts[3, :3] = True  # only the healthy one receives
    new, outlined, donor, given = (part.numpy() for part in give_lesions(images, masks, hosts, ALL))
    assert given.tolist() == [False, False, False, True] and donor[3] in (0, 1, 2)
    np.testing.assert_array_equal(new[:3], images[:3])
    np.testing.assert_array_equal(outlined[:3], masks[:3])
    lesion = masks[donor[3]] > 0.5
    np.testing.assert_array_equal(outlined[3] > 0.5, lesion)
    assert np.abs(new[3] - images[3])[lesion].mean() > 0.02
    far = ~tf.nn.max_pool2d(masks[donor[3]][None], 25, 1, "SAME").numpy()[0].astype(bool)
    np.testing.assert_array_equal(new[3][far], images[3][far])


def test_a_covered_lesion_is_gone_and_nothing_else_changes():
    tf.random.set_seed(0)
    images, masks = heads_with_lesions()
    new, outlined, gone = (part.numpy() for part in cover_lesions(images, masks, ALL, ALL))
    assert gone[:3].any() and not gone[3]  # the healthy one has nothing to cover
    for row in range(4):
        if not gone[row]:
            np.testing.assert_array_equal(new[row], images[row])
            np.testing.assert_array_equal(outlined[row], masks[row])
            continue
        assert not outlined[row].any()
        lesion = masks[row] > 0.5
        assert np.abs(new[row] - images[row])[lesion].mean() > 0.02
        far = ~tf.nn.max_pool2d(masks[row][None], 25, 1, "SAME").numpy()[0].astype(bool)
        np.testing.assert_array_equal(new[row][far], images[row][far])
    unknown = cover_lesions(images, masks, ~ALL, ALL)[2].numpy()
    unwanted = cover_lesions(images, masks, ALL, ~ALL)[2].numpy()
    assert not unknown.any() and not unwanted.any()


def test_no_lesion_is_covered_with_another_lesion():
    images, masks = heads_with_lesions()
    images, masks = np.repeat(images[:1], 4, axis=0), np.repeat(masks[:1], 4, axis=0)
    assert not cover_lesions(images, masks, ALL, ALL)[2].numpy().any()


def test_nothing_is_given_without_a_host_a_likeness_or_a_wish():
    images, masks = heads_with_lesions()
    for hosts, wanted in ((np.zeros((4, 4), bool), ALL), (np.ones((4, 4), bool), ~ALL)):
        new, outlined, _, given = (part.numpy() for part in give_lesions(images, masks, hosts, wanted))
        assert not given.any()
        np.testing.assert_array_equal(new, images)
        np.testing.assert_array_equal(outlined, masks)
    inverted = images.copy()
    inverted[3] = 1 - images[3]
    _, found = choose_donors(tf.constant(inverted), np.ones((4, 4), bool))
    assert found.numpy().tolist() == [True, True, True, False]


def test_transplants_change_the_label_and_spare_what_is_not_known():
    images, masks = heads_with_lesions()
    images, masks = ((255 * part[..., 0]).astype(np.uint8) for part in (images, masks))
    labels = np.array([CLASSES.index(name) for name in ("glioma", "glioma", "meningioma", "notumor")])
    rows = np.array([0, 1, 2, 3] * 8)
    for known in (1.0, 0.0):
        weights = {"logits": np.where(labels == CLASSES.index("notumor"), 0.5, 1.0)[rows].astype(np.float32)}
        weights["mask"] = np.where(labels[rows] == CLASSES.index("notumor"), known, 1.0).astype(np.float32)
        feed = batches(images[rows], masks[rows], labels[rows], weights, ("logits", "mask"), batch_size=32,
                       training=True, strength=0.5, transplants=1.0)  # fmt: skip
        ((_, y, w),) = list(feed)
        counts = np.bincount(y["logits"].numpy().argmax(1), minlength=4)
        outlined = (y["mask"].numpy() > 0.5).any((1, 2, 3))
        absent = y["logits"].numpy().argmax(1) == CLASSES.index("notumor")
        assert (outlined == ~absent).all() and counts[1] + counts[0] >= 24 and counts[3] == 0
        assert absent.sum() == 8 if known == 0 else absent.sum() < 8
        np.testing.assert_array_equal(w["logits"].numpy(), np.where(absent, 0.5, 1.0))


def test_covered_slices_are_labelled_and_weighed_as_healthy_ones():
    images, masks = heads_with_lesions()
    images, masks = ((255 * part[..., 0]).astype(np.uint8) for part in (images, masks))
    labels = np.array([CLASSES.index(name) for name in ("glioma", "glioma", "meningioma", "notumor")])
    rows = np.array([0, 1, 2, 3] * 8)
    weights = {"logits": np.where(labels == CLASSES.index("notumor"), 0.5, 1.0)[rows].astype(np.float32)}
    weights["mask"] = np.ones(32, np.float32)
    feed = batches(images[rows], masks[rows], labels[rows], weights, ("logits",), batch_size=32,
                   training=True, strength=0.5, erased=1.0)  # fmt: skip
    ((_, y, w),) = list(feed)
    absent = y["logits"].numpy().argmax(1) == CLASSES.index("notumor")
    assert absent.sum() > 10  # 8 were so before
    np.testing.assert_array_equal(w["logits"].numpy(), np.where(absent, 0.5, 1.0))


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


def test_folded_heads_lose_their_lesion_and_label_or_have_it_twice():
    head = make_phantom("notumor", 3, 64).image
    image = np.minimum(1.6 * np.maximum(head, head[:, ::-1]), 150)
    mask = np.zeros_like(image)
    mask[24:30, 18:24] = 255
    glioma, absent = CLASSES.index("glioma"), CLASSES.index("notumor")
    labels = np.array([glioma] * 24 + [absent] * 8)
    masks = np.where((labels == glioma)[:, None, None], mask, 0).astype(np.uint8)
    images = np.where(masks > 0, 200, image).astype(np.uint8)
    weights = {"logits": np.where(labels == absent, 0.5, 1.0).astype(np.float32), "mask": np.ones(32, np.float32)}
    feed = batches(images, masks, labels, weights, ("logits", "mask"), batch_size=32, training=True, strength=0.0,
                   folded=1.0)  # fmt: skip
    ((_, y, w),) = list(feed)
    said, size = y["logits"].numpy().argmax(1), (y["mask"].numpy() > 0.5).sum((1, 2, 3))
    assert set(said) == {glioma, absent}
    assert 12 < (said == absent).sum() < 32  # 8 were so before
    assert (size[said == absent] == 0).all()
    assert (np.abs(size[said == glioma] / (mask > 127).sum() - 2) < 0.2).all()
    np.testing.assert_array_equal(w["logits"].numpy(), np.where(said == absent, 0.5, 1.0))
