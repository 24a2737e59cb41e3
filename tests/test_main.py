"""python -m brain_mri: its verbs, and that each is imported only when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from brain_mri import __main__ as dispatcher

ROOT = Path(__file__).resolve().parent.parent


def test_every_verb_is_listed_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatcher.main(["--help"]) == 0
    listed = capsys.readouterr().out
    files = {path.stem for path in (ROOT / "brain_mri" / "cli").glob("[a-z]*.py")}
    assert files == set(dispatcher.VERBS)
    assert all(f"\n  {verb} " in listed for verb in dispatcher.VERBS)


def test_an_unknown_verb_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatcher.main(["nothing"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("brain-mri: there is no verb 'nothing'") and said.endswith(".\n")


@pytest.mark.parametrize(
    ("verb", "package", "what"), [("audit", "pandas", "-r requirements.txt"), ("tune", "optuna", "optuna")]
)
def test_a_missing_package_is_a_sentence(verb: str, package: str, what: str) -> None:
    """After `pip install .` without the extra `train` there is no pandas; requirements.txt has no optuna."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; from brain_mri.__main__ import main; "
        f"sys.exit(main([{verb!r}, 'x']))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr == f"brain-mri {verb}: {package} is missing; pip install {what} brings it.\n"


@pytest.mark.parametrize("verb", dispatcher.VERBS)
def test_the_help_of_a_verb_loads_neither_tensorflow_nor_another_verb(verb: str) -> None:
    code = """import sys
from brain_mri import __main__ as program
try:
    program.main([sys.argv[1], "--help"])
except SystemExit as end:
    assert end.code == 0
print([name for name in sys.modules if name.startswith("brain_mri.cli.")], "tensorflow" in sys.modules)"""
    run = subprocess.run([sys.executable, "-c", code, verb], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"usage: brain-mri {verb} ")
    assert run.stdout.splitlines()[-1] == f"['brain_mri.cli.{verb}'] False"
