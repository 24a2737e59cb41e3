"""The classes and sequences that the program knows, their titles, and the sentence that stands beside every answer."""

from __future__ import annotations

CLASSES: tuple[str, ...] = ("glioma", "meningioma", "notumor", "pituitary")
CLASS_TITLES: dict[str, str] = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "notumor": "No tumor",
    "pituitary": "Pituitary tumor",
}
NO_TUMOR = "notumor"

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


def title(name: str) -> str:
    """Display name of a class."""
    name = name or "(unknown)"
    return CLASS_TITLES.get(name, name)
