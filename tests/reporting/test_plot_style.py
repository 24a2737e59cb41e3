"""Bars stand one on the other, whiskers reach to the interval, and a drawing that fails leaves no file."""

from __future__ import annotations

import pytest

from brain_mri.evaluation.scores import Estimate
from brain_mri.reporting import plot_style


def test_stacked_bars_begin_where_the_last_ones_end():
    _, ax = plot_style.new_figure(4, 3)
    heights = plot_style.bars(ax, ["a", "b"], [("one", [1, 2], "red"), ("two", [3, 4], "blue")])
    assert list(heights) == [1, 0]  # the first one on top
    assert [patch.get_x() for patch in ax.patches] == [0, 0, 1, 2]


def test_whiskers_reach_to_the_interval_where_there_is_one():
    rows = [Estimate(value=0.5, low=0.25, high=0.625), Estimate(value=0.5), Estimate()]
    assert plot_style.error_limits(rows) == [[0.25, 0.0, 0.0], [0.125, 0.0, 0.0]]


def test_a_drawing_that_fails_leaves_no_file(tmp_path):
    figure, ax = plot_style.new_figure(4, 3)
    ax.set_title("$\\frac$")  # no formula that matplotlib could draw
    with pytest.raises(ValueError):
        plot_style.save(figure, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_class_named_with_dollars_is_no_formula(tmp_path):
    @plot_style.styled
    def draw():
        figure, ax = plot_style.new_figure(4, 3)
        ax.set_title("$\\frac$")
        plot_style.save(figure, tmp_path / "a.png")

    draw()
    assert (tmp_path / "a.png").is_file()
