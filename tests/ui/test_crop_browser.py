"""A slice is cut out of a montage in a real Chromium: dragged, tapped, by keys; and the whole comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page

from brain_mri.ui import crop
from dev import screenshots

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)


@pytest.fixture(params=["desktop", "phone"])
def page(chromium: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = {"desktop": (1280, 900), "phone": (390, 844)}[request.param]
    context = chromium.new_context(viewport={"width": width, "height": height}, has_touch=request.param == "phone")
    opened = context.new_page()
    opened.goto(url)
    opened.set_default_timeout(60_000)
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    yield opened
    context.close()
    assert not trouble


@pytest.fixture
def montage(page: Page, phantom_png, tmp_path: Path) -> Path:
    """Two slices beside each other, 512 x 256, on the page's board."""
    slices = [np.asarray(Image.open(phantom_png(kind, 21)).convert("L")) for kind in ("meningioma", "notumor")]
    Image.fromarray(np.hstack(slices)).save(tmp_path / "montage.png")
    page.set_input_files("#scan-file input[type=file]", tmp_path / "montage.png")
    page.locator("#finding .detail", has_text="montage.png").wait_for()
    if not page.locator("[data-crop]").is_visible():
        page.locator("#crop button").first.click()
    page.locator("[data-crop]").scroll_into_view_if_needed()
    return tmp_path / "montage.png"


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    box = page.locator("[data-crop]").bounding_box()
    assert box
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def wait_for(page: Page, width: int, height: int) -> None:
    page.locator("#finding .detail", has_text=f"{width} × {height} pixels").wait_for()
    page.locator("#panel-heat img.zoom").wait_for()


def test_dragged_and_undone(page: Page, montage: Path) -> None:
    page.mouse.move(*at(page, 0.25, 0.25))
    page.mouse.down()
    page.mouse.move(*at(page, 0.75, 0.8), steps=5)
    page.mouse.move(*at(page, 0.5, 0.75), steps=5)
    page.mouse.up()
    wait_for(page, 128, 128)
    mark = page.locator(".crop-mark").bounding_box()
    assert mark and abs(mark["width"] - 0.25 * (at(page, 1, 0)[0] - at(page, 0, 0)[0])) < 3  # what was cut out is seen
    page.locator("[data-whole]").click()
    wait_for(page, 512, 256)
    assert not page.locator("[data-whole]").count()


def test_tapped(page: Page, montage: Path) -> None:
    tap = page.touchscreen.tap if page.evaluate("navigator.maxTouchPoints") else page.mouse.click
    tap(*at(page, 0.5, 0.0))
    assert page.locator(".crop-says").inner_text() == crop.SECOND
    tap(*at(page, 0.75, 0.5))
    wait_for(page, 128, 128)
    assert page.locator("#finding .detail", has_text="montage_cropped.png").is_visible()


def test_by_keys(page: Page, montage: Path) -> None:
    page.locator("[data-crop]").focus()
    for key in ["Enter", "Escape", "Enter", *["ArrowLeft"] * 10, *["ArrowDown"] * 20, "Enter"]:
        page.keyboard.press(key)
    wait_for(page, 128, 128)


def test_a_slip_of_the_hand_leaves_the_result(page: Page, montage: Path) -> None:
    before = page.locator("#finding").inner_text()
    for _ in range(2):
        page.mouse.click(*at(page, 0.5, 0.5))
    page.locator(".crop-says", has_text=crop.SMALL).wait_for()
    page.wait_for_timeout(500)
    assert page.locator("#finding").inner_text() == before
