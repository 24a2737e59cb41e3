"""What the tests of the page share: one page and one browser a file, and an eye on the errors of scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from brain_mri.inference.predictor import Predictor

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from dev import screenshots  # needs Playwright, which the other tests of this folder do without

    with screenshots.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(predictor: Predictor) -> Iterator[str]:
    """The page with the handmade model."""
    from brain_mri.ui.page import build_interface  # not before the tests' own imports: app.py sets what gradio reads

    page = build_interface(predictor)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield address
    page.close()
