"""What every tab and endpoint shares: failures as sentences, uploads and their names, a folder for downloads."""

from __future__ import annotations

import functools
import hashlib
import html
import logging
import os
import re
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from brain_mri.artifact.hub_client import HubError
from brain_mri.files import FileError
from brain_mri.imaging.scan import ScanError, clean_name
from brain_mri.ui import lifetime
from brain_mri.ui.html import banner, safe
from brain_mri.ui.places import Places

log = logging.getLogger("brain_mri")
UNEXPECTED = "Something went wrong that should not have; the details are in the server's log. Please try another file."
Update = dict[Any, Any]  # {component: its new value}; the other outputs of an event stay as they are
# How the page's own events run; none of them is an endpoint.
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
DRAW: dict[str, Any] = QUIET | {"concurrency_id": "draw"}
MODEL: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model"}
HEAVY: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "heavy", "concurrency_limit": 2}
UNHEARD = 120  # messages of a request that nobody has read, two a second, after which it counts as left
# Who works is decided by places.py.
TURN: dict[str, Any] = {"concurrency_id": "turn", "concurrency_limit": None}
# For gr.HTML: a click on what is marked with data-pick is a `select` event that says on what and where, 0..1.
PICK = """element.addEventListener('click', (event) => {
  const place = event.target.closest('[data-pick]');
  if (!place) return;
  const box = place.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  trigger('select', {pick: place.dataset.pick, x, y});
});"""

# --- failures --------------------------------------------------------------------------------------------------


def sentence_of(error: Exception) -> str:
    """The message for a person. An unexpected error is logged with its traceback and admitted, never shown."""
    if isinstance(error, (ScanError, FileError, HubError)):
        return str(error)
    if isinstance(error, MemoryError):
        return "This file needs more memory than the server has; please try a smaller one."
    # Where it happened, but not its message, which may quote the name of a file
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected error: %s\n%s", type(error).__name__, where)
    return UNEXPECTED


def speaking(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of an event handler or endpoint: its exceptions become gr.Error with a sentence.

    Gradio masks the text of every other exception.
    """

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            lifetime.go_on()
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise spoken(error) from None

    return wrapped


def spoken(error: Exception) -> gr.Error:
    """Gradio shows the message as HTML, and it may quote a file name."""
    return gr.Error(html.escape(sentence_of(error), quote=False), print_exception=False)


def settled(handler: Callable[..., Any], failed: Callable[[str], Any]) -> Callable[..., Any]:
    """The one error path of a tab: an exception of the handler becomes failed(sentence), with empty panels."""

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            lifetime.go_on()
            return handler(*args, **kwargs)
        except Exception as error:
            return failed(sentence_of(error))

    return wrapped


def no_download(message: str) -> gr.File:
    """In place of files that could not be made: none, not those of before."""
    gr.Warning(html.escape(message, quote=False))
    return gr.File(visible=False)


# --- a new file ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Upload:
    """What a visitor has chosen last, in a gr.State of the tab. given_up: something else has been chosen since;
    done: it is being analysed, or was."""

    paths: list[str]
    given_up: bool = False
    done: bool = False

    @staticmethod
    def instead_of(before: Upload | None, paths: Sequence[str | Path]) -> Upload:
        if before:
            before.given_up = True
        return Upload([str(path) for path in paths])


def newest(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, whose first argument is an Upload; it shows nothing when that was given up in the meantime."""

    @functools.wraps(handler)
    def wrapped(upload: Upload | None, *args: Any) -> Any:
        updates = handler(upload, *args)
        if upload is None:
            return updates
        return gr.skip() if upload.given_up else with_names(updates, upload.paths)

    return wrapped


Start = tuple[Callable[..., Any], Callable[..., Any], Any]  # an event, its quick handler, the inputs of that


def analyzed(
    starts: Sequence[Start],
    run: Callable[..., Update],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    on: Any,
    **options: Any,
) -> None:
    """Each start empties the tab at once, whatever the file turns out to be; then `run` analyses it, showing progress.

    inputs: the Upload first. What is worked out for one that was given up is not shown: it would stand beside the name
    of another file.
    """

    @functools.wraps(run)
    def once(upload: Upload | None, *args: Any) -> Update:
        if upload is None or upload.given_up or upload.done:
            return gr.skip()
        upload.done = True
        return run(upload, *args)

    _begin(starts, newest(once), inputs, outputs, show_progress_on=[on], **options)


def _begin(starts: Sequence[Start], then: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> None:
    for event, handler, given in starts:
        begun = event(handler, given, outputs, **QUIET | {"queue": False, "trigger_mode": "multiple"})
        begun.then(then, inputs, outputs, trigger_mode="multiple", **options)


def analyzed_in_turn(
    starts: Sequence[Start],
    places: Places,
    weigh: Callable[[Upload], int],
    run: Callable[..., Update],
    failed: Callable[[str], Update],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    on: Any,
) -> None:
    """`analyzed` for what takes long: run(step, upload, ...) waits for a place, and the banner `on` says how far it is.
    It ends when the visitor leaves or chooses something else. weigh: see Places.turn."""

    async def in_turn(request: gr.Request, upload: Upload | None, *args: Any) -> AsyncIterator[Update]:
        if upload is None or upload.given_up or upload.done:
            yield gr.skip()
            return
        upload.done = True
        try:
            async with places.turn(
                visitor(request), lambda: weigh(upload), lambda step: run(step, upload, *args)
            ) as steps:
                async for said, answer in steps:
                    if upload.given_up:
                        return
                    if answer is None:
                        heard(request)
                    yield {on: working(upload, said)} if answer is None else with_names(answer, upload.paths)
        except Exception as error:
            if not upload.given_up:
                yield with_names(failed(sentence_of(error)), upload.paths)

    options: dict[str, Any] = TURN | QUIET
    _begin(starts, in_turn, inputs, outputs, **options)


def visitor(request: gr.Request) -> str:
    """Who asks: the name that was signed in with, which a group may share, at one address; else the open page or the
    program's connection."""
    if request.username:
        return f"{request.username} {request.client.host if request.client else ''}"
    return request.session_hash or ""


def heard(request: gr.Request) -> None:
    """Raises ScanError when nobody listens: Gradio notices a connection that ends, but not one that never began."""
    queue, who = request.app.get_blocks()._queue, request.session_hash
    messages, requests = queue.pending_messages_per_session.get(who), queue.pending_event_ids_session.get(who, ())
    if messages and messages.qsize() > UNHEARD * max(1, len(requests)):
        raise ScanError("Nobody has listened for the answer for a minute, so it is not worked out.")


def working(upload: Upload, detail: str = "") -> str:
    """The banner while it is read and analysed."""
    return banner("", "Working", f"Reading and analysing {name_of(upload.paths)}.", detail)


# --- names -----------------------------------------------------------------------------------------------------

LABEL = re.compile(r"scan-[0-9a-f]{10}")  # see label_of


def name_of(paths: Sequence[str], named: bool = True) -> str:
    """Of an upload; the folders in which the server keeps its files are no names. named: else by its content."""
    first = clean_name(paths[0]) if named else label_of(paths[0])
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def label_of(path: str | Path) -> str:
    """A name by content. Answers, files and errors carry it unless a visitor asks for the names of the files, which
    may be those of persons; the visitor's own page shows both alike, see with_names."""
    try:
        state = os.stat(path)
        return _label(str(path), state.st_size, state.st_mtime_ns)
    except OSError:  # gone; its reader says so
        return "scan"


@functools.lru_cache(4096)
def _label(path: str, *_: int) -> str:
    with open(path, "rb") as file:
        return f"scan-{hashlib.file_digest(file, 'sha256').hexdigest()[:10]}"


def with_names(updates: Any, paths: Sequence[str]) -> Any:
    """Updates of the page with the names of the visitor's own files in place of those by content."""
    if not isinstance(updates, dict):
        return updates
    names = {label_of(path): safe(clean_name(path)) for path in paths}

    def told(value: Any) -> Any:
        return LABEL.sub(lambda m: names.get(m[0], m[0]), value) if isinstance(value, str) else value

    return {key: told(value) for key, value in updates.items()}


def names_box(
    name: str,
    label: str = "Names of my files in downloads",
    info: str = "Else they are named by content. Counts for the next file.",
) -> gr.Checkbox:
    """The question whether downloads may carry the names of files. name: the beginning of the element's id."""
    return gr.Checkbox(False, label=label, info=info, elem_id=f"{name}-names", min_width=240)


def seg_box(name: str) -> gr.Checkbox:
    """The question whether downloads may hold a DICOM-SEG, which tells whose scan it is. name: see names_box."""
    info = "DICOM only. For hospital viewers; it holds name, number and dates of the patient as your files do."
    there = find_spec("highdicom") is not None
    return gr.Checkbox(False, label="Also the mask as DICOM-SEG", info=info, elem_id=f"{name}-seg", visible=there)


# --- downloads -------------------------------------------------------------------------------------------------


def output_folder() -> Path:
    """A new empty folder that cannot be guessed, where Gradio serves files; keeping.py deletes them."""
    Path(get_upload_folder()).mkdir(exist_ok=True)  # without parents: the private folder is not made again at the end
    return Path(tempfile.mkdtemp(prefix="out-", dir=get_upload_folder()))


def download_box(elem_id: str, label: str = "Download") -> gr.File:
    """Hidden until there is something to download."""
    return gr.File(label=label, file_count="multiple", interactive=False, visible=False, elem_id=elem_id)
