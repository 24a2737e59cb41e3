"""The tables of many files: cells that no spreadsheet runs."""

from __future__ import annotations

from pathlib import Path

from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import Row, Tables


def test_csv_cells_are_no_formulas(predictor: Predictor, tmp_path: Path) -> None:
    with Tables(tmp_path, "results", predictor) as tables:
        tables.add(Row("=HYPERLINK(1)", "=bad"))
    text = (tmp_path / "results.csv").read_text()
    assert "'=HYPERLINK" in text and "'=bad" in text
