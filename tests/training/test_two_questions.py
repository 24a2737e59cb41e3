"""Tumor or none, then which kind: what is listened to and when to be silent is chosen on sources that are left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from brain_mri.artifact.config import SequenceRule
from brain_mri.classes import CLASSES, absent_of
from brain_mri.inference.decision import MOST_SAID, class_probabilities, decided, tumor_evidence
from brain_mri.training import two_questions
from brain_mri.training.two_questions import Seen

EACH = 200
ABSENT = absent_of(CLASSES)
LEARNED = SequenceRule(
    sequences=("T1C+", "FLAIR"), weights=((0.0,), (0.0,)), bias=(0.0, 0.0), limits=(0.5, 0.5), kinds_on=("T1C+",)
)


def source(name: str, seed: int, *, layers: float, sequence: str = "T1C+", kinds: float = 3.0) -> Seen:
    """One source whose outlines tell tumor from none fairly. layers, kinds: what the logits tell of either."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, ABSENT, 3], EACH, p=[0.2, 0.2, 0.4, 0.2])
    tumor = labels != ABSENT
    logits = rng.normal(0, 1, (EACH, len(CLASSES)))
    logits[np.arange(EACH), labels] += np.where(tumor, kinds, 0.0)
    logits[:, ABSENT] -= layers * np.where(tumor, 1.0, -1.0)
    evidence = np.where(tumor, 1.0, -1.0)[:, None] + rng.normal(0, 1, (EACH, 2))
    named = np.full(EACH, sequence)
    return Seen(logits, evidence, labels, tumor, np.full(EACH, name), named, named != "T1C+", np.zeros(EACH, bool))


def together(*parts: Seen) -> Seen:
    arrays = [name for name, values in vars(parts[0]).items() if isinstance(values, np.ndarray)]
    joined: dict[str, Any] = {name: np.concatenate([vars(part)[name] for part in parts]) for name in arrays}
    return replace(parts[0], **joined)


def test_class_layers_are_heard_where_they_help_on_sources_left_out() -> None:
    helpful = together(*(source(f"s{i}", i, layers=2.0) for i in range(3)))
    rule = two_questions.calibrate(helpful, None)
    assert rule is not None and rule.outlined is not None and len(rule.outlined.weights) == 3
    # each source's class layers say something else about tumors
    strange = together(*(source(f"s{i}", i, layers=-3.0 * (-1) ** i) for i in range(3)))
    rule = two_questions.calibrate(strange, None)
    assert rule is not None and rule.outlined is not None and len(rule.outlined.weights) == 2


def test_what_class_layers_say_of_a_tumor_is_bounded() -> None:
    logits = np.array([[0.0, 0.0, 99.0, 0.0], [9.0, 0.0, -99.0, 0.0]])
    assert tumor_evidence(logits, np.zeros((2, 2)), ABSENT)[:, 2].tolist() == [-MOST_SAID, MOST_SAID]


def test_kinds_are_doubted_on_a_sequence_that_none_was_learned_on() -> None:
    learned, other = source("a", 0, layers=2.0), source("b", 1, layers=2.0, sequence="FLAIR", kinds=0.0)
    rule = two_questions.calibrate(together(learned, other), LEARNED)
    assert rule is not None and rule.elsewhere is not None and rule.elsewhere > 3 * rule.temperature
    assert rule.sequence == LEARNED
    limit = rule.thresholds.abstain
    for seen, sure in ((learned, 0.6), (other, 0.0)):
        found = class_probabilities(rule, seen.logits, seen.evidence, seen.away)
        kinds = found[:, [0, 1, 3]].max(axis=1)[seen.tumor & (decided(rule, found) != ABSENT)]
        assert sure <= (kinds >= limit).mean() <= sure + 0.4, "sure of a kind only where kinds were learned"
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_it_is_silent_where_a_source_left_out_is_answered_wrongly() -> None:
    """On every fifth slice of one of the sources outlines say the contrary."""
    good = [source(f"s{i}", i, layers=0.0) for i in range(2)]
    odd = source("odd", 5, layers=0.0)
    misled = np.where(np.arange(EACH) % 5 == 0, -1.0, 1.0)[:, None]
    odd = Seen(**vars(odd) | {"evidence": misled * odd.evidence})
    calm, warned = two_questions.calibrate(together(*good), None), two_questions.calibrate(together(*good, odd), None)
    assert calm is not None and warned is not None
    assert warned.thresholds.abstain > calm.thresholds.abstain


def test_without_both_sorts_of_slices_there_are_no_two_questions() -> None:
    seen = source("a", 0, layers=1.0)
    for part in (seen.tumor, ~seen.tumor, np.zeros(EACH, bool)):
        assert two_questions.calibrate(seen.where(part), None) is None
    assert two_questions.calibrate(seen, None) is not None, "one source is enough"


def test_covered_lesions_alone_tell_what_no_tumor_is() -> None:
    """Data without slices that show none."""
    seen = source("a", 0, layers=1.0)
    rule = two_questions.calibrate(Seen(**vars(seen) | {"erased": ~seen.tumor}), None)
    assert rule is not None and rule.outlined is not None and rule.outlined.weights[0] > 0.3


def test_one_kind_says_nothing_about_how_sure_kinds_are() -> None:
    seen = source("a", 0, layers=1.0)
    rule = two_questions.calibrate(seen.where((seen.labels == 0) | ~seen.tumor), None)
    assert rule is not None and rule.temperature == 1.0


def test_sources_weigh_by_the_root_of_their_slices() -> None:
    seen = together(source("a", 0, layers=1.0), *(source("b", i, layers=1.0) for i in range(4)))
    weights = seen.weights()
    small, large = weights[seen.sources == "a"].sum(), weights[seen.sources == "b"].sum()
    assert 1.7 < large / small < 2.3
    np.testing.assert_allclose(weights[seen.tumor].sum(), weights[~seen.tumor].sum())
