"""One LiteRT file (.tflite) on the processor, as phones run it: only to check what `export --litert` wrote.

The page serves ONNX; the package ai-edge-litert is imported where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.artifact.config import ArtifactError, plain

KINDS = FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"


class LiteModelError(ArtifactError):
    """The package is missing, or the file cannot be run; the message is one sentence for a person."""


def lite_name(onnx: str, kind: str) -> str:
    """classifier.onnx -> classifier.tflite, classifier-float16.tflite, classifier-int8.tflite."""
    return f"{Path(onnx).stem}{'' if kind == FLOAT32 else f'-{kind}'}.tflite"


def interpreter_class() -> Callable[..., Any]:
    """Raises LiteModelError where ai-edge-litert is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # an extra, see requirements-scale.txt
    except ModuleNotFoundError:
        raise LiteModelError(
            "LiteRT files are checked with the package ai-edge-litert, which is missing: pip install ai-edge-litert."
        ) from None
    return Interpreter  # type: ignore[no-any-return]


class LiteModel:
    """A LiteRT file as a function: float32 (1, S, S, 1) 0..255 -> {output name: array}. Not for several threads."""

    def __init__(self, path: Path, threads: int = 1):
        """Raises LiteModelError, also for a file with operations that phones lack."""
        interpreter = interpreter_class()
        try:
            self._interpreter = interpreter(model_path=str(path), num_threads=threads)
            self._run = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise LiteModelError(f"LiteRT cannot run {path.name} ({plain(error)}).") from None

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = self._run(image=image)
        return found

    def tensors(self) -> dict[str, np.dtype]:
        """Everything that it computes: name -> kind of number."""
        return {one["name"]: np.dtype(one["dtype"]) for one in self._interpreter.get_tensor_details()}

    def order(self) -> list[str]:
        """The names of the outputs in the order in which a program gets them that does not ask for them by name."""
        names = {one["index"]: name for name, one in self._run.get_output_details().items()}
        return [names[one["index"]] for one in self._interpreter.get_output_details()]
