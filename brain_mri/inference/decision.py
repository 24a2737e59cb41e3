"""From what the two networks say to class probabilities. Pure NumPy: serving and evaluation share these lines.

An artifact states a temperature: probabilities = softmax(logits / temperature). It may also state a "bias" of each
class: softmax(logits / temperature + bias). Or "stacking", a multinomial logistic regression, fitted on validation
slices, on the logits and the evidence of the mask: then a CNN and a U-Net of its own answer together, and "no tumor" is
the surer the less the U-Net finds (Wolpert 1992, stacked generalisation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brain_mri.classes import NO_TUMOR

FAINTEST = 1e-4  # mask probabilities nearer to 0 or 1 are taken for this near


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 (..., C) that sums to 1 along the last axis, for logits of any float type."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def mask_evidence(masks: np.ndarray) -> np.ndarray:
    """float64 (N,): half the log odds of the highest tumor probability in each of (N, S, S)."""
    peak = np.clip(np.asarray(masks, np.float64).reshape(len(masks), -1).max(axis=1), FAINTEST, 1 - FAINTEST)
    return np.log(peak / (1 - peak)) / 2


def class_probabilities(config: Mapping[str, Any], logits: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """float64 (N, C), calibrated. logits (N, C); evidence (N,), see mask_evidence."""
    stacking = config.get("stacking")
    if not stacking:
        return softmax(
            np.asarray(logits, np.float64) / float(config["temperature"]) + np.asarray(config.get("bias", 0))
        )
    seen = np.column_stack([np.asarray(logits, np.float64), evidence])
    return softmax(seen @ np.asarray(stacking["weights"]).T + np.asarray(stacking["bias"]))


def answered(masks: np.ndarray, classes: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    """Tumor probabilities (N, S, S) that are zero where the answer, the likeliest of (N, C), is "no tumor".

    Only what is called a tumor is outlined. Beside a cut that is low where there is one, it finds as many lesions as a
    higher cut everywhere, and marks fewer heads without any (docs/training.md).
    """
    absent = np.asarray(classes)[np.argmax(probabilities, axis=1)] == NO_TUMOR
    return np.where(absent[:, None, None], np.float32(0), masks)


def thresholds_of(config: Mapping[str, Any]) -> dict[str, float]:
    """Every threshold of an artifact; where it states none, what does nothing.

    "mask": the cut of the tumor probability. "min_fraction": the smallest region, as a share of the picture. "abstain":
    the least confidence that is no "not sure". "tumor": the probability of any tumor from which it counts as one.
    """
    return {"mask": 0.5, "min_fraction": 0.0, "abstain": 0.0, "tumor": 0.5, **config.get("thresholds", {})}


def calibrated_by(config: Mapping[str, Any]) -> str:
    """How an artifact's probabilities come about, in words."""
    if config.get("stacking"):
        return "a logistic regression on the logits and the highest tumor probability of the mask"
    found = f"dividing the logits by the temperature {float(config.get('temperature', 1)):.2f}"
    return found + (" and adding a bias of each class" if config.get("bias") else "")
