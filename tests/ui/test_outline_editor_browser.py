"""An outline is corrected in a real Chromium, with mouse, keys and fingers, and ends in the files of the report."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, Route

import segmentation
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import analyze_tab
from dev import screenshots
from tests.helpers.files import decode, make_volume, write_nifti

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"  # drawn, and observed
Files = dict[str, bytes]
Place = tuple[float, float]  # (x, y), 0..1 of the picture


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    opened = screenshots.open_page(chromium, url, "light")
    yield from watched(opened)


def watched(opened: Page) -> Iterator[Page]:
    opened.set_default_timeout(60_000)
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    yield opened
    opened.close()
    assert not trouble


@pytest.fixture
def phone(chromium: Browser, url: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    opened = context.new_page()
    opened.goto(url)
    opened.wait_for_selector("#panel-bars h3")
    yield from watched(opened)
    context.close()


def begin(page: Page, path: Path) -> None:
    page.set_input_files("#scan-file input[type=file]", path)
    page.locator("#finding .detail", has_text=path.name).wait_for()
    page.locator("#panel-heat img.zoom").wait_for()
    to_editor(page)


def to_editor(page: Page) -> None:
    screenshots.tab(page, "Correct the outline")
    page.locator("#outline [data-says=size]", has_text="pixel").wait_for()  # its script is there
    page.locator("#outline canvas").scroll_into_view_if_needed()


def at(page: Page, place: Place) -> Place:
    """On the screen."""
    box = page.locator("#outline canvas").bounding_box()
    assert box
    return box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]


def draw(page: Page, *places: Place, button: Any = "left") -> None:
    page.mouse.move(*at(page, places[0]))
    page.mouse.down(button=button)
    for place in places:
        page.mouse.move(*at(page, place), steps=4)
    page.mouse.up(button=button)


def tool(page: Page, does: str) -> None:
    page.locator(f"#outline [data-do={does}]").click()


def size(page: Page, pixels: int) -> None:
    page.locator("#outline [data-size]").fill(str(pixels))


def stroke(shape: tuple[int, int], one: Place, other: Place, pixels: int) -> np.ndarray:
    """bool (H, W): what the brush covers on a straight way."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    a, b = np.array(one) * shape[::-1], np.array(other) * shape[::-1]
    way = b - a
    share = ((columns - a[0]) * way[0] + (rows - a[1]) * way[1]) / max(way @ way, 1e-9)
    share = share.clip(0, 1)
    far = np.hypot(columns - a[0] - share * way[0], rows - a[1] - share * way[1])
    return np.asarray(far <= pixels / 2)


def nearly(one: np.ndarray, other: np.ndarray) -> bool:
    """But for the pixels that a fraction of a pixel on the screen decides."""
    return one.shape == other.shape and int(np.count_nonzero(one != other)) <= 3


def report(page: Page) -> Files:
    """The files of the report by the end of their names."""
    screenshots.tab(page, "Report")
    link = "(document.querySelector('#report-files a')?.href ?? '')"  # gone as soon as the outline is another one
    before = page.evaluate(link)
    page.locator("#make-report").click()
    page.wait_for_function(f"(before) => !['', before].includes({link})", arg=before)
    return files_of(page)


def files_of(page: Page) -> Files:
    found = {}
    for link in page.locator("#report-files a").all():
        with page.expect_download() as download:
            link.click()
        name = download.value.suggested_filename
        found[name.split("_", 1)[1]] = Path(download.value.path()).read_bytes()
    return found


def said(page: Page, text: str) -> str:
    page.locator("#correction", has_text=text).wait_for()
    return page.locator("#correction").inner_text()


def test_a_stroke_ends_in_the_saved_mask(page: Page, phantom_png, predictor: Predictor) -> None:
    path = phantom_png("meningioma", 21)
    own = predictor.analyze(read_scan(path))
    begin(page, path)
    assert "nothing is corrected" in said(page, "model’s mask")
    size(page, 12)
    one, other = (0.3, 0.4), (0.5, 0.55)
    draw(page, one, other)
    said(page, "Your outline")
    assert "Corrected outline" in page.locator("#panel-mask").inner_text()
    assert "corrected by hand" in page.locator("#facts").inner_text()
    bars = page.locator("#panel-bars").inner_text()
    files = report(page)
    assert set(files) == {
        "report.html", "result.json", "mask.png", "mask_corrected.png", "overlay_corrected.png",
    }  # fmt: skip
    model, mask = decode(files["mask.png"]) > 0, decode(files["mask_corrected.png"]) > 0
    assert np.array_equal(model, own.mask)  # stays the model's
    assert nearly(mask, own.mask | stroke(own.mask.shape, one, other, 12))
    data = json.loads(files["result.json"])
    assert data["tumor_pixels"] == own.measures.pixels and data["corrected"]["by"] == "hand"
    assert data["corrected"]["tumor_pixels"] == np.count_nonzero(mask)
    assert data["corrected"]["dice_with_model"] == segmentation.dice(mask, own.mask)
    text = files["report.html"].decode()
    assert "corrected by hand" in text and "Corrected outline" in text
    assert page.locator("#panel-bars").inner_text() == bars  # the answer is the model's


def test_eraser_undo_redo_and_the_way_back(page: Page, phantom_png, predictor: Predictor) -> None:
    path = phantom_png("meningioma", 21)
    own = predictor.analyze(read_scan(path))
    rows, columns = np.nonzero(own.mask)
    middle = (float(columns.mean() + 0.5) / own.mask.shape[1], float(rows.mean() + 0.5) / own.mask.shape[0])
    begin(page, path)
    size(page, 9)
    draw(page, middle, middle, button="right")  # takes away, whatever the tool
    said(page, "Your outline")
    less = own.mask & ~stroke(own.mask.shape, middle, middle, 9)
    tool(page, "eraser")
    draw(page, (0.0, middle[1]), (1.0, middle[1]))
    files = report(page)
    assert nearly(
        decode(files["mask_corrected.png"]) > 0, less & ~stroke(less.shape, (0, middle[1]), (1, middle[1]), 9)
    )
    to_editor(page)  # what can be undone is still there
    tool(page, "undo")
    assert nearly(decode(report(page)["mask_corrected.png"]) > 0, less)
    to_editor(page)
    page.locator("#outline canvas").focus()
    page.keyboard.press("Control+z")
    said(page, "nothing is corrected")
    assert "Mask overlay" in page.locator("#panel-mask").inner_text()
    page.keyboard.press("Control+Shift+z")
    said(page, "Your outline")
    tool(page, "none")
    said(page, "Your outline: 0 pixels")
    tool(page, "model")
    said(page, "nothing is corrected")
    assert "mask_corrected.png" not in report(page)


def test_the_picture_stays_under_the_brush(page: Page, phantom_png, tmp_path: Path) -> None:
    """The answer to the first stroke makes the facts above it higher; the second stroke would be drawn elsewhere."""
    path = tmp_path / "wide.png"
    Image.open(phantom_png("meningioma", 21)).resize((700, 300)).save(path)
    begin(page, path)
    page.locator("#outline .desk").evaluate("(e) => e.scrollIntoView({block: 'center'})")
    before, high = at(page, (0, 0)), page.locator("#facts").bounding_box()
    draw(page, (0.2, 0.4), (0.4, 0.4))
    said(page, "Your outline")
    assert high
    page.wait_for_function("(h) => document.querySelector('#facts').offsetHeight > h + 20", arg=high["height"])
    page.evaluate(FRAMES)
    assert abs(at(page, (0, 0))[1] - before[1]) < 1
    page.mouse.click(5, 5)  # who has left the picture is not taken back to it
    page.evaluate("document.querySelector('#facts').style.paddingTop = '40px'")
    page.evaluate(FRAMES)
    assert abs(at(page, (0, 0))[1] - before[1] - 40) < 1


def test_by_keys_alone(page: Page, phantom_png, predictor: Predictor) -> None:
    path = phantom_png("meningioma", 21)
    shape = predictor.analyze(read_scan(path)).mask.shape
    begin(page, path)
    tool(page, "none")
    size(page, 8)
    page.locator("#outline canvas").focus()
    for key in ("ArrowLeft", "Shift+ArrowUp", "Shift+ArrowUp", "b", "]", " "):
        page.keyboard.press(key)
    said(page, "Your outline")
    x, y = 0.5 - 4 / shape[1], 0.5
    expected = stroke(shape, (x, y), (x, y - 8 / shape[0]), 8) | stroke(
        shape, (x, y - 8 / shape[0]), (x, y - 8 / shape[0]), 9
    )
    assert nearly(decode(report(page)["mask_corrected.png"]) > 0, expected)


def test_the_report_waits_for_the_last_stroke(page: Page, phantom_png) -> None:
    """The net holds two strokes back, and turns them round; that they were taken is told later than what they did."""
    page.evaluate("window.strokePatience = 60000")
    begin(page, phantom_png("meningioma", 21))
    held: list[Route] = []

    def hold(route: Route) -> None:
        if '"runs"' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/queue/join*", hold)
    draw(page, (0.3, 0.3), (0.4, 0.3))
    tool(page, "none")
    screenshots.tab(page, "Report")
    page.locator("#make-report").click()
    for _ in range(1200):
        page.wait_for_timeout(50)
        if len(held) == 2:
            break
    page.wait_for_timeout(1000)
    assert len(held) == 2 and not page.locator("#report-files a").count()
    taken = []
    for route in reversed(held):
        taken.append((route, route.fetch()))
        page.wait_for_timeout(300)
    for route, response in taken:
        route.fulfill(response=response)
    page.locator("#report-files a").nth(3).wait_for()
    assert not decode(files_of(page)["mask_corrected.png"]).any()
    to_editor(page)
    said(page, "Your outline: 0 pixels")
    screenshots.tab(page, "Report")
    assert page.locator("#report-files a").nth(3).is_visible()  # no answer to a stroke has taken it away


def test_what_is_undone_while_the_editor_opens_stays_undone(
    page: Page, phantom_png, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reads the mask, the visitor presses undo, and only then the answer with the mask of before comes."""
    begin(page, phantom_png("meningioma", 21))
    tool(page, "none")
    said(page, "Your outline: 0 pixels")
    screenshots.tab(page, "Report")
    read, undone, board = threading.Event(), threading.Event(), analyze_tab.board

    def late(*values: Any) -> str:
        made = board(*values)
        read.set()
        assert undone.wait(60)
        return made

    monkeypatch.setattr(analyze_tab, "board", late)
    to_editor(page)
    assert read.wait(60)
    tool(page, "undo")
    undone.set()
    said(page, "nothing is corrected")
    page.locator("#outline [data-do=redo]").click()
    said(page, "Your outline: 0 pixels")
    assert not decode(report(page)["mask_corrected.png"]).any()


def test_a_stroke_that_never_comes_is_a_sentence(page: Page, phantom_png) -> None:
    page.evaluate("window.strokePatience = 500")
    begin(page, phantom_png("meningioma", 21))
    page.route("**/queue/join*", lambda r: None if '"runs"' in (r.request.post_data or "") else r.continue_())
    draw(page, (0.3, 0.3), (0.4, 0.3))
    screenshots.tab(page, "Report")
    page.locator("#make-report").click()
    page.get_by_text(analyze_tab.LATE).wait_for()
    assert not page.locator("#report-files a").count()


def test_the_threshold_moves_the_models_mask_only(page: Page, phantom_png, predictor: Predictor) -> None:
    path = phantom_png("meningioma", 21)
    own = predictor.analyze(read_scan(path))
    begin(page, path)
    draw(page, (0.3, 0.3), (0.4, 0.3))
    said(page, "Your outline")
    before = decode(report(page)["mask_corrected.png"])
    screenshots.tab(page, "Adjust the pictures")
    field = page.get_by_label("number input for Mask threshold")
    field.fill("0.9")
    field.press("Enter")
    page.locator("#facts .notes", has_text="0.90 counts for the model’s mask alone").wait_for()
    files = report(page)
    assert np.array_equal(decode(files["mask_corrected.png"]), before)
    assert np.array_equal(decode(files["mask.png"]) > 0, own.mask_at(0.9))
    to_editor(page)
    tool(page, "model")  # the one at the threshold that is chosen
    said(page, "nothing is corrected")
    files = report(page)
    assert "mask_corrected.png" not in files and np.array_equal(decode(files["mask.png"]) > 0, own.mask_at(0.9))


def test_a_new_scan_drops_it_and_is_what_the_open_editor_shows(page: Page, phantom_png) -> None:
    begin(page, phantom_png("meningioma", 21))
    draw(page, (0.3, 0.3), (0.4, 0.3))
    said(page, "Your outline")
    shown = page.locator("#outline .sheet img").get_attribute("src")
    path = phantom_png("glioma", 1)
    page.set_input_files("#scan-file input[type=file]", path)
    page.locator("#finding .detail", has_text=path.name).wait_for()
    said(page, "nothing is corrected")
    assert page.locator("#outline .sheet img").get_attribute("src") != shown
    assert page.locator("#outline [data-do=undo]").is_disabled()
    assert "mask_corrected.png" not in report(page)


def test_every_slice_of_a_volume_keeps_its_own(page: Page, tmp_path: Path) -> None:
    voxels, _, spacing = make_volume("meningioma", 5)
    begin(page, write_nifti(tmp_path / "volume.nii.gz", voxels[:, :, 10:], spacing))  # not square
    slider = page.locator("#slice-number input[type=number]")
    first = int(slider.input_value())
    tool(page, "none")
    draw(page, (0.4, 0.4), (0.5, 0.4))
    drawn = said(page, "Your outline")
    saved = decode(report(page)["mask_corrected.png"])
    to_editor(page)
    slider.fill(str(first + 1))
    slider.press("Enter")
    said(page, "nothing is corrected")
    slider.fill(str(first))
    slider.press("Enter")
    assert said(page, "Your outline") == drawn
    files = report(page)
    assert np.array_equal(decode(files["mask_corrected.png"]), saved) and saved.shape[0] != saved.shape[1]


def test_sixteen_bits_and_a_long_picture(page: Page, phantom_png, tmp_path: Path, predictor: Predictor) -> None:
    values = np.asarray(Image.open(phantom_png("meningioma", 21)).convert("L")).astype(np.uint16) * 200
    path = tmp_path / "deep.png"
    Image.fromarray(np.pad(values, ((0, 150), (20, 0)))).save(path)
    own = predictor.analyze(read_scan(path))
    begin(page, path)
    size(page, 1)
    tool(page, "in")
    tool(page, "in")  # four times as large
    page.locator("#outline .desk").evaluate("e => e.scrollTo(0, 0)")
    draw(page, (0.1, 0.05), (0.12, 0.05))
    said(page, "Your outline")
    mask = decode(report(page)["mask_corrected.png"]) > 0
    assert mask.shape == own.mask.shape == read_scan(path).shape
    added = np.argwhere(mask & ~own.mask)
    height, width = mask.shape
    assert {row for row, _ in added} == {int(0.05 * height)}
    assert abs(added[:, 1].min() - 0.1 * width) <= 1 and abs(added[:, 1].max() - 0.12 * width) <= 1


def fingers(phone: Page) -> Callable[..., None]:
    """touch(kind, place, ...): fingers on the picture."""
    session = phone.context.new_cdp_session(phone)

    def touch(kind: str, *places: Place) -> None:
        points = [dict(zip(("x", "y"), at(phone, place), strict=True), id=i) for i, place in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    return touch


def test_with_a_finger_on_a_phone(phone: Page, phantom_png, predictor: Predictor) -> None:
    path = phantom_png("meningioma", 21)
    own = predictor.analyze(read_scan(path))
    begin(phone, path)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    size(phone, 10)
    phone.locator("#outline canvas").scroll_into_view_if_needed()
    one, other = (0.3, 0.4), (0.5, 0.6)
    top = at(phone, one)[1]
    touch = fingers(phone)
    touch("Start", one)
    for share in (0.25, 0.5, 0.75, 1):
        touch("Move", (one[0] + 0.2 * share, one[1] + 0.2 * share))
    touch("End")
    said(phone, "Your outline")
    assert abs(at(phone, one)[1] - top) < 5  # one finger draws, and does not move the page
    mask = decode(report(phone)["mask_corrected.png"]) > 0
    assert nearly(mask, own.mask | stroke(own.mask.shape, one, other, 10))


def test_two_fingers_draw_nothing(phone: Page, phantom_png) -> None:
    begin(phone, phantom_png("meningioma", 21))
    touch = fingers(phone)
    touch("Start", (0.4, 0.4))
    touch("Move", (0.42, 0.42))
    touch("Start", (0.42, 0.42), (0.6, 0.6))
    touch("Move", (0.3, 0.3), (0.7, 0.7))
    touch("End")
    phone.wait_for_timeout(500)
    assert "nothing is corrected" in phone.locator("#correction").inner_text()
    assert phone.locator("#outline [data-do=undo]").is_disabled()


def test_the_report_stays_on_one_sheet(page: Page, chromium: Browser, phantom_png, tmp_path: Path) -> None:
    begin(page, phantom_png("meningioma", 21))
    draw(page, (0.3, 0.3), (0.4, 0.3))
    said(page, "Your outline")
    saved = tmp_path / "report.html"
    saved.write_bytes(report(page)["report.html"])
    printed = chromium.new_page()
    printed.goto(saved.as_uri())
    assert len(re.findall(rb"/Type\s*/Page\b", printed.pdf(format="A4", print_background=True))) == 1
    printed.close()


def test_nothing_of_it_is_loaded_before_it_is_opened(page: Page, phantom_png) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    screenshots.analyze(page, phantom_png("meningioma", 21))
    assert not [url for url in asked if url.endswith("outline_editor.js")]
    assert "getCoalescedEvents" not in page.content()
    to_editor(page)
    draw(page, (0.3, 0.3), (0.4, 0.3))
    said(page, "Your outline")
    assert len([url for url in asked if url.endswith("outline_editor.js")]) == 1
