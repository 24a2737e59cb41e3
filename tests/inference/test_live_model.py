"""A running page's model: a newer revision is offered, loaded on request, and never mixed with the old one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_mri.imaging import read
from brain_mri.inference.live_model import LiveModel
from brain_mri.inference.predictor import Predictor
from tests.helpers.handmade import write_handmade
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`


def wait_for(question: Callable[[], object], seconds: float = 10) -> object:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.05)
    return None


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Two models that differ in their answers."""
    return [write_handmade(tmp_path / f"v{i}", created=f"2026-01-0{i}", temperature=0.5 + i) for i in (1, 2)]


def test_a_newer_revision_is_offered_and_loaded(loopback: LoopbackHub, versions: list[Path]) -> None:
    first = loopback.publish(versions[0], "me/model")
    live = LiveModel("me/model", check_every=0.1)
    assert live.current.revision == first and live.follows_hub
    assert live.offer() is None
    time.sleep(0.3)
    assert live.offer() is None
    second = loopback.publish(versions[1], "me/model")
    assert wait_for(live.offer) == second
    assert second[:7] in live.reload()
    assert live.current.revision == second and live.current.temperature == 2.5
    assert live.offer() is None and "newest" in live.reload()


def test_the_hub_is_asked_once_however_many_pages_are_open(loopback: LoopbackHub, versions: list[Path]) -> None:
    loopback.publish(versions[0], "me/model")
    live = LiveModel("me/model", check_every=60)
    loopback.log.clear()
    loopback.fail("GET /api/models", hang=1.0)
    started = time.monotonic()
    for _ in range(50):
        live.offer()
    assert time.monotonic() - started < 0.5  # no visitor waits for the Hub
    time.sleep(0.3)
    assert len(loopback.requests("GET /api/models")) == 1


def test_a_bad_newer_revision_changes_nothing(loopback: LoopbackHub, versions: list[Path]) -> None:
    first = loopback.publish(versions[0], "me/model")
    live = LiveModel("me/model", check_every=0.1)
    live.offer()
    broken = loopback.edit("me/model", {"classifier.onnx": b"\0 other"})
    assert wait_for(live.offer) == broken
    before = live.current
    assert "classifier.onnx" in live.reload()
    assert live.current is before and before.revision == first


def test_a_page_that_started_without_the_hub_takes_its_model_when_the_hub_is_back(
    loopback: LoopbackHub, versions: list[Path], bundled: Path
) -> None:
    revision = loopback.publish(versions[0], "me/model")
    fault = loopback.fail("GET /api/models", status=503)
    live = LiveModel("me/model", check_every=0.1)
    assert "bundled" in str(live.current.notice) and "HTTP 503" in str(live.current.notice)
    assert live.offer() is None and "HTTP 503" in live.reload()  # still down: the bundled one stays
    fault.times = 0
    assert wait_for(live.offer) == revision
    live.reload()
    assert (live.current.model_id, live.current.revision, live.current.notice) == ("me/model", revision, None)


def test_local_models_and_fixed_commits_are_never_offered(loopback: LoopbackHub, versions: list[Path]) -> None:
    revision = loopback.publish(versions[0], "me/model")
    loopback.publish(versions[1], "me/model")
    pages = [LiveModel(w, check_every=0) for w in (versions[0], Predictor.load(versions[0]), f"me/model@{revision}")]
    for _ in range(5):
        assert [live.offer() for live in pages] == [None, None, None]
        time.sleep(0.05)


def test_answers_during_a_swap_are_of_one_revision(loopback: LoopbackHub, versions: list[Path]) -> None:
    """Each answer's probabilities belong to the revision that it names."""
    first = loopback.publish(versions[0], "me/model")
    live = LiveModel("me/model", check_every=0)
    picture = read.scan_from_array((np.arange(64 * 64).reshape(64, 64) % 255).astype(np.uint8))
    expected = {first: live.current.analyze(picture).probabilities}
    stop, answers = threading.Event(), []

    def visitor() -> None:
        while not stop.is_set():
            answer = live.current.analyze(picture)
            answers.append((answer.revision, answer.probabilities))

    threads = [threading.Thread(target=visitor) for _ in range(3)]
    for thread in threads:
        thread.start()
    second = loopback.publish(versions[1], "me/model")
    live.reload()
    expected[second] = live.current.analyze(picture).probabilities
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert {revision for revision, _ in answers} == {first, second}
    assert all(probabilities == expected[revision] for revision, probabilities in answers)
    assert expected[first] != expected[second]
