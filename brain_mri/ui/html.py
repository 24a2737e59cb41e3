"""Small pieces of HTML that every tab is made of: escaped text, lossless pictures, figures, tiles, tables.

Pictures travel inside the page as PNG data, so that nothing of a visitor's scan is written to disk to be shown.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from brain_mri.imaging.picture import png
from brain_mri.ui.glossary import pieces

ESCAPED = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})
ANSWERS = ("tumor", "clear", "unsure", "foreign")  # kinds of a banner that says what the model sees
LINK = '<a class="open-tab" href="#tabs" data-open-tab="'
TERM = '<span role="button" tabindex="0" class="term" aria-expanded="false" data-word="'  # a <button> breaks no lines


def safe(value: object) -> str:
    """Text for HTML. Braces, dollars and backticks too: gr.HTML evaluates them in its template.

    Halves of characters, which JSON files and file names may hold, become "?": no page with one could be sent.
    """
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8")).translate(ESCAPED)


def explained(text: object, seen: set[int] | None = None) -> str:
    """Text for HTML in which each word of the glossary is a button that explains it (assets/script.js), once.

    seen: the words that have their button already, by their index; those of this text are added.
    """
    seen, parts = set() if seen is None else seen, []
    for piece, word in pieces(str(text)):
        button = word is not None and word not in seen
        parts.append(f'{TERM}{word}">{safe(piece)}</span>' if button else safe(piece))
        seen.update([] if word is None else [word])
    return "".join(parts)


def open_tab(name: str, text: str) -> str:
    """A link to another tab of the page (assets/script.js)."""
    return f'{LINK}{safe(name)}">{safe(text)}</a>'


def explainer() -> Callable[[object], str]:
    """`explained` for the texts of one page, of which only the first with a word has its button."""
    seen: set[int] = set()
    return lambda text: explained(text, seen)


def unexplained(html: str) -> str:
    """HTML without these buttons and links to tabs: for a page that is printed and has no script."""
    return re.sub(rf"{LINK}[^>]*>.*?</a>", "", re.sub(rf'{TERM}\d+">(.*?)</span>', r"\1", html))


def data_uri(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def thumbnail_uri(picture: np.ndarray) -> str:
    """A small picture that nobody measures in, uint8 (H, W): JPEG, a fifth of the PNG. Every visitor gets them all."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def image(picture: np.ndarray, alt: str, *, zoom: bool = True) -> str:
    """An <img> with its description; a click or the Enter key enlarges it (assets/script.js)."""
    height, width = picture.shape[:2]
    more = ' class="zoom" tabindex="0" role="button"' if zoom else ""
    label = safe(alt + (" Press Enter to enlarge." if zoom else ""))
    return f'<img src="{data_uri(picture)}" alt="{label}" width="{width}" height="{height}"{more}>'


def card(title: str, subtitle: str, content: str, *, kind: str = "") -> str:
    header = f"<header><h3>{explained(title)}</h3><p>{safe(subtitle)}</p></header>"
    return f'<section class="card {kind}">{header}{content}</section>'


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """(label, value, explanation) -> a grid of figures; a definition list for screen readers."""
    cells = "".join(
        f'<div class="tile"><dt>{explained(label)}</dt><dd>{safe(value)}<small>{safe(note)}</small></dd></div>'
        for label, value, note in facts
    )
    return f'<dl class="tiles">{cells}</dl>'


def notes(sentences: Sequence[str], *, kind: str = "warning") -> str:
    """Warnings as a list, nothing when there are none."""
    if not sentences:
        return ""
    items = "".join(f"<li>{safe(sentence)}</li>" for sentence in sentences)
    return f'<div role="status"><ul class="notes {kind}">{items}</ul></div>'


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    write: Callable[[object], str] = safe,
) -> str:
    """Cells are HTML already; the first column is the header of its row. write: makes HTML of columns and caption."""
    head = "".join(f'<th scope="col">{write(column)}</th>' if column else "<td></td>" for column in columns)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    title = f"<caption>{write(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption or "Table")}">'
        f'<table class="figures">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def banner(kind: str, word: str, sentence: str, *details: str) -> str:
    """The one sentence above the panels, and lines below it. kind colours it; word says the same to those who see no
    colour."""
    role = "alert" if kind == "error" else "status"
    write = explained if kind in ANSWERS else safe  # the others name files
    below = "".join(f'<p class="detail">{safe(detail)}</p>' for detail in details if detail)
    return (
        f'<div class="banner {kind}" role="{role}" aria-live="polite"><span class="word">{safe(word)}</span>'
        f'<div><p class="sentence">{write(sentence)}</p>{below}</div></div>'
    )


def error_banner(message: str) -> str:
    return banner("error", "Not read", message)
