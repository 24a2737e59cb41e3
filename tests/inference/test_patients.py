"""Whose a file is, and what is said of a patient: by hand-made rows, whose right answer is known."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.inference import patients
from brain_mri.inference.jobs import BatchError, Job
from brain_mri.inference.patients import PatientTable, Whose, patient_answer, read_patients
from brain_mri.inference.rows import Row

GLIOMA, MENINGIOMA, NONE = (CLASSES.index(name) for name in ("glioma", "meningioma", NO_TUMOR))


def chances(**given: float) -> dict[str, float]:
    return dict.fromkeys(CLASSES, 0.0) | given


def row(file: str, label: str, said: dict[str, float], **more: Any) -> Row:
    result = {
        "label": label, "probabilities": said, "tumor_probability": 1 - said[NO_TUMOR], "abstained": False,
        "kind_unsure": False, "not_brain_mri": False, "tumor_area_mm2": None,
    }  # fmt: skip
    return Row(file, result=result | more)


def table_of(rows: dict[str, list[Row]], classes: tuple[str, ...] = CLASSES, limit: float = 0.6) -> PatientTable:
    """A table that has seen these rows of each patient."""
    whose = {one.file: patient for patient, some in rows.items() for one in some}
    table = PatientTable(classes, limit, Whose(lambda job: whose[job.file]))
    every = [one for some in rows.values() for one in some]
    for job, one in zip(table.noted([Job((Path(r.file),), r.file, r.file) for r in every]), every, strict=True):
        assert job.file == one.file
        table.add(one)
    return table


def test_the_slices_that_are_called_a_tumor_speak() -> None:
    said = np.zeros((3, len(CLASSES)))
    said[:, NONE], said[:, GLIOMA], said[:, MENINGIOMA] = (0.9, 0.2, 0.2), (0.1, 0.6, 0.1), (0.0, 0.2, 0.7)
    label, mean = patient_answer(CLASSES, said, np.array([False, True, True]))
    assert (label, mean[NONE], mean[MENINGIOMA]) == ("meningioma", pytest.approx(0.2), pytest.approx(0.45))
    assert patient_answer(CLASSES, said, np.array([False, True, True]), np.array([9, 5, 1]))[0] == "glioma"
    assert patient_answer(CLASSES, said[:1], np.array([False]))[0] == NO_TUMOR
    unsure = np.full((1, len(CLASSES)), 0.2)
    unsure[0, NONE], unsure[0, GLIOMA] = 0.4, 0.21
    assert patient_answer(CLASSES, unsure, np.array([True]))[0] == "glioma", "called a tumor, so never none"
    assert patient_answer(("a", "b"), np.array([[0.3, 0.7], [0.4, 0.6]]), np.array([True, True]))[0] == "b"


def test_one_line_a_patient() -> None:
    free, tumor = chances(notumor=0.9, glioma=0.1), chances(notumor=0.1, glioma=0.9)
    volume = {"slices": 20, "called_slices": 5, "highest_slice": 11, "highest_probability": 0.99}
    table = table_of({
        "P1": [row("a.png", NO_TUMOR, free), row("b.png", "glioma", tumor, tumor_area_mm2=40.0), Row("c.png", "broken"),
               row("d.png", NO_TUMOR, free, not_brain_mri=True)],
        "P2": [row("t1.nii", "glioma", tumor, volume_ml=3.0, tumor_area_mm2=90.0, **volume),
               row("t2.nii", NO_TUMOR, free, volume_ml=1.0, slices=10, called_slices=0)],
        "P3": [row("e.png", NO_TUMOR, free)],
        "P4": [Row("f.png", "broken")],
        "": [row("g.png", NO_TUMOR, free)],
    })  # fmt: skip
    first, second, third, fourth = table.lines()
    assert (first["patient"], first["label"], first["slices"], first["tumor_slices"]) == ("P1", "glioma", 2, 1)
    assert (first["tumor_share"], first["highest"], first["files"]) == (0.5, "b.png", 4)
    assert (first["not_read"], first["not_brain_mri"], first["largest_area_mm2"]) == (1, 1, 40.0)
    assert first["tumor_probability"] == pytest.approx(0.9) and not first["abstained"]
    assert (second["highest"], second["highest_slice"], second["tumor_probability"]) == ("t1.nii", 12, 0.99)
    assert (second["slices"], second["tumor_slices"], second["tumor_share"]) == (30, 5, pytest.approx(1 / 6))
    assert (second["volume_ml"], second["volume_of"]) == (3.0, "t1.nii"), "not the sum of two pictures of one head"
    assert (third["label"], third["tumor_share"], third["abstained"]) == (NO_TUMOR, 0.0, False)
    assert fourth == {"patient": "P4", "abstained": True, "files": 1, "not_brain_mri": 0, "not_read": 1}
    assert table.of_nobody == 1 and table.count == 4


def test_a_patient_of_whom_no_slice_is_sure_has_no_sure_answer() -> None:
    split = chances(notumor=0.1, glioma=0.5, meningioma=0.4)
    lines = table_of({
        "unsure": [row("a", "glioma", split, abstained=True)],
        "kind": [row("b", "glioma", split, abstained=True, kind_unsure=True)],
        "sure": [row("c", "glioma", chances(glioma=0.9, notumor=0.1)), row("d", "glioma", split, abstained=True)],
    }).lines()  # fmt: skip
    assert [(line["abstained"], line["kind_unsure"]) for line in lines] == [
        (True, False), (True, True), (False, False),
    ]  # fmt: skip


def test_a_model_without_no_tumor_says_nothing_of_tumors() -> None:
    said = {"low": 0.2, "high": 0.8}
    one = Row("a", result={"label": "high", "probabilities": said, "tumor_probability": None, "abstained": False,
                           "kind_unsure": False, "not_brain_mri": False})  # fmt: skip
    (line,) = table_of({"P": [one]}, ("low", "high")).lines()
    assert line["label"] == "high" and line["tumor_probability"] is None is line["tumor_share"] is line["tumor_slices"]


def found(table: Path, *paths: Path, apart: bool = True) -> list[str]:
    whose = read_patients(table, paths, apart=apart)
    return [whose.find(Job((path,), path.name, path.name)) for path in paths]


def test_files_are_named_by_path_or_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("\ufefffile;Patient;age\nscans/a/1.png;P1;63\nscans/b/1.png;P2;\nother\\9.png;P1;64\n./x.png;;1\n")
    scans, elsewhere = tmp_path / "scans", Path("/elsewhere/scans")
    assert found(table, scans / "a/1.png", scans / "b/1.png") == ["P1", "P2"]
    assert found(table, elsewhere / "a/1.png", elsewhere / "c/1.png", elsewhere / "9.png") == ["P1", "", ""]
    uploads = (Path("/tmp/1/9.png"), Path("/tmp/2/1.png"), tmp_path / "x.png")
    assert found(table, *uploads, apart=False) == ["P1", "", ""]
    monkeypatch.chdir(tmp_path)
    assert found(table, Path("scans/b/1.png")) == ["P2"]
    assert read_patients(table, [scans / "a/1.png"]).about == {"P1": {"age": "63 / 64"}, "P2": {}}
    table.write_text("file,patient,place\n" + "".join(f"{i}.png,P,{i}\n" for i in range(5)))
    assert read_patients(table, [Path("1.png")]).about == {"P": {"place": "several"}}


def test_no_file_is_given_to_a_patient_by_a_name_that_others_have(tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("file,patient\np1/1.png,A\np1/2.png,A\np2/1.png,B\n3.png,C\n4.png,nan\n5.png,None\n")
    scans = tmp_path / "day" / "scans"
    names = ("p1/1.png", "p1/2.png", "p2/1.png", "p2/2.png", "p3/2.png", "p1/3.png", "p2/3.png", "4.png", "5.png")
    assert found(table, *(scans / name for name in names)) == ["A", "A", "B", "", "", "", "", "", ""]
    assert found(table, scans / "p1/1.png", scans / "p1/3.png") == ["A", "C"]
    twice = (Path("/tmp/1/1.png"), Path("/tmp/2/3.png"), Path("/tmp/3/3.png"), Path("/tmp/4/2.png"))
    assert found(table, *twice, apart=False) == ["", "", "", "A"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it has none"),
        ("name,patient\n1.png,P\n", "needs the columns file and patient; it has name, patient"),
        ("file,patient\n1.png,P\n1.png,Q\n", "names two patients for 1.png"),
        ("file,patient,Patient\n1.png,P,Q\n", "has the column patient twice"),
        ("file,patient\n2.png,P\n", "names none of the files"),
    ],
)
def test_what_is_no_such_table_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(BatchError, match=sentence):
        read_patients(path, [tmp_path / "1.png"])
    for encoding in ("utf-16", "cp1252"):  # as Excel writes by default
        path.write_text("file,patient\n1.png,Jürgen\n", encoding)
        with pytest.raises(BatchError, match="is no UTF-8 text"):
            read_patients(path, [tmp_path / "1.png"])
    with pytest.raises(BatchError, match=r"^The table could not be read"):
        read_patients(tmp_path, [], "The table")
    monkeypatch.setattr(patients, "LARGEST", 1)
    path.write_text("file,patient\n")
    with pytest.raises(BatchError, match="has more than 0 MB"):
        read_patients(path, [])


def test_the_table_that_is_written_is_no_formula(tmp_path: Path) -> None:
    table = table_of({"=1+1": [row("@a.png", NO_TUMOR, chances(notumor=1.0))]})
    table.whose.about["=1+1"] = {"label": "theirs", "+age": "63"}
    table.write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["patient"], line["highest"], line["label"], line["label (table)"]) == (
        "'=1+1", "'@a.png", NO_TUMOR, "theirs",
    )  # fmt: skip
    assert line["'+age"] == "63" and line["p_notumor"] == "1"
