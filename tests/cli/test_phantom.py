"""The command that draws a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_mri.cli import phantom


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phantom.main([str(tmp_path / "a"), "--per-class", "2", "--size", "48"])
    assert "train.py --data" in capsys.readouterr().out
    assert len(list((tmp_path / "a").rglob("*.jpg"))) == 8
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemExit, match="could not be written"):
        phantom.main([str(tmp_path / "file" / "sub"), "--per-class", "2", "--size", "48"])
    with pytest.raises(SystemExit):
        phantom.main([str(tmp_path), "--per-class", "0"])
