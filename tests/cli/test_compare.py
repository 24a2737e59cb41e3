"""The command line of compare; what it writes is tested in tests/reporting/test_compare_runs.py."""

from __future__ import annotations

from brain_mri.cli import compare


def test_wrong_calls_end_with_one_sentence(tmp_path, capsys):
    (tmp_path / "no").mkdir()
    assert compare.main([str(tmp_path / "no"), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "no config.json" in error
    assert "Traceback" not in error
