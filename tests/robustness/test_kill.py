"""soak_train.py in small: training killed at random moments and resumed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brain_mri.artifact.config import ArtifactError
from dev import soak_train
from tests.helpers.handmade import write_handmade


@pytest.mark.slow
def test_three_kills_and_an_artifact_as_good_as_any(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kills", "3", "--epochs", "2", "--classifier", "gap_cnn", "--size", "32", "--per-class", "12"]
    status = soak_train.main([*words, "--noise", "0.5"])  # a dozen slices: only the wholeness is judged here
    said = capsys.readouterr()
    assert status == 0, said.err + said.out
    moments = re.search(r"kills, seconds after each start \| ([\d. ]+) \|", said.out)
    assert moments and len(moments[1].split()) == 3


def test_half_an_artifact_would_be_noticed(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m")
    assert soak_train.state_of(folder) == "whole" and soak_train.state_of(tmp_path) == "none"
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"metrics\.json is not the file"):
        soak_train.state_of(folder)
