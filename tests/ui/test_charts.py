"""Charts say in words what they show, and draw what they are given."""

from __future__ import annotations

import numpy as np

from brain_mri.ui import charts


def test_chart_says_in_words_what_it_shows() -> None:
    chart = charts.along_slices([0.1, 0.9, 0.2], [0, 300, 20], "mm²", 2)
    assert "largest area 300 mm² on slice 2" in chart and "Slice 3 is shown" in chart
    assert "nothing marked" in charts.along_slices([0.1], [0], "mm²", 0)


def test_histogram_counts_the_head_only() -> None:
    image = np.full((8, 8), 200, np.uint8)
    image[:4] = 10
    chart = charts.histogram(image, image > 100)
    heights = [float(part.split('"')[0]) for part in chart.split('height="')[1:]]
    assert len(heights) == 64 and heights.count(100.0) == 1 and heights.index(100.0) == 200 // 4


def test_without_probabilities_the_chart_speaks_of_areas_only() -> None:
    drawn = charts.along_slices(None, [0.0, 12.0], "mm²", 0)
    assert "Marked area along 2 slices" in drawn and "probability" not in drawn.lower() and "100 %" not in drawn
