"""Read thousands of pictures once: in parallel, patiently, and never again while they stay as they are.

Drive mounted in Colab answers slowly and sometimes with an error: each file is read with retries, checked not to have
changed meanwhile, decoded once with all its slices, and kept as the uint8 squares that the models see. Everything goes
into one local file; rows of it are used again when path, size and time of their file are unchanged.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from brain_mri.classes import NO_TUMOR
from brain_mri.data import cache as pixel_cache
from brain_mri.data import duplicates, mask_transfer
from brain_mri.data.cache import Pixels, Row
from brain_mri.data.folders import CLASS_FOLDER, DataError, Source, printable
from brain_mri.data.stacks import stack_of
from brain_mri.imaging.preprocessing import apply_frame, preprocess, sharpness
from brain_mri.imaging.scan import MAX_BYTES, Scan, ScanError
from brain_mri.imaging.volume import is_stack

ATTEMPTS, FIRST_WAIT = 4, 0.5  # of one file; seconds, doubled each time
THREADS = min(16, 4 * (os.cpu_count() or 2))
FRAME_COLUMNS = ["height", "width", "top", "left", "side"]
_BIG = threading.Semaphore(2)  # files above 4 MB are decoded two at a time, to bound the memory


class _Failure(Exception):
    """Why a file is left out."""


def read_all(
    sources: list[Source], size: int, cache: Path | None = None, progress: bool = True
) -> tuple[list[Source], Pixels, list[tuple[Source, str]]]:
    """(the source of each row, the rows' pixels, (source, reason) of what could not be read).

    A picture is a row, a volume one for each slice that shows a head.

    size: side S of the squares. cache: the file to use and to write; None for no cache. What cannot be read is tried
    again at the next start. Raises DataError when nothing at all can be read.
    """
    old = pixel_cache.load(cache, size) if cache else None
    batches = [sources[start : start + 100] for start in range(0, len(sources), 100)]
    with ThreadPoolExecutor(THREADS) as pool:
        keys = [key for batch in pool.map(lambda batch: [_key(s) for s in batch], batches) for key in batch]
    known: dict[str, list[Row]] = {}
    for row in old.each() if old is not None else []:
        known.setdefault(row.facts["key"], []).append(row)
    todo = [i for i, key in enumerate(keys) if key not in known]
    new = dict(zip(todo, _read_parallel([sources[i] for i in todo], size, progress), strict=True))
    found = [(source, new[i] if i in new else known[keys[i]]) for i, source in enumerate(sources)]
    read = [source for source, rows in found if isinstance(rows, list) for _ in rows]
    rows = [row for _, rows in found if isinstance(rows, list) for row in rows]
    skipped = [(source, row) for source, row in found if isinstance(row, str)]
    if old is not None and [row.facts["key"] for row in rows] == old.rows["key"].tolist():
        return read, old, skipped
    if not rows:
        raise DataError(f"None of the {len(sources)} files could be read; the first one {skipped[0][1]}.")
    del old, known, new, found  # and with them thousands of small arrays, as soon as _joined has made large ones
    pixels = _joined(read, rows, size)
    if cache:
        pixel_cache.save(cache, pixels, size)
    return read, pixels, skipped


def _read_parallel(sources: list[Source], size: int, progress: bool) -> list[list[Row] | str]:
    """What `_read_source` returns for each source, or the reason why it cannot be read."""

    def work(source: Source) -> list[Row] | str:
        try:
            return _read_source(source, size)
        except _Failure as failure:
            return str(failure)

    pool = ThreadPoolExecutor(THREADS)
    try:
        steps = pool.map(work, sources)
        hide = not progress or not sources
        return list(tqdm(steps, total=len(sources), desc="reading", unit="file", disable=hide, mininterval=0.5))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C: do not read the other thousands first


def _joined(read: list[Source], rows: list[Row], size: int) -> Pixels:
    """The rows, which it empties, as arrays, with the copies among them and the masks that they lend each other."""
    facts = pd.DataFrame([row.facts for row in rows])
    parts = ("square", "whole", "small", "head")
    images, whole, small, head = (np.stack([getattr(row, name) for row in rows]) for name in parts)
    masked = np.array([row.mask is not None for row in rows])
    masks = np.array([row.mask for row in rows if row.mask is not None], np.uint8).reshape(-1, size, size)
    rows.clear()
    links = duplicates.find_links(whole, head, facts["digest"].tolist())
    frames = facts[FRAME_COLUMNS].to_numpy(np.int64)
    takers = np.flatnonzero([source.source == CLASS_FOLDER and source.label != NO_TUMOR for source in read])
    twins = mask_transfer.find_twins(images, whole, head, frames, takers, np.flatnonzero(masked))
    return Pixels(facts, images, whole, small, head, masks, np.flatnonzero(masked), links, twins)


def _retry(action: Callable[[], Any]) -> Any:
    """Run it again after an OSError (Drive: Errno 5, time-outs). Raises _Failure with the reason."""
    wait = FIRST_WAIT
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except FileNotFoundError:
            raise _Failure("vanished while the folder was being read") from None
        except PermissionError:
            raise _Failure("may not be read (permission denied)") from None
        except OSError as error:
            if attempt == ATTEMPTS - 1:
                raise _Failure(f"could not be read after {ATTEMPTS} attempts ({error.strerror or error})") from None
        time.sleep(wait)
        wait *= 2
    raise AssertionError


def _stamp(path: Path) -> tuple[int, int]:
    """(bytes, time). Raises OSError, and _Failure for a pipe or a device, which may never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _Failure("is no ordinary file")
    return status.st_size, status.st_mtime_ns


def _key(source: Source) -> str:
    """What the cached row of a file is found by; "" when the file cannot be looked at."""
    try:
        stamps = [_retry(functools.partial(_stamp, path)) for path in (source.path, source.mask) if path is not None]
    except _Failure:
        return ""
    return _key_of(source, stamps)


def _key_of(source: Source, stamps: list[tuple[int, int]]) -> str:
    text = f"{source.source}|{source.origin}|{source.file}|{stamps}|{source.mask.name if source.mask else ''}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _read_bytes(path: Path) -> tuple[bytes, tuple[int, int]]:
    """(content, stamp), read while the file did not change. Raises _Failure."""
    for _ in range(ATTEMPTS):
        before = _retry(lambda: _stamp(path))
        if before[0] > MAX_BYTES:
            raise _Failure(f"has {before[0] / 2**20:.0f} MB; the limit is {MAX_BYTES // 2**20} MB")
        data = _retry(path.read_bytes)
        if before == _retry(lambda: _stamp(path)) and len(data) == before[0]:
            if not data:
                raise _Failure("is empty (0 bytes)")
            return data, before
        time.sleep(FIRST_WAIT)
    raise _Failure("kept changing while it was being read")


def _read(path: Path, action: Callable[[bytes, str], Any]) -> tuple[Any, tuple[int, int]]:
    """(what action makes of content and name, stamp). Raises _Failure."""
    data, stamp = _read_bytes(path)
    name = printable(path.name)
    try:
        if len(data) > 4 * 2**20 or is_stack(data):
            with _BIG:
                return action(data, name), stamp
        return action(data, name), stamp
    except ScanError as error:
        raise _Failure(str(error).removeprefix(f"{name} ")) from None
    except MemoryError:
        raise _Failure("needs more memory than there is") from None


def _read_source(source: Source, size: int) -> list[Row]:
    """A row, or one for each slice of a volume that shows a head. Raises _Failure."""
    stack, stamp = _read(source.path, stack_of)
    stamps, masks = [stamp], None
    if source.mask is not None:
        try:
            masks, mask_stamp = _read(source.mask, lambda data, _: stack.masks(source.mask, data, source.path.name))
        except _Failure as failure:
            raise _Failure(f"its mask {failure}") from None
        stamps.append(mask_stamp)
    shown = [i for i in range(len(stack)) if stack.shows_head(i)]
    common = {"key": _key_of(source, stamps), "person": stack.person, "stack": stack.series}
    common |= {"left_out": len(stack) - len(shown)}
    return [_row(stack.scan(i), common | stack.facts(i, masks), None if masks is None else masks[i], size)
            for i in shown]  # fmt: skip


def _row(scan: Scan, facts: dict[str, Any], outline: np.ndarray | None, size: int) -> Row:
    image = scan.image
    square, frame = preprocess(image, size)
    common = square if size == 128 else preprocess(image, 128)[0]  # links must not depend on the size that is trained
    whole, small, head = duplicates.thumbnails(image, common)
    mask = None
    if outline is not None and not facts["doubt"]:
        mask = np.where(apply_frame(outline.astype(np.uint8) * 255, frame, size) > 127, 255, 0).astype(np.uint8)
    facts = facts | {
        "width": int(image.shape[1]),
        "height": int(image.shape[0]),
        "mode": str(scan.info.get("mode", "")),
        "sequence": scan.sequence,
        "mean": float(image.mean()),
        "std": float(image.std()),
        "sharpness": sharpness(image),
        "color": float(scan.color),
        "spacing": list(scan.spacing) if scan.spacing else None,
        "digest": hashlib.blake2b(image.tobytes() + repr(image.shape).encode(), digest_size=16).hexdigest(),
        "top": frame.top,
        "left": frame.left,
        "side": frame.side,
    }
    return Row(facts, square, whole, small, head, mask)
