"""An hour of mixed visitors: slices, volumes, batches, reports, programs, reloads, and people who leave in the middle.

    python -m dev.soak_visitors --minutes 60                    # the bundled model
    python -m dev.soak_visitors --minutes 8 --default-queue     # the same page with Gradio's own queue, to compare

Starts the page as a process of its own. So many visitors at once do what people do, with a pause after each step, and
each answer is compared with what the same model says without a server. Prints a table: seconds by kind of step, memory
and files before, during and after, and what is left on the disk after SIGTERM. Exit status 1 when an answer was wrong,
something failed without a sentence, or a file was left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from brain_mri.artifact.folder import BUNDLED
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume
from brain_mri.ui import lifetime, places, views, volume_tab
from brain_mri.ui.html import safe
from brain_mri.ui.page import build_interface
from dev.soak import Caller, Request, call, good_files, requests_for, resident, served
from dev.visitor import Visitor
from tests.helpers.files import make_volume, write_nifti

PAUSE = (0.3, 2.0)  # seconds between two steps of a visitor
# Of a hundred visits.
VISITS = {"slice": 40, "program": 20, "volume": 10, "batch": 8, "reload": 8, "leave": 8, "break off": 6}


@dataclass
class Tally:
    """What was seen. seconds: of each step, by its kind; wrong: complaints; left: visits that were left half-way."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def step(self, kind: str) -> Iterator[list[str]]:
        """Times the block; complaints that it puts into the list, and exceptions, are wrong."""
        complaints, started = list[str](), time.perf_counter()
        try:
            yield complaints
        except Exception as error:  # a 5xx, a broken connection, an error without a sentence
            complaints.append(f"{type(error).__name__}: {error}")
        with self.lock:
            self.seconds[kind].append(time.perf_counter() - started)
            self.wrong += [f"{kind}: {complaint}" for complaint in complaints]


@dataclass
class World:
    """What there is to send, and what must be said of it."""

    url: str
    slices: dict[Path, str]
    volumes: dict[Path, str]
    long: Path  # a volume that nobody waits for
    programs: dict[str, list[Request]]
    folder: Path


def world(model: str, folder: Path) -> World:
    predictor = Predictor.load(model)
    (folder / "slices").mkdir()
    (folder / "programs").mkdir()
    slices = {path: views.sentence(predictor.analyze(read_scan(path)))[2] for path in good_files(folder / "slices")}
    volumes = {}
    for i, (label, depth) in enumerate((("glioma", 9), ("meningioma", 24), ("notumor", 16))):
        voxels, _, spacing = make_volume(label, i, 128, depth)
        path = write_nifti(folder / f"{label}.nii.gz", voxels, spacing)
        volumes[path] = volume_tab.sentence(analyze_volume(predictor, read_volume(path)))[2]
    noise = np.random.default_rng(0).integers(0, 999, (400, 128, 128)).astype(np.int16)
    long = write_nifti(folder / "long.nii.gz", noise, (1.0, 1.0, 1.0))
    return World("", slices, volumes, long, requests_for(predictor, folder / "programs"), folder)


# --- the visits ------------------------------------------------------------------------------------------------


def pause(rng: random.Random) -> None:
    time.sleep(rng.uniform(*PAUSE))


def due(said: str, sentence: str) -> list[str]:
    plain = re.sub("</?span[^>]*>", "", said)  # words that explain themselves
    return [] if safe(sentence) in plain else [f"{sentence!r} was due instead of {said[:200]!r}"]


def open_page(world: World, tally: Tally) -> Visitor:
    with tally.step("page"):
        return Visitor(world.url)
    raise ConnectionError("The page did not open.")


def slice_visit(world: World, tally: Tally, rng: random.Random) -> None:
    path, sentence = rng.choice(list(world.slices.items()))
    with open_page(world, tally) as page:
        with tally.step("slice") as wrong:
            wrong += due(page.choose("scan-file", path), sentence)
        for _ in range(3):
            pause(rng)
            with tally.step("slider") as wrong:
                wrong += due(page.fire("Mask threshold", "input", rng.uniform(0.1, 0.9)), "Heat inside the mask")
        if rng.random() < 0.4:
            with tally.step("report") as wrong:
                page.fire("make-report", "click")


def volume_visit(world: World, tally: Tally, rng: random.Random) -> None:
    path, sentence = rng.choice(list(world.volumes.items()))
    with open_page(world, tally) as page:
        with tally.step("volume") as wrong:
            wrong += due(page.choose("volume-file", path), sentence)
        pause(rng)
        with tally.step("slider") as wrong:
            wrong += due(page.fire("volume-0", "input", rng.randint(1, 9)), "Click to move the cross.")
        with tally.step("download"):
            page.fire("volume-make", "click")


def batch_visit(world: World, tally: Tally, rng: random.Random) -> None:
    paths = [*rng.sample(list(world.slices), 5), rng.choice(list(world.volumes)), world.folder / "programs/letter.png"]
    with open_page(world, tally) as page, tally.step("batch") as wrong:
        said = page.choose("batch-file", *paths)
        wrong += due(said, "7 files") + due(said, "1 could not be read")


def program_visit(world: World, tally: Tally, rng: random.Random) -> None:
    kind = rng.choice(list(world.programs))
    with tally.step(f"program: {'refusal' if kind == 'bad' else kind}") as wrong:
        own = Caller(world.url, world.folder / f"answers-{threading.get_ident()}")
        with own.http:
            complaint = call(own, rng.choice(world.programs[kind]))[1]
        wrong += [complaint] if complaint else []


def reload_visit(world: World, tally: Tally, rng: random.Random) -> None:
    for _ in range(2):
        slice_visit(world, tally, rng)


def leave_visit(world: World, tally: Tally, rng: random.Random) -> None:
    """A long volume is begun, and the page closed: in the queue, or while it is analysed."""
    with open_page(world, tally) as page, page.begun_upload("volume-file", world.long):
        pause(rng)
    tally.left["a volume"] += 1


def break_off_visit(world: World, tally: Tally, rng: random.Random) -> None:
    """An upload of 256 MB that ends after 1 MB."""
    address = httpx.URL(world.url)
    with socket.create_connection((address.host, address.port or 80)) as line:
        lines = ["POST /gradio_api/upload HTTP/1.1", "Host: x", "Content-Type: multipart/form-data; boundary=x"]
        line.sendall("\r\n".join([*lines, f"Content-Length: {2**28}", "", ""]).encode())
        line.sendall(b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n' + bytes(2**20))
        pause(rng)
    tally.left["an upload"] += 1


KINDS: dict[str, Callable[[World, Tally, random.Random], None]] = {
    "slice": slice_visit, "program": program_visit, "volume": volume_visit, "batch": batch_visit,
    "reload": reload_visit, "leave": leave_visit, "break off": break_off_visit,
}  # fmt: skip


# --- the run ---------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """Files of a folder: how many, and their bytes in MB."""

    count: int
    mb: float

    @staticmethod
    def of(folder: Path) -> Disk:
        sizes = []
        for root, _, names in os.walk(folder):  # passes over a folder that goes in the meantime
            for name in names:
                with contextlib.suppress(OSError):
                    sizes.append(os.path.getsize(os.path.join(root, name)))
        return Disk(len(sizes), sum(sizes) / 2**20)

    def __str__(self) -> str:
        return f"{self.count} files, {self.mb:.0f} MB"


def visit(world: World, tally: Tally, visitors: int, seconds: float, seed: int) -> None:
    """So many visitors at once, each one visit after the other, for so long."""
    end = time.monotonic() + seconds

    def person(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while time.monotonic() < end:
            kind = rng.choices(list(VISITS), list(VISITS.values()))[0]
            try:
                KINDS[kind](world, tally, rng)
            except Exception as error:
                with tally.lock:
                    tally.wrong.append(f"{kind}: {type(error).__name__}: {error}")
            pause(rng)

    people = [threading.Thread(target=person, args=(i,)) for i in range(visitors)]
    for one in people:
        one.start()
    for one in people:
        one.join()


def table(tally: Tally, seconds: float, about: dict[str, str]) -> str:
    lines = ["| step | times | p50 | p95 | p99 | longest |", "|---|---|---|---|---|---|"]
    for kind, times in sorted(tally.seconds.items()):
        marks = [float(np.percentile(times, share)) for share in (50, 95, 99, 100)]
        lines.append(f"| {kind} | {len(times)} | " + " | ".join(f"{mark:.2f} s" for mark in marks) + " |")
    steps = sum(map(len, tally.seconds.values()))
    about = {"steps · a second": f"{steps} · {steps / seconds:.1f}"} | about
    left = ", ".join(f"{what} {times} times" for what, times in tally.left.items())
    about |= {"left half-way": left, "wrong or failed": str(len(tally.wrong))}
    return "\n".join([*lines, "", "| soak | |", "|---|---|", *(f"| {name} | {text} |" for name, text in about.items())])


def serve_with_default_queue(model: str, port: int) -> None:
    """The page as it is, but Gradio's queue as it comes: each event alone, first come first served, none refused."""
    places.PLACES = places.SHORT = places.WAITING = places.OWN = sys.maxsize
    with lifetime.tidy_process():
        page = build_interface(model)
        for i, function in page.fns.items():
            function.concurrency_id, function.concurrency_limit = f"event {i}", "default"
        page.queue()
        page.launch(server_port=port, prevent_thread_lock=True, quiet=True)
        lifetime.stay(page)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--visitors", type=int, default=12, help="at once")
    parser.add_argument("--model", default=str(BUNDLED), help="artifact folder (default: the bundled model)")
    parser.add_argument("--default-queue", action="store_true", help="Gradio's own queue instead")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.serve:
        serve_with_default_queue(args.model, args.serve)
        lifetime.leave(0)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder, tally = Path(name), Tally()
        sent, kept = world(args.model, folder), folder / "gradio"
        own = [sys.executable, "-m", "dev.soak_visitors", "--serve"]
        with served(args.model, folder, own if args.default_queue else None) as (sent.url, pid, log):
            warm_up = Tally()
            visit(sent, warm_up, args.visitors, 6 * args.minutes, args.seed + 1)  # a tenth of the time
            before, started, peak = resident(pid), time.perf_counter(), [Disk(0, 0)]
            over = threading.Event()

            def watch() -> None:
                while not over.wait(5):
                    peak[0] = max(peak[0], Disk.of(kept), key=lambda disk: disk.mb)

            watching = threading.Thread(target=watch)
            watching.start()
            visit(sent, tally, args.visitors, 54 * args.minutes, args.seed)
            seconds, after, there = time.perf_counter() - started, resident(pid), Disk.of(kept)
            over.set()
            watching.join()
        logged, rest = log.read_text(errors="replace"), Disk.of(kept)
        errors = logged.count("Traceback")
        tally.wrong += warm_up.wrong
        grown = 100 * (after / before - 1)
        about = {
            "visitors at once": str(args.visitors),
            "memory after warm-up · at the end": f"{before:.0f} MB · {after:.0f} MB ({grown:+.1f} %)",
            "on disk at the most · at the end · after SIGTERM": f"{peak[0]} · {there} · {rest}",
            "tracebacks in the server's log": str(errors),
        }
        print(table(tally, seconds, about))
    if errors:
        print(logged[-3000:], file=sys.stderr)
    for complaint, times in Counter(text[:300] for text in tally.wrong).most_common(10):
        print(f"wrong ({times} times): {complaint}", file=sys.stderr)
    return int(bool(tally.wrong) or errors > 0 or rest.count > 0)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    sys.exit(main())
