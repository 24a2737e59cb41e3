"""Which classes folders of any names make."""

from __future__ import annotations

import pytest

from brain_mri.data.class_names import FOLDERS, STANDARD, ClassChoice, class_of, in_order, names_of, own_name

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
    model = ClassChoice(("Glioma T1", "Glioma T2", "notumor"), literal=True)
    assert named("glioma t1", "Glioma T2 (1)", "normal T2", "Glioma", choice=model) == [*model.wanted, None]


def test_names_are_printable_and_in_order() -> None:
    assert own_name("Copy of  a\tb - Copy (2)") == "a b" and own_name("\udcff") and own_name("...") == "..."
    assert in_order(["10", "2", "", "pituitary", "b", "glioma", "b"]) == ("glioma", "pituitary", "2", "10", "b")
    assert class_of("Pathology") is None
