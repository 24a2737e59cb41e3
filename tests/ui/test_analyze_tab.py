"""The controls of the Analyze tab as Settings."""

from __future__ import annotations

import numpy as np
import pytest

from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import views
from brain_mri.ui.analyze_tab import settings_from, start_of


@pytest.fixture(scope="module")
def view(predictor: Predictor, phantom_png) -> views.View:
    return views.analyze_scan(predictor, read_scan(phantom_png("meningioma", 21)))


def test_emptied_controls_fall_back(view: views.View) -> None:
    start = views.settings_of(view)
    assert settings_from(view, [None] * 6) == start
    assert settings_from(view, [7, -1, "nonsense", 3, None, None]).threshold == 0.99


def test_the_window_starts_with_the_range_of_the_stored_values(predictor: Predictor) -> None:
    values = (np.arange(64 * 64).reshape(64, 64) % 4000).astype(np.uint16)
    view = views.analyze_scan(predictor, scan_from_array(values))
    *_, centre, width = start_of(view)
    assert centre.minimum <= 0 and centre.maximum >= 3999 and (centre.value, width.value) == views.window(view)
