"""The volumes of an upload, and which one is taken: contrast T1 first, never a label map, then most places.

Names decide first (of files; of DICOM series what their descriptions say), values have the last word on label maps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from brain_mri.imaging.archive import Member, Upload
from brain_mri.imaging.file_type import is_other_volume, is_picture, looks_like_dicom, looks_like_nifti, not_a_scan
from brain_mri.imaging.nifti import Grid, load_nifti
from brain_mri.imaging.orientation import plane_of
from brain_mri.imaging.picture import frame_count, read_stack
from brain_mri.imaging.scan import ScanError, TooLarge
from brain_mri.imaging.series_words import contrast_of, kind_of, plain_words, says_label, says_last, says_t1
from brain_mri.imaging.volume_formats import load_other, slice_count, voxel_file

FEW = 3  # places; fewer are a picture to remember a finding by, not a volume
LABELS = 32  # distinct whole numbers at most: a label map, or nothing
LISTED = 8  # of what was not taken, in a sentence


@dataclass(eq=False)
class Candidate:
    """A volume that an upload holds. said: what its name or tags say of it; injected: a contrast agent is stated;
    derived: computed from other pictures, or no MRI."""

    key: str
    title: str
    places: int
    load: Callable[[], Grid]
    said: str
    injected: bool = False
    derived: bool = False
    kind: str = "volumes"

    @cached_property
    def _words(self) -> tuple[str, str]:
        """(what is said, its last part) in plain words."""
        return plain_words(self.said), plain_words(self.said.rsplit("/", 1)[-1])

    @property
    def contrast(self) -> bool:
        stated = contrast_of(self._words[1])
        return self.injected if stated is None else stated

    @property
    def shows(self) -> str:
        """ "T1 with contrast medium"; "" where nothing tells."""
        kind = kind_of(self._words[1])
        return f"{kind or 'series'} with contrast medium" if self.contrast and kind in ("", "T1") else kind

    @cached_property
    def rank(self) -> tuple[bool, bool, bool, bool, int]:
        """The least is taken first."""
        words, file = self._words
        return (
            says_label(words),
            self.derived or says_last(file),
            self.places < FEW,
            not (says_t1(file) and self.contrast),
            -self.places,
        )


def is_label_map(values: np.ndarray) -> bool:
    """Whole numbers of few kinds, as segmentations are; also a volume without any content."""
    step = max(1, round((values.size / 200_000) ** (1 / 3)))
    sample = values[::step, ::step, ::step]
    if sample.dtype.kind == "f" and not np.array_equal(sample, np.rint(sample)):
        return False
    return len(np.unique(sample)) <= LABELS


def candidates_of(upload: Upload) -> tuple[list[Candidate], list[str]]:
    """(the volumes of an upload, warnings). Raises ScanError when there is none."""
    pairs = {m.path: _beside(upload, m) for m in upload.members if is_other_volume(m.start)}
    used = {m.path for m in pairs.values() if m is not None}
    found: list[Candidate] = []
    slices: list[Member] = []
    for member in upload.members:
        start, load = member.start, None
        if member.path in used:
            continue
        if member.path in pairs:
            load = partial(_other, member, pairs[member.path])
        elif looks_like_nifti(start):
            load = partial(_nifti, member)
        elif looks_like_dicom(start):
            slices.append(member)
        elif len(upload.members) == 1 and is_picture(start) and frame_count(member.load(), 2) > 1:
            load = partial(_moving, member)
        if load is not None:
            found.append(Candidate(member.path, member.name, slice_count(start), load, member.path))
    used |= {c.key for c in found} | {m.path for m in slices}
    if not upload.named:
        for number, candidate in enumerate(found, 1):
            own = f"volume {number}" + (f": {candidate.shows}" if candidate.shows else "")
            candidate.key = candidate.title = own if len(found) > 1 or slices else upload.name
    names = Counter(c.title for c in found)
    for candidate in found:
        if names[candidate.title] > 1:
            candidate.title = candidate.key
    warnings: list[str] = []
    if slices:
        series, warnings = _series(slices, upload.name, found)
        found += series
    passed = [m for m in upload.members if m.path not in used]
    if not found:
        raise ScanError(_nothing(upload, passed))
    passed = [m for m in passed if upload.packed or not _is_text(m.start)]
    if passed:
        what = "1 other file of" if len(passed) == 1 else f"{len(passed)} other files of"
        which = f": {_listed([m.own for m in passed])}" if upload.named else ""
        warnings.append(f"{what} {upload.name} were passed over{which}.")
    return found, warnings


def _beside(upload: Upload, header: Member) -> Member | None:
    """The file with the voxels of a header: from its own folder, or any other that was chosen with it."""
    file = voxel_file(header.start, header.own).lower()
    near = [m for m in upload.members if file and m is not header and m.own.lower() in (file, f"{file}.gz")]
    folder = header.path.rpartition("/")[0]
    return next((m for m in near if m.path.rpartition("/")[0] == folder), near[0] if near else None)


def _other(header: Member, voxels: Member | None) -> Grid:
    return load_other(header.load(), header.name, voxels.load if voxels else None)


def _nifti(member: Member) -> Grid:
    return load_nifti(member.load(), member.name)


def _moving(member: Member) -> Grid:
    """The pictures of an animation or of a TIFF of many pages as slices; nothing says where they lie."""
    picture = read_stack(member.load(), member.name)
    said = f"{member.name} states neither orientation nor sizes; it is shown as stored and cannot be measured in mL."
    stack, affine = picture.values, np.diag([-1.0, -1.0, 1.0, 1.0])
    info = picture.info | {"orientation": "as stored"}
    warnings = (*picture.warnings, said)
    return Grid(
        stack.transpose(2, 1, 0), affine, "LPS", None, 2, stack.shape[::-1], None, info, warnings, picture.color
    )


def _series(members: list[Member], name: str, others: list[Candidate]) -> tuple[list[Candidate], list[str]]:
    """(the DICOM series, sentences on files that were passed over). Raises ScanError when there is nothing else."""
    from brain_mri.imaging.dicom_series import series_of, stack_of  # pydicom, only when needed

    try:
        found, warnings = series_of(((m.name, m.load) for m in members), name)
    except TooLarge:
        raise
    except ScanError as error:
        if not others:
            raise
        return [], [str(error)]
    used = {c.title for c in others}
    candidates = []
    for number, series in enumerate(found, 1):
        axes = series.frames[0].place.axes
        derived = bool({"DERIVED", "LOCALIZER"} & set(series.kind))
        load = partial(stack_of, series, name)
        new = Candidate("", "", series.places, load, series.description, series.contrast, derived, "series")
        title = new.shows or "DICOM series"
        for more in ("", plane_of(axes, 2) if axes else "", f"#{number}"):
            own = f"{title} ({more})" if more else title
            if own not in used:
                break
        used.add(own)
        candidates.append(replace(new, key=own, title=own))
    return candidates, warnings


def _is_text(start: bytes) -> bool:
    """Notes beside pictures, which nobody takes for one."""
    return bool(start) and not set(start) & {*range(9), *range(14, 32)}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _nothing(upload: Upload, passed: Sequence[Member]) -> str:
    name = upload.name
    if [m.path for m in passed] == [name]:
        known = not_a_scan(passed[0].load())  # which says what is wrong with a damaged .gz
        if known:
            return f"{name} {known}."
        half = "; choose its header together with it" if name.lower().endswith((".img", ".raw", ".zraw")) else ""
        return f"{name} is no volume; NIfTI, MetaImage, NRRD, MGZ, DICOM and archives of them can be read{half}."
    for member in passed:
        if not member.start:
            member.load()  # says what is wrong
    pictures = sum(is_picture(m.start) for m in passed)
    held = f": {_listed([m.own for m in passed])}" if passed and upload.named else ""
    way = "; single pictures belong in the Batch tab" if pictures else ""
    return f"{name} holds no NIfTI volume and no DICOM file{held}{way}."


def pick(candidates: Sequence[Candidate], name: str, choose: str | None) -> tuple[Grid, Candidate, list[str]]:
    """(the volume asked for, else the best that can be read and is no label map; which; warnings). Raises ScanError."""
    order = sorted(candidates, key=lambda c: c.rank)
    if choose is not None:
        order = [c for c in candidates if c.key == choose]
        if not order:
            held = ", ".join(c.title for c in candidates[:LISTED])
            raise ScanError(f"{name} holds no volume {choose}; it holds {held}.")
    labels: list[tuple[Grid, Candidate]] = []
    failed: list[ScanError] = []
    for candidate in order:
        try:
            grid = candidate.load()
        except TooLarge:
            raise
        except ScanError as error:
            failed.append(error)
            continue
        if choose is None and len(order) > 1 and is_label_map(grid.voxels):
            labels = labels or [(grid, candidate)]
            continue
        return grid, candidate, _said(candidates, candidate, grid, name, choose, failed)
    if not labels:
        raise failed[0]
    return *labels[0], _said(candidates, labels[0][1], labels[0][0], name, choose, failed)


def _said(
    candidates: Sequence[Candidate],
    taken: Candidate,
    grid: Grid,
    name: str,
    choose: str | None,
    failed: list[ScanError],
) -> list[str]:
    """What a person has to know about the choice."""
    warnings = [str(error) for error in failed[:1]]
    if len(candidates) > 1 and choose is None:
        others = [f"{c.title} ({c.places})" for c in candidates if c is not taken]
        kind = "series" if all(c.kind == "series" for c in candidates) else "volumes"
        warnings.append(
            f"{name} holds {len(candidates)} {kind}; {taken.title} ({taken.places} slices) is "
            f"shown, not {_listed(others)}."
        )
    if is_label_map(grid.voxels) and grid.voxels.any():
        warnings.append(f"{taken.title} holds so few values that it looks like a mask (label map), not like a scan.")
    return warnings
