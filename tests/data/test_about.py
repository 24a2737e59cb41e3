"""What tables say of patients reaches the rows of a data set, whichever way the table is laid out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from brain_mri.data.about import ABOUT, MOST, columns_about, number_in, read_about
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.folders import DataError, read_patients
from tests.helpers.sources import picture


def write(root: Path, patients: int = 4) -> None:
    """ROOT/data/<class>/<patient>/i.png, and outlined slices in ROOT/pairs."""
    for number, label in enumerate(("glioma", "notumor")):
        for i in range(patients):
            for k in range(2):
                picture(root / "data" / label / f"{label[0]}{i}" / f"{k}.png", label, 100 * number + 10 * i + k)
    for i in range(3):
        picture(root / "pairs" / "images" / f"{i}.png", "meningioma", 700 + i, root / "pairs" / "masks" / f"{i}.png")


def loaded(root: Path, *, groups: Path | None = None) -> Dataset:
    where: dict[str, Any] = {"cache": root / "cache", "progress": False, "size": 64, "whole": True}
    return load_dataset(root / "data", root / "pairs", groups=groups, **where)


def said(dataset: Dataset, column: str) -> dict[str, str]:
    return dict(dataset.table[["file", ABOUT + column]].to_numpy().tolist())


def test_a_table_of_files_and_a_table_of_patients(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "data/patients.csv").write_text("Patient,Age,SEX,class\ng0,063Y,F,x\ng1,n/a,M,x\nn2,41, ,x\n")
    (tmp_path / "pairs/patients.csv").write_text("file,patient,age,site\nimages/0.png,P0,30,\n1.png,P1,31,north\n")
    dataset = loaded(tmp_path)
    assert columns_about(dataset.table) == ["about age", "about sex", "about site"]
    ages, sexes = said(dataset, "age"), said(dataset, "sex")
    assert ages["glioma/g0/0.png"] == ages["glioma/g0/1.png"] == "063Y" and ages["notumor/n2/0.png"] == "41"
    assert ages["glioma/g1/0.png"] == "" == ages["notumor/n0/0.png"], "not known, and not in the table"
    assert sexes["glioma/g1/0.png"] == "M" and sexes["notumor/n2/0.png"] == ""
    assert (ages["images/0.png"], ages["images/1.png"], ages["images/2.png"]) == ("30", "31", "")
    assert said(dataset, "site")["images/1.png"] == "north" and sexes["images/1.png"] == ""


def test_patients_csv_of_class_folders_says_whose_their_files_are(tmp_path: Path) -> None:
    write(tmp_path)
    files = [path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.png")]
    rows = [f"{file},one{file.count('g0')},{len(file)}" for file in files]
    (tmp_path / "data/patients.csv").write_text("\n".join(["file,patient,weight", *rows]))
    table = loaded(tmp_path).table
    assert set(table.loc[table["source"] == "class folder", "patient"]) == {"one0", "one1"}
    assert (table.loc[table["file"].isin(files), "about weight"] != "").all()


def test_the_same_folder_as_classes_and_pairs_is_not_told_off_for_its_table(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("images", "masks"):
        (tmp_path / "pairs" / name).rename(tmp_path / "data" / name)
    (tmp_path / "data/patients.csv").write_text("file,patient,age\n0.png,P0,30\n")
    where: dict[str, Any] = {"cache": tmp_path / "cache", "progress": False, "size": 64, "whole": True}
    dataset = load_dataset(tmp_path / "data", tmp_path / "data", **where)
    assert not dataset.skipped["path"].eq("patients.csv").any() and said(dataset, "age")["images/0.png"] == "30"
    (tmp_path / "data/patients.csv").write_text("file,patient,age\nelsewhere.png,P0,30\n")
    assert load_dataset(tmp_path / "data", tmp_path / "data", **where).skipped["path"].eq("patients.csv").any()


def test_the_table_that_is_given_stands_for_that_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "data/groups.csv").write_text("file,group,age\nglioma/g0/0.png,a,1\n")
    (tmp_path / "mine.csv").write_text("file,group,age\nglioma/g0/0.png,a,2\n")
    assert said(loaded(tmp_path), "age")["glioma/g0/0.png"] == "1"
    assert said(loaded(tmp_path, groups=tmp_path / "mine.csv"), "age")["glioma/g0/0.png"] == "2"


def test_what_others_read_is_no_column_and_a_thousand_columns_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    assert read_about(path) == ({}, {})
    path.write_text("file,class,group,kind,sequence,fold\n1.png,glioma,a,patient,T1,0\n")
    assert read_about(path) == ({}, {})
    write(tmp_path)
    names = [f"feature{i}" for i in range(MOST + 5)]
    rows = [",".join(["file", "group", *names]), ",".join(["glioma/g0/0.png", "a", *["1"] * len(names)])]
    (tmp_path / "data/groups.csv").write_text("\n".join(rows))
    assert columns_about(loaded(tmp_path).table) == [ABOUT + name for name in names[:MOST]]


def test_a_table_that_is_of_nothing_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "pairs/patients.csv").write_text("age,sex\n3,F\n")
    with pytest.raises(DataError, match="lacks the column file"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("text", "number"),
    [("63", 63), ("063Y", 63), ("6M", 0.5), ("63 years", 63), ("1,5", 1.5), ("-2", -2), ("60-69", None), ("F", None),
     ("", None), ("12 apples", None)],
)  # fmt: skip
def test_numbers(text: str, number: float | None) -> None:
    found = number_in(text)
    assert math.isnan(found) if number is None else found == pytest.approx(number)


def test_a_table_of_excel_in_europe(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("\ufefffile;patient;age\na/1.png;p1;63,5\n", encoding="utf-8")
    by_file, _ = read_about(path)
    assert by_file["a/1.png"] == {"age": "63,5"}
    assert read_patients(path) == {"a/1.png": ("", "p1", -1), "a/1": ("", "p1", -1)}
