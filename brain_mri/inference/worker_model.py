"""The model on a worker of a cluster: the very one that was asked for, with the same libraries, loaded once a process.

model = pinned(predictor, "user/name")      # by who asks
loaded(model), outputs(model, images)       # where the worker is
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import BUNDLED
from brain_mri.artifact.hub_client import HubError
from brain_mri.inference.jobs import BatchError
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import versions
from brain_mri.inference.runner import Networks, Outputs

PROGRAM = "brain-mri"
SAME = ("onnxruntime", "numpy", "opencv-python-headless", PROGRAM)  # another version of them may give other digits
ROOMS = ("artifact", "imaging", "inference")
_loading = threading.Lock()


@dataclass(frozen=True)
class WorkerModel:
    where: str  # folder, "weights" for the bundled one, or user/name@revision
    revision: str
    libraries: str  # versions of SAME, as text


def pinned(predictor: Predictor, asked: str) -> WorkerModel:
    """asked: the model as it was asked for; workers take the very revision that `predictor` has."""
    exact = os.path.abspath(asked) if Path(asked).is_dir() else f"{predictor.model_id}@{predictor.revision}"
    where = BUNDLED.name if predictor.artifact.folder.resolve() == BUNDLED else exact
    return WorkerModel(where, predictor.revision, _libraries())


def loaded(model: WorkerModel) -> Predictor:
    """Raises BatchError where the answers would be others."""
    with _loading:
        return _loaded(model)


def outputs(model: WorkerModel, images: np.ndarray) -> Outputs:
    """What the networks say of images uint8 (N, S, S), one batch. Raises BatchError."""
    with _loading:
        networks = _networks(model)
    return networks(images)


@functools.lru_cache(maxsize=2)
def _loaded(model: WorkerModel) -> Predictor:
    cv2.setNumThreads(1)  # the other cores of this machine have workers of their own
    if (ours := _libraries()) != model.libraries:
        raise BatchError(f"The digits would differ: a worker has {ours}, here is {model.libraries}.")
    try:
        predictor = Predictor.load(model.where, threads=1)
    except (ArtifactError, HubError) as error:
        raise BatchError(f"A worker cannot load the model: {error}") from None
    if predictor.revision != model.revision:
        raise BatchError(f"{model.where} is another model on a worker ({predictor.revision}, not {model.revision}).")
    return predictor


@functools.lru_cache(maxsize=2)
def _networks(model: WorkerModel) -> Networks:
    return Networks(_loaded(model).artifact.folder, threads=1)


def _libraries() -> str:
    return ", ".join(f"{name} {found}" for name, found in (versions() | {PROGRAM: _program()}).items() if name in SAME)


@functools.cache
def _program() -> str:
    """A digest of the code that an answer comes of."""
    root = Path(__file__).resolve().parents[1]
    files = [root.parent / "segmentation.py", *(p for room in ROOMS for p in sorted((root / room).glob("*.py")))]
    return hashlib.sha256("".join(p.read_text("utf-8") for p in files).encode()).hexdigest()[:12]
