"""What every request meets before Gradio: headers, and passwords at a slow pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from brain_mri.inference.predictor import Predictor
from brain_mri.ui import gate, hosting
from brain_mri.ui.page import build_interface

RIGHT = "secret"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, *, stands_still: bool = False) -> None:
        self.now, self._stands_still = 0.0, stands_still

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += 0 if self._stands_still else seconds


class Door:
    """A sign-in behind the gate, and how many passwords reached it."""

    def __init__(self, clock: Clock):
        self.tried = 0
        app = Starlette(routes=[Route("/login", self._login, methods=["POST"]), Route("/", self._page)])
        self.guarded = gate.Gate(app, clock=clock, sleep=clock.sleep)

    async def _login(self, request: Request) -> Response:
        self.tried += 1
        return PlainTextResponse("", 200 if (await request.body()).decode() == RIGHT else 400)

    async def _page(self, request: Request) -> Response:
        return PlainTextResponse("page")

    def knock(self, password: str, address: str = "203.0.113.7") -> httpx.Response:
        async def post() -> httpx.Response:
            transport = httpx.ASGITransport(self.guarded, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
                return await client.post("/login", content=password)

        return asyncio.run(post())


def test_three_hundred_wrong_passwords_of_one_address_take_half_an_hour() -> None:
    door = Door(clock := Clock())
    assert {door.knock("wrong").status_code for _ in range(5)} == {400} and clock.now == 0  # a person who mistypes
    for _ in range(295):
        assert door.knock("wrong").status_code == 400
    assert clock.now == pytest.approx(295 * 6)
    assert door.knock(RIGHT, "203.0.113.8").status_code == 200 and clock.now == pytest.approx(295 * 6)  # not to others
    assert door.knock(RIGHT).status_code == 200 and clock.now == pytest.approx(296 * 6)


def test_who_does_not_wait_is_refused_unheard() -> None:
    door = Door(clock := Clock(stands_still=True))  # as if all attempts were made at the same time
    answers = [door.knock("wrong") for _ in range(300)]
    assert Counter(a.status_code for a in answers) == {400: 10, 429: 290} and door.tried == 10
    refusal = answers[-1]
    assert refusal.headers["retry-after"] == "36" and "try again in 36 seconds" in refusal.json()["detail"]
    clock.now += 60
    assert door.knock(RIGHT).status_code == 200


def test_right_passwords_are_never_slowed() -> None:
    door = Door(clock := Clock())
    assert {door.knock(RIGHT).status_code for _ in range(100)} == {200} and clock.now == 0


def test_many_addresses_together_have_a_pace_too() -> None:
    """Made up, where something in front of the page hands on what a visitor says of his own."""
    door = Door(clock := Clock())
    for number in range(300):
        door.knock("wrong", f"198.51.{number // 250}.{number % 250}")
    assert clock.now == pytest.approx(240)
    for number in range(20):  # one household: the second half of the address is its own
        door.knock("wrong", f"2001:db8::{number:x}")
    assert clock.now > 240 + 14 * 6
    assert len(door.guarded._paces[0]._paid) <= gate.REMEMBERED


def test_every_answer_keeps_the_page_to_its_own_host(predictor: Predictor) -> None:
    page = build_interface(predictor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, auth=hosting.credentials("ada:secret"))
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            answers = [client.get("/"), client.get("/config"), client.post("/login", data={"username": "a"})]
            answers.append(client.post("/login", data={"username": "ada", "password": "secret"}))
            assert answers[-1].status_code == 200
    finally:
        page.close()
    for answer in answers:
        rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'self'" and "worker-src" in rules
        assert not [rule for rule in rules.values() if "http" in rule or "*" in rule], "no other host"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_shared_page_gets_its_scripts_from_one_host_more() -> None:
    assert gate.policy(True).count("https://") == gate.policy(True).count(gate.SHARED_FROM) == 5


def test_passwords_are_compared_as_digests() -> None:
    right = hosting.credentials("ada:secret,bob:two:parts")
    assert right is not None and right("ada", "secret") and right("bob", "two:parts")
    for user, password in (("ada", "two:parts"), ("ada", ""), ("eve", "secret"), ("", ""), ("ada", "\ud800")):
        assert not right(user, password)
    kept: list[Any] = [cell.cell_contents for cell in right.__closure__ or ()]  # type: ignore[attr-defined]
    assert "secret" not in repr(kept)
