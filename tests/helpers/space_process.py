"""A Space's files run as the platform runs them: an empty folder, its own process, its own environment."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev.child_process import ended, free_port
from tests.helpers.loopback_hub import LoopbackHub

ROOT = Path(__file__).resolve().parents[2]
NO_TRAINING = "raise ImportError('this is not installed on a Space')\n"


def copy_program(folder: Path) -> Path:
    """Tracked and new files of the working tree, as a clone of the finished commit would have them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def lay_out(loopback: LoopbackHub, folder: Path, repo_id: str = "me/space") -> Path:
    """The Space's files in an empty folder, as the platform checks them out."""
    for path, blob in loopback.repo(repo_id, "space").files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(blob.content)
    return folder


@contextlib.contextmanager
def running(folder: Path, python: str = sys.executable, **environment: str) -> Iterator[str]:
    """app.py as the platform starts it; yields the address of the page. TensorFlow and Keras cannot be imported."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    absent = folder.parent / "absent"
    absent.mkdir(exist_ok=True)
    for name in ("tensorflow", "keras", "tf2onnx"):
        (absent / f"{name}.py").write_text(NO_TRAINING)
    settings = os.environ | {"SPACE_ID": "me/space", "SYSTEM": "spaces", "GRADIO_SERVER_PORT": str(port)}
    path = os.pathsep.join([str(absent), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings |= {"PYTHONPATH": path, "GRADIO_ANALYTICS_ENABLED": "False"} | environment
    log = folder.parent / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen([python, "app.py"], cwd=folder, env=settings, stdout=file, stderr=file)
    with ended(process):
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/config", timeout=5):
                break
            time.sleep(0.2)
        yield url


def analyze(url: str, picture: Path) -> dict[str, Any]:
    """The JSON of the endpoint /analyze."""
    from gradio_client import Client, handle_file

    result = Client(url, verbose=False).predict(handle_file(str(picture)), api_name="/analyze")[0]
    if isinstance(result, str):
        result = json.loads(Path(result).read_text(encoding="utf-8"))
    return result


def page_text(url: str) -> str:
    """All texts of the page's components."""
    with urllib.request.urlopen(f"{url}/config", timeout=20) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def device_api() -> Iterator[tuple[str, list[str]]]:
    """What a ZeroGPU machine offers to the `spaces` package; yields its address and the requests that came in."""
    reports: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            reports.append(f"POST {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", reports
    finally:
        server.shutdown()
        server.server_close()
