"""The calibration of networks that are asked two questions: is there a tumor, and of which kind?

What a visitor uploads is from a source that nobody has trained on. So whatever is chosen here, what to listen to and
when to be silent, is chosen on answers about each source by a rule that was fitted on the other ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from brain_mri.artifact.config import DecisionRule, SequenceRule, Thresholds, TumorRule
from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.inference.decision import class_probabilities, decided, tumor_evidence
from brain_mri.training.operating_points import choose_abstain_threshold, fit_temperature

ERASED_WEIGHT = 0.25  # of lesion-erased slices beside the real ones without a tumor
FEWEST = 20  # slices of a kind on sequences without kinds, to say how sure a kind is there
LEAST = 0.5  # nobody is sure of what is less likely than not
RIGHT = 0.95  # of the answers that are given, as many as this should be right
ANSWERED = 0.75  # of the slices, at least


@dataclass(frozen=True)
class Seen:
    """What networks say of validation slices that they have not learned from, and what is true of these."""

    logits: np.ndarray  # float64 (N, C)
    evidence: np.ndarray  # float64 (N, 2), decision.mask_evidence
    labels: np.ndarray  # int (N,), -1 where no class is known
    tumor: np.ndarray  # bool (N,): surely shows a tumor, whatever its kind
    sources: np.ndarray  # str (N,)
    sequences: np.ndarray  # str (N,), "" where not known
    away: np.ndarray  # bool (N,): of a sequence that kinds were not learned on
    erased: np.ndarray  # bool (N,): a copy whose lesion was covered
    classes: tuple[str, ...] = CLASSES  # "no tumor" is among them

    def where(self, chosen: np.ndarray) -> Seen:
        arrays = {name: values[chosen] for name, values in vars(self).items() if isinstance(values, np.ndarray)}
        return replace(self, **arrays)

    @property
    def absent(self) -> int:
        return self.classes.index(NO_TUMOR)

    @property
    def kinds(self) -> list[int]:
        return [i for i in range(len(self.classes)) if i != self.absent]

    @property
    def known(self) -> np.ndarray:
        """bool (N,): is it known whether there is a tumor?"""
        return self.tumor | (self.labels == self.absent)

    def weights(self) -> np.ndarray:
        """float64 (N,): a source and sequence weighs by the root of its number of slices, with and without a tumor, so
        that none drowns the others; and tumors weigh as much as none, however many there are: a miss is as bad as a
        false alarm."""
        cells = [f"{a}/{b}/{c}" for a, b, c in zip(self.sources, self.sequences, self.tumor, strict=True)]
        _, cell, size = np.unique(cells, return_inverse=True, return_counts=True)
        weights = (1 / np.sqrt(size))[cell]
        free, tumors = self.known & ~self.tumor & ~self.erased, weights[self.tumor].sum()
        weights[free] *= tumors / max(weights[free].sum(), 1e-9)
        erased = ERASED_WEIGHT * tumors / max(1, np.count_nonzero(self.erased))
        return np.where(self.erased, erased, weights)


def calibrate(seen: Seen, sequence: SequenceRule | None) -> DecisionRule | None:
    """The rule; its mask thresholds are still the usual ones. None where not both sorts of slices are known.

    The class layers are heard on whether there is a tumor, too, where that makes it surer on left-out sources.
    """
    rules = {inputs: rule for inputs in (2, 3) if (rule := fit(seen, inputs)) is not None}
    if not rules:
        return None
    tried = {inputs: left_out(seen, inputs) for inputs in rules}
    heard = max(tried, key=lambda inputs: _likelihood(seen, tried[inputs]))
    rule = rules[heard]
    limits = Thresholds(abstain=round(max(LEAST, abstain_below(seen, rule, tried[heard])), 4), tumor=0.5)
    return rule.model_copy(update={"thresholds": limits, "sequence": sequence})


def fit(seen: Seen, inputs: int) -> DecisionRule | None:
    """The rule without thresholds. inputs: how much of decision.tumor_evidence tells tumor from none, 2 or 3."""
    rows, weights = seen.known, seen.weights()
    truth = seen.tumor[rows]
    if truth.all() or not truth.any():
        return None
    shown = tumor_evidence(seen.logits, seen.evidence, seen.absent)[rows, :inputs]
    model = LogisticRegression(C=1.0, max_iter=5000).fit(shown, truth, weights[rows])
    outlined = TumorRule(weights=tuple(model.coef_[0].round(6).tolist()), bias=round(float(model.intercept_[0]), 6))
    kind = (seen.labels >= 0) & (seen.labels != seen.absent)

    def temperature(chosen: np.ndarray) -> float:
        among = np.searchsorted(seen.kinds, seen.labels[chosen])
        return round(fit_temperature(seen.logits[chosen][:, seen.kinds], among, weights[chosen]), 6)

    here, elsewhere = kind & ~seen.away, kind & seen.away
    return DecisionRule(
        classes=seen.classes,
        temperature=temperature(here) if len(set(seen.labels[here])) > 1 else 1.0,  # one kind is always right
        outlined=outlined,
        elsewhere=temperature(elsewhere) if elsewhere.sum() >= FEWEST else None,
    )


def left_out(seen: Seen, inputs: int) -> np.ndarray:
    """float64 (N, C): probabilities of each source by the rule of the others; with one source, or where the others do
    not suffice, by that of all."""
    whole = fit(seen, inputs)
    found = np.full((len(seen.labels), len(seen.classes)), 1 / len(seen.classes))
    for source in np.unique(seen.sources):
        own = seen.sources == source
        rule = (fit(seen.where(~own), inputs) if not own.all() else None) or whole
        if rule is not None:
            found[own] = class_probabilities(rule, seen.logits[own], seen.evidence[own], seen.away[own])
    return found


def abstain_below(seen: Seen, rule: DecisionRule, probabilities: np.ndarray) -> float:
    """The least probability of an answer. Kinds on sequences without kinds are left out: they are not sure anyway."""
    chosen = decided(rule, probabilities)
    judged = (seen.labels >= 0) & ~seen.erased & ~(seen.away & seen.tumor & (chosen != seen.absent))
    confidence = probabilities[np.arange(len(chosen)), chosen]
    return choose_abstain_threshold(
        confidence[judged],
        (chosen == seen.labels)[judged],
        seen.weights()[judged],
        target=RIGHT,
        min_coverage=ANSWERED,
    )


def _likelihood(seen: Seen, probabilities: np.ndarray) -> float:
    """Mean log likelihood of tumor or none."""
    rows = seen.known
    said = np.where(seen.tumor, 1 - probabilities[:, seen.absent], probabilities[:, seen.absent])[rows]
    return float(np.average(np.log(np.clip(said, 1e-12, 1)), weights=seen.weights()[rows]))
