"""vectors.json: all that an app must do around the network, and drawn pictures with every step's right result.

A phone runs only the network. Finding the head before it, and making an answer of its numbers after it, are the app's
own code; whoever writes that checks it against these files. The pictures are drawn, so that they may be published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from brain_mri.artifact.config import DecisionRule
from brain_mri.artifact.folder import Artifact
from brain_mri.classes import CLASSES, DISCLAIMER, NO_TUMOR
from brain_mri.data.phantom import make_phantom
from brain_mri.evaluation.on_device import Comparison
from brain_mri.files import sha256
from brain_mri.imaging.preprocessing import COARSE, MARGIN, PERCENTILES, prepare
from brain_mri.imaging.scan import Scan
from brain_mri.inference.decision import FAINTEST, MOST_SAID, SUREST, answers_of, mask_evidence
from brain_mri.inference.guard_descriptors import descriptors
from brain_mri.inference.lite_model import LiteModel
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.runner import Networks
from brain_mri.inference.sequence import looks_unlearned
from segmentation import postprocess

FILE, PICTURES = "vectors.json", "vectors"
DIGITS = 6  # after the point
GUARD = (
    "The program also refuses pictures that are no brain MRI (guard) and names pictures too poor to judge (quality). "
    "Neither is in the network's file: an app without them answers for a photograph of a cat. The rules are in the "
    "model's config.json, the code in brain_mri/inference/guard.py and quality.py; each vector has the guard's numbers."
)
KMEANS = (
    "The mask is not in the files either: no network finds it, K-means does (kmeans_mask in segmentation.py, with the "
    "head_mask of brain_mri/imaging/preprocessing.py); in the vectors it is 0 or 1. "
)
BEFORE = (
    f"1. Gray values 0..255 of one slice, uint8. Find the head on a copy whose longer side is {COARSE} pixels.",
    f"2. Lay a square around it with a margin of {MARGIN:.0%} of its longer side, black outside of the picture.",
    "3. Resize the square to image_size: average of areas when it shrinks, else bilinear.",
    f"4. Stretch the gray values: percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of the head become 0 and 255.",
    "5. Black out all beyond the convex hull of the head.",
    "6. Feed it as float32 0..255, shape 1 x image_size x image_size x 1: no division, no mean.",
    "Every step exactly: brain_mri/imaging/preprocessing.py (OpenCV, which Android and iOS have, too).",
)
AFTER = (
    f"1. evidence = half the log odds of the mask: of its highest value, and of the mean of the {SUREST:.4%} highest "
    f"pixels; values nearer than {FAINTEST} to 0 or 1 count as this near.",
    "2. away = the softmax of features x sequence.weights (a row for each sequence) + sequence.bias gives those of "
    "sequence.kinds_on less than 0.5 together; false without a sequence rule or when none of them is in kinds_on.",
    "3. With stacking: softmax of (logits, first evidence) x stacking.weights + stacking.bias, and done. Else scores = "
    "logits / temperature + bias; with outlined, when away and there is an elsewhere: logits / elsewhere.",
    "4. Without outlined: softmax of scores. With it: tumor = 1 / (1 + exp(-(evidence x outlined.weights + "
    f"outlined.bias))), where a third weight is of (log of the sum of exp of the tumor logits - logit of {NO_TUMOR}) / "
    f"2, cut at +-{MOST_SAID}; {NO_TUMOR} has 1 - tumor, and the softmax over the scores of the other classes shares "
    "out tumor.",
    f"5. The answer: without outlined the likeliest class; with it {NO_TUMOR} from 0.5 on, else the likeliest other.",
    '6. Below thresholds.abstain the app says "not sure" and names the class as the likeliest only; with outlined, '
    'where 1 - notumor reaches it: "a tumor, its kind not sure".',
    f"7. Nothing is marked when the answer is {NO_TUMOR}. Else mask >= thresholds.mask, holes filled, connected pieces "
    "(8 neighbours) smaller than thresholds.min_fraction of the square dropped. The heatmap is that of the answer, "
    "divided by its maximum.",
)


def app_vectors(
    artifact: Artifact, files: Sequence[Path], compared: Sequence[Comparison], on: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(vectors.json, {"vectors/NAME.png": PNG}).

    files: of LiteRT; their digests tell an app that it has the right one. on: which slices compared is about, in words.
    Raises ArtifactError.
    """
    config = artifact.config
    predictor = Predictor.load(artifact.folder)
    networks = Networks(artifact.folder, cores(), segmenter=config.segmenter.is_network)
    vectors: list[dict[str, Any]] = []
    pictures: dict[str, bytes] = {}
    for name, image in drawn():
        vector, images = _vector(predictor, networks, name, image)
        vectors.append(vector)
        pictures |= images
    rule = config.to_json()
    shapes = {"logits": "1 x classes", "heatmaps": "1 x h x w x classes", "features": "1 x F",
              "mask": "1 x image_size x image_size x 1, probability of tumor"}  # fmt: skip
    orders = {path.name: LiteModel(path).order() for path in files}
    found = {name for order in orders.values() for name in order}
    described = {
        "model": config.name,
        "revision": predictor.revision,
        "note": DISCLAIMER,
        "files": {
            path.name: {
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
                "outputs in order": orders[path.name],
            }
            for path in files
        },
        "image_size": artifact.image_size,
        "input": {"image": "float32, 1 x image_size x image_size x 1, 0..255"},
        "outputs": {name: shape for name, shape in shapes.items() if name in found},
        "before the network": {"name": config.preprocessing.name, "steps": list(BEFORE)},
        "after the network": {
            "steps": list(AFTER),
            **{key: rule[key] for key in DecisionRule.model_fields if key in rule and key != "quality"},
            "no_tumor_class": NO_TUMOR if NO_TUMOR in config.classes else None,
        },
        "not in the network": GUARD if "mask" in found else KMEANS + GUARD,
        "measured": {"on": on, "files": [one.to_json() for one in compared]},
        "vectors": vectors,
    }
    return described, pictures


def drawn() -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H, W)): each class of ours in a square, and frames that an app may get wrong."""
    for seed, label in enumerate(CLASSES, 11):
        yield label, make_phantom(label, seed, 256).image
    wide = cv2.copyMakeBorder(make_phantom("glioma", 21, 200).image, 30, 90, 150, 10, cv2.BORDER_CONSTANT, value=9)
    yield "margins", wide  # a gray floor, and the head in a corner
    yield "dark", (make_phantom("meningioma", 22, 512, "sagittal").image // 3 + 20).astype(np.uint8)
    yield "close", np.ascontiguousarray(make_phantom("pituitary", 23, 128).image[30:100, 25:103])


def _vector(
    predictor: Predictor, networks: Networks, name: str, image: np.ndarray
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the program makes of one picture, step by step, and the pictures of it."""
    config, prepared = predictor.config, prepare(image, predictor.image_size)
    outputs = networks(prepared.square[None])
    mask = outputs.mask_probability[0]
    answers, whole = answers_of(outputs, config), predictor.analyze(Scan(image, image, name=name))
    frame = prepared.frame
    marked = postprocess(answers.maps[0], config.thresholds.mask, config.thresholds.min_fraction)
    stretched = bool((config.guard or {}).get("stretched"))
    vector = {
        "picture": f"{PICTURES}/{name}.png",
        "square": f"{PICTURES}/{name}-square.png",
        "frame": {"top": frame.top, "left": frame.left, "side": frame.side},
        "logits": _plain(outputs.logits[0]),
        "features": _plain(outputs.features[0]),
        "mask": {"highest": _plain(mask.max()), "mean": _plain(mask.mean()), "center": _plain(mask[_middle(mask)])},
        "heatmap_highest": _plain(outputs.heatmaps[0].max(axis=(0, 1))),
        "evidence": _plain(mask_evidence(outputs.mask_probability)[0]),
        "away": bool(looks_unlearned(config.sequence, outputs.features)[0]),
        "probabilities": dict(zip(config.classes, _plain(answers.probabilities[0]), strict=True)),
        "answer": whole.label,
        "sure": bool(whole.confidence >= config.thresholds.abstain),
        "marked_pixels_of_square": int(np.count_nonzero(marked)),
        "marked": f"{PICTURES}/{name}-marked.png",
        "program_says": whole.reason,
        "guard": {
            "score": None if whole.guard_score != whole.guard_score else _plain(whole.guard_score),
            "descriptors": _plain(descriptors(image, 0.0, prepared, stretched=stretched)),
        },
    }
    pictures = {"picture": image, "square": prepared.square, "marked": marked.astype(np.uint8) * 255}
    return vector, {vector[key]: cv2.imencode(".png", value)[1].tobytes() for key, value in pictures.items()}


def _middle(array: np.ndarray) -> tuple[int, ...]:
    return tuple(side // 2 for side in array.shape)


def _plain(values: Any) -> Any:
    """Rounded numbers for JSON."""
    return np.round(np.asarray(values, np.float64), DIGITS).tolist()
