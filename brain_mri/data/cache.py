"""One local .npz file with everything that was read of a data folder, so that the next start takes a second.

It holds arrays and JSON, never pickles. It is written beside and renamed; one that is damaged, foreign, or cannot be
written costs time, never the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from brain_mri.files import atomic_write
from brain_mri.imaging.preprocessing import PREPROCESSING

DATA = Path(__file__).resolve().parent
IMAGING = DATA.parent / "imaging"
READERS = (
    "alignment.py",
    "duplicates.py",
    "mask_transfer.py",
    "neighbours.py",
    "outlines.py",
    "reader.py",
    "stacks.py",
)  # of data/: what makes the rows
_ARRAYS = ("images", "whole", "small", "head", "masks", "mask_rows")
_TABLES = ("rows", "links", "twins")


@dataclass(frozen=True, eq=False)
class Row:
    """What was read of one picture: facts for the table, its square, its thumbnails, its mask's square."""

    facts: dict[Any, Any]
    square: np.ndarray
    whole: np.ndarray
    small: np.ndarray
    head: np.ndarray
    mask: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Pixels:
    """What was read, row by row.

    rows     DataFrame: key, person, stack, left_out, slice, shown, doubt (see stacks.Stack), width, height, mode,
             sequence, mean, std, sharpness, color, spacing, digest, top, left, side
    images   uint8 (N, S, S)
    whole    uint8 (N, 64, 64), small (N, 32, 32) and head (N, 64, 64): see duplicates.thumbnails
    masks    uint8 (M, S, S) 0/255 of the rows in mask_rows int64 (M,)
    links    duplicates.find_links of these rows
    twins    mask_transfer.find_twins of these rows
    """

    rows: pd.DataFrame
    images: np.ndarray
    whole: np.ndarray
    small: np.ndarray
    head: np.ndarray
    masks: np.ndarray
    mask_rows: np.ndarray
    links: pd.DataFrame
    twins: pd.DataFrame

    def each(self) -> list[Row]:
        """The rows one by one, as views."""
        masks = dict(zip(self.mask_rows.tolist(), self.masks, strict=True))
        parts = zip(self.rows.to_dict("records"), self.images, self.whole, self.small, self.head, strict=True)
        return [Row(*part, masks.get(i)) for i, part in enumerate(parts)]


def cache_file(roots: list[Path], size: int, cache: Path | None) -> Path:
    """Where the cache of these folders lies.

    `cache` itself when it names an .npz, else a file in the folder `cache`, $BRAIN_MRI_CACHE or ~/.cache/brain-mri.
    """
    if cache is not None and Path(cache).suffix == ".npz":
        return Path(cache).expanduser()
    folder = Path(cache or os.environ.get("BRAIN_MRI_CACHE") or "~/.cache/brain-mri")
    text = json.dumps([[os.path.realpath(root) for root in roots], size, PREPROCESSING])
    return folder.expanduser() / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def code_of(imaging: Path = IMAGING, data: Path = DATA) -> str:
    """sha256 of the code that turns files into rows: the whole room imaging, and the readers of data."""
    digest = hashlib.sha256()
    for path in [*sorted(imaging.glob("*.py")), *(data / name for name in READERS)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _header(size: int) -> dict[str, Any]:
    """What a cache must agree in to be used: the size, and the very code that turned files into its rows."""
    return {"format": 6, "preprocessing": PREPROCESSING, "size": size, "code": code_of()}


def save(path: Path, pixels: Pixels, size: int) -> None:
    """Replace the cache as a whole. A disk that is full or read-only is only told about."""
    texts = {name: getattr(pixels, name).to_json(orient="split", double_precision=15) for name in _TABLES}
    texts["header"] = json.dumps(_header(size))
    arrays: dict[str, Any] = {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
    arrays |= {name: getattr(pixels, name) for name in _ARRAYS}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        reason = error.strerror or error
        note(f"the pictures could not be cached in {path} ({reason}), so the next start reads them again.")


def load(path: Path, size: int) -> Pixels | None:
    """The cache; None when there is none of this version and size, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if json.loads(file["header"].tobytes()) != _header(size):
                return None
            content: dict[str, Any] = {name: _table(file[name]) for name in _TABLES}
            content |= {name: file[name] for name in _ARRAYS}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        note(f"the cache {path} is damaged and is made anew.")
        return None
    return Pixels(**content)


def _table(array: np.ndarray) -> pd.DataFrame:
    content = json.loads(array.tobytes())
    return pd.DataFrame(content["data"], columns=content["columns"])


def note(text: str) -> None:
    tqdm.write(f"Note: {text}", file=sys.stderr)
