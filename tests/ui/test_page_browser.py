"""The page in a real Chromium, as a visitor sees it: desktop and phone, light and dark, every tab."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, FloatRect, Page

import app
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from brain_mri.ui.common import label_of
from dev import screenshots
from tests.helpers.files import EXAMPLES

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

WAIT = 60_000  # ms

# Contrast of every visible piece of text with the nearest opaque background behind it (WCAG 2, relative luminance).
CONTRAST = """() => {
  const parse = (c) => {
    const v = c.match(/[\\d.]+/g).map(Number);
    return c.startsWith('color(srgb') ? [255 * v[0], 255 * v[1], 255 * v[2], v[3] ?? 1] : [v[0], v[1], v[2], v[3] ?? 1];
  };
  const linear = (x) => x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c[3] > 0.99) return c;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  let seen = 0;
  const walk = document.createTreeWalker(document.querySelector('.gradio-container'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim(), style = getComputedStyle(e);
    const shown = e.checkVisibility({opacityProperty: true, visibilityProperty: true});
    if (!text || !shown || e.closest('svg, option, [disabled]') || parse(style.color)[3] < 0.05) continue;
    seen += 1;
    const [a, b] = [light(parse(style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${style.color} ${text.slice(0, 50)}`);
  }
  return seen > 20 ? [...new Set(found)] : [`only ${seen} texts found`];
}"""

# Controls and pictures without a name for screen readers.
UNNAMED = """() => {
  const own = (e) => (e.innerText || '').trim() || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') ||
    e.getAttribute('title') || [...(e.labels ?? [])].some((l) => l.innerText.trim()) ||
    [...e.querySelectorAll('img')].some((i) => i.alt);
  return [...document.querySelectorAll('.gradio-container :is(button, input, select, textarea, img, [role=button])')]
    .filter((e) => e.checkVisibility() && e.type !== 'file' && !e.closest('[aria-hidden=true]'))
    .filter((e) => e.tagName === 'IMG' ? !e.hasAttribute('alt') : !own(e))
    .map((e) => e.outerHTML.slice(0, 160));
}"""


@pytest.fixture(scope="module")
def samples() -> dict[str, Path]:
    return {path.name: path for path in EXAMPLES}


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    """A fresh visitor on a desktop. Any request to another host and any script error fails the test."""
    opened = screenshots.open_page(chromium, url, "light")
    opened.set_default_timeout(WAIT)
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda r: trouble.append(r.url) if not re.match(rf"{url}|data:|blob:", r.url) else None)
    yield opened
    opened.close()
    assert not trouble


def upload(page: Page, path: Path, box: str = "#scan-file") -> None:
    page.set_input_files(f"{box} input[type=file]", path)


def wait_for_result(page: Page, name: str) -> None:
    page.locator("#finding .detail", has_text=name).wait_for()
    page.locator("#panel-heat img.zoom").wait_for()


def source(page: Page, panel: str) -> str:
    return page.locator(f"#panel-{panel} img.zoom").get_attribute("src") or ""


def change(page: Page, label: str, value: str) -> None:
    """Type into the number field of a slider."""
    field = page.get_by_label(f"number input for {label}")
    field.fill(value)
    field.press("Enter")


def box_of(page: Page, selector: str) -> FloatRect:
    box = page.locator(selector).bounding_box()
    assert box
    return box


def wait_for_change(page: Page, panel: str, before: str) -> None:
    page.wait_for_function(
        "([panel, before]) => document.querySelector(`#panel-${panel} img.zoom`)?.src !== before", arg=[panel, before]
    )


# --- Analyze ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["glioma_coronal.png", "16bit.png", ".jpg", ".dcm", ".nii.gz"])
def test_upload_fills_three_panels(page: Page, samples: dict[str, Path], predictor: Predictor, kind: str) -> None:
    path = next(p for name, p in samples.items() if name.endswith(kind))
    upload(page, path)
    wait_for_result(page, path.name)
    assert page.locator("#panel-bars .bars li").count() == 4
    assert source(page, "mask").startswith("data:image/png") and source(page, "heat").startswith("data:image/png")
    own = predictor.analyze(read_scan(path))
    shown = page.locator("#panel-bars li.top").inner_text()
    assert f"{100 * own.confidence:.1f} %" in shown
    assert predictor.revision[:12] in page.locator("#finding").inner_text()
    assert page.locator("#facts .tile").count() == 5
    boxes = [box_of(page, f"#panel-{name}") for name in ("bars", "mask", "heat")]
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"] and len({round(b["y"]) for b in boxes}) == 1
    assert page.locator("#disclaimer").is_visible() and "not a diagnosis" in page.locator("#disclaimer").inner_text()
    if kind == ".nii.gz":
        assert "slice" in page.locator("#finding .detail").inner_text() and page.locator("#slice-number").is_visible()


def test_example_by_keyboard(page: Page) -> None:
    button = page.locator("#scan-examples .example").nth(2)
    button.focus()
    page.keyboard.press("Enter")
    wait_for_result(page, "synthetic")


def test_sliders_redraw_what_they_should(page: Page, phantom_png) -> None:
    upload(page, phantom_png("meningioma", 21))
    wait_for_result(page, "meningioma-21")
    mask, heat, sentence = source(page, "mask"), source(page, "heat"), page.locator("#finding").inner_text()
    change(page, "Mask threshold", "0.2")
    wait_for_change(page, "mask", mask)
    page.locator("#facts .notes", has_text="0.20").wait_for()
    assert source(page, "heat") == heat
    mask = source(page, "mask")
    change(page, "Mask opacity", "0.9")
    wait_for_change(page, "mask", mask)
    page.get_by_role("radio", name="Meningioma").check()
    wait_for_change(page, "heat", heat)
    mask = source(page, "mask")
    change(page, "Window width", "90")
    wait_for_change(page, "mask", mask)
    assert page.locator("#finding").inner_text() == sentence  # no new answer


def test_wipe_and_enlarge(page: Page, phantom_png) -> None:
    upload(page, phantom_png("meningioma", 21))
    wait_for_result(page, "meningioma-21")
    page.locator("#panel-mask .wiper input").fill("30")
    assert page.locator("#panel-mask .wipe").evaluate("e => e.style.getPropertyValue('--shown')") == "30%"
    page.locator("#panel-heat img.zoom").focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog.large img").is_visible()
    page.keyboard.press("Escape")
    page.locator("dialog.large").wait_for(state="detached")
    with page.expect_download() as download:
        page.locator("#panel-mask [data-save]").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_bad_file_is_a_sentence_and_no_old_result_stays(page: Page, phantom_png, tmp_path: Path) -> None:
    upload(page, phantom_png("meningioma", 21))
    wait_for_result(page, "meningioma-21")
    bad = tmp_path / "letter.png"
    bad.write_text("dear doctor")
    upload(page, bad)
    page.locator("#finding [role=alert]", has_text="letter.png").wait_for()
    text = page.locator("#finding").inner_text()
    assert "none of the formats" in text and "Traceback" not in text
    assert page.locator("#panel-mask img").count() == 0
    upload(page, phantom_png("glioma", 1))  # and the page goes on working
    wait_for_result(page, "glioma-1")


def test_paste_and_drop_anywhere(page: Page, phantom_png) -> None:
    for event, name in (("paste", "pasted.png"), ("drop", "dropped.png")):
        content = list(phantom_png("meningioma", 21).read_bytes())
        page.evaluate(
            """([event, name, content]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(content)], name, {type: 'image/png'}));
              const made = event === 'paste'
                ? new ClipboardEvent(event, {clipboardData: data, bubbles: true})
                : new DragEvent(event, {dataTransfer: data, bubbles: true, cancelable: true});
              document.querySelector('.masthead').dispatchEvent(made);
            }""",
            [event, name, content],
        )
        wait_for_result(page, name)


def test_methods_picture_and_report(
    page: Page, chromium: Browser, phantom_png, predictor: Predictor, tmp_path: Path
) -> None:
    path = phantom_png("meningioma", 21)
    upload(page, path)
    wait_for_result(page, "meningioma-21")
    screenshots.tab(page, "U-Net and K-means")
    page.locator("#methods img").nth(1).wait_for()
    screenshots.tab(page, "The picture")
    page.locator("#picture svg").wait_for()
    screenshots.tab(page, "Report")
    page.locator("#make-report").click()
    page.locator("#report-files a").nth(2).wait_for()
    files = {}
    for link in page.locator("#report-files a").all():
        with page.expect_download() as download:
            link.click()
        files[download.value.suggested_filename] = Path(download.value.path())
    stem = label_of(path)  # not by its own name, which nobody asked for
    assert set(files) == {f"{stem}_{end}" for end in ("report.html", "result.json", "mask.png")}
    own = predictor.analyze(read_scan(path))
    assert json.loads(files[f"{stem}_result.json"].read_text())["tumor_pixels"] == own.measures.pixels
    assert predictor.revision in files[f"{stem}_report.html"].read_text()
    saved = tmp_path / "report.html"
    saved.write_bytes(files[f"{stem}_report.html"].read_bytes())
    report = chromium.new_page()
    report.goto(saved.as_uri())
    pdf = report.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1  # one sheet
    report.close()


def test_two_visitors_never_see_each_other(chromium: Browser, url: str, phantom_png) -> None:
    pages = [screenshots.open_page(chromium, url, "light") for _ in range(2)]
    names = ["meningioma-21-256-axial.png", "glioma-1-256-axial.png"]
    for view, name in zip(pages, names, strict=True):
        label, seed = name.split("-")[:2]
        upload(view, phantom_png(label, int(seed)))
    for view, name in zip(pages, names, strict=True):
        wait_for_result(view, name)
    for view, name in zip(pages, names, strict=True):  # a redraw uses the visitor's own scan
        before = source(view, "mask")
        change(view, "Window width", "120")
        wait_for_change(view, "mask", before)
        assert name in (view.locator("#panel-mask img.zoom").get_attribute("alt") or "")
        other = names[1 - names.index(name)]
        assert other not in view.content()
        view.close()


# --- Volume, Batch, Model --------------------------------------------------------------------------------------


def test_volume(page: Page, samples: dict[str, Path]) -> None:
    """Without WebGL2: the planes that the server draws. The viewer has tests/ui/test_viewer_browser.py."""
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.reload()
    page.wait_for_selector("#panel-bars h3")
    path = next(p for name, p in samples.items() if name.endswith(".nii.gz"))
    screenshots.volume(page, path)
    assert page.locator("#volume-views .slice img").count() == 3
    slider = page.locator("#volume-0 input[type=range]")
    chart = page.locator("#volume-chart svg.pick")
    chart.click(position={"x": box_of(page, "#volume-chart svg.pick")["width"] * 0.93, "y": 40})
    count = int(slider.get_attribute("max") or 0)
    expected = int(0.93 * count) + 1
    page.locator("#volume-chart svg", has=page.locator("polyline")).wait_for()
    page.wait_for_function(
        "(n) => document.querySelector('#volume-chart svg').getAttribute('aria-label').includes(`Slice ${n} is shown`)",
        arg=expected,
    )
    assert slider.input_value() == str(expected)
    second = page.locator("#volume-1 input[type=range]").input_value()
    page.locator("#volume-views .slice").first.click(position={"x": 60, "y": 40})
    page.wait_for_function("(old) => document.querySelector('#volume-1 input[type=range]').value !== old", arg=second)
    page.locator("#volume-make").click()
    link = page.locator("#volume-downloads a[download$='.nii.gz']")
    link.wait_for()
    with page.expect_download() as download:
        link.click()
    saved = Path(download.value.path()).with_name("mask.nii.gz")
    download.value.save_as(saved)
    mask, given = nibabel.Nifti1Image.from_filename(saved), nibabel.Nifti1Image.from_filename(path)
    assert mask.shape == given.shape and np.allclose(np.asarray(mask.affine), np.asarray(given.affine))


def test_volume_error_is_a_sentence(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "broken.nii"
    bad.write_bytes(b"nothing here")
    screenshots.tab(page, "Volume")
    upload(page, bad, "#volume-file")
    page.locator("#volume-finding [role=alert]", has_text="broken.nii").wait_for()


def test_batch(page: Page, samples: dict[str, Path], tmp_path: Path) -> None:
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    screenshots.batch(page, [*samples.values(), bad])
    rows = page.locator("#batch-table tbody tr")
    assert rows.count() == len(samples) + 1 and "notes.png" in rows.last.inner_text()
    assert "could not be read" in page.locator("#batch-summary").inner_text()
    with page.expect_download() as download:
        page.locator("#batch-downloads a[download$='.zip']").click()
    with zipfile.ZipFile(download.value.path()) as bundle:
        assert len([name for name in bundle.namelist() if name.startswith("masks/")]) == len(samples)


def test_model_tab(page: Page, predictor: Predictor) -> None:
    screenshots.model(page)
    assert predictor.model_id in page.locator("#model-identity").inner_text()
    screenshots.tab(page, "Intended use and limits")
    page.get_by_text("What it is not for").wait_for()


def test_compare_two_models(chromium: Browser, predictor: Predictor, tmp_path: Path) -> None:
    from tests.helpers.handmade import write_handmade

    other = write_handmade(tmp_path / "other", name="other", temperature=5.0)
    shown = app.build_interface(predictor, compare=[other])
    _, url, _ = shown.launch(prevent_thread_lock=True, quiet=True)
    try:
        page = screenshots.open_page(chromium, url, "light")
        screenshots.model(page)
        screenshots.tab(page, "Compare two models")
        page.locator("#compare-examples .example").nth(2).click()
        page.locator("#compare-result .pair img").nth(1).wait_for(timeout=WAIT)
        texts = page.locator("#compare-result .pair > .card").all_inner_texts()
        assert len(texts) == 2 and texts[0] != texts[1]
        page.close()
    finally:
        shown.close()


# --- looks -----------------------------------------------------------------------------------------------------


def every_tab(page: Page, samples: dict[str, Path]) -> Iterator[str]:
    """Fill the tabs one after the other and stop at each."""
    path = next(p for name, p in samples.items() if name.endswith(".nii.gz"))
    screenshots.analyze(page, None)
    yield "Analyze"
    screenshots.volume(page, path)
    yield "Volume"
    screenshots.batch(page, list(samples.values())[:2])
    yield "Batch"
    screenshots.model(page)
    yield "Model"


@pytest.mark.slow
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_contrast_names_and_width(chromium: Browser, url: str, samples: dict[str, Path], look: str) -> None:
    page = screenshots.open_page(chromium, url, look)
    dark = page.evaluate("document.body.classList.contains('dark')")
    assert dark == (look == "dark")
    page.emulate_media(reduced_motion="reduce")  # a colour half way through a transition is no fault
    for name in every_tab(page, samples):
        page.wait_for_timeout(600)
        assert page.evaluate(CONTRAST) == [], (look, name)
        assert page.evaluate(UNNAMED) == [], (look, name)
        width = screenshots.LOOKS[look][0]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (look, name)
        assert page.locator("#disclaimer").is_visible()
    page.close()


def test_panels_stack_on_a_phone_and_the_disclaimer_stays(chromium: Browser, url: str) -> None:
    page = screenshots.open_page(chromium, url, "phone")
    screenshots.analyze(page, None)
    boxes = [box_of(page, f"#panel-{name}") for name in ("bars", "mask", "heat")]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"] and all(b["width"] > 300 for b in boxes)
    page.evaluate("window.scrollTo(0, 1200)")
    page.wait_for_timeout(300)
    assert 0 <= box_of(page, "#disclaimer")["y"] < 50
    page.close()


def test_light_and_dark_can_be_switched(page: Page) -> None:
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate("document.body.classList.contains('dark')")
