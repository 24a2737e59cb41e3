"""Pictures and their masks, as people lay them beside each other -> pairs to read.

    ROOT/images/0001.png + ROOT/masks/0001.png     (+ ROOT/patients.csv: file,class,patient,fold)
    ROOT/{train,test,val}/images/x.jpg + .../masks/x_mask.png     ROOT/images/train/x.jpg + ROOT/masks/train/x.png
    ROOT/<patient>/x.tif + x_mask.tif              ROOT/x-t1ce.nii.gz, x-flair.nii.gz + x-seg.nii.gz
    ROOT/train/images/x.jpg + labels/x.txt (YOLO), or a COCO .json

Only names are looked at, and COCO tables; outlines.py reads masks. Nothing takes the place of anything else: whatever
finds no partner is listed with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from brain_mri.data.class_names import IMAGE_FOLDERS, MASK_FOLDERS, class_of
from brain_mri.data.folders import (
    MASK_PAIRS,
    DataError,
    Source,
    bare_name,
    existing_folder,
    head_name,
    patient_folders,
    read_patients,
    read_sequences,
    says_mask,
    stem_of,
    unknown_sequences,
    walk,
)
from brain_mri.data.outlines import coco_pictures

_ABOUT = (".csv", ".yaml", ".yml", ".md", ".pdf", ".html", ".xlsx", ".xls", ".json", ".docx")  # what tells of the data


@dataclass(frozen=True)
class _File:
    path: Path
    folders: tuple[str, ...]  # below the root, without images, masks, and the like
    is_mask: bool

    @property
    def place(self) -> tuple[str, ...]:
        return tuple(part.lower() for part in self.folders)


# How the name of a picture and that of its mask agree: the stricter first.
_RULES: tuple[Callable[[_File], object], ...] = (
    lambda file: (file.place, file.path.name),
    lambda file: (file.place, stem_of(file.path.name)),
    lambda file: (file.place, bare_name(file.path.name)),
)


def mask_pairs(root: Path) -> tuple[list[Source], list[tuple[str, str]]]:
    """(pairs to read, (file, reason) of what has no partner).  Raises DataError when there is no pair."""
    root = existing_folder(root, "masks")
    images, masks, tables, skipped = _listed(root)
    paired = _paired(images, masks)
    for table in tables:
        described = coco_pictures(table)
        near = [image for image in images if table.parent in image.path.parents] or images
        paired |= {image: table for image in near if image not in paired and image.path.name in described}
        if not described:
            skipped.append((table.relative_to(root).as_posix(), "holds no outlines in the format of COCO"))
    taken = {mask for mask in paired.values() if isinstance(mask, _File)}
    skipped += _unpaired(root, [image for image in images if image not in paired], masks)
    skipped += _unpaired(root, [mask for mask in masks if mask not in taken], images)
    if not paired:
        raise DataError(
            f"{root} must hold the folders images and masks, with equal file names in both, or X_mask.png beside "
            f"X.png; {len(images)} pictures and {len(masks)} masks without a partner were found."
        )
    patients, sequence = read_patients(root / "patients.csv"), read_sequences(root / "patients.csv")
    names = [head_name(image.path.name) for image in paired]
    # of one folder: every patient's may hold a slice1_t1.png and a slice1_t2.png
    heads = [
        "/".join((*image.place, name)) if name != bare_name(image.path.name) else ""
        for name, image in zip(names, paired, strict=True)
    ]
    often, persons = Counter(heads), patient_folders([image.folders for image in paired])
    heads = [head if often[head] > 1 else "" for head in heads]
    skipped += unknown_sequences(root / "patients.csv")
    found = [
        replace(_source(root, image, mask, person or head, patients, sequence), head=head)
        for (image, mask), person, head in zip(paired.items(), persons, heads, strict=True)
    ]
    if patients and not any(name in patients for image in paired for name in _names(root, image)):
        skipped.append(("patients.csv", f"names no picture of {root}; it has {next(iter(patients))}"))
    return sorted(found, key=lambda item: item.file), sorted(skipped)


def _listed(root: Path) -> tuple[list[_File], list[_File], list[Path], list[tuple[str, str]]]:
    """(pictures, masks, COCO tables, (file, reason) of what is neither)."""
    images: list[_File] = []
    masks: list[_File] = []
    tables: list[Path] = []
    skipped: list[tuple[str, str]] = []
    for folder, names in walk(root):
        parts = folder.relative_to(root).parts
        kinds = [part.lower() for part in parts if part.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS)]
        rest = tuple(part for part in parts if part.lower() not in (*IMAGE_FOLDERS, *MASK_FOLDERS))
        for name in names:
            path = folder / name
            if path.suffix.lower() == ".json":
                tables.append(path)
            elif path.suffix.lower() in _ABOUT:
                continue
            elif not kinds and path.suffix.lower() == ".txt":
                skipped.append((path.relative_to(root).as_posix(), "a text that is in no folder of labels"))
            else:
                is_mask = kinds[-1] in MASK_FOLDERS if kinds else says_mask(name)
                (masks if is_mask else images).append(_File(path, rest, is_mask))
    return images, masks, tables, skipped


def _paired(images: list[_File], masks: list[_File]) -> dict[_File, _File | Path]:
    """Picture -> mask, by the first rule that tells one of each."""
    paired: dict[_File, _File | Path] = {}
    taken: set[_File] = set()
    for rule in _RULES:
        at: dict[object, tuple[list[_File], list[_File]]] = defaultdict(lambda: ([], []))
        for file in (*images, *masks):
            if file not in paired and file not in taken:
                at[rule(file)][file.is_mask].append(file)
        for some, others in at.values():
            if len(some) == len(others) == 1:
                paired[some[0]] = others[0]
                taken.add(others[0])
    left: dict[object, list[_File]] = defaultdict(list)
    for mask in masks:
        if mask not in taken:
            left[mask.place, head_name(mask.path.name)].append(mask)
    for image in images:  # several sequences of one head share its mask
        fitting = left.get((image.place, head_name(image.path.name)), [])
        if image not in paired and len(fitting) == 1 and head_name(image.path.name) != bare_name(image.path.name):
            paired[image] = fitting[0]
    return paired


def _unpaired(root: Path, files: list[_File], others: list[_File]) -> list[tuple[str, str]]:
    """(file, why it has no partner) of files that found none."""
    alike = {_RULES[-1](other): other.path.name for other in others}
    result = []
    for file in files:
        missing = "mask without an image" if file.is_mask else "no mask of that name"
        near = alike.get(_RULES[-1](file))
        reason = f"{missing}: {near} belongs to several or to another one" if near else missing
        result.append((file.path.relative_to(root).as_posix(), reason))
    return result


def _names(root: Path, image: _File) -> tuple[str, ...]:
    """What tables may call a picture."""
    within = "/".join((*image.folders, image.path.name))
    return within, image.path.relative_to(root).as_posix(), stem_of(within)


def _source(
    root: Path,
    image: _File,
    mask: _File | Path,
    person: str,
    patients: dict[str, tuple[str, str, int]],
    sequences: dict[str, str],
) -> Source:
    file = image.path.relative_to(root).as_posix()
    names = _names(root, image)
    label, patient, fold = next((entry for name in names if (entry := patients.get(name))), ("", "", -1))
    sequence = next((word for name in names if (word := sequences.get(name))), "")
    parts = image.path.relative_to(root).parts[:-1]
    label = label or next((c for part in reversed(parts) if (c := class_of(part))), "")
    path = mask if isinstance(mask, Path) else mask.path
    whose = "" if patient else person
    return Source(MASK_PAIRS, file, image.path, label, "", path, patient, fold, whose, sequence=sequence)
