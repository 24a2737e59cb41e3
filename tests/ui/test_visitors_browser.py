"""In a real Chromium: a server that goes away and comes back, a page left while it works, a visitor who waits."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page

from brain_mri.inference.predictor import Predictor
from dev import screenshots
from dev.child_process import ended, free_port
from dev.soak import APP
from tests.helpers.files import make_volume, write_nifti
from tests.helpers.gated_page import GatedPage, gated_page

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

SILENT = "The server does not answer; please choose the scan again in a moment."
WAIT = 120_000  # ms


@contextlib.contextmanager
def served(model: Path, port: int) -> Iterator[None]:
    settings = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, str(APP), "--model", str(model), "--port", str(port)]
    process = subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ended(process):
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5):
                break
            time.sleep(0.1)
        try:
            yield
        finally:
            process.kill()


def shown(page: Page) -> int:
    return sum(found.is_visible() for found in page.locator("#finding .sentence, #panels img, #facts .tile").all())


def choose(page: Page, path: Path) -> None:
    page.set_input_files("#scan-file input[type=file]", path)


def answered(page: Page, path: Path) -> None:
    page.locator("#finding .detail", has_text=path.name).wait_for(timeout=WAIT)
    page.locator("#panels img").first.wait_for(timeout=WAIT)


def only_the_sentence(page: Page) -> None:
    page.locator("#away", has_text=SILENT).wait_for(timeout=WAIT)
    page.wait_for_function("document.querySelectorAll('.toast-body').length === 0", timeout=WAIT)
    assert page.locator("[role=alert]", has_text="server").count() == 1 and not shown(page)


def test_the_server_goes_away_and_comes_back(chromium: Browser, handmade_artifact: Path, phantom_png) -> None:
    port, first, second = free_port(), phantom_png("glioma", 1), phantom_png("notumor", 2)
    with served(handmade_artifact, port):
        page = screenshots.open_page(chromium, f"http://127.0.0.1:{port}", "light")
        choose(page, first)
        answered(page, first)
    assert shown(page)
    choose(page, second)
    only_the_sentence(page)
    with served(handmade_artifact, port):
        choose(page, second)
        answered(page, second)
        assert not page.locator("#away").count() and shown(page) > 3
        assert first.name not in page.locator("#finding").inner_text()
    page.close()


def test_a_full_queue_is_one_sentence(chromium: Browser, handmade_artifact: Path, phantom_png) -> None:
    port, path = free_port(), phantom_png("glioma", 1)
    with served(handmade_artifact, port):
        page = screenshots.open_page(chromium, f"http://127.0.0.1:{port}", "light")
        page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full."}))
        choose(page, path)
        page.locator("#away", has_text="Too many requests are waiting; please choose the").wait_for(timeout=WAIT)
        page.wait_for_function("document.querySelectorAll('.toast-body').length === 0", timeout=WAIT)
        assert not shown(page) and not page.locator("#finding", has_text="Working").is_visible()
        page.unroute_all()
        choose(page, path)
        answered(page, path)
        assert not page.locator("#away").count()
    page.close()


def test_an_example_chosen_while_the_server_is_away(chromium: Browser, handmade_artifact: Path, phantom_png) -> None:
    port, first = free_port(), phantom_png("glioma", 1)
    with served(handmade_artifact, port):
        page = screenshots.open_page(chromium, f"http://127.0.0.1:{port}", "light")
        choose(page, first)
        answered(page, first)
    page.locator("#scan-examples .example").first.click()
    only_the_sentence(page)
    with served(handmade_artifact, port):
        page.wait_for_selector("#away", state="detached", timeout=WAIT)  # Gradio has loaded the page anew
        page.wait_for_selector("#finding .steps", timeout=WAIT)
        choose(page, first)
        answered(page, first)
    page.close()


def test_a_server_that_ends_while_it_works(chromium: Browser, handmade_artifact: Path, tmp_path: Path) -> None:
    voxels, _, spacing = make_volume("glioma", 3, 32, 1000)
    port = free_port()
    with served(handmade_artifact, port):
        page = screenshots.open_page(chromium, f"http://127.0.0.1:{port}", "light")
        volume(page, write_nifti(tmp_path / "long.nii.gz", voxels, spacing))
        page.locator("#volume-finding .word", has_text="Working").wait_for(timeout=WAIT)
    only_the_sentence(page)
    assert not page.locator("#volume-finding").is_visible()
    page.close()


@pytest.fixture
def slow(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedPage]:
    with gated_page(predictor, monkeypatch, opened=False) as made:
        yield made


def until(page: Page, true: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        page.wait_for_timeout(50)


def volume(page: Page, path: Path) -> None:
    screenshots.tab(page, "Volume")
    page.set_input_files("#volume-file input[type=file]", path)


@pytest.mark.parametrize("how", ["closed", "loaded again", "another file"])
def test_the_work_for_a_page_ends_when_it_is_left(
    chromium: Browser, slow: GatedPage, tmp_path: Path, predictor: Predictor, how: str
) -> None:
    voxels, _, spacing = make_volume("glioma", 3, 32, 300)
    page = screenshots.open_page(chromium, slow.url, "light")
    volume(page, write_nifti(tmp_path / "long.nii.gz", voxels, spacing))
    page.locator("#volume-finding .detail", has_text="Slice 0 of 300.").wait_for(timeout=WAIT)
    other = screenshots.open_page(chromium, slow.url, "light")
    if how == "closed":
        page.close()
    elif how == "loaded again":
        page.reload()
    else:
        volume(page, write_nifti(tmp_path / "short.nii.gz", voxels[:3], spacing))
    until(other, lambda: not slow.places.working or slow.places.working[0].left)
    slow.gate.set()
    if how == "another file":
        page.locator("#volume-finding .detail", has_text="short.nii.gz").wait_for(timeout=WAIT)
        page.locator("#volume-chart svg").first.wait_for(timeout=WAIT)
    until(other, lambda: not slow.places.working)
    assert slow.slices < 100


def test_the_queue_speaks_in_a_sentence(chromium: Browser, slow: GatedPage, tmp_path: Path) -> None:
    voxels, _, spacing = make_volume("glioma", 3, 32, 300)
    path = write_nifti(tmp_path / "long.nii.gz", voxels, spacing)
    pages = [screenshots.open_page(chromium, slow.url, "light") for _ in range(2)]
    volume(pages[0], path)
    pages[0].locator("#volume-finding .detail", has_text="Slice 0 of 300.").wait_for(timeout=WAIT)
    volume(pages[1], path)
    said = "You are number 1 in the queue of 1; short requests come first."
    pages[1].locator("#volume-finding .detail", has_text=said).wait_for(timeout=WAIT)
    slow.gate.set()
    for page in pages:
        page.locator("#volume-chart svg").first.wait_for(timeout=WAIT)
        assert "long.nii.gz" in page.locator("#volume-finding .detail").inner_text()
        page.close()
