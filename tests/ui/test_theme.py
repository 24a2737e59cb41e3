"""The looks: light and dark, and nothing of another host."""

from __future__ import annotations

import re

from brain_mri.ui import theme


def test_no_font_or_file_of_another_host() -> None:
    text = (
        theme.ScanTheme()._get_theme_css()
        + "".join(map(theme.asset, ("style.css", "report.html", "masthead.html")))
        + theme.head()
    )
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not any("http" in str(font) for font in theme.ScanTheme()._stylesheets)


def test_light_and_dark_differ() -> None:
    looks = theme.ScanTheme()
    assert looks.body_text_color == "#12222b" and looks.body_text_color_dark == "#e8eff3"
    assert ".dark" in theme.asset("style.css") and "@page" in theme.asset("report.html")
