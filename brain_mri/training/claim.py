"""One run, one folder, one process: who may write into --out, and the name that all which a run leaves carries.

The kernel's lock on OUT/checkpoints/run.lock ends with its process however that ends, so a lock never outlives a run;
beside it lies who holds it. Machines do not see each other's locks on a mounted Drive, and some mounts know none:
there `--resume` takes a folder over, and whoever held it stops at its next step instead of mixing two runs.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from brain_mri.files import FileError, read_json, write_json
from brain_mri.training.config import TrainConfig

RUNS = Path("runs")
RUN, HOLDER, LOCK = "run.json", "holder.json", "run.lock"  # in OUT/checkpoints


class ClaimError(ValueError):
    """The folder belongs to another run; the message is one sentence for a person."""


@dataclass(frozen=True)
class Claim:
    """The hold of this process on the folder of a run.

    run: its name, new for each run and kept when it is resumed; "" of a run that an earlier version began.
    folder: OUT/checkpoints; None: nothing is claimed, as in tests of a single fit.
    """

    run: str = ""
    folder: Path | None = None
    holder: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Before anything is written: raises ClaimError when another process has taken the folder over."""
        if self.folder is None:
            return
        now = _read(self.folder / HOLDER)
        if now not in ({}, self.holder):  # a file that Drive does not give for a moment is no other run
            raise ClaimError(f"{self.folder.parent} was taken over by {_named(now)}; this one stops.")

    def check_part(self, run: str, what: Path) -> None:
        """Raises ClaimError when a checkpoint that says which run left it is another one's."""
        if run != self.run:
            raise ClaimError(f"{what} is of {_run(run)}, not of {_run(self.run)}; start anew without --resume, or use "
                             "another --out.")  # fmt: skip


def default_out(classifier: str, resume: bool) -> Path:
    """The folder of a run that was given none: a new one, named by the time; resumed is the last that was named so."""
    new = RUNS / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{classifier}"
    before = [path for path in RUNS.glob("20??-??-??-??????-*") if (path / "checkpoints").is_dir()]  # no zip of one
    return max(before, default=new) if resume else new


@contextlib.contextmanager
def claimed(config: TrainConfig) -> Iterator[Claim]:
    """Hold config.out for one run. Raises ClaimError when another run does; nothing is claimed with --epochs 0."""
    if config.epochs <= 0:
        yield Claim()
        return
    folder = config.out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ClaimError(f"{config.out} is being written by {_named(_read(folder / HOLDER))}; "
                         "wait for its end, or use another --out.") from None  # fmt: skip
    except (NotImplementedError, OSError):  # a mount without locks: only the holder's file tells
        pass
    try:
        claim = _take(config, folder)
        try:
            yield claim
        finally:
            if _read(folder / HOLDER) == claim.holder:
                (folder / HOLDER).unlink(missing_ok=True)
    finally:
        lock.release()
        if not (folder / RUN).exists():  # a run that was refused before it wrote anything
            (folder / LOCK).unlink(missing_ok=True)
            for empty in (folder, config.out):
                with contextlib.suppress(OSError):
                    empty.rmdir()


def _take(config: TrainConfig, folder: Path) -> Claim:
    """Write down who holds the folder from now on; a run that was killed left its own name there."""
    before, now = _read(folder / HOLDER), datetime.datetime.now().astimezone()
    here = platform.node()
    if before and before.get("host") != here and not config.resume:
        raise ClaimError(f"{config.out} holds {_named(before)}, which did not end there; go on with it with --resume, "
                         "or use another --out.")  # fmt: skip
    if before:
        print(f"{config.out} was left by {_named(before)}, which did not end orderly; this one takes its place.")
    stored = _read(folder / RUN) if config.resume else {}
    run = stored.get("run", "") if stored else f"{now:%Y-%m-%d-%H%M%S}-{secrets.token_hex(3)}"
    started = now.isoformat(sep=" ", timespec="seconds")
    holder = {"run": run, "process": os.getpid(), "host": here, "started": started, "token": secrets.token_hex(8)}
    write_json(folder / HOLDER, holder)
    return Claim(run, folder, holder)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileError:
        return {}


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "another run"
    process, host, started = (holder.get(name) for name in ("process", "host", "started"))
    return f"{_run(holder.get('run', ''))} (process {process} on {host}, since {started})"


def _run(name: str) -> str:
    return f"the run {name}" if name else "a run of an earlier version"
