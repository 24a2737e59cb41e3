"""The model that a running page serves: notices a newer revision on the Hub and swaps to it without a restart.

A page asks `offer()` now and then and calls `reload()` when a visitor presses the button. Handlers read `current` once,
at their start, and work with that predictor to their end, so one answer never mixes two revisions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.hub import newer_revision
from brain_mri.artifact.hub_client import HubError, split_id
from brain_mri.inference.predictor import HUB_ID, Predictor

CHECK_EVERY = 120.0  # seconds between questions to the Hub, however many pages are open


class LiveModel:
    """Holds one predictor. `current` may be read from any thread; it changes in one step, in `reload`."""

    def __init__(self, asked: Predictor | str | Path, *, check_every: float = CHECK_EVERY):
        """asked: a predictor as it is, a folder, or "user/name[@revision]", which falls back to the bundled model.

        Raises ArtifactError or HubError with one sentence.
        """
        self.asked = "" if isinstance(asked, Predictor) else str(asked)
        self.current = asked if isinstance(asked, Predictor) else Predictor.load(asked, fallback=True)
        self._check_every = check_every
        self._newest: str | None = None
        self._asked_at = float("-inf")
        self._asking = threading.Lock()
        self._loading = threading.Lock()

    @property
    def follows_hub(self) -> bool:
        """Whether the model was asked for by its name on the Hub."""
        return bool(HUB_ID.fullmatch(self.asked)) and not Path(self.asked).is_dir()

    def offer(self) -> str | None:
        """The commit on the Hub that could be loaded in place of `current`, or None.

        Answers at once from what the last look at the Hub found; a new look happens in the background.
        """
        if not self.follows_hub:
            return None
        if time.monotonic() - self._asked_at >= self._check_every and self._asking.acquire(blocking=False):
            self._asked_at = time.monotonic()
            threading.Thread(target=self._ask, name="newer revision", daemon=True).start()
        newest = self._newest
        return newest if newest != self.current.revision else None

    def _ask(self) -> None:
        try:
            name, revision = split_id(self.asked)
            self._newest = newer_revision(name, self.current.revision, revision)
        finally:
            self._asking.release()

    def reload(self) -> str:
        """Load what the Hub has now and serve it; returns a sentence for the visitor. On failure the old one stays."""
        with self._loading:
            before = self.current
            try:
                new = Predictor.load(self.asked)
            except (ArtifactError, HubError) as error:
                return f"The model stays as it is (revision {before.revision[:7]}): {error}"
            if new.revision == before.revision:
                return new.notice or f"Revision {before.revision[:7]} is the newest one."
            self.current = new
            self._newest = None
        done = f"The page now uses {new.model_id} at revision {new.revision[:7]}."
        return f"{done} {new.notice}" if new.notice else done


class Models:
    """The model of the page and those it may be compared with, each loaded once, when first asked for."""

    def __init__(self, live: LiveModel, others: Sequence[str | Path] = ()):
        self.live = live
        self._loaded: dict[str, Predictor] = {}
        self._where = {str(where): where for where in others}
        self._lock = threading.Lock()

    @property
    def main(self) -> Predictor:
        """Read it once in a handler: it may be another revision a moment later."""
        return self.live.current

    @property
    def names(self) -> list[str]:
        """What the person who started the page has chosen: visitors cannot make the server open others."""
        return [self.main.model_id, *(name for name in self._where if name != self.main.model_id)]

    def get(self, name: str) -> Predictor:
        """Raises ArtifactError or HubError."""
        main = self.main
        if name == main.model_id:
            return main
        with self._lock:
            if name not in self._loaded:
                if name not in self._where:
                    raise ArtifactError(f"There is no model {name} here; choose one of {', '.join(self.names)}.")
                self._loaded[name] = Predictor.load(self._where[name])
            return self._loaded[name]
