"""From a scan to the model's square and back: the same bits for everybody, on real data, too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.preprocessing import (
    COARSE,
    EXACT,
    PREPROCESSING,
    Frame,
    apply_frame,
    head_mask,
    preprocess,
    restore,
    sharpness,
)
from brain_mri.imaging.read import read_scan


def put(head: np.ndarray, shape: tuple[int, int], at: tuple[int, int], background: int = 0) -> np.ndarray:
    page = np.full(shape, background, np.uint8)
    page[at[0] : at[0] + head.shape[0], at[1] : at[1] + head.shape[1]] = np.maximum(head, background)
    return page


def test_head_mask_on_a_disc() -> None:
    y, x = np.mgrid[0:200, 0:300]
    disc = np.hypot(y - 90, x - 170) < 60
    image = np.where(disc, 150, 5).astype(np.uint8)
    image[np.hypot(y - 90, x - 170) < 12] = 0  # a hole
    mask = head_mask(image)
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95 and mask[90, 170]


def test_margins_make_no_difference() -> None:
    """The same head on pages of other sizes, gray floors, with a frame and letters gives nearly the same input."""
    head = make_phantom("meningioma", 8, 220, height=0.2).image
    clean, _ = preprocess(head, 128)
    framed = put(head, (300, 400), (40, 120))
    cv2.rectangle(framed, (0, 0), (399, 299), 255, 3)
    lettered = put(head, (300, 400), (40, 120))
    cv2.putText(lettered, "L  MRI 1234", (5, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    cv2.putText(lettered, "R", (380, 150), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    for page in (put(head, (500, 260), (200, 20)), put(head, (300, 300), (40, 40), 30), framed, lettered):
        square, _ = preprocess(page, 128)
        difference = np.abs(square.astype(int) - clean).mean()
        assert difference < 12, difference  # a thin bright scalp is a little less bright on a large page
    plain = cv2.resize(put(head, (300, 400), (40, 120)), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(plain.astype(int) - clean).mean() > 25  # what it would be without looking for the head


def test_contrast_makes_no_difference() -> None:
    head = make_phantom("glioma", 9, 220).image
    clean, _ = preprocess(head, 128)
    dark = (head * 0.4).astype(np.uint8)
    assert np.abs(preprocess(dark, 128)[0].astype(int) - clean).mean() < 4


def test_outside_the_head_is_zero() -> None:
    head = make_phantom(NO_TUMOR, 3, 256).image
    noisy = np.maximum(head, np.random.default_rng(0).integers(0, 18, head.shape, np.uint8))
    square, _ = preprocess(noisy, 128)
    ring = np.concatenate([square[:2].ravel(), square[-2:].ravel(), square[:, :2].ravel(), square[:, -2:].ravel()])
    assert (ring == 0).all() and square.max() == 255


def test_white_page() -> None:
    """A head on a white page is not cut: everything is shown."""
    head = make_phantom("glioma", 2, 200).image
    page = put(head, (300, 300), (50, 50))
    page[:45], page[:, :45], page[255:], page[:, 255:] = 255, 255, 255, 255
    square, frame = preprocess(page, 128)
    assert square.std() > 20 and frame.side <= 300 * 1.1


def test_large_pictures_are_padded_in_the_model_square() -> None:
    """Above EXACT pixels no padded copy is made; the result is the same to about a model pixel."""
    image = cv2.resize(make_phantom("glioma", 3, 256).image[:, 60:220], None, fx=18, fy=18)
    assert max(image.shape) > EXACT
    square, frame = preprocess(image, 128)
    small, _ = preprocess(cv2.resize(image, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA), 128)
    assert np.abs(square.astype(int) - small).mean() < 6
    assert frame.side > EXACT and restore(np.ones((128, 128), np.float32), frame).shape == image.shape


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (1, 900), (900, 1), (31, 500), (512, 512), (1000, 700), (2000, 40)])
@pytest.mark.parametrize("size", [32, 128])
def test_geometry_of_any_shape(shape: tuple[int, int], size: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    square, frame = preprocess(image, size)
    assert square.shape == (size, size) and square.dtype == np.uint8
    assert (frame.height, frame.width) == shape
    back = restore(np.ones((size, size), np.float32), frame)
    assert back.shape == shape and back.dtype == np.float32 and back.min() >= 0 and back.max() <= 1.0001
    assert head_mask(image).shape == shape


def test_restore_undoes_apply_frame() -> None:
    phantom = make_phantom("meningioma", 1, 256, "coronal")
    for image, mask in ((phantom.image, phantom.mask), (phantom.image[:, 30:230], phantom.mask[:, 30:230])):
        _, frame = preprocess(image, 128)
        small = apply_frame(mask, frame, 128)
        assert small.shape == (128, 128) and small.dtype == np.uint8
        back = restore(small.astype(np.float32) / 255, frame) > 0.5
        truth = mask > 127
        assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.97


def test_frame_may_reach_outside_and_pads_with_zero() -> None:
    image = np.full((10, 20), 200, np.uint8)
    square = apply_frame(image, Frame(height=10, width=20, top=-5, left=0, side=20), 20)
    assert (square[:5] == 0).all() and (square[5:15] == 200).all() and (square[15:] == 0).all()
    outside = restore(np.ones((40, 40), np.float32), Frame(10, 20, 2, 3, 6))
    assert outside[2:8, 3:9].min() == 1 and outside.sum() == 36


def test_preprocessing_is_what_its_name_says() -> None:
    """A change of the preprocessing needs a new PREPROCESSING name, or older models silently see other pictures.

    The tolerance is for other versions of OpenCV.
    """
    y, x = np.mgrid[0:150, 0:200].astype(np.float64)
    r = np.hypot((y - 70) / 60, (x - 110) / 50)
    head = 120 + 60 * np.sin(x / 9) * np.cos(y / 7) + 40 * (r > 0.9)
    square, frame = preprocess(np.where(r < 1, head, 12 + (x + y) % 5).astype(np.uint8), 16)
    assert PREPROCESSING == "head-square-v1" and frame == Frame(150, 200, 5, 45, 131)
    wanted = bytes.fromhex(
        "0000000000000000000000000000000000000000006ed2b57a541d0000000000000000006799b8a05a1a1d6700000000"
        "000000736b6260626466666b66000000000028d085370c246daeb57e4a000000000086a47c4121346b9ba0773e2f0000"
        "000067405675867c5f45415877a7000000003e094092c1a758130a4799e7000000006b405475887e5f43405879b00000"
        "0000b7a27c4322356b9ba0773e480000000096b885370c246daeb57e321c000000000e8064605f60646667647a020000"
        "0000002f4a8db7a05a1a13518c000000000000006992a9965b282d6b0000000000000000004c726d86a75a0000000000"
        "00000000000000000000000000000000"
    )
    assert np.abs(square.astype(int).ravel() - np.frombuffer(wanted, np.uint8)).max() <= 3


def test_preprocessing_is_deterministic_and_leaves_its_input_alone() -> None:
    image = make_phantom("pituitary", 5, 300, "sagittal").image
    before = image.copy()
    first, frame = preprocess(image, 96)
    for variant in (image, np.asfortranarray(image), np.pad(image, 1)[1:-1, 1:-1]):
        again, same = preprocess(variant, 96)
        assert np.array_equal(first, again) and frame == same
    assert np.array_equal(image, before)


def test_coarse_size_does_not_depend_on_resolution() -> None:
    """The same head at twice the resolution gives nearly the same square."""
    image = make_phantom("glioma", 7, 512).image
    half = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    assert half.shape[0] > COARSE
    (large, frame), (small, again) = preprocess(image, 128), preprocess(half, 128)
    for name in ("top", "left", "side"):
        assert abs(getattr(frame, name) - 2 * getattr(again, name)) <= 3
    assert np.abs(large.astype(int) - small).mean() < 5


def test_sharpness_falls_with_blur(head: np.ndarray) -> None:
    assert sharpness(head) > 2 * sharpness(cv2.GaussianBlur(head, (0, 0), 2)) > 0


# ---- real data ----


def test_real_tumors_lie_in_the_head(real_data: Path) -> None:
    images = sorted((real_data / "segmentation" / "images").iterdir())[::40]
    assert images
    for path in images:
        image = read_scan(path).image
        mask = read_scan(real_data / "segmentation" / "masks" / path.name).image > 127
        assert (head_mask(image) & mask).sum() >= 0.99 * mask.sum(), path.name
        _, frame = preprocess(image, 128)
        back = restore(apply_frame(mask.astype(np.uint8) * 255, frame, 128).astype(np.float32), frame) > 127
        if mask.sum() > 400:
            assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.9, path.name


def test_real_class_folders(real_data: Path) -> None:
    for label in CLASSES:
        for path in sorted((real_data / "brain-tumor-mri" / "Testing" / label).iterdir())[::25]:
            square, frame = preprocess(read_scan(path).image, 128)
            assert square.std() > 15 and frame.side >= 0.3 * max(frame.height, frame.width), path.name


def test_real_dicom(real_data: Path) -> None:
    paths = sorted((real_data / "volumes" / "dicom").iterdir())
    for path in paths:
        scan = read_scan(path)
        assert scan.shape == (384, 274) and scan.spacing == pytest.approx((0.6667, 0.7), abs=1e-3)
        assert scan.info["plane"] == "axial" and scan.raw.dtype == np.int16
