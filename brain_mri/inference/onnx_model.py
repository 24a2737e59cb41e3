"""One ONNX model on the processor: the session settings that give the same bits every time.

Every other module takes `ort` from here: since 1.29 the wheels of ONNX Runtime report their use to Microsoft, unless
they are told not to before they are imported.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort

from brain_mri.artifact.config import ArtifactError, plain

LONGEST = 120.0  # seconds for one run; a graph may hold a loop, and which picture starts it nobody can know before

TICK = 0.5  # seconds from one look at the clock to the next
_ends: dict[ort.RunOptions, float] = {}  # of the runs that are going on
_starting = threading.Lock()
_watch: threading.Thread | None = None


def _watched() -> None:
    """One thread looks after all runs: a timer for each would cost as much as a twentieth of a run."""
    global _watch
    if _watch is None or not _watch.is_alive():  # a fork takes no threads along
        with _starting:
            if _watch is None or not _watch.is_alive():
                _watch = threading.Thread(target=_end_overdue, name="watch", daemon=True)
                _watch.start()


def _end_overdue() -> None:
    while True:
        time.sleep(TICK)
        for run, end in list(_ends.items()):
            if time.monotonic() > end:
                run.terminate = True


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxModel:
    """A session as a function: float32 (N, S, S, 1) 0..255 -> {output name: array}."""

    def __init__(self, path: Path, threads: int, needed: tuple[str, ...], optional: tuple[str, ...] = ()):
        """Raises ArtifactError for a graph without the needed outputs. `names`: those, and the optional ones it has."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Spinning threads of one session would hold the cores that another session or request needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own family of exceptions, none of them public
            raise ArtifactError(f"{path} is no ONNX model that this program can run ({plain(error)}).") from None
        has = {output.name for output in self._session.get_outputs()}
        if not set(needed) <= has or [i.name for i in self._session.get_inputs()] != ["image"]:
            raise ArtifactError(f"{path} lacks the input `image` or the outputs {', '.join(needed)}; train it again.")
        self.names = [*needed, *(name for name in optional if name in has)]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Raises ArtifactError when it takes longer than LONGEST, or when the graph cannot be run on this image."""
        run = ort.RunOptions()
        run.log_severity_level = 4  # what goes wrong is raised
        _watched()
        _ends[run] = time.monotonic() + LONGEST
        try:
            return dict(zip(self.names, self._session.run(self.names, {"image": image}, run), strict=True))
        except Exception as error:  # ONNX Runtime's own, as above
            if run.terminate:
                raise ArtifactError(f"The model gave no answer within {LONGEST:.0f} seconds.") from None
            raise ArtifactError(f"The model fails on this picture ({plain(error)}).") from None
        finally:
            del _ends[run]
