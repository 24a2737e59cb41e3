"""app.py as a person starts it: it contacts nobody, and what cannot start is said in one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import app

ROOT = Path(app.__file__).resolve().parent


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_start_contacts_nobody_and_needs_no_tensorflow(handmade_artifact: Path) -> None:
    code = f"""
import socket, sys, urllib.request
asked, own = [], ("127.0.0.1", "::1", "localhost", "0.0.0.0", None)
connect, look_up = socket.socket.connect, socket.getaddrinfo
def watched_connect(self, address, *rest):
    if self.family != socket.AF_UNIX and address[0] not in own: asked.append(address)
    return connect(self, address, *rest)
def watched_look_up(host, *rest, **more):
    if host not in own: asked.append(host)
    return look_up(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = watched_connect, watched_look_up
import app
page = app.build_interface({str(handmade_artifact)!r})
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
assert b"Brain MRI" in urllib.request.urlopen(url).read()
page.close()
heavy = {{"tensorflow", "keras", "torch", "matplotlib"}} & set(sys.modules)
print("asked", asked, "heavy", heavy)
sys.exit(bool(asked or heavy))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_command_line_errors_are_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "app.py", "--model", "no/such/folder/here"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_a_port_in_use_is_said(handmade_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["--model", str(handmade_artifact), "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"error: Port {port} is in use; choose another one with --port.\n"
