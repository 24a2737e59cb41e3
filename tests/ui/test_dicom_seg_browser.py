"""DICOM-SEG in a real Chromium: asked for on desktop and phone, of a slice and of a series; a sentence elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("highdicom")

from playwright.sync_api import Browser, Page

from brain_mri.inference.predictor import Predictor
from brain_mri.ui.page import build_interface
from dev import screenshots
from tests.helpers.files import make_volume, of_a_patient, series

pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

WAIT = 120_000  # ms


@pytest.fixture(scope="module")
def url(predictor: Predictor) -> Iterator[str]:
    page = build_interface(predictor)
    yield str(page.launch(prevent_thread_lock=True, quiet=True)[1])
    page.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("study")
    stack = make_volume("meningioma", 5)[0][8:12]
    for i, data in enumerate(series(stack, **of_a_patient())):
        (folder / f"{i}.dcm").write_bytes(data)
    return sorted(folder.iterdir())


def made(page: Page, button: str, files: str, count: int, folder: Path) -> list[Path]:
    """The files that a click on the button offers, downloaded."""
    page.locator(button).click()
    links = page.locator(f"{files} a[download]")
    links.nth(count - 1).wait_for(timeout=WAIT)
    assert links.count() == count
    found = []
    for i in range(count):
        with page.expect_download() as download:
            links.nth(i).click()
        found.append(folder / download.value.suggested_filename)
        download.value.save_as(found[-1])
    return found


def shown(page: Page, path: Path) -> None:
    page.set_input_files("#scan-file input[type=file]", path)
    page.locator("#finding .detail", has_text=path.name).wait_for(timeout=WAIT)


@pytest.mark.parametrize("look", ["light", "phone"])
def test_a_slice_and_a_series(
    chromium: Browser, url: str, study: list[Path], phantom_png, tmp_path: Path, look: str
) -> None:
    page = screenshots.open_page(chromium, url, look)
    shown(page, study[2])
    screenshots.tab(page, "Report")
    assert len(made(page, "#make-report", "#report-files", 3, tmp_path)) == 3  # unasked, no file names a patient
    page.locator("#scan-seg input").check()
    files = made(page, "#make-report", "#report-files", 4, tmp_path)
    seg = next(path for path in files if path.suffix == ".dcm")
    assert pydicom.dcmread(seg).PatientID == "4711" and pydicom.dcmread(seg).pixel_array.any()

    shown(page, phantom_png("glioma", 1))
    made(page, "#make-report", "#report-files", 3, tmp_path)  # the box is still ticked
    warning = page.locator(".toast-body").filter(has_text="is no DICOM file")
    warning.first.wait_for(timeout=WAIT)

    screenshots.tab(page, "Volume")
    page.set_input_files("#volume-file input[type=file]", study)
    page.locator("#volume-make").wait_for(timeout=WAIT)
    page.locator("#volume-seg input").check()
    files = made(page, "#volume-make", "#volume-downloads", 4, tmp_path)
    seg = next(path for path in files if path.suffix == ".dcm")
    assert len(pydicom.dcmread(seg).ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 4
    page.close()
