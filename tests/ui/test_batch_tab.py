"""The Batch tab without a browser: the count above the table, the table, the limit."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from brain_mri.imaging.scan import ScanError
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import batch_tab
from brain_mri.ui.html import unexplained


def test_every_file_is_a_row_and_is_counted(
    predictor: Predictor, phantom_png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "<b>.png").write_text("no picture")
    paths = [str(phantom_png("meningioma", 21)), str(tmp_path / "<b>.png")]
    rows, files = batch_tab.run_batch(predictor, paths, lambda said="": None, kept=True)
    table = batch_tab.rows_table(rows, predictor.classes)
    assert "2 files" in batch_tab.overview(rows) and "1 could not be read" in batch_tab.overview(rows)
    assert table.count("<tr>") == 3 and table.count("<img") == 1 and "&lt;b&gt;" in table and "<b>.png" not in table
    with Path(files[0]).open(encoding="utf-8-sig", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    assert names == [Path(paths[0]).name, "<b>.png"]  # not where the server keeps them


def test_a_tumor_of_unsure_kind_is_counted_as_one(
    unsure_predictor: Predictor, phantom_png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = [str(phantom_png("meningioma", 21)), str(phantom_png("notumor", 3))]
    rows, files = batch_tab.run_batch(unsure_predictor, paths, lambda said="": None, kept=True)
    assert "1 with a tumor, 1 without, 0 not sure" in unexplained(batch_tab.overview(rows))
    page = batch_tab.rows_table(rows, unsure_predictor.classes)
    assert "Tumor, kind not sure" in page and "A tumor, its kind not sure" in page and "FLAIR (by its looks)." in page
    with Path(files[0]).open(encoding="utf-8-sig", newline="") as file:
        table = [(row["kind_unsure"], row["sequence"], row["sequence_from"]) for row in csv.DictReader(file)]
    assert table == [("True", "FLAIR", "picture"), ("False", "FLAIR", "picture")]


def test_too_many_files_are_refused() -> None:
    with pytest.raises(ScanError, match="the limit is 500"):
        batch_tab.weigh(["x.png"] * 501)
