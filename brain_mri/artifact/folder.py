"""The artifact: one folder that `train.py` writes, the Hub stores and the app reads.

    config.json               everything needed to serve, and where it came from: see config.py
    classifier.onnx           image -> logits, heatmaps, features, and mask where it has a branch for it
    segmenter.onnx            image -> mask; none where the classifier gives it
    classifier.weights.h5     to fine-tune or resume in Keras; the app never opens it
    classifier-2.weights.h5   of the second network, where several answer together
    segmenter.weights.h5
    metrics.json  figures/  README.md

Only JSON and ONNX are ever loaded for serving. An artifact is written in a hidden folder and then moved to its place,
config.json last, so that a reader finds a whole artifact or none and never half of one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_mri.artifact.config import CONFIG, FORMAT_VERSION, ArtifactConfig, ArtifactError
from brain_mri.files import FileError, read_json, sha256, write_json

_NEW, _OLD = ".new-", ".old-"  # folders inside the artifact's own while it is written and replaced
METRICS = "metrics.json"
JSON_BYTES = 32 * 2**20  # of a JSON file; that of 700 test pictures has 0.1 MB
SHOWN, SHOWN_BYTES = 40, 32 * 2**20  # files of figures/ or examples/, and their bytes together
BUNDLED = Path(__file__).resolve().parents[2] / "weights"  # beside the programs, and where pip installs it


@dataclass(frozen=True)
class Artifact:
    """A checked artifact folder."""

    folder: Path
    config: ArtifactConfig

    @property
    def classes(self) -> tuple[str, ...]:
        return self.config.classes

    @property
    def image_size(self) -> int:
        return self.config.preprocessing.image_size

    def metrics(self) -> dict[str, Any]:
        """metrics.json, or the summary in config.json where only the serving files were fetched.

        Raises ArtifactError.
        """
        return _read(self.folder, METRICS) if (self.folder / METRICS).is_file() else dict(self.config.metrics)

    def shown(self, part: str, pattern: str = "*") -> tuple[list[Path], int]:
        """What the page may show of the subfolder `part`, by name, and how many files it must not.

        A model may come from anyone: its links could lead to any file of this computer, and its pictures fill the
        memory of every visitor.
        """
        found = sorted(path for path in (self.folder / part).glob(pattern) if path.is_file())
        kept, left = list[Path](), SHOWN_BYTES
        for path in found[:SHOWN]:
            if _inside(self.folder, path) and path.stat().st_size <= left:
                kept.append(path)
                left -= path.stat().st_size
        return kept, len(found) - len(kept)


def read_config(folder: Path) -> ArtifactConfig:
    """Of a folder of which nothing else is checked. Raises ArtifactError."""
    return ArtifactConfig.read(_read(folder, CONFIG), str(folder))


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if path.is_file():
        _must_be_inside(folder, path)
        if path.stat().st_size > JSON_BYTES:
            raise ArtifactError(f"{path} is larger than {JSON_BYTES // 2**20} MB, so it is none of this project.")
    elif path.exists():  # a pipe or a device would be read for ever
        raise ArtifactError(f"{path} is no file.")
    try:
        return read_json(path)
    except FileError as error:
        raise ArtifactError(str(error)) from None


def _must_be_inside(folder: Path, path: Path) -> None:
    if not _inside(folder, path):
        raise ArtifactError(f"{path} is a link that leads out of the model folder; copy the file to its place.")


def _inside(folder: Path, path: Path) -> bool:
    """Is it a file of this folder? The Hub's cache keeps the files of its snapshots/<commit> as links to blobs/."""
    home = folder.resolve()
    homes = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    return any(path.resolve().is_relative_to(one) for one in homes)


def load_artifact(folder: str | Path, *, verify: bool = True) -> Artifact:
    """Check a folder and return it.

    Raises ArtifactError when the folder is missing, of another format, incomplete, or when a serving file does not
    have the sha256 that config.json states (a truncated download, a file edited by hand).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no model folder {folder}.")
    config = read_config(folder)
    for name in config.onnx_files:
        path, stated = folder / name, config.files.get(name)
        if stated is None or not path.is_file():
            raise ArtifactError(f"{folder} lacks {name}; the download or the training run did not finish.")
        _must_be_inside(folder, path)
        if verify and (path.stat().st_size != stated.bytes or sha256(path) != stated.sha256):
            raise ArtifactError(f"{path} is damaged (its sha256 differs from config.json); fetch or train it again.")
    return Artifact(folder, config)


@contextlib.contextmanager
def new_artifact(folder: str | Path, config: ArtifactConfig | Mapping[str, Any]) -> Iterator[Path]:
    """Write an artifact whose config is known beforehand: see `staging`, whose folder it yields, and `install`."""
    with staging(folder) as files:
        yield files
        install(files, folder, config)


@contextlib.contextmanager
def staging(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder inside `folder` for the files of a new artifact; `install` moves them to their places.

    Whatever is not installed at the end is removed: after an exception everything is as it was before.
    """
    folder = Path(folder).absolute()
    existed = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    files = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))
    try:
        yield files
    except BaseException:
        shutil.rmtree(files, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):  # not empty: somebody else's files came meanwhile
                folder.rmdir()
        raise
    shutil.rmtree(files, ignore_errors=True)


def install(files: Path, folder: str | Path, config: ArtifactConfig | Mapping[str, Any]) -> None:
    """Write config.json with the sha256 of every file in `files`, and move all of them to `folder`, config.json last.

    A folder without config.json is no artifact, so that a run killed at any moment leaves none or a whole one. An older
    artifact in `folder` is replaced; other files in it, such as checkpoints, never move. Raises ArtifactError when
    config could not be read again.
    """
    folder = Path(folder).absolute()
    stored = config.to_json() if isinstance(config, ArtifactConfig) else dict(config)
    stored["format_version"] = FORMAT_VERSION
    stored["files"] = {
        path.relative_to(files).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(files.rglob("*"))
        if path.is_file() and path.name != CONFIG
    }
    ArtifactConfig.read(stored, str(folder))
    write_json(files / CONFIG, stored)
    _exchange(files, folder)


def _exchange(staging: Path, folder: Path) -> None:
    """Exchange the artifact in `folder` for the one in `staging`. When that fails the old one is put back."""
    new = sorted((path.name for path in staging.iterdir()), key=lambda name: name == CONFIG)
    old = Path(tempfile.mkdtemp(prefix=_OLD, dir=folder))
    leaving = {METRICS, "figures", *_listed(folder), *new} - {CONFIG, "", ".", ".."}
    try:
        for name in [CONFIG, *sorted(leaving)]:
            if os.path.lexists(folder / name):
                os.replace(folder / name, old / name)
        for name in new:
            os.replace(staging / name, folder / name)
    except BaseException:
        for name in new:
            if os.path.lexists(folder / name) and not os.path.lexists(staging / name):
                os.replace(folder / name, staging / name)
        _put_back(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)


def _put_back(old: Path, folder: Path) -> None:
    for path in sorted(old.iterdir(), key=lambda path: path.name == CONFIG):
        os.replace(path, folder / path.name)
    old.rmdir()


def _sweep(folder: Path) -> None:
    """Clear away what a killed run left; an old artifact that it was about to replace is put back first."""
    for old in folder.glob(f"{_OLD}*"):
        if (old / CONFIG).is_file() and not (folder / CONFIG).exists():
            for path in old.iterdir():  # the new files that had already come
                _remove(folder / path.name)
            _put_back(old, folder)
        else:
            shutil.rmtree(old, ignore_errors=True)
    for new in folder.glob(f"{_NEW}*"):
        shutil.rmtree(new, ignore_errors=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _listed(folder: Path) -> set[str]:
    """Top-level names that the config.json of an artifact claims as its own."""
    try:
        return {name.split("/")[0] for name in read_json(folder / CONFIG).get("files", {})}
    except FileError:
        return set()
