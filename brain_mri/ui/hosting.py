"""What the computer that serves the page asks for: who may enter, a quick start, flat memory, ZeroGPU hardware."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import hmac
import inspect
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

OWN_MACHINE = ("127.0.0.1", "localhost", "::1", "[::1]")
FOR_ALL = (
    "The tab Label shows the pictures of a folder and writes beside it, so it is for this machine alone: with --share, "
    "on a Space or at an address for other machines it needs --auth USER:PASSWORD."
)
_ARENA_MAX = -8  # M_ARENA_MAX of glibc's <malloc.h>


def credentials(text: str | None) -> Callable[[str, str], bool] | None:
    """ "ada:secret" or "ada:secret,bob:other" -> what Gradio asks (user, password). Raises ValueError with a sentence.

    For small groups: passwords that the person who starts the page hands out. Only their digests are kept, and an
    unknown user takes as long as a wrong password; how often one may be tried: gate.py.
    """
    if not text:
        return None
    pairs = [tuple(part.split(":", 1)) for part in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError("--auth wants user:password, or several of them separated by commas.")
    key = secrets.token_bytes(32)

    def digest(password: str) -> bytes:
        return hashlib.blake2b(password.encode("utf-8", "surrogatepass"), key=key).digest()

    known = {user: digest(password) for user, password in pairs}
    nobody = secrets.token_bytes(64)
    return lambda user, password: hmac.compare_digest(known.get(user, nobody), digest(password))


def kept_private(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of launch() for a page that works in a folder of its owner. Raises ValueError where strangers could.

    share is decided here: where it is left open, Gradio makes a public link by itself in some notebooks.
    """
    share = options.get("share")
    share = os.environ.get("GRADIO_SHARE", "").lower() == "true" if share is None else bool(share)
    address = options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME") or OWN_MACHINE[0]
    if (share or address not in OWN_MACHINE) and not options.get("auth"):
        raise ValueError(FOR_ALL)
    return {**options, "share": share}


@contextlib.contextmanager
def no_stubs() -> Iterator[None]:
    """Import Gradio within: it then writes no type stubs for editors beside its components, two fifths of the import.

    For each of its 80 classes it parses the source, renders a stub and compares it with the one on disk, at every
    start. A class without a source file it passes over, and `inspect` tells it which have none.
    """
    getfile = inspect.getfile

    def without(thing: Any) -> str:
        if type(thing).__name__ == "ComponentMeta":
            raise OSError("no stubs are wanted")
        return getfile(thing)

    inspect.getfile = without  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = getfile


def few_heaps(count: int = 2) -> bool:
    """Let all threads share `count` heaps; whether the C library knows how. Call it before threads are started.

    By default glibc gives up to eight heaps a core to the threads, and each keeps the most that its threads ever needed
    at once: over some hundred requests that looks like a leak and ends 50 MB higher.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return bool(ctypes.CDLL(None).mallopt(_ARENA_MAX, count))
    return False


def register_zero_gpu() -> bool:
    """Call before `launch()`; returns whether this is ZeroGPU hardware, where alone free accounts can host a Space.

    The platform stops a Space in which no function was marked with `@spaces.GPU` by the time of `launch()`. The models
    here are small and run on the CPU with ONNX Runtime, so the function that is marked is never called: no visitor
    waits for a GPU or pays for one from the daily quota. Elsewhere this does nothing and needs no `spaces` package.
    """
    if os.environ.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):
        return False
    import spaces  # preinstalled on every Gradio Space; must come after gradio has been imported as a whole

    spaces.GPU(_never_called)
    return True


def _never_called() -> None:
    """Marked for ZeroGPU, see `register_zero_gpu`."""
