"""What the programs of the bench share: a row of the table, interleaved timing, and how busy other programs were."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from brain_mri.inference.onnx_model import cores


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


def figure(value: float) -> str:
    """Three significant digits, whole numbers from 100."""
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


def resident(process: psutil.Process) -> float:
    """MB of a process and its children."""
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6
