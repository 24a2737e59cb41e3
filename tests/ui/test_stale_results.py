"""In a real Chromium, every tab: after a good file each kind of bad one. One sentence, and nothing of the old file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, expect

from brain_mri.inference import predictor as engine
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import analyze_tab, batch_tab, model_tab, volume_tab
from brain_mri.ui.common import UNEXPECTED
from brain_mri.ui.page import build_interface
from dev import screenshots
from tests.helpers.files import dicom, make_volume, saved, write_nifti
from tests.helpers.handmade import write_handmade

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

# tab: (its file box, the banner, what is of a scan and must be gone, the module that draws, the function)
TABS: dict[str, tuple[str, str, str, Any, str]] = {
    "Analyze": ("#scan-file", "#finding", "#panels img, #facts .tile, #slice-number", analyze_tab, "draw"),
    "Volume": ("#volume-file", "#volume-finding", "#volume-result", volume_tab, "draw"),
    "Batch": ("#batch-file", "#batch-summary", "#batch-table table, #batch-downloads", batch_tab, "rows_table"),
    "Model": ("#compare-file", "#compare-result .banner", "#compare-result img", model_tab, "side_by_side"),
}


@pytest.fixture(scope="module")
def url(handmade_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    other = write_handmade(tmp_path_factory.mktemp("models") / "other", name="other")
    page = build_interface(Predictor.load(handmade_artifact), compare=[other])
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield address
    page.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, phantom_png) -> dict[str, Path]:
    """A good volume and a good slice, and bad files of every kind."""
    folder = tmp_path_factory.mktemp("files")
    voxels, _, spacing = make_volume("meningioma", 5)
    good = write_nifti(folder / "good.nii.gz", voxels, spacing)
    made = {
        "letter.png": b"dear doctor",
        "empty.dcm": b"",
        "half.nii.gz": good.read_bytes()[:4000],
        "half.dcm": saved(dicom(voxels[9]))[:600],
        "page.zip": b"<html>please sign in</html>",
        "broken.zip": b"PK\x03\x04" + bytes(100),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return {path.name: path for path in folder.iterdir()} | {"slice.png": phantom_png("meningioma", 21)}


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    opened = screenshots.open_page(chromium, url, "light")
    opened.set_default_timeout(60_000)
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    yield opened
    opened.close()
    assert not trouble


def choose(page: Page, tab: str, path: Path) -> None:
    """Choose a file and wait for what is said of it."""
    box, banner = TABS[tab][:2]
    sentence = page.locator(f"{banner} .sentence")
    before = sentence.first.text_content() if sentence.count() else ""
    page.set_input_files(f"{box} input[type=file]", path)
    page.wait_for_function(
        """([banner, before]) => { const text = document.querySelector(banner + ' .sentence')?.textContent ?? '';
           return text && text !== before && !text.includes('Reading and') && !document.querySelector('.stale'); }""",
        arg=[banner, before],
    )
    page.wait_for_timeout(500)  # the progress bar goes


def left(page: Page, tab: str) -> int:
    return sum(found.is_visible() for found in page.locator(TABS[tab][2]).all())


def opened(page: Page, tab: str) -> None:
    screenshots.tab(page, tab)
    if tab == "Model":
        screenshots.tab(page, "Compare two models")


def good_of(tab: str, files: dict[str, Path]) -> Path:
    return files["slice.png" if tab == "Model" else "good.nii.gz"]


@pytest.mark.parametrize("tab", TABS)
def test_a_good_file_then_each_bad_one(page: Page, files: dict[str, Path], tab: str) -> None:
    opened(page, tab)
    good = good_of(tab, files)
    for name in ("letter.png", "empty.dcm", "half.nii.gz", "half.dcm", "page.zip", "broken.zip"):
        choose(page, tab, good)
        page.wait_for_function("(s) => document.querySelector(s)", arg=TABS[tab][2].split(",")[0])
        assert left(page, tab), name
        choose(page, tab, files[name])
        text = page.locator(TABS[tab][1]).inner_text()
        assert "Traceback" not in text and "Error" not in text and UNEXPECTED not in text, (name, text)
        if tab == "Batch":  # a row with its reason
            assert (
                page.locator("#batch-table tbody tr").count() == 1
                and good.name not in page.locator("#batch-table").inner_text()
            )
            assert name in page.locator("#batch-table").inner_text()
        else:
            assert name in text and not left(page, tab), (name, text)
            assert good.name not in page.locator(TABS[tab][1]).inner_text()


@pytest.mark.parametrize("tab", TABS)
def test_a_drawing_that_fails_is_a_sentence_and_nothing_else(
    page: Page, files: dict[str, Path], tab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(page, tab)
    choose(page, tab, good_of(tab, files))
    assert left(page, tab)

    def fails(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(TABS[tab][3], TABS[tab][4], fails)
    choose(page, tab, files["slice.png" if tab in ("Analyze", "Batch", "Model") else "good.nii.gz"])
    text = page.locator(TABS[tab][1]).inner_text()
    assert UNEXPECTED in text and "secret" not in page.content() and not left(page, tab)


@pytest.mark.parametrize("tab", ["Analyze", "Volume", "Batch"])
def test_nothing_of_the_old_file_is_seen_while_a_new_one_is_sent(page: Page, files: dict[str, Path], tab: str) -> None:
    """An upload may take a minute; here it never arrives."""
    opened(page, tab)
    choose(page, tab, good_of(tab, files))
    assert left(page, tab)
    page.route("**/upload*", lambda route: None)
    page.set_input_files(f"{TABS[tab][0]} input[type=file]", files["slice.png"])
    for what in TABS[tab][1:3]:
        expect(page.locator(what).locator("visible=true")).to_have_count(0)


def test_the_last_file_wins_however_long_the_one_before_takes(
    page: Page, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(page, "Volume")
    real = engine.Predictor.outline

    def slow(self: Predictor, scan: Any) -> Any:
        time.sleep(0.3 if scan.name == "good.nii.gz" else 0)
        return real(self, scan)

    monkeypatch.setattr(engine.Predictor, "outline", slow)
    page.set_input_files("#volume-file input[type=file]", files["good.nii.gz"])
    page.locator("#volume-finding", has_text="Reading and").wait_for()
    small = write_nifti(files["good.nii.gz"].parent / "small.nii.gz", make_volume("notumor", 3, depth=2)[0], (5, 1, 1))
    page.set_input_files("#volume-file input[type=file]", small)
    page.locator("#volume-finding .detail", has_text="small.nii.gz").wait_for()
    page.wait_for_timeout(8000)
    assert "small.nii.gz" in page.locator("#volume-finding").inner_text()


def test_a_good_volume_then_few_slices_then_another_series_of_a_study(
    page: Page, files: dict[str, Path], cases: Path
) -> None:
    opened(page, "Volume")
    choose(page, "Volume", files["good.nii.gz"])
    assert page.locator("#volume-views .slice img").count() == 3
    for path in sorted((cases / "few-slices").iterdir()):
        choose(page, "Volume", path)
        assert path.name in page.locator("#volume-finding .detail").inner_text()
        assert page.locator("#volume-views .slice img").count() == 1 and not page.locator("#volume-which").is_visible()
        choose(page, "Volume", files["letter.png"])
    choose(page, "Volume", cases / "whole-study" / "study.zip")
    assert "T1 with contrast medium of study.zip" in page.locator("#volume-finding .detail").inner_text()
    page.locator("#volume-which input").click()
    page.locator("ul[role=listbox] li", has_text="localizer").click()
    page.locator("#volume-finding .detail", has_text="localizer of study.zip").wait_for()
    assert "3 " in page.locator("#volume-finding .detail").inner_text()
    choose(page, "Volume", files["good.nii.gz"])
    assert not page.locator("#volume-which").is_visible()
