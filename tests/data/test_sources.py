"""Several sources of class folders and of masks, with the sequences and lesions that tables and folders tell of."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from brain_mri.classes import CLASSES
from brain_mri.data import folders
from brain_mri.data.dataset import Dataset, describe, load_dataset
from brain_mri.data.phantom import make_phantom
from brain_mri.data.splits import SPLITS

SIZE = 64


def picture(path: Path, label: str, seed: int, mask: Path | None = None) -> None:
    drawn = make_phantom(label, seed, 96)
    for file, pixels in ((path, drawn.image), *([(mask, drawn.mask)] if mask else [])):
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), pixels)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two class-folder sources with equal names inside, one with other lesions; two sources of masks."""
    root = tmp_path_factory.mktemp("sources")
    lines = ["file,group,kind,sequence"]
    for number, label in enumerate(CLASSES):
        for i in range(4):
            picture(root / "one" / "data" / label / f"{i}.png", label, 100 * number + i)
            picture(root / "two" / "data" / label / f"{i}.png", label, 100 * number + 50 + i)
            lines.append(f"{label}/{i}.png,{label}-{i},patient,{('t1', 'T2w')[i % 2]}")
    for i in range(4):
        picture(root / "two" / "data" / "other-lesion" / f"{i}.png", "glioma", 900 + i)
    (root / "two" / "data" / "groups.csv").write_text("\n".join(lines))
    table = ["file,class,patient,sequence"]
    for i in range(4):
        for sequence, seed in (("T1", 0), ("FLAIR", 300)):
            name = f"head{i}_{sequence}.png"
            folder = root / "lgg"
            picture(folder / "images" / name, "glioma", 500 + i + seed, folder / "masks" / name)
            table.append(f"{name},glioma,P{i},{sequence}")
        picture(root / "web" / "images" / f"w{i}.png", "meningioma", 700 + i, root / "web" / "masks" / f"w{i}.png")
    (root / "lgg" / "patients.csv").write_text("\n".join(table))
    return load_dataset(
        [root / "one" / "data", root / "two" / "data"], [root / "lgg", root / "web"], size=SIZE, progress=False,
        cache=root / "cache",
    )  # fmt: skip


def test_every_source_is_named_and_no_file_takes_the_place_of_another(several: Dataset) -> None:
    table = several.table
    assert table.groupby("origin").size().to_dict() == {"data": 16, "data-2": 20, "lgg": 8, "web": 4}
    first, second = (several.images[(table["origin"] == name).to_numpy()] for name in ("data", "data-2"))
    assert not any(np.array_equal(a, b) for a in first for b in second), "equal names, other pictures"
    assert not table["digest"].duplicated().any()
    assert "pictures in" in describe(several)


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


def test_one_slice_in_several_sequences_is_one_slice(several: Dataset) -> None:
    lgg = several.table[several.table["origin"] == "lgg"]
    heads = lgg["file"].str.extract(r"(head\d)")[0]
    assert lgg.groupby(heads.to_numpy())["cluster"].nunique().eq(1).all()
    assert lgg["cluster"].nunique() == 4 and lgg["duplicate_of"].eq(-1).all()


def test_no_group_is_cut_and_each_source_has_test_groups(several: Dataset) -> None:
    table = several.table
    assert table.groupby("group")["split"].nunique().eq(1).all()
    for origin in ("data", "data-2"):
        assert set(table.loc[table["origin"] == origin, "split"]) == set(SPLITS)


@pytest.mark.parametrize(
    ("text", "name"),
    [("t1", "T1"), ("T1w", "T1"), ("T1ce", "T1C+"), ("T1C+", "T1C+"), ("t1-Gd", "T1C+"), ("T1+C", "T1C+"),
     ("T2w", "T2"), ("t2", "T2"), ("T2-FLAIR", "FLAIR"), ("Flair", "FLAIR"), ("DWI", ""), ("", ""), ("nan", "")],
)  # fmt: skip
def test_what_tables_call_sequences(text: str, name: str) -> None:
    assert folders.sequence_of(text) == name
