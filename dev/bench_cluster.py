"""What `predict --cluster` costs beside a local run: processor time of every process, bytes, the time of a task.

    python -m dev.bench_cluster --data FOLDER --files 200 1200

Local runs and runs with one and with two workers of one thread take turns. Costs a file are the slope between the two
counts of files, so that starting and loading, which is told apart, is in none of them. FOLDER: pictures, taken in turn.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from distributed import Client, wait

from brain_mri.inference import cohort, parts
from brain_mri.inference.jobs import find
from brain_mri.inference.predictor import Predictor

TASKS = 3000
CORES = sorted(os.sched_getaffinity(0))
Cost = dict[str, float]  # seconds of the processor by process, and "wall"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--files", type=int, nargs=2, default=[200, 1200])
    p.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: a local run")
    p.add_argument("--rounds", type=int, default=1)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        few, many = (copies(args.data, root / f"in{count}", count) for count in args.files)
        found: dict[str, list[list[Cost]]] = {}
        for _ in range(args.rounds):
            for workers in args.workers:
                title = f"{workers} workers" if workers else "local"
                found.setdefault(title, []).append([run(folder, root, workers) for folder in (few, many)])
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, {time.strftime('%Y-%m-%d')}"
        )
        less, more = args.files
        for title, rounds in found.items():
            for who in rounds[0][0]:
                each = sorted(1000 * (b[who] - a[who]) / (more - less) for a, b in rounds)[len(rounds) // 2]
                fixed = sorted(a[who] for a, _ in rounds)[len(rounds) // 2] - each * less / 1000
                print(f"{title:<10}{who:<10}{each:8.2f} ms a file{fixed:8.2f} s to start")
        scheduler(root, many)


def copies(data: Path, folder: Path, count: int) -> Path:
    """So many pictures of a folder, each time under another name."""
    folder.mkdir()
    files = find([str(data)], folder)
    for i in range(count):
        file = files[i % len(files)]
        shutil.copy(file, folder / f"{i:06}{file.suffix}")
    return folder


def run(folder: Path, root: Path, workers: int) -> Cost:
    """One predict without pictures."""
    shutil.rmtree(root / "out", ignore_errors=True)
    command = [sys.executable, "-m", "brain_mri", "predict", str(folder), "--table-only", "--out", str(root / "out")]
    if not workers:
        return cost([*command, "--threads", "1"], {})
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "scheduler.json")
        others = {"scheduler": started("scheduler", file)}
        try:
            while not file.exists():
                time.sleep(0.1)
            for i in range(workers):
                others[f"worker {i + 1}"] = started("worker", file, "--nthreads", "1", "--no-nanny")
                os.sched_setaffinity(others[f"worker {i + 1}"].pid, {CORES[i % len(CORES)]})
            with Client(scheduler_file=str(file)) as client:
                client.wait_for_workers(workers)
            found = cost([*command, "--cluster", str(file)], others)
            memory = [psutil.Process(process.pid).memory_info().rss >> 20 for process in others.values()]
            print(f"MB of {', '.join(others)}: {', '.join(map(str, memory))}")
            return found
        finally:
            for process in others.values():
                process.kill()
                process.wait()


def started(what: str, file: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1", "--no-dashboard", *words]
    port = ["--port", "0"] if what == "scheduler" else []
    return subprocess.Popen([*command, *port, "--scheduler-file", str(file)], stderr=subprocess.DEVNULL)


def cost(command: list[str], others: dict[str, subprocess.Popen]) -> Cost:
    """One core for a local run, as one for each worker."""
    before, start = {name: used(process.pid) for name, process in others.items()}, time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if not others:
        os.sched_setaffinity(process.pid, {CORES[0]})
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    wall = time.perf_counter() - start
    return {"predict": usage.ru_utime + usage.ru_stime, "wall": wall} | {
        name: used(other.pid) - before[name] for name, other in others.items()
    }


def used(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def scheduler(root: Path, folder: Path) -> None:
    """What the scheduler needs for a task that does nothing, and the bytes of one."""
    predictor = Predictor.load()
    order = parts.order(predictor, "weights", str(root / "out"))
    found = cohort.chunks([str(folder)], order.out)
    sealed = pickle.dumps((order, found[0]))
    table = sum(path.stat().st_size for path in (root / "out/predictions.parquet").iterdir())
    files = len(list(folder.iterdir()))
    print(f"a task of {len(found[0].files)} files: {len(sealed):,} bytes; the table: {table / files:.0f} bytes a row")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "scheduler.json")
        process = started("scheduler", file)
        while not file.exists():
            time.sleep(0.1)
        worker = started("worker", file, "--nthreads", "1", "--no-nanny")
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(1)
            before, mine = used(process.pid), time.process_time()
            for i in range(0, TASKS, 100):
                wait([client.submit(len, sealed, key=f"nothing-{i + j}") for j in range(100)])
            mine, theirs = time.process_time() - mine, used(process.pid) - before
            print(
                f"the scheduler: {1000 * theirs / TASKS:.2f} ms a task; who asks: {1000 * mine / TASKS:.2f} ms a task"
            )
        for one in (worker, process):
            one.kill()
            one.wait()
    start = time.process_time()
    cohort.chunks([str(folder)], order.out)
    print(f"to list and cut: {1e6 * (time.process_time() - start) / files:.0f} us a file")


if __name__ == "__main__":
    main()
