"""Slices that a person outlines: they come back through --masks to the pixel, and nothing is lost or counted twice."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_mri.data import labelling
from brain_mri.data.dataset import load_dataset
from brain_mri.data.folders import DataError, read_patients
from brain_mri.data.labelling import Item, Labelling
from brain_mri.data.pairs import mask_pairs
from brain_mri.data.phantom import make_phantom
from brain_mri.data.stacks import read_outline
from brain_mri.files import FileError
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from tests.helpers.files import dicom, make_volume, saved, write_nifti


def slices(root: Path, classes: tuple[str, ...] = ("glioma", "meningioma", "no_tumor"), each: int = 4) -> Path:
    for number, (name, seed) in enumerate(itertools.product(classes, range(each))):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        kind = name if name in ("glioma", "meningioma") else "notumor" if name in ("no_tumor", "no") else "glioma"
        picture = make_phantom(kind, number + seed, 96).image
        Image.fromarray(picture[:, 8 : 80 - seed]).save(folder / f"{seed}.png")  # not square
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return slices(tmp_path / "slices")


def named(work: Labelling, file: str) -> Item:
    return next(item for item in work.items if item.file == file)


def blot(work: Labelling, item: Item, at: int = 30) -> np.ndarray:
    mask = np.zeros(work.scan(item).shape, bool)
    mask[at : at + 12, 25:40] = True
    mask[at + 3, 30] = False
    return mask


def same(mask: np.ndarray | None, other: np.ndarray) -> bool:
    return mask is not None and mask.dtype == bool and np.array_equal(mask, other)


def rows(work: Labelling) -> dict[str, dict[str, str]]:
    with (work.out / "patients.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_what_is_saved_comes_back_through_masks(root: Path) -> None:
    work = Labelling(root)
    assert work.out == root.with_name("slices-outlines")
    drawn = {}
    for item in work.items[:5]:
        drawn[item.name] = blot(work, item)
        assert work.save(item, drawn[item.name]) == ""
    pairs, skipped = mask_pairs(work.out)
    assert not skipped and {pair.path.name for pair in pairs} == set(drawn)
    for pair in pairs:
        item = next(item for item in work.items if item.name == pair.path.name)
        assert pair.path.read_bytes() == item.path.read_bytes() and pair.label == item.label
        assert pair.mask
        mask = read_outline(pair.path, pair.mask, -1, read_scan(pair.path).shape)
        assert np.array_equal(mask, drawn[item.name])
        stored = np.asarray(Image.open(pair.mask))
        assert stored.dtype == np.uint8 and set(np.unique(stored)) == {0, 255}


def test_training_reads_them_beside_the_class_folders(root: Path) -> None:
    work = Labelling(root)
    one, other, empty = work.items[:3]
    work.save(one, blot(work, one))
    work.save(other, blot(work, other))
    work.save(empty, np.zeros(work.scan(empty).shape, bool))
    table = load_dataset(root, work.out, size=64, progress=False).table
    pairs = table[table["source"] == "mask pairs"]
    assert len(pairs) == 3 and pairs["has_mask"].all() and not (pairs["mask_doubt"] != "").any()
    folders = table[table["source"] == "class folder"].set_index("file")
    for item in (one, other):
        row, copy = folders.loc[item.file], pairs[pairs["file"] == f"images/{item.name}"].iloc[0]
        assert row["has_mask"] and row["tumor"] and row["class"] == copy["class"] == item.label
        assert (row["digest"], row["group"]) == (copy["digest"], copy["group"])  # never cut by a split
    assert folders.loc[empty.file, "class"] == "" and not folders.loc[empty.file, "tumor"]  # taught as neither
    assert not folders[folders["has_mask"]].index.isin([item.file for item in work.items[3:]]).any()


def test_classes_of_any_names(tmp_path: Path) -> None:
    work = Labelling(slices(tmp_path / "slices", ("yes", "no")))
    assert work.labels == ["tumor"] and len(work.items) == 4
    work.save(work.items[0], blot(work, work.items[0]))
    data = load_dataset(work.root, work.out, size=64, progress=False)
    here = data.table[data.table["has_mask"] & (data.table["class"] == "tumor")]
    assert data.classes == ("notumor", "tumor") and work.items[0].file in list(here["file"])


def test_classes_that_nobody_knows_stay_what_they_are(tmp_path: Path) -> None:
    work = Labelling(slices(tmp_path / "slices", ("Schwannoma", "Grade 2", "control")))
    for item in work.items:
        work.save(item, blot(work, item))
    table = load_dataset(work.root, work.out, size=64, progress=False).table
    pairs = table[table["source"] == "mask pairs"]
    assert pairs.groupby("class").size().to_dict() == {"Schwannoma": 4, "Grade 2": 4, "control": 4}


def test_names_are_unlike_and_tell_where_a_slice_comes_from(tmp_path: Path) -> None:
    picture = Image.fromarray(make_phantom("glioma", 1, 64).image)
    files = ["Training/glioma/a b.png", "Training/glioma/a_b.png", "Testing/glioma/a_b.png", "Testing/glioma/A_B.png"]
    files += [f"Training/glioma/1.{kind}" for kind in ("png", "jpg", "tif", "JPG")] + ["Training/glioma/2_mask.png"]
    files += ["Training/meningioma/Ünlü (2).png", "Training/glioma/1.2.840.7", f"Training/glioma/{'x' * 200}.png"]
    for file in files:
        (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "in" / file, "PNG")
    work = Labelling(tmp_path / "in", tmp_path / "out")
    names = {item.file: item.name for item in work.items}
    assert sorted(names) == sorted(files) and len({name.lower() for name in names.values()}) == len(files)
    assert (
        names["Training/glioma/1.jpg"].startswith("Training_glioma_1-")
        and names["Training/glioma/1.jpg"][-4:] == ".jpg"
    )
    assert names["Training/meningioma/Ünlü (2).png"].startswith("Training_meningioma_Ünlü_2_-")
    assert max(map(len, names.values())) < 120
    for item in work.items:
        work.save(item, blot(work, item, 20))
    assert len(mask_pairs(work.out)[0]) == len(files)
    assert {item.name for item in Labelling(tmp_path / "in", tmp_path / "out").items} == set(names.values())


def test_the_next_time_it_goes_on_where_it_ended(root: Path) -> None:
    work = Labelling(root)
    assert [item.label for item in work.items[:4]] == ["glioma", "meningioma"] * 2  # and none without a tumor
    first, second = work.items[:2]
    work.save(first, blot(work, first))
    work.save(second, np.zeros(work.scan(second).shape, bool))
    (work.out / "images" / work.items[2].name).touch()  # it was killed between the two files of a pair
    (work.out / "images" / work.items[3].name).touch()
    (work.out / "masks" / work.items[3].mask_name).touch()
    again = Labelling(root)
    assert again.items == work.items and next(again.walk()) == again.items[2]
    found = {count.label: (count.outlined, count.empty, count.total) for count in again.counts()}
    assert found == {"glioma": (1, 0, 4), "meningioma": (0, 1, 4)}
    assert same(again.mask(first), blot(work, first)) and same(again.mask(second), 0 * blot(work, second))
    assert again.mask(again.items[2]) is None


def test_what_is_skipped_comes_last(root: Path) -> None:
    work = Labelling(root)
    work.save(work.items[2], blot(work, work.items[2]))
    assert list(work.walk(work.items[0])) == [work.items[1], *work.items[3:], work.items[0]]
    gliomas = [item for item in work.items if item.label == "glioma"]
    assert list(work.walk(gliomas[-1], "glioma")) == [gliomas[0], gliomas[2], gliomas[3]]
    assert list(work.before(gliomas[2], "glioma")) == [gliomas[1], gliomas[0]]


def test_one_saved_is_taken_back(root: Path) -> None:
    work = Labelling(root)
    item, other = work.items[:2]
    work.save(item, blot(work, item))
    work.save(other, blot(work, other))
    taken = work.take_back(item)
    assert same(taken, blot(work, item)) and not work.is_saved(item)
    assert [path.name for path in (work.out / "images").iterdir()] == [other.name] and set(rows(work)) == {other.name}
    assert work.take_back(item) is None  # nothing is left of it
    work.save(other, blot(work, other, 40))  # saved again: the later one counts
    assert same(Labelling(root).mask(other), blot(work, other, 40)) and len(rows(work)) == 1


def test_patients_and_sequences_go_along(tmp_path: Path) -> None:
    root = tmp_path / "slices"
    for number, name in enumerate(("glioma/ada/1.png", "glioma/bob/1.png", "meningioma/eve/1.png", "meningioma/3.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_phantom("glioma", number, 64).image).save(root / name)
    table = (
        "file,group,kind,sequence\nglioma/bob/1.png,p7,patient,FLAIR\nmeningioma/3.png,c1,near-duplicate cluster,T2\n"
    )
    (root / "groups.csv").write_text(table)
    work = Labelling(root)
    for item in work.items:
        work.save(item, blot(work, item, 20))
    found = {item.file: rows(work)[item.name] for item in work.items}
    assert {file: (row["patient"], row["sequence"]) for file, row in found.items()} == {
        "glioma/ada/1.png": ("ada", ""), "glioma/bob/1.png": ("p7", "FLAIR"), "meningioma/eve/1.png": ("eve", ""),
        "meningioma/3.png": ("", "T2"),
    }  # fmt: skip
    assert {pair.patient for pair in mask_pairs(work.out)[0]} == {"ada", "p7", "eve", ""}


def test_rows_and_columns_of_others_stay(root: Path) -> None:
    out = root / "outlines"  # inside of the data, as a set of masks may lie
    out.mkdir()
    (out / "patients.csv").write_text("file,class,patient,age\nold.png,glioma,p1,44\n")
    work = Labelling(root, out)
    item = work.items[0]
    work.save(item, blot(work, item))
    assert rows(work)["old.png"]["age"] == "44" and rows(work)[item.name]["class"] == item.label
    assert read_patients(out / "patients.csv")["old.png"] == ("glioma", "p1", -1)
    assert Labelling(root, out).items == work.items  # its own pictures are none of the folder


def test_turned_deep_and_medical_files(tmp_path: Path) -> None:
    """EXIF, 16 bit, DICOM: the mask lies on what the reader shows, and the file keeps all that it says."""
    folder = tmp_path / "slices" / "glioma"
    folder.mkdir(parents=True)
    picture = make_phantom("glioma", 1, 96).image[:, 10:80]
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.fromarray(picture).save(folder / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(picture.astype(np.uint16) * 200).save(folder / "deep.png")
    (folder / "1.2.3").write_bytes(saved(dicom(picture.astype(np.int16) * 9)))
    work = Labelling(tmp_path / "slices")
    assert read_scan(folder / "turned.jpg").shape == (70, 96)
    for item in work.items:
        mask = blot(work, item)
        work.save(item, mask)
        copy = work.out / "images" / item.name
        assert np.array_equal(read_scan(copy).raw, read_scan(item.path).raw)
        assert np.array_equal(read_outline(copy, work.out / "masks" / item.mask_name, -1, mask.shape), mask)
    assert len(mask_pairs(work.out)[0]) == 3


def test_an_outline_on_a_reduced_picture_has_the_size_of_the_scan(root: Path) -> None:
    work = Labelling(root)
    item = named(work, "glioma/0.png")
    height, width = work.scan(item).shape
    small = np.zeros((height // 2, width // 2), bool)
    small[10:20, 10:20] = True
    work.save(item, small)
    mask = work.mask(item)
    assert mask is not None and mask.shape == (height, width) and mask[20:40, 20:40].all() and mask.sum() == 400


def test_what_training_leaves_out_is_said(root: Path) -> None:
    work = Labelling(root)
    item = work.items[0]
    everything = np.ones(work.scan(item).shape, bool)
    corner = np.zeros_like(everything)
    corner[:4, :4] = True
    assert "half of the head" in work.save(item, everything) and "outside of the head" in work.save(item, corner)
    assert work.is_saved(item)


def test_what_cannot_be_read_is_passed_over(root: Path, tmp_path: Path) -> None:
    (root / "glioma" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    write_nifti(root / "glioma" / "head.nii.gz", *make_volume("glioma", 1, 64, 8)[::2])
    work = Labelling(root)
    for file, said in (("glioma/broken.png", "broken.png"), ("glioma/head.nii.gz", "is a volume")):
        with pytest.raises(ScanError, match=said):
            work.scan(named(work, file))
    assert {item.file for item in work.unread} == {"glioma/broken.png", "glioma/head.nii.gz"}
    assert not work.unread.keys() & {*work.walk(), *work.before(work.items[-1])}
    with pytest.raises(ScanError):
        work.save(named(work, "glioma/broken.png"), np.ones((9, 9), bool))
    assert not any(os.scandir(work.out / "masks")) and not work.is_saved(named(work, "glioma/broken.png"))


def test_a_full_disk_leaves_what_was_saved(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Labelling(root)
    item = work.items[0]
    work.save(item, blot(work, item))

    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2 if path.parent.name == "masks" else len(data)])
        if path.parent.name == "masks":
            raise OSError(28, "No space left on device")
        return len(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match=r"could not be saved in .* \(No space left on device\)\.$"):
        work.save(item, blot(work, item, 50))
    assert same(work.mask(item), blot(work, item))
    with pytest.raises(FileError):
        work.save(work.items[1], blot(work, work.items[1]))
    assert not work.is_saved(work.items[1]) and not Labelling(root).is_saved(work.items[1])
    assert {path.suffix for path in work.out.rglob("*") if path.is_file()} == {".png", ".csv"}  # nothing half written


def test_several_people_at_once_lose_nothing(root: Path) -> None:
    works = [Labelling(root), Labelling(root)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: works[0].save(item, blot(works[0], item)), works[0].items))
    assert set(rows(works[0])) == {item.name for item in works[0].items}
    works[1].take_back(works[1].items[0])  # another page on the same folder
    again = Labelling(root)
    assert len(mask_pairs(again.out)[0]) == len(rows(again)) == len(again.items) - 1
    assert list(again.walk()) == [again.items[0]]


def test_what_cannot_be_labelled_is_one_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Labelling(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folder"):
        Labelling(tmp_path / "empty")
    with pytest.raises(DataError, match="without a tumor"):
        Labelling(slices(tmp_path / "healthy", ("no_tumor",)))
    with pytest.raises(DataError, match="which holds the classes"):
        Labelling(root, root)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be kept in .*--label-out"):
        Labelling(root, tmp_path / "file" / "out")


def test_names_and_archives_of_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "heads"), "zip", root)
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    work = Labelling(archive)
    assert work.out == tmp_path / "heads-outlines" and work.asked == archive
    assert [item.name for item in work.items] == [item.name for item in Labelling(root).items]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(labelling, "fetched", lambda asked: (asked.rpartition("/")[2], root))
    assert Labelling("kaggle:some/set").out == tmp_path / "set-outlines"


def test_patients_csv_tells_whose_they_are_too(root: Path) -> None:
    (root / "patients.csv").write_text("file,patient,sequence\nglioma/0.png,p7,T2\n")
    work = Labelling(root)
    item = named(work, "glioma/0.png")
    work.save(item, blot(work, item))
    assert (rows(work)[item.name]["patient"], rows(work)[item.name]["sequence"]) == ("p7", "T2")


def test_a_table_that_another_program_wrote_is_made_whole(root: Path) -> None:
    work = Labelling(root)
    work.save(work.items[0], blot(work, work.items[0]))
    before = (work.out / "patients.csv").read_text()
    work.save(work.items[1], blot(work, work.items[1]))
    (work.out / "patients.csv").write_text(before)  # both read it, the other one wrote last
    work.save(work.items[2], blot(work, work.items[2]))
    assert set(rows(work)) == {item.name for item in work.items[:3]}


def test_classes_of_ones_own_that_sound_like_ours(tmp_path: Path) -> None:
    """ "Glioma T1" beside "Glioma T2" is a class of its own, also in the table of the outlined slices."""
    root = slices(tmp_path / "slices", ("Glioma T1", "Glioma T2", "no_tumor"), 3)
    work = Labelling(root)
    for item in work.items:
        work.save(item, blot(work, item))
    table = load_dataset(root, work.out, size=64, progress=False).table
    assert dict(table.loc[table["source"] == "mask pairs", "class"].value_counts()) == {"Glioma T1": 3, "Glioma T2": 3}
