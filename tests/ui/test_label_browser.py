"""In a real Chromium: slices of a folder are outlined with mouse, keys and fingers; the strokes end in the masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Dialog, Page

from brain_mri.data.dataset import load_dataset
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from brain_mri.ui.page import build_interface
from dev import screenshots
from tests.helpers.files import decode
from tests.ui.test_outline_editor_browser import Place, nearly, stroke, watched

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)


@pytest.fixture
def root(tmp_path: Path, phantom_png) -> Path:
    for label, seeds in {"glioma": (1, 2), "meningioma": (21, 22), "notumor": (1,)}.items():
        (tmp_path / "slices" / label).mkdir(parents=True)
        for seed in seeds:
            (tmp_path / "slices" / label / f"{seed}.png").write_bytes(phantom_png(label, seed).read_bytes())
    return tmp_path / "slices"


@pytest.fixture
def url(predictor: Predictor, root: Path) -> Iterator[str]:
    page = build_interface(predictor, label=root)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield address
    page.close()


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(url)
    yield from watched(opened)


def file(page: Page) -> str:
    """The slice on the board, once there is one."""
    page.locator("#label-outline canvas").wait_for()
    return page.locator("#label-said .sentence").inner_text()


def after(page: Page, before: str) -> str:
    """The slice that came in place of one."""
    page.wait_for_function(
        "before => ![before, undefined].includes(document.querySelector('#label-said .sentence')?.innerText)",
        arg=before,
    )
    return page.locator("#label-said .sentence").inner_text()


def draw(page: Page, *places: Place) -> None:
    page.locator("#label-outline canvas").scroll_into_view_if_needed()
    box = page.locator("#label-outline canvas").bounding_box()
    assert box
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def saved(root: Path, name: str) -> np.ndarray | None:
    """bool (H, W): the mask of a slice, None when there is none."""
    stem = name.replace("/", "_").removesuffix(".png")
    found = list(root.with_name("slices-outlines").glob(f"masks/{stem}-*.png"))
    return decode(found[0].read_bytes()) > 0 if found else None


def test_a_stroke_ends_in_the_saved_mask(page: Page, root: Path, predictor: Predictor) -> None:
    first = file(page)
    own = predictor.analyze(read_scan(root / first)).mask_at(predictor.mask_threshold)
    page.locator("#label-outline [data-size]").fill("8")
    one, other = (0.3, 0.4), (0.5, 0.6)
    draw(page, one, other)
    page.keyboard.press("n")
    second = after(page, first)
    mask = saved(root, first)
    assert mask is not None and nearly(mask, own | stroke(own.shape, one, other, 8))
    page.locator("#label-outline [data-do=none]").click()
    draw(page, one, other)
    page.locator("#label-next").click()
    third = after(page, second)
    mask = saved(root, second)
    assert mask is not None and nearly(mask, stroke(mask.shape, one, other, 8))
    table = load_dataset(root, root.with_name("slices-outlines"), size=64, progress=False).table
    assert set(table.loc[table["has_mask"] & (table["class"] != "notumor"), "file"]) >= {first, second}
    assert len({first, second, third}) == 3


def test_everything_by_the_keys(page: Page, root: Path) -> None:
    first = file(page)
    canvas = page.locator("#label-outline canvas")
    canvas.focus()
    page.locator("#label-outline [data-do=none]").press("Enter")  # of a button: it is pressed, and nothing is saved
    canvas.focus()
    for key in ("ArrowRight", "Space", "Enter"):
        page.keyboard.press(key)
    second = after(page, first)
    mask = saved(root, first)
    assert mask is not None and 0 < mask.sum() < 200
    page.wait_for_function("document.activeElement === document.querySelector('#label-outline canvas')")
    page.keyboard.press("s")
    third = after(page, second)
    page.keyboard.press("p")
    assert after(page, third) == second and saved(root, second) is None
    page.keyboard.press("x")
    after(page, second)
    mask = saved(root, second)
    assert mask is not None and not mask.any()
    page.keyboard.press("t")
    page.wait_for_function("n => document.querySelector('#label-said .sentence').innerText === n", arg=second)
    assert saved(root, second) is None and saved(root, first) is not None
    assert page.locator("#label-progress").inner_text().startswith("1 of 4 saved")
    page.locator("#label-kind input").click()
    page.keyboard.type("n")  # into the box of the kinds
    page.wait_for_timeout(500)
    assert file(page) == second and saved(root, second) is None
    page.keyboard.press("Escape")
    screenshots.tab(page, "Analyze")
    page.locator("#scan-examples .example").first.wait_for()
    page.keyboard.press("x")  # while another tab is open
    page.wait_for_timeout(500)
    assert saved(root, second) is None


def test_a_page_that_is_loaded_again_goes_on(page: Page, root: Path) -> None:
    first = file(page)
    page.locator("#label-none").click()
    second = after(page, first)
    page.reload()
    assert file(page) == second
    assert page.locator("#label-back").is_disabled()  # nothing was saved on this page yet
    page.locator("#label-previous").click()
    assert after(page, second) == first and page.locator("#label-back").is_enabled()


def test_on_a_phone(chromium: Browser, url: str, root: Path) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.goto(url)
    first = file(phone)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    cut = """(name) => ['#label-said .banner', '#label-back'].filter((one) => {
      const box = document.querySelector(one), text = box.querySelector('.sentence') ?? box, was = text.textContent;
      text.textContent = name;
      const cut = box.scrollWidth > box.clientWidth;
      text.textContent = was;
      return cut;
    })"""
    assert not phone.evaluate(cut, "1.3.12.2.1107.5.1.4.63." + "20130722" * 6)
    phone.locator("#label-outline canvas").tap()
    phone.locator("#label-next").tap()
    after(phone, first)
    assert saved(root, first) is not None
    context.close()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing_serious(chromium: Browser, url: str, look: str) -> None:
    faults = pytest.importorskip("tests.ui.test_axe_browser").faults
    width, height, _ = screenshots.LOOKS[look]
    scheme: Literal["light", "dark"] = "dark" if look == "dark" else "light"
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(url)
    first = file(page)
    assert not faults(page)
    page.locator("#label-none").click()
    while after(page, first).endswith(".png"):
        first = file(page)
        page.locator("#label-none").click()
    assert not faults(page)  # everything is done
    page.close()


def test_both_editors_of_a_page_work(page: Page, root: Path, phantom_png) -> None:
    first = file(page)
    screenshots.analyze(page, phantom_png("meningioma", 21))
    screenshots.tab(page, "Correct the outline")
    page.locator("#outline canvas").wait_for()
    page.locator("#outline [data-do=none]").click()
    page.locator("#correction", has_text="Your outline").wait_for()
    screenshots.tab(page, "Label")
    assert file(page) == first
    draw(page, (0.4, 0.4), (0.5, 0.4))
    page.keyboard.press("n")
    after(page, first)
    mask = saved(root, first)
    assert mask is not None and mask.any()


def test_a_key_counts_for_the_stroke_under_way(page: Page, root: Path) -> None:
    first = file(page)
    page.locator("#label-outline [data-do=none]").click()
    page.locator("#label-outline canvas").scroll_into_view_if_needed()
    box = page.locator("#label-outline canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
    page.keyboard.press("n")
    second = after(page, first)
    mask = saved(root, first)
    assert mask is not None and mask.any()
    page.mouse.up()  # on the next slice: no stroke of it
    assert page.evaluate("document.querySelector('#label-outline .outline').dataset.now") is None
    assert file(page) == second


def test_what_is_not_saved_does_not_go_without_a_question(page: Page, root: Path) -> None:
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    first = file(page)
    page.reload()
    assert file(page) == first and not asked
    draw(page, (0.4, 0.4), (0.5, 0.4))
    page.reload()
    file(page)
    assert asked == ["beforeunload"]
    draw(page, (0.4, 0.4), (0.5, 0.4))
    page.keyboard.press("s")
    after(page, first)
    page.locator("#label-progress [data-drafts='1']").wait_for()
    page.reload()
    file(page)
    assert len(asked) == 2
    draw(page, (0.4, 0.4), (0.5, 0.4))
    page.keyboard.press("n")
    after(page, first)
    page.reload()
    file(page)
    assert len(asked) == 2
