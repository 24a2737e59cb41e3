"""The server is ended in each way, with uploads, volumes and a broken upload in it; then the disk is listed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from brain_mri.imaging.scan import ScanError
from brain_mri.ui import common, lifetime
from dev.child_process import ended, free_port
from tests.helpers.files import write_nifti

APP = Path(lifetime.__file__).resolve().parents[2] / "app.py"
PATIENCE = 240.0  # seconds; for a busy machine
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and permissions as on Linux and macOS")


def wait(until: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def heard() -> None:
    """As in a terminal: under nohup, which these tests may run with, SIGHUP would be ignored, and rightly so."""
    for name in lifetime.ENDS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@contextlib.contextmanager
def started(artifact: Path, base: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, Path]]:
    """(process, client, its private folder) of app.py with its temporary files below `base`."""
    before, port = set(base.glob("brain-mri-page-*")), free_port()
    settings = os.environ | {"GRADIO_TEMP_DIR": str(base), "TMPDIR": str(base), "GRADIO_ANALYTICS_ENABLED": "False"}
    with (base.parent / "log.txt").open("ab") as log:
        command = [sys.executable, str(APP), "--model", str(artifact), "--port", str(port)]
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, preexec_fn=heard)
    with ended(process), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:

        def answers() -> bool:
            assert process.poll() is None, (base.parent / "log.txt").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5):
                return True
            return False

        wait(answers, "app.py did not start")
        (own,) = set(base.glob("brain-mri-page-*")) - before
        yield process, client, own


def fill(client: httpx.Client, own: Path, png: Path, volume: Path) -> socket.socket:
    """An answered slice, a volume that is being analysed, and an upload that stands still after 8 MB: its socket."""

    def send(path: Path) -> dict[str, object]:
        answer = client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def begin(endpoint: str, body: dict[str, object]) -> str:
        event = client.post(f"/gradio_api/call/v2{endpoint}", json=body).raise_for_status().json()["event_id"]
        return f"/gradio_api/call{endpoint}/{event}"

    assert "complete" in client.get(begin("/report", {"scan": send(png)})).text
    begin("/volume", {"files": [send(volume)]})
    wait(lambda: list(own.glob("brain-mri-volume-*")), "no volume is being analysed")
    broken = socket.create_connection((client.base_url.host, client.base_url.port or 80))
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n'
    lines = ["POST /gradio_api/upload HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=x"]
    broken.sendall("\r\n".join([*lines, f"Content-Length: {2**28}", "", ""]).encode() + head + bytes(2**23))
    pieces = ("tmp*", "gradio/tmp*")  # Gradio 6.24 writes them beside its own folder

    def arrived() -> bool:
        return sum(p.stat().st_size for pattern in pieces for p in own.glob(pattern) if p.is_file()) >= 2**22

    wait(arrived, "the upload did not arrive")
    return broken


def files_of(base: Path) -> list[Path]:
    return [path for path in base.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    voxels = np.random.default_rng(0).integers(0, 999, (160, 96, 96)).astype(np.int16)
    return write_nifti(tmp_path_factory.mktemp("volume") / "v.nii.gz", voxels, (1.0, 1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", lifetime.ENDS)
def test_asked_to_end_it_leaves_nothing(
    name: str, handmade_artifact: Path, phantom_png: Callable[..., Path], volume: Path, tmp_path: Path
) -> None:
    base = tmp_path / "temporary"
    base.mkdir()
    with started(handmade_artifact, base) as (process, client, own), fill(client, own, phantom_png(), volume):
        assert len(files_of(own)) > 5
        process.send_signal(getattr(signal, name))
        asked = time.monotonic()
        assert process.wait(PATIENCE) == 0
        print(f"ended {time.monotonic() - asked:.1f} s after {name}")
    assert not files_of(base), files_of(base)
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_what_a_killed_one_left_is_removed_by_the_next_and_a_living_one_is_let_be(
    handmade_artifact: Path, phantom_png: Callable[..., Path], volume: Path, tmp_path: Path
) -> None:
    base = tmp_path / "temporary"
    base.mkdir()
    with started(handmade_artifact, base) as (_, other, others):
        with started(handmade_artifact, base) as (process, client, own), fill(client, own, phantom_png(), volume):
            inside = [own, *own.rglob("*")]
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in inside if path.exists()}
            assert len(modes) > 10
            assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items()), modes
            process.kill()
            process.wait()
        assert len(files_of(own)) > 5
        with started(handmade_artifact, base) as (_, _, third):
            assert not own.exists() and (others / "lock").exists() and third != others
        assert other.get("/config").status_code == 200 and not third.exists()


def test_it_stops_between_two_pieces_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    lifetime.go_on()
    monkeypatch.setattr(lifetime, "stopping", threading.Event())
    lifetime.stopping.set()
    with pytest.raises(ScanError, match="being stopped"):
        lifetime.go_on()
    assert common.settled(lambda: "an answer", str)() == lifetime.STOPPING


def test_left_overs(tmp_path: Path) -> None:
    """Only folders whose lock nobody holds; no links, nothing that is just being made."""
    dead, new, held = (tmp_path / f"{lifetime.PREFIX}{name}" for name in ("dead", "new", "held"))
    for folder in (dead, new, held, tmp_path / "somebody else's"):
        folder.mkdir()
        (folder / "scan.png").touch()
        if folder != new:
            (folder / "lock").touch()
    (tmp_path / f"{lifetime.PREFIX}link").symlink_to(tmp_path / "somebody else's")
    with lifetime._lock(held):
        assert lifetime.remove_left_overs(tmp_path) == [dead]
    assert not dead.exists() and len(list(tmp_path.rglob("scan.png"))) == 3


def test_everything_is_as_before_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "_held", None)
    monkeypatch.setattr(lifetime, "stopping", threading.Event())
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM), tempfile.tempdir, dict(os.environ)
    with lifetime.tidy_process():
        own = lifetime.private_folder()
        assert Path(tempfile.mkdtemp()).parent == own and own.parent == tmp_path
        signal.raise_signal(signal.SIGTERM)
    assert lifetime.stopping.is_set() and not list(tmp_path.iterdir())
    assert before == (signal.getsignal(signal.SIGTERM), tempfile.tempdir, dict(os.environ))
