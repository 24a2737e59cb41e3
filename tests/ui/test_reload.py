"""A page that serves a model of the Hub takes a newer revision without a restart."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

import app
from brain_mri.inference import live_model
from brain_mri.ui import page as page_module
from dev import screenshots
from tests.helpers.handmade import write_handmade
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Two models that differ in their answers."""
    return [write_handmade(tmp_path / f"v{i}", created=f"2026-01-0{i}", temperature=0.5 + i) for i in (1, 2)]


@pytest.fixture
def page(
    loopback: LoopbackHub, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, live_model.LiveModel]]:
    """(address, the live model) of a page that serves me/model and looks at the Hub all the time."""
    loopback.publish(versions[0], "me/model")
    live = live_model.LiveModel("me/model", check_every=0.2)
    monkeypatch.setattr(page_module, "LiveModel", lambda asked: live)
    monkeypatch.setattr("brain_mri.ui.reload.LOOK_EVERY", 0.5)
    interface = app.build_interface("me/model")
    _, url, _ = interface.launch(prevent_thread_lock=True, quiet=True)
    yield url, live
    interface.close()


def test_requests_during_a_reload_are_answered_by_one_revision_each(
    page: tuple[str, live_model.LiveModel],
    loopback: LoopbackHub,
    versions: list[Path],
    phantom_png: Callable[..., Path],
) -> None:
    url, live = page
    picture = handle_file(str(phantom_png("glioma")))

    def analyze(_: int = 0) -> tuple[str, float, str]:
        own = Client(url, verbose=False)  # one for each caller: threads that share one may lose an answer
        data: dict[str, Any] = own.predict(picture, api_name="/analyze")[0]
        return data["revision"], data["settings"]["temperature"], str(data["probabilities"])

    first = analyze()
    newest = loopback.publish(versions[1], "me/model")
    with ThreadPoolExecutor(4) as pool:
        during = pool.map(analyze, range(12))
        assert newest[:7] in live.reload()
        answers = {first, *during, analyze()}
    assert len(answers) == 2  # a revision always comes with its own temperature and probabilities
    assert {(revision, temperature) for revision, temperature, _ in answers} == {(first[0], 1.5), (newest, 2.5)}
    assert Client(url, verbose=False).predict(api_name="/model")["revision"] == newest


def test_the_page_says_that_the_cache_answers_and_which_revision(loopback: LoopbackHub, versions: list[Path]) -> None:
    revision = loopback.publish(versions[0], "me/model")
    live_model.LiveModel("me/model")  # the last start of the page, while the Hub answered
    loopback.fail("GET /api/models", status=503)
    started = time.monotonic()
    shown = json.dumps(app.build_interface("me/model").get_config_file(), default=str)
    assert time.monotonic() - started < 6
    assert "HTTP 503" in shown and f"fetched earlier (revision {revision[:7]}) answers instead" in shown


@pytest.mark.slow
@pytest.mark.skipif(not Path(screenshots.CHROMIUM).exists(), reason="needs Chromium")
def test_the_visitor_is_offered_the_newer_revision(
    page: tuple[str, live_model.LiveModel], loopback: LoopbackHub, versions: list[Path]
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    url, live = page
    before = live.current.revision
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=screenshots.CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(60_000)
        tab.goto(url)
        tab.wait_for_selector("#finding")
        assert not tab.locator("#newer-button").is_visible()
        newest = loopback.publish(versions[1], "me/model")
        tab.wait_for_selector("#newer-button")
        assert newest[:7] in tab.inner_text("#newer-offer")
        if folder := os.environ.get("BRAIN_MRI_SCREENSHOTS"):
            tab.screenshot(path=str(Path(folder) / "newer.png"))
        tab.click("#newer-button")
        tab.wait_for_function("revision => document.body.innerText.includes('at revision ' + revision)", arg=newest[:7])
        assert live.current.revision == newest != before
        assert not tab.locator("#newer-button").is_visible()
        browser.close()
