"""Who may work next: volumes and batches take turns, so that no visitor keeps the others waiting.

    async with places.turn(visitor, weigh, work) as steps:
        async for said, answer in steps:    # a sentence now and then, while it waits and works; the answer comes last

One request of a visitor works at a time, short ones come first, and a place is always left for them. When the iterator
is closed, which Gradio does once the page was left, a job cancelled or the connection lost, the work ends at its next
step. Everything but `Turn.step` runs in the one thread of the server's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from brain_mri.imaging.scan import ScanError
from brain_mri.inference.volume_analysis import Gone
from brain_mri.ui import lifetime

PLACES = 2  # requests that work at once; each takes all cores
SHORT = 200  # slices; the last place is kept free of what has more
WAITING = 64  # requests in the queue before the next one is asked to come back later
OWN = 16  # of one visitor
PACE = 0.05  # seconds that a slice is expected to take
SECONDS = 600.0  # that one request may work
TICK = 0.5  # seconds from one look at a request to the next


@dataclass(eq=False)
class Turn:
    """One request. due: its arrival and the time it should take, by which requests are ordered: a shorter one that
    comes later goes first, but no request is overtaken for ever."""

    visitor: str
    slices: int
    due: float
    may_work: asyncio.Event = field(default_factory=asyncio.Event)
    said: str = ""
    left: bool = False
    end: float = float("inf")

    def step(self, said: str = "") -> None:
        """The work calls it between files and slices. Raises Gone, or ScanError when it has taken too long."""
        self.said = said or self.said
        lifetime.go_on()
        if self.left:
            raise Gone
        if time.monotonic() > self.end:
            raise ScanError(
                f"This takes longer than the {SECONDS / 60:g} minutes that one request may; please choose fewer files."
            )


Steps = AsyncIterator[tuple[str, Any]]


class Places:
    """The requests of one page that wait and those that work."""

    def __init__(self) -> None:
        self.waiting: list[Turn] = []
        self.working: list[Turn] = []

    def turn(
        self, visitor: str, weigh: Callable[[], int], work: Callable[[Callable[..., None]], Any]
    ) -> AbstractAsyncContextManager[Steps]:
        """weigh() counts the slices, and may refuse; work(step) gives the answer. Both run in threads and may raise."""
        return contextlib.aclosing(self._steps(visitor, weigh, work))  # type: ignore[type-var]

    async def _steps(
        self, visitor: str, weigh: Callable[[], int], work: Callable[[Callable[..., None]], Any]
    ) -> AsyncIterator[tuple[str, Any]]:
        lifetime.go_on()
        slices = await asyncio.to_thread(weigh)
        if sum(other.visitor == visitor for other in self.waiting) >= OWN:
            raise ScanError(f"{OWN} of your requests are waiting already; please ask again when they are answered.")
        turn = Turn(visitor, slices, time.monotonic() + PACE * slices)
        self.waiting.append(turn)
        job: asyncio.Future[Any] | None = None
        try:
            self._admit()
            if len(self.waiting) > WAITING:  # the last one goes, else a program with long ones keeps everybody out
                self.waiting.remove(self._in_order()[-1])
            while not turn.may_work.is_set():
                lifetime.go_on()
                if turn not in self.waiting:
                    raise ScanError(f"{WAITING} requests are waiting already; please come back in a few minutes.")
                yield self._sentence(turn), None
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(turn.may_work.wait(), TICK)
            turn.end = time.monotonic() + SECONDS
            job = asyncio.ensure_future(asyncio.to_thread(work, turn.step))
            job.add_done_callback(lambda job: self._end(turn, job))
            while not (await asyncio.wait([job], timeout=TICK))[0]:
                yield turn.said, None
            yield "", job.result()
        finally:
            turn.left = True
            if job is None:  # else its place is free when its thread has come to an end
                self._end(turn)

    def _end(self, turn: Turn, job: asyncio.Future[Any] | None = None) -> None:
        if job and not job.cancelled():
            job.exception()  # looked at, so that asyncio does not log that of a visitor who has left
        for turns in (self.waiting, self.working):
            if turn in turns:
                turns.remove(turn)
        self._admit()

    def _admit(self) -> None:
        for turn in self._in_order():
            long = turn.slices > SHORT and any(other.slices > SHORT for other in self.working)
            own = any(other.visitor == turn.visitor for other in self.working)
            if len(self.working) < PLACES and not long and not own:
                self.waiting.remove(turn)
                self.working.append(turn)
                turn.may_work.set()

    def _in_order(self) -> list[Turn]:
        return sorted(self.waiting, key=lambda turn: turn.due)

    def _sentence(self, turn: Turn) -> str:
        if any(other.visitor == turn.visitor for other in self.working):
            return "Your request before this one has to end first."
        place = self._in_order().index(turn) + 1
        return f"You are number {place} in the queue of {len(self.waiting)}; short requests come first."
