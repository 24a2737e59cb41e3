"""Small pieces of HTML that every tab is made of: escaped text, lossless pictures, figures, tiles, tables.

Pictures travel inside the page as PNG data, so that nothing of a visitor's scan is written to disk to be shown.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import numpy as np

from brain_mri.imaging.picture import png

ESCAPED = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})


def safe(value: object) -> str:
    """Text for HTML. Braces, dollars and backticks too: gr.HTML evaluates them in its template.

    Halves of characters, which JSON files and file names may hold, become "?": no page with one could be sent.
    """
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8")).translate(ESCAPED)


def data_uri(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def image(picture: np.ndarray, alt: str, *, zoom: bool = True) -> str:
    """An <img> with its description; a click or the Enter key enlarges it (assets/script.js)."""
    height, width = picture.shape[:2]
    more = ' class="zoom" tabindex="0" role="button"' if zoom else ""
    label = safe(alt + (" Press Enter to enlarge." if zoom else ""))
    return f'<img src="{data_uri(picture)}" alt="{label}" width="{width}" height="{height}"{more}>'


def card(title: str, subtitle: str, content: str, *, kind: str = "") -> str:
    header = f"<header><h3>{safe(title)}</h3><p>{safe(subtitle)}</p></header>"
    return f'<section class="card {kind}">{header}{content}</section>'


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """(label, value, explanation) -> a grid of figures; a definition list for screen readers."""
    cells = "".join(
        f'<div class="tile"><dt>{safe(label)}</dt><dd>{safe(value)}<small>{safe(note)}</small></dd></div>'
        for label, value, note in facts
    )
    return f'<dl class="tiles">{cells}</dl>'


def notes(sentences: Sequence[str], *, kind: str = "warning") -> str:
    """Warnings as a list, nothing when there are none."""
    if not sentences:
        return ""
    items = "".join(f"<li>{safe(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notes {kind}" role="status">{items}</ul>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> str:
    """Cells are HTML already; the first column is the header of its row."""
    head = "".join(f'<th scope="col">{safe(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    title = f"<caption>{safe(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption or "Table")}">'
        f'<table class="figures">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def banner(kind: str, word: str, sentence: str, *details: str) -> str:
    """The one sentence above the panels, and lines below it. kind colours it; word says the same to those who see no
    colour."""
    role = "alert" if kind == "error" else "status"
    below = "".join(f'<p class="detail">{safe(detail)}</p>' for detail in details if detail)
    return (
        f'<div class="banner {kind}" role="{role}" aria-live="polite"><span class="word">{safe(word)}</span>'
        f'<div><p class="sentence">{safe(sentence)}</p>{below}</div></div>'
    )


def error_banner(message: str) -> str:
    return banner("error", "Not read", message)
