"""The tables of many files: cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from brain_mri.files import guarded
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import Row, Tables


def test_csv_cells_are_no_formulas(predictor: Predictor, tmp_path: Path) -> None:
    with Tables(tmp_path, "results", predictor) as tables:
        tables.add(Row("=HYPERLINK(1)", "=bad"))
    text = (tmp_path / "results.csv").read_text()
    assert "'=HYPERLINK" in text and "'=bad" in text


@pytest.mark.parametrize("start", list("=+-@\t\r"))
def test_every_start_of_a_formula_is_guarded(start: str) -> None:
    assert guarded(f"{start}1+1.png") == f"'{start}1+1.png"


def test_what_is_no_formula_stays() -> None:
    assert [guarded(value) for value in ("a=1.png", "", -3, -0.5, None, True)] == ["a=1.png", "", -3, -0.5, None, True]


def test_every_writer_of_csv_guards_its_cells() -> None:
    """Of those that write names of files or runs; the others hold digests, splits and numbers only."""
    root = Path(__file__).resolve().parents[2]
    harmless = {"evaluation/held_out.py", "data/phantom.py"}
    writers = {
        str(path.relative_to(root / "brain_mri")): path.read_text()
        for path in (root / "brain_mri").rglob("*.py")
        if re.search(r"csv\.(Dict)?[wW]riter|\.to_csv\(", path.read_text())
    }
    assert {"inference/rows.py", "ui/volume_tab.py", "cli/audit.py"} <= set(writers)
    assert not [p for p, text in writers.items() if p not in harmless and not re.search(r"[^.]guarded\b", text)]


def test_faults_of_a_picture_stand_in_one_cell(predictor: Predictor, tmp_path: Path) -> None:
    with Tables(tmp_path, "results", predictor) as tables:
        tables.add(Row("a.png", result={"quality": ["noisy", "moved"]}))
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["quality"] for row in csv.DictReader(file)] == ["noisy moved"]
