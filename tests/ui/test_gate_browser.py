"""Words of a foreign model in a real Chromium: plain text, and nothing is fetched from another host on any tab."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page

import app
from brain_mri.inference.predictor import Predictor
from dev import screenshots
from tests.helpers.files import EXAMPLES
from tests.helpers.handmade import SIZE, write_handmade
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
pytestmark = pytest.mark.slow

if not Path(screenshots.CHROMIUM).exists():
    pytest.skip(f"{screenshots.CHROMIUM} is not installed", allow_module_level=True)

WATCH = """window.broken = [];
document.addEventListener('securitypolicyviolation', (e) => {
  window.broken.push(`${e.violatedDirective} ${e.blockedURI}`);
});"""
PICTURE = "(url) => { document.body.append(Object.assign(new Image(), {src: url})) }"


@contextmanager
def visit(chromium: Browser, url: str) -> Iterator[Page]:
    """A visitor whose browser keeps, from the first byte on, what the page's policy has forbidden."""
    page = chromium.new_page()
    page.set_default_timeout(screenshots.WAIT)
    page.add_init_script(WATCH)
    page.goto(url)
    page.wait_for_selector("#panel-bars h3")
    yield page
    page.close()


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """(address of another host, the paths that were asked of it)."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_words_of_a_foreign_config_are_plain_text(
    chromium: Browser, loopback: LoopbackHub, elsewhere: tuple[str, list[str]], tmp_path: Path
) -> None:
    """They reach the page in the sentence that says why the model cannot be used."""
    address, asked = elsewhere
    name = f"v9 [a link]({address}/link) ![a picture]({address}/a.png) <img src={address}/b.png> ${{1+1}}"
    preprocessing = {"name": name, "image_size": SIZE}
    loopback.publish(write_handmade(tmp_path / "m", preprocessing=preprocessing), "me/model")
    interface = app.build_interface("me/model")
    _, url, _ = interface.launch(prevent_thread_lock=True, quiet=True)
    try:
        with visit(chromium, url) as page:
            notice = page.locator("#notice")
            assert "![a picture]" in notice.inner_text() and "${1+1}" in notice.inner_text()
            assert notice.locator("a, img").count() == 0
            assert not page.evaluate("window.broken")
            page.evaluate(
                "(url) => { document.body.append(Object.assign(new Image(), {src: url})) }", f"{address}/c.png"
            )
            page.evaluate("(url) => fetch(url).catch(() => 0)", f"{address}/d.json")
            page.wait_for_function("window.broken.length >= 2")
            assert {line.split()[0] for line in page.evaluate("window.broken")} == {"img-src", "connect-src"}
    finally:
        interface.close()
    assert asked == []


def test_the_policy_forbids_nothing_that_the_page_needs(chromium: Browser, predictor: Predictor) -> None:
    """Every tab, the report, the page of the API."""
    interface = app.build_interface(predictor)
    _, url, _ = interface.launch(prevent_thread_lock=True, quiet=True)
    volume = next(path for path in EXAMPLES if path.name.endswith(".nii.gz"))
    try:
        with visit(chromium, url) as page:
            screenshots.analyze(page, None)
            page.locator("#panel-heat img.zoom").click()
            page.locator("dialog.large button").click()
            for name in ("U-Net and K-means", "The picture", "Report"):
                screenshots.tab(page, name)
            page.locator("#make-report").click()
            with page.expect_download():
                page.locator("#report-files a").first.click()
            screenshots.volume(page, volume)
            page.locator("#volume-make").click()
            with page.expect_download():
                page.locator("#volume-downloads a").first.click()
            screenshots.batch(page, EXAMPLES[:2])
            screenshots.model(page)
            screenshots.tab(page, "Figures")
            page.get_by_role("button", name="Switch between light and dark").click()
            page.locator("footer .show-api").click()
            page.locator(".api-docs h2").first.wait_for()
            # What a viewer of volumes would need: WebAssembly, and workers of a blob.
            assert page.evaluate("WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))")
            made = "new Promise((done) => { const at = URL.createObjectURL(new Blob(['postMessage(7)'])); "
            made += "new Worker(at).onmessage = (e) => done(e.data); })"
            assert page.evaluate(made) == 7
            page.wait_for_timeout(500)
            assert page.evaluate("window.broken") == []
            assert page.evaluate("[...document.fonts].filter((f) => f.status === 'error').length") == 0
    finally:
        interface.close()
