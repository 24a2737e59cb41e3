"""Agents: the named endpoints as tools of an MCP server (Gradio's), and files that are handed in, never fetched.

    python app.py --mcp        # http://127.0.0.1:7860/gradio_api/mcp/

Gradio downloads a file whose path is an address; so anybody could let this server look into places that only it can
reach. Here an address counts only where it is that of an upload to this server, whose path it holds; nothing is fetched
for any event, of the page, a program or an agent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote

import gradio as gr
import gradio.mcp
from gradio.utils import get_upload_folder, is_in_or_equal
from gradio_client import Client
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from brain_mri.imaging.scan import ScanError
from brain_mri.ui.common import output_folder

VARIABLES = ("BRAIN_MRI_MCP", "GRADIO_MCP_SERVER")  # ours, and Gradio's own
INSTALL = 'pip install "gradio[mcp]>=6.24,<7"'
MISSING = f"The MCP server needs one more package, mcp: {INSTALL}"
NO_PASSWORDS = (
    "An MCP server cannot ask for passwords: start it without --auth where only you can reach it, or leave out --mcp."
)
NOT_FETCHED = (
    "This server fetches nothing from other addresses: upload the file to it, or send its content as data:;base64,..."
)
NO_UPLOAD = "That file is not among the uploads of this server, which are kept for an hour; please upload it again."
NO_CONTENT = "The file is no valid base64; send its content as data:;base64,..."
HOW = (
    "A file is uploaded first (POST to /gradio_api/upload of this server); an agent gives the path or the address of "
    "that upload, or the content of up to 3 MB as data:;base64,... No other address is fetched."
)
_UPLOADS = "/file="  # in the address of an upload, before its path


# --- files -----------------------------------------------------------------------------------------------------


def uploads_of(inputs: Any) -> Any:
    """What an event was given, the address of an upload to this server replaced by its path. Raises ScanError for every
    other address."""
    return traverse(inputs, _with_path, lambda value: isinstance(value, dict) and _is_address(value.get("path")))


def _with_path(file: dict[str, Any]) -> dict[str, Any]:
    path = unquote(file["path"].partition(_UPLOADS)[2])
    if not path or _is_address(path):
        raise ScanError(NOT_FETCHED)
    if "\0" in path or not is_in_or_equal(path, get_upload_folder()) or not os.path.isfile(path):
        raise ScanError(NO_UPLOAD)
    return file | {"path": path, "url": None}


def _is_address(path: object) -> bool:
    return isinstance(path, str) and path.strip().lower().startswith(("http:", "https:"))


# --- tools -----------------------------------------------------------------------------------------------------


class Tools(gradio.mcp.GradioMCPServer):
    """Gradio's MCP server with a form of its own for files, in and out: Gradio's asks for addresses to fetch, refuses
    whatever is given where several files may be, and hands out several answers as one text of Python."""

    def get_input_schema(
        self, tool_name: str, parameters: dict[str, str] | None = None
    ) -> tuple[dict[str, Any], list[list[str | int]]]:
        """(JSON schema of the arguments of a tool, where files are in it)."""
        schema, _ = super().get_input_schema(tool_name, parameters)
        places: list[list[str | int]] = []
        for part in self.api_info["named_endpoints"][self.tool_to_endpoint[tool_name]]["parameters"]:
            name, several = part["parameter_name"], part["type"].get("type") == "array"
            if part["component"] == "File":
                places.append([name])
                form = {"type": "array", "items": {"type": "string"}} if several else {"type": "string"}
                schema["properties"][name] = form | {"description": schema["properties"][name].get("description", "")}
        return schema, places

    def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
        given = {str(name): value[name] for (name,) in filedata_positions if name in value}
        return value | {
            name: [_file(one) for one in files] if isinstance(files, list) else _file(files)
            for name, files in given.items()
        }

    def _get_or_create_client(self) -> Client:
        """Made at the start: Gradio makes one at the first call, in a thread that the page needs to answer it, so that
        forty first calls at once stop both."""
        if self._client_instance is None:
            self._client_instance = Client(
                self.local_url or "",
                download_files=False,
                verbose=False,
                analytics_enabled=False,
                ssl_verify=False,
                _skip_components=False,
                headers={"x-gradio-user": "mcp"},
            )
        return self._client_instance

    async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
        """Gradio's waits in one of the threads that hand out the page, of which there are forty."""
        with _ends_with(job):
            return [await asyncio.wrap_future(job.future)]

    async def _execute_tool_with_progress(self, job: Any, progress_token: str | int) -> Any:
        with _ends_with(job):
            return await super()._execute_tool_with_progress(job, progress_token)

    def postprocess_output_data(self, data: Any, root_url: str) -> list[Any]:
        return super().postprocess_output_data(list(_flat(data)), root_url)


def _file(text: str) -> dict[str, Any]:
    """A file as Gradio's client takes it, of its content, its address or its path. Raises ScanError.

    The client runs in this process and reads the files whose paths it is given: a path travels as an address, which
    uploads_of judges, and so does what is no address for the client ("HTTP://...").
    """
    if text.startswith("data:"):
        try:
            content = base64.b64decode(text.partition(",")[2])
        except ValueError:
            raise ScanError(NO_CONTENT) from None
        text = str(output_folder() / "file")
        Path(text).write_bytes(content)
    path = text if is_http_url_like(text) else f"http://upload{_UPLOADS}{quote(text)}"
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@contextlib.contextmanager
def _ends_with(job: Any) -> Iterator[None]:
    """The work ends when the agent leaves, which Gradio does not see to."""
    try:
        yield
    except asyncio.CancelledError:
        asyncio.get_running_loop().run_in_executor(None, job.cancel)  # it asks this server and waits
        raise


def _flat(data: Any) -> Iterator[Any]:
    """Every file by itself, everything else as JSON."""
    for one in data:
        if isinstance(one, list | tuple):
            yield from _flat(one)
        else:
            yield one if is_file_obj_with_meta(one) else json.dumps(one, ensure_ascii=False)


# --- the start -------------------------------------------------------------------------------------------------


def wanted(asked: bool | None) -> bool:
    """Whether to be an MCP server: as asked, else as the environment says."""
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in VARIABLES) if asked is None else asked


@contextlib.contextmanager
def serving(page: gr.Blocks, auth: object) -> Iterator[None]:
    """Around the launch of a page as an MCP server. Raises ValueError with a sentence when it cannot be one."""
    if importlib.util.find_spec("mcp") is None:
        raise ValueError(MISSING)
    if auth:  # Gradio mounts the server outside of its sign-in, and its own calls have no password
        raise ValueError(NO_PASSWORDS)
    with mock.patch.object(gradio.mcp, "GradioMCPServer", Tools):  # Gradio asks nobody which class to take
        yield
    if page.mcp_error:  # Gradio goes on without
        page.close(verbose=False)
        raise ValueError(f"The MCP server could not be started ({page.mcp_error}); {INSTALL}")
    if page.mcp_server_obj:
        with contextlib.suppress(Exception):  # on a busy machine; then the first call makes it
            page.mcp_server_obj._get_or_create_client()
