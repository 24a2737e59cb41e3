"""Text of a file or a model never becomes HTML or a template."""

from __future__ import annotations

import re

import pytest

from brain_mri.ui import html


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", '"><img src=x onerror=1>', "{{x}}", "${value}", "`"])
def test_names_cannot_become_html_or_templates(nasty: str) -> None:
    text = html.safe(nasty)
    assert not re.search(r"[<>\"'{}$`]", text)
    assert not re.search(r"<script|<img src=x|\{\{|\$\{", html.banner("clear", nasty, nasty, nasty))


def test_halves_of_characters_do_not_keep_a_page_from_being_sent() -> None:
    assert html.safe("a\ud800b\udcff") == "a?b?" and html.safe("café 🧠") == "café 🧠"


def test_a_table_is_read_row_by_row() -> None:
    text = html.table(["Name", "<Share>"], [["a", "1 %"]], caption="Shares")
    assert '<th scope="row">a</th><td>1 %</td>' in text and "&lt;Share&gt;" in text and "<caption>Shares" in text
