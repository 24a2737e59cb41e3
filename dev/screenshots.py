"""Screenshots of every tab: desktop light and dark, and a phone. One command:

    python -m dev.screenshots                               # the bundled model and its examples
    python -m dev.screenshots --every --out /tmp/shots      # also the first screen, an explained word, the report, ...
    python -m dev.screenshots --model runs/mine --out /tmp/shots --scan slice.png --volume study.nii.gz

Needs playwright and a Chromium (Debian: apt install chromium; another one: CHROMIUM=/path). Contacts no outside host.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.ui.page import build_interface

EXAMPLES = Path(__file__).resolve().parent.parent / "assets" / "examples"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LOOKS = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "phone": (390, 844, "light")}
IN_DOCS = ("analyze", "correct", "volume", "batch", "model")
WAIT = 60_000  # ms
SHOWN = "#volume-viewer [data-ready], #volume-views img:visible"  # a volume: in the viewer, or in planes without WebGL2


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


def open_page(chromium: Browser, url: str, look: str, shown: str = "#panel-bars h3") -> Page:
    """The page as it stands for a new visitor in one of the LOOKS. shown: what is waited for."""
    width, height, scheme = LOOKS[look]
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    page.wait_for_selector(shown, timeout=WAIT)
    return page


def tab(page: Page, name: str) -> None:
    """Open a tab; on a phone the last ones are in a menu, which the tabs inside a tab have, too."""
    button = page.get_by_role("tab", name=name, exact=True).locator("visible=true")
    if not button.count():
        page.locator(".overflow-menu > button").locator("visible=true").last.click()
        button = page.locator(".overflow-dropdown").get_by_role("button", name=name, exact=True)
    button.first.click()


def analyze(page: Page, scan: Path | None) -> None:
    tab(page, "Analyze")
    if scan:
        page.set_input_files("#scan-file input[type=file]", scan)
    else:
        examples = page.locator("#scan-examples .example")
        dicom = examples.filter(has_text="DICOM")  # states its pixel size, so that the facts are in millimetres
        (dicom if dicom.count() else examples).first.click()
    page.wait_for_selector("#panel-heat img.zoom", timeout=WAIT)


def volume(page: Page, path: Path) -> None:
    tab(page, "Volume")
    page.set_input_files("#volume-file input[type=file]", path)
    page.wait_for_selector(SHOWN, timeout=WAIT)


def solid(page: Page) -> None:
    """The 3-D view beside the planes, as with a graphics card; without one the viewer shows it by itself only."""
    page.evaluate("const v = document.querySelector('#volume-viewer section').viewer; v.slow = false; v.reset()")


def batch(page: Page, paths: Sequence[Path]) -> None:
    tab(page, "Batch")
    page.set_input_files("#batch-file input[type=file]", list(paths))
    page.wait_for_selector("#batch-table table", timeout=WAIT)


def model(page: Page) -> None:
    tab(page, "Model")
    page.wait_for_selector("#model-identity .tile", timeout=WAIT)


def shoot(page: Page, path: Path, *, down_to: str = "footer") -> None:
    """The page from its top to the lower edge of an element."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
    page.wait_for_timeout(700)  # progress bars and transitions
    box = page.locator(down_to).last.bounding_box()
    assert box and page.viewport_size
    width, height = page.viewport_size["width"], box["y"] + box["height"] + 12
    page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    print(path)


def word(page: Page) -> None:
    """A word with its explanation open."""
    page.locator("#panel-heat .term").first.click()
    page.wait_for_selector("#explained strong", timeout=WAIT)


def correct(page: Page) -> None:
    """The editor of the outline after a stroke, which the figures below it count already."""
    tab(page, "Correct the outline")
    page.locator("#outline canvas").scroll_into_view_if_needed()
    box = page.locator("#outline canvas").bounding_box()
    assert box
    left, top, side = box["x"], box["y"], box["width"]
    page.mouse.move(left + 0.45 * side, top + 0.76 * side)
    page.mouse.down()
    page.mouse.move(left + 0.5 * side, top + 0.82 * side, steps=6)
    page.mouse.up()
    page.wait_for_selector("#correction .notes", timeout=WAIT)


def crop(page: Page, montage: Path) -> None:
    """A montage of two slices, the right one cut out."""
    page.set_input_files("#scan-file input[type=file]", montage)
    board = page.locator("#crop-board [data-crop]")
    page.wait_for_function("document.querySelector('#finding .banner:not(.error) h2, #finding .banner') !== null")
    page.wait_for_selector("#panel-heat img.zoom, #finding .banner.foreign", timeout=WAIT)
    if not board.is_visible():
        page.locator("#crop button").first.click()
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.51 * box["width"], box["y"] + 0.02 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 0.98 * box["height"], steps=6)
    page.mouse.up()
    page.wait_for_selector("#crop-board .crop-whole", timeout=WAIT)
    page.wait_for_selector("#panel-heat img.zoom", timeout=WAIT)


def montage_of(paths: Sequence[Path], file: Path) -> Path:
    """Slices side by side in one picture, as in a viewer's window."""
    file.write_bytes(png(np.hstack([cv2.resize(read_scan(path).image, (320, 320)) for path in paths])))
    return file


def report(page: Page) -> None:
    tab(page, "Report")
    page.locator("#make-report").click()
    page.wait_for_selector("#report-files a", timeout=WAIT)


def label(page: Page) -> None:
    """A slice that is saved, and the next one with a stroke beside the model's proposal."""
    page.locator("#label-next").click()
    page.wait_for_selector("#label-progress [value='1']", timeout=WAIT)
    page.locator("#label-outline canvas").scroll_into_view_if_needed()
    box = page.locator("#label-outline canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.36 * box["width"], box["y"] + 0.38 * box["height"], steps=6)
    page.mouse.up()


def folders_of(samples: Sequence[Path], root: Path) -> Path:
    """Class folders of the examples that are pictures."""
    for sample in samples:
        if sample.suffix == ".png":
            kind = root / sample.name.split("_")[1]
            kind.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample, kind)
    return root


def states(
    page: Page, scan: Path | None, stack: Path, files: Sequence[Path], montage: Path
) -> Iterator[tuple[str, str]]:
    """Bring the page into one state after the other: the name of each, and the element with which its picture ends.

    files: for the batch; the last one cannot be read.
    """
    yield "first", "#panels"
    analyze(page, scan)
    yield "screenshot", "#facts"
    yield "analyze", "footer"
    word(page)
    yield "word", "#panels"
    page.keyboard.press("Escape")
    for name, inside in (("methods", "U-Net and K-means"), ("picture", "The picture")):
        tab(page, inside)
        page.wait_for_selector(f"#{name} .card", timeout=WAIT)
        yield name, "footer"
    correct(page)
    yield "correct", "footer"
    report(page)
    yield "report", "footer"
    page.set_input_files("#scan-file input[type=file]", files[-1])
    page.wait_for_selector("#finding .banner.error", timeout=WAIT)
    yield "error", "#panels"
    crop(page, montage)
    yield "crop", "#panels"
    volume(page, stack)
    solid(page)
    yield "volume", "footer"
    batch(page, files)
    yield "batch", "footer"
    model(page)
    page.locator(".how summary").first.click()
    yield "model", "#model-scores .stack > div:nth-of-type(5)"
    for name, inside, shown in (("figures", "Figures", "#model-figures img"), ("words", "Words", ".words")):
        tab(page, inside)
        page.wait_for_selector(shown, timeout=WAIT)
        yield name, "footer"


def labels(served: str | None, looks: Sequence[str], out: Path) -> None:
    """The tab Label, on a page of its own, and in a folder of its own: the page names it."""
    if served and Path(served).exists():
        served = str(Path(served).absolute())
    for look in looks:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            slices = folders_of(sorted(EXAMPLES.iterdir()), Path("slices"))
            page = build_interface(served, label=slices, label_out="slices-outlines")
            _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
            with browser() as chromium:
                view = open_page(chromium, url, look, "#label-outline canvas")
                label(view)
                shoot(view, out / f"label-{look}.png")
            page.close()


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="default: the bundled weights")
    p.add_argument("--compare", nargs="*", default=[], help="as in app.py")
    p.add_argument("--out", type=Path, default=Path("docs/pictures"))
    p.add_argument("--scan", type=Path, help="the scan to show; default: the DICOM example")
    p.add_argument("--volume", type=Path, help="the volume to show; default: a synthetic one")
    p.add_argument("--looks", nargs="*", default=list(LOOKS), choices=LOOKS)
    p.add_argument("--every", action="store_true", help="every state of the page, not only those of docs/pictures/")
    args = p.parse_args(argv)
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    labels(args.model, args.looks, args.out)
    page = build_interface(args.model, compare=args.compare)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
    try:
        with tempfile.TemporaryDirectory() as folder, browser() as chromium:
            samples = sorted(EXAMPLES.iterdir())
            broken = Path(folder) / "not_a_picture.png"
            broken.write_bytes(b"hello")
            slices = [sample for sample in samples if "_coronal" in sample.name]
            montage = montage_of(slices, Path(folder) / "montage.png")
            stack = args.volume or next(s for s in samples if s.name.endswith(".nii.gz"))
            for look in args.looks:
                view = open_page(chromium, url, look)
                for name, end in states(view, args.scan, stack, [*samples, broken], montage):
                    if name == "screenshot" and look == "light":
                        shoot(view, args.out / "screenshot.png", down_to=end)
                    elif name in IN_DOCS or args.every:
                        shoot(view, args.out / f"{name}-{look}.png", down_to=end)
                view.close()
    finally:
        page.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
