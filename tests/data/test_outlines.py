"""Every value but the background is tumor, whatever the mask is made of; what cannot be an outline is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from brain_mri.data import outlines
from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.scan import ScanError
from tests.helpers.files import encode

SHAPE = (96, 96)


@pytest.fixture(scope="module")
def classes() -> np.ndarray:
    """uint8: 0, and three nested classes 1, 2, 3."""
    grid = np.zeros(SHAPE, np.uint8)
    for value, radius in ((1, 20), (2, 18), (3, 14)):
        cv2.circle(grid, (40, 50), radius, value, -1)
    return grid


def _gray(*levels: int) -> Callable[[np.ndarray], bytes]:
    return lambda grid: encode(Image.fromarray(np.array((0, *levels), np.uint8)[grid]), "PNG")


def _palette(grid: np.ndarray, colors: list[int]) -> bytes:
    image = Image.fromarray(grid, "P")
    image.putpalette(colors)
    return encode(image, "PNG")


COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)
ON_WHITE = np.array([(255, 255, 255), (255, 0, 0), (0, 128, 0), (10, 10, 255)], np.uint8)
KINDS: dict[str, Callable[[np.ndarray], bytes]] = {
    "labels": _gray(1, 2, 4),
    "thirds": _gray(85, 170, 255),
    "BraTS": _gray(64, 128, 255),
    "dark": _gray(50, 100, 150),
    "white": _gray(255, 255, 255),
    "gray in jpeg": lambda g: encode(Image.fromarray(np.array((0, 85, 170, 255), np.uint8)[g]), "JPEG", quality=92),
    "colours": lambda g: encode(Image.fromarray(COLORS[g]), "PNG"),
    "colours on white": lambda g: encode(Image.fromarray(ON_WHITE[g]), "PNG"),
    "palette": lambda g: _palette(g, [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128]),
    "palette of one colour": lambda g: _palette(g, [7, 7, 7] * 4),
    "black on transparent": lambda g: encode(
        Image.fromarray(np.dstack([np.zeros((*SHAPE, 3), np.uint8), np.uint8(g > 0) * 255])), "PNG"
    ),
    "white on transparent": lambda g: encode(Image.fromarray(np.dstack([np.uint8(g > 0) * 255] * 4)), "PNG"),
    "16 bit": lambda g: encode(Image.fromarray((g > 0).astype(np.uint16) * 65535), "PNG"),
    "1 bit": lambda g: encode(Image.fromarray(g > 0), "PNG"),
    "shares": lambda g: encode(Image.fromarray((g > 0).astype(np.float32) / 2), "TIFF"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_but_the_background_is_tumor(classes: np.ndarray, kind: str) -> None:
    mask = outlines.picture_mask(KINDS[kind](classes), kind)[0]
    allowed = 12 if "jpeg" in kind else 0  # pixels on the edge of 1,257
    assert np.count_nonzero(mask != (classes > 0)) <= allowed


def test_soft_edges_are_cut_in_the_middle(classes: np.ndarray) -> None:
    white = (classes > 0).astype(np.uint8) * 255
    half = cv2.resize(white, (48, 48), interpolation=cv2.INTER_AREA)
    assert np.array_equal(outlines.picture_mask(encode(Image.fromarray(half), "PNG"), "half")[0], half > 127)
    assert outlines.fitted(half > 127, SHAPE).sum() == pytest.approx((classes > 0).sum(), rel=0.03)
    noisy = encode(Image.fromarray(white), "JPEG", quality=60)
    assert np.count_nonzero(outlines.picture_mask(noisy, "noisy")[0] != (classes > 0)) <= 12
    assert not outlines.picture_mask(encode(Image.fromarray(white * 0), "JPEG"), "none")[0].any()
    with pytest.raises(ScanError, match="96x60 pixels, the picture 96x96"):
        outlines.fitted(np.zeros((60, 96), bool), SHAPE)


def test_what_is_no_outline_is_named() -> None:
    phantom = make_phantom("meningioma", seed=5, size=128)
    truth = phantom.mask > 127
    assert outlines.doubt(phantom.image, truth, phantom.mask) == outlines.doubt(phantom.image, truth & False) == ""
    assert "exchanged" in outlines.doubt(phantom.image, ~truth, 255 - phantom.mask)
    corner = np.zeros_like(truth)
    corner[:12, :12] = True
    assert "outside" in outlines.doubt(phantom.image, corner)
    overlay = np.dstack([phantom.image] * 3)
    contours = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(overlay, contours, -1, (255, 0, 0), 1)
    for picture in (overlay, phantom.image):
        mask, gray = outlines.picture_mask(encode(Image.fromarray(picture), "PNG"), "overlay")
        assert "the picture itself" in outlines.doubt(phantom.image, mask, gray)


def _outline(name: str, text: str, tmp_path: Path) -> np.ndarray:
    path = tmp_path / name
    path.write_text(text)
    return outlines.outline_of(path, path.read_bytes(), "a.png", SHAPE)[0]


def test_polygons_of_yolo(tmp_path: Path) -> None:
    """A rectangle from column 24 to 48 and row 12 to 72 of 96, as shares of the picture."""
    mask = _outline("a.txt", "2 .25 .125 .5 .125 .5 .75 .25 .75\n", tmp_path)
    expected = np.zeros(SHAPE, bool)
    expected[12:72, 24:48] = True
    assert np.count_nonzero(mask != expected) <= 85 and mask[13:71, 25:47].all()  # the edge itself: half a pixel
    assert not _outline("b.txt", "", tmp_path).any()
    for text, why in (("0 .5 .5 .2 .2", "boxes"), ("a report of a scan", "not of outlines"), ("0 1 2", "not of")):
        with pytest.raises(ScanError, match=why):
            _outline("c.txt", text, tmp_path)


def test_polygons_of_coco(tmp_path: Path) -> None:
    table = {
        "images": [{"id": 7, "file_name": "train/a.png", "width": 192, "height": 192}, {"id": 8, "file_name": "b.png"}],
        "annotations": [{"image_id": 7, "segmentation": [[48, 24, 96, 24, 96, 144, 48, 144]]}],
    }
    mask = _outline("coco.json", json.dumps(table), tmp_path)
    expected = np.zeros(SHAPE, bool)
    expected[12:72, 24:48] = True
    assert np.count_nonzero(mask != expected) <= 85 and mask[13:71, 25:47].all()
    assert set(outlines.coco_pictures(tmp_path / "coco.json")) == {"a.png", "b.png"}
    table["annotations"] = [{"image_id": 7, "segmentation": {"size": [192, 192], "counts": "abc"}}]
    with pytest.raises(ScanError, match=r"pycocotools|damaged"):
        _outline("rle.json", json.dumps(table), tmp_path)
    table["annotations"] = [{"image_id": 7, "segmentation": [["x"]]}]
    with pytest.raises(ScanError, match="damaged outline"):
        _outline("bad.json", json.dumps(table), tmp_path)
    for text in ("{", "[]", '{"images": 3}'):
        (tmp_path / "none.json").write_text(text)
        assert outlines.coco_pictures(tmp_path / "none.json") == {}


def test_cases_of_mask_values(cases: Path) -> None:
    """cases/README.md: all are the lesion of 919 pixels, but for the ones that are broken in a way to be named."""
    odd = {"i.png": 128 * 128 - 919, "p.jpg": 0, "q.png": -1, "r.png": 239}
    for path in sorted((cases / "mask-values" / "masks").iterdir()):
        mask, gray = outlines.picture_mask(path.read_bytes(), path.name)
        if (expected := odd.get(path.name, 919)) >= 0:
            assert mask.sum() == expected, path.name
        else:
            assert "picture itself" in outlines.doubt(gray, mask, gray)
