"""The artifact: one folder that `train.py` writes, the Hub stores and the app reads.

    config.json               everything needed to serve, and where it came from
    classifier.onnx           image -> logits, heatmaps, features, and mask where it has a branch for it
    segmenter.onnx            image -> mask; not opened where the classifier gives it
    classifier.weights.h5     to fine-tune or resume in Keras; the app never opens it
    classifier-2.weights.h5   of the second network, where several answer together
    segmenter.weights.h5
    metrics.json  figures/  README.md

Only JSON and ONNX are ever loaded for serving. An artifact is written in a hidden folder and then moved to its place,
config.json last, so that a reader finds a whole artifact or none and never half of one.

config.json
    format_version   int, see FORMAT_VERSION
    name, created    str; ISO date
    classes          list[str], the order of the logits
    preprocessing    {"name": "head-square-v1", "image_size": int}
    classifier       {"architecture": str, "arguments": {...}, "parameters": int}; "members": int where several such
                     networks answer together in one file
    segmenter        the same, and "trained_on": "masks" | "weak masks" | "bundled"
    temperature      float > 0; probabilities = softmax(logits / temperature), without
    bias             one float per class, added to logits / temperature; may be absent
    stacking         {"weights", "bias"} of a logistic regression on logits and mask (see answers.py); may be absent
    thresholds       {"mask": float, "min_fraction": float, "abstain": float, "tumor": float}
    guard            what guard_fit.py fitted: statistics of training slices and thresholds
    training         seed, epochs, command, seconds, hardware, history; "others": that of further networks; "refit": do
                     the last ones answer, which learned from validation rows, too
    data             counts, groups, split, fingerprint
    versions         {"python", "keras", "tensorflow", ...}
    metrics          the summary that is also in metrics.json
    files            {file name: {"sha256": str, "bytes": int}}
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_mri.artifact.config import CONFIG, FORMAT_VERSION, SERVING_FILES, ArtifactError
from brain_mri.files import FileError, read_json, sha256, write_json

_NEW, _OLD = ".new-", ".old-"  # folders inside the artifact's own while it is written and replaced
REQUIRED_KEYS = ("classes", "preprocessing", "classifier", "segmenter", "temperature", "thresholds", "files")


@dataclass(frozen=True)
class Artifact:
    """A checked artifact folder."""

    folder: Path
    config: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.config["classes"])

    @property
    def image_size(self) -> int:
        return int(self.config["preprocessing"]["image_size"])

    def metrics(self) -> dict[str, Any]:
        """metrics.json, or the summary in config.json when only the serving files were fetched."""
        path = self.folder / "metrics.json"
        return read_config(path) if path.is_file() else dict(self.config.get("metrics", {}))


def read_config(path: Path) -> dict[str, Any]:
    """Raises ArtifactError when the file is missing or is no JSON object."""
    try:
        return read_json(path)
    except FileError as error:
        raise ArtifactError(str(error)) from None


def check_config(config: dict[str, Any], where: str) -> None:
    """Raises ArtifactError when this program cannot serve such a config."""
    version = config.get("format_version")
    if not isinstance(version, int):
        raise ArtifactError(f"{where} has a config.json of another program (no format_version).")
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{where} has artifact format {version}; this program reads format {FORMAT_VERSION}. "
            "Update the program or train the model again."
        )
    missing = [key for key in REQUIRED_KEYS if key not in config]
    if missing:
        raise ArtifactError(f"{where}: config.json lacks {', '.join(missing)}.")
    unusable = [key for key, usable in _usable(config).items() if not usable]
    if unusable:
        raise ArtifactError(f"{where}: config.json has no usable value for {', '.join(unusable)}.")


def _usable(config: dict[str, Any]) -> dict[str, bool]:
    """Whether the entries that serving relies on have the right types; the file may come from anyone's Hub repo."""

    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300

    classes, preprocessing, files = config["classes"], config["preprocessing"], config["files"]
    names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    size = preprocessing.get("image_size") if isinstance(preprocessing, dict) else None
    return {
        "classes": names and len(set(classes)) == len(classes) >= 2,
        "preprocessing": isinstance(size, int) and 16 <= size <= 1024,
        "classifier": isinstance(config["classifier"], dict),
        "segmenter": isinstance(config["segmenter"], dict),
        "temperature": number(config["temperature"]) and config["temperature"] > 0,
        "thresholds": isinstance(config["thresholds"], dict) and all(map(number, config["thresholds"].values())),
        "files": isinstance(files, dict)
        and all(isinstance(stated, dict) and {"sha256", "bytes"} <= set(stated) for stated in files.values()),
        "guard": isinstance(config.get("guard"), dict | None),
        "bias": "bias" not in config or _numbers(config["bias"], len(classes) if names else 0, number),
        "stacking": "stacking" not in config or _stacks(config["stacking"], len(classes) if names else 0, number),
    }


def _stacks(stacking: Any, count: int, number: Callable[[Any], bool]) -> bool:
    """Whether there are count rows of count + 1 weights, and count biases."""
    if not isinstance(stacking, dict) or not {"weights", "bias"} <= set(stacking):
        return False
    weights, bias = stacking["weights"], stacking["bias"]
    rows = (
        isinstance(weights, list) and len(weights) == count and all(_numbers(row, count + 1, number) for row in weights)
    )
    return rows and _numbers(bias, count, number)


def _numbers(values: Any, count: int, number: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(number, values))


def serving_files(config: dict[str, Any]) -> tuple[str, ...]:
    """The files that the app needs; K-means, which needs no training, has no segmenter.onnx."""
    trained = config["segmenter"].get("architecture") != "kmeans"
    return SERVING_FILES if trained else SERVING_FILES[:2]


def load_artifact(folder: str | Path, *, verify: bool = True) -> Artifact:
    """Check a folder and return it.

    Raises ArtifactError when the folder is missing, of another format, incomplete, or when a serving file does not
    have the sha256 that config.json states (a truncated download, a file edited by hand).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no model folder {folder}.")
    config = read_config(folder / CONFIG)
    check_config(config, str(folder))
    for name in serving_files(config)[1:]:
        path, stated = folder / name, config["files"].get(name)
        if stated is None or not path.is_file():
            raise ArtifactError(f"{folder} lacks {name}; the download or the training run did not finish.")
        if verify and (path.stat().st_size != stated["bytes"] or sha256(path) != stated["sha256"]):
            raise ArtifactError(f"{path} is damaged (its sha256 differs from config.json); fetch or train it again.")
    return Artifact(folder, config)


@contextlib.contextmanager
def new_artifact(folder: str | Path, config: dict[str, Any]) -> Iterator[Path]:
    """Write an artifact as a whole or not at all.

    Yields an empty folder inside `folder`; fill it with the files. On a clean exit config.json is added with the
    sha256 of every file and all of them take their places, config.json as the last one: a folder without it is no
    artifact, so that a run killed at any moment leaves none or a whole one. An older artifact there is replaced; other
    files in it, such as checkpoints, never move. On an exception everything is as it was before.
    `config` may be filled up to the end of the block.
    """
    folder = Path(folder).absolute()
    existed = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    staging = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))
    try:
        yield staging
        config["format_version"] = FORMAT_VERSION
        config["files"] = {
            path.relative_to(staging).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
            for path in sorted(staging.rglob("*"))
            if path.is_file() and path.name != CONFIG
        }
        check_config(config, str(folder))
        write_json(staging / CONFIG, config)
        _install(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):  # not empty: somebody else's files came meanwhile
                folder.rmdir()
        raise


def _install(staging: Path, folder: Path) -> None:
    """Exchange the artifact in `folder` for the one in `staging`. When that fails the old one is put back."""
    new = sorted((path.name for path in staging.iterdir()), key=lambda name: name == CONFIG)
    old = Path(tempfile.mkdtemp(prefix=_OLD, dir=folder))
    leaving = {"metrics.json", "figures", *_listed(folder), *new} - {CONFIG, "", ".", ".."}
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
