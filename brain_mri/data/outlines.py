"""What a mask file marks, whatever kind it is of: label maps, colours, palettes, alpha, polygons in text.

Every value but the background is tumor. What cannot be an outline of a tumor (`doubt`) is named, and not learned from.
"""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from brain_mri.imaging.preprocessing import head_mask
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError

LABELS = 16  # whole numbers up to here are classes
LOSSY = ("JPEG", "MPO", "WEBP")
NOISE, LEAST = 32, 3  # gray values of compression; blocks of 2 x 2 pixels that make a value a class, not a soft edge
KINDS = 7  # of 16 gray levels, each on 0.5 % of the pixels, that make a mask a picture
HALF = 0.5


def marked(values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
    """bool of any shape (..., H, W): everything but the background of gray values, which is 0 wherever there is a 0.

    Soft edges, of masks that were resized or compressed, are cut in the middle: a level counts as a class where it
    fills blocks of pixels.
    """
    noise = NOISE if lossy else 0
    distance = np.abs(values.astype(np.float32) - _background(values, noise))
    found = np.unique(distance[distance > noise])
    whole = values.dtype.kind in "biu"
    if not lossy and (len(found) <= LEAST or (whole and found[-1] <= LABELS)):
        return distance > 0
    if not len(found):
        return np.zeros(values.shape, bool)
    levels = _levels(distance, noise)
    return distance > max(noise, (levels[0] if len(levels) else float(found[-1])) / 2)


def _background(values: np.ndarray, noise: int) -> float:
    if float(np.abs(values).min()) <= noise or np.ptp(values) == 0:
        return 0.0
    border = np.concatenate([values[..., [0, -1], :].ravel(), values[..., :, [0, -1]].ravel()])
    kinds, counts = np.unique(border, return_counts=True)
    return float(kinds[counts.argmax()])


def _levels(distance: np.ndarray, noise: int) -> np.ndarray:
    """Values above the noise that fill blocks of 2 x 2 pixels, rising."""
    corners = np.stack([distance[..., i : i - 1 or None, j : j - 1 or None] for i in (0, 1) for j in (0, 1)])
    flat = corners.max(0)[(np.ptp(corners, axis=0) <= noise / 2) & (corners.min(0) > noise)]
    kinds, counts = np.unique(flat, return_counts=True)
    if noise:  # compression spreads a class over several values
        return kinds if len(flat) >= LEAST else kinds[:0]
    return kinds[counts >= max(LEAST, 0.01 * len(flat))]


def picture_mask(data: bytes, name: str, index: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(bool (H, W), gray values (H, W)) of a mask that is a picture or one slice. Raises ScanError."""
    scan = read_scan(data, name=name, index=index)
    values, lossy = scan.raw, scan.info.get("format") in LOSSY
    if scan.info.get("mode") in ("P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr") and not index:
        with Image.open(io.BytesIO(data)) as picture:
            values = _off_background(picture, NOISE if lossy else 0)
    return marked(values, lossy=lossy), scan.image


def _off_background(picture: Image.Image, noise: int) -> np.ndarray:
    """uint8 (H, W): how far each pixel is from the background colour: black or transparent, else that of the border."""
    seen = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA")).astype(np.int32)
    colors = seen[..., :3] * seen[..., 3:] // 255
    if not np.ptp(colors) and np.ptp(seen[..., 3]):  # black on transparent
        return seen[..., 3].astype(np.uint8)
    if not np.ptp(colors) and picture.mode == "P":  # a palette without colours: its numbers are the classes
        return np.asarray(picture)
    if colors.max(2).min() > noise and np.ptp(colors):
        border = np.concatenate([colors[[0, -1]].reshape(-1, 3), colors[:, [0, -1]].reshape(-1, 3)])
        kinds, counts = np.unique(border, axis=0, return_counts=True)
        colors = np.abs(colors - kinds[counts.argmax()])
    return colors.max(2).astype(np.uint8)


def fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A bool mask at its picture's shape (H, W). Raises ScanError when it has other proportions."""
    if mask.shape == shape:
        return mask
    if abs(mask.shape[0] * shape[1] - mask.shape[1] * shape[0]) > 0.02 * mask.shape[0] * shape[1]:
        raise ScanError(f"has {mask.shape[1]}x{mask.shape[0]} pixels, the picture {shape[1]}x{shape[0]}")
    return cv2.resize(mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) > 0


def outline_of(path: Path, data: bytes, picture: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """(bool (H, W) at the picture's shape, gray values of the mask or None) of a mask file. Raises ScanError.

    picture: file name of the picture, which a COCO table knows it by.
    """
    if path.suffix.lower() == ".json":
        return _coco_mask(path, picture, shape), None
    if path.suffix.lower() == ".txt":
        return _yolo_mask(data, shape), None
    mask, gray = picture_mask(data, path.name)
    return fitted(mask, shape), cv2.resize(gray, (shape[1], shape[0]))


def doubt(image: np.ndarray, mask: np.ndarray, gray: np.ndarray | None = None) -> str:
    """Why a mask cannot be the outline of a tumor, "" when it can.  image, gray (the mask): uint8 (H, W)."""
    count = np.count_nonzero(mask)
    if not count:
        return ""
    if gray is not None and (np.bincount(gray.ravel() // 16, minlength=16) > 0.005 * gray.size).sum() >= KINDS:
        return "shows the picture itself, not the outline of a tumor alone"
    head = head_mask(image)
    if np.count_nonzero(mask & head) > HALF * np.count_nonzero(head):
        return "marks more than half of the head: black and white may be exchanged"
    if np.count_nonzero(mask & head) < HALF * count:
        return "lies mostly outside of the head"
    return ""


# -- polygons -------------------------------------------------------------------------------------------------------


def _filled(polygons: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """bool (H, W); polygons: float (n, 2) of x and y in pixels."""
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1)
    return mask > 0


def _yolo_mask(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Lines of "class x y x y ...", coordinates from 0 to 1; no line at all is no tumor. Raises ScanError."""
    polygons = []
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            numbers = np.array(line.split(), float)[1:]
        except ValueError:
            raise ScanError("is a text, but not of outlines as YOLO writes them") from None
        if len(numbers) == 4:
            raise ScanError("holds boxes as YOLO writes them; outlines (polygons) are needed")
        if len(numbers) % 2 or 0 < len(numbers) < 6 or not ((numbers >= -0.5) & (numbers <= 1.5)).all():
            raise ScanError("is a text, but not of outlines as YOLO writes them")
        if len(numbers):
            polygons.append(numbers.reshape(-1, 2) * (shape[1], shape[0]) - 0.5)
    return _filled(polygons, shape)


def coco_pictures(path: Path) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """File name -> (its entry, its annotations) of a COCO table; empty when it is none."""
    try:
        status = path.stat()
        return _coco(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return {}


@functools.lru_cache(maxsize=4)
def _coco(path: Path, _time: int, _size: int) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    try:
        content = json.loads(path.read_bytes())
        pictures: dict[Any, Any] = {entry["id"]: (entry, []) for entry in content["images"]}
        for annotation in content["annotations"]:
            pictures[annotation["image_id"]][1].append(annotation)
        return {Path(str(entry["file_name"])).name: (entry, found) for entry, found in pictures.values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _coco_mask(path: Path, picture: str, shape: tuple[int, ...]) -> np.ndarray:
    """Raises ScanError."""
    if picture not in coco_pictures(path):
        raise ScanError(f"does not name {picture}")
    entry, annotations = coco_pictures(path)[picture]
    mask = np.zeros(shape, bool)
    try:
        size = int(entry.get("height") or shape[0]), int(entry.get("width") or shape[1])
        scale = np.array((shape[1] / size[1], shape[0] / size[0]))
        for outline in (annotation.get("segmentation") for annotation in annotations):
            if not outline:
                raise ScanError("holds boxes without outlines; polygons are needed")
            if isinstance(outline, dict):
                mask |= fitted(_run_lengths(outline, size), shape)
            else:
                polygons = [np.array(part, float).reshape(-1, 2) * scale - 0.5 for part in outline]
                mask |= _filled(polygons, shape)
    except ScanError:
        raise
    except (ValueError, TypeError, AttributeError, ZeroDivisionError, OverflowError):
        raise ScanError("holds a damaged outline of this picture") from None
    return mask


def _run_lengths(outline: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Raises ScanError."""
    try:
        from pycocotools import mask as coco  # optional, and only some tables need it
    except ImportError:
        raise ScanError("holds run-length masks; install pycocotools to read them, or export polygons") from None
    packed = coco.frPyObjects(outline, *size) if isinstance(outline.get("counts"), list) else outline
    return np.asarray(coco.decode(packed)) > 0
