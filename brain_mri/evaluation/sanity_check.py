"""Does the heatmap depend on what the model has learned? (Adebayo et al. 2018, "Sanity checks for saliency maps")

The weights of classifier.onnx are replaced by random ones, from the output back to the input, and the heatmaps are
compared with the trained model's. A method that merely traces edges looks the same with random weights and fails.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import numpy_helper
from scipy.stats import spearmanr

from brain_mri.evaluation.masks import enlarge
from brain_mri.evaluation.scores import Heat, RandomWeights, SanityCheck
from brain_mri.inference.onnx_model import ort

STAGES = (("output layer", 0.0), ("last half of the layers", 0.5), ("all layers", 1.0))
SIDE = 64  # heatmaps are compared at 64 x 64


def weight_depths(model: onnx.ModelProto) -> dict[str, int]:
    """Initialisers that are weights (two or more dimensions, float, more than 16 numbers), and how deep they lie.

    1 is the last layer before the logits or heatmaps, 2 one with another after it, and so on. Layers that work side by
    side, as those of two networks in one graph, lie equally deep.
    """
    kinds = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    weights = {
        i.name: i.name
        for i in model.graph.initializer
        if len(i.dims) >= 2 and i.data_type in kinds and np.prod(i.dims) > 16
    }
    weights |= {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Cast" and n.input[0] in weights}
    after = {"logits": 0, "heatmaps": 0}  # layers behind each tensor, on the longest way to an output
    depths: dict[str, int] = {}
    for node in reversed(model.graph.node):
        behind = max((after[name] for name in node.output if name in after), default=None)
        if behind is None or (node.op_type == "Cast" and node.input[0] in weights):
            continue
        own = [weights[name] for name in node.input if name in weights]
        depths |= {name: max(behind + 1, depths.get(name, 0)) for name in own}
        for name in node.input:
            after[name] = max(after.get(name, 0), behind + bool(own))
    return depths


def randomised(model: onnx.ModelProto, share: float, *, seed: int = 0) -> onnx.ModelProto:
    """A copy with the last `share` of its layers redrawn (0: only the last), normal with the same mean and spread.

    Copies of one weight in the graph (the forward pass and the Grad-CAM branch both hold the head, perhaps transposed
    or divided by the size of the map) get the same random numbers, so that the result is a consistent random model and
    not a broken one.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    depths = weight_depths(copy)
    names = sorted(depths, key=lambda name: -depths[name])
    stored = {i.name: numpy_helper.to_array(i) for i in copy.graph.initializer if i.name in set(names)}
    scale = {name: max(float(np.abs(value).max()), 1e-30) for name, value in stored.items()}
    values = {name: value.astype(np.float64) / scale[name] for name, value in stored.items()}
    # One layer is one set of numbers: sorted values tell a weight and its transposed, scaled copy as the same.
    layer = {name: zlib.crc32(np.sort(values[name], axis=None).round(2).tobytes()) for name in names}
    last = {layer[name]: depths[name] for name in names}  # of copies the least deep one counts
    deepest = sorted(last.values())[max(1, round(share * len(last))) - 1]
    chosen = {key for key, depth in last.items() if depth <= deepest}
    first = {key: next(n for n in names if layer[n] == key) for key in chosen}
    for initialiser in copy.graph.initializer:
        key = layer.get(initialiser.name)
        if key not in chosen:
            continue
        name, original = initialiser.name, values[first[key]]
        rng = np.random.default_rng([seed, key])
        new = rng.normal(original.mean(), original.std(), original.shape)
        new = (scale[name] * _same_layout(new, original, values[name])).astype(stored[name].dtype)
        initialiser.CopyFrom(numpy_helper.from_array(new, name))
    return copy


def _same_layout(new: np.ndarray, original: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`new` (drawn for `original`) in the layout of `target`, which holds the same numbers as `original`."""
    if original.shape == target.shape and np.allclose(original, target, atol=1e-3):
        return new
    if original.ndim == 2 and original.T.shape == target.shape and np.allclose(original.T, target, atol=1e-3):
        return np.ascontiguousarray(new.T)
    return new.reshape(target.shape)


def similarity(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(SSIM, Spearman rank correlation) of two heatmaps (h, w) >= 0, each scaled to 0..1, at 64 x 64.

    SSIM with a Gaussian window, sigma 1.5 (Wang et al. 2004). A constant map correlates 0 with everything.
    """
    a, b = (_scaled(m) for m in (first, second))
    rank = float(spearmanr(a, b, axis=None).statistic) if min(np.ptp(a), np.ptp(b)) > 0 else 0.0

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(ssim.mean()), rank


def _scaled(heatmap: np.ndarray) -> np.ndarray:
    heat = enlarge(np.nan_to_num(heatmap), (SIDE, SIDE))
    return heat / max(float(heat.max()), 1e-12)


def sanity_check(
    folder: str | Path,
    images: np.ndarray,
    masks: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> SanityCheck:
    """Heatmaps of the trained classifier against those with random weights.

    images uint8 (N, S, S); masks bool (N, S, S) of lesions or None. Heatmaps are those of the trained
    model's own answer.
    Means over images; energy_inside is None without masks.
    """
    model = onnx.load(str(Path(folder) / "classifier.onnx"))
    logits, trained = _heatmaps(model, images)
    answers = logits.argmax(axis=1)
    own = [trained[i, :, :, answers[i]] for i in range(len(images))]
    rows = []
    for name, share in STAGES:
        _, other = _heatmaps(randomised(model, share, seed=seed), images)
        maps = [other[i, :, :, answers[i]] for i in range(len(images))]
        pairs = np.array([similarity(a, b) for a, b in zip(own, maps, strict=True)])
        rows.append(
            RandomWeights(
                randomised=name,
                ssim=float(pairs[:, 0].mean()),
                rank_correlation=float(pairs[:, 1].mean()),
                energy_inside=_energy(maps, masks),
            )
        )
    return SanityCheck(count=len(images), trained=Heat(energy_inside=_energy(own, masks)), stages=rows)


def _heatmaps(model: onnx.ModelProto, images: np.ndarray, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["logits", "heatmaps"], {"image": images[i : i + batch, ..., None].astype(np.float32)})
        for i in range(0, len(images), batch)
    ]
    logits, heatmaps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return logits, np.nan_to_num(heatmaps, nan=0.0, posinf=0.0, neginf=0.0)


def _energy(heatmaps: Sequence[np.ndarray], masks: np.ndarray | None) -> float | None:
    """Mean share of the heat inside the lesion."""
    if masks is None:
        return None
    shares = []
    for heat, mask in zip(heatmaps, masks, strict=True):
        if mask.any():
            full = enlarge(heat, mask.shape)
            shares.append(float(full[mask].sum() / max(float(full.sum()), 1e-12)))
    return float(np.mean(shares)) if shares else None
