"""What the server keeps for its visitors: a budget in bytes over all of them; what was not used for longest goes first.

    kept = shelf.put(view, memory=view.nbytes)      # into the visitor's gr.State, instead of the view itself
    view = shelf.get(kept)                          # raises ScanError with a sentence once it had to go

Results lie on the shelf (slices in memory, volumes on disk); uploads and downloads are files, which `tidy` looks after.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import gradio as gr
from gradio.state_holder import StateHolder
from gradio.utils import get_upload_folder

from brain_mri.imaging.scan import ScanError

MEMORY = 2**30  # bytes of all visitors' slices; one of 512 x 512 pixels takes 7 MB
DISK = 4 * 2**30  # bytes of all visitors' volumes, and as much again of uploads and downloads; less on a small disk
RESULT_SECONDS = 30 * 60  # without use, after which a result is let go
FILE_SECONDS = 60 * 60  # after which an upload or download is deleted
LEFT_SECONDS = 60  # after the page was closed or the connection lost, when all of its session goes
PIECE_SECONDS = 5 * 60  # without a new byte, after which an upload counts as broken off
EVERY = 5.0  # seconds from one tidying to the next
NOTHING = "Please choose a scan or an example first."
LET_GO = "The server no longer keeps this result: it was not used for long, or other visitors needed the room. "
GONE = "The server no longer keeps this file: uploads go after an hour, or when other visitors need the room. "
AGAIN = "Please choose the file again."

T = TypeVar("T")


@dataclass(eq=False)
class Kept(Generic[T]):
    """A result in the session of a visitor. value: None once it was let go; used: when it was last looked at."""

    value: T | None
    memory: int
    disk: int
    used: float


class Shelf:
    """The results of all visitors. Safe to use from many threads."""

    def __init__(self, memory: int = MEMORY, disk: int = DISK):
        self.memory, self.disk = memory, disk
        self._kept: WeakSet[Kept[Any]] = WeakSet()  # what a session forgets is gone from here, too
        self._lock = threading.Lock()

    def put(self, value: T, *, memory: int = 0, disk: int = 0) -> Kept[T]:
        """memory, disk: its bytes. Others are let go until the budgets hold; a single one may be larger than they."""
        kept = Kept(value, memory, disk, time.monotonic())
        with self._lock:
            self._kept.add(kept)
            oldest = sorted((k for k in self._kept if k.value is not None and k is not kept), key=lambda k: k.used)
            all_memory, all_disk = memory + sum(k.memory for k in oldest), disk + sum(k.disk for k in oldest)
            for other in oldest:
                if (all_memory > self.memory and other.memory) or (all_disk > self.disk and other.disk):
                    other.value = None
                    all_memory, all_disk = all_memory - other.memory, all_disk - other.disk
        return kept

    def get(self, kept: Kept[T] | None) -> T:
        """Raises ScanError when nothing was chosen yet, and when it had to go."""
        if kept is None:
            raise ScanError(NOTHING)
        value = kept.value
        if value is None:
            raise ScanError(LET_GO + AGAIN)
        kept.used = time.monotonic()
        return value

    def exchange(self, kept: Kept[T], value: T) -> None:
        """A changed value of the same size, unless the old one has gone meanwhile."""
        with self._lock:
            if kept.value is not None:
                kept.value = value

    def let_go(self, unused: float = RESULT_SECONDS) -> None:
        """Of everything that was not used for so many seconds."""
        with self._lock:
            for kept in list(self._kept):
                if time.monotonic() - kept.used > unused:
                    kept.value = None

    @property
    def size(self) -> tuple[int, int]:
        """Bytes in memory and on disk."""
        with self._lock:
            held = [k for k in self._kept if k.value is not None]
        return sum(k.memory for k in held), sum(k.disk for k in held)


shelf = Shelf()  # of the process, as memory and disk are


# --- files -----------------------------------------------------------------------------------------------------


def still_there(paths: Iterable[str | Path]) -> None:
    """Raises ScanError with a sentence when the server has deleted one of the uploads by now."""
    if not all(Path(path).exists() for path in paths):
        raise ScanError(GONE + AGAIN)


def tidy(folder: Path, spared: Collection[str] = (), budget: int = DISK) -> set[str]:
    """Delete of a folder of uploads and downloads what is old, what was broken off, and the oldest beyond the budget.

    spared: files of the page itself; budget: bytes. Returns the paths that are gone.
    """
    now, held, gone = time.time(), [], set[str]()
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):
                state = os.stat(path, follow_symlinks=False)
                piece = Path(root) == folder  # a finished upload has a folder of its own
                age = now - max(state.st_mtime, state.st_ctime)  # a copy keeps the time of its original
                held.append((age, state.st_size, path, age > (PIECE_SECONDS if piece else FILE_SECONDS)))
        with contextlib.suppress(OSError):  # not empty
            if Path(root) != folder and now - os.stat(root).st_mtime > PIECE_SECONDS:
                os.rmdir(root)
    total = sum(size for _, size, _, _ in held)
    for _, size, path, old in sorted(held, reverse=True):
        if path not in spared and (old or total > budget):
            with contextlib.suppress(OSError):
                os.unlink(path)
                gone.add(path)
                total -= size
    return gone


def forget_those_who_left(sessions: StateHolder) -> None:
    """Gradio would keep the sessions of closed pages, with all their pictures, for an hour."""
    before = datetime.datetime.now() - datetime.timedelta(seconds=LEFT_SECONDS)
    with sessions.lock:
        for name, session in list(sessions.session_data.items()):
            if session.is_closed and sessions.time_last_used.get(name, before) <= before:
                sessions.session_data.pop(name, None)
                sessions.time_last_used.pop(name, None)


@contextlib.asynccontextmanager
async def tidying(app: Any) -> AsyncIterator[None]:
    """The lifespan of the page's FastAPI app: every few seconds what is old, broken off or beyond the budget goes."""
    page: gr.Blocks = app.get_blocks()
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    budget = min(DISK, shutil.disk_usage(folder).free // 4)
    shelf.disk = budget

    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(EVERY)
            await asyncio.to_thread(once)

    def once() -> None:
        forget_those_who_left(app.state_holder)
        shelf.let_go()
        spared = {path for block in list(page.blocks.values()) for path in getattr(block, "keep_in_cache", ())}
        gone = tidy(folder, spared, budget)
        for files in page.temp_file_sets:  # Gradio's own lists of them, which it would keep for ever
            files -= gone

    task = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        task.cancel()
