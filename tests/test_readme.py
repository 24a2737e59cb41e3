"""What README and its pages show is run as it stands there, on the bundled weights."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import cv2
import pytest

from brain_mri.__main__ import VERBS
from brain_mri.data.phantom import make_phantom
from dev.child_process import ended, free_port

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OTHERS = [(ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("training", "program", "numbers")]
PAGES = "\n".join([README, *OTHERS])
WORDS = 900  # of README: what it is and how to begin; everything else has a page of its own


def block(language: str, containing: str) -> str:
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", PAGES, re.S) if containing in b]
    assert len(found) == 1, f"README and its pages should have one {language} block with {containing!r}"
    return found[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("readme")
    cv2.imwrite(str(path / "slice.png"), make_phantom("meningioma", 3).image)
    cv2.imwrite(str(path / "slice.jpg"), make_phantom("glioma", 4).image)
    return path


@pytest.fixture(scope="module")
def port(bundled):
    number = free_port()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with ended(process):
        for _ in range(240):
            try:
                urlopen(f"http://127.0.0.1:{number}/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.5)
        yield number


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gradio_client_example(port, folder):
    code = block("python", "gradio_client").replace("7860", str(port))
    text = run([sys.executable, "-c", code], folder)
    assert "notumor" in text and text.count(".png") == 2


def test_curl_example(port, folder):
    text = run(["bash", "-euc", block("bash", "curl").replace("7860", str(port))], folder)
    assert "event: complete" in text and '"probabilities"' in text and "notumor" in text


def test_python_example(bundled, folder):
    code = block("python", "read_scan").replace('"weights"', repr(str(bundled)))
    assert "pituitary" in run([sys.executable, "-c", code], folder)


@pytest.mark.slow
def test_every_command_line_in_readme_exists():
    assert set(re.findall(r"(?:-m brain_mri|brain-mri) (\w+)", PAGES)) - {"VERB"} <= set(VERBS)  # see test_main.py
    for command in sorted(set(re.findall(r"python (\w+\.py|-m dev\.\w+)", PAGES))):
        words = [sys.executable, *command.split(), "--help"]
        text = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert text.returncode == 0 and "usage" in text.stdout, f"{command}: {text.stderr}"


def test_one_version():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert version and cited and version[1] == cited[1]
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_readme_stays_short_and_begins_with_what_it_is_and_how_to_open_it():
    assert len(README.split()) <= WORDS
    assert README.startswith("# "), "the Space's header is in brain_mri/artifact/assets/space.md"
    order = re.findall(r"^(!\[|```bash|\[!\[Open in Colab|\[!\[Open the live page|## )", README, re.M)
    assert order[:4] == ["![", "```bash", "[![Open in Colab", "[![Open the live page"]
    assert len(re.findall(r"^\|---", README, re.M)) == 3, "two tables of figures, one of commands"


def test_every_linked_file_exists():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
