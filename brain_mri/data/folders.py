"""Class folders and image/mask pairs, as people have them on Drive -> a list of files to read.

    ROOT/glioma/*.jpg                      ROOT/Training/glioma_tumor/*.jpg  ROOT/Testing/no_tumor/*.png
    ROOT/images/0001.png + ROOT/masks/0001.png   (+ ROOT/patients.csv: file,class,patient,fold)

Only names are looked at here; nothing is decoded. reader.py reads the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from brain_mri.classes import CLASSES

CLASS_FOLDER, MASK_PAIRS = "class folder", "mask pairs"

# What is left of a folder name after everything but letters, "brain" and "tumor(s)" is taken away.
_CLASS_WORDS = {
    "glioma": "glioma", "gliomas": "glioma", "meningioma": "meningioma", "meningiomas": "meningioma",
    "menin": "meningioma", "pituitary": "pituitary", "pituitaryadenoma": "pituitary", "no": "notumor",
    "non": "notumor", "normal": "notumor", "healthy": "notumor", "none": "notumor",
}  # fmt: skip
_SPLIT_WORDS = {
    "training": "Training", "train": "Training", "testing": "Testing", "test": "Testing",
    "val": "Validation", "valid": "Validation", "validation": "Validation",
}  # fmt: skip
_IMAGE_FOLDERS, _MASK_FOLDERS = ("images", "image", "imgs"), ("masks", "mask", "labels")
_SYSTEM = ("__macosx", "thumbs.db", "desktop.ini", "icon\r", "@eadir", "lost+found")


class DataError(ValueError):
    """Data that no model can be trained or judged on; the message is one sentence for a person."""


@dataclass(frozen=True)
class Source:
    """One file (and its mask) that is to be read.

    file is relative to the data folder that was given, with "/"; names that are no valid text are kept as the system
    gives them (surrogate escapes), see `printable`.
    """

    source: str  # CLASS_FOLDER or MASK_PAIRS
    file: str
    path: Path
    label: str = ""  # one of classes.CLASSES, or "" when unknown
    official: str = ""  # "Training", "Testing", "Validation" or ""
    mask: Path | None = None
    patient: str = ""
    fold: int = -1


def printable(name: str | os.PathLike[str]) -> str:
    """A file name that can be printed and written to CSV, whatever bytes it is made of."""
    return os.fspath(name).encode("utf-8", "backslashreplace").decode("utf-8")


def class_of(folder: str) -> str | None:
    """The class that a folder name stands for (glioma_tumor, "No Tumor", 2-PITUITARY, ...), or None."""
    word = re.sub(r"[^a-z]", "", folder.lower())
    word = re.sub(r"^brain|tumou?rs?$|^mri", "", word)
    return word if word in CLASSES else _CLASS_WORDS.get(word)


def split_of(folder: str) -> str | None:
    """ "Training", "Testing", "Validation" or None."""
    return _SPLIT_WORDS.get(re.sub(r"[^a-z]", "", folder.lower()).removesuffix("set").removesuffix("data"))


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, its visible file names), sorted, links followed, loops cut."""
    seen: set[str] = set()

    def stop(error: OSError) -> None:
        if error.filename == str(root):
            raise DataError(f"The folder {root} could not be listed ({error.strerror}).")

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=stop):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not _ignored(name))
        yield Path(folder), sorted(name for name in names if not _ignored(name))


def _folder(path: Path, what: str) -> Path:
    path = Path(path).expanduser()
    if not path.is_dir():
        kind = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"The {what} folder {path} {kind}; check the path (on Colab: is Drive mounted?).")
    return path


def class_folders(root: Path, masks: Path | None = None) -> tuple[list[Source], list[tuple[str, str]]]:
    """(files to read, (folder, reason) of what was passed over).

    masks: the folder of image/mask pairs, which may lie inside root. A file belongs to the innermost folder above it
    whose name is a class, and to the official split whose name stands anywhere above it. Raises DataError when no class
    folder with files is found.
    """
    root = _folder(root, "data")
    found: list[Source] = []
    skipped: list[tuple[str, str]] = []
    apart = [] if masks is None else [masks.absolute()]  # folders that are left out with all that is in them
    for folder, names in walk(root):
        if any(folder.absolute().is_relative_to(other) for other in apart):
            continue
        parts = folder.relative_to(root).parts
        labels = [label for part in reversed(parts) if (label := class_of(part))]
        splits = [split for part in reversed(parts) if (split := split_of(part))]
        if not labels:
            if not parts and class_of(root.name) and names:
                raise DataError(
                    f"{root} is the folder of a single class; give the folder above it, with one folder per class."
                )
            if parts and _child(folder, _IMAGE_FOLDERS) and _child(folder, _MASK_FOLDERS):
                apart.append(folder.absolute())
                skipped.append((folder.relative_to(root).as_posix(), "image/mask pairs; give this folder as --masks"))
            elif parts and names:
                skipped.append((folder.relative_to(root).as_posix(), "folder name is none of the classes"))
            continue
        if not names and not any(folder.iterdir()):
            skipped.append((folder.relative_to(root).as_posix(), "empty folder"))
        for name in names:
            path = folder / name
            found.append(
                Source(CLASS_FOLDER, path.relative_to(root).as_posix(), path, labels[0], splits[0] if splits else "")
            )
    if not found:
        inside = sorted(printable(p.name) for p in root.iterdir() if p.is_dir() and not _ignored(p.name))
        raise DataError(
            f"{root} holds no class folder with pictures; expected folders named {', '.join(CLASSES)} (also inside "
            f"Training and Testing), found {', '.join(inside[:8]) or 'no folder'}."
        )
    return sorted(found, key=lambda item: item.file), skipped


def mask_pairs(root: Path) -> tuple[list[Source], list[tuple[str, str]]]:
    """(pairs to read, (file, reason) of what has no partner).  Raises DataError when there is no pair."""
    root = _folder(root, "masks")
    images_root, masks_root = _child(root, _IMAGE_FOLDERS), _child(root, _MASK_FOLDERS)
    if images_root is None or masks_root is None:
        raise DataError(f"{root} must hold the folders images and masks, with equal file names in both.")
    images, masks = _by_stem(images_root), _by_stem(masks_root)
    patients = read_patients(root / "patients.csv")
    found: list[Source] = []
    skipped: list[tuple[str, str]] = []
    for stem, path in images.items():
        file = path.relative_to(root).as_posix()
        if stem not in masks:
            skipped.append((file, "no mask of that name"))
            continue
        within = path.relative_to(images_root)
        label, patient, fold = patients.get(within.as_posix()) or patients.get(stem) or ("", "", -1)
        label = label or next((c for part in reversed(within.parts[:-1]) if (c := class_of(part))), "")
        found.append(Source(MASK_PAIRS, file, path, label, "", masks[stem], patient, fold))
    skipped += [
        (path.relative_to(root).as_posix(), "mask without an image")
        for stem, path in masks.items()
        if stem not in images
    ]
    if not found:
        raise DataError(f"No picture in {images_root} has a mask of the same name in {masks_root}.")
    return sorted(found, key=lambda item: item.file), skipped


def _child(root: Path, names: tuple[str, ...]) -> Path | None:
    for path in sorted(root.iterdir()):
        if path.name.lower() in names and path.is_dir():
            return path
    return None


def _by_stem(root: Path) -> dict[str, Path]:
    """Relative path without suffix (and without a trailing _mask) -> file."""
    return {
        re.sub(r"[_-](mask|seg)$", "", (folder / name).relative_to(root).with_suffix("").as_posix()): folder / name
        for folder, names in walk(root)
        for name in names
    }


def patient_id(text: object) -> str:
    """Patient ids as the tables give them; MR024780B and MR024780D are one person (DATA.md), the letter goes."""
    name = "" if text is None or pd.isna(text) else str(text).strip()  # type: ignore[call-overload]
    return name[:-1] if re.fullmatch(r"(MR)?\d{5,}[A-Za-z]", name) else name


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV with at least `columns`, all text. Raises DataError."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} could not be read as a CSV table ({str(error).splitlines()[0]}).") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the column {missing[0]}; it has {', '.join(table.columns)}.")
    return table


def read_patients(path: Path) -> dict[str, tuple[str, str, int]]:
    """file name and its stem -> (class, patient, fold); empty when there is no such table. Raises DataError."""
    if not path.is_file():
        return {}
    table = read_table(path, ("file",))
    result: dict[str, tuple[str, str, int]] = {}
    for row in table.to_dict("records"):
        fold = str(row.get("fold", "")).strip()
        entry = (
            class_of(row.get("class", "")) or "",
            patient_id(row.get("patient", "")),
            int(fold) if fold.isdecimal() else -1,
        )
        name = row["file"].replace("\\", "/")
        result[name] = result[os.path.splitext(name)[0]] = entry
    return result


def read_groups(path: Path) -> dict[str, tuple[str, str]]:
    """groups.csv: file ("/" separated, relative to the data folder) -> (group, kind); empty without such a table.

    Raises DataError.
    """
    if not path.is_file():
        return {}
    result: dict[str, tuple[str, str]] = {}
    for row in read_table(path, ("file", "group")).to_dict("records"):
        kind = row.get("kind", "patient")
        if group := patient_id(row["group"]) if kind == "patient" else row["group"]:
            result.setdefault(row["file"].replace("\\", "/"), (group, kind))
    return result
