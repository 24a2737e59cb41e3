"""Is this a brain MRI slice at all? Cheap picture statistics and the classifier's own features against both.

Two judges, and the stricter one counts:

- how far the picture lies from real slices: Mahalanobis distance with a shrunken covariance (as an out-of-distribution
  score on classifier features: Lee et al. 2018), so that anything unheard of is caught;
- how much it resembles known kinds of other pictures: a quadratic logistic regression against procedurally made
  photographs, drawings, text, X-rays and so on (data/negatives.py), so that near misses are caught.

A score above 1 means "no brain MRI". A third judge tells a brain without its skull, which is one all the same, from a
whole head. training/guard_fit.py fits them; config.json holds the result as plain lists, and NumPy is all that serving
needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from brain_mri.imaging.preprocessing import prepare
from brain_mri.inference.guard_descriptors import NAMES, descriptors

FAR = 8.0  # standard deviations at which a single statistic stops counting more
SURE = 2.2  # log odds from which a skull counts as missing: nine to one


@dataclass(frozen=True, eq=False)
class Scales:
    """What puts D statistics of a picture, and F features along K directions, into standard deviations."""

    mean: np.ndarray  # (D,)
    scale: np.ndarray
    feature_mean: np.ndarray | None = None  # (F,); None without features
    feature_scale: np.ndarray | None = None
    directions: np.ndarray | None = None  # (K, F)
    direction_scale: np.ndarray | None = None

    def standard(self, described: np.ndarray, features: np.ndarray | None) -> np.ndarray:
        """float64 (N, D or D + K), cut at +-FAR."""
        x = (np.asarray(described, np.float64) - self.mean) / self.scale
        if self.directions is not None and self.feature_mean is not None and features is not None:
            whitened = (np.asarray(features, np.float64) - self.feature_mean) / self.feature_scale
            x = np.concatenate([x, whitened @ self.directions.T / self.direction_scale], axis=1)
        return np.clip(x, -FAR, FAR)


@dataclass(frozen=True, eq=False)
class Judges:
    """They take what Scales.standard gives."""

    centre: np.ndarray  # (D or D + K,)
    precision: np.ndarray
    weights: np.ndarray  # of the regression, foreign or not; see `odds`
    distance: float  # of the furthest real slice
    logit: float  # log odds above which a picture is foreign
    skull: np.ndarray | None = None  # weights, without its skull or whole; None when it was fitted on whole heads only

    def judge(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Mahalanobis distance (N,), log odds of being foreign (N,))."""
        centred = x - self.centre
        return np.sqrt(np.maximum((centred @ self.precision * centred).sum(axis=1), 0)), odds(x, self.weights)

    def flagged(self, x: np.ndarray) -> np.ndarray:
        """bool (N,): does either judge find it foreign?"""
        distances, logits = self.judge(x)
        return (distances > self.distance) | (logits > self.logit)


@dataclass(frozen=True, eq=False)
class Guard:
    scales: Scales
    judges: Judges
    stretched: bool = False  # see descriptors

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Guard:
        """From config.json. Raises ValueError or TypeError for one that cannot be used."""
        if list(stored.get("descriptors", ())) != list(NAMES):
            raise ValueError("This guard was fitted with other picture statistics; train the model again.")

        def part(kind: type) -> dict[str, Any]:
            names = [one.name for one in fields(kind) if one.name in stored]
            return {
                name: np.asarray(value, np.float64) if isinstance(value := stored[name], list) else float(value)
                for name in names
            }

        scales, judges = Scales(**part(Scales)), Judges(**part(Judges))
        for name, value in (vars(scales) | vars(judges)).items():
            # Within these bounds every finite picture has a finite score: NaN would pass for a brain.
            least = 1e-12 if name.endswith("scale") or name == "distance" else -1e9
            if value is not None and not np.all((np.asarray(value) >= least) & (np.asarray(value) <= 1e9)):
                raise ValueError(f"its {name} is out of bounds")
        return cls(scales, judges, bool(stored.get("stretched", False)))

    def score(self, described: np.ndarray, features: np.ndarray | None = None) -> float:
        """How little one picture looks like a brain MRI slice: above 1 it is flagged.

        described: float (D,) from `descriptors`; features: float (F,) from the classifier. A guard that was fitted
        without features ignores them. Raises ValueError for a guard that needs features.
        """
        distances, logits = self.judges.judge(self._one(described, features))
        return float(max(distances[0] / self.judges.distance, np.exp(np.clip(logits[0] - self.judges.logit, -30, 30))))

    def looks_stripped(self, described: np.ndarray, features: np.ndarray | None = None) -> bool:
        """Is it a brain without skull and scalp? Arguments and errors as of score."""
        if self.judges.skull is None:
            return False
        return bool(odds(self._one(described, features), self.judges.skull)[0] > SURE)

    def _one(self, described: np.ndarray, features: np.ndarray | None) -> np.ndarray:
        if self.scales.directions is not None and features is None:
            raise ValueError("This guard was fitted with classifier features and needs them.")
        return self.scales.standard(described[None], features[None] if features is not None else None)


def describe(image: np.ndarray, color: float, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """(descriptors, the model's uint8 (size, size) input) of a picture."""
    prepared = prepare(image, size)
    return descriptors(image, color, prepared), prepared.square


def quadratic(x: np.ndarray) -> np.ndarray:
    """(N, 2D + 1): each statistic, its square and a constant, so that both tails can count as foreign."""
    x = np.clip(x, -4, 4)
    return np.concatenate([x, x * x / 4, np.ones((len(x), 1))], axis=1)


def odds(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log odds (N,). weights (2J + 1,) of a regression on `quadratic` of the first J statistics."""
    return quadratic(x[:, : len(weights) // 2]) @ weights
