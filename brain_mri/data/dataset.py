"""Folders of pictures -> one table, the squares that the models see, and a split that does not leak.

    dataset = load_dataset(Path("brain-tumor-mri"), [Path("segmentation"), Path("lgg")])
    print(described(dataset))  # description.py

Finding the files is folders.py and pairs.py, reading reader.py and cache.py, copies duplicates.py, masks for copies
mask_transfer.py, splits splits.py; what may be wrong with the data says `python -m brain_mri audit DIR`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brain_mri.classes import ANY_TUMOR, CLASSES, MOST_CLASSES, NO_TUMOR
from brain_mri.data import duplicates, mask_transfer
from brain_mri.data.about import with_about
from brain_mri.data.cache import Pixels, cache_file
from brain_mri.data.class_names import STANDARD, ClassChoice, in_order, one_spelling, own_name, plain_name, spelled
from brain_mri.data.folders import (
    CLASS_FOLDER,
    NO_CLASS,
    DataError,
    Source,
    class_folders,
    group_table,
    printable,
    read_groups,
    read_sequences,
    unknown_sequences,
)
from brain_mri.data.pairs import mask_pairs
from brain_mri.data.reader import FRAME_COLUMNS, read_all
from brain_mri.data.remote import fetched
from brain_mri.data.splits import split_groups, split_official
from brain_mri.data.stacks import UNKNOWN

SIZE = 160  # pixels a side where nobody says otherwise, as the bundled weights see them


@dataclass(frozen=True, eq=False)
class Dataset:
    """All pictures that could be read.

    table    index 0..N-1, sorted by source and file; columns
               path, file      to open it; relative to its folder
               slice           of the volume `path`, counted from 0; -1 of a picture; see stacks.read_slice
               source          "class folder" | "mask pairs"
               origin          name of the folder that was given, told apart from others of that name
               class           one of `classes`, "" when unknown
               tumor           surely shows a lesion, whatever its class
               sequence        one of classes.SEQUENCES: of a table, else of DICOM tags, else ""
               split           "train" | "validation" | "test"
               group, cluster  never cut by a split; shows the same slice, in whatever sequence
               patient, fold   "" when unknown; the authors' fold, -1 when none
               mask_path       the mask's file, "" without one of its own
               mask_doubt      why that mask is not learned from, "" when it is
               official_split  "Training" | "Testing" | "Validation" | ""
               width, height, mode, mean, std, sharpness, color, spacing ((row, column) mm or None)
               digest          of the decoded pixels
               duplicate_of    row of the first picture of the same slice, -1 for that one itself and for lone ones
               mirrored        against duplicate_of
               has_mask        masks is meaningful;  mask_from: row whose mask it was given, -1 for its own or none
               top, left, side preprocessing.Frame
               about age, ...  further columns of groups.csv and patients.csv, see about.py
    images   uint8 (N, S, S) through preprocessing.preprocess
    masks    uint8 (N, S, S) 0/255; only meaningful where table.has_mask
    skipped  columns path, reason
    size     S
    thumbnails  uint8 (N, 64, 64): the whole pictures as stored, aspect not kept;  small: at 32 pixels a side
    links    pairs that show the same slice, see duplicates.find_links
    classes  names, in the order of a network's answers
    """

    table: pd.DataFrame
    images: np.ndarray
    masks: np.ndarray
    skipped: pd.DataFrame
    size: int
    thumbnails: np.ndarray
    small: np.ndarray
    links: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=duplicates.LINK_COLUMNS))
    classes: tuple[str, ...] = CLASSES

    @property
    def labels(self) -> np.ndarray:
        """int (N,): index into classes, -1 where the class is unknown."""
        return labels_of(self.table, self.classes)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split."""
        return np.flatnonzero(self.table["split"] == split)

    def summary(self) -> dict[str, Any]:
        """Plain values for config.json and metrics.json: counts, groups, split, fingerprint."""
        table = self.table
        counts = table.groupby(["source", "class", "split"], as_index=False).size()
        return {
            "images": len(table),
            "counts": counts.rename(columns={"size": "images"}).to_dict("records"),
            "groups": int(table["group"].nunique()),
            "largest_group": int(table.groupby("group").size().max()),
            "patients": int(table.loc[table["patient"] != "", "patient"].nunique()),
            "duplicates": int((table["duplicate_of"] >= 0).sum()),
            "with_mask": int(table["has_mask"].sum()),
            "skipped": len(self.skipped),
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """sha256 of pixels, class, group and split of all pictures, whatever their folders, names and order."""
        columns = [self.table[name].tolist() for name in ("digest", "class", "group", "split")]
        lines = sorted("|".join(row) for row in zip(*columns, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_dataset(
    data: str | Path | Sequence[str | Path],
    masks: str | Path | Sequence[str | Path] | None = None,
    *,
    groups: Path | None = None,
    size: int = SIZE,
    cache: Path | None = None,
    seed: int = 0,
    official_split: bool = False,
    progress: bool = True,
    min_classes: int = 2,
    whole: bool = False,
    choice: ClassChoice | None = None,
) -> Dataset:
    """Read class folders (and image/mask pairs), of one or several sources, and split them by patient and copy.

    data, masks: folders, archives, names of data sets (remote.fetched). groups: a CSV file,group[,kind], by default
    groups.csv in each of `data` that has one. cache: file or folder, by default $BRAIN_MRI_CACHE or
    ~/.cache/brain-mri. official_split: keep Training/Testing (leaks; for comparison).
    min_classes: 1 to judge a model on a single class, 0 on image/mask pairs alone. whole: every row is a test row, so
    that a single patient will do. choice: which classes, and in its order; without it the folders decide
    (class_names.names_of). Raises DataError; unreadable files only go to `skipped`.
    """
    folders = _roots(data, cache)
    pairs = _roots(masks, cache, folders)
    if groups and not groups.is_file():
        raise DataError(f"There is no groups file {groups}.")
    choice = choice or ClassChoice()
    sources, passed, given = _listed(folders, pairs, groups, choice)
    roots = [*folders.values(), *pairs.values()]
    read, pixels, failed = read_all(sources, size, cache_file(roots, size, cache), progress)
    where = " and ".join(map(str, folders.values()))
    _check_classes(sources, read, failed, where, min_classes, passed, choice)
    if pairs and not len(pixels.mask_rows) and not (pixels.rows["doubt"] != "").any():
        example = next((f"{printable(s.path.name)} {why}" for s, why in failed if s.mask), "no pair")
        given_masks = " and ".join(map(str, pairs.values()))
        raise DataError(f"No mask in {given_masks} could be read (for example: {example}).")
    table = with_about(_table(read, pixels, given), folders | pairs, groups)
    classes = choice.names or in_order(table["class"])
    table["class"] = table["class"].where(table["class"].isin(classes), "")
    masks_array = _masks(table, pixels, size)
    split = split_official if official_split else split_groups
    table["split"] = "test" if whole else split(table, seed)
    skipped = [(printable(name), reason) for name, reason in passed]
    skipped += [(printable(source.file), reason) for source, reason in failed]
    skipped += _left_out(table, pixels)
    left_out = pd.DataFrame(skipped, columns=["path", "reason"])
    return Dataset(table, pixels.images, masks_array, left_out, size, pixels.whole, pixels.small, pixels.links, classes)


def _roots(
    given: str | Path | Sequence[str | Path] | None, cache: Path | None, others: Mapping[str, Path] | None = None
) -> dict[str, Path]:
    """name -> folder: the folders' own names, with a number where two are alike, or one and another of `others`."""
    paths = [given] if isinstance(given, (str, Path)) else list(given or ())
    found: dict[str, Path] = {}
    for one in paths:
        own, path = fetched(one, cache)
        plain = Path(os.path.abspath(path))
        # masks beside the classes, in one folder, are of one source
        taken = {*found, *(name for name, other in (others or {}).items() if Path(os.path.abspath(other)) != plain)}
        names = (f"{own}-{number}" if number > 1 else own for number in itertools.count(1))
        found[next(name for name in names if name not in taken)] = path
    return found


Given = dict[tuple[str, str], tuple[str, str]]  # (origin, file) of a class folder -> (group, kind) of groups.csv


def _listed(
    folders: dict[str, Path], pairs: dict[str, Path], groups: Path | None, choice: ClassChoice
) -> tuple[list[Source], list[tuple[str, str]], Given]:
    """(files to read, (file, reason) of what was passed over, what the tables of groups say)."""
    sources: list[Source] = []
    passed: list[tuple[str, str]] = []
    given: Given = {}
    for origin, root in folders.items():
        found, left = class_folders(root, list(pairs.values()), choice)
        table = groups or group_table(root)
        sequence, stated = read_sequences(table), read_groups(table)
        here = stated.keys() & {one.file for one in found}
        if groups and (twice := here & {file for _, file in given}):
            raise DataError(
                f"{table} speaks of {printable(min(twice))}, and two of the folders have a file of that name; put a "
                "groups.csv into each folder instead."
            )
        given |= {(origin, file): stated[file] for file in here}
        if stated and not here and not (table.name == "patients.csv" and root in pairs.values()):  # a table of those
            passed.append((table.name, f"names no file of {root}; it has {next(iter(stated))}, not {found[0].file}"))
        passed += [one for one in unknown_sequences(table) if one not in passed]
        sources += [replace(one, origin=origin, sequence=sequence.get(one.file, "")) for one in found]
        passed += left
    for origin, root in pairs.items():
        found, left = mask_pairs(root)
        sources += [replace(one, origin=origin) for one in found]
        passed += left
    return _agreed(sources, choice), passed, given


def _agreed(sources: list[Source], choice: ClassChoice) -> list[Source]:
    """The same with classes that all sources share: those that are asked for, else those of the class folders.

    Where one source tells kinds and another only that there is a tumor, the latter is a tumor of unknown kind. Where
    none tells kinds, every tumor is just that. Raises DataError where something is asked for that is not there.
    """
    names = one_spelling({source.label for source in sources if source.source == CLASS_FOLDER} - {""})
    sources = [replace(one, label=names.get(spelled(one.label), one.label)) for one in sources]
    kinds = {*names.values()} - {NO_TUMOR, ANY_TUMOR}
    known = {*choice.names} or {*names.values()} or {plain_name(source.label) for source in sources if source.label}
    if kinds and not choice.names:
        known = (known - {ANY_TUMOR}) | {NO_TUMOR}
        if kinds <= {*CLASSES}:
            known |= {*CLASSES}  # a kind that only an outlined set has

    def agreed(source: Source) -> Source:
        if source.label not in known and source.label:
            source = replace(source, label=plain_name(source.label))
        if source.label in known or not source.label:
            return source
        ours = source.label in CLASSES and source.label != NO_TUMOR
        tumor = source.tumor or ours or source.label == ANY_TUMOR
        return replace(source, label=ANY_TUMOR if tumor and ANY_TUMOR in known else "", tumor=tumor)

    found = [agreed(source) for source in sources]
    labels = {source.label for source in found} - {""}
    if not choice.literal and choice.wanted != (STANDARD,) and (missing := {*choice.names} - labels):
        raise DataError(f"No folder is of the class {min(missing)}, which --classes names.")
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"There are {len(labels)} folders that would each be a class, and a model has at most {MOST_CLASSES}; "
            "folders of patients belong into those of their classes."
        )
    folders = {spelled(own_name(part)) for one in found for part in one.file.split("/")[:-1]}
    if choice.no_tumor and spelled(own_name(choice.no_tumor)) not in folders:
        raise DataError(f"There is no folder {own_name(choice.no_tumor)}, which --no-tumor names.")
    return found


def labels_of(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """int (N,): index into classes, -1 where the class is unknown."""
    return pd.Index(list(classes)).get_indexer(pd.Index(table["class"]))


def _check_classes(
    sources: list[Source],
    read: list[Source],
    failed: list[tuple[Source, str]],
    data: str,
    least: int,
    passed: list[tuple[str, str]],
    choice: ClassChoice,
) -> None:
    wanted = {source.label for source in sources if source.source == CLASS_FOLDER} - {""}
    got = {source.label for source in read if source.source == CLASS_FOLDER} - {""}
    for label in sorted(wanted - got):
        example = next((f"{printable(s.path.name)} {why}" for s, why in failed if s.label == label), "")
        raise DataError(f"No file of the class {label} in {data} could be read (for example: {example}).")
    lesions = any(source.tumor for source in read)  # of no class, which a model can be judged on, too
    others = ", ".join([printable(name) for name, why in passed if why.startswith(NO_CLASS)][:8])
    if len(got) < least and not (least == 1 and lesions):
        raise DataError(
            f"{data} holds {f'only the class {min(got)}' if len(got) == 1 else 'no class'}"
            f"{f' (passed over: {others})' if others else ''}; at least {least} "
            f"{'of ' + ', '.join(choice.names) if choice.names else 'class folders'} are needed."
        )


def _table(read: list[Source], pixels: Pixels, given: Given) -> pd.DataFrame:
    """Everything of Dataset.table but the masks and the split."""
    facts = pixels.rows
    stated = _groups(read, facts, given)
    table = pd.DataFrame(
        {
            "path": _paths(source.path for source in read),
            "file": [printable(source.file) for source in read],
            "source": [source.source for source in read],
            "origin": [source.origin for source in read],
            "sequence": [s.sequence or tag for s, tag in zip(read, facts["sequence"], strict=True)],
            "class": [source.label for source in read],
            "split": "",
            "group": [group for group, _ in stated],
            "cluster": "",
            "patient": [group if kind == "patient" else "" for group, kind in stated],
            "official_split": [source.official for source in read],
            "fold": [source.fold for source in read],
            "mask_path": _paths(source.mask for source in read),
            "slice": facts["slice"].to_numpy(np.int64),
            "mask_doubt": facts["doubt"].to_numpy(object),
        }
    )
    for name in (*FRAME_COLUMNS, "mode", "mean", "std", "sharpness", "color", "digest"):
        table[name] = facts[name].to_numpy()
    table["spacing"] = facts["spacing"].map(lambda value: tuple(value) if isinstance(value, (list, tuple)) else None)
    count, links = len(table), pixels.links
    # Neighbours in a volume or series look alike, too, without being copies of each other
    stack = _stacks(read, facts).to_numpy(object)
    links = links[(links["kind"] == "exact") | (stack[links["a"]] != stack[links["b"]]) | (stack[links["a"]] == "")]
    patient = table["patient"].to_numpy(object)
    one_patient = (patient[links["a"]] == patient[links["b"]]) & (patient[links["a"]] != "")
    # Neighbouring slices of one head can look like variants; within a known patient only certain copies count as such.
    links = links[~(one_patient & links["kind"].isin(["variant", "aligned"]).to_numpy())]
    table["duplicate_of"], table["mirrored"] = duplicates.originals(count, links)
    labels = duplicates.components(count, links["a"].to_numpy(), links["b"].to_numpy())
    table["group"], table["cluster"] = duplicates.group_names(table["digest"].tolist(), labels, table["group"].tolist())
    slices = facts["slice"].astype(str)
    same = pd.Series([f"{source.origin}/{source.head}" if source.head else "" for source in read]) + "/" + slices
    several = np.array([source.head != "" for source in read])
    table.loc[several, "cluster"] = table[several].groupby(same[several])["cluster"].transform("min")
    shown = facts["shown"].to_numpy(object, copy=True)
    shown[pixels.twins["taker"]] = shown[pixels.twins["giver"]]  # a copy shows what its giver's mask says
    for said, label in ((NO_TUMOR, NO_TUMOR), (UNKNOWN, "")):  # never a tumor where its mask is empty
        table.loc[(table["class"] != NO_TUMOR) & (shown == said), "class"] = label
    other = np.array([source.tumor for source in read]) & ~np.isin(shown.astype(str), [NO_TUMOR, UNKNOWN])
    table["tumor"] = other | ~table["class"].isin(["", NO_TUMOR]).to_numpy()
    known = table[table["fold"] >= 0]
    fold = known.groupby("group")["fold"].agg(lambda values: int(values.mode().iloc[0]))
    table["fold"] = table["group"].map(fold).fillna(-1).astype(np.int64)
    return table


def _paths(paths: Iterable[Path | None]) -> pd.Series:
    """As Python's own text: names that are no valid text are none to Arrow, which pandas takes where it is there."""
    return pd.Series([str(path or "") for path in paths], dtype=object)


def _stacks(read: list[Source], facts: pd.DataFrame) -> pd.Series:
    """The volume or series that each row belongs to, "" for pictures."""
    paths = _paths(source.path for source in read)
    return paths.where(facts["slice"] >= 0, facts["stack"])


def _groups(read: list[Source], facts: pd.DataFrame, given: Given) -> list[tuple[str, str]]:
    """(name, kind) of the group that each row is said to belong to: by the tables, else by the PatientID, else by the
    folder of a patient, else by study, volume or series. Their names are made of pixels: no PatientID is written."""

    def named(kind: str, keys: pd.Series) -> pd.Series:
        return (f"{kind} " + facts["digest"].groupby(keys).transform("min").str[:12]).where(keys != "", "")

    names = named("patient", facts["person"]), named("volume", _stacks(read, facts))
    result = []
    for source, key, person, volume in zip(read, facts["person"], *names, strict=True):
        stated = given.get((source.origin, source.file), ("", ""))
        name, kind = stated if source.source == CLASS_FOLDER else (source.patient, "patient")
        if not name:
            certain = person if key.startswith("patient") else ""
            name, kind = certain or source.folder or person or volume, "patient"
            kind = kind if name != volume else "volume"
        result.append((name, kind))
    return result


def _left_out(table: pd.DataFrame, pixels: Pixels) -> list[tuple[str, str]]:
    """(file, reason) of slices without a head, and of masks that cannot be outlines."""
    first = ~table.duplicated("path").to_numpy() & (pixels.rows["left_out"] > 0).to_numpy()
    some = zip(table["file"][first], pixels.rows["left_out"][first], strict=True)
    found = [(file, f"{count} of its slices show no head and are left out") for file, count in some]
    doubtful = table[table["mask_doubt"] != ""]
    return found + [
        (file, f"its mask is not used: it {why}") for file, why in doubtful[["file", "mask_doubt"]].to_numpy()
    ]


def _masks(table: pd.DataFrame, pixels: Pixels, size: int) -> np.ndarray:
    """uint8 (N, S, S), and table's has_mask and mask_from: own masks, those of copies, empty ones without a tumor."""
    masks = np.zeros((len(table), size, size), np.uint8)
    masks[pixels.mask_rows] = pixels.masks
    own = np.zeros(len(table), bool)
    own[pixels.mask_rows] = True
    in_folder = (table["source"] == CLASS_FOLDER).to_numpy()
    mask_transfer.hand_over(masks, table[FRAME_COLUMNS].to_numpy(np.int64), pixels.twins)
    table["has_mask"] = own | (in_folder & (table["class"] == NO_TUMOR).to_numpy())
    table["mask_from"] = -1
    table.loc[pixels.twins["taker"], "has_mask"] = True
    table["tumor"] = table["tumor"].to_numpy(bool) | (masks > 127).any((1, 2))
    table.loc[pixels.twins["taker"], "mask_from"] = pixels.twins["giver"].to_numpy(np.int64)
    return masks
