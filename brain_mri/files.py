"""Files that are read and written as a whole: JSON, digests, cells of tables, and the one way to replace a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NUMBERS = re.compile(r"\[\n([-+.,\deE\s]+)\]")  # a list of numbers over several lines; no JSON text holds a line break


class FileError(ValueError):
    """A file that is missing or does not hold what it should; the message is one sentence for a person."""


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on a clean exit it takes the place of `path`, else it is removed.

    A reader finds the old file or the whole new one. Raises OSError as the writing does.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the disk went away: the first error is the one that helps
            temporary.unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Raises FileError when the file is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise FileError(f"{path.parent} holds no {path.name}, so it is not a model of this project.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} could not be read as JSON ({error}).") from None
    if not isinstance(value, dict):
        raise FileError(f"{path} is JSON but not an object, so it is not a model of this project.")
    return value


def _no_number(name: str) -> float:
    """NaN and Infinity are no JSON; nothing here writes them."""
    raise ValueError(f"it holds {name}")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Atomic: the file holds the old text or the new one."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    text = _NUMBERS.sub(lambda match: "[" + " ".join(match[1].split()) + "]", text)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def guarded(value: Any) -> Any:
    """A cell of a table: a text that spreadsheets would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
