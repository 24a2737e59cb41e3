"""Brain MRI demo: a scan in, class probabilities, tumor mask and Grad-CAM out.

from brain_mri import Predictor, read_scan
answer = Predictor.load("weights").analyze(read_scan("slice.jpg"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_mri.imaging.read import read_scan
    from brain_mri.inference.predictor import Predictor

__all__ = ["Predictor", "read_scan"]
_PLACES = {"Predictor": "brain_mri.inference.predictor", "read_scan": "brain_mri.imaging.read"}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: `python -m brain_mri hub` needs neither, nor NumPy and ONNX Runtime."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
