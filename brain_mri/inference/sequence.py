"""Which sequence a picture is, and what that means for the kind of a tumor.

The network that looks for tumors sees the sequence in passing: a linear reading of its features tells it, and no second
network is needed. What it is not sure of it does not say. What the file states (DICOM) comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brain_mri.artifact.config import SequenceRule
from brain_mri.classes import SEQUENCES
from brain_mri.inference.runner import softmax

FILE, PICTURE = "file", "picture"  # where a sequence is known from
HOW = {FILE: "as the file says", PICTURE: "by its looks"}


@dataclass(frozen=True)
class Shown:
    """What a scan shows."""

    sequence: str = ""  # one of classes.SEQUENCES, "" when nothing tells
    source: str = ""  # FILE, PICTURE or ""
    away: bool = False  # other than what kinds of tumor were learned on, also where it cannot be named


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


def looks_unlearned(rule: SequenceRule | None, features: np.ndarray) -> np.ndarray:
    """bool (N,): is each likelier not of the sequences that kinds of tumor were learned on?

    To say what it is not takes less than a name: a third of the T1 slices without contrast medium are named, two thirds
    are known not to be with it (docs/experiments.md).
    """
    learned = [name in rule.kinds_on for name in rule.sequences] if rule else []
    if rule is None or not any(learned):  # a rule that knows none of these tells nothing from them
        return np.zeros(len(features), bool)
    return np.asarray(chances(rule, features)[:, learned].sum(axis=1) < 0.5)


def shown_by(rule: SequenceRule | None, stated: str, features: np.ndarray | None) -> Shown:
    """What one picture shows. stated: by its file, or ""; features: (1, F), None where they are not to be trusted."""
    if stated:
        return Shown(stated, FILE, bool(unlearned(rule, [stated])[0]))
    if rule is None or features is None:
        return Shown()
    found = named(rule, features)[0]
    return Shown(found, PICTURE if found else "", bool(looks_unlearned(rule, features)[0]))


def most_show(slices: Sequence[Shown]) -> Shown:
    """What more than half of those slices of a volume show that are named; where none is, what most of all are."""
    called = [one for one in slices if one.sequence]
    most, count = Counter(called or slices).most_common(1)[0] if slices else (Shown(), 0)
    return most if 2 * count > len(called or slices) else Shown()


def said_of(sequence: str, source: str) -> str:
    """How the page calls a sequence, "" for none. source: FILE or PICTURE."""
    return f"{SEQUENCES[sequence]} ({HOW[source]})" if sequence else ""


def doubts_of_kind(rule: SequenceRule | None, shown: Shown) -> list[str]:
    """A sentence for an answer that names a kind of tumor away from what kinds were learned on; else none."""
    if rule is None or not shown.away:
        return []
    learned = " or ".join(SEQUENCES[name] for name in rule.kinds_on)
    looks = "The file says that this is" if shown.source == FILE else "This looks like"
    said = f"{looks} {SEQUENCES[shown.sequence]}." if shown.sequence else f"This does not look like {learned}."
    return [f"{said} The kinds of tumor were learned mostly on {learned}, so the kind is less certain here."]
