"""Is this a brain MRI slice at all? Cheap picture statistics and the classifier's own features against both.

Two judges, and the stricter one counts:

- how far the picture lies from real slices: Mahalanobis distance with a shrunken covariance (as an out-of-distribution
  score on classifier features: Lee et al. 2018), so that anything unheard of is caught;
- how much it resembles known kinds of other pictures: a quadratic logistic regression against procedurally made
  photographs, drawings, text, X-rays and so on (guard_negatives.py), so that near misses are caught.

`guard_score` above 1 means "no brain MRI". A third judge, `looks_stripped`, tells a brain without its skull, which is
one all the same, from a whole head. guard_fit.py fits it; the result is a dict of plain lists for
config["guard"], and NumPy is all that serving needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brain_mri.imaging.preprocessing import head_mask, preprocess
from brain_mri.inference.guard_descriptors import NAMES, descriptors

FAR = 8.0  # standard deviations at which a single statistic stops counting more
SURE = 2.2  # log odds from which a skull counts as missing: nine to one


def guard_score(guard: dict[str, Any], described: np.ndarray, features: np.ndarray | None = None) -> float:
    """How little one picture looks like a brain MRI slice: above 1 it is flagged.

    described: float (D,) from `descriptors`; features: float (F,) from the classifier. A guard that was fitted
    without features ignores them. Raises ValueError for a guard that needs other descriptors or features.
    """
    model = prepare_guard(guard)
    distances, logits = judge(model, _one(model, described, features))
    return float(max(distances[0] / model["distance"], np.exp(np.clip(logits[0] - model["logit"], -30, 30))))


def looks_stripped(guard: dict[str, Any], described: np.ndarray, features: np.ndarray | None = None) -> bool:
    """Is it a brain without skull and scalp? Arguments and errors as of guard_score.

    False of a guard that was fitted on whole heads only.
    """
    model = prepare_guard(guard)
    if "skull" not in model:
        return False
    return bool(odds(model, _one(model, described, features), "skull")[0] > SURE)


def _one(model: dict[str, Any], described: np.ndarray, features: np.ndarray | None) -> np.ndarray:
    if "directions" in model and features is None:
        raise ValueError("This guard was fitted with classifier features and needs them.")
    return standard(model, described[None], features[None] if features is not None else None)


def prepare_guard(guard: dict[str, Any]) -> dict[str, Any]:
    """The dict of config["guard"] with NumPy arrays in it; do this once, `guard_score` takes either."""
    if guard.get("prepared"):
        return guard
    if list(guard.get("descriptors", ())) != list(NAMES):
        raise ValueError("This guard was fitted with other picture statistics; train the model again.")
    arrays = {
        k: np.asarray(v, np.float64) if isinstance(v, list) and k != "descriptors" else v for k, v in guard.items()
    }
    return arrays | {"prepared": True}


def describe(image: np.ndarray, color: float, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """(descriptors, the model's uint8 (size, size) input) of a picture."""
    prepared, _ = preprocess(image, size)
    return descriptors(image, color, head_mask(image), prepared), prepared


def standard(model: dict[str, Any], described: np.ndarray, features: np.ndarray | None) -> np.ndarray:
    """float64 (N, D or D + K): statistics and feature directions in standard deviations, cut at +-FAR."""
    x = (np.asarray(described, np.float64) - model["mean"]) / model["scale"]
    if "directions" in model and features is not None:
        whitened = (np.asarray(features, np.float64) - model["feature_mean"]) / model["feature_scale"]
        x = np.concatenate([x, whitened @ model["directions"].T / model["direction_scale"]], axis=1)
    return np.clip(x, -FAR, FAR)


def quadratic(x: np.ndarray) -> np.ndarray:
    """(N, 2D + 1): each statistic, its square and a constant, so that both tails can count as foreign."""
    x = np.clip(x, -4, 4)
    return np.concatenate([x, x * x / 4, np.ones((len(x), 1))], axis=1)


def judge(model: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Mahalanobis distance (N,), log odds of being foreign (N,))."""
    centred = x - model["centre"]
    return np.sqrt(np.maximum((centred @ model["precision"] * centred).sum(axis=1), 0)), odds(model, x)


def odds(model: dict[str, Any], x: np.ndarray, weights: str = "weights") -> np.ndarray:
    """Log odds (N,) of being foreign, or with "skull" of being a brain without it."""
    return quadratic(x[:, : int(model["judged"])]) @ model[weights]


def flagged(model: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """bool (N,): does either judge find it foreign?"""
    distances, logits = judge(model, x)
    return (distances > model["distance"]) | (logits > model["logit"])
