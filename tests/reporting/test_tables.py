"""How scores and tables are written."""

from __future__ import annotations

from brain_mri.evaluation.scores import Estimate
from brain_mri.reporting import outline, report, tables


def test_scores_are_printed_with_their_interval():
    assert tables.score(Estimate(value=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"
    assert tables.score(Estimate(value=0.5)) == "0.500"
    assert tables.score(None) == tables.score(Estimate()) == "–"
    assert tables.percent(Estimate(value=0.5, low=0.25, high=0.75)) == "50.0 [25.0, 75.0] %"
    assert tables.percent(Estimate(value=1.0)) == "100.0 %"


def test_tables_are_escaped(tmp_path):
    found = tables.Table("<a>", ["x|y", "b"], [["<script>", "1"]])
    page = outline.Outline("", "", "", "", "", "", (), [outline.Topic("a", "b", tables=[found])])
    assert "<script>" not in report.write_html(tmp_path / "report.html", page).read_text(encoding="utf-8")
    assert "x\\|y" in tables.as_markdown(found)
    lines = tables.as_text(found).splitlines()
    assert lines[1].index("b") == lines[3].index("1")
