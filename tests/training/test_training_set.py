"""What the class layers are asked to say: a kind only where it can be learned as a kind, and each class alike."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from dataclasses import replace

import numpy as np

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.training.config import FitOptions
from brain_mri.training.training_set import ALONE, VAGUE, TrainingSet

GLIOMA, MENINGIOMA, FREE, PITUITARY = (CLASSES.index(name) for name in ("glioma", "meningioma", NO_TUMOR, "pituitary"))
UNKNOWN = -1


def of(labels: list[int], domains: list[int], tumor: list[bool] | None = None) -> TrainingSet:
    count = len(labels)
    blank, named = np.zeros((count, 16, 16), np.uint8), np.array(labels)
    shows = np.isin(named, (GLIOMA, MENINGIOMA, PITUITARY)) if tumor is None else np.array(tumor)
    return TrainingSet(blank, blank, named, np.zeros(count, bool), np.arange(count), shows, np.array(domains))


def test_a_source_of_one_kind_teaches_tumor_or_none_and_little_of_the_kind() -> None:
    rows = of([GLIOMA, MENINGIOMA, FREE, GLIOMA, FREE, UNKNOWN, UNKNOWN], [0, 0, 0, 1, 1, 2, 2],
              [True, True, False, True, False, True, False])  # fmt: skip
    targets = rows.class_targets()
    np.testing.assert_allclose(targets.sum(axis=1), [1, 1, 1, 1, 1, 1, 0], rtol=1e-6)
    assert targets[0, GLIOMA] == targets[2, FREE] == targets[4, FREE] == 1
    np.testing.assert_allclose(targets[3, GLIOMA], ALONE + (1 - ALONE) / 3, rtol=1e-6)
    assert targets[3, FREE] == targets[5, FREE] == 0 and targets[3, MENINGIOMA] == targets[3, PITUITARY] > 0
    np.testing.assert_allclose(np.delete(targets[5], FREE), 1 / 3, rtol=1e-6)  # a tumor of no kind that it could learn
    weights = rows.class_weights()
    assert weights[3] == weights[5] == np.float32(VAGUE) and weights[6] == 0


def test_one_source_of_one_kind_still_teaches_it() -> None:
    rows = of([GLIOMA, FREE, FREE], [0, 0, 0])
    assert rows.class_targets()[0, GLIOMA] == 1
    np.testing.assert_allclose(rows.class_weights(), [1.5, 0.75, 0.75])


def test_kinds_weigh_the_same_in_each_source_and_classes_in_all() -> None:
    few, many = [GLIOMA] * 2 + [MENINGIOMA] * 6, [GLIOMA] * 30 + [MENINGIOMA] * 10 + [PITUITARY] * 20 + [FREE] * 5
    rows = of(few + many, [0] * len(few) + [1] * len(many))
    weights = rows.class_weights()
    total = {(d, c): weights[(rows.domains == d) & (rows.labels == c)].sum() for d in (0, 1) for c in range(4)}
    # within a source kinds weigh alike but for what makes the classes alike over all
    assert total[0, GLIOMA] < 2 * total[0, MENINGIOMA] < 4 * total[0, GLIOMA]
    for label in range(4):
        np.testing.assert_allclose(weights[rows.labels == label].sum(), weights.sum() / 4, rtol=1e-5)


def test_few_outlines_are_not_outshouted_while_masks_are_learned() -> None:
    masks = np.zeros((19, 16, 16), np.uint8)
    masks[:2, 4:8, 4:8] = 255  # two outlined tumors, eight slices without one, eight tumors that nobody outlined
    rows = replace(
        of([GLIOMA] * 2 + [FREE] * 8 + [GLIOMA] * 8 + [UNKNOWN], [0] * 19),
        masks=masks,
        has_mask=np.arange(19) < 10,
    )
    np.testing.assert_allclose(rows.mask_weights(), [1] * 2 + [0.25] * 16 + [0])
    alone = rows.where(np.arange(19) >= 2)
    np.testing.assert_allclose(alone.mask_weights(), [1] * 16 + [0], err_msg="nobody outlined anything")
    twice = replace(rows, units=np.where(np.arange(19) == 1, 0, np.arange(19)))
    np.testing.assert_allclose(twice.mask_weights()[2:18], 0.125, err_msg="a copy is no further outline")
    *_, weights = next(iter(rows.feed(("mask",), FitOptions(batch_size=19, epochs=1), False)))
    np.testing.assert_allclose(weights["mask"], rows.mask_weights())
