"""The viewer of the Volume tab in a real Chromium, which draws WebGL2 without a graphics card: what it shows, what is
linked, and what it lets go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Locator, Page, Route

from dev import screenshots
from tests.helpers.files import decode, load, make_volume

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

SHAPE = (48, 40, 24)  # along right, front and top
OBLIQUE = np.array([[0.936, -0.275, 0.218], [0.290, 0.956, -0.037], [-0.198, 0.098, 0.975]])
SPACING = (3.0, 4.0, 6.0)
# What of NiiVue the tests ask for; the page itself keeps it to itself.
ARRAYS = """() => document.querySelector('#volume-viewer section').viewer.nv.volumes
  .map((v) => [v.hdr.dims.slice(1, 4), Array.from(v.img)])"""
SPOT = """([i, j, k]) => { const {nv, shape} = document.querySelector('#volume-viewer section').viewer;
  const place = [i, j, k].map((n, axis) => (n + 0.5) / shape[axis]);
  return nv.frac2canvasPos(place).map((x) => x / nv.uiData.dpr); }"""
CONTEXTS = """window.contexts = [];
const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  const made = real.call(this, kind, ...more);
  if (kind === 'webgl2' && made && !window.contexts.includes(made)) window.contexts.push(made);
  return made;
};"""
NO_WEBGL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith('webgl') ? null : real.call(this, kind, ...more);
};"""


@contextmanager
def visit(chromium: Browser, url: str, look: str = "light", script: str = "", **options: Any) -> Iterator[Page]:
    """A visitor on the Volume tab. A script error fails the test."""
    width, height, scheme = screenshots.LOOKS[look]
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **options)  # type: ignore[arg-type]
    page.set_default_timeout(screenshots.WAIT)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    if script:
        page.add_init_script(script)
    page.goto(url)
    page.wait_for_selector("#panel-bars h3")
    yield page
    page.close()
    assert not trouble


@pytest.fixture
def volume(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "v.nii", codes: str = "LPS", spot: tuple[int, int, int] = (38, 28, 16)) -> Path:
        """An oblique, anisotropic one with one bright block at `spot` (right, front, top), stored along other axes."""
        voxels = np.random.default_rng(3).integers(40, 60, SHAPE).astype(np.int16)
        voxels[tuple(slice(n - 2, n + 3) for n in spot)] = 900
        affine = np.eye(4)
        affine[:3, :3] = OBLIQUE @ np.diag(SPACING)
        straight = nibabel.Nifti1Image(voxels, affine)
        change = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes)
        )
        straight.as_reoriented(change).to_filename(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in which the handmade model marks something."""
    voxels, _, (slices, rows, columns) = make_volume("meningioma", 5)
    path = tmp_path_factory.mktemp("head") / "head.nii.gz"
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE @ np.diag([-columns, -rows, slices])
    nibabel.Nifti1Image(voxels.transpose(2, 1, 0), affine).to_filename(path)
    return path


def control(page: Page, label: str) -> Locator:
    return page.locator(".viewer").get_by_role("slider", name=label)


def numbers(page: Page) -> tuple[int, int, int]:
    """Slices along right, front and top, as the sliders say."""
    right, front, top = (int(control(page, f"{name} slice").input_value()) for name in ("Sagittal", "Coronal", "Axial"))
    return right, front, top


def move(page: Page, label: str, value: float) -> None:
    control(page, label).evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def chart_says(page: Page) -> int:
    words = page.locator("#volume-chart svg").get_attribute("aria-label") or ""
    found = re.search(r"Slice (\d+) is shown", words)
    assert found, words
    return int(found[1])


def at(page: Page, voxel: tuple[int, ...]) -> tuple[float, float]:
    """Where on the page the viewer shows a voxel."""
    page.locator(".viewer canvas").evaluate("e => e.scrollIntoView({block: 'center'})")
    x, y = page.evaluate(SPOT, list(voxel))
    box = page.locator(".viewer canvas").bounding_box()
    assert box
    return box["x"] + x, box["y"] + y


def picture(page: Page) -> np.ndarray:
    """RGB (H, W, 3) of the canvas as a visitor sees it."""
    return decode(page.locator(".viewer canvas").screenshot())[..., :3].astype(int)


# --- what is shown ---------------------------------------------------------------------------------------------


def test_nothing_is_fetched_before_the_tab_is_opened(chromium: Browser, url: str, head: Path) -> None:
    with visit(chromium, url) as page:
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        page.reload()
        page.wait_for_selector("#panel-bars h3")
        screenshots.analyze(page, None)
        assert asked and not [address for address in asked if "viewer" in address or "niivue" in address]
        screenshots.volume(page, head)
        page.locator("#volume-viewer [data-ready]").wait_for()
        own = [address for address in asked if re.search(r"file=.*(viewer|niivue)", address)]
        assert sorted(Path(address).name for address in own) == ["niivue.umd.js", "viewer.css", "viewer.js"]
        assert {address.split("/")[2] for address in asked if address.startswith("http")} == {url.split("/")[2]}


def test_voxels_and_mask_in_the_browser_are_those_of_the_files(
    chromium: Browser, url: str, head: Path, tmp_path: Path
) -> None:
    with visit(chromium, url) as page:
        screenshots.volume(page, head)
        page.locator("#volume-make").click()
        link = page.locator("#volume-downloads a[download$='.nii.gz']")
        with page.expect_download() as download:
            link.click()
        download.value.save_as(tmp_path / "mask.nii.gz")
        given = [nibabel.as_closest_canonical(load(path)) for path in (head, tmp_path / "mask.nii.gz")]
        for (shape, values), image in zip(page.evaluate(ARRAYS), given, strict=True):
            own = np.asarray(image.dataobj)
            assert own.any() and np.array_equal(np.reshape(values, shape, order="F"), own)
        # The cross starts inside the mask, and says the value of the scan there
        i, j, k = (n - 1 for n in numbers(page))
        value = np.asarray(given[0].dataobj)[i, j, k]
        assert np.asarray(given[1].dataobj)[i, j, k] == 1
        assert page.locator(".viewer .said").first.inner_text() == f"At the cross: value {value}, inside the mask."
        # ... and amber is seen there, which goes when the mask is made transparent
        page.locator(".viewer input[value=axial]").check(force=True)
        move(page, "Mask opacity", 1)
        x, y = at(page, (i, j, k))
        box = page.locator(".viewer canvas").bounding_box()
        assert box
        row, column = int(y - box["y"]) + 14, int(x - box["x"]) + 14  # beside the cross
        red, _, blue = picture(page)[row, column]
        assert red > 200 and blue < 60
        move(page, "Mask opacity", 0)
        red, _, blue = picture(page)[row, column]
        assert abs(red - blue) < 12


@pytest.mark.parametrize("codes", ["LPS", "PSR"])
def test_right_is_left_and_front_and_top_are_up(
    chromium: Browser, url: str, volume: Callable[..., Path], codes: str
) -> None:
    """As radiologists look at slices: a block on the right, in front and high up."""
    with visit(chromium, url) as page:
        screenshots.volume(page, volume(codes=codes))
        for label, n in (("Sagittal slice", 39), ("Coronal slice", 29), ("Axial slice", 17)):
            move(page, label, n)
        assert page.locator(".viewer .said").first.inner_text().startswith("At the cross: value 900,")
        move(page, "Mask opacity", 0)
        # per plane: is the block left of the middle, and above it?
        for name, left in (("Axial", True), ("Coronal", True), ("Sagittal", True)):
            page.locator(f".viewer input[value={name.lower()}]").check(force=True)
            seen = picture(page)
            bright = seen.min(axis=2) > 230
            block = np.argwhere(bright)
            shape = np.argwhere(seen.sum(axis=2) > 40)  # the slice, with its noise
            middle = (shape.min(axis=0) + shape.max(axis=0)) / 2
            assert len(block) > 200
            assert (np.median(block[:, 1]) < middle[1]) == left and np.median(block[:, 0]) < middle[0], name


# --- links -----------------------------------------------------------------------------------------------------


def test_slider_cross_and_chart_move_together_without_a_question(chromium: Browser, url: str, head: Path) -> None:
    with visit(chromium, url) as page:
        screenshots.volume(page, head)
        page.locator("#volume-viewer [data-ready]").wait_for()
        depth = int(control(page, "Axial slice").get_attribute("max") or 0)
        assert chart_says(page) == numbers(page)[2]
        page.wait_for_timeout(500)
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))

        move(page, "Axial slice", 7)
        assert numbers(page)[2] == chart_says(page) == 7
        chart = page.locator("#volume-chart svg.pick").bounding_box()
        assert chart
        page.mouse.click(chart["x"] + 0.63 * chart["width"], chart["y"] + 40)
        assert numbers(page)[2] == chart_says(page) == int(0.63 * depth) + 1
        page.mouse.move(chart["x"] + 0.2 * chart["width"], chart["y"] + 40)
        page.mouse.down()
        page.mouse.move(chart["x"] + 0.9 * chart["width"], chart["y"] + 50, steps=4)
        page.mouse.up()
        assert numbers(page)[2] == chart_says(page) == int(0.9 * depth) + 1
        page.locator(".viewer input[value=coronal]").check(force=True)
        place = (30, numbers(page)[1] - 1, 11)
        page.mouse.click(*at(page, place))
        assert numbers(page) == tuple(n + 1 for n in place) and chart_says(page) == 12
        before = numbers(page)
        page.mouse.wheel(0, 120)
        second = "(n) => document.querySelectorAll('.viewer .slide input')[1].value !== String(n)"
        page.wait_for_function(second, arg=before[1])
        page.locator(".viewer input[value=four]").check(force=True)
        canvas = page.locator(".viewer canvas")
        canvas.focus()
        page.keyboard.press("PageUp")
        assert numbers(page)[2] == chart_says(page) == min(depth, before[2] + 10)
        page.keyboard.press("ArrowDown")
        assert numbers(page)[2] == chart_says(page) == min(depth, before[2] + 10) - 1
        move(page, "Brightness (window level)", 80)
        move(page, "Contrast (window width)", 60)
        move(page, "Mask opacity", 0.9)
        page.locator(".viewer input[value=render]").check(force=True)
        page.get_by_role("button", name="Reset").click()
        page.wait_for_timeout(500)
        assert asked == []


def test_scrolling_past_the_picture_moves_the_page_and_the_head_can_be_turned(
    chromium: Browser, url: str, head: Path
) -> None:
    with visit(chromium, url) as page:
        screenshots.volume(page, head)
        before, (x, y) = numbers(page), at(page, tuple(n - 1 for n in numbers(page)))
        top = page.evaluate("window.scrollY")
        page.mouse.move(x, y)
        page.mouse.wheel(0, -120)
        page.wait_for_function("(top) => window.scrollY < top", arg=top)
        assert numbers(page) == before
        page.locator(".viewer input[value=render]").check(force=True)
        turned = "document.querySelector('#volume-viewer section').viewer.nv.scene.renderAzimuth"
        angle = page.evaluate(turned)
        page.locator(".viewer canvas").evaluate("e => e.scrollIntoView({block: 'center'})")
        page.mouse.move(600, 450)
        page.mouse.down()
        page.mouse.move(680, 450, steps=2)
        page.mouse.up()
        dragged = page.evaluate(turned)
        assert dragged != angle
        page.keyboard.press("ArrowRight")
        assert page.evaluate(turned) == dragged + 5


def test_window_changes_the_picture_and_reset_brings_it_back(chromium: Browser, url: str, head: Path) -> None:
    with visit(chromium, url) as page:
        screenshots.volume(page, head)
        first = picture(page)
        move(page, "Brightness (window level)", 30)
        assert picture(page).mean() > 1.2 * first.mean()
        page.locator(".viewer input[value=window]").check(force=True)
        x, y = at(page, tuple(n - 1 for n in numbers(page)))
        level = control(page, "Brightness").input_value()
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 30, y + 40, steps=4)
        page.mouse.up()
        assert control(page, "Brightness").input_value() != level
        page.get_by_role("button", name="Reset").click()
        assert np.abs(picture(page) - first).mean() < 0.5


def test_the_letters_of_a_slice_that_fills_the_canvas_are_whole(chromium: Browser, url: str, head: Path) -> None:
    with visit(chromium, url) as page:
        screenshots.volume(page, head)
        page.locator(".viewer input[value=axial]").check(force=True)
        move(page, "Coronal slice", 3)  # its line out of the way
        move(page, "Sagittal slice", 3)
        seen = picture(page).min(axis=2) > 120  # letters, not the blue line
        middle = slice(seen.shape[0] // 2 - 15, seen.shape[0] // 2 + 15)
        right = seen[middle, :30].any(axis=0)
        assert right.any() and not right[:3].any()
        left = seen[middle, -30:].any(axis=0)
        assert left.any() and not left[-3:].any()


def test_measure_and_save(chromium: Browser, url: str, volume: Callable[..., Path]) -> None:
    with visit(chromium, url) as page:
        screenshots.volume(page, volume())
        page.locator(".viewer input[value=axial]").check(force=True)
        page.locator(".viewer input[value=measure]").check(force=True)
        depth = numbers(page)[2] - 1
        page.mouse.move(*at(page, (10, 10, depth)))
        page.mouse.down()
        page.mouse.move(*at(page, (34, 22, depth)), steps=5)
        page.mouse.up()
        said = page.locator(".viewer .said").last.inner_text()
        length = float(said.removeprefix("Measured: ").removesuffix(" mm."))
        assert length == pytest.approx(np.hypot(24 * SPACING[0], 12 * SPACING[1]), rel=0.02)
        page.locator("#volume-viewer section").evaluate("(e) => { e.viewer.given.doubt = true; }")
        page.mouse.move(*at(page, (10, 10, depth)))
        page.mouse.down()
        page.mouse.move(*at(page, (34, 22, depth)), steps=5)
        page.mouse.up()
        page.locator(".viewer .said", has_text=f"Measured: {length:.1f} mm; doubtful").wait_for()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save this view").click()
        assert download.value.suggested_filename == f"volume_view_slice_{depth + 1}.png"
        saved = decode(Path(download.value.path()).read_bytes())
        assert min(saved.shape[:2]) > 300 and saved[..., :3].max() > 200 and saved[..., :3].mean() > 5


# --- memory, and what else may happen --------------------------------------------------------------------------


def test_the_second_volume_takes_the_place_of_the_first(
    chromium: Browser, url: str, head: Path, volume: Callable[..., Path]
) -> None:
    with visit(chromium, url, script=CONTEXTS) as page:
        live = "window.contexts.filter((c) => !c.isContextLost()).length"
        screenshots.volume(page, head)
        page.locator("#volume-viewer [data-ready]").wait_for()
        assert page.evaluate(live) == 1
        for i in range(3):
            spot = (38 - i, 28, 16)
            screenshots.volume(page, volume(f"v{i}.nii", spot=spot))
            page.locator("#volume-finding .detail", has_text=f"v{i}.nii").wait_for()
            page.locator("#volume-viewer [data-ready]").wait_for()
            shape, values = page.evaluate(ARRAYS)[0]
            assert shape == list(SHAPE) and np.reshape(values, shape, order="F")[40 - i, 30, 18] == 900
            assert page.evaluate(live) == 1 and page.locator(".viewer canvas").count() == 1
        bad = head.with_name("broken.nii")
        bad.write_bytes(b"no volume")
        page.set_input_files("#volume-file input[type=file]", bad)
        page.locator("#volume-finding [role=alert]", has_text="broken.nii").wait_for()
        assert page.locator(".viewer").count() == 0 and page.evaluate(live) == 0


def planes_answer(page: Page) -> None:
    """The planes of the server are shown, and the server moves them."""
    page.locator("#volume-views img").first.wait_for()
    assert page.locator("#volume-views img").count() == 3 and page.locator(".viewer").count() == 0
    chart = page.locator("#volume-chart svg.pick").bounding_box()
    assert chart
    page.mouse.click(chart["x"] + 0.93 * chart["width"], chart["y"] + 40)
    last = int(page.locator("#volume-0 input[type=range]").get_attribute("max") or 0)
    page.wait_for_function(
        "(n) => document.querySelector('#volume-chart svg').getAttribute('aria-label').includes(`Slice ${n} is shown`)",
        arg=int(0.93 * last) + 1,
    )


def test_without_webgl2_the_planes_answer(chromium: Browser, url: str, head: Path) -> None:
    with visit(chromium, url, script=NO_WEBGL) as page:
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        screenshots.volume(page, head)
        planes_answer(page)
        assert not [address for address in asked if "niivue" in address or "volume.nii.gz" in address]


@pytest.mark.parametrize("missing", ["niivue.umd.js", "volume.nii.gz", "mask.nii.gz"])
def test_what_cannot_be_fetched_leaves_the_planes(chromium: Browser, url: str, head: Path, missing: str) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=403, body="File not allowed.")

    with visit(chromium, url) as page:
        page.route(f"**/{missing}", refuse)
        screenshots.volume(page, head)
        planes_answer(page)


def test_a_lost_graphics_card_leaves_the_planes(chromium: Browser, url: str, head: Path) -> None:
    with visit(chromium, url, script=CONTEXTS) as page:
        screenshots.volume(page, head)
        page.locator("#volume-viewer [data-ready]").wait_for()
        page.evaluate("window.contexts.at(-1).getExtension('WEBGL_lose_context').loseContext()")
        planes_answer(page)


# --- phones ----------------------------------------------------------------------------------------------------


def test_on_a_phone_a_finger_moves_the_cross_and_measures(
    chromium: Browser, url: str, volume: Callable[..., Path]
) -> None:
    with visit(chromium, url, "phone", has_touch=True) as page:
        screenshots.volume(page, volume())
        page.locator("#volume-viewer [data-ready]").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= screenshots.LOOKS["phone"][0]
        page.locator(".viewer input[value=axial]").check(force=True)
        page.locator(".viewer canvas").scroll_into_view_if_needed()
        depth = numbers(page)[2] - 1
        finger = page.context.new_cdp_session(page)

        def drag(start: tuple[int, int, int], end: tuple[int, int, int]) -> None:
            (x, y), (u, v) = at(page, start), at(page, end)
            finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
            page.wait_for_timeout(30)  # NiiVue waits a moment for a second finger
            for part in (0.5, 1.0):
                point = {"x": x + part * (u - x), "y": y + part * (v - y)}
                finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
            finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        drag((10, 10, depth), (31, 21, depth))
        right, front, _ = numbers(page)
        assert abs(right - 32) <= 1 and abs(front - 22) <= 1
        page.locator(".viewer input[value=measure]").check(force=True)
        drag((10, 10, depth), (34, 22, depth))
        said = page.locator(".viewer .said").last.inner_text()
        length = float(said.removeprefix("Measured: ").removesuffix(" mm."))
        assert length == pytest.approx(np.hypot(24 * SPACING[0], 12 * SPACING[1]), rel=0.04)
