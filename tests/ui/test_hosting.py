"""Who may enter, and what hosts ask for."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brain_mri.ui import hosting


def test_credentials() -> None:
    right = hosting.credentials("ada:secret,bob:two:parts")
    assert right and right("ada", "secret") and right("bob", "two:parts") and not right("ada", "two:parts")
    assert hosting.credentials("") is None and hosting.credentials(None) is None


@pytest.mark.parametrize("text", ["ada", "ada:", ":x", "ada:x,,"])
def test_bad_credentials_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="user:password"):
        hosting.credentials(text)


def test_a_page_that_writes_is_for_its_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_SHARE", "GRADIO_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert hosting.kept_private({"share": None, "quiet": True}) == {"share": False, "quiet": True}
    assert hosting.kept_private({"server_name": "localhost"})["share"] is False
    for options in ({"share": True}, {"server_name": "0.0.0.0"}, {"server_name": "example.org"}):
        with pytest.raises(ValueError, match="for this machine alone"):
            hosting.kept_private(options)
        assert hosting.kept_private(options | {"auth": ("ada", "secret")})["auth"]


def test_a_function_is_marked_on_zero_gpu_hardware_only(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[Any] = []
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=marked.append))
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not hosting.register_zero_gpu() and not marked
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert hosting.register_zero_gpu() and len(marked) == 1


COUNTED = """import ast, inspect
parse, getfile, parsed = ast.parse, inspect.getfile, []
ast.parse = lambda *given, **named: parsed.append(1) or parse(*given, **named)
import app, gradio
print(len(parsed), inspect.getfile is getfile, inspect.getfile(gradio.HTML).endswith("html.py"))"""


def test_the_page_starts_without_stubs_for_editors() -> None:
    """Gradio parses the source of each component for them, 160 times in all; afterwards everything is as it was."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", COUNTED], cwd=root, capture_output=True, text=True, check=True)
    parsed, *as_before = done.stdout.split()
    assert int(parsed) < 20 and as_before == ["True", "True"]


def test_what_has_a_file_still_has_one_without_stubs() -> None:
    with pytest.raises(OSError), hosting.no_stubs():
        assert inspect.getfile(hosting.credentials) == hosting.__file__
        assert inspect.getfile(pytest.MonkeyPatch)
        inspect.getfile(type("ComponentMeta", (type,), {})("Component", (), {}))
