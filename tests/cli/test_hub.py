"""push, pull and deploy as their own process: HF_ENDPOINT and HF_HUB_OFFLINE are read at import there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.loopback_hub import LoopbackHub, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brain_mri", "hub", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_command_line(loopback: LoopbackHub, tmp_path: Path) -> None:
    model = write_model(tmp_path / "run1")
    done = run("push", str(model), "me/model", "--tag", "v1")
    assert done.returncode == 0 and "now holds" in done.stdout and "tag v1" in done.stdout, done.stderr
    assert "already held" in run("push", str(model), "me/model", "--tag", "v1").stdout
    got = run("pull", "me/model@v1")
    assert got.returncode == 0 and loopback.repo("me/model").tags["v1"] in got.stdout
    failed = run("pull", "me/other")
    assert failed.returncode == 1 and failed.stderr.startswith("error: There is no model me/other")
    assert "Traceback" not in failed.stderr
    offline = run("pull", "me/model", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and "HF_HUB_OFFLINE is set" in offline.stderr
    nowhere = run("pull", "me/other", HF_HUB_OFFLINE="1")
    assert nowhere.returncode == 1 and "HF_HUB_OFFLINE is set" in nowhere.stderr
