"""Masks, pictures, measurements and scores against values that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import segmentation
from brain_mri.imaging.preprocessing import head_mask
from tests.helpers.handmade import picture_of


def disc(size: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def brain(size: int = 256, lesion: tuple[int, int, int] | None = (150, 110, 20)) -> np.ndarray:
    """Skull bright, a dark ring, gray tissue with noise, one bright lesion (x, y, radius)."""
    rng = np.random.default_rng(0)
    image = np.zeros((size, size))
    c = size / 2
    image[disc(size, c, c, 0.42 * size)] = 220
    image[disc(size, c, c, 0.38 * size)] = 40
    image[disc(size, c, c, 0.36 * size)] = 110
    image[disc(size, c, c * 0.9, 0.12 * size)] = 90
    if lesion:
        image[disc(size, *lesion)] = 190
    noise = cv2.GaussianBlur(rng.normal(0, 12, image.shape), (0, 0), 1.0)
    return np.clip(image + noise * (image > 0), 0, 255).astype(np.uint8)


# --- postprocess ---


def test_postprocess_fills_holes_and_drops_specks() -> None:
    probability = np.zeros((100, 120), np.float32)
    probability[20:50, 30:70] = 0.9
    probability[30:35, 40:45] = 0.1  # a hole
    probability[80:82, 5:7] = 0.99  # a speck of 4 pixels
    mask = segmentation.postprocess(probability, 0.5, 5 / probability.size)
    assert mask.dtype == bool and mask.sum() == 30 * 40 and mask[20:50, 30:70].all()
    assert segmentation.postprocess(probability, 0.5, 4 / probability.size).sum() == 30 * 40 + 4
    assert not segmentation.postprocess(probability, 0.5, 0.2).any()


def test_postprocess_edges() -> None:
    assert not segmentation.postprocess(np.zeros((5, 7), np.float32), 0.5, 0.0005).any()
    assert segmentation.postprocess(np.ones((5, 7), np.float32), 0.5, 0.0005).all()
    assert not segmentation.postprocess(np.full((5, 7), np.nan, np.float32), 0.5, 0.0005).any()
    corner = np.zeros((9, 9), np.float32)
    corner[0, 0] = corner[8, 8] = 1
    assert segmentation.postprocess(corner, 0.5, 0).sum() == 2
    at = np.full((4, 4), 0.5, np.float32)
    assert segmentation.postprocess(at, 0.5, 0).all()  # the threshold itself counts as tumor


def test_postprocess_keeps_two_lesions_and_one_in_the_hole_of_another() -> None:
    probability = np.zeros((100, 100), np.float32)
    probability[disc(100, 30, 30, 20) & ~disc(100, 30, 30, 12)] = 1  # a ring-enhancing lesion
    probability[disc(100, 30, 30, 4)] = 1
    probability[disc(100, 75, 75, 8)] = 1
    mask = segmentation.postprocess(probability, 0.5, 0.001)
    assert np.array_equal(mask, disc(100, 30, 30, 20) | disc(100, 75, 75, 8))


# --- kmeans ---


def test_kmeans_finds_a_bright_round_lesion_at_every_size() -> None:
    for size in (128, 256, 512):
        scale = size / 256
        lesion = round(150 * scale), round(110 * scale), round(20 * scale)
        mask = segmentation.kmeans_mask(brain(size, lesion), head_mask)
        assert mask.shape == (size, size) and segmentation.dice(mask, disc(size, *lesion)) > 0.85, size


def test_kmeans_is_repeatable_and_stays_in_the_head() -> None:
    image = brain()
    first = segmentation.kmeans_mask(image, head_mask)
    assert all(np.array_equal(first, segmentation.kmeans_mask(image, head_mask)) for _ in range(3))
    assert not (first & ~head_mask(image)).any()
    assert not first[~disc(256, 128, 128, 0.36 * 256 + 2)].any()  # never the skull


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.full((64, 64), 200, np.uint8),
        np.zeros((8, 300), np.uint8),
        np.random.default_rng(0).integers(0, 256, (50, 90), dtype=np.uint8),
        np.eye(8, dtype=np.uint8) * 255,
    ],
    ids=["black", "white", "sliver", "noise", "tiny"],
)
def test_kmeans_on_strange_pictures(image: np.ndarray) -> None:
    mask = segmentation.kmeans_mask(image, head_mask)
    assert mask.dtype == bool and mask.shape == image.shape


def test_kmeans_on_phantoms(phantom_image: Callable[..., np.ndarray]) -> None:
    from brain_mri.data import phantom

    found = [phantom.make_phantom("meningioma", seed=s) for s in range(8)]
    assert np.mean([segmentation.dice(segmentation.kmeans_mask(p.image, head_mask), p.mask > 0) for p in found]) > 0.6


def test_kmeans_on_real_slices(real_data: Path) -> None:
    """Mean Dice on 120 slices with masks; the usual brightest-cluster method scores 0.13 on the same files."""
    import csv

    with (real_data / "segmentation/patients.csv").open() as file:
        rows = list(csv.DictReader(file))[:: 2537 // 120]
    scores: dict[str, list[float]] = {}
    for row in rows:
        image, mask = (picture_of(real_data / "segmentation" / d / row["file"], 0) for d in ("images", "masks"))
        scores.setdefault(row["class"], []).append(
            segmentation.dice(segmentation.kmeans_mask(image, head_mask), mask > 127)
        )
    assert np.mean([value for values in scores.values() for value in values]) > 0.22
    assert np.mean(scores["meningioma"]) > 0.5


# --- pictures ---


def test_overlay_tints_inside_outlines_the_border_and_leaves_the_rest() -> None:
    image = np.full((256, 256), 100, np.uint8)
    mask = disc(256, 128, 128, 40)
    picture = segmentation.overlay(image, mask, opacity=0.5)
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture[128, 128], np.round((100 + np.array(segmentation.TINT)) / 2 + 1e-6))
    assert (picture[~disc(256, 128, 128, 46)] == 100).all()
    border = picture[128, 167:169].astype(int)
    assert np.abs(border - segmentation.TINT).max(axis=1).min() < 20  # the line itself has the full colour
    assert (picture[128, 170:172].sum(axis=1) < 300).any()  # a dark casing around it
    assert (image == 100).all()


def test_outline_grows_with_the_picture_and_is_smooth() -> None:
    def line(size: int) -> tuple[float, int]:
        picture = segmentation.overlay(
            np.zeros((size, size), np.uint8), disc(size, size / 2, size / 2, size / 4), opacity=0.0
        )
        row = picture[size // 2, : size // 2, 0].astype(float) / 255
        return float(row.sum()), len(np.unique(picture[..., 0]))

    thin, levels = line(256)
    thick, _ = line(1024)
    assert 1.0 < thin < 2.5 and 3.5 < thick < 7 and levels > 20


def test_overlay_of_masks_at_the_edge_and_of_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    assert np.array_equal(segmentation.overlay(image, np.zeros((40, 60), bool)), np.repeat(image[..., None], 3, axis=2))
    everything = segmentation.overlay(image, np.ones((40, 60), bool), opacity=0.0)
    red, _, blue = everything[0].astype(int).T
    assert (red - blue > 90).all()  # the outline runs along the picture's edge
    assert (everything[20, 10:50] == image[20, 10:50, None]).all()
    one = np.zeros((40, 60), bool)
    one[0, 59] = True
    assert not np.array_equal(segmentation.overlay(image, one), np.repeat(image[..., None], 3, axis=2))


def test_heat_overlay_fades_to_gray_and_brightens_with_heat() -> None:
    image = np.full((10, 256), 120, np.uint8)
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (10, 1))
    picture = segmentation.heat_overlay(image, heat, opacity=0.6).astype(int)
    assert (picture[:, 0] == 120).all()
    assert np.abs(picture[:, 3] - 120).max() <= 3
    hot = cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_INFERNO)[0, 0, ::-1].astype(int)
    assert np.abs(picture[0, 255] - (0.4 * 120 + 0.6 * hot)).max() <= 2
    luminance = picture @ (0.299, 0.587, 0.114)
    assert luminance[0, 255] > luminance[0, 128]
    strange = segmentation.heat_overlay(image, np.where(heat > 0.5, np.nan, 2.0).astype(np.float32))
    assert strange.shape == (10, 256, 3) and (strange[:, 200] == 120).all()


# --- measurements ---


def test_measure() -> None:
    head = np.zeros((100, 100), bool)
    head[10:90, 10:90] = True
    mask = np.zeros((100, 100), bool)
    mask[20:40, 30:60] = True
    m = segmentation.measure(mask, head, (0.5, 2.0))
    assert m.fraction == 600 / 6400 and m.pixels == 600 and m.area_mm2 == 600
    assert m.diameter_mm == pytest.approx(math.hypot(20 * 0.5, 30 * 2.0))
    assert segmentation.measure(mask, head, None) == segmentation.Measures(600 / 6400, 600, None, None)
    mask[0:5, 0:5] = True  # beyond the head
    assert segmentation.measure(mask, head, None).fraction == 600 / 6400
    empty = segmentation.measure(np.zeros((5, 5), bool), np.zeros((5, 5), bool), (1, 1))
    assert empty == segmentation.Measures(0.0, 0, 0.0, 0.0)


def test_diameter_is_that_of_the_largest_component_from_corner_to_corner() -> None:
    mask = np.zeros((60, 60), bool)
    mask[3, 4] = True
    assert segmentation.max_diameter(mask) == pytest.approx(math.sqrt(2))
    mask[20:30, 20] = True
    assert segmentation.max_diameter(mask, (0.7, 1.1)) == pytest.approx(math.hypot(7.0, 1.1))
    assert segmentation.max_diameter(disc(200, 100, 100, 50)) == pytest.approx(101, abs=1.5)
    assert segmentation.max_diameter(np.zeros((9, 9), bool)) == 0


# --- scores ---


def test_overlap_scores() -> None:
    a, b = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    a[0:4, 0:5], b[2:6, 0:5] = True, True  # 20 and 20 pixels, 10 shared
    assert (
        segmentation.dice(a, b),
        segmentation.iou(a, b),
        segmentation.precision(a, b),
        segmentation.recall(a, b),
    ) == (0.5, 10 / 30, 0.5, 0.5)
    b[:, :] = False
    b[0:2, 0:5] = True
    assert (segmentation.precision(a, b), segmentation.recall(a, b)) == (0.5, 1.0)


def test_scores_of_empty_masks() -> None:
    none, some = np.zeros((6, 6), bool), np.eye(6, dtype=bool)
    assert segmentation.scores(none, none) == {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "hd95": 0}
    for pair in ((none, some), (some, none)):
        assert segmentation.scores(*pair) == {"dice": 0, "iou": 0, "precision": 0, "recall": 0, "hd95": math.inf}
    assert segmentation.scores(some, some) == {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "hd95": 0}


def test_hd95_of_shifted_squares_in_mm() -> None:
    a, b = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    a[10:30, 10:30], b[10:30, 17:37] = True, True
    assert (
        segmentation.hd95(a, b) == 7
        and segmentation.hd95(a, b, (1.0, 0.5)) == 3.5
        and segmentation.hd95(a, b, (3.0, 2.0)) == 14
    )
    assert segmentation.hd95(b, a) == segmentation.hd95(a, b)
    far = a.copy()
    far[55, 55] = True  # one wrong pixel among 77 is below the 95th percentile
    assert segmentation.hd95(a, far) == 0


def test_hd95_against_brute_force_and_in_three_dimensions() -> None:
    rng = np.random.default_rng(3)
    spacing = (1.5, 0.8, 0.6)
    a, b = (cv2.GaussianBlur(rng.random((9, 24, 22)), (0, 0), 1.2) > 0.52 for _ in range(2))

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        kept = mask.copy()
        for axis in range(3):
            for step in (-1, 1):
                kept &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
        return np.argwhere(mask & ~kept) * spacing

    sa, sb = surface(a), surface(b)
    distances = np.linalg.norm(sa[:, None] - sb[None], axis=2)
    expected = max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))
    assert segmentation.hd95(a, b, spacing) == pytest.approx(expected)


def test_agreement() -> None:
    heat = np.zeros((10, 10), np.float32)
    mask = np.zeros((10, 10), bool)
    assert segmentation.agreement(heat, mask) == 0 and segmentation.agreement(heat, ~mask) == 0
    heat[0:2, 0:2], heat[5, 5] = 0.5, 1.0
    assert segmentation.agreement(heat, mask) == 0
    mask[0, :] = True
    assert segmentation.agreement(heat, mask) == pytest.approx(1 / 3)
    assert segmentation.agreement(heat, ~mask) == pytest.approx(2 / 3)
