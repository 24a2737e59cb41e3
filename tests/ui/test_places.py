"""Turns without a server: one request a visitor, short ones first, an end for what nobody waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from brain_mri.imaging.scan import ScanError
from brain_mri.ui import places as module
from brain_mri.ui.places import PLACES, SHORT, Places


class Jobs:
    """Requests whose work lasts until it is let go, and the order in which they began."""

    def __init__(self) -> None:
        self.places = Places()
        self.begun: list[str] = []
        self.said: dict[str, str] = {}
        self.go: dict[str, threading.Event] = {}
        self.tasks: dict[str, asyncio.Task[Any]] = {}

    def add(self, name: str, slices: int, visitor: str = "") -> None:
        self.go[name] = threading.Event()

        def work(step: Callable[..., None]) -> str:
            self.begun.append(name)
            while not self.go[name].wait(0.01):
                step()
            return name

        async def ask() -> Any:
            async with self.places.turn(visitor or name, lambda: slices, work) as steps:
                async for said, answer in steps:
                    self.said[name] = said
                    if answer is not None:
                        return answer

        self.tasks[name] = asyncio.ensure_future(ask())

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():
                await asyncio.sleep(0.01)

    async def told(self, name: str, text: str) -> None:
        await self.until(lambda: text in self.said.get(name, ""))

    async def end(self, name: str) -> None:
        self.go[name].set()
        assert await self.tasks[name] == name


def test_short_ones_come_first_and_nobody_is_overtaken_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)

    async def run() -> None:
        jobs = Jobs()
        jobs.add("long", 1000)
        await jobs.until(lambda: jobs.begun == ["long"])
        jobs.add("another long", 900)
        await jobs.told("another long", "number 1 in the queue of 1")
        jobs.add("short", 1)  # the last place is not for long ones
        await jobs.until(lambda: jobs.begun == ["long", "short"])
        jobs.add("middle", SHORT)
        jobs.add("shorter", 2)
        for number, name in enumerate(("shorter", "middle", "another long"), 1):
            await jobs.told(name, f"number {number} in the queue of 3")
        await jobs.end("short")
        await jobs.until(lambda: jobs.begun[2:] == ["shorter"])
        await jobs.end("shorter")
        await jobs.until(lambda: jobs.begun[3:] == ["middle"])
        jobs.places.waiting[0].due -= 1000  # it has waited for so long
        jobs.add("late", 1)
        await jobs.told("late", "number 2 in")
        await jobs.end("long")
        await jobs.until(lambda: jobs.begun[4:] == ["another long"])
        for name in ("another long", "middle", "late"):
            await jobs.end(name)
        assert not jobs.places.waiting and not jobs.places.working

    asyncio.run(run())


def test_one_request_of_a_visitor_works_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)

    async def run() -> None:
        jobs = Jobs()
        for i in range(4):
            jobs.add(f"mine {i}", 1, "me")
        await jobs.until(lambda: len(jobs.begun) == 1 and "before this one" in jobs.said.get("mine 3", ""))
        jobs.add("other", 150)
        await jobs.until(lambda: jobs.begun == ["mine 0", "other"])
        for name in ("mine 0", "mine 1", "mine 2", "mine 3", "other"):
            await jobs.end(name)

    asyncio.run(run())


@pytest.mark.parametrize("waits", [False, True])
def test_what_nobody_waits_for_ends_and_frees_its_place(waits: bool) -> None:
    async def run() -> None:
        jobs = Jobs()
        for i in range(PLACES):
            jobs.add(f"other {i}" if waits else f"left {i}", 1)
        await jobs.until(lambda: len(jobs.begun) == PLACES)
        jobs.add("left" if waits else "next", 1)
        await jobs.until(lambda: len(jobs.places.waiting) == 1)
        for name, task in jobs.tasks.items():
            if name.startswith("left"):
                task.cancel()
        if waits:
            await jobs.until(lambda: not jobs.places.waiting)
            assert len(jobs.begun) == len(jobs.places.working) == PLACES
        else:
            await jobs.until(lambda: jobs.begun[PLACES:] == ["next"])
        for name in ("other 0", "other 1") if waits else ("next",):
            await jobs.end(name)
        assert not jobs.places.waiting and not jobs.places.working

    asyncio.run(run())


@pytest.mark.parametrize("limit", ["WAITING", "OWN"])
def test_refusals_are_sentences(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    async def run() -> None:
        jobs = Jobs()
        jobs.add("work", 1, "me")
        for i in range(3):
            jobs.add(f"more {i}", 1, "me")
        await jobs.until(lambda: any(task.done() for task in jobs.tasks.values()) and len(jobs.begun) == 1)
        (refused,) = [task for task in jobs.tasks.values() if task.done()]
        with pytest.raises(ScanError, match=r"^2 (requests|of your requests) are waiting already; please"):
            await refused
        (working,) = jobs.places.working
        working.end = time.monotonic()
        late = next(task for name, task in jobs.tasks.items() if name == jobs.begun[0])
        with pytest.raises(ScanError, match="longer than the 10 minutes"):
            await late
        for go in jobs.go.values():
            go.set()
        await asyncio.gather(*jobs.tasks.values(), return_exceptions=True)
        assert not jobs.places.waiting and not jobs.places.working

    monkeypatch.setattr(module, limit, 2)
    asyncio.run(run())


def test_long_ones_that_fill_the_queue_keep_no_short_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    monkeypatch.setattr(module, "TICK", 0.02)

    async def run() -> None:
        jobs = Jobs()
        jobs.add("busy", 150)
        jobs.add("flood", 1000)
        await jobs.until(lambda: len(jobs.begun) == 2)
        for i in range(3):
            jobs.add(f"flood {i}", 1000)
            await jobs.told(f"flood {i}", f"number {i + 1} in")
        jobs.add("one more", 1000)
        jobs.add("short", 1)
        await jobs.told("short", "number 1 in the queue of 3")
        for name in ("one more", "flood 2"):
            with pytest.raises(ScanError, match=r"^3 requests are waiting already; please"):
                await jobs.tasks[name]
        await jobs.end("busy")
        await jobs.end("short")
        for name in ("flood", "flood 0", "flood 1"):
            await jobs.end(name)
        assert not jobs.places.waiting and not jobs.places.working

    asyncio.run(run())


def test_a_refusal_before_the_turn_takes_no_place() -> None:
    def too_much() -> int:
        raise ScanError("too much")

    async def run() -> None:
        places = Places()
        with pytest.raises(ScanError, match="too much"):
            async with places.turn("me", too_much, lambda step: None) as steps:
                async for _ in steps:
                    raise AssertionError
        assert not places.waiting and not places.working

    asyncio.run(run())
