"""What folder names mean: a class, a part of the official split, or neither.

Folders decide which classes there are (`names_of`). Our own four are known under many names, and so is the binary task
(yes and no); whatever else lies beside them is a class under its own name.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from brain_mri.classes import ANY_TUMOR, CLASSES, NO_TUMOR, title

# What is left of a folder name after everything but letters, "brain" and "tumor(s)" is taken away.
_CLASS_WORDS = {
    "glioma": "glioma", "gliomas": "glioma", "gbm": "glioma", "glioblastoma": "glioma", "meningioma": "meningioma",
    "meningiomas": "meningioma", "menin": "meningioma", "pituitary": "pituitary", "pituitaryadenoma": "pituitary",
    "pitutary": "pituitary", "pituatary": "pituitary", "pitutiary": "pituitary", "no": "notumor", "non": "notumor",
    "not": "notumor", "normal": "notumor", "healthy": "notumor", "none": "notumor", "negative": "notumor",
    "neg": "notumor", "without": "notumor",
}  # fmt: skip
_TUMOR_WORDS = ("yes", "tumor", "tumour", "tumors", "tumours", "braintumor", "braintumour", "positive", "pos",
                "abnormal", "withtumor", "withtumour", "hastumor", "tumorous")  # fmt: skip
_SPLIT_WORDS = {
    "training": "Training", "train": "Training", "testing": "Testing", "test": "Testing",
    "val": "Validation", "valid": "Validation", "validation": "Validation",
}  # fmt: skip
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr")
MASK_FOLDERS = ("masks", "mask", "labels", "labelstr", "annotations", "segmentations")
# Words in the names of folders that tell neither a class nor a patient.
_TUMOR = {"brain", "tumor", "tumors", "tumour", "tumours"}
_PLAIN = {
    *IMAGE_FOLDERS, *MASK_FOLDERS, *_SPLIT_WORDS, *_TUMOR, "mri", "mr", "detected", "found", "cropped", "resized",
    "t1", "t2", "t1c", "t1ce", "t1gd", "t1w", "t2w", "flair", "dwi", "contrast", "axial", "coronal", "sagittal", "ax",
    "cor", "sag", "plane", "copy", "of", "new", "folder", "set", "data", "dataset", "scan", "scans", "slice", "slices",
    "class", "case", "cases", "grade", "low", "high", "hgg", "lgg", "dicom", "dcm", "png", "jpg", "jpeg", "nifti",
    "nii", "raw", "original", "augmented", "all", "deep",
}  # fmt: skip
_GRADES = {"low", "high", "hgg", "lgg"}  # no kind of ours, but classes where nothing else is
_RUNS = {"runs", "results", "outputs", "figures", "checkpoints"}  # what programs leave beside their data
_UNLABELLED = (*_RUNS, "pred", "preds", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "unknown")
OTHER_LESION = (
    "otherlesion",
    "otherlesions",
    "lesion",
    "lesions",
    "othertumor",
    "othertumors",
)  # of a folder's letters
FOLDERS, STANDARD = "folders", "standard"  # what --classes takes beside names
CLOSED = 3  # of our four classes in a folder: then it is about these, and what lies beside them is something else


@dataclass(frozen=True)
class ClassChoice:
    """Which classes are asked for. Without any of it the folders decide."""

    wanted: tuple[str, ...] = ()  # names, or FOLDERS or STANDARD alone
    literal: bool = False  # are they names of a model's classes, not words of a person?
    no_tumor: str = ""  # the folder that means "no tumor"
    stated: Mapping[str, str] = field(default_factory=dict)  # folder in lower case -> class, of classes.csv

    @property
    def names(self) -> tuple[str, ...]:
        """The classes themselves where they are named, else ()."""
        if self.wanted == (STANDARD,):
            return CLASSES
        if self.literal:
            return self.wanted
        return () if self.wanted in ((), (FOLDERS,)) else tuple(dict.fromkeys(map(plain_name, self.wanted)))

    def said_of(self, folder: str) -> str | None:
        """What was said about a folder of this name, if anything."""
        if self.no_tumor and spelled(own_name(folder)) == spelled(own_name(self.no_tumor)):
            return NO_TUMOR
        return self.stated.get(own_name(folder).lower()) or self.stated.get(folder.strip().lower())


def class_of(folder: str) -> str | None:
    """Which of our four classes a folder name stands for (glioma_tumor, "No Tumor", 2-PITUITARY, ...), or None."""
    folder = re.sub(r"\(.*?\)", "", folder)  # Glioma (Astrocitoma, ...) T1
    letters = re.sub(r"[^a-z]", "", folder.lower())
    if re.fullmatch(r"no\W*\d+", folder.lower().strip()):  # a number
        return None
    word = re.sub(r"^brain|(brain)?tumou?r(s|ous)?$|^mri", "", letters)
    rest = "".join(re.sub(r"\d", "", part) for part in _words(folder) if part not in _PLAIN)
    if rest in ("no", "non", "none", "without") and "contrast" in letters:
        rest = ""
    return next((c for w in (word, rest) if (c := w if w in CLASSES else _CLASS_WORDS.get(w))), None)


def shows_any_tumor(folder: str) -> bool:
    """yes, tumor, positive, tumor_flair: the other side of a binary task."""
    rest = "".join(re.sub(r"\d", "", word) for word in _words(folder) if word not in _PLAIN - _TUMOR)
    return rest in _TUMOR_WORDS or re.sub(r"[^a-z]", "", folder.lower()) in _TUMOR_WORDS


def shows_other_lesion(folder: str) -> bool:
    return re.sub(r"[^a-z]", "", folder.lower()) in OTHER_LESION


def plain_name(name: str) -> str:
    """A class as people write it (No tumor, yes, Glioma, Schwannoma) -> the name that it has here."""
    return class_of(name) or (ANY_TUMOR if shows_any_tumor(name) else own_name(name))


def own_name(folder: str) -> str:
    """A folder's name as that of a class: printable, without what a copy adds ("Copy of X", "X - Copy (2)")."""
    name = unicodedata.normalize("NFC", os.fspath(folder).encode("utf-8", "backslashreplace").decode("utf-8"))
    name = "".join(c if c.isprintable() else " " for c in name)
    name = re.sub(r"^copy of |( - copy)?( ?\(\d+\))?$", "", " ".join(name.split()), flags=re.IGNORECASE)
    return name.strip()[:100] or "folder"


def spelled(name: str) -> str:
    """Equal for the names of one class that are only spelled otherwise: Grade_II, grade ii."""
    return re.sub(r"[\s_-]+", " ", name).casefold()


def one_spelling(names: Iterable[str]) -> dict[str, str]:
    """How a class is spelled -> its name, the first of those that are only spelled otherwise (Cat, cat)."""
    return {spelled(name): name for name in sorted(names, reverse=True)}


def split_of(folder: str) -> str | None:
    """ "Training", "Testing", "Validation" or None."""
    word = re.sub(r"[^a-z]", "", folder.lower()).removesuffix("set").removesuffix("data")
    first = _words(folder)[:1] if class_of(folder) or shows_any_tumor(folder) else []  # train_glioma
    return _SPLIT_WORDS.get(word) or _SPLIT_WORDS.get("".join(first))


def says_nothing(folder: str) -> bool:
    """Does the name tell neither a class nor a patient? A class of our own counts as told elsewhere."""
    return class_of(folder) is not None or split_of(folder) is not None or not set(_words(folder)) - _PLAIN


def names_of(places: Sequence[tuple[str, ...]], choice: ClassChoice) -> list[tuple[str, int] | None]:
    """(class, which of the parts names it) for each tuple of folder names below the root; None: it is of no class.

    The innermost folder counts whose name is one of our four, or yes and no. What lies beside them is a class, too,
    unless three of our four are there, or the binary task is: then the others are something else. Where folders
    differ that mean one and the same of our kinds ("Glioma T1", "Glioma T2"; Tumor 1, 2, 3), each is a class under its
    own name; so is "tumor" beside kinds or without its other side. Folders of masks are of none.
    """
    wanted = choice.names
    shared = itertools.takewhile(lambda parts: len({*parts}) == 1, zip(*places, strict=False))
    whole = len([*shared]) if len({*places}) > 1 else 0  # folders around all of them

    def known_of(place: tuple[str, ...]) -> tuple[str, int] | None:
        for at in reversed(range(len(place))):
            name = _among(place[at], wanted, choice) if wanted else _known(place[at], choice)
            about = at < whole and name == ANY_TUMOR and len(_words(place[at])) > 1  # Brain Tumor/1, Brain Tumor/2
            if name and not about:
                return None if holds_masks(place, at) else (name, at)
        return None

    known = [known_of(place) for place in places]
    if wanted:
        return known
    ours = {found[0] for found in known if found}
    bare: dict[str, set[str]] = {}
    for place, found in zip(places, known, strict=True):
        if found and not choice.said_of(place[found[1]]):
            bare.setdefault(found[0], set()).add(_bare(place[found[1]]))
    one = {NO_TUMOR, ANY_TUMOR} if NO_TUMOR in ours else {NO_TUMOR}
    apart = {name for name, folders in bare.items() if len(folders) > 1 and name not in one}
    kinds = ours - {ANY_TUMOR}
    binary = ours == {NO_TUMOR, ANY_TUMOR}
    if not choice.wanted and not apart and (len(kinds & {*CLASSES}) >= CLOSED or binary):
        return known
    said = bool(choice.stated) and not choice.wanted
    result = known if said and not apart else _with_others(places, known, apart, bool(choice.wanted))
    names = {found[0] for found in result if found}
    if ANY_TUMOR not in names or names <= {NO_TUMOR, ANY_TUMOR}:
        return result
    return [
        (_kind(place[found[1]]), found[1]) if found and found[0] == ANY_TUMOR else found
        for place, found in zip(places, result, strict=True)
    ]


def _with_others(
    places: Sequence[tuple[str, ...]], known: Sequence[tuple[str, int] | None], apart: Set[str], asked: bool
) -> list[tuple[str, int] | None]:
    """known, and what lies beside them; own names for the classes that are kept apart.

    asked: are all folders asked for, even those that are named T1 and T2?
    """
    inside = _telling(places, _PLAIN - _GRADES)
    if asked and not any(inside):
        inside = _telling(places, {*IMAGE_FOLDERS, *MASK_FOLDERS})
    depth = Counter(
        parts.index(place[found[1]])
        for place, parts, found in zip(places, inside, known, strict=True)
        if found and place[found[1]] in parts
    )
    level = depth.most_common(1)[0][0] if depth else 0
    result: list[tuple[str, int] | None] = []
    for place, parts, found in zip(places, inside, known, strict=True):
        if found and found[0] not in apart:
            result.append(found)
        elif found:
            result.append((_kind(place[found[1]]), found[1]))
        elif len(parts) > level and not _no_class(place, at := place.index(parts[level])):
            result.append((own_name(parts[level]), at))
        else:
            result.append(None)
    return result


def _kind(folder: str) -> str:
    """A class that is one kind among others, whatever the folder's name seems to say."""
    name = own_name(folder)
    return title(name) if name == ANY_TUMOR else name


def holds_masks(place: tuple[str, ...], at: int = 0) -> bool:
    """glioma/masks, masks/glioma, cat_masks; at: which of the folders names the class."""
    said = {"mask", "masks"}
    below = (part.lower() in MASK_FOLDERS or said & {*_words(part)[:1], *_words(part)[-1:]} for part in place[at:])
    return any(part.lower() in said for part in place) or any(below)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each class once: our own four first, as ever, the others as people count (2 before 10)."""

    def key(name: str) -> tuple[int, list[tuple[int, str]]]:
        ours = CLASSES.index(name) if name in CLASSES else len(CLASSES)
        digits = re.split(r"(\d+)", name.lower())
        return ours, [(int(part), "") if part.isdecimal() else (-1, part) for part in digits]

    return tuple(sorted({*names} - {""}, key=key))


def _known(folder: str, choice: ClassChoice) -> str | None:
    return choice.said_of(folder) or class_of(folder) or (ANY_TUMOR if shows_any_tumor(folder) else None)


def _among(folder: str, wanted: Sequence[str], choice: ClassChoice) -> str | None:
    """Of the classes that are asked for. A kind of ours is a tumor where any tumor is what is asked for."""
    name = _known(folder, choice) or own_name(folder)
    if name in wanted:
        return name
    if ANY_TUMOR in wanted and name in CLASSES and name != NO_TUMOR:
        return ANY_TUMOR
    own = spelled(own_name(folder))
    return next((one for one in wanted if spelled(one) == own), None)


def _bare(folder: str) -> str:
    """What tells two folders of one class apart that are no mere copies, parts of the split or numbered."""
    harmless = {*_SPLIT_WORDS, "copy", "of", "new", "brain", "tumor", "tumors", "tumour", "tumours", "mri", "class"}
    return " ".join(word for word in _words(re.sub(r"\(\d+\)", "", folder)) if word not in harmless).rstrip("s")


def _telling(places: Sequence[tuple[str, ...]], plain: Set[str]) -> list[tuple[str, ...]]:
    """Of each place the folders that may name a class, without those that hold all of them."""
    telling = [
        tuple(p for p in place if not (split_of(p) and not class_of(p)) and (class_of(p) or set(_words(p)) - plain))
        for place in places
    ]
    while len({parts[0] for parts in telling if parts}) == 1 and any(len(parts) > 1 for parts in telling):
        telling = [parts[1:] for parts in telling]
    return telling


def _no_class(place: tuple[str, ...], at: int) -> bool:
    return holds_masks(place, at) or any({*_words(part)} & {*_UNLABELLED} or shows_other_lesion(part) for part in place)


def _words(folder: str) -> list[str]:
    """In lower case; of letters that are combined or of signs alone: the name itself."""
    return re.findall(r"[^\W_]+", folder.lower()) or [folder]
