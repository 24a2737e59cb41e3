"""Keep the memory of a server with many threads flat."""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's <malloc.h>


def few_heaps(count: int = 2) -> bool:
    """Let all threads share `count` heaps; whether the C library knows how. Call it before threads are started.

    By default glibc gives up to eight heaps a core to the threads, and each keeps the most that its threads ever needed
    at once: over some hundred requests that looks like a leak and ends 50 MB higher.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return bool(ctypes.CDLL(None).mallopt(_ARENA_MAX, count))
    return False
