"""Which classes folders of any names make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brain_mri.data import folders
from brain_mri.data.class_names import FOLDERS, STANDARD, ClassChoice, class_of, in_order, names_of, own_name, spelled
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.description import described, first_skipped, unused
from brain_mri.data.folders import DataError
from tests.helpers.sources import picture

STATED = {"1": "meningioma", "2": "glioma", "3": "pituitary", "4": "notumor"}


def named(*folders: str, choice: ClassChoice | None = None) -> list[str | None]:
    places = [tuple(folder.split("/")) for folder in folders]
    return [found[0] if found else None for found in names_of(places, choice or ClassChoice())]


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("yes", "no"), ("tumor", "notumor")),
        (("Brain_Tumor_dataset/yes", "Brain_Tumor_dataset/no", "Brain_Tumor_dataset/pred"), ("tumor", "notumor", None)),
        (("Train/Positive", "Train/Negative", "Test/Positive"), ("tumor", "notumor", "tumor")),
        (("1", "2", "3"), ("1", "2", "3")),
        (("a/1/p1", "a/1/p2", "a/2/p3", "a/3"), ("1", "1", "2", "3")),
        (("Training/glioma_tumor", "Testing/no_tumor", "Training/meningioma"), ("glioma", "notumor", "meningioma")),
        (("glioma", "glioma - Copy", "Copy of notumor", "notumor"), ("glioma", "glioma", "notumor", "notumor")),
        (("train_glioma", "test_glioma", "No_Tumor_MRI"), ("glioma", "glioma", "notumor")),
        (("glioma", "meningioma", "notumor", "models"), ("glioma", "meningioma", "notumor", None)),
        (("GBM", "pitutary", "healthy", "meningioma"), ("glioma", "pituitary", "notumor", "meningioma")),
        (("Glioma T1", "Glioma T1C+", "_NORMAL T1", "_NORMAL T2", "Schwannoma T2"),
         ("Glioma T1", "Glioma T1C+", "notumor", "notumor", "Schwannoma T2")),
        (("glioma", "no tumor", "schwannoma"), ("glioma", "notumor", "schwannoma")),
        (("Grade II", "Grade III", "Grade IV"), ("Grade II", "Grade III", "Grade IV")),
        (("train/HGG", "train/LGG", "test/LGG"), ("HGG", "LGG", "LGG")),
        (("axial", "T1 scans"), (None, None)),
        (("tumor_flair", "no_tumor_flair", "Not_Brain_Tumor"), ("tumor", "notumor", "notumor")),
        (("Tumor", "Kein Tumor"), ("Tumor", "Kein Tumor")),
        (("train_yes", "train_no", "yes_cropped", "yes - Copy"), ("tumor", "notumor", "tumor", "tumor")),
        (("Tumor 1", "Tumor 2", "Tumor 3"), ("Tumor 1", "Tumor 2", "Tumor 3")),
        (("x/Brain Tumor/1", "x/Brain Tumor/2", "x/Brain Tumor"), ("1", "2", None)),
        (("brain_glioma", "brain_menin", "brain_tumor"), ("glioma", "meningioma", "brain_tumor")),
        (("glioma", "tumor", "notumor"), ("glioma", "Tumor", "notumor")),
        (("glioma/No. 1", "glioma/no2", "notumor/No 3"), ("glioma", "glioma", "notumor")),
        (("глиома", "менингиома", "नहीं", "腫瘍", "+"), ("глиома", "менингиома", "नहीं", "腫瘍", "+")),
        (("glioma/images", "glioma/masks", "masks/notumor", "notumor"), ("glioma", None, None, "notumor")),
        (("cat", "cat_masks", "images/dog", "cow/images"), ("cat", None, "dog", "cow")),
        (("glioma", "notumor", "runs/first/figures"), ("glioma", "notumor", None)),
    ],
)  # fmt: skip
def test_folders_tell_the_classes(folders: tuple[str, ...], classes: tuple[str | None, ...]) -> None:
    assert named(*folders) == list(classes)


def test_what_is_asked_for_is_what_counts() -> None:
    standard, everything = ClassChoice((STANDARD,)), ClassChoice((FOLDERS,))
    assert named("Glioma T1", "Glioma T2", "Schwannoma T1", choice=standard) == ["glioma", "glioma", None]
    four = ("glioma", "meningioma", "pituitary", "notumor", "other")
    assert named(*four, choice=everything) == [*four]
    assert named("glioma", "pituitary", "no", choice=ClassChoice(("yes", "no"))) == ["tumor", "tumor", "notumor"]
    assert named("1", "2", "3", choice=ClassChoice(("1", "3"))) == ["1", None, "3"]
    assert named("a", "b", "c", choice=ClassChoice(no_tumor="B")) == ["a", "notumor", "c"]
    assert named("1", "2", "3", "4", "x", choice=ClassChoice(stated=STATED)) == [*STATED.values(), None]
    merged = ClassChoice(stated={"a": "glioma", "b": "glioma", "c": "notumor"})
    assert named("a", "b", "c", choice=merged) == ["glioma", "glioma", "notumor"]
    assert named("T1", "FLAIR", choice=everything) == ["T1", "FLAIR"]
    assert named("Glioma (Astrocitoma, Ependimoma) T1", "Schwannoma (x) T1", choice=standard) == ["glioma", None]
    model = ClassChoice(("Glioma T1", "Glioma T2", "notumor"), literal=True)
    assert named("glioma t1", "Glioma T2 (1)", "normal T2", "Glioma", choice=model) == [*model.wanted, None]


def test_names_are_printable_and_in_order() -> None:
    assert own_name("Ati\u0301pico") == own_name("At\u00edpico") and spelled("Grade_II") == spelled("grade ii")
    assert own_name("Copy of  a\tb - Copy (2)") == "a b" and own_name("\udcff") and own_name("...") == "..."
    assert in_order(["10", "2", "", "pituitary", "b", "glioma", "b"]) == ("glioma", "pituitary", "2", "10", "b")
    assert class_of("Pathology") is None


# -- on disk ----------------------------------------------------------------------------------------------------------
def tree(root: Path, *places: str) -> Path:
    """Three slices in each folder, all of them different."""
    for number, place in enumerate(places):
        for i in range(3):
            picture(root / place / f"{i}.png", "glioma", 10 * number + i)
    return root


def read(root: Path | list[Path], **asked: Any) -> Dataset:
    choice, cache = ClassChoice(**asked), (root[0] if isinstance(root, list) else root).parent / "cache"
    return load_dataset(root, size=32, cache=cache, progress=False, choice=choice)


def test_every_folder_that_is_not_used_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "yes", "no", "yes/masks", *(f"extra {i}" for i in range(11)))
    picture(root / "loose.png", "glioma", 999)
    (root / "maybe").mkdir()
    dataset = read(root)
    assert all(f"extra {i} (3 pictures)" in unused(dataset) for i in range(11)) and len(first_skipped(dataset)) == 14
    said = described(dataset)
    assert all(f"  extra {i}: is none of the classes (3 pictures)\n" in said for i in range(11))
    assert "  d: is none of the classes (1 picture beside its folders)" in said
    assert "  yes/masks: is none of the classes, but of masks (3 pictures)" in said and "  maybe: empty folder" in said


def test_what_is_only_spelled_otherwise_is_one_class(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a", "train/Cat", "test/cat", "train/dog"), tree(tmp_path / "b", "CAT", "DOG")
    assert read(first).classes == ("Cat", "dog") and read([first, second]).classes == ("CAT", "DOG")


def test_masks_in_the_folders_of_classes(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/images", "cat/masks", "dog/images", "dog/masks")
    table = read(root).table
    assert set(table["class"]) == {"cat", "dog"} and not table["file"].str.contains("mask").any()


def test_patients_with_names_of_other_letters_are_not_cut(tmp_path: Path) -> None:
    table = read(tree(tmp_path / "d", "cat/Иванов", "cat/Петров", "dog/Сидоров", "dog/Кузнецов")).table
    assert table.groupby(table["file"].str.rpartition("/")[0])["group"].nunique().eq(1).all()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"no_tumor": "dgo"}, "There is no folder dgo, which --no-tumor names"),
        ({"wanted": ("cat", "dog", "mouse")}, "No folder is of the class mouse, which --classes names"),
        ({"wanted": ("cat", "standard")}, "No folder is of the class standard"),
    ],
)
def test_what_is_asked_for_must_be_there(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    root = tree(tmp_path / "d", "cat", "dog", "cow")
    with pytest.raises(DataError, match=said):
        read(root, **asked)
    assert read(root, no_tumor="Cow").classes == ("notumor", "cat", "dog")


def test_patients_are_not_taken_for_a_hundred_classes(tmp_path: Path) -> None:
    for i in range(101):
        (tmp_path / f"BraTS_{i}").mkdir()
        (tmp_path / f"BraTS_{i}" / "1.png").touch()
    with pytest.raises(
        DataError, match="There are 101 folders that would each be a class, and a model has at most 100"
    ):
        read(tmp_path)


def test_tables_of_classes(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "1", "2", "3")

    def said(text: str) -> tuple[str, ...]:
        (root / "classes.csv").write_text(text)
        return read(root).classes

    assert said("folder,class\n1,glioma\n2,glioma\n3,no tumor\n") == ("glioma", "notumor")
    assert said("folder,class\n1,cat\n2,cat\n3,dog\n") == ("cat", "dog")
    assert said("folder,class\n1,glioma\n2,notumor\n5,x\n") == ("glioma", "notumor")
    assert "classes.csv: names folders that are not there: 5" in described(read(root))
    for text, why in {
        "folder,class\n1,glioma\n1,notumor\n": "classes.csv gives the folder 1 two classes",
        "folder,class\n1.0,glioma\n2.0,notumor\n": "classes.csv names folders that are not there: 1.0, 2.0",
    }.items():
        with pytest.raises(DataError, match=why):
            said(text)


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drive answers with an input/output error now and then."""
    root, scandir = tree(tmp_path / "d", "1", "2", "3"), folders.os.scandir

    def flaky(path: str) -> Any:
        if str(path).endswith("/2"):
            raise OSError(5, "Input/output error", str(path))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", flaky)
    with pytest.raises(DataError, match=r"The folder .*/2 could not be listed \(Input/output error\)"):
        read(root)
