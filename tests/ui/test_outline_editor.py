"""The mask of the outline editor on its way to the browser and back. Drawing itself: test_outline_editor_browser.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brain_mri.imaging.scan import ScanError
from brain_mri.ui.outline_editor import all_has_come, board, drawn, mask_of_runs, mask_on, runs_of

RNG = np.random.default_rng(4)
MASKS = [
    np.zeros((3, 5), bool),
    np.ones((3, 5), bool),
    np.arange(15).reshape(3, 5) % 2 == 0,
    RNG.random((40, 31)) > 0.7,
]


@pytest.mark.parametrize("mask", MASKS)
def test_there_and_back(mask: np.ndarray) -> None:
    assert np.array_equal(mask_of_runs(runs_of(mask), mask.shape), mask)


def test_runs_go_row_by_row_and_begin_with_what_is_off() -> None:
    mask = np.array([[1, 1, 0], [0, 0, 1]], bool)
    assert runs_of(mask) == "0,2,3,1" and runs_of(~mask) == "2,3,1"


@pytest.mark.parametrize(
    "runs", [None, 7, "", "1,2", "16", "-1,16", "8,8,-1", "nan", "1e1,5", "9" * 40, "1,14;", "x" * 3_000_000, ["15"]]
)
def test_what_no_page_sends_is_a_sentence(runs: Any) -> None:
    with pytest.raises(ScanError, match="damaged"):
        mask_of_runs(runs, (3, 5))


def test_a_stroke_on_the_scan_before_or_an_older_one_counts_for_nothing() -> None:
    model = np.eye(3, 5) > 0
    sent = {"of": "one", "runs": "0,15", "step": 4}
    assert drawn(sent, "other", model) is None and drawn(None, "other", model) is None
    assert drawn(sent, "one", model, after=4) is None and drawn(sent | {"step": "5"}, "one", model) is None
    found = drawn(sent, "one", model, after=3)
    assert found is not None and found[0].all() and found[1] == 4


def test_the_models_mask_is_the_one_of_now() -> None:
    """The board had that of another threshold."""
    model = np.eye(3, 5) > 0
    found = drawn({"of": "one", "runs": "0,15", "step": 4, "model": True}, "one", model)
    assert found is not None and found[0] is model
    with pytest.raises(ScanError, match="damaged"):
        drawn({"of": "one", "runs": "0,14", "step": 4, "model": True}, "one", model)


def test_what_was_sent_and_has_not_come() -> None:
    assert not all_has_come("one 5", "one", 4)
    assert all_has_come("one 5", "one", 5) and all_has_come("other 5", "one", 0)
    assert all_has_come(None, "one", 0) and all_has_come("one x", "one", 0)


def test_a_mask_that_comes_with_a_button_counts_on_its_own_board_only() -> None:
    found = mask_on("one 0,15", "one", (3, 5))
    assert found is not None and found.all()
    assert (
        mask_on("other 0,15", "one", (3, 5)) is None
        and mask_on("", "one", (3, 5)) is mask_on(None, "one", (3, 5)) is None
    )
    with pytest.raises(ScanError, match="damaged"):
        mask_on("one", "one", (3, 5))


def test_the_board_holds_picture_and_both_masks() -> None:
    picture, mask, model = RNG.integers(0, 255, (40, 31), np.uint8), MASKS[3], ~MASKS[3]
    text = board(picture, mask, model, "<one>")
    assert f'data-mask="{runs_of(mask)}"' in text and f'data-model="{runs_of(model)}"' in text
    assert 'data-width="31" data-height="40"' in text and "<one>" not in text and "data:image/png" in text
