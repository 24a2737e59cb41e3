"""The words that the page explains, and how each figure was measured: assets/glossary.toml in its several forms.

A word is explained where it stands, by a button that shows its text (html.explained, assets/script.js); all of them are
listed in the tab Model and in docs/glossary.md, which `python -m brain_mri.ui.glossary > docs/glossary.md` writes.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "assets" / "glossary.toml"


@dataclass(frozen=True)
class Word:
    """name: how the page writes it. also: other spellings that are explained by the same text."""

    group: str
    name: str
    text: str
    also: tuple[str, ...] = ()


_STORED = tomllib.loads(SOURCE.read_text(encoding="utf-8"))
WORDS = tuple(Word(one["group"], one["name"], one["text"], tuple(one.get("also", ()))) for one in _STORED["word"])
MEASURED: dict[str, str] = _STORED["measured"]  # beginning of the title of a table -> how it was measured
FIGURES: dict[str, str] = _STORED["figures"]  # name of a figure, its file without suffix -> how it was made
_NUMBER = {name.lower(): number for number, word in enumerate(WORDS) for name in (word.name, *word.also)}
# The longest first: "Pituitary tumor" before "Pituitary".
_FOUND = re.compile(
    rf"(?<![\w-])({'|'.join(map(re.escape, sorted(_NUMBER, key=len, reverse=True)))})(?![\w-])", re.IGNORECASE
)


def pieces(text: str) -> Iterator[tuple[str, int | None]]:
    """A plain text in pieces, each with the index in WORDS of the word that it is, or None."""
    for place, piece in enumerate(_FOUND.split(text)):
        if piece:
            yield piece, _NUMBER[piece.lower()] if place % 2 else None


def by_group() -> Iterator[tuple[str, list[Word]]]:
    """All words, as they are listed."""
    for group, words in groupby(WORDS, lambda word: word.group):
        yield group, list(words)


def measured(title: str) -> str:
    """How the table of that title was measured; "" for one that is not known."""
    return next((text for start, text in MEASURED.items() if title.startswith(start)), "")


def script() -> str:
    """For assets/script.js, `explainedWords`: [name, text] of each of WORDS."""
    listed = json.dumps([[word.name, word.text] for word in WORDS], ensure_ascii=False, separators=(",", ":"))
    listed = listed.replace("<", "\\u003c")  # no end of a script
    return f"const explainedWords = {listed};"


def markdown() -> str:
    """docs/glossary.md."""
    lines = ["# The words of the page", ""]
    lines += ["Made from `brain_mri/ui/assets/glossary.toml` by `python -m brain_mri.ui.glossary > docs/glossary.md`."]
    for group, words in by_group():
        lines += ["", f"## {group}", "", *(f"- **{word.name}**: {word.text}" for word in words)]
    lines += ["", "## How the tables of the tab Model were measured", ""]
    lines += [f"- **{title}**: {text}" for title, text in MEASURED.items()]
    lines += ["", "## How its figures were made", ""]
    lines += [f"- `{name}.png`: {text}" for name, text in FIGURES.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
