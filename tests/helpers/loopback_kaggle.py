"""Kaggle on 127.0.0.1 for tests: the real kagglehub speaks its real protocol to it; and plain files of the web.

kagglehub 1.0 knows no address but Kaggle's own, and with KAGGLE_API_ENVIRONMENT=LOCALHOST http://localhost. So this
server is the proxy through which http://localhost is asked: that holds for child processes and notebooks, too.

    with LoopbackKaggle() as kaggle:
        kaggle.publish("owner/name", folder)      # another version each time
        kaggle.file("slices.zip", content)        # its address
        kaggle.cut = 1000                         # the next download ends after so many bytes

Written from the requests of kagglehub 1.0.3 and kagglesdk 0.1.38 (http_resolver.py, clients.py, kaggle_http_client.py).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SERVICE = r"/api/v1/datasets\.DatasetApiService/(GetDataset|DownloadDataset)"


def zipped(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())
    return content.getvalue()


class LoopbackKaggle:
    """The server, its data sets and its faults. Use it as a context manager."""

    def __init__(self) -> None:
        self.sets: dict[str, list[bytes]] = {}  # owner/name -> the archive of each version
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}  # of the files
        self.refusals: dict[str, int] = {}  # owner/name, or the name of a file -> the status of all answers about it
        self.cut: int | None = None  # bytes after which the next download, and that one alone, ends
        self.damaged = 0  # so many downloads have other bytes than their checksum says
        self.log: list[str] = []  # "METHOD /path [Range]" of each request
        self.tokens: list[str] = []  # Authorization of each request of the interface
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> LoopbackKaggle:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def publish(self, name: str, folder: Path) -> None:
        self.sets.setdefault(name, []).append(zipped(folder))

    def file(self, name: str, content: bytes, headers: dict[str, str] | None = None) -> str:
        """Its address."""
        self.files[name] = content
        self.headers |= headers or {}
        return f"{self.url}/files/{name}"

    def requests(self, pattern: str) -> list[str]:
        return [line for line in self.log if re.search(pattern, line)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has given up is no news."""


def _handler(kaggle: LoopbackKaggle) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.kaggle = kaggle
    return Handler


class _Handler(BaseHTTPRequestHandler):
    kaggle: LoopbackKaggle
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # quiet
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path  # a proxy is given the whole address
        self.kaggle.log.append(" ".join(filter(None, (self.command, path, self.headers.get("Range")))))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = path.removeprefix("/files/")
        if self.command == "POST" and (match := re.fullmatch(SERVICE, path)):
            self.interface(match[1], json.loads(body))
        elif match := re.fullmatch(r"/archive/(.+)/(\d+)\.zip", path):
            content = self.kaggle.sets[match[1]][int(match[2]) - 1]
            md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
            self.send_file(content, {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}", "Accept-Ranges": "bytes"})
        elif status := self.kaggle.refusals.get(name):
            self.answer(status, {}, b"")
        elif name in self.kaggle.files:
            self.send_file(self.kaggle.files[name], dict(self.kaggle.headers))
        else:
            self.answer(404, {}, b"no such page")

    do_POST = do_HEAD = do_GET

    def interface(self, what: str, request: dict[str, Any]) -> None:
        self.kaggle.tokens.append(self.headers.get("Authorization", ""))
        name = f"{request['ownerSlug']}/{request['datasetSlug']}"
        versions = self.kaggle.sets.get(name, [])
        version = int(request.get("datasetVersionNumber") or len(versions))
        status = self.kaggle.refusals.get(name) or (200 if 0 < version <= len(versions) else 404)
        owner, slug = name.split("/")
        if status != 200:
            self.json(status, {"code": status, "message": "Permission denied" if status == 403 else "Not found"})
        elif what == "GetDataset":
            self.json(200, {"ref": name, "ownerRef": owner, "title": slug, "currentVersionNumber": len(versions)})
        else:
            self.answer(302, {"Location": f"{self.kaggle.url}/archive/{name}/{version}.zip"}, b"")

    def json(self, status: int, content: dict[str, Any]) -> None:
        self.answer(status, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def send_file(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, headers.get("ETag"), headers.get("Last-Modified"))
        headers = {"Content-Type": "application/zip"} | headers
        status, first = 200, 0
        if wanted and same and headers.get("Accept-Ranges") != "none":
            first = int(wanted[1])
            if first >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            status, headers["Content-Range"] = 206, f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.answer(status, headers, content[first:])

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if headers.get("Content-Type") == "application/zip":
            if self.kaggle.damaged:
                self.kaggle.damaged -= 1
                body = bytes(len(body))
            if self.kaggle.cut is not None:
                body, self.kaggle.cut, self.close_connection = body[: self.kaggle.cut], None, True
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackKaggle]:
    """A running Kaggle that this process and its children use, without an account, and empty caches."""
    with LoopbackKaggle() as server:
        for name in ("HTTP_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME",
                     "KAGGLE_KEY", "TBE_RUNTIME_ADDR", "KAGGLE_KERNEL_RUN_TYPE"):  # fmt: skip
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("urllib.request._opener", None)  # it remembers the proxies of its first call
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "kaggle"))
        monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
        yield server
