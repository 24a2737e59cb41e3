"""A file that is replaced: the old one or the whole new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_mri import files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["state.txt"] and path.read_text() == "old"
    with files.atomic_write(path) as temporary:
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["state.txt"] and path.read_text() == "new"


def test_json_is_an_object_or_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    value = {"classes": ["a", "b"], "weights": [1.0, 2.5, -3e-5], "title": "Grün"}
    files.write_json(path, value)
    assert files.read_json(path) == value and "[1.0, 2.5, -3e-05]" in path.read_text(encoding="utf-8")
    digest = files.sha256(path)
    files.write_json(path, value)
    assert files.sha256(path) == digest and len(digest) == 64
    for content, word in ((b"[1]", "not an object"), (b"{", "could not be read"), (b"\xff", "could not be read")):
        path.write_bytes(content)
        with pytest.raises(files.FileError, match=word):
            files.read_json(path)
    with pytest.raises(files.FileError, match=r"holds no other\.json"):
        files.read_json(tmp_path / "other.json")
