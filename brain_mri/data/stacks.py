"""One file of a data set -> its slices: a picture is one, a volume (NIfTI, multi-frame DICOM) as many as it has.

A volume is opened once; its mask is another volume, and lies on it slice for slice.
"""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.classes import NO_TUMOR
from brain_mri.data.outlines import doubt, fitted, marked, outline_of
from brain_mri.imaging.file_type import has_dicom_preamble, is_picture, looks_like_dicom
from brain_mri.imaging.orientation import DISPLAY, turned
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import Scan, ScanError, content_of
from brain_mri.imaging.volume import Volume, is_stack, read_volume

CONTENT, SHARE = 0.1, 0.15  # of the brightest value, and of the pixels above it in the fullest slice: shows a head
UNKNOWN = "<no class>"  # beside a tumor: neither taught as one nor as none
_NOBODY = ("", "0", "none", "unknown", "patient", "test", "na", "nan", "xxx", "id", "subject")


class Stack:
    """The slices of one file.

    person  "" or a hash of the PatientID (never the id itself); series: "" or a hash of the series it belongs to
    """

    person = series = ""

    def __init__(self, content: Scan | Volume) -> None:
        self.content = content
        self.of_volume = isinstance(content, Volume)
        self._outlined: np.ndarray = np.zeros(0, int)
        self._gray: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.content) if isinstance(self.content, Volume) else 1

    def scan(self, index: int) -> Scan:
        return self.content.scan(index) if isinstance(self.content, Volume) else self.content

    def shows_head(self, index: int) -> bool:
        """Scanners append empty slices, and the last ones of a head show little of it."""
        return not isinstance(self.content, Volume) or bool(self._content[index] > SHARE * self._content.max())

    @functools.cached_property
    def _content(self) -> np.ndarray:
        """Share of bright pixels of each slice."""
        assert isinstance(self.content, Volume)
        low, high = self.content.limits
        return np.array([np.mean(part > low + CONTENT * (high - low)) for part in self.content.voxels])

    def masks(self, path: Path | None, data: bytes, picture: str) -> list[np.ndarray]:
        """bool (H, W) of each slice, from the content of a mask file. Raises ScanError."""
        assert path is not None
        volume = is_stack(data)
        if isinstance(self.content, Volume):
            if not volume:
                raise ScanError(f"is a single slice, the picture a volume of {len(self)}")
            found = list(_aligned(self.content, read_volume(data, name=path.name)))
        elif volume:
            raise ScanError("is a volume, the picture a single slice")
        else:
            mask, self._gray = outline_of(path, data, picture, self.content.shape)
            found = [mask]
        self._outlined = np.array([np.count_nonzero(mask) for mask in found])
        return found

    def facts(self, index: int, masks: list[np.ndarray] | None) -> dict[str, Any]:
        """slice (-1 of a picture); shown: the class that its mask gives a slice without a tumor; doubt of the mask."""
        result = {"slice": index if self.of_volume else -1, "shown": "", "doubt": ""}
        if masks is None:
            return result
        result["doubt"] = doubt(self.scan(index).image, masks[index], self._gray)
        if not self._outlined[index]:
            near = self._outlined[max(0, index - 1) : index + 2].any()
            result["shown"] = NO_TUMOR if self.of_volume and not near else UNKNOWN
        return result


def _aligned(volume: Volume, mask: Volume) -> np.ndarray:
    """bool (D, H, W) on the slices of volume. Raises ScanError.

    By the orientation that both state; voxel for voxel where the mask states none or only the identity.
    """
    stored, own = mask.grid.voxels, volume.grid.voxels
    bare = mask.grid.info.get("orientation") == "not stated" or np.allclose(np.abs(mask.grid.affine), np.eye(4))
    if stored.shape == own.shape and (bare or mask.grid.axes == volume.grid.axes):
        return turned(marked(stored), volume.grid.axes, DISPLAY[volume.plane])
    turned_too = mask.reslice(mask.voxels, volume.plane)
    if turned_too.shape == volume.shape:
        return marked(turned_too)
    raise ScanError(f"has {_size(mask)} voxels, the volume {_size(volume)}")


def _size(volume: Volume) -> str:
    return "x".join(str(n) for n in volume.grid.voxels.shape)


def stack_of(data: bytes, name: str) -> Stack:
    """Raises ScanError."""
    stack = Stack(_content(data, name))
    if has_dicom_preamble(data) or (looks_like_dicom(data) and not is_picture(data)):
        stack.person, stack.series = _identity(data)
    return stack


def _content(data: bytes, name: str) -> Scan | Volume:
    if is_stack(data):
        try:
            return read_volume(data, name=name)
        except ScanError:
            if not is_picture(data):
                raise
    return read_scan(data, name=name)  # also of a TIFF whose further pages are previews


def _identity(data: bytes) -> tuple[str, str]:
    """Hashes of the patient (without a PatientID: of the study) and of the series that a DICOM file states."""
    import pydicom  # takes a quarter of a second: only when needed

    tags = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"]
    try:
        found = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True, specific_tags=tags)
        patient, study, series = (str(found.get(tag) or "").strip() for tag in tags)
    except Exception:  # damaged tags: the pixels could be read all the same
        return "", ""
    letters = "".join(c for c in patient.lower() if c.isalnum())
    nobody = letters in _NOBODY or letters.startswith("anon") or not letters.strip("0x")
    return _hashed("study", study) if nobody else _hashed("patient", patient), _hashed("series", series)


def _hashed(kind: str, text: str) -> str:
    return f"{kind} {hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}" if text else ""


def read_slice(path: str | Path, index: int = -1) -> Scan:
    """The slice of a row of Dataset.table: columns path and slice. Raises ScanError."""
    return read_scan(path) if index < 0 else _volume(str(path), Path(path).stat().st_mtime_ns).scan(index)


@functools.lru_cache(maxsize=1)
def _volume(path: str, _time: int) -> Volume:
    """The last one is kept: its other slices are asked for next."""
    return read_volume(path)


def read_outline(path: str | Path, mask: str | Path, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """bool (H, W) at the picture's shape, of a row of Dataset.table: path, mask_path, slice. Raises ScanError."""
    data = content_of(mask)[0]
    if index < 0:
        return outline_of(Path(mask), data, Path(path).name, shape)[0]
    return fitted(_volume_mask(str(path), str(mask), Path(mask).stat().st_mtime_ns)[index], shape)


@functools.lru_cache(maxsize=1)
def _volume_mask(path: str, mask: str, _time: int) -> np.ndarray:
    return _aligned(_volume(path, Path(path).stat().st_mtime_ns), read_volume(mask))
