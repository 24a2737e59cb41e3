"""The whole road: class folders -> train.py --push -> Hub -> Space files in an empty folder -> the page answers.

With BRAIN_MRI_CLEAN_VENV=1 the Space runs in a virtual environment with nothing but its own requirements, which pip
fetches; otherwise in this one, where importing TensorFlow is made to fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import RepoCard

from tests.helpers import space_process
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def python_of_the_space(folder: Path, tmp_path: Path) -> str:
    if not os.environ.get("BRAIN_MRI_CLEAN_VENV"):
        return sys.executable
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    version = RepoCard.load(folder / "README.md").data.sdk_version
    wanted = [f"gradio=={version}", "spaces", "-r", str(folder / "requirements.txt")]  # as the platform does
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True, timeout=1200)
    absent = "import importlib.util as u; assert not (u.find_spec('tensorflow') or u.find_spec('keras'))"
    subprocess.run([python, "-c", absent], check=True)
    return python


@pytest.mark.slow
def test_from_class_folders_to_the_page_of_a_space(
    loopback: LoopbackHub, tmp_path: Path, phantom_png: Callable[..., Path]
) -> None:
    run("-m", "brain_mri", "phantom", str(tmp_path / "phantoms"), "--per-class", "16", "--size", "96")
    data = ["--data", str(tmp_path / "phantoms"), "--masks", str(tmp_path / "phantoms" / "segmentation")]
    out = ["--out", str(tmp_path / "run"), "--push", "me/model"]
    run("train.py", *data, "--epochs", "2", "--size", "64", "--verbose", "0", *out)
    model = loopback.repo("me/model")
    revision = model.branches["main"]
    assert model.history == ["initial commit", "Publish me/model"] and list(model.tags.values()) == [revision]
    card = model.files["README.md"].content.decode()
    assert card.startswith("---\n") and "model-index" in card.split("---\n")[1]

    run("-m", "brain_mri", "hub", "deploy", "me/space", "--model", "me/model")
    space = loopback.repo("me/space", "space")
    folder = space_process.lay_out(loopback, tmp_path / "space")
    assert not {"train.py", "model_def.py", "requirements-space.txt"} & {path.name for path in folder.iterdir()}
    python = python_of_the_space(folder, tmp_path)
    with space_process.running(folder, python, **space.variables) as url:
        result = space_process.analyze(url, phantom_png("pituitary"))
    assert result["revision"] == revision
    assert abs(sum(result["probabilities"].values()) - 1) < 1e-3
