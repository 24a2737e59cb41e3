"""Which sequence a picture is, and what that means for the kind of a tumor.

The network that looks for tumors sees the sequence in passing: a linear reading of its features tells it, and no second
network is needed. What it is not sure of it does not say. What the file states (DICOM) comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from brain_mri.artifact.config import SequenceRule
from brain_mri.classes import SEQUENCES
from brain_mri.inference.runner import softmax

FILE, PICTURE = "file", "picture"  # where a sequence is known from


def chances(rule: SequenceRule, features: np.ndarray) -> np.ndarray:
    """float64 (N, K): the probability of each of rule.sequences. features: (N, F)."""
    weights = np.asarray(rule.weights, np.float64)
    return softmax(np.asarray(features, np.float64) @ weights.T + np.asarray(rule.bias))


def named(rule: SequenceRule | None, features: np.ndarray) -> list[str]:
    """N of classes.SEQUENCES, "" where none is sure enough, or without a rule."""
    if rule is None:
        return [""] * len(features)
    found = chances(rule, features)
    return [
        rule.sequences[i] if row[i] >= rule.limits[i] else ""
        for i, row in zip(found.argmax(axis=1).tolist(), found.tolist(), strict=True)
    ]


def unlearned(rule: SequenceRule | None, sequences: Sequence[str]) -> np.ndarray:
    """bool (N,): is each known, and one that no kinds of tumor were learned on?"""
    learned = ("", *rule.kinds_on) if rule and rule.kinds_on else None
    return np.array([learned is not None and name not in learned for name in sequences], bool)


def most_say(slices: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """What more than half of the slices of a volume say that have a say: (sequence, where it is known from)."""
    counts = Counter(said for said in slices if said[0])
    said, count = counts.most_common(1)[0] if counts else (("", ""), 0)
    return said if 2 * count > counts.total() else ("", "")


def said_of(sequence: str, source: str) -> str:
    """How the page calls a sequence, "" for none. source: FILE or PICTURE."""
    if not sequence:
        return ""
    return f"{SEQUENCES[sequence]} ({'as the file says' if source == FILE else 'by its looks'})"


def doubts_of_kind(rule: SequenceRule | None, sequence: str, source: str) -> list[str]:
    """A sentence for an answer that names a kind of tumor on another sequence than kinds were learned on; else none."""
    if rule is None or not sequence or not rule.kinds_on or sequence in rule.kinds_on:
        return []
    looks = "The file says that this is" if source == FILE else "This looks like"
    learned = " and ".join(SEQUENCES[name] for name in rule.kinds_on)
    return [
        f"{looks} {SEQUENCES[sequence]}. The kinds of tumor were learned mostly on {learned}, so the kind is less "
        "certain here."
    ]
