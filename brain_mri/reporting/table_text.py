"""A table of text: as it is printed, in Markdown and in HTML, and how a score is written."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def number(value: Any, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def score(row: Mapping[str, Any] | None, digits: int = 3, *, sign: bool = False) -> str:
    """ "0.892 [0.861, 0.917]", the interval left out where there is none, "–" where the score is undefined."""
    if not row or row.get("value") is None:
        return "–"
    plus = "+" if sign else ""
    text = f"{row['value']:{plus}.{digits}f}"
    if row.get("low") is None:
        return text
    return f"{text} [{row['low']:{plus}.{digits}f}, {row['high']:{plus}.{digits}f}]"


def percent(row: Mapping[str, Any] | None, digits: int = 1) -> str:
    """As `score`, in percent."""
    if not row or row.get("value") is None:
        return "–"
    scaled = {key: None if row.get(key) is None else 100 * row[key] for key in ("value", "low", "high")}
    return score(scaled, digits).replace("]", "] %") if scaled["low"] is not None else score(scaled, digits) + " %"


def as_text(table: Table) -> str:
    lines = [list(map(str, table.columns)), *[list(map(str, row)) for row in table.rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([table.title, body[0], rule, *body[1:], *([table.note] if table.note else [])])


def as_markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in cells) + " |"

    head = [line(table.columns), "|" + "---|" * len(table.columns)]
    note = ["", table.note] if table.note else []
    return "\n".join([*head, *(line(row) for row in table.rows), *note])


def as_html(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        texts = [html.escape(str(cell)) for cell in cells]
        first = f'<{tag} class="sub">' if texts[0].startswith("  ") else f"<{tag}>"
        return f"<tr>{first}{texts[0]}</{tag}>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts[1:]) + "</tr>"

    body = "".join(line(row, "td") for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'<figure class="table"><figcaption>{html.escape(table.title)}</figcaption>'
        f"<table><thead>{line(table.columns, 'th')}</thead><tbody>{body}</tbody></table>{note}</figure>"
    )
