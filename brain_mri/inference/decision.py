"""From what the networks say to answers. Pure NumPy and OpenCV: serving and evaluation share these lines.

An artifact states a temperature: probabilities = softmax(logits / temperature). It may also state a "bias" of each
class: softmax(logits / temperature + bias). Or "stacking", a multinomial logistic regression, fitted on validation
slices, on the logits and the evidence of the mask: then a CNN and a U-Net of its own answer together, and "no tumor" is
the surer the less the U-Net finds (Wolpert 1992, stacked generalisation).

Or "outlined", and then two questions are two answers. Is there a tumor? A logistic regression on what the network
outlines says so. Which kind? The softmax over the logits of the kinds alone says that, and shares out the tumor's
probability. So class layers, which know which sources had tumors, cannot talk an outlined lesion away. On a sequence
that kinds were not learned on the kinds have a temperature of their own, "elsewhere": mostly none of them is sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brain_mri.artifact.config import DecisionRule
from brain_mri.classes import NO_TUMOR
from brain_mri.inference.runner import Outputs, softmax
from brain_mri.inference.sequence import looks_unlearned
from segmentation import postprocess

SUREST = 1 / 256  # of the pixels: the evidence of a mask is their mean tumor probability, and the highest one
MOST_SAID = 2.0  # half the log odds of 98 %
FAINTEST = 1e-4  # mask probabilities nearer to 0 or 1 are taken for this near


@dataclass(frozen=True)
class Answers:
    """What an artifact makes of Outputs."""

    probabilities: np.ndarray  # float64 (N, C), calibrated
    maps: np.ndarray  # float32 (N, S, S), tumor probability; zero where the answer is "no tumor"
    masks: np.ndarray  # bool (N, S, S), as the app draws them


def answers_of(outputs: Outputs, rule: DecisionRule) -> Answers:
    """The calibrated answers."""
    away = looks_unlearned(rule.sequence, outputs.features)
    probabilities = class_probabilities(rule, outputs.logits, mask_evidence(outputs.mask_probability), away)
    maps = answered(outputs.mask_probability, rule, probabilities)
    cut, smallest = rule.thresholds.mask, rule.thresholds.min_fraction
    return Answers(probabilities, maps, np.stack([postprocess(found, cut, smallest) for found in maps]))


def mask_evidence(masks: np.ndarray) -> np.ndarray:
    """float64 (N, 2) of tumor probabilities (N, S, S): half the log odds of the highest, and of the surest's mean."""
    flat = np.asarray(masks, np.float64).reshape(len(masks), -1)
    count = max(1, round(SUREST * flat.shape[1]))
    surest = np.partition(flat, -count, axis=1)[:, -count:]
    seen = np.clip(np.column_stack([surest.max(axis=1), surest.mean(axis=1)]), FAINTEST, 1 - FAINTEST)
    return np.log(seen / (1 - seen)) / 2


def tumor_evidence(logits: np.ndarray, evidence: np.ndarray, free: int) -> np.ndarray:
    """float64 (N, 3): mask_evidence, and half the log odds that the class layers give a tumor, which are bounded, so
    that they cannot talk an outlined lesion away.  logits (N, C), free: the class "no tumor"; evidence (N, 2)."""
    logits = np.asarray(logits, np.float64)
    kinds = np.logaddexp.reduce(np.delete(logits, free, axis=1), axis=1)
    return np.column_stack([evidence, np.clip((kinds - logits[:, free]) / 2, -MOST_SAID, MOST_SAID)])


def class_probabilities(
    rule: DecisionRule, logits: np.ndarray, evidence: np.ndarray, away: np.ndarray | None = None
) -> np.ndarray:
    """float64 (N, C), calibrated. logits (N, C); evidence (N, 2), see mask_evidence; away: bool (N,), is the slice of a
    sequence that kinds were not learned on?"""
    logits = np.asarray(logits, np.float64)
    if rule.stacking is not None:
        seen = np.column_stack([logits, evidence[:, 0]])
        return softmax(seen @ np.asarray(rule.stacking.weights).T + np.asarray(rule.stacking.bias))
    scores = logits / float(rule.temperature) + np.asarray(rule.bias or 0)
    if rule.outlined is None:
        return softmax(scores)
    if away is not None and rule.elsewhere is not None:
        scores = np.where(away[:, None], logits / float(rule.elsewhere), scores)
    weights = np.asarray(rule.outlined.weights)
    seen = tumor_evidence(logits, evidence, rule.classes.index(NO_TUMOR))[:, : len(weights)]
    tumor = 1 / (1 + np.exp(-np.clip(seen @ weights + rule.outlined.bias, -30, 30)))
    free = np.asarray(rule.classes) == NO_TUMOR
    probabilities = np.empty_like(scores)
    probabilities[:, free] = (1 - tumor)[:, None]
    probabilities[:, ~free] = tumor[:, None] * softmax(scores[:, ~free])
    return probabilities


def decided(rule: DecisionRule, probabilities: np.ndarray) -> np.ndarray:
    """int (N,): the answer of each of (N, C): the likeliest class.

    Of two questions: first whether there is a tumor, by even odds, then the likeliest kind. A tumor of which three
    kinds are possible is not "no tumor" because each of them is less likely than that.
    """
    probabilities = np.asarray(probabilities)
    if rule.outlined is None:
        return probabilities.argmax(axis=1)
    free = rule.classes.index(NO_TUMOR)
    kinds = np.where(np.arange(len(rule.classes)) == free, -1.0, probabilities).argmax(axis=1)
    return np.where(probabilities[:, free] >= 0.5, free, kinds)


def outlined(rule: DecisionRule, probabilities: np.ndarray) -> np.ndarray:
    """bool (N,): is there a mask, or is the answer of (N, C) "no tumor"?

    Only what is called a tumor is outlined. Beside a cut that is low where there is one, it finds as many lesions as a
    higher cut everywhere, and marks fewer heads without any (docs/experiments.md).
    """
    return np.asarray(rule.classes)[decided(rule, probabilities)] != NO_TUMOR


def answered(masks: np.ndarray, rule: DecisionRule, probabilities: np.ndarray) -> np.ndarray:
    """Tumor probabilities (N, S, S) that are zero where nothing is outlined."""
    return np.where(outlined(rule, probabilities)[:, None, None], masks, np.float32(0))


def calibrated_by(rule: DecisionRule) -> str:
    """How an artifact's probabilities come about, in words."""
    if rule.stacking:
        return "a logistic regression on the logits and the highest tumor probability of the mask"
    found = f"dividing the logits by the temperature {rule.temperature:.2f}"
    found += " and adding a bias of each class" if rule.bias else ""
    return f"the outline (tumor or none), and for the kind {found}" if rule.outlined else found
