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
