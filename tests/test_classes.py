"""Every class has a title, and what is not known is shown as it is."""

from __future__ import annotations

from brain_mri.classes import CLASS_TITLES, CLASSES, NO_TUMOR, question, title


def test_titles() -> None:
    assert list(CLASS_TITLES) == list(CLASSES) == sorted(CLASSES) and NO_TUMOR in CLASSES
    assert [title(name) for name in CLASSES] == list(CLASS_TITLES.values())
    assert title("lymphoma") == "lymphoma" and title("") == "(unknown)"


def test_the_question_follows_the_classes() -> None:
    assert question(["notumor", "tumor"]) == "tumor or not" and question(["HGG", "LGG"]) == "LGG or HGG"
    assert question(CLASSES) == "which tumor" and question(["1", "2", "3"]) == "which class"
