"""A Hugging Face Hub on 127.0.0.1 for tests: the real client speaks its real protocol to it, and it can fail on demand.

    with LoopbackHub() as hub:
        hub.account("me", token="hf_write")                   # role="read" for a read-only token
        os.environ["HF_ENDPOINT"] = hub.url                   # in subprocesses; HF_HUB_DISABLE_XET=1, it has no Xet
        ...
        hub.fail(r"/resolve/", status=503, times=2)           # also hang=, cut=, slow=, corrupt=

    python -m tests.helpers.loopback_hub --port 8123            # to play with: prints the variables to set

Storage is a list of whole snapshots per repository, which is all that a test needs of git. Written from the requests of
huggingface_hub 1.27 and 2.4 (hf_api.py, _commit_api.py, lfs.py, file_download.py).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
import yaml  # comes with huggingface_hub
from huggingface_hub import constants

from brain_mri import files
from brain_mri.artifact import folder as artifact

LFS = re.compile(r"\.(onnx|h5|keras|bin|npz|zip|pkl|pt|safetensors|parquet)$")
LARGE = 10_000_000
COLORS = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True)
class Blob:
    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def blob_id(self) -> str:
        """git's id of what the repository itself stores."""
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    def describe(self) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "sha256": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}}
        return {"size": self.size, **(lfs if self.lfs else {})}


@dataclass
class Commit:
    sha: str
    parent: str | None
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    kind: str  # model, dataset, space
    id: str
    private: bool = False
    gated: bool = False
    allowed: set[str] = field(default_factory=set)  # accounts that were let into a gated repository
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    hardware: str | None = None

    def commit(self, files: dict[str, Blob], title: str, branch: str = "main") -> Commit:
        parent = self.branches.get(branch)
        listing = "".join(f"{path}:{blob.blob_id}\n" for path, blob in sorted(files.items()))
        sha = hashlib.sha1(f"{parent}\n{title}\n{len(self.commits)}\n{listing}".encode()).hexdigest()
        self.commits[sha] = made = Commit(sha, parent, title, files)
        self.branches[branch] = sha
        return made

    def resolve(self, revision: str) -> Commit | None:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(sha)

    @property
    def files(self) -> dict[str, Blob]:
        return self.commits[self.branches["main"]].files

    @property
    def history(self) -> list[str]:
        """Titles on main, oldest first."""
        titles, sha = [], self.branches.get("main")
        while sha:
            titles.append(self.commits[sha].title)
            sha = self.commits[sha].parent
        return titles[::-1]


@dataclass
class Fault:
    pattern: re.Pattern[str]  # searched in "METHOD /path"
    times: int
    status: int | None = None
    hang: float = 0.0  # seconds before anything is sent (or until the server stops)
    cut: int | None = None  # bytes of the body after which the connection is closed
    slow: float | None = None  # bytes per second
    corrupt: bool = False  # same length, other bytes
    then: Callable[[], object] | None = None  # called before the (ordinary) answer, to stage a race


class LoopbackHub:
    """The server, its repositories and its faults. Use it as a context manager."""

    def __init__(self, port: int = 0) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.tokens: dict[str, tuple[str, str]] = {}  # token -> (account, role)
        self.plans: dict[str, str] = {}  # account -> "free": no cpu-basic Gradio Space
        self.objects: dict[str, bytes] = {}  # uploaded large files by sha256
        self.faults: list[Fault] = []
        self.log: list[str] = []  # "METHOD /path" of each request
        self.stopping = threading.Event()
        self.lock = threading.RLock()
        self.server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.store = _Server(("127.0.0.1", 0), _handler(self))  # large files come from another origin, as the Hub's do
        self.cdn = f"http://127.0.0.1:{self.store.server_address[1]}"

    def __enter__(self) -> LoopbackHub:
        for server in (self.server, self.store):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopping.set()
        for server in (self.server, self.store):
            server.shutdown()
            server.server_close()

    def account(self, name: str, token: str, role: str = "write", plan: str = "pro") -> str:
        self.tokens[token] = (name, role)
        self.plans[name] = plan
        return token

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        return self.repos[kind, repo_id]

    def create(self, repo_id: str, kind: str = "model", **options: Any) -> Repo:
        repo = Repo(kind, repo_id, **options)
        repo.commit({".gitattributes": Blob(b"*.onnx filter=lfs diff=lfs merge=lfs -text\n", False)}, "initial commit")
        self.repos[kind, repo_id] = repo
        return repo

    def edit(self, repo_id: str, changes: dict[str, bytes | None], kind: str = "model", title: str = "Edit") -> str:
        """A commit made by a person on the web page; None deletes. Returns the new commit."""
        repo = self.repo(repo_id, kind)
        files = {path: blob for path, blob in repo.files.items() if changes.get(path, b"") is not None}
        files |= {path: Blob(new, bool(LFS.search(path))) for path, new in changes.items() if new is not None}
        return repo.commit(files, title).sha

    def publish(self, folder: Path, repo_id: str, kind: str = "model") -> str:
        """As if the folder had been pushed. Returns the commit."""
        if (kind, repo_id) not in self.repos:
            self.create(repo_id, kind)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return self.edit(repo_id, dict(files), kind, "Publish")

    def fail(self, pattern: str, *, times: int = 1_000_000, **how: Any) -> Fault:
        fault = Fault(re.compile(pattern), times, **how)
        self.faults.append(fault)
        return fault

    def requests(self, pattern: str) -> list[str]:
        return [line for line in self.log if re.search(pattern, line)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Refused(Exception):
    """An answer with an error status; `code` goes into X-Error-Code as the Hub does it."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    return Handler


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    routes: list[tuple[str, str, str]] = [  # method, path, name of the function below
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("GET", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)", "info"),
        ("GET", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/revision/(?P<rev>[^/]+)", "info"),
        ("GET", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/tree/(?P<rev>[^/]+)", "tree"),
        ("POST", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/paths-info/(?P<rev>[^/]+)", "paths_info"),
        ("GET", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/refs", "refs"),
        ("POST", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/preupload/(?P<rev>[^/]+)", "preupload"),
        ("POST", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/commit/(?P<rev>[^/]+)", "commit"),
        ("POST", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/tag/(?P<rev>[^/]+)", "tag"),
        ("POST", r"/api/(?P<kinds>\w+)/(?P<id>[^/]+/[^/]+)/branch/(?P<rev>[^/]+)", "branch"),
        ("GET", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", "variables"),
        ("POST", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", "variables"),
        ("DELETE", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", "variables"),
        ("POST", r"/api/spaces/(?P<id>[^/]+/[^/]+)/secrets", "secrets"),
        ("POST", r"/api/spaces/(?P<id>[^/]+/[^/]+)/hardware", "hardware"),
        ("GET", r"/api/spaces/(?P<id>[^/]+/[^/]+)/runtime", "runtime"),
        ("POST", r"/(?:(?P<kinds>spaces|datasets)/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/upload/(?P<oid>[0-9a-f]{64})", "lfs_upload"),
        ("POST", r"/lfs/verify/(?P<oid>[0-9a-f]{64})", "lfs_verify"),
        ("GET", r"/lfs/download/(?P<oid>[0-9a-f]{64})", "lfs_download"),
        (
            "GET",
            r"/(?:(?P<kinds>spaces|datasets)/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)",
            "resolve",
        ),
    ]

    def log_message(self, format: str, *args: Any) -> None:  # quiet
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self) -> None:
        self.path_only, _, query = self.path.partition("?")
        self.query = parse_qs(query)
        # A quoted slash ("refs%2Fpr%2F1") belongs to one segment, so paths are matched before they are unquoted.
        line = f"{self.command} {self.path_only}"
        with self.hub.lock:
            self.hub.log.append(line)
            fault = next((f for f in self.hub.faults if f.times > 0 and f.pattern.search(line)), None)
            if fault:
                fault.times -= 1
        self.fault = fault
        try:
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                self.body = b"".join(iter(self._chunk, b""))
            if fault and fault.hang and self.hub.stopping.wait(fault.hang):
                self.close_connection = True
                return
            if fault and fault.then:
                fault.then()
            if fault and fault.status:
                raise _Refused(fault.status, "The server was told to fail")
            method = "GET" if self.command == "HEAD" else self.command
            for wanted, pattern, name in self.routes:
                match = re.fullmatch(pattern, self.path_only)
                if wanted == method and match:
                    parts = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
                    with self.hub.lock:
                        status, headers, content = getattr(self, name)(**parts)
                    self._send(status, headers, content)
                    return
            raise _Refused(404, f"No such page: {line}")
        except _Refused as refused:
            headers = {"X-Error-Message": refused.message}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            self._send(refused.status, headers, {"error": refused.message})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().strip() or b"0", 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _send(self, status: int, headers: dict[str, str], content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if "Content-Type" not in headers:
            headers["Content-Type"] = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and status == 200 and isinstance(content, bytes):
            first, last = int(wanted[1]), int(wanted[2] or len(body) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            status, body = 206, body[first : last + 1]
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self.fault
        if fault and fault.corrupt:
            body = bytes(byte ^ 0xFF for byte in body[:64]) + body[64:]
        if fault and fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
        elif fault and fault.slow is not None:
            for first in range(0, len(body), max(1, int(fault.slow / 20))):
                self.wfile.write(body[first : first + max(1, int(fault.slow / 20))])
                if self.hub.stopping.wait(0.05):
                    return
        else:
            self.wfile.write(body)

    # accounts and access

    def _account(self) -> tuple[str | None, str | None]:
        given = self.headers.get("Authorization", "")
        if not given.startswith("Bearer "):
            return None, None
        if given[7:] not in self.hub.tokens:
            raise _Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[given[7:]]

    def _repo(self, kinds: str | None, id: str, *, write: bool = False, content: bool = False) -> Repo:
        account, role = self._account()
        kind = TYPES.get(kinds or "models", "model")
        repo = self.hub.repos.get((kind, id))
        owner = id.split("/")[0]
        if repo is None or (repo.private and account != owner):
            if account is None:
                raise _Refused(401, "Invalid username or password.")  # the Hub does not tell private from missing
            raise _Refused(404, "Repository not found", "RepoNotFound")
        if write and (account != owner or role == "read"):
            raise _Refused(403, "You don't have the rights to write to this repository")
        if content and repo.gated and account != owner and account not in repo.allowed:
            status = 401 if account is None else 403
            raise _Refused(status, f"Access to {kind} {id} is restricted", "GatedRepo")
        return repo

    def _at(self, repo: Repo, revision: str) -> Commit:
        commit = repo.resolve(revision)
        if commit is None:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    # the interface, one function a route: -> (status, headers, content)

    def whoami(self) -> tuple[int, dict[str, str], Any]:
        name, role = self._account()
        if name is None:
            raise _Refused(401, "Invalid username or password.")
        access = {"displayName": f"{name}-{role}", "role": role}
        return 200, {}, {"type": "user", "name": name, "auth": {"type": "access_token", "accessToken": access}}

    def create(self) -> tuple[int, dict[str, str], Any]:
        account, role = self._account()
        wish = self._json()
        kind = wish.get("type") or "model"
        repo_id = f"{wish.get('organization') or account}/{wish['name']}"
        if account is None:
            raise _Refused(401, "Invalid username or password.")
        if repo_id.split("/")[0] != account or role == "read":
            raise _Refused(403, f"You don't have the rights to create a {kind} under this namespace")
        prefix = {"space": "spaces/", "dataset": "datasets/"}.get(kind, "")
        url = f"{self.hub.url}/{prefix}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            return 409, {"X-Error-Message": "You already created this repo"}, {"url": url, "error": "already exists"}
        flavor = wish.get("hardware")
        if kind == "space" and self.hub.plans.get(account) == "free" and flavor != "zero-a10g":
            raise _Refused(402, "Gradio Spaces on cpu-basic need a paid plan")
        private = wish.get("visibility") == "private" or bool(wish.get("private"))
        repo = self.hub.create(repo_id, kind, private=private)
        repo.hardware = flavor or ("cpu-basic" if kind == "space" else None)
        repo.variables |= {one["key"]: one["value"] for one in wish.get("variables") or []}
        return 200, {}, {"url": url, "id": repo_id, "name": repo_id}

    def validate(self) -> tuple[int, dict[str, str], Any]:
        text = self._json()["content"]
        header = re.match(r"---\r?\n(.*?)\r?\n---(\r?\n|$)", text, re.S)
        if header is None:
            return 200, {}, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        problems = []
        try:
            data = yaml.safe_load(header[1]) or {}
        except yaml.YAMLError as error:
            problems.append(f"YAML parse error: {error}")
        else:
            if self._json().get("repoType") == "space":
                problems += [f'"{key}" is required' for key in ("sdk",) if key not in data]
                if len(str(data.get("short_description", ""))) > 60:
                    problems.append('"short_description" length must be less than or equal to 60 characters long')
                for key in ("colorFrom", "colorTo"):
                    if data.get(key, "red") not in COLORS:
                        problems.append(f'"{key}" must be one of {COLORS}')
            for result in data.get("model-index") or []:
                if not result.get("name") or not isinstance(result.get("results"), list):
                    problems.append('"model-index" entries need a name and results')
        answer = {"errors": [{"message": text} for text in problems], "warnings": []}
        return (400 if problems else 200), {}, answer

    def info(self, id: str, kinds: str, rev: str = "main") -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id)
        commit = self._at(repo, rev)
        blobs = "blobs" in self.query
        siblings = [
            {"rfilename": path} | ({"blobId": blob.blob_id, **blob.describe()} if blobs else {})
            for path, blob in sorted(commit.files.items())
        ]
        answer: dict[str, Any] = {
            "_id": id,
            "id": id,
            "author": id.split("/")[0],
            "sha": commit.sha,
            "siblings": siblings,
        }
        answer |= {"private": repo.private, "gated": "auto" if repo.gated else False, "disabled": False, "tags": []}
        return 200, {}, answer | ({"sdk": "gradio"} if repo.kind == "space" else {})

    def _entry(self, path: str, blob: Blob) -> dict[str, Any]:
        return {"type": "file", "path": path, "oid": blob.blob_id, **blob.describe()}

    def tree(self, id: str, kinds: str, rev: str) -> tuple[int, dict[str, str], Any]:
        commit = self._at(self._repo(kinds, id), rev)
        return 200, {}, [self._entry(path, blob) for path, blob in sorted(commit.files.items())]

    def paths_info(self, id: str, kinds: str, rev: str) -> tuple[int, dict[str, str], Any]:
        commit = self._at(self._repo(kinds, id), rev)
        if "json" in self.headers.get("Content-Type", ""):
            paths = self._json()["paths"]
        else:
            paths = parse_qs(self.body.decode())["paths"]
        return 200, {}, [self._entry(path, commit.files[path]) for path in paths if path in commit.files]

    def refs(self, id: str, kinds: str) -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id)
        lists = {"branches": ("heads", repo.branches), "tags": ("tags", repo.tags)}
        answer: dict[str, Any] = {
            key: [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": sha} for n, sha in refs.items()]
            for key, (folder, refs) in lists.items()
        }
        return 200, {}, answer | {"converts": []}

    def preupload(self, id: str, kinds: str, rev: str) -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id, write=True)
        now = self._at(repo, rev).files
        files = []
        for file in self._json()["files"]:
            path = file["path"]
            sample = base64.b64decode(file["sample"])
            lfs = bool(LFS.search(path)) or file["size"] > LARGE or b"\0" in sample
            old = now.get(path)
            oid = None if old is None else (old.sha256 if old.lfs else old.blob_id)
            mode = "lfs" if lfs else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {}, {"files": files}

    def lfs_batch(self, id: str, kinds: str | None = None) -> tuple[int, dict[str, str], Any]:
        self._repo(kinds, id, write=True)
        objects = []
        for wish in self._json()["objects"]:
            one = {"oid": wish["oid"], "size": wish["size"]}
            if wish["oid"] not in self.hub.objects:
                one["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/upload/{wish['oid']}"},
                    "verify": {"href": f"{self.hub.url}/lfs/verify/{wish['oid']}"},
                }
            objects.append(one)
        return 200, {"Content-Type": "application/vnd.git-lfs+json"}, {"transfer": "basic", "objects": objects}

    def lfs_upload(self, oid: str) -> tuple[int, dict[str, str], Any]:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refused(400, "The content does not have the stated sha256")
        self.hub.objects[oid] = self.body
        return 200, {}, b""

    def lfs_verify(self, oid: str) -> tuple[int, dict[str, str], Any]:
        if len(self.hub.objects.get(oid, b"")) != self._json()["size"]:
            raise _Refused(404, "Object not found")
        return 200, {}, {}

    def lfs_download(self, oid: str) -> tuple[int, dict[str, str], Any]:
        for repo in self.hub.repos.values():
            for commit in repo.commits.values():
                for blob in commit.files.values():
                    if blob.sha256 == oid:
                        return 200, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}, blob.content
        raise _Refused(404, "Object not found")

    def commit(self, id: str, kinds: str, rev: str) -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id, write=True)
        lines = [json.loads(line) for line in self.body.splitlines() if line]
        header = lines[0]["value"]
        head = self._at(repo, rev)
        if header.get("parentCommit") not in (None, head.sha):
            raise _Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines[1:]:
            value = line["value"]
            path = value["path"]
            if line["key"] == "file":
                files[path] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise _Refused(400, f"{path}: the large file was not uploaded")
                files[path] = Blob(self.hub.objects[value["oid"]], True)
            elif line["key"] == "deletedFile":
                if path not in files:
                    raise _Refused(404, "A file with this name doesn't exist", "EntryNotFound")
                del files[path]
            elif line["key"] == "deletedFolder":
                files = {name: blob for name, blob in files.items() if not name.startswith(path.rstrip("/") + "/")}
            else:
                raise _Refused(400, f"unknown operation {line['key']}")
        made = repo.commit(files, header["summary"], rev)
        url = f"{self.hub.url}/{id}/commit/{made.sha}"
        return 200, {}, {"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""}

    def tag(self, id: str, kinds: str, rev: str) -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id, write=True)
        name = self._json()["tag"]
        if name in repo.tags:
            raise _Refused(409, "Tag reference exists already")
        repo.tags[name] = self._at(repo, rev).sha
        return 201, {}, {}

    def branch(self, id: str, kinds: str, rev: str) -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id, write=True)
        repo.branches[rev] = self._at(repo, self._json().get("startingPoint") or "main").sha
        return 201, {}, {}

    def resolve(self, id: str, rev: str, path: str, kinds: str | None = None) -> tuple[int, dict[str, str], Any]:
        repo = self._repo(kinds, id, content=True)
        commit = self._at(repo, rev)
        headers = {"X-Repo-Commit": commit.sha}
        blob = commit.files.get(path)
        if blob is None:
            error = {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return 404, error, {"error": "Entry not found"}
        if not blob.lfs:
            return 200, {**headers, "ETag": f'"{blob.blob_id}"', "Accept-Ranges": "bytes"}, blob.content
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        return 302, {**headers, "Location": f"{self.hub.cdn}/lfs/download/{blob.sha256}"}, b""

    def variables(self, id: str) -> tuple[int, dict[str, str], Any]:
        repo = self._repo("spaces", id, write=True)
        if self.command == "POST":
            repo.variables[self._json()["key"]] = self._json()["value"]
        elif self.command == "DELETE":
            repo.variables.pop(self._json()["key"], None)
        return 200, {}, {key: {"value": value} for key, value in repo.variables.items()}

    def secrets(self, id: str) -> tuple[int, dict[str, str], Any]:
        self._repo("spaces", id, write=True).secrets[self._json()["key"]] = self._json()["value"]
        return 200, {}, {}

    def hardware(self, id: str) -> tuple[int, dict[str, str], Any]:
        self._repo("spaces", id, write=True).hardware = self._json()["flavor"]
        return self.runtime(id)

    def runtime(self, id: str) -> tuple[int, dict[str, str], Any]:
        flavor = self._repo("spaces", id).hardware
        return 200, {}, {"stage": "RUNNING", "hardware": {"current": flavor, "requested": flavor}, "storage": None}


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A running Hub that this process and its children use, with the account "me" logged in to it."""
    with LoopbackHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.account("me", token="hf_write"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))  # the children's cache and login
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
            monkeypatch.delenv(name, raising=False)
        # The client in this process read its variables when it was imported.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf_home" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf_home" / "token"))
        yield hub


def sentence(error: pytest.ExceptionInfo[Any]) -> str:
    """The text of a HubError, which must be one sentence."""
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text and text.endswith((".", ". ")), text
    return text


def write_model(folder: Path, seed: int = 1, *, figures: tuple[str, ...] = ("roc.png",), **changes: Any) -> Path:
    """A complete artifact folder whose ONNX files are mere bytes: enough for all that the Hub sees."""
    config: dict[str, Any] = {
        "name": "tiny",
        "created": f"2026-01-{seed:02d}T00:00:00+00:00",
        "classes": ["a", "b"],
        "preprocessing": {"name": "none", "image_size": 16},
        "classifier": {"architecture": "tiny", "arguments": {}, "parameters": 1},
        "segmenter": {"architecture": "tiny", "arguments": {}, "parameters": 1, "trained_on": "masks"},
        "temperature": 1.0,
        "thresholds": {"mask": 0.5, "min_fraction": 0.0, "abstain": 0.5, "tumor": 0.5},
    } | changes
    with artifact.new_artifact(folder, config) as staging:
        for name in ("classifier.onnx", "segmenter.onnx", "classifier.weights.h5"):
            (staging / name).write_bytes(b"\0" + f"{name} {seed} ".encode() * 2000)
        (staging / "figures").mkdir()
        for name in figures:
            (staging / "figures" / name).write_bytes(b"\x89PNG\0" + name.encode())
        files.write_json(staging / "metrics.json", {"accuracy": seed / 10})
        (staging / "README.md").write_text(f"---\nlicense: mit\n---\n# Run {seed}\n", encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    with LoopbackHub(parser.parse_args().port) as hub:
        hub.account("me", token="hf_write")
        print(f"export HF_ENDPOINT={hub.url} HF_TOKEN=hf_write HF_HUB_DISABLE_XET=1", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
