"""The classes and sequences that the program knows by name, and the sentence that stands beside every answer.

A model may have others (data/class_names.py); whichever of them means "no tumor" is called NO_TUMOR, too.
"""

from __future__ import annotations

from collections.abc import Sequence

CLASSES: tuple[str, ...] = ("glioma", "meningioma", "notumor", "pituitary")
CLASS_TITLES: dict[str, str] = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "notumor": "No tumor",
    "pituitary": "Pituitary tumor",
}
NO_TUMOR = "notumor"
ANY_TUMOR = "tumor"  # the other side of a binary task
MOST_CLASSES = 100  # of one model

SEQUENCES: dict[str, str] = {
    "T1": "T1 without contrast medium",
    "T1C+": "T1 with contrast medium",
    "T2": "T2",
    "FLAIR": "FLAIR",
}  # of a scan, and how a sentence calls them

DISCLAIMER = (
    "For education and research only. This is not a medical device and its answers are not a diagnosis; "
    "if you are worried about your health, ask a doctor."
)
CANNOT_TELL = (
    'This model has learned no answer "no tumor": it says which class is the likeliest, never whether there is a tumor.'
)


def absent_of(classes: Sequence[str]) -> int:
    """Where "no tumor" stands among the classes; -2, which no label is, where none of them means it."""
    return classes.index(NO_TUMOR) if NO_TUMOR in classes else -2


def title(name: str) -> str:
    """Display name of a class."""
    return (CLASS_TITLES | {ANY_TUMOR: "Tumor"}).get(name) or name.replace("_", " ") or "(unknown)"


def question(classes: Sequence[str]) -> str:
    """What a model of these classes is asked, in a few words without a question mark."""
    if len(classes) == 2:
        return "tumor or not" if NO_TUMOR in classes else f"{title(classes[1])} or {title(classes[0])}"
    return "which tumor" if NO_TUMOR in classes else "which class"
