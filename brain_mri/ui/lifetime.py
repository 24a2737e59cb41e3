"""How a server's process lives and ends: one private folder for all that is temporary, gone with it however it ends."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import gradio as gr
from filelock import FileLock, Timeout
from gradio.tunneling import CURRENT_TUNNELS

from brain_mri.imaging.scan import ScanError

PREFIX = "brain-mri-page-"
PATIENCE = 3.0  # seconds that running work gets at the end; Docker kills after ten
ENDS = ("SIGTERM", "SIGINT", "SIGHUP")  # of Docker, systemd and Spaces; of Ctrl-C; of a terminal that was closed
STOPPING = "The server is being stopped, so nothing more is analysed; please try again in a few minutes."

stopping = threading.Event()
_held: tuple[Path, FileLock] | None = None


# --- the folder ------------------------------------------------------------------------------------------------


def private_folder() -> Path:
    """The folder of this process, made at the first call: nobody else may look into it, and it is removed at exit.

    Gradio keeps uploads and downloads in it from then on. It lies in $GRADIO_TEMP_DIR or the system's temporary folder,
    from which the first call also removes what processes that were killed have left.
    """
    global _held
    if _held is None:
        base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        base.mkdir(parents=True, exist_ok=True)
        remove_left_overs(base)
        _held = _new_folder(base)
        atexit.register(remove_private_folder, os.getpid())
    os.environ["GRADIO_TEMP_DIR"] = str(_held[0] / "gradio")
    return _held[0]


def _new_folder(base: Path) -> tuple[Path, FileLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))  # 0700
        lock = _lock(folder)
        try:
            lock.acquire()
        except Timeout:  # another process tidied up in this very moment
            continue
        except (OSError, NotImplementedError):  # a file system without locks, where no folder is ever taken for dead
            pass
        return folder, lock


def _lock(folder: Path) -> FileLock:
    """Held by a living process; the system lets go of it with the process, also when that is killed."""
    return FileLock(folder / "lock", timeout=0, mode=0o600, thread_local=False)


def remove_left_overs(base: Path) -> list[Path]:
    """Remove the folders in `base` of processes that are gone; never that of a living one. Which they were."""
    gone = []
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(
            OSError, NotImplementedError
        ):  # locked (filelock's Timeout is one), or somebody else's
            if folder.is_symlink() or not (folder / "lock").is_file():  # without a lock: just being made
                continue
            with _lock(folder):
                shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


def remove_private_folder(process: int | None = None) -> None:
    """process: only in the one of this number; a fork must not take its parent's folder away."""
    global _held
    if _held and process in (None, os.getpid()):
        shutil.rmtree(_held[0], ignore_errors=True)
        _held[1].release()
        shutil.rmtree(_held[0], ignore_errors=True)  # Windows: what was locked
        _held = None


# --- the process -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tidy_process() -> Iterator[None]:
    """The life of a server: what it writes is private, and being asked to end (ENDS) ends the block and removes it."""
    asked = [getattr(signal, name) for name in ENDS if hasattr(signal, name)]
    # What is ignored stays so (nohup), and only the main thread may say.
    asked = [s for s in asked if signal.getsignal(s) is not signal.SIG_IGN] if _in_main_thread() else []
    before = {s: signal.signal(s, signal.default_int_handler) for s in asked}
    mask, place = os.umask(0o077), tempfile.tempdir
    named = {key: os.environ.get(key) for key in ("GRADIO_TEMP_DIR", "TMPDIR")}
    try:
        os.environ["TMPDIR"] = tempfile.tempdir = str(private_folder())
        yield
    except KeyboardInterrupt:
        stopping.set()
    finally:
        for s in asked:
            signal.signal(s, signal.SIG_IGN)  # asking twice does not leave half of it
        remove_private_folder()
        os.umask(mask)
        tempfile.tempdir = place
        for key, value in named.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        for s in asked:
            signal.signal(s, before[s])


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def stay(page: gr.Blocks) -> None:
    """Until the process is asked to end: then new work is refused, what runs has PATIENCE seconds, the page closes.

    Raises KeyboardInterrupt. Call inside `tidy_process`, after `page.launch(prevent_thread_lock=True)`.
    """
    try:
        while page.is_running:
            time.sleep(0.2)
    except KeyboardInterrupt:
        stopping.set()
        deadline = time.monotonic() + PATIENCE
        while any(page._queue.active_jobs) and time.monotonic() < deadline:
            time.sleep(0.05)
        logging.getLogger("uvicorn.error").disabled = True  # connections are cut on purpose: no tracebacks of that
        page.server.config.timeout_graceful_shutdown = 1  # else one slow upload holds the door open
        page.close(verbose=False)
        for tunnel in CURRENT_TUNNELS:
            tunnel.kill()
        raise


def go_on() -> None:
    """Raises ScanError with a sentence once the process was asked to end. To be called between two pieces of work."""
    if stopping.is_set():
        raise ScanError(STOPPING)


def leave(code: int) -> NoReturn:
    """End the process with this exit code, now: threads in the middle of a long analysis are not waited for."""
    if stopping.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
