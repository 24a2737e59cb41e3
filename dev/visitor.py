"""A visitor of the page without a browser: the same requests over HTTP, in a session of its own.

with Visitor("http://127.0.0.1:7860") as ada:
    said = ada.choose("scan-file", Path("slice.png"))     # every text that the page would show then
    said = ada.fire("Mask threshold", "input", 0.3)
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

Data = dict[str, Any]


class Failed(Exception):
    """The server answered with something else than a page shows: an error of Gradio, a broken stream."""


class Visitor:
    """One open page. Use it as a context manager: leaving closes the page."""

    def __init__(self, url: str, timeout: float = 300, sign_in: tuple[str, str] | None = None):
        """sign_in: name and password."""
        self.session = uuid.uuid4().hex
        self.http = httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=False)
        if sign_in:
            self.http.post("/login", data=dict(zip(("username", "password"), sign_in, strict=True))).raise_for_status()
        config = self.http.get("/config").raise_for_status().json()
        self._blocks: dict[int, Data] = {block["id"]: block["props"] for block in config["components"]}
        self._events: list[Data] = config["dependencies"]
        self._values = {i: props.get("value") for i, props in self._blocks.items()}
        beat = self.http.build_request("GET", f"/gradio_api/heartbeat/{self.session}")
        self._beat = self.http.send(beat, stream=True)  # until it is closed, the page counts as open

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._beat.close()
        self.http.close()

    def send(self, path: Path) -> Data:
        """Upload a file -> how later requests name it."""
        answer = self.http.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
        return named(answer.raise_for_status().json()[0])

    def choose(self, box: str, *paths: Path, sent: bool = False) -> str:
        """Choose files in a file box, as one does with the mouse; sent: they lie on the server already."""
        files = [named(str(path)) if sent else self.send(path) for path in paths]
        several = self._blocks[self._find(box)].get("file_count") == "multiple"
        return self.fire(box, "upload", files if several else files[0])

    def fire(self, name: str, event: str, value: Any = None, data: Any = None) -> str:
        """An event of the component with this elem_id or label and what follows from it: the texts that are shown then.

        value: its new one; data: of the event itself. Raises Failed.
        """
        block, said = self._find(name), list[str]()
        if value is not None:
            self._values[block] = value
        todo = [e for e in self._events if [block, event] in [list(target) for target in e["targets"]]]
        while todo:
            dependency = todo.pop(0)
            said += self._run(dependency, block, data)
            todo += [e for e in self._events if e.get("trigger_after") == dependency["id"]]
        return "\n".join(said)

    @contextlib.contextmanager
    def begun_upload(self, box: str, path: Path) -> Iterator[None]:
        """Choose a file and listen to what is said of it, but only for the block."""
        block, file = self._find(box), self.send(path)
        self._values[block] = [file] if self._blocks[block].get("file_count") == "multiple" else file
        first = next(e for e in self._events if [block, "upload"] in [list(target) for target in e["targets"]])
        list(self._run(first, block, None))
        then = next(e for e in self._events if e.get("trigger_after") == first["id"])
        self._join(self._body(then, block, None))
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}):
            yield

    def _find(self, name: str) -> int:
        return next(i for i, props in self._blocks.items() if name in (props.get("elem_id"), props.get("label")))

    def _body(self, dependency: Data, trigger: int, data: Any) -> Data:
        values = [self._values[i] for i in dependency["inputs"]]
        own = {"fn_index": dependency["id"], "trigger_id": trigger, "session_hash": self.session}
        return own | {"data": values, "event_data": data}

    def _join(self, body: Data) -> str:
        return str(self.http.post("/gradio_api/queue/join", json=body).raise_for_status().json()["event_id"])

    def _run(self, dependency: Data, trigger: int, data: Any) -> Iterator[str]:
        body = self._body(dependency, trigger, data)
        if dependency["queue"] is False:
            answer = self.http.post("/gradio_api/run/predict", json=body).raise_for_status().json()
        else:
            answer = self._completed(self._join(body))
        for block, update in zip(dependency["outputs"], answer.get("data", ()), strict=False):
            changed = isinstance(update, dict) and update.get("__type__") == "update"
            if changed and "value" not in update:
                continue
            self._values[block] = value = update["value"] if changed else update
            if isinstance(value, str):
                yield value

    def _completed(self, event: str) -> Data:
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.raise_for_status().iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message.get("event_id") == event:
                    if not message["success"]:
                        raise Failed(str(message["output"].get("error")))
                    return dict(message["output"])
                if message.get("msg") == "unexpected_error":
                    raise Failed(str(message.get("message")))
        raise Failed("The stream ended before the answer.")


def named(path: str) -> Data:
    return {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}
