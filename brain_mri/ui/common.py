"""Every failure that a visitor can cause becomes one sentence; everything else is logged and admitted, never shown."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from brain_mri.artifact.config import ArtifactError
from brain_mri.imaging.scan import ScanError

log = logging.getLogger("brain_mri")
UNEXPECTED = "Something went wrong that should not have; the details are in the server's log. Please try another file."


def sentence_of(error: Exception) -> str:
    """The message for a person. An unexpected error is logged with its traceback."""
    if isinstance(error, (ScanError, ArtifactError)) or type(error).__name__ == "HubError":
        return str(error)
    if isinstance(error, MemoryError):
        return "This file needs more memory than the server has; please try a smaller one."
    log.exception("unexpected error", exc_info=error)
    return UNEXPECTED


@contextmanager
def spoken() -> Iterator[None]:
    """Turn exceptions into gr.Error with a sentence (Gradio masks the text of every other exception)."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        # Gradio shows the message as HTML, and it may quote a file name.
        raise gr.Error(html.escape(sentence_of(error), quote=False), print_exception=False) from None


def speaking(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of an event handler or endpoint: see `spoken`."""

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with spoken():
            return handler(*args, **kwargs)

    return wrapped
