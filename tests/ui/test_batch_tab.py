"""The Batch tab without a browser: the count above the table, the table, the limit."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

from brain_mri.imaging.scan import ScanError
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import batch_tab
from brain_mri.ui.html import unexplained
from tests.helpers.handmade import write_handmade


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


def test_without_a_class_no_tumor_files_are_not_counted_by_it(
    phantom_png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    limits = {"mask": 0.5, "min_fraction": 0.002, "abstain": 0.0, "tumor": 0.5}
    grades = Predictor.load(write_handmade(tmp_path / "m", classes=["II", "III", "IV"], thresholds=limits))
    paths = [str(phantom_png("meningioma", 21)), str(phantom_png("notumor", 3))]
    rows, files = batch_tab.run_batch(grades, paths, lambda said="": None)
    said = unexplained(batch_tab.overview(rows))
    assert "2 with an answer, 0 not sure" in said and "without" not in said.partition(".")[0]
    assert "never whether there is a tumor" in said
    assert "never whether there is a tumor" not in batch_tab.rows_table(rows, grades.classes), "once is enough"
    assert "never whether there is a tumor" in Path(files[0]).read_text(encoding="utf-8-sig")


def test_too_many_files_are_refused() -> None:
    with pytest.raises(ScanError, match="the limit is 500"):
        batch_tab.weigh(["x.png"] * 501)


def test_a_table_among_the_files_gives_a_row_for_each_patient(
    predictor: Predictor, phantom_png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = [str(phantom_png("meningioma", 5)), str(phantom_png("notumor", 3)), str(phantom_png("glioma", 8))]
    first, second, _ = (Path(path).name for path in paths)
    (tmp_path / "who.CSV").write_text(f"file,patient,age\nP1/{first},<b>P1,63\nP1/{second},<b>P1,\nother.png,P9,1\n")
    (tmp_path / "bad.png").write_text("no picture")
    paths += [str(tmp_path / "who.CSV")]
    assert len(batch_tab.jobs_of(paths)) == 3 == batch_tab.weigh(paths), "a table is no scan"
    patients = batch_tab.patients_among(predictor, paths)
    rows, files = batch_tab.run_batch(predictor, paths, lambda said="": None, patients=patients)
    assert patients and len(rows) == 3 and (patients.count, patients.of_nobody) == (1, 1)
    page = batch_tab.patients_table(patients)
    assert "&lt;b&gt;P1" in page and "<b>P1" not in page and "1 of 2 (50 %)" in page and "age 63" in page
    assert "1 file is of no patient that is known, without a row." in page and first not in page, (
        "named by content, as the rows are"
    )
    assert [Path(file).name for file in files] == ["results.csv", "results_patients.csv", "results.zip"]
    with zipfile.ZipFile(files[2]) as bundle:
        text = bundle.read("results_patients.csv").decode("utf-8-sig")
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["patient"], line["tumor_slices"], line["age"]) == ("<b>P1", "1", "63") and first not in text
    assert batch_tab.patients_table(batch_tab.patients_among(predictor, paths[:3])) == ""


def test_a_table_that_is_none_or_stands_alone_is_a_sentence(predictor: Predictor, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("name,age\n1.png,3\n")
    with pytest.raises(ScanError, match=r"^The CSV table needs the columns file and patient; it has name, age"):
        batch_tab.patients_among(predictor, [str(table)])
    with pytest.raises(ScanError, match="2 CSV tables are too many"):
        batch_tab.patients_among(predictor, [str(table), str(tmp_path / "u.csv")])
    with pytest.raises(ScanError, match="no scan beside the table"):
        batch_tab.weigh([str(table)])
