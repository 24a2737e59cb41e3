"""Class folders, as people have them on Drive -> a list of files to read; and the tables beside them.

    ROOT/glioma/*.jpg    ROOT/Training/glioma_tumor/*.jpg    ROOT/Testing/no_tumor/*.png    ROOT/glioma/<patient>/*.dcm

Only names are looked at here; nothing is decoded. pairs.py finds image/mask pairs, reader.py reads the files.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from brain_mri.classes import CLASSES
from brain_mri.data.class_names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    ClassChoice,
    class_of,
    holds_masks,
    names_of,
    own_name,
    plain_name,
    says_nothing,
    shows_other_lesion,
    split_of,
)

CLASS_TABLE = "classes.csv"  # in the folder of the classes: which folder is which
CLASS_FOLDER, MASK_PAIRS = "class folder", "mask pairs"
NO_CLASS = "is none of the classes"

_SUFFIX = (
    r"(\.(png|jpe?g|jpe|jfif|jp2|tiff?|bmp|gif|webp|avif|heic|nii|hdr|img|mha|mhd|nrrd|mgz|dcm|dicom|ima|txt|json|npy|mat)"
    r"(\.gz)?|\.gz)$"
)
_TEXTS = (".txt", ".json", ".npy", ".mat", ".csv", ".xml")
_MASK_WORDS = "masks?|seg|segmentation|gt|ground[_-]?truth|labels?|annotation|roi"
_MASK_AFFIX = rf"[ _.-]+({_MASK_WORDS})$|^({_MASK_WORDS})[ _.-]+"
_SEQUENCE = r"[ _.-]+(t1|t1n|t1w|t1c|t1ce|t1gd|t2|t2w|t2f|flair|fl|pd|adc|dwi)$"  # one of several of a head
_SEQUENCE_FORMS = (
    ("T1C+", r"t1w?(with|\+)?(c\+?|ce|gd|gad(olinium)?|post|km|(post)?kontrast|(post)?contrast(enhanced)?)"),
    ("T1", r"t1w?(n|native?|pre|plain|((pre|non?|without)(contrast|gd|gad(olinium)?)))?"), ("T2", r"t2w?"),
    ("FLAIR", r"(t2)?w?(flair|fl|f)"),
)  # fmt: skip
_IMAGE_AFFIX = r"[ _.-]+(images?|img|scan)$|^(images?|img|scan)[ _.-]+"
_SYSTEM = ("__macosx", "thumbs.db", "desktop.ini", "icon\r", "@eadir", "lost+found")


class DataError(ValueError):
    """Data that no model can be trained or judged on; the message is one sentence for a person."""


@dataclass(frozen=True)
class Source:
    """One file (and its mask) that is to be read.

    file is relative to the folder `origin` that was given, with "/"; names that are no valid text are kept as the
    system gives them (surrogate escapes), see `printable`.
    """

    source: str  # CLASS_FOLDER or MASK_PAIRS
    file: str
    path: Path
    label: str = ""  # its class, or "" when unknown
    official: str = ""  # "Training", "Testing", "Validation" or ""
    mask: Path | None = None
    patient: str = ""
    fold: int = -1
    folder: str = ""  # the patient's, as far as folders tell
    origin: str = ""  # name of the folder that was given, "" where it is the only one of its kind
    tumor: bool = False  # shows a lesion of a kind that is no class, so that label is ""
    sequence: str = ""  # one of classes.SEQUENCES, "" when no table says
    head: str = ""  # equal for the pictures of one slice in several sequences, by their names


def printable(name: str | os.PathLike[str]) -> str:
    """A file name that can be printed and written to CSV, whatever bytes it is made of."""
    return os.fspath(name).encode("utf-8", "backslashreplace").decode("utf-8")


def sequence_of(text: object) -> str:
    """One of classes.SEQUENCES for what tables write (t1, T1ce, T1+C, T1Gd, t2w, Flair), else ""."""
    word = re.sub(r"[^a-z0-9+]", "", str(text).lower()).replace("weighted", "w")
    return next((name for name, form in _SEQUENCE_FORMS if re.fullmatch(form, word)), "")


def patient_folders(parts: list[tuple[str, ...]]) -> list[str]:
    """The folder of one patient for each tuple of folders below a class, "" where folders tell none.

    It is the outermost one whose name says neither plane nor sequence, split or class, when there are at least two of
    them. One name stands for one patient wherever it is: that may join two people, but it never cuts one.
    """
    telling = [tuple(p for p in part if not says_nothing(p)) for part in parts]
    while any(telling) and len({part[:1] for part in telling}) == 1:
        telling = [part[1:] for part in telling]
    found = [part[0] if part else "" for part in telling]
    return [patient_id(printable(name)) for name in found] if len(set(found) - {""}) > 1 else [""] * len(parts)


def stem_of(name: str) -> str:
    """A file name without its suffix; the last part of a UID (1.2.840.113619) is none."""
    return re.sub(_SUFFIX, "", name, flags=re.IGNORECASE)


def says_mask(name: str) -> bool:
    """X_mask.png, X-seg.nii.gz, mask_3.png."""
    return re.search(_MASK_AFFIX, stem_of(name), re.IGNORECASE) is not None


def bare_name(name: str) -> str:
    """What the names of a picture and of its mask have in common, in lower case."""
    stem = stem_of(name).lower()
    return re.sub(_MASK_AFFIX, "", stem) if says_mask(name) else re.sub(_IMAGE_AFFIX, "", stem)


def head_name(name: str) -> str:
    """bare_name of a sequence of a head without the sequence: BraTS_1-t1ce.nii.gz -> brats_1, as of BraTS_1-seg."""
    volume = re.search(r"\.(nii|nrrd|mha)(\.gz)?$", name, re.IGNORECASE)
    return re.sub(r"_000\d$" if volume else _SEQUENCE, "", re.sub(_SEQUENCE, "", bare_name(name)))


def _may_be_picture(name: str) -> bool:
    """By its suffix; files of DICOM have none, or the last number of a UID."""
    suffix = Path(name).suffix.lower()
    return suffix not in _TEXTS and (stem_of(name) != name or not re.search("[a-z]", suffix))


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, its visible file names), sorted, links followed, loops cut."""
    seen: set[str] = set()

    def stop(error: OSError) -> None:  # a class that Drive does not list now is no class that is missing
        raise DataError(f"The folder {printable(error.filename)} could not be listed ({error.strerror}).")

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=stop):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not _ignored(name))
        yield Path(folder), sorted(name for name in names if not _ignored(name))


def existing_folder(path: Path, what: str) -> Path:
    path = Path(path).expanduser()
    if not path.is_dir():
        kind = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"The {what} folder {path} {kind}; check the path (on Colab: is Drive mounted?).")
    return path


def class_folders(
    root: Path, masks: Sequence[Path] = (), choice: ClassChoice | None = None
) -> tuple[list[Source], list[tuple[str, str]]]:
    """(files to read, (folder, reason) of what was passed over).

    masks: folders of image/mask pairs, which may lie inside root. choice: which classes are asked for, see
    class_names.names_of; classes.csv in root says more. A file belongs to the official split whose name stands anywhere
    above it. Raises DataError when no class folder with files is found.
    """
    root = existing_folder(root, "data")
    choice = replace(choice or ClassChoice(), stated=read_classes(root / CLASS_TABLE))
    skipped: list[tuple[str, str]] = []
    walked, pairs = _walked(root, masks, choice)
    if len(pairs) > 1 and not any(parts and names for _, parts, names in walked):  # cat/images, cat/masks, dog/images
        walked, pairs = _walked(root, masks, choice, pairs_too=True)[0], []
    for pair in pairs:
        count = _counted([name for _, names in walk(pair) for name in names])
        skipped.append((pair.relative_to(root).as_posix(), f"{NO_CLASS}: image/mask pairs ({count}), for --masks"))
    there = {own_name(part).lower() for _, parts, _ in walked for part in parts}
    if absent := [folder for folder in choice.stated if folder not in there]:
        said = f"names folders that are not there: {', '.join(absent[:8])}"
        if len(absent) == len(choice.stated):
            raise DataError(f"{root / CLASS_TABLE} {said}.")
        skipped.append((CLASS_TABLE, said))
    holding = [(folder, parts, names) for folder, parts, names in walked if parts and names]
    named = dict(
        zip((parts for _, parts, _ in holding), names_of([parts for _, parts, _ in holding], choice), strict=True)
    )
    found: list[Source] = []
    inside: list[tuple[str, ...]] = []  # their folders below that of the class
    for folder, parts, names in walked:
        within = folder.relative_to(root).as_posix()
        name, at = named.get(parts) or ("", -1)
        if name not in CLASSES and not any(map(_may_be_picture, names)):  # models, caches, tables
            name = ""
        other = not name and any(map(shows_other_lesion, parts))
        if not name and not other:
            if not parts and class_of(root.name) and names:
                raise DataError(
                    f"{root} is the folder of a single class; give the folder above it, with one folder per class."
                )
            if parts and names:
                skipped.append((within, f"{NO_CLASS}{', but of masks' * holds_masks(parts)} ({_counted(names)})"))
            elif any(map(_may_be_picture, names)):
                skipped.append((root.name, f"{NO_CLASS} ({_counted(names)} beside its folders)"))
            elif parts and not any(folder.iterdir()):
                skipped.append((within, "empty folder"))
            continue
        splits = [split for part in reversed(parts) if (split := split_of(part))]
        here = {each for file in names if not says_mask(file) for each in (bare_name(file), head_name(file))}
        for file in names:
            path = folder / file
            if says_mask(file) and bare_name(file) in here:
                skipped.append(
                    (path.relative_to(root).as_posix(), "a mask beside its picture; give the folder as --masks")
                )
                continue
            split = splits[0] if splits else ""
            found.append(Source(CLASS_FOLDER, path.relative_to(root).as_posix(), path, name, split, tumor=other))
            inside.append(parts[at + 1 :] if name else parts)
    if not found:
        folders = sorted(printable(p.name) for p in root.iterdir() if p.is_dir() and not _ignored(p.name))
        any_name = "such as yes and no, or glioma and notumor; --classes folders takes all"
        wanted = f"named {', '.join(choice.names)}" if choice.names else any_name
        raise DataError(
            f"{root} holds no class folder with pictures; expected a folder for each class (also inside Training and "
            f"Testing), {wanted}; found {', '.join(folders[:8]) or 'no folder'}."
        )
    found = [replace(source, folder=name) for source, name in zip(found, patient_folders(inside), strict=True)]
    return sorted(found, key=lambda item: item.file), skipped


def _walked(
    root: Path, masks: Sequence[Path], choice: ClassChoice, *, pairs_too: bool = False
) -> tuple[list[tuple[Path, tuple[str, ...], list[str]]], list[Path]]:
    """([(folder, its parts below root, its files)], folders of image/mask pairs, left out with all that is in them)."""
    apart = [pairs.absolute() for pairs in masks if not root.absolute().is_relative_to(pairs.absolute())]
    walked: list[tuple[Path, tuple[str, ...], list[str]]] = []
    pairs: list[Path] = []
    for folder, names in walk(root):
        parts = folder.relative_to(root).parts
        if any(folder.absolute().is_relative_to(other) for other in apart):
            continue
        alone = not pairs_too and not any(choice.said_of(part) or class_of(part) for part in parts)
        if parts and alone and holds(folder, IMAGE_FOLDERS) and holds(folder, MASK_FOLDERS):
            apart.append(folder.absolute())
            pairs.append(folder)
            continue
        walked.append((folder, parts, names))
    return walked, pairs


def _counted(names: Sequence[str]) -> str:
    pictures = sum(map(_may_be_picture, names))
    what, count = ("picture", pictures) if pictures else ("file", len(names))
    return f"{count} {what}{'s' if count > 1 else ''}"


def read_classes(path: Path) -> dict[str, str]:
    """classes.csv with the columns folder and class -> {folder in lower case: class}; empty without such a table.

    Raises DataError.
    """
    if not path.is_file():
        return {}
    table = read_table(path, ("folder", "class"))
    rows = [(folder, name) for folder, name in table[["folder", "class"]].to_numpy() if folder and name]
    said: dict[str, str] = {}
    for folder, name in rows:
        if said.setdefault(own_name(folder).lower(), plain_name(name)) != plain_name(name):
            raise DataError(f"{path} gives the folder {own_name(folder)} two classes.")
    return said


def holds(root: Path, names: tuple[str, ...]) -> bool:
    """Has a folder a folder of one of these names?"""
    return any(path.name.lower() in names and path.is_dir() for path in root.iterdir())


def patient_id(text: object) -> str:
    """Patient ids as the tables give them; MR024780B and MR024780D are one person (DATA.md), the letter goes."""
    name = "" if text is None or pd.isna(text) else str(text).strip()  # type: ignore[call-overload]
    return name[:-1] if re.fullmatch(r"(MR)?\d{5,}[A-Za-z]", name) else name


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV with at least `columns`, all text; "file" with "/" and without "./". Raises DataError."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline()
        sep = ";" if first.count(";") > first.count(",") else ","  # as Excel writes it in much of Europe
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # index_col: else the first column is silently taken for row names where every row ends with a comma
            table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False)
    except pd.errors.ParserWarning:
        raise DataError(f"{path} has rows with more fields than its first line has names.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} could not be read as a CSV table ({str(error).splitlines()[0]}).") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    if len(twice := table.columns[table.columns.duplicated()]):
        raise DataError(f"{path} has the column {twice[0]} twice.")
    table = table.fillna("").apply(lambda column: column.str.strip())
    for name in {"group", "patient", "sequence"} & {*table.columns}:
        table[name] = table[name].replace(["nan", "NaN", "None", "<NA>"], "")  # as Python writes what is not known
    if "file" in table:
        table["file"] = table["file"].str.replace("\\", "/").str.removeprefix("./")
    _require(table, columns, path)
    return table


def _require(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the column {missing[0]}; it has {', '.join(table.columns)}.")


def _rows_of_files(path: Path) -> pd.DataFrame:
    """A table with a row for each file; empty without one, and of a table of patients. Raises DataError."""
    if not path.is_file():
        return pd.DataFrame()
    table = read_table(path, ())
    if "file" not in table and "patient" in table:
        return pd.DataFrame()
    _require(table, ("file",), path)
    return table


def read_patients(path: Path) -> dict[str, tuple[str, str, int]]:
    """file name and its stem -> (class, patient, fold); empty when there is no such table. Raises DataError."""
    result: dict[str, tuple[str, str, int]] = {}
    for row in _rows_of_files(path).to_dict("records"):
        fold = str(row.get("fold", "")).strip()
        entry = (
            _stated_class(row.get("class", "")),
            patient_id(row.get("patient", "")),
            int(fold) if fold.isdecimal() and len(fold) < 10 else -1,
        )
        name = row["file"]
        result[name] = result[stem_of(name)] = entry
    return result


def _stated_class(word: str) -> str:
    """Of a table, as it stands: whether it is a class of its own or one of ours, the folders decide (dataset.py)."""
    return "" if word.lower() in ("", "nan", "<na>", "unknown", "n/a", "?") else own_name(word)


def unknown_sequences(path: Path) -> list[tuple[str, str]]:
    """[(table, what is said of it)] where its column sequence has words that sequence_of does not know; else []."""
    table = _rows_of_files(path)
    words = (
        [word for word in table["sequence"].unique() if word and not sequence_of(word)] if "sequence" in table else []
    )
    known = ", ".join(name for name, _ in _SEQUENCE_FORMS)
    shown = ", ".join(printable(word)[:40] for word in words[:5])
    return [(path.name, f"names sequences that are none of {known} and count as unknown: {shown}")] if words else []


def read_sequences(path: Path) -> dict[str, str]:
    """file name and its stem -> sequence, of a table with the columns file and sequence; else empty."""
    table = _rows_of_files(path)
    if "sequence" not in table:
        return {}
    known = {name: sequence_of(word) for name, word in table[["file", "sequence"]].to_numpy()}
    return {stem_of(name): word for name, word in known.items()} | known


def group_table(root: Path) -> Path:
    """The table that says whose the pictures of a folder of classes are: groups.csv, else patients.csv."""
    own = root / "groups.csv"
    return own if own.is_file() else root / "patients.csv"


def read_groups(path: Path) -> dict[str, tuple[str, str]]:
    """groups.csv: file ("/" separated, relative to the data folder) -> (group, kind); empty without such a table.

    A column patient in place of group will do. Raises DataError.
    """
    table = _rows_of_files(path)
    if "group" not in table and "patient" in table:
        table = table.assign(group=table["patient"], kind="patient")
    if len(table.columns):
        _require(table, ("file", "group"), path)
    result: dict[str, tuple[str, str]] = {}
    for row in table.to_dict("records"):
        kind = row.get("kind", "").lower() or "patient"
        if group := patient_id(row["group"]) if kind == "patient" else row["group"]:
            result.setdefault(row["file"], (group, kind))
    return result
