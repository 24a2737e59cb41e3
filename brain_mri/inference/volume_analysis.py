"""A whole volume, slice by slice: tumor probability and marked area along it, the mask in 3D, its volume in mL.

    found = analyze_volume(predictor, read_volume("study.zip"))
    found.millilitres, found.volume.save_mask(found.mask, "mask.nii.gz")

The models see single slices. What they say about a volume is only the sum of that, and is worded so.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.classes import CANNOT_TELL, NO_TUMOR, title
from brain_mri.imaging.orientation import DISPLAY, moved, permuted, turned
from brain_mri.imaging.volume import Volume
from brain_mri.inference.analysis import KIND_UNSURE, NO_SKULL, any_tumor
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor, likeliest
from brain_mri.inference.quality import SENTENCES
from brain_mri.inference.sequence import Shown, doubts_of_kind, most_show

GROUP = 16  # slices from one report of the progress to the next
Point = tuple[int, int, int]  # (slice, row, column) of an acquired stack, from 0


class Gone(Exception):
    """Nobody waits for this answer any more, so it is not worked out."""


@dataclass(frozen=True, eq=False)
class VolumeAnalysis:
    """One analysed volume. Voxels and mask lie in files of `folder`, not in memory; it is removed with this object."""

    volume: Volume
    mask: np.ndarray  # bool (D, H, W)
    probabilities: np.ndarray  # float32 (D, C), as the model orders its classes
    classes: tuple[str, ...]
    area: np.ndarray  # float32 (D,) marked mm², or pixels when the spacing is not known
    foreign: np.ndarray  # bool (D,): the guard finds no brain on the slice; nothing is marked there
    stripped: np.ndarray  # bool (D,): a brain without its skull
    warnings: tuple[str, ...]
    model_id: str
    revision: str
    folder: Any = field(repr=False, default=None)  # tempfile.TemporaryDirectory
    abstain_below: float = 0.0  # a confidence under which the model does not commit itself
    tumor_first: bool = False  # whether there is a tumor is decided before its kind, see decision.decided
    sequence: str = ""  # one of classes.SEQUENCES: what the file says, or most of the slices look like
    sequence_from: str = ""  # "file", "picture" or ""
    quality: tuple[str, ...] = ()  # why most slices with a brain are too poor to judge, see quality.SENTENCES

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return int(self.volume.grid.voxels.nbytes + self.mask.nbytes)

    @property
    def tumor(self) -> np.ndarray:
        """float32 (D,): probability of any tumor per slice; 0 where there is no brain, and where no class tells it."""
        if not self.tells_none:
            return np.zeros(len(self.area), np.float32)
        return np.where(self.foreign, 0, 1 - self.probabilities[:, self.classes.index(NO_TUMOR)]).astype(np.float32)

    @property
    def tells_none(self) -> bool:
        """Has the model a class "no tumor"?"""
        return NO_TUMOR in self.classes

    @property
    def unit(self) -> str:
        return "mm²" if self.volume.spacing else "pixels"

    @property
    def millilitres(self) -> float | None:
        """Marked volume; None when the spacing is not known."""
        voxel = self.volume.voxel_mm3
        return None if voxel is None else float(np.count_nonzero(self.mask)) * voxel / 1000

    @property
    def marked(self) -> int:
        """Slices with a mark."""
        return int(np.count_nonzero(self.area))

    @property
    def answer(self) -> dict[str, float]:
        """Class -> probability: of the marked slices, weighted by their area; where none is, of all with a brain; and
        where there is none of these either, of all."""
        weights = self.area if self.marked else (~self.foreign | self.foreign.all()).astype(np.float32)
        mean = (self.probabilities * weights[:, None]).sum(axis=0, dtype=np.float64) / max(1e-9, float(weights.sum()))
        return dict(zip(self.classes, mean.tolist(), strict=True))

    @property
    def label(self) -> str:
        """The class that the marked slices speak for, weighted by their area; NO_TUMOR when nothing is marked."""
        return self._likeliest(self.answer) if self.marked or not self.tells_none else NO_TUMOR

    def _likeliest(self, chances: dict[str, float]) -> str:
        """As decision.decided does it."""
        if self.tumor_first and chances.get(NO_TUMOR, 0.0) < 0.5:
            chances = {name: chance for name, chance in chances.items() if name != NO_TUMOR}
        return likeliest(chances)

    @property
    def marked_on(self) -> str:
        """The slices with a mark, counted from 1: "3-5, 8"."""
        numbers = np.flatnonzero(self.area) + 1
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1) if len(numbers) else []
        return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)

    @property
    def said(self) -> str:
        """Where something is marked, in a sentence without its stop."""
        depth, largest = len(self.area), int(self.area.argmax()) + 1
        if not self.marked:
            return "The segmentation marks nothing on " + (f"any of the {depth} slices" if depth > 1 else "the slice")
        size = f", {self.millilitres:.1f} mL in all" if self.millilitres is not None else ""
        size += " (doubtful)" if size and self.volume.doubt else ""
        where = (
            (f"{self.marked} of {depth} slices", f"; largest on slice {largest}") if depth > 1 else ("the slice", "")
        )
        return f"Marked on {where[0]}{size}{where[1]}"

    @property
    def reason(self) -> str:
        """Why there is no answer for the volume, or "" when there is one: `label`."""
        answer, label = self.answer, self.label
        if self.foreign.all():
            return "No slice of this volume looks like a brain MRI, so no finding is given."
        if self.skull_stripped:
            return f"{self.said}, but {NO_SKULL}."
        if self.quality:
            return f"{self.said}, but {SENTENCES[self.quality[0]]}."
        first = self._likeliest(answer)
        if not self.marked and first != NO_TUMOR and self.tells_none:
            return f"{self.said}, but the classifier's most likely answer is {title(first)}: the two models disagree."
        if self.marked and label == NO_TUMOR:
            return f"{self.said}. On these slices the classifier sees no tumor, so the two models disagree."
        if answer.get(label, 1.0) >= self.abstain_below:
            return ""
        if self.tumor_first and 1 - answer.get(NO_TUMOR, 0.0) >= self.abstain_below:
            return f"{self.said}. {KIND_UNSURE}: {title(label)} is the likeliest kind at {answer[label]:.0%}."
        return (
            f"{self.said}. The classifier's most likely answer there is {title(label)} at {answer[label]:.0%}; "
            f"below {self.abstain_below:.0%} the model does not commit itself."
        )

    @property
    def kind_unsure(self) -> bool:
        """There is a tumor, only its kind is not named."""
        return KIND_UNSURE in self.reason

    @property
    def skull_stripped(self) -> bool:
        """Is the skull missing on most slices with a brain?"""
        return bool(2 * np.count_nonzero(self.stripped) > np.count_nonzero(~self.foreign))

    def start(self) -> Point:
        """Where to look first: the middle of the largest mark, else the fullest slice."""
        _, height, width = self.volume.shape
        if not self.marked:
            index = int(str(self.volume.scan().info["index"]))
            return index, height // 2, width // 2
        index = int(self.area.argmax())
        rows, columns = np.nonzero(self.mask[index])
        return index, int(np.median(rows)), int(np.median(columns))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON. Slices are counted from 0, only in `marked_on` from 1."""
        answer = self.answer
        named = [self._likeliest(dict(zip(self.classes, row, strict=True))) for row in self.probabilities.tolist()]
        highest = int(self.tumor.argmax())
        return {
            "name": self.volume.name,
            "choice": self.volume.choice,
            "choices": [asdict(choice) for choice in self.volume.choices],
            "plane": self.volume.plane,
            "slices": len(self.area),
            "shape": list(self.volume.shape),
            "spacing_mm": list(self.volume.spacing) if self.volume.spacing else None,
            "label": self.label,
            "confidence": answer.get(self.label, 0.0),
            "probabilities": answer,
            "tumor_probability": any_tumor(answer),
            "tumor": bool(self.marked) and self.label != NO_TUMOR if self.tells_none else None,
            "abstained": bool(self.reason),
            "reason": self.reason,
            "kind_unsure": self.kind_unsure,
            "not_brain_mri": bool(self.foreign.all()),
            "skull_stripped": self.skull_stripped,
            "quality": list(self.quality),
            "sequence": self.sequence,
            "sequence_from": self.sequence_from,
            "marked_slices": self.marked,
            "marked_on": self.marked_on,
            "largest_slice": int(self.area.argmax()) if self.marked else None,
            "called_slices": sum(n != NO_TUMOR and not far for n, far in zip(named, self.foreign, strict=True)),
            "highest_slice": highest if self.tells_none else None,
            "highest_probability": round(float(self.tumor[highest]), 5) if self.tells_none else None,
            "volume_ml": self.millilitres,
            "doubt": self.volume.doubt,
            "area_unit": self.unit,
            "per_slice": [
                {
                    "slice": i,
                    "tumor_probability": round(float(self.tumor[i]), 5) if self.tells_none else None,
                    "area": round(float(self.area[i]), 2),
                    "label": named[i],
                    "not_brain_mri": bool(self.foreign[i]),
                }
                for i in range(len(self.area))
            ],
            "warnings": list(self.warnings),
            "model_id": self.model_id,
            "revision": self.revision,
        }


def analyze_volume(
    predictor: Predictor, volume: Volume, progress: Callable[[int, int], object] | None = None
) -> VolumeAnalysis:
    """Analyse every acquired slice, one on each core. Raises ScanError.

    progress(done, all) is called before the first slice and now and then; what it raises ends the work within a few.
    """
    depth = len(volume)
    if progress:
        progress(0, depth)
    folder = tempfile.TemporaryDirectory(prefix="brain-mri-volume-")
    volume = _on_disk(volume, Path(folder.name))
    mask = np.lib.format.open_memmap(Path(folder.name) / "mask.npy", "w+", bool, volume.shape)
    probabilities = np.zeros((depth, len(predictor.classes)), np.float32)
    area, foreign, stripped = np.zeros(depth, np.float32), np.zeros(depth, bool), np.zeros(depth, bool)
    shown = [Shown()] * depth
    quality: list[tuple[str, ...]] = [()] * depth
    pixel = volume.spacing[1] * volume.spacing[2] if volume.spacing else 1.0

    def work(i: int) -> None:
        found = predictor.outline(volume.scan(i))
        probabilities[i] = [found.probabilities[name] for name in predictor.classes]
        foreign[i], stripped[i], mask[i] = found.not_brain_mri, found.skull_stripped, found.mask
        area[i], shown[i], quality[i] = np.count_nonzero(found.mask) * pixel, found.shown, found.quality

    pool = ThreadPoolExecutor(cores())
    try:
        for done, _ in enumerate(pool.map(work, range(depth)), 1):
            if progress and (done % GROUP == 0 or done == depth):
                progress(done, depth)
    finally:
        pool.shutdown(cancel_futures=True)  # after an exception, also one of `progress`, the rest is not begun
    most = most_show(shown)
    analysis = VolumeAnalysis(
        volume, mask, probabilities, predictor.classes, area, foreign, stripped,
        (*_warnings(volume, foreign), *([] if NO_TUMOR in predictor.classes else [CANNOT_TELL])),
        predictor.model_id, predictor.revision, folder, predictor.abstain_below,
        predictor.config.outlined is not None, most.sequence, most.source,
        most_poor([faults for faults, other in zip(quality, foreign, strict=True) if not other]),
    )  # fmt: skip
    if analysis.label == NO_TUMOR or (analysis.reason and not analysis.kind_unsure):
        return analysis
    return replace(analysis, warnings=(*analysis.warnings, *doubts_of_kind(predictor.config.sequence, most)))


def most_poor(slices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What is wrong first with the most slices, where something is with more than half of them."""
    first = Counter(faults[0] for faults in slices if faults)
    return (first.most_common(1)[0][0],) if 2 * first.total() > len(slices) else ()


def _on_disk(volume: Volume, folder: Path) -> Volume:
    """The same volume with its voxels in a file: a hundred visitors' volumes do not fit in memory."""
    voxels = np.lib.format.open_memmap(folder / "voxels.npy", "w+", volume.grid.voxels.dtype, volume.grid.voxels.shape)
    voxels[...] = volume.grid.voxels
    grid = replace(volume.grid, voxels=voxels)
    return replace(volume, grid=grid, voxels=turned(voxels, grid.axes, DISPLAY[volume.plane]))


def _warnings(volume: Volume, foreign: np.ndarray) -> tuple[str, ...]:
    found = list(volume.warnings)
    if foreign.all():
        found.append("No slice looks like a brain MRI, so nothing is marked.")
    elif foreign.any():
        count = int(foreign.sum())
        found.append(f"{count} of {len(foreign)} slices do not look like a brain and were left out.")
    return tuple(found)


# --- one point in three planes ---------------------------------------------------------------------------------


def to_plane(volume: Volume, point: Point, plane: str) -> Point:
    """An acquired (slice, row, column) as (slice, row, column) of the stack of a plane, unstretched."""
    return moved(point, volume.shape, DISPLAY[volume.plane], DISPLAY[plane])


def from_plane(volume: Volume, point: Point, plane: str) -> Point:
    """The inverse of to_plane, clipped to the volume."""
    shape = plane_shape(volume, plane)
    inside = [min(max(value, 0), length - 1) for value, length in zip(point, shape, strict=True)]
    return moved(inside, shape, DISPLAY[plane], DISPLAY[volume.plane])


def slice_axis(volume: Volume, plane: str) -> int:
    """The axis of the acquired stack along which the slices of a plane are counted."""
    return permuted((0, 1, 2), DISPLAY[volume.plane], DISPLAY[plane])[0]


def plane_shape(volume: Volume, plane: str) -> Point:
    """(slices, rows, columns) of the stack of a plane, unstretched."""
    return permuted(volume.shape, DISPLAY[volume.plane], DISPLAY[plane])
