"""Agents at an MCP server, and addresses that nobody fetches. Of these, the tests with the `mcp` client run where it is
installed (.ci/run makes an environment for them)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio.mcp
import gradio.processing_utils
import httpx
import pytest
import safehttpx
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from brain_mri.artifact.folder import BUNDLED
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import Gone
from brain_mri.ui import agents
from brain_mri.ui.page import Page, build_interface
from tests.helpers.files import EXAMPLES

needs_mcp = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="needs gradio[mcp]")
TOOLS = {"analyze", "segment", "heatmap", "report", "volume", "batch", "model"}
PICTURE = next(path for path in EXAMPLES if path.suffix == ".jpg")
VOLUME = next(path for path in EXAMPLES if path.name.endswith(".nii.gz"))


@pytest.fixture(scope="module")
def model() -> Predictor:
    return Predictor.load(BUNDLED)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """(the address of another server with a picture, also behind a redirect; what it was asked for)."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            moved = self.path.startswith("/moved")
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", "/slice.jpg")
            self.end_headers()
            self.wfile.write(b"" if moved else PICTURE.read_bytes())

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


@pytest.fixture(scope="module")
def server(model: Predictor, request: pytest.FixtureRequest) -> Iterator[str]:
    """A page, with an MCP server where that can be. Gradio's own guard against private addresses is off: else nothing
    here would be fetched anyway."""

    async def anything(host: str) -> str:
        return host

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradio.processing_utils, "PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])
        patch.setattr(safehttpx, "async_validate_url", anything)
        page = build_interface(model)
        able = importlib.util.find_spec("mcp") is not None
        yield str(page.launch(prevent_thread_lock=True, quiet=True, mcp_server=able)[1]).rstrip("/")
        page.close()


def uploaded(server: str, path: Path) -> str:
    return httpx.post(f"{server}/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).json()[0]


def content(path: Path) -> str:
    return f"data:;base64,{base64.b64encode(path.read_bytes()).decode()}"


# --- nothing is fetched ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/slice.jpg", "/moved/slice.jpg", "/gradio_api/file=/etc/hostname"])
def test_addresses_are_not_fetched(server: str, elsewhere: tuple[str, list[str]], place: str) -> None:
    address, asked = elsewhere[0] + place, elsewhere[1]
    asked.clear()
    client = Client(server, verbose=False)
    sentence = agents.NO_UPLOAD if "file=" in place else agents.NOT_FETCHED
    with pytest.raises(AppError, match=sentence[:40]):
        client.predict(handle_file(address), None, None, api_name="/analyze")
    with pytest.raises(AppError, match=sentence[:40]):
        client.predict([handle_file(PICTURE), handle_file(address)], api_name="/batch")
    meta: dict[str, Any] = {"meta": {"_type": "gradio.FileData"}}
    given = uploaded(server, PICTURE)
    for file in (
        {"path": address} | meta,
        {"path": address.upper().replace("HTTP", "hTTp")} | meta,
        {"path": address, "is_stream": True} | meta,
        {"path": address, "url": address} | meta,
        {"path": address},
        {"path": f"file://{PICTURE}"} | meta,
        {"path": f"{server}/gradio_api/file={address}"} | meta,
        address,
    ):
        event = httpx.post(f"{server}/gradio_api/call/analyze", json={"data": [file, None, None]}).json()["event_id"]
        assert "event: error" in httpx.get(f"{server}/gradio_api/call/analyze/{event}", timeout=60).text, file
    good = {"path": given, "url": address} | meta  # the address beside the path counts for nothing
    event = httpx.post(f"{server}/gradio_api/call/analyze", json={"data": [good, None, None]}).json()["event_id"]
    assert "event: complete" in httpx.get(f"{server}/gradio_api/call/analyze/{event}", timeout=60).text
    for way in ("file=", "file/", "proxy=", "file%3D", "file=%20"):
        answer = httpx.get(f"{server}/gradio_api/{way}{address}")
        assert answer.status_code in (400, 403, 404), way
        assert httpx.head(f"{server}/gradio_api/{way}{address}").status_code in (400, 403, 404, 405)
    assert asked == []
    assert httpx.get(f"{server}/gradio_api/file={given}").content == PICTURE.read_bytes()


def test_events_of_the_page_fetch_nothing_either(server: str, elsewhere: tuple[str, list[str]]) -> None:
    elsewhere[1].clear()
    config = httpx.get(f"{server}/config").json()
    kinds = {part["id"]: part["type"] for part in config["components"]}
    events = [d for d in config["dependencies"] if d["inputs"] and "file" in [kinds[i] for i in d["inputs"]]]
    assert len(events) > 6  # those of the tabs, and the endpoints
    for event in events:
        file = {"path": f"{elsewhere[0]}/events/slice.jpg", "meta": {"_type": "gradio.FileData"}}
        data = [file if kinds[i] == "file" else None for i in event["inputs"]]
        body = {"data": data, "fn_index": event["id"], "session_hash": "someone", "trigger_id": None}
        assert httpx.post(f"{server}/gradio_api/queue/join", json=body).status_code == 200
    stream = httpx.stream("GET", f"{server}/gradio_api/queue/data?session_hash=someone", timeout=60)
    with stream as answers:
        done = 0
        for line in answers.iter_lines():
            done += '"process_completed"' in line
            if done == len(events):
                break
    assert elsewhere[1] == []


def test_the_address_of_an_upload_is_its_path(tmp_path: Path) -> None:
    folder = Path(get_upload_folder()) / "0a"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "a b ü.png"
    file.write_bytes(b"1")
    given = {"path": f"https://any.host/root/gradio_api/file={file}", "meta": {}, "url": "x"}
    assert agents.uploads_of([given, None, [given, 3]])[2][0] == given | {"path": str(file), "url": None}
    assert agents.uploads_of([{"path": str(file)}, "http://text.of/a/box", {"pick": 1}]) == [
        {"path": str(file)}, "http://text.of/a/box", {"pick": 1},
    ]  # fmt: skip
    for path in (f"{folder}/../../other", "/etc/hostname", f"{folder}", f"{folder}/none.png"):
        with pytest.raises(ScanError):
            agents.uploads_of([{"path": f"http://h/gradio_api/file={path}"}])


# --- the start -------------------------------------------------------------------------------------------------


def test_what_keeps_an_mcp_server_from_starting_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert app.main(list(arguments)) == 1
        return capsys.readouterr().err

    monkeypatch.setattr(app.lifetime, "tidy_process", contextlib.nullcontext)  # the folder of this process stays
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refused("--mcp") == f"error: {agents.MISSING}\n"
    monkeypatch.setenv("BRAIN_MRI_MCP", "1")
    assert refused() == f"error: {agents.MISSING}\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert refused("--auth", "ada:secret") == f"error: {agents.NO_PASSWORDS}\n"
    monkeypatch.setenv("BRAIN_MRI_AUTH", "ada:secret")
    assert refused() == f"error: {agents.NO_PASSWORDS}\n"
    assert gradio.mcp.GradioMCPServer is not agents.Tools


def test_it_starts_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Page.__mro__[1], "launch", lambda self, **options: asked.append(options["mcp_server"]))
    build_interface(BUNDLED).launch()
    monkeypatch.setenv("BRAIN_MRI_MCP", "0")
    build_interface(BUNDLED).launch()
    assert asked == [False, False]
    assert agents.wanted(True) and not agents.wanted(None)
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    assert agents.wanted(None) and not agents.wanted(False)


# --- with the mcp client ---------------------------------------------------------------------------------------


def talk(server: str, conversation: Callable[[Any], Any], place: str = "/gradio_api/mcp/") -> Any:
    """What an agent gets to know: conversation(session) -> a coroutine."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def main() -> Any:
        async with streamablehttp_client(f"{server}{place}") as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return await conversation(session)

    return asyncio.run(main())


def call(server: str, tool: str, **arguments: Any) -> Any:
    return talk(server, lambda session: session.call_tool(tool, arguments))


def texts(result: Any) -> list[str]:
    return [part.text for part in result.content if part.type == "text"]


@needs_mcp
def test_exactly_the_endpoints_are_tools_and_each_argument_is_described(server: str) -> None:
    tools = talk(server, lambda session: session.list_tools()).tools
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert len(tool.description) > 40, tool.name
        for name, argument in tool.inputSchema["properties"].items():
            assert len(argument.get("description", "")) > 20, (tool.name, name)
            assert "format" not in argument and "url" not in json.dumps(argument).lower(), argument
        if tool.name != "model":
            assert agents.HOW in tool.description and len(tool.inputSchema["required"]) == 1


@needs_mcp
def test_a_file_is_handed_in_by_content_by_upload_or_by_its_path(server: str, model: Predictor) -> None:
    path = uploaded(server, PICTURE)
    own = model.analyze(read_scan(PICTURE))
    for file in (content(PICTURE), path, f"{server}/gradio_api/file={path}"):
        answer = call(server, "analyze", scan=file)
        data = json.loads(texts(answer)[0])
        assert not answer.isError and data["label"] == own.label and data["tumor_pixels"] == own.measures.pixels
        pictures = [part for part in answer.content if part.type == "image"]
        assert len(pictures) == 2 and base64.b64decode(pictures[0].data)[:4] == b"\x89PNG"
        for text in texts(answer)[1:]:
            assert httpx.get(text.removeprefix("Image URL: ")).headers["content-type"] == "image/png"


@needs_mcp
def test_several_files_and_several_answers(server: str) -> None:
    answer = call(server, "volume", files=[content(VOLUME)])
    data, *files = texts(answer)
    assert not answer.isError and len(json.loads(data)["per_slice"]) == json.loads(data)["slices"]
    assert [url.rpartition("_")[2] for url in files] == ["mask.nii.gz", "slices.csv", "volume.json"]
    assert httpx.get(files[0]).content[:2] == b"\x1f\x8b"
    answer = call(server, "batch", files=[content(PICTURE), uploaded(server, VOLUME)])
    rows = json.loads(texts(answer)[0])["rows"]
    assert len(rows) == 2 and not any("error" in row for row in rows)
    assert len(texts(call(server, "report", scan=content(PICTURE)))) == 3


@needs_mcp
def test_agents_cannot_make_it_fetch_or_read(server: str, elsewhere: tuple[str, list[str]], tmp_path: Path) -> None:
    elsewhere[1].clear()
    secret = tmp_path / "slice.jpg"
    secret.write_bytes(PICTURE.read_bytes())  # a picture that it could read
    bad = [f"{elsewhere[0]}/slice.jpg", f"{elsewhere[0]}/moved/slice.jpg", f"file://{secret}", str(secret), "slice.jpg"]
    bad += [f"{server}/gradio_api/file={secret}", f"{server}/gradio_api/file={elsewhere[0]}/slice.jpg", ""]
    bad += [bad[0].upper(), f" {bad[0]}", f"HTTP:{secret}", "http://[", f"{secret}\0", f"http://a/file={secret}%00"]
    for file in bad:
        answer = call(server, "analyze", scan=file)
        assert answer.isError and texts(answer)[0] in (agents.NOT_FETCHED, agents.NO_UPLOAD), file
        assert call(server, "volume", files=[file]).isError and call(server, "batch", files=[file]).isError
    assert elsewhere[1] == []
    assert texts(call(server, "analyze", scan="data:;base64,%%%a")) == [agents.NO_CONTENT]


@needs_mcp
def test_errors_are_sentences_for_agents_too(server: str) -> None:
    text = base64.b64encode(b"dear doctor").decode()
    answer = call(server, "analyze", scan=f"data:text/plain;base64,{text}")
    assert answer.isError and "none of the formats" in texts(answer)[0]
    answer = call(server, "segment", scan=content(PICTURE), threshold=3)
    assert answer.isError and "between 0 and 1" in texts(answer)[0]
    assert "Traceback" not in str(answer)


@needs_mcp
def test_what_only_looks_like_an_address_is_no_path_for_the_client(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradio's client, which runs in the server, takes it for one of its own files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "HTTP:").mkdir()
    (tmp_path / "HTTP:" / "slice.jpg").write_bytes(PICTURE.read_bytes())
    for path in ("HTTP:/slice.jpg", "HTTP:slice.jpg"):
        answer = call(server, "analyze", scan=path)
        assert answer.isError and texts(answer) == [agents.NOT_FETCHED]


@needs_mcp
def test_more_agents_at_once_than_the_page_has_threads(model: Predictor) -> None:
    """Each kept one of the forty that hand out the page, and waited for an answer which needs another one of them."""
    page = build_interface(model)
    address = str(page.launch(prevent_thread_lock=True, quiet=True, mcp_server=True)[1]).rstrip("/")

    async def conversation(session: Any) -> list[Any]:
        return list(await asyncio.gather(*(session.call_tool("model", {}) for _ in range(45))))

    try:
        assert [texts(answer) for answer in talk(address, conversation) if answer.isError] == []
    finally:
        page.close()


@needs_mcp
@pytest.mark.parametrize("progress", [False, True])
def test_the_work_ends_when_the_agent_leaves(server: str, monkeypatch: pytest.MonkeyPatch, progress: bool) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(model: Predictor, volume: object, step: Callable[[int, int], None]) -> None:
        begun.set()
        try:
            while not ended.wait(0.02):
                step(1, 2)
        except Gone:
            ended.set()
            raise

    async def conversation(session: Any) -> None:
        heard: dict[str, Any] = {"progress_callback": lambda *_: asyncio.sleep(0)} if progress else {}
        asked = asyncio.create_task(session.call_tool("volume", {"files": [content(VOLUME)]}, **heard))
        await asyncio.to_thread(begun.wait, 60)
        asked.cancel()

    monkeypatch.setattr("brain_mri.ui.api.analyze_volume", endless)
    talk(server, conversation)
    left = ended.wait(60)
    ended.set()  # else it would go on
    assert begun.is_set() and left


@needs_mcp
def test_what_agents_hand_in_lies_where_it_is_deleted(server: str) -> None:
    before = set(Path(gradio.mcp.DEFAULT_TEMP_DIR).rglob("*"))
    call(server, "analyze", scan=content(EXAMPLES[0]))
    assert set(Path(gradio.mcp.DEFAULT_TEMP_DIR).rglob("*")) == before  # which is outside of the private folder
    kept = [path for path in Path(get_upload_folder()).rglob("*") if path.is_file()]
    assert any(path.read_bytes() == EXAMPLES[0].read_bytes() for path in kept)


@needs_mcp
def test_the_page_is_what_it_was(server: str) -> None:
    answer = httpx.get(server)
    assert answer.status_code == 200 and "Content-Security-Policy" in answer.headers
    assert "Content-Security-Policy" in httpx.get(f"{server}/gradio_api/mcp/").headers
