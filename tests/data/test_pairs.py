"""A picture finds its own mask, no pair takes the place of another, and whatever is left over is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brain_mri.data.folders import DataError
from brain_mri.data.pairs import mask_pairs


def _found(root: Path, *files: str) -> tuple[dict[str, str], dict[str, str]]:
    """(picture -> mask, left over -> reason) of empty files of these names, all relative to root."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    pairs, skipped = mask_pairs(root)
    found = {pair.file: pair.mask.relative_to(root).as_posix() for pair in pairs if pair.mask}
    assert len(found) == len(pairs) == len(set(found.values()))
    return found, dict(skipped)


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("images/0.png", "masks/0.png"), ("Images/0.jpg", "MASKS/0.png"), ("images/a.png", "masks/a_mask.png"),
        ("images/a.png", "masks/A-Seg.png"), ("images/a.png", "masks/a_segmentation.tif"),
        ("images/a.png", "masks/a_gt.png"), ("images/a.nii.gz", "masks/a_label.nii.gz"),
        ("images/image_3.png", "masks/mask_3.png"), ("images/img_3.png", "masks/label_3.png"),
        ("images/1.2.840.7", "masks/1.2.840.7"), ("imagesTr/BRATS_1.nii.gz", "labelsTr/BRATS_1.nii.gz"),
        ("train/images/7.png", "train/masks/7.png"), ("images/val/7.png", "masks/val/7.png"),
        ("kaggle/TCGA_1/x_1.tif", "kaggle/TCGA_1/x_1_mask.tif"), ("x.png", "x_mask.png"),
        ("train/images/b.jpg", "train/labels/b.txt"),
    ],
)  # fmt: skip
def test_names_of_pairs(tmp_path: Path, picture: str, mask: str) -> None:
    assert _found(tmp_path, picture, mask) == ({picture: mask}, {})


def test_full_names_come_before_stems_and_nothing_is_overwritten(tmp_path: Path) -> None:
    numbers = range(3)
    both = [f"{folder}/{i}.{suffix}" for folder in ("images", "masks") for i in numbers for suffix in ("png", "jpg")]
    found, skipped = _found(tmp_path / "a", *both)
    assert found == {f"images/{i}.{s}": f"masks/{i}.{s}" for i in numbers for s in ("png", "jpg")} and not skipped
    found, skipped = _found(tmp_path / "b", "images/0.jpg", "images/0.png", "masks/0.png", "masks/0_mask.png")
    assert found == {"images/0.jpg": "masks/0_mask.png", "images/0.png": "masks/0.png"} and not skipped
    found, skipped = _found(
        tmp_path / "c", "images/1.jpg", "images/1.png", "masks/1.tif", "images/2.png", "masks/2.png", "masks/2_seg.png",
        "masks/3.png", "train/images/4.png", "test/masks/4.png", "notes.csv",
    )  # fmt: skip
    assert found == {"images/2.png": "masks/2.png"}
    assert set(skipped) == {
        "images/1.jpg", "images/1.png", "masks/1.tif", "masks/2_seg.png", "masks/3.png", "train/images/4.png",
        "test/masks/4.png",
    }  # fmt: skip
    assert "several" in skipped["images/1.jpg"] and skipped["masks/3.png"] == "mask without an image"


def test_folders_of_patients_and_classes(tmp_path: Path) -> None:
    files = [f"kaggle_3m/TCGA_{p}/{i}.tif" for p in "AB" for i in range(2)]
    for file in (*files, *(file.replace(".tif", "_mask.tif") for file in files)):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    pairs, skipped = mask_pairs(tmp_path)
    assert [pair.folder for pair in pairs] == ["TCGA_A", "TCGA_A", "TCGA_B", "TCGA_B"] and not skipped
    (tmp_path / "other" / "images" / "glioma").mkdir(parents=True)
    (tmp_path / "other" / "masks" / "glioma").mkdir(parents=True)
    for half in ("images", "masks"):
        (tmp_path / "other" / half / "glioma" / "1.png").touch()
    assert mask_pairs(tmp_path / "other")[0][0].label == "glioma"


def test_sequences_of_one_head_share_its_mask(tmp_path: Path) -> None:
    names = [f"{head}-{what}.nii.gz" for head in ("B_1", "B_2") for what in ("t1c", "t2f", "seg")]
    for name in (*names, "B_3_0001.png", "B_3_mask.png"):
        (tmp_path / name).touch()
    pairs, skipped = mask_pairs(tmp_path)
    found = [(pair.file, pair.mask.name, pair.folder) for pair in pairs if pair.mask]
    assert found == [(f"B_{n}-{s}.nii.gz", f"B_{n}-seg.nii.gz", f"b_{n}") for n in "12" for s in ("t1c", "t2f")]
    assert [name for name, _ in skipped] == ["B_3_0001.png", "B_3_mask.png"], "another slice is no sequence"


def test_tables_of_coco(tmp_path: Path) -> None:
    for half in ("train", "valid"):
        (tmp_path / half).mkdir()
        for name in ("a.png", "b.png"):
            (tmp_path / half / name).touch()
        table = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}
        (tmp_path / half / "_annotations.coco.json").write_text(json.dumps(table))
    (tmp_path / "settings.json").write_text("{}")
    pairs, skipped = mask_pairs(tmp_path)
    tables = {pair.file: pair.mask.relative_to(tmp_path).as_posix() for pair in pairs if pair.mask}
    assert tables == {f"{half}/a.png": f"{half}/_annotations.coco.json" for half in ("train", "valid")}
    assert {name for name, _ in skipped} == {"train/b.png", "valid/b.png", "settings.json"}


def test_no_pair_at_all_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images and masks, with equal file names.*2 pictures and 1 masks"):
        _found(tmp_path, "images/a.png", "images/b.png", "masks/c.png")


def test_cases_of_pair_names(cases: Path) -> None:
    counts = {"equal_names_two_suffixes": 10, "image_mask_prefix": 6, "same_stem": 8, "uid_names": 5}
    folders = {name: cases / "pair-names" / name for name in counts}
    folders |= {"halves": cases / "two-halves" / "segmentation_task", "yolo": cases / "yolo-labels" / "yolo"}
    for name, folder in folders.items():
        pairs, skipped = mask_pairs(folder)
        assert len(pairs) == len({pair.mask for pair in pairs}) == (counts | {"halves": 27, "yolo": 12})[name], name
        assert not skipped
