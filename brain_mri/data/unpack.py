"""An archive of a data set -> a folder on this machine's own disk, unpacked once for each state of the archive."""

from __future__ import annotations

import contextlib
import re
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from brain_mri.data.folders import DataError, walk

MAX_UNPACKED = 200 * 2**30  # bytes; sets of pictures are smaller, and what unpacks to more is a bomb or no such set
MAX_FILES = 2_000_000
RESERVE = 2**30  # bytes of a disk that are left free
DAY = 86_400.0  # seconds after which what an interrupted run left is taken away
_SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_PICTURE = re.compile(
    r"\.(png|jpe?g|jpe|jfif|jp2|tiff?|bmp|gif|webp|dcm|dicom|nii|mha|nrrd|mgz)(\.gz)?$", re.IGNORECASE
)


def unpacked(path: str | Path, into: Path) -> Path:
    """The folder itself, or that of what the archive holds, below `into`. Raises DataError.

    The folder has the name of the archive, in one named by a key of its path, size and time: one that was replaced is
    unpacked again, and two of the same name are not mixed up. What cannot be unpacked leaves nothing behind.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no {path}: on Colab, copy its path from the file list on the left.")
    if path.is_dir():
        return path
    state = path.stat()
    key = zlib.crc32(repr((str(path.absolute()), state.st_size, state.st_mtime_ns)).encode())
    folder = into / f"{key:08x}" / stem(path)
    if not folder.is_dir():
        unpack(path, folder)
    return folder


def stem(path: Path) -> str:
    """slices.tar.gz -> slices."""
    return _SUFFIX.sub("", path.name) or "data"


def is_archive(path: Path) -> bool:
    """By its name; what it holds shows when it is opened."""
    return _SUFFIX.search(path.name) is not None


def has_pictures(folder: Path) -> bool:
    return any(_PICTURE.search(name) for _, names in walk(folder) for name in names)


def unpack(path: Path, folder: Path, said: str = "") -> None:
    """The archive as a new folder, which is whole or not there. An archive of nothing but archives is unpacked further.

    said: what sentences call it, its path by default. Raises DataError.
    """
    with new_folder(folder) as half:
        budget = Budget(said or str(path), half)
        _extract(path, half, budget, budget.said)
        if not has_pictures(half):
            for inner in [Path(root, name) for root, names in walk(half) for name in names if is_archive(Path(name))]:
                _extract(inner, _free_name(inner), budget)
                inner.unlink()


def unpack_inside(source: Path, folder: Path, said: str) -> None:
    """A new folder with all that `source` holds, its archives unpacked; `source` stays as it is. Raises DataError."""
    with new_folder(folder) as half:
        budget = Budget(said, half)
        for root, names in walk(source):
            for path in (root / name for name in names):
                copy = half / path.relative_to(source)
                if is_archive(path):
                    _extract(path, _free_name(copy), budget)
                else:
                    budget.take(path.stat().st_size)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, copy)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` on a clean exit and is removed otherwise.

    Raises DataError where the disk does not take it.
    """
    there = next(parent for parent in folder.absolute().parents if parent.is_dir())
    for left in there.glob(".unpacking-*"):  # of a run that was killed
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left, ignore_errors=True)
    half = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=there))
    try:
        (half / "now").mkdir()
        yield half / "now"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another process was faster
            (half / "now").rename(folder)
        if not folder.is_dir():
            raise DataError(f"{folder} could not be written.")
    except OSError as error:
        raise DataError(f"{folder} could not be written ({error.strerror or error}).") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)


@dataclass
class Budget:
    """What may still be written for one archive, all that it holds taken together."""

    said: str
    disk: Path
    bytes: int = 0
    files: int = 0

    def __post_init__(self) -> None:
        there = next(folder for folder in [self.disk, *self.disk.parents] if folder.is_dir())
        self.limit = min(MAX_UNPACKED, max(shutil.disk_usage(there).free - RESERVE, 0))

    def take(self, size: int, files: int = 1) -> None:
        """Raises DataError when there is no room, before anything of it is written."""
        self.bytes, self.files = self.bytes + size, self.files + files
        if self.files > MAX_FILES:
            raise DataError(f"{self.said} holds more than {MAX_FILES:,} files and was refused.")
        if self.bytes > self.limit:
            raise DataError(
                f"{self.said} needs more than the {self.limit / 2**30:.1f} GB that this disk or program has for it."
            )


def _free_name(path: Path) -> Path:
    """The folder for what an archive holds, in its place."""
    folder = path.with_name(stem(path))
    return folder.with_name(f"{folder.name}-unpacked") if folder.exists() else folder


def _extract(path: Path, folder: Path, budget: Budget, said: str = "") -> None:
    said = said or f"{path.name} in {budget.said}"
    try:
        kind = "zip" if zipfile.is_zipfile(path) else "tar" if tarfile.is_tarfile(path) else ""
        if not kind:
            raise DataError(f"{said} is no zip or tar file, or only a part of one; download or upload it again.")
        if kind == "zip":  # of which Python never lets a member lead out of the folder
            _extract_zip(path, folder, budget)
        elif hasattr(tarfile, "data_filter"):  # refuses such members, links and devices; since Python 3.11.4
            _extract_tar(path, folder, budget)
        else:
            raise DataError(f"{said} is a tar file, which this old Python cannot unpack safely; make a zip file of it.")
    except NotImplementedError as error:  # how it is packed, which is a RuntimeError, too
        raise DataError(f"{said} is packed in a way that is unknown here ({error}); make a plain zip file.") from None
    except RuntimeError:  # zipfile's way to ask for a password
        raise DataError(f"{said} is protected by a password; unpack it first.") from None
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{said} could not be unpacked ({error}); download or upload it again.") from None


def _extract_zip(path: Path, folder: Path, budget: Budget) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if "__MACOSX" not in info.filename.split("/")]
        budget.take(sum(info.file_size for info in members), len(members))  # no member yields more than it states
        for info in tqdm(members, desc=f"Unpacking {path.name}", unit=" files", leave=False):
            info.filename = info.filename.replace("\\", "/")  # as some programs of Windows write it
            archive.extract(info, folder)


def _extract_tar(path: Path, folder: Path, budget: Budget) -> None:
    with tarfile.open(path) as archive:
        for info in tqdm(archive, desc=f"Unpacking {path.name}", unit=" files", leave=False):
            budget.take(info.size)
            archive.extract(info, folder, filter="data")
