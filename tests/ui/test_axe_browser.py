"""axe-core, the checker of accessibility, on every tab and in every state of the page, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

import app
from brain_mri.data.negative_pictures import portrait
from brain_mri.inference.predictor import Predictor
from dev import screenshots
from tests.helpers.files import EXAMPLES
from tests.helpers.handmade import write_handmade

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map((v) => [v.impact, `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join("\\n")}`]);
}"""
FAULTS = ("serious", "critical")


def faults(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page as it stands."""
    page.emulate_media(reduced_motion="reduce")  # a colour half way through a transition is no fault
    page.wait_for_timeout(200)
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    return [text for impact, text in page.evaluate(RUN) if impact in FAULTS]


@pytest.fixture(scope="module")
def url(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bundled model, which has tables and figures to show, and another one to compare it with."""
    other = write_handmade(tmp_path_factory.mktemp("models") / "other", name="other")
    shown = app.build_interface(Predictor.load(bundled), compare=[other])
    _, address, _ = shown.launch(prevent_thread_lock=True, quiet=True)
    yield address
    shown.close()


def pictures(folder: Path, head: np.ndarray) -> dict[str, Path]:
    """One for each kind of answer."""
    made = {"unsure": cv2.bitwise_not(head), "foreign": portrait(np.random.default_rng(0), 256)}
    paths = {name: folder / f"{name}.png" for name in made}
    for name, picture in made.items():
        assert cv2.imwrite(str(paths[name]), picture)
    paths["error"] = folder / "letter.png"
    paths["error"].write_text("dear doctor")
    return paths


def states(page: Page, paths: dict[str, Path]) -> Iterator[str]:
    """Bring the page into one state after the other."""
    yield "empty"
    for kind, path in paths.items():
        page.set_input_files("#scan-file input[type=file]", path)
        page.locator(f"#finding .banner.{kind}").wait_for(timeout=screenshots.WAIT)
        yield kind
    screenshots.analyze(page, None)
    yield "result"
    page.locator("#panel-mask .term").first.click()
    yield "a word explained"
    page.keyboard.press("Escape")
    for name in ("U-Net and K-means", "The picture", "Correct the outline"):
        screenshots.tab(page, name)
        yield name
    page.locator("#outline [data-says=size]", has_text="pixel").wait_for()  # its script is there
    page.locator("#outline [data-do=none]").click()
    page.locator("#facts .notes", has_text="corrected by hand").wait_for(timeout=screenshots.WAIT)
    yield "a corrected outline"
    screenshots.report(page)
    yield "Report"
    page.set_input_files("#scan-file input[type=file]", paths["foreign"])
    page.locator("[data-crop]").wait_for(timeout=screenshots.WAIT)
    yield "cropping"
    screenshots.tab(page, "Volume")
    yield "Volume, empty"
    screenshots.volume(page, next(path for path in EXAMPLES if path.name.endswith(".nii.gz")))
    yield "Volume"
    screenshots.tab(page, "Batch")
    yield "Batch, empty"
    screenshots.batch(page, [*EXAMPLES[:2], paths["error"]])
    yield "Batch"
    screenshots.model(page)
    page.locator(".how summary").first.click()
    yield "Model"
    for name, shown in (("Figures", ".gallery-grid img"), ("Words", ".words"), ("Intended use and limits", "h2")):
        screenshots.tab(page, name)
        page.locator(shown).locator("visible=true").first.wait_for()
        yield name
    screenshots.tab(page, "Compare two models")
    page.locator("#compare-examples .example").first.click()
    page.locator("#compare-result .pair img").nth(1).wait_for(timeout=screenshots.WAIT)
    yield "Compare two models"


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing_serious(chromium: Browser, url: str, look: str, tmp_path: Path, phantom_image) -> None:
    page = screenshots.open_page(chromium, url, look)
    paths = pictures(tmp_path, phantom_image("meningioma", 21))
    found = {state: faults(page) for state in states(page, paths)}
    assert len(found) > 15 and not {state: texts for state, texts in found.items() if texts}
    page.close()


def test_axe_would_find_something(chromium: Browser, url: str) -> None:
    page = screenshots.open_page(chromium, url, "light")
    page.evaluate("document.querySelector('.masthead').insertAdjacentHTML('beforeend', '<button></button>')")
    assert any("button-name" in text for text in faults(page))
    page.close()
