"""Words that explain themselves, in a real Chromium: by mouse, by keyboard and by touch; and the first screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, expect

import app
from brain_mri.inference.predictor import Predictor
from brain_mri.ui.glossary import WORDS
from dev import screenshots

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

TEXTS = {word.name: word.text for word in WORDS}


@pytest.fixture(scope="module")
def url(bundled: Path) -> Iterator[str]:
    shown = app.build_interface(Predictor.load(bundled))  # it has tables
    _, address, _ = shown.launch(prevent_thread_lock=True, quiet=True)
    yield address
    shown.close()


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    opened = screenshots.open_page(chromium, url, "light")
    yield opened
    opened.close()


def test_the_first_screen_says_what_to_do_and_what_not_to_expect(page: Page) -> None:
    words = page.locator("#finding")
    for said in ("Choose a slice", "Read the answer", "What it cannot do", "sure and wrong"):
        assert said in words.inner_text()
    box = words.bounding_box()
    assert box and box["y"] + box["height"] < 900  # without scrolling
    assert page.get_by_role("button", name="meningioma", exact=True).count() == 1


def test_by_mouse(page: Page) -> None:
    box, word = page.locator("#explained"), page.locator("#panel-heat .term")
    expect(box).to_have_count(0)
    word.hover()
    expect(box).to_contain_text(TEXTS["Grad-CAM"])
    assert word.get_attribute("aria-expanded") == "true" and box.get_attribute("role") == "status"
    box.hover()  # one may move there, to read or to copy
    page.wait_for_timeout(500)
    expect(box).to_contain_text("Grad-CAM")
    page.locator(".masthead h1").hover()
    expect(box).to_be_empty()
    word.click()  # stays
    page.locator(".masthead h1").hover()
    page.wait_for_timeout(500)
    expect(box).to_contain_text("Grad-CAM")
    page.locator(".masthead h1").click()
    expect(box).to_be_empty()
    assert word.get_attribute("aria-expanded") == "false"


def test_by_keyboard(page: Page) -> None:
    page.locator("#finding .open-tab").focus()
    page.keyboard.press("Tab")
    box = page.locator("#explained")
    expect(box).to_contain_text(TEXTS["Class probabilities"])
    page.keyboard.press("Tab")
    expect(box).to_contain_text(TEXTS["Mask"])
    page.keyboard.press("Escape")
    expect(box).to_be_empty()
    page.keyboard.press("Enter")
    expect(box).to_contain_text(TEXTS["Mask"])
    page.keyboard.press("Enter")
    expect(box).to_be_empty()


def test_by_touch_within_the_screen(chromium: Browser, url: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(url)
    page.locator("#panel-heat .term").wait_for(timeout=screenshots.WAIT)
    box, words = page.locator("#explained"), page.locator("#finding .term")
    assert words.count() == 3
    for word in words.all():
        word.tap()
        expect(box).to_contain_text(word.inner_text(), ignore_case=True)
        at = box.bounding_box()
        assert at and at["x"] >= 0 and at["x"] + at["width"] <= 390
        page.locator(".masthead h1").tap()
        expect(box).to_be_empty()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.mark.parametrize("look", ["light", "phone"])
def test_how_good_the_model_is_stands_a_click_away(chromium: Browser, url: str, look: str) -> None:
    page = screenshots.open_page(chromium, url, look)
    page.locator("#finding .open-tab").click()
    page.locator("#model-identity .tile").first.wait_for()
    wide = page.evaluate(
        "[...document.querySelectorAll('#model-scores p, #model-scores .scroll')].map(e => e.offsetWidth)"
    )
    assert wide and max(wide) <= screenshots.LOOKS[look][0]  # wide tables scroll, texts do not
    page.close()


def test_an_explanation_goes_with_the_result_that_it_belongs_to(page: Page, phantom_png) -> None:
    page.set_input_files("#scan-file input[type=file]", phantom_png("meningioma", 21))
    page.locator("#panel-heat img.zoom").wait_for(timeout=screenshots.WAIT)
    page.locator("#facts .term").first.click()
    expect(page.locator("#explained")).to_contain_text(TEXTS["Any tumor"])
    page.set_input_files("#scan-file input[type=file]", phantom_png("glioma", 1))
    expect(page.locator("#explained")).to_be_empty()
