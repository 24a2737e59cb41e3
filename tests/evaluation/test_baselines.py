"""The baselines: what they see, what they must not see, and that they are what they are called."""

from __future__ import annotations

import cv2
import numpy as np
from sklearn.ensemble import RandomForestClassifier

from brain_mri.evaluation import baselines


def thumbs_and_labels(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return rng.integers(0, 255, (count, 32, 32)).astype(np.uint8), labels


def test_nearest_neighbour_equals_brute_force():
    thumbs, labels = thumbs_and_labels()
    train, test = np.arange(40), np.arange(40, 60)
    answer = baselines.predict_baselines(thumbs, labels, train, test)["nearest_neighbour"]
    for row, label in zip(test, answer, strict=True):
        distances = ((thumbs[train].astype(float) - thumbs[row].astype(float)) ** 2).sum(axis=(1, 2))
        assert label == labels[train][distances.argmin()]


def test_forest_equals_scikit_learns_and_every_run_the_other():
    thumbs, labels = thumbs_and_labels(90)
    flat = thumbs.reshape(90, -1) // 64 + 20 * labels[:, None]  # few values: many ties
    theirs = RandomForestClassifier(15, min_samples_leaf=3, random_state=5).fit(flat[:60], labels[:60])
    ours = baselines.Forest(15, min_samples_leaf=3, random_state=5, n_jobs=-1).fit(flat[:60], labels[:60])
    np.testing.assert_allclose(ours.predict_proba(flat[60:]), theirs.predict_proba(flat[60:]))
    assert (ours.predict_proba(flat) == ours.predict_proba(flat)).all()


def test_border_forest_sees_only_the_border():
    thumbs, labels = thumbs_and_labels()
    thumbs[:, :3] = (labels * 100)[:, None, None]
    other = thumbs.copy()
    other[:, 3:-3, 3:-3] = 7
    train, test = np.arange(40), np.arange(40, 60)
    first = baselines.predict_baselines(thumbs, labels, train, test)
    second = baselines.predict_baselines(other, labels, train, test)
    assert (first["border_forest"] == labels[test]).all()
    assert (first["border_forest"] == second["border_forest"]).all()
    assert baselines.border(thumbs).shape == (60, 32 * 32 - 26 * 26)


def test_copies_are_found_mirrored_and_brightened_and_others_are_not():
    rng = np.random.default_rng(1)
    smooth = [cv2.GaussianBlur(rng.random((32, 32)).astype(np.float32), (0, 0), 2) for _ in range(6)]
    pictures = np.stack([np.interp(p, (p.min(), p.max()), (20, 200)) for p in smooth]).astype(np.uint8)
    test = [pictures[0], pictures[1][:, ::-1], (pictures[2] * 0.6 + 30).astype(np.uint8), pictures[4], pictures[5]]
    thumbs = np.concatenate([pictures[:4], np.stack(test)])
    found = baselines.near_copies(thumbs, np.arange(4), np.arange(4, 9))
    assert found.tolist() == [True, True, True, False, False]
    assert baselines.near_copies(thumbs, np.arange(0), np.arange(4)).tolist() == [False] * 4


def test_out_of_fold_baselines_never_see_the_own_group():
    """Each group is one picture repeated, and its label is found nowhere else: knowing the group would be cheating."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), 4)
    thumbs = rng.integers(0, 255, (12, 32, 32)).astype(np.uint8)[groups]
    answers = baselines.predict_out_of_fold(thumbs, groups, groups.astype(str))
    assert all((answer != groups).all() for answer in answers.values())
    assert baselines.predict_out_of_fold(thumbs[:4], groups[:4], groups[:4].astype(str)) == {}
