"""An archive of a data set -> a folder on this machine's own disk, unpacked once for each state of the archive."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from brain_mri.data.folders import DataError


def unpacked(path: str | Path, into: Path) -> Path:
    """The folder itself, or that of what the archive holds, below `into`. Raises DataError.

    The folder is named after the archive, with a key of its path, size and time: one that was replaced is unpacked
    again, and two of the same name are not mixed up. What cannot be unpacked leaves nothing behind.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no {path}: look for it in the file list on the left and copy its path from there.")
    if path.is_dir():
        return path
    state = path.stat()
    key = zlib.crc32(repr((str(path.absolute()), state.st_size, state.st_mtime_ns)).encode())
    folder, half = into / f"{path.stem}-{key:08x}", into.with_name(f"{into.name}-unfinished")
    if folder.is_dir():
        return folder
    shutil.rmtree(half, ignore_errors=True)  # what an interrupted run left
    try:
        kind = "zip" if zipfile.is_zipfile(path) else "tar" if tarfile.is_tarfile(path) else ""
        if not kind:
            raise DataError(f"{path} is no zip or tar file, or only a part of one; download or upload it again.")
        if kind == "zip":  # of which Python never lets a member lead out of the folder
            shutil.unpack_archive(path, half / "now", kind)
        elif hasattr(tarfile, "data_filter"):  # refuses such members, links and devices; since Python 3.11.4
            shutil.unpack_archive(path, half / "now", kind, filter="data")
        else:
            raise DataError(f"{path} is a tar file, which this old Python cannot unpack safely; make a zip file of it.")
        into.mkdir(parents=True, exist_ok=True)
        (half / "now").rename(folder)
    except RuntimeError:  # zipfile's way to ask for a password
        raise DataError(f"{path} is protected by a password; unpack it first.") from None
    except (OSError, EOFError, shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} could not be unpacked ({error}); download or upload it again.") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder
