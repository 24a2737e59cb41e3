"""From what the networks say to answers. Pure NumPy and OpenCV: serving and evaluation share these lines.

An artifact states a temperature: probabilities = softmax(logits / temperature). It may also state a "bias" of each
class: softmax(logits / temperature + bias). Or "stacking", a multinomial logistic regression, fitted on validation
slices, on the logits and the evidence of the mask: then a CNN and a U-Net of its own answer together, and "no tumor" is
the surer the less the U-Net finds (Wolpert 1992, stacked generalisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brain_mri.artifact.config import DecisionRule
from brain_mri.classes import NO_TUMOR
from brain_mri.inference.runner import Outputs
from segmentation import postprocess

FAINTEST = 1e-4  # mask probabilities nearer to 0 or 1 are taken for this near


@dataclass(frozen=True)
class Answers:
    """What an artifact makes of Outputs."""

    probabilities: np.ndarray  # float64 (N, C), calibrated
    maps: np.ndarray  # float32 (N, S, S), tumor probability; zero where the answer is "no tumor"
    masks: np.ndarray  # bool (N, S, S), as the app draws them


def answers_of(outputs: Outputs, rule: DecisionRule) -> Answers:
    """The calibrated answers."""
    probabilities = class_probabilities(rule, outputs.logits, mask_evidence(outputs.mask_probability))
    maps = answered(outputs.mask_probability, rule.classes, probabilities)
    cut, smallest = rule.thresholds.mask, rule.thresholds.min_fraction
    return Answers(probabilities, maps, np.stack([postprocess(found, cut, smallest) for found in maps]))


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 (..., C) that sums to 1 along the last axis, for logits of any float type."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def mask_evidence(masks: np.ndarray) -> np.ndarray:
    """float64 (N,): half the log odds of the highest tumor probability in each of (N, S, S)."""
    peak = np.clip(np.asarray(masks, np.float64).reshape(len(masks), -1).max(axis=1), FAINTEST, 1 - FAINTEST)
    return np.log(peak / (1 - peak)) / 2


def class_probabilities(rule: DecisionRule, logits: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """float64 (N, C), calibrated. logits (N, C); evidence (N,), see mask_evidence."""
    logits = np.asarray(logits, np.float64)
    if rule.stacking is None:
        return softmax(logits / float(rule.temperature) + np.asarray(rule.bias or 0))
    seen = np.column_stack([logits, evidence])
    return softmax(seen @ np.asarray(rule.stacking.weights).T + np.asarray(rule.stacking.bias))


def outlined(classes: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    """bool (N,): is there a mask, or is the answer, the likeliest of (N, C), "no tumor"?

    Only what is called a tumor is outlined. Beside a cut that is low where there is one, it finds as many lesions as a
    higher cut everywhere, and marks fewer heads without any (docs/experiments.md).
    """
    return np.asarray(classes)[np.argmax(probabilities, axis=1)] != NO_TUMOR


def answered(masks: np.ndarray, classes: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    """Tumor probabilities (N, S, S) that are zero where nothing is outlined."""
    return np.where(outlined(classes, probabilities)[:, None, None], masks, np.float32(0))


def calibrated_by(rule: DecisionRule) -> str:
    """How an artifact's probabilities come about, in words."""
    if rule.stacking:
        return "a logistic regression on the logits and the highest tumor probability of the mask"
    found = f"dividing the logits by the temperature {rule.temperature:.2f}"
    return found + (" and adding a bias of each class" if rule.bias else "")
