"""Several sources of class folders and of masks, with the sequences and lesions that tables and folders tell of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brain_mri.data import folders
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.description import described
from brain_mri.data.folders import DataError
from brain_mri.data.splits import SPLITS, leave_out
from tests.helpers.sources import picture


def test_every_source_is_named_and_no_file_takes_the_place_of_another(several: Dataset) -> None:
    table = several.table
    assert table.groupby("origin").size().to_dict() == {"data": 16, "data-2": 20, "lgg": 8, "web": 4}
    first, second = (several.images[(table["origin"] == name).to_numpy()] for name in ("data", "data-2"))
    assert not any(np.array_equal(a, b) for a in first for b in second), "equal names, other pictures"
    assert not table["digest"].duplicated().any()
    assert "pictures in" in described(several)


def test_sequences_come_from_the_tables(several: Dataset) -> None:
    table = several.table
    found = table.groupby("origin")["sequence"].agg(lambda values: sorted(set(values))).to_dict()
    assert found == {"data": [""], "data-2": ["", "T1", "T2"], "lgg": ["FLAIR", "T1"], "web": [""]}


def test_a_lesion_of_another_kind_is_a_tumor_without_a_class(several: Dataset) -> None:
    table = several.table
    other = table[table["file"].str.startswith("other-lesion/")]
    assert len(other) == 4 and set(other["class"]) == {""} and other["tumor"].all()
    web = table[table["origin"] == "web"]
    assert set(web["class"]) == {""} and web["tumor"].all() and web["has_mask"].all()
    assert not table.loc[table["class"] == "notumor", "tumor"].any()


def test_a_lesion_of_another_kind_shows_no_tumor_where_its_mask_is_empty(tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / "lesions" / f"{i}.png", "glioma", i)
        picture(tmp_path / "m" / "images" / f"{i}.png", "glioma", i, tmp_path / "m" / "masks" / f"{i}.png")
    cv2.imwrite(str(tmp_path / "m" / "masks" / "0.png"), np.zeros((96, 96), np.uint8))
    options: dict[str, Any] = {"size": 32, "cache": tmp_path / "cache", "progress": False, "min_classes": 1}
    found = load_dataset(tmp_path, tmp_path / "m", whole=True, **options).table
    assert found.set_index("file")["tumor"].to_dict() == {
        "lesions/0.png": False, "lesions/1.png": True, "images/0.png": False, "images/1.png": True,
    }  # fmt: skip


def test_one_slice_in_several_sequences_is_one_slice(several: Dataset) -> None:
    lgg = several.table[several.table["origin"] == "lgg"]
    heads = lgg["file"].str.extract(r"(head\d)")[0]
    assert lgg.groupby(heads.to_numpy())["cluster"].nunique().eq(1).all()
    assert lgg["cluster"].nunique() == 4 and lgg["duplicate_of"].eq(-1).all()


def test_slices_of_equal_name_in_the_folders_of_two_patients_are_two_slices(tmp_path: Path) -> None:
    for seed, place in enumerate(("anna", "bert", "carl")):
        for sequence in ("t1", "t2"):
            file = tmp_path / "m" / place / f"slice1_{sequence}.png"
            picture(file, "glioma", 2 * seed + (sequence == "t2"), file.with_name(f"slice1_{sequence}_mask.png"))
    found = load_dataset([], tmp_path / "m", size=32, cache=tmp_path / "cache", progress=False, min_classes=0).table
    assert found.groupby("patient")["cluster"].nunique().eq(1).all() and found["cluster"].nunique() == 3


def test_no_group_is_cut_and_each_source_has_test_groups(several: Dataset) -> None:
    table = several.table
    assert table.groupby("group")["split"].nunique().eq(1).all()
    for origin in ("data", "data-2"):
        assert set(table.loc[table["origin"] == origin, "split"]) == set(SPLITS)


def test_a_source_that_is_left_out_is_tested_on_with_all_of_its_patients(several: Dataset) -> None:
    shared = several.table["group"].where(several.table.index > 0, several.table["group"].iloc[-1])  # data and web
    table = several.table.assign(group=shared)
    assert table["origin"].iloc[0] == "data" and table["origin"].iloc[-1] == "web"
    split = leave_out(table, ["web"])
    assert set(split[table["origin"] == "web"]) == {"test"} and split.iloc[0] == "test"
    others = table["origin"].ne("web") & (table.index > 0)
    assert (split[others] == table["split"][others]).all() and set(split[others]) == set(SPLITS)
    with pytest.raises(DataError, match=r"There is no source 'brain'.*data, data-2, lgg, web"):
        leave_out(table, ["lgg", "brain"])
    with pytest.raises(DataError, match="No source is left"):
        leave_out(table, ["data", "data-2", "lgg", "web"])


def test_the_table_of_the_data_names_the_sources_where_there_are_several(several: Dataset) -> None:
    assert described(several).splitlines()[0].split()[:3] == ["origin", "source", "class"]
    alone = replace(several, table=several.table.assign(origin="data"))
    assert described(alone).splitlines()[0].split()[:2] == ["source", "class"]


def table(folder: Path, text: str) -> Path:
    path = folder / "groups.csv"
    path.write_text(text)
    return path


def test_a_table_with_other_fields_than_names_is_refused(tmp_path: Path) -> None:
    for rows in ("1.png,P1,\n2.png,P2,\n", "a,b.png,P1\nc,d.png,P2\n"):  # else "P1" would be a file
        with pytest.raises(DataError, match="more fields"):
            folders.read_groups(table(tmp_path, f"file,group\n{rows}"))
    with pytest.raises(DataError, match="column sequence twice"):
        folders.read_sequences(table(tmp_path, "file,sequence,Sequence\n1.png,T1,T2\n"))


def test_rows_that_are_short_or_written_otherwise(tmp_path: Path) -> None:
    path = table(tmp_path, "file,group,kind\n./glioma/1.png , P1\nglioma\\2.png,P2,Patient\n3.png,c,cluster\n4.png\n")
    assert folders.read_groups(path) == {
        "glioma/1.png": ("P1", "patient"), "glioma/2.png": ("P2", "patient"), "3.png": ("c", "cluster"),
    }  # fmt: skip
    path = table(tmp_path, f"file,class,patient,fold\n1.png\n2.png,glioma,P,{10**30}\n")
    found = folders.read_patients(path)
    assert found["1.png"] == ("", "", -1) and found["2.png"] == ("glioma", "P", -1)
    assert folders.read_groups(table(tmp_path, "file,group\n1.png,nan\n2.png,nan\n")) == {}, "not one patient"


def test_masks_of_another_folder_of_equal_name_are_another_source(tmp_path: Path) -> None:
    for i in range(2):
        for label in ("glioma", "notumor"):
            picture(tmp_path / "a" / "data" / label / f"{i}.png", label, 10 * len(label) + i)
        masks = tmp_path / "b" / "data" / "masks"
        picture(masks.parent / "images" / f"{i}.png", "glioma", 30 + i, masks / f"{i}.png")
    options: dict[str, Any] = {"size": 32, "cache": tmp_path / "cache", "progress": False}
    found = load_dataset(tmp_path / "a" / "data" / "glioma" / "..", tmp_path / "b" / "data", **options).table
    assert found.groupby("source")["origin"].unique().map(list).to_dict() == {
        "class folder": ["data"], "mask pairs": ["data-2"],
    }  # fmt: skip


def test_other_lesions_alone_can_be_judged_but_not_learned_from(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "lesions" / f"{i}.png", "glioma", i)
    options: dict[str, Any] = {"size": 32, "cache": tmp_path / "cache", "progress": False}
    assert load_dataset(tmp_path, min_classes=1, whole=True, **options).table["tumor"].all()
    with pytest.raises(DataError, match=r"holds no class .*at least 2"):
        load_dataset(tmp_path, **options)


def test_one_table_for_several_sources_with_equal_names_is_refused(
    source_folders: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    (first, second), _ = source_folders
    options: dict[str, Any] = {"size": 32, "cache": tmp_path / "cache", "progress": False}
    with pytest.raises(DataError, match=r"of that name; put a groups\.csv into each folder"):
        load_dataset([first, second], groups=second / "groups.csv", **options)
    alone = load_dataset([first], groups=second / "groups.csv", **options).table
    assert alone["patient"].ne("").all()


def test_a_table_that_names_no_file_here_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "glioma" / "1.png", "glioma", 1)
    for i in range(3):
        picture(tmp_path / "notumor" / f"{i}.png", "notumor", i)
        picture(tmp_path / "m" / "images" / f"{i}.png", "glioma", 10 + i, tmp_path / "m" / "masks" / f"{i}.png")
    table(tmp_path, "file,group,sequence\n1.png,P1,T3\n")
    (tmp_path / "m" / "patients.csv").write_text("file,patient\nMR0.png,P1\n")
    found = load_dataset(tmp_path, tmp_path / "m", size=32, cache=tmp_path / "cache", progress=False)
    said = found.skipped.groupby("path")["reason"].agg(" ".join)
    assert "names no file" in said["groups.csv"] and "names no picture" in said["patients.csv"]
    assert "none of T1C+, T1, T2, FLAIR and count as unknown: T3" in said["groups.csv"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("t1", "T1"), ("T1w", "T1"), ("T1ce", "T1C+"), ("T1C+", "T1C+"), ("t1-Gd", "T1C+"), ("T1+C", "T1C+"),
     ("T1 post-contrast", "T1C+"), ("T1-weighted contrast-enhanced", "T1C+"), ("T1 with gadolinium", "T1C+"),
     ("T1 pre-contrast", "T1"), ("T1 without contrast", "T1"), ("T1 native", "T1"), ("T1rho", ""),
     ("T2w", "T2"), ("t2", "T2"), ("T2-FLAIR", "FLAIR"), ("Flair", "FLAIR"), ("DWI", ""), ("", ""), ("nan", "")],
)  # fmt: skip
def test_what_tables_call_sequences(text: str, name: str) -> None:
    assert folders.sequence_of(text) == name
