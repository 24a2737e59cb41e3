"""One ONNX model on the processor: the session settings that give the same bits every time.

Every other module takes `ort` from here: since 1.29 the wheels of ONNX Runtime report their use to Microsoft, unless
they are told not to before they are imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from artifact import ArtifactError

__all__ = ["cores", "open_model", "ort"]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_model(path: Path, threads: int, names: tuple[str, ...]) -> Callable[[dict[str, Any]], list[Any]]:
    """An ONNX Runtime session as a function of its inputs. Raises ArtifactError for a graph without these outputs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Spinning threads of one session would hold the cores that the other session needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own family of exceptions, none of them public
        raise ArtifactError(f"{path} is no ONNX model that this program can run ({error}).") from None
    missing = set(names) - {output.name for output in session.get_outputs()}
    if missing or [i.name for i in session.get_inputs()] != ["image"]:
        raise ArtifactError(f"{path} lacks the input `image` or the outputs {', '.join(names)}; train it again.")
    return lambda feed: session.run(list(names), feed)
