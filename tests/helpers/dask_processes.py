"""A real Dask scheduler and workers on the loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Processes:
    """A scheduler and workers of one thread, each a process of its own."""

    def __init__(self, folder: Path, **environment: str):
        self._file, self._environment, self._all = folder / "scheduler.json", environment, list[subprocess.Popen]()
        words = ("--port", "0", "--no-dashboard")
        self.scheduler = self._start("scheduler", *words, PYTHONPATH="", PYTHONSAFEPATH="1")  # which lacks the program
        while not self._file.exists():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = str(self._file)

    def _start(self, what: str, *words: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1", *words]
        log = self._file.with_name(f"{what}-{len(self._all)}.log").open("w")
        known = os.environ | {"PYTHONPATH": str(ROOT)} | self._environment | environment
        self._all.append(
            subprocess.Popen(
                [*command, "--scheduler-file", str(self._file)], cwd=self._file.parent, env=known,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        )  # fmt: skip
        return self._all[-1]

    def worker(self, preload: str = "", nanny: bool = False, **environment: str) -> subprocess.Popen:
        words = ["--nthreads", "1", "--no-dashboard", "--nanny" if nanny else "--no-nanny"]
        if preload:
            file = self._file.with_name(f"preload{len(self._all)}.py")
            file.write_text(preload)
            words += ["--preload", str(file)]
        return self._start("worker", *words, **environment)

    def wait_for(self, workers: int) -> None:
        from distributed import Client

        with Client(scheduler_file=self.address) as client:
            client.wait_for_workers(workers)

    def end(self) -> None:
        for process in reversed(self._all):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def processes(folder: Path, **environment: str) -> Iterator[Processes]:
    folder.mkdir()
    started = Processes(folder, **environment)
    try:
        yield started
    finally:
        started.end()
