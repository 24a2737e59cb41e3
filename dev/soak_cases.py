"""What soak.py sends: scans in many formats and broken ones, each request with the answer or refusal that is due."""

from __future__ import annotations

import html
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from brain_mri.classes import CLASSES
from brain_mri.data import phantom
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume

# Of a hundred requests.
SHARES = {"analyze": 46, "segment": 14, "heatmap": 5, "report": 3, "volume": 2, "batch": 3, "model": 4, "bad": 23}
SAME = 1e-5  # probabilities of two passes through the model


@dataclass(frozen=True)
class Request:
    """One call. check: what is wrong with the answer, "" when nothing is; sentence: the refusal that is due instead."""

    endpoint: str
    values: dict[str, Any]
    check: Callable[[Any], str] = lambda answer: ""
    sentence: str = ""


def good_files(folder: Path) -> list[Path]:
    """One slice each, in the formats that people upload."""
    files = [path for path in phantom.example_files(folder) if not path.name.endswith(".nii.gz")]
    for i, label in enumerate(CLASSES):
        picture = Image.fromarray(phantom.make_phantom(label, 40 + i, 200 + 60 * i).image)
        forms: dict[str, tuple[Image.Image, dict[str, Any]]] = {
            "png": (picture.convert("P"), {}),
            "jpg": (picture.convert("CMYK"), {"quality": 90}),
            "tif": (picture.convert("F"), {}),
            "webp": (picture.convert("RGB"), {"lossless": True}),
            "gif": (picture, {"save_all": True, "append_images": [picture.rotate(9)]}),
        }
        for kind, (image, options) in forms.items():
            files.append(folder / f"{label}.{kind}")
            image.save(files[-1], **options)
    return files


def bad_files(folder: Path, good: Sequence[Path]) -> list[Path]:
    """Broken, lying and empty ones."""
    whole = {path.suffix: path.read_bytes() for path in good}
    bomb = bytearray(whole[".gif"])
    bomb[6:10] = b"\xff" * 4
    contents = {
        "empty.png": b"",
        "letter.png": b"dear doctor",
        "cut.png": whole[".png"][:300],
        "cut.dcm": whole[".dcm"][:-4000],
        "cut.tif": whole[".tif"][:5000],
        "bomb.gif": bytes(bomb),
        "noise.jpg": b"\xff\xd8\xff" + random.Random(0).randbytes(3000),
        "<b>page</b>.html": b"<html><script>alert(1)</script></html>",
        "half.nii": b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(40),
    }
    for name, data in contents.items():
        (folder / name.replace("/", "_")).write_bytes(data)
    return [folder / name.replace("/", "_") for name in contents]


def requests_for(predictor: Predictor, folder: Path) -> dict[str, list[Request]]:
    """Kind of request -> all of that kind, with what must come back."""
    good = good_files(folder)
    kinds: dict[str, list[Request]] = {kind: [] for kind in SHARES}
    for path in good:
        a = predictor.analyze(read_scan(path))
        kinds["analyze"].append(Request("/analyze", {"scan": path}, _same_analysis(a.label, a.probabilities)))
        kinds["segment"].append(Request("/segment", {"scan": path}, _same_mask(a.mask)))
        kinds["segment"].append(Request("/segment", {"scan": path, "method": "kmeans"}, _same_mask(a.kmeans())))
        kinds["heatmap"].append(Request("/heatmap", {"scan": path, "label": a.label}, _picture_of(a.image.shape)))
        kinds["report"].append(Request("/report", {"scan": path}, _same_report(a.label, a.probabilities)))
        kinds["bad"].append(Request("/segment", {"scan": path, "threshold": 3}, sentence="must lie between 0 and 1"))
        kinds["bad"].append(Request("/analyze", {"scan": path, "slice_index": 77}, sentence="77"))
        kinds["bad"].append(Request("/analyze", {"scan": path, "model": "/etc"}, sentence="no model /etc"))
    for path in bad_files(folder, good):
        try:
            read_scan(path)
            raise AssertionError(f"{path.name} was to be unreadable")
        except ScanError as error:
            due = html.escape(str(error), quote=False).removeprefix(html.escape(path.name, quote=False))
        kinds["bad"] += [Request(f"/{name}", {"scan": path}, sentence=due) for name in ("analyze", "report", "heatmap")]
    kinds["bad"].append(Request("/analyze", {"scan": None}, sentence="No file was given"))
    voxels, _, spacing = phantom.make_volume("glioma", 9, 96, 6)
    stack = phantom.write_nifti(folder / "stack.nii.gz", voxels, spacing)
    found = analyze_volume(predictor, read_volume(stack))
    kinds["volume"].append(Request("/volume", {"files": [stack]}, _same_volume(found.to_dict())))
    labels = [predictor.analyze(read_scan(path)).label for path in good[:3]]
    mixed = [*good[:3], folder / "letter.png"]
    kinds["batch"].append(Request("/batch", {"files": mixed}, _same_batch([*labels, None])))
    kinds["model"].append(Request("/model", {}, lambda answer: _unequal(answer["revision"], predictor.revision)))
    return kinds


def _unequal(found: Any, due: Any) -> str:
    return "" if found == due else f"{found!r:.80} instead of {due!r:.80}"


def _same_probabilities(found: dict[str, float], label: str, due: dict[str, float]) -> str:
    far = max(abs(found["probabilities"][name] - due[name]) for name in due)  # type: ignore[index]
    return _unequal(found["label"], label) or ("" if far <= SAME else f"probabilities differ by {far:.2g}")


def _same_analysis(label: str, due: dict[str, float]) -> Callable[[Any], str]:
    return lambda answer: _same_probabilities(answer[0], label, due) or _all_pictures(answer[1:])


def _same_report(label: str, due: dict[str, float]) -> Callable[[Any], str]:
    def check(answer: Sequence[str]) -> str:
        data = next(path for path in answer if path.endswith(".json"))
        return _same_probabilities(json.loads(Path(data).read_text(encoding="utf-8")), label, due)

    return check


def _same_mask(due: np.ndarray) -> Callable[[Any], str]:
    def check(answer: Any) -> str:
        found = cv2.imread(answer[1], cv2.IMREAD_UNCHANGED)
        same = found is not None and np.array_equal(found > 0, due)
        return "" if same else "another mask"

    return check


def _picture_of(shape: tuple[int, ...]) -> Callable[[Any], str]:
    def check(answer: Any) -> str:
        found = cv2.imread(answer)
        return "no picture" if found is None else _unequal(found.shape[:2], shape)

    return check


def _all_pictures(paths: Sequence[str]) -> str:
    return "" if all(cv2.imread(path) is not None for path in paths) else "no picture"


def _same_volume(due: dict[str, Any]) -> Callable[[Any], str]:
    keys = ("label", "marked_slices", "shape")
    return lambda answer: _unequal({k: answer[0][k] for k in keys}, {k: due[k] for k in keys})


def _same_batch(labels: list[str | None]) -> Callable[[Any], str]:
    return lambda answer: _unequal([row.get("label") for row in answer[0]["rows"]], labels)
