"""What the parts of bench.py share: a row of the table, interleaved timing, and how busy other programs were."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from brain_mri.classes import CLASSES
from brain_mri.inference.onnx_model import cores

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm"}
ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


@dataclass(frozen=True)
class Options:
    """What the command line asks for, and a folder for the bench's own files."""

    folder: Path
    model: str = str(ROOT / "weights")
    data: Path | None = None  # class folders; None: phantoms
    masks: Path | None = None
    quick: bool = False  # a few repeats of small jobs: does everything run?


@dataclass(frozen=True)
class Row:
    """One measured figure and its target, when there is one."""

    part: str
    what: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None without a target."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def target(self) -> str:
        if self.most is not None:
            return f"<= {figure(self.most)} {self.unit}".rstrip()
        return f">= {figure(self.least)} {self.unit}".rstrip() if self.least is not None else ""

    def text(self) -> str:
        verdict = {True: "met", False: "NOT MET", None: ""}[self.met]
        line = f"{self.part:<9}{self.what:<66}{figure(self.value):>8} {self.unit:<3}{self.target:<11} {verdict}"
        return line.rstrip() + (f"\n{'':<9}  {self.note}" if self.note else "")


def figure(value: float | None) -> str:
    """Three significant digits, whole numbers from 100."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def interleaved(works: Mapping[str, Callable[[], object]], repeats: int, pause: float = 0.01) -> dict[str, float]:
    """Median seconds of each, taken in turns after one unmeasured round, so that all meet the same disturbances."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            time.sleep(pause)  # threads of the one before come to rest
            started = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


class Clock:
    """Wall time, and processor time of other programs meanwhile, in seconds."""

    def __init__(self) -> None:
        self._started, self._busy, self._own = time.perf_counter(), _busy(), _own()

    @property
    def wall(self) -> float:
        return time.perf_counter() - self._started

    @property
    def own(self) -> float:
        """Processor seconds of this program and of those that it started and that have ended."""
        return _own() - self._own

    @property
    def others(self) -> float:
        return min(max(0.0, _busy() - self._busy - self.own), self.wall * cores())


def _busy() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return sum(times[:8]) - idle  # the fields after the eighth (guests) are counted in the first ones


def _own() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def run(*command: object) -> str:
    """Output of a Python command, run where the program lies. Raises RuntimeError with the end of what it said."""
    done = subprocess.run([PYTHON, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def pictures(options: Options, count: int) -> Path:
    """A folder of `count` picture files: those of --data, or 512x512 JPEG phantoms, again and again under new names."""
    folder = options.folder / f"pictures-{count}"
    if folder.is_dir():
        return folder
    folder.mkdir()
    if options.data:
        found = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in SUFFIXES)
        step = max(1, len(found) // count)
        contents = [(path.read_bytes(), path.suffix) for path in found[::step][:count]]
    else:
        contents = [(jpeg(label, seed), ".jpg") for label in CLASSES for seed in range(1 if options.quick else 4)]
    for number in range(count):
        content, suffix = contents[number % len(contents)]
        (folder / f"{number:04d}{suffix}").write_bytes(content)
    return folder


def jpeg(label: str, seed: int, size: int = 512) -> bytes:
    """A phantom slice as a JPEG file."""
    import cv2

    from brain_mri.data.phantom import (
        make_phantom,  # only here: what is measured in bench_training.py should hold little else
    )

    return cv2.imencode(".jpg", make_phantom(label, seed, size).image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
