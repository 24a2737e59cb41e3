"""The bundled weights say about a dozen stored phantoms what they said in November, before the files moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brain_mri import Predictor, read_scan

FOLDER = Path(__file__).with_name("answers")
STORED: dict[str, Any] = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def predictor(bundled: Path) -> Predictor:
    return Predictor.load(bundled)


@pytest.mark.parametrize("name", sorted(STORED))
def test_the_same_answer_as_before(predictor: Predictor, name: str) -> None:
    """To the bit on the machine that stored them; here within what another processor's rounding may change."""
    was, now = STORED[name], predictor.analyze(read_scan(FOLDER / name))
    assert (now.label, now.abstained, now.not_brain_mri) == (was["label"], was["abstained"], was["not_brain_mri"])
    assert now.logits.tolist() == pytest.approx(was["logits"], abs=2e-4)
    assert now.probabilities == pytest.approx(was["probabilities"], abs=1e-4)
    assert now.guard_score == pytest.approx(was["guard_score"], rel=1e-3)
    assert int(now.mask.sum()) == pytest.approx(was["mask_pixels"], abs=5)
    assert (now.warnings, now.reason) == (was["warnings"], was["reason"])
