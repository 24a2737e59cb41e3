"""Fixtures that every test file may use: a tiny working artifact, phantoms, the real data and the bundled model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brain_mri.artifact import folder as artifact
from brain_mri.data.phantom import make_phantom
from brain_mri.inference.predictor import Predictor
from tests.helpers.handmade import write_handmade
from tests.helpers.sources import write_sources


@pytest.fixture(scope="session")
def handmade_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete artifact folder that answers in about a millisecond. Do not write into it."""
    return write_handmade(tmp_path_factory.mktemp("models") / "handmade")


@pytest.fixture(scope="module")
def predictor(handmade_artifact: Path) -> Predictor:
    return Predictor.load(handmade_artifact)


@pytest.fixture(scope="session")
def unsure_predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """It finds tumors by their outlines and hardly ever names their kind; every picture looks like FLAIR to it."""
    flair = {"sequences": ["T1C+", "FLAIR"], "weights": [[0.0] * 3] * 2, "bias": [0.0, 5.0], "limits": [0.5, 0.5]}
    return Predictor.load(
        write_handmade(
            tmp_path_factory.mktemp("models") / "unsure",
            temperature=20.0,
            outlined={"weights": [1.0, 1.0], "bias": 0.0},
            thresholds={"mask": 0.5, "min_fraction": 0.002, "abstain": 0.8, "tumor": 0.5},
            sequence=flair | {"kinds_on": ["T1C+"]},
        )
    )


@pytest.fixture(scope="session")
def phantom_image() -> Callable[..., np.ndarray]:
    """phantom_image(label="glioma", seed=0, size=256, plane="axial") -> uint8 (size, size)."""
    from brain_mri.data import phantom

    def make(label: str = "glioma", seed: int = 0, size: int = 256, plane: str = "axial") -> np.ndarray:
        return phantom.make_phantom(label, seed=seed, size=size, plane=plane).image

    return make


@pytest.fixture(scope="session")
def phantom_png(
    tmp_path_factory: pytest.TempPathFactory, phantom_image: Callable[..., np.ndarray]
) -> Callable[..., Path]:
    """phantom_png(...same arguments...) -> Path of a PNG file of that phantom."""
    folder = tmp_path_factory.mktemp("phantoms")

    def make(label: str = "glioma", seed: int = 0, size: int = 256, plane: str = "axial") -> Path:
        path = folder / f"{label}-{seed}-{size}-{plane}.png"
        if not path.exists():
            assert cv2.imwrite(str(path), phantom_image(label, seed, size, plane))
        return path

    return make


def _named_by(variable: str) -> Path:
    """The folder that an environment variable names; the test is skipped where it names none."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names no folder")
    path = Path(value)
    assert path.is_dir(), f"{variable}={value} is no folder"
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real MRI data named by BRAIN_MRI_DATA (brain-tumor-mri/, segmentation/, volumes/)."""
    return _named_by("BRAIN_MRI_DATA")


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder named by BRAIN_MRI_CASES: files as people really have them (its README.md says what is right)."""
    return _named_by("BRAIN_MRI_CASES")


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The bundled artifact, weights/ beside the programs."""
    path = Path(__file__).resolve().parent.parent / "weights"
    if not (path / artifact.CONFIG).is_file():
        pytest.skip("weights/ holds no model yet")
    return path


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """uint8 (160, 120), not symmetric in any way."""
    return np.ascontiguousarray(make_phantom("glioma", 4, 160, height=0.1).image[:, 20:140])


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """uint8 (7, 40, 36) in radiological display, no symmetry, no two slices alike."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 150, 7 * 40 * 36).reshape(7, 40, 36)
    return (ramp + rng.integers(0, 100, (7, 40, 36))).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders and mask pairs of phantoms."""
    from brain_mri.data import phantom

    return phantom.write_dataset(tmp_path_factory.mktemp("data") / "phantoms", per_class=12, size=128)


@pytest.fixture(scope="module")
def dataset(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """They as a data.Dataset."""
    from brain_mri.data import dataset as data

    cache = tmp_path_factory.mktemp("cache")
    return data.load_dataset(folders, folders / "segmentation", size=64, cache=cache, progress=False)


@pytest.fixture(scope="module")
def evaluation(handmade_artifact: Path, dataset: Any) -> Any:
    """The handmade artifact measured on them, with small forests: an evaluate.Evaluation."""
    from brain_mri.evaluation import baselines, evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 25)
        return evaluate.evaluate(handmade_artifact, dataset, resamples=50)


@pytest.fixture(scope="session")
def source_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Folders of classes and of masks of several sources; see tests/helpers/sources.py."""
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def several(source_folders: tuple[list[Path], list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """They as one data.Dataset."""
    from brain_mri.data import dataset as data

    return data.load_dataset(*source_folders, size=64, progress=False, cache=tmp_path_factory.mktemp("cache"))
