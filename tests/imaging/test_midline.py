"""Where the midline of a head is, and heads folded at it."""

import cv2
import numpy as np
import pytest

from brain_mri.data.phantom import make_phantom
from brain_mri.evaluation.counterfactual import folded_copies
from brain_mri.imaging.midline import fold, free_half, midline
from brain_mri.training.midline_folds import EMPTIED, Folds

SIZE = 96


def turned(image: np.ndarray, angle: float, shift: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(((SIZE - 1) / 2, (SIZE - 1) / 2), angle, 1.0)
    matrix[0, 2] += shift
    return cv2.warpAffine(image, matrix, (SIZE, SIZE))


@pytest.fixture(scope="module")
def symmetrical() -> np.ndarray:
    image = make_phantom("notumor", 3, SIZE).image
    return np.maximum(image, image[:, ::-1])


@pytest.mark.parametrize(("angle", "shift"), [(0, 0), (0, 4), (9, 0), (-7, -3)])
def test_the_axis_is_where_the_head_was_turned_and_moved_to(symmetrical, angle, shift):
    axis = midline(turned(symmetrical, angle, shift))
    assert axis is not None
    normal, distance = axis
    assert np.linalg.norm(normal) == pytest.approx(1)
    assert np.degrees(np.arctan2(-normal[1], normal[0])) == pytest.approx(angle, abs=1)
    centre = np.array([shift + (SIZE - 1) / 2, (SIZE - 1) / 2])
    assert normal @ centre == pytest.approx(distance, abs=0.5)


def test_no_axis_where_the_halves_are_not_alike(symmetrical):
    assert midline(np.zeros((SIZE, SIZE), np.uint8)) is None
    assert midline(np.full((SIZE, SIZE), 7, np.uint8)) is None
    half = symmetrical.copy()
    half[:, : SIZE // 2] = 255 - half[:, : SIZE // 2]
    assert midline(half) is None


def test_a_folded_head_keeps_one_half_and_mirrors_it(symmetrical):
    marked = symmetrical.copy()
    marked[40:50, 20:30] = 255  # on the left
    axis = (np.array([1.0, 0.0]), (SIZE - 1) / 2)
    left, right = fold(marked, axis, -1), fold(marked, axis, 1)
    np.testing.assert_array_equal(left[:, : SIZE // 2], marked[:, : SIZE // 2])
    np.testing.assert_array_equal(right[:, SIZE // 2 :], marked[:, SIZE // 2 :])
    for folded in (left, right):
        np.testing.assert_array_equal(folded, folded[:, ::-1])
    assert (left[40:50, -30:-20] == 255).all() and not np.array_equal(left, right)


@pytest.mark.parametrize(
    ("columns", "free"), [((10, 30), 1), ((70, 90), -1), ((40, 60), None), ((30, 48), None), ((0, 0), None)]
)
def test_the_free_half_is_the_one_that_the_lesion_keeps_away_from(columns, free):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[40:50, slice(*columns)] = 255
    assert free_half(mask, (np.array([1.0, 0.0]), (SIZE - 1) / 2)) == free


def test_folded_copies_are_without_the_lesion_or_have_it_twice(symmetrical):
    """One of each unit; not the head whose lesion crosses the midline, nor the one that has no other half."""
    lesions = np.zeros((4, SIZE, SIZE), np.uint8)
    cv2.circle(lesions[0], (32, 45), 4, 255, -1)
    cv2.circle(lesions[1], (66, 50), 4, 255, -1)
    cv2.circle(lesions[2], (SIZE // 2, 50), 4, 255, -1)
    cv2.circle(lesions[3], (32, 45), 4, 255, -1)
    images = np.where(lesions > 0, 250, np.minimum(symmetrical, 200)).astype(np.uint8)
    images[3, :, SIZE // 2 :] = 0
    without, twice, rows = folded_copies(images, lesions, np.arange(4), seed=1)
    assert sorted(rows) == [0, 1]
    for free, double, row in zip(without, twice, rows, strict=True):
        assert (free > 230).sum() < 0.05 * (images[row] > 230).sum()
        assert (double > 230).sum() > 1.7 * (images[row] > 230).sum()
    again = folded_copies(images, lesions, np.array([5, 5, 5, 5]), seed=1)
    assert len(again[2]) <= 1
    assert [len(part) for part in folded_copies(images[:0], lesions[:0], np.zeros(0, int))] == [0, 0, 0]


def test_which_heads_are_emptied_while_a_network_learns(symmetrical):
    """A lesion on the left, at the midline, none, of unknown mask; and a head that is not symmetrical."""
    masks = np.zeros((5, SIZE, SIZE), np.uint8)
    masks[0, 40:48, 26:34] = masks[1, 40:48, 44:52] = 255
    images = np.stack([symmetrical] * 5)
    images[4, :, SIZE // 2 :] = 0
    folds = Folds.of(images, masks, np.array([True, True, True, False, True]), share=1.0)
    drawn = [folds.draw(np.arange(5), seed) for seed in range(60)]
    emptied = np.mean([gone for _, gone in drawn], axis=0)
    assert abs(emptied[0] - EMPTIED) < 0.2 and abs(emptied[2] - EMPTIED) < 0.2
    assert (emptied[[1, 3, 4]] == 0).all()
    chosen = [[fold and fold[1] for fold in halves] for halves, _ in drawn]
    assert {halves[0] for halves in chosen} == {halves[2] for halves in chosen} == {-1, 1}
    assert all((halves[0] == 1) == gone[0] for halves, (_, gone) in zip(chosen, drawn, strict=True))
    assert None in {halves[1] for halves in chosen} and all(halves[3] is halves[4] is None for halves in chosen)
    never = Folds.of(images, masks, np.ones(5, bool), share=0.0).draw(np.arange(5), 0)
    assert never[0] == [None] * 5 and not never[1].any()
