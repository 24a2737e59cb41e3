"""A page in this process whose slices of volumes wait for a gate, with a count of those that began."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from brain_mri.inference.predictor import Predictor
from brain_mri.ui import page as page_module
from brain_mri.ui.places import Places


class GatedPage:
    """The page, its queue, and how many slices of volumes began. gate: closed, slices wait for it."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places, self.slices, self.gate = Places(), 0, threading.Event()
        real = Predictor.outline

        def outline(own: Predictor, scan: Any) -> Any:
            self.slices += 1
            assert self.gate.wait(120)
            return real(own, scan)

        monkeypatch.setattr(Predictor, "outline", outline)
        monkeypatch.setattr(page_module, "Places", lambda: self.places)
        self.page = page_module.build_interface(predictor)
        self.url = str(self.page.launch(prevent_thread_lock=True, quiet=True)[1]).rstrip("/")


@contextlib.contextmanager
def gated_page(predictor: Predictor, monkeypatch: pytest.MonkeyPatch, *, opened: bool) -> Iterator[GatedPage]:
    """opened: the gate, at the start. At the end it is opened and the page closed."""
    made = GatedPage(predictor, monkeypatch)
    if opened:
        made.gate.set()
    yield made
    made.gate.set()
    made.page.close()
