"""What the tests of the page share: one browser a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from dev import screenshots  # needs Playwright, which the other tests of this folder do without

    with screenshots.browser() as browser:
        yield browser
