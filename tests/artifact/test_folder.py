"""The artifact folder: whole or not at all, checked before it is served, and refused with a sentence."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from brain_mri import files
from brain_mri.artifact import folder as artifact
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact, new_artifact
from brain_mri.inference.guard_descriptors import NAMES
from brain_mri.inference.predictor import Predictor
from tests.helpers.handmade import write_handmade


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_round_trip(handmade_artifact: Path) -> None:
    loaded = load_artifact(handmade_artifact)
    assert loaded.classes == ("glioma", "meningioma", "notumor", "pituitary") and loaded.image_size == 64
    assert set(loaded.config.files) == {"classifier.onnx", "segmenter.onnx", "metrics.json", "README.md"}
    for name, stated in loaded.config.files.items():
        path = handmade_artifact / name
        assert stated.to_json() == {"sha256": files.sha256(path), "bytes": path.stat().st_size}
    assert loaded.metrics() == {"test": {}}


def test_metrics_come_from_config_when_only_serving_files_were_fetched(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m", metrics={"accuracy": 0.5})
    (folder / "metrics.json").unlink()
    (folder / "README.md").unlink()
    assert load_artifact(folder).metrics() == {"accuracy": 0.5}


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_artifact(tmp_path / "m", {}) as staging:
        (staging / "classifier.onnx").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_old_artifact(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(KeyboardInterrupt), new_artifact(folder, {}) as staging:
        (staging / "classifier.onnx").write_bytes(b"half")
        raise KeyboardInterrupt
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_an_incomplete_config_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="lacks"), new_artifact(tmp_path / "m", {"classes": ["a"]}):
        pass
    assert list(tmp_path.iterdir()) == []


def test_replacing_keeps_foreign_files_and_drops_our_old_ones(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.weights.h5").write_bytes(b"w")
    (folder / "notes.txt").write_text("mine")
    (folder / "figures").mkdir()
    (folder / "figures/old.png").write_bytes(b"old")
    write_handmade(folder, name="second")
    assert load_artifact(folder).config.name == "second"
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "checkpoints/last.weights.h5").is_file()
    assert not (folder / "figures").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that comes after it may run."""


def _kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """The process ends before its `step`-th rename; the clearing up that a live process would do is gone too."""
    real, count = os.replace, iter(range(10_000))

    def replace(source: Any, target: Any) -> None:
        if next(count) >= step:
            raise Killed
        real(source, target)

    patch.setattr(artifact.os, "replace", replace)
    patch.setattr(artifact.shutil, "rmtree", lambda *a, **k: None)


@pytest.mark.parametrize("before", ["nothing", "checkpoints", "an artifact"])
def test_killed_at_any_rename_no_half_artifact_and_no_checkpoint_is_lost(tmp_path: Path, before: str) -> None:
    finished = False
    for step in range(40):
        folder = tmp_path / str(step) / "m"
        if before == "an artifact":
            write_handmade(folder, name="old")
        if before != "nothing":
            (folder / "checkpoints").mkdir(parents=True)
            (folder / "checkpoints" / "state.json").write_text("{}")
        with pytest.MonkeyPatch.context() as patch:
            _kill_at(patch, step)
            try:
                write_handmade(folder, name="new")
                finished = True
            except Killed:
                pass
        try:
            found = load_artifact(folder).config.name  # raises for anything that is not whole
        except ArtifactError as error:
            found = "none"
            assert "no config.json" in str(error) or "no model folder" in str(error)
        assert found in {"nothing": ("none", "new"), "checkpoints": ("none", "new")}.get(before, ("none", "old", "new"))
        assert before == "nothing" or (folder / "checkpoints" / "state.json").is_file()
        if found == "none" and before == "an artifact":  # the next writer, even one that fails, puts it back
            with pytest.raises(RuntimeError), new_artifact(folder, {}):
                raise RuntimeError
            assert load_artifact(folder).config.name == "old"
        write_handmade(folder, name="third")
        assert load_artifact(folder).config.name == "third"
        assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
        if finished:
            break
    assert finished and step > 4


@pytest.mark.parametrize("step", range(1, 12))
def test_a_rename_that_fails_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    folder = write_handmade(tmp_path / "m", name="old")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    real, count = os.replace, iter(range(1000))

    def replace(source: Any, target: Any) -> None:
        if next(count) == step:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(artifact.os, "replace", replace)
    with pytest.raises(OSError, match="Input/output"):
        write_handmade(folder, name="new")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert load_artifact(folder).config.name == "old"


def test_a_folder_that_was_no_artifact_keeps_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    write_handmade(folder)
    assert (folder / "notes.txt").read_text() == "mine" and load_artifact(folder)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_the_artifact_can_be_read_by_others(handmade_artifact: Path) -> None:
    assert handmade_artifact.stat().st_mode & 0o755 == 0o755


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "could not be read as JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "could not be read as JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), "not an object"),
        (lambda f: (f / "config.json").write_text("[" * 200_000), "could not be read as JSON"),
        (lambda f: edit(f, temperature=10**400), "temperature"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "another program"),
        (lambda f: edit(f, format_version=99), "format 99"),
        (lambda f: (f / "segmenter.onnx").unlink(), "lacks segmenter.onnx"),
        (lambda f: (f / "classifier.onnx").write_bytes(b"truncated"), "damaged"),
        (lambda f: edit(f, files={}), "lacks classifier.onnx"),
    ],
)
def test_broken_folders_are_refused_with_one_sentence(tmp_path: Path, spoil: Any, sentence: str) -> None:
    folder = write_handmade(tmp_path / "m")
    spoil(folder)
    with pytest.raises(ArtifactError, match=sentence) as caught:
        load_artifact(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


HOSTILE: list[dict[str, Any]] = [
    {"files": []},
    {"files": {"classifier.onnx": "x", "segmenter.onnx": "y"}},
    {"files": {"classifier.onnx": {}, "segmenter.onnx": {}}},
    {"classes": None},
    {"classes": [1, 2, 3, 4]},
    {"preprocessing": "head-square-v1"},
    {"preprocessing": {"name": "head-square-v1"}},
    {"preprocessing": {"name": "head-square-v1", "image_size": "big"}},
    {"preprocessing": {"name": "head-square-v1", "image_size": 10**9}},
    {"segmenter": None},
    {"temperature": "hot"},
    {"temperature": float("nan")},
    {"thresholds": None},
    {"thresholds": {"mask": "high"}},
    {"guard": {"descriptors": 5}},
    {"guard": [1, 2]},
    {"guard": {"descriptors": list(NAMES), "mean": 10**400}},
    {"guard": {"descriptors": list(NAMES), "mean": [0.0] * len(NAMES), "scale": [0.0] * len(NAMES)}},
    {"temperature": 1e-320},
    {"temperature": 1e300},
    {"bias": [1e299, 0, 0, 0]},
    {"bias": [float("inf"), 0, 0, 0]},
    {"stacking": {"weights": [[1e200] * 5] * 4, "bias": [0] * 4}},
    {"thresholds": {"mask": -1}},
    {"thresholds": {"abstain": 1e99}},
    {"classes": ["glioma", "two\nlines", "notumor", "pituitary"]},
    {"classes": ["glioma", "turned \u202e round", "notumor", "pituitary"]},
    {"classes": [str(i) for i in range(10_000)]},
    {"classes": ["glioma", " ", "notumor", "pituitary"]},
    {"classes": ["glioma", "glioma ", "notumor", "pituitary"]},
    {"classifier": {"architecture": "x", "parameters": 10**20}},
    {"training": {"epochs": -1}},
    {"name": "n" * 10_000},
    {"name": "\x1b[2J"},
    {"created": 5},
    {"files": {"../../secret.onnx": {"sha256": "0" * 64, "bytes": 1}}},
    {"files": {"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}},
    {"files": {"classifier.onnx": {"sha256": "../..", "bytes": 1}}},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=lambda c: json.dumps(c)[:60])
def test_configs_of_wrong_types_are_refused_with_one_sentence(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A config.json may come from anyone's Hub repo."""
    folder = write_handmade(tmp_path / "m")
    edit(folder, **changes)
    with pytest.raises(ArtifactError) as caught:
        Predictor.load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"test": {"secret": 1}}')
    for name in ("config.json", "metrics.json", "classifier.onnx"):
        folder = write_handmade(tmp_path / name / "m")
        (folder / name).rename(tmp_path / name / "moved")
        (folder / name).symlink_to(secret if name == "metrics.json" else tmp_path / name / "moved")
        with pytest.raises(ArtifactError, match=f"{name} is a link that leads out of the model folder"):
            load_artifact(folder).metrics()
    folder = write_handmade(tmp_path / "m")
    (tmp_path / "latest").symlink_to(folder)
    (folder / "metrics.json").rename(folder / "measured.json")
    (folder / "metrics.json").symlink_to("measured.json")
    assert load_artifact(tmp_path / "latest").metrics() == {"test": {}}, "a link to the folder, and one inside of it"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_what_the_page_may_show_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "SHOWN_BYTES", 1000)
    folder = write_handmade(tmp_path / "m")
    shown = folder / "figures"
    shown.mkdir()
    assert load_artifact(folder).shown("figures") == ([], 0) == load_artifact(folder).shown("examples")
    for name, size in (("a.png", 400), ("b.png", 700), ("c.png", 500)):
        (shown / name).write_bytes(b"x" * size)
    (shown / "d.png").symlink_to("/etc/hostname")
    (shown / "e.png").symlink_to("a.png")
    (shown / "f.png").mkdir()
    os.mkfifo(shown / "g.png")
    (shown / "notes.txt").write_text("no picture")
    kept, left = load_artifact(folder).shown("figures", "*.png")
    assert [path.name for path in kept] == ["a.png", "c.png"] and left == 3
    monkeypatch.setattr(artifact, "SHOWN", 1)
    assert len(load_artifact(folder).shown("figures")[0]) == 1
    (folder / "examples").symlink_to(tmp_path)
    (tmp_path / "scan.png").write_bytes(b"x")
    assert load_artifact(folder).shown("examples", "*.png") == ([], 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_the_config_is_not_waited_for(tmp_path: Path) -> None:
    path = write_handmade(tmp_path / "m") / "config.json"
    path.unlink()
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=["{}"], daemon=True)  # whoever reads it gets on, but wrongly
    writer.start()
    with pytest.raises(ArtifactError, match=r"config\.json is no file\.$"):
        load_artifact(path.parent)
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    path.unlink()


def test_files_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_handmade(tmp_path / "m")
    monkeypatch.setattr(artifact, "JSON_BYTES", 100)
    with pytest.raises(ArtifactError, match=r"config\.json is larger than"):
        load_artifact(folder)


def test_numbers_stay_on_one_line_and_text_is_untouched(tmp_path: Path) -> None:
    value = {
        "rows": [[1.5, -2e-7, 3], [4, 5, 6]],
        "text": "a [ 1, 2 ]\n[\n 3,\n 4\n]",
        "empty": [],
        "names": ["x", "y"],
    }
    files.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == value
    assert "[1.5, -2e-07, 3]" in text
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_json_with_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert files.read_json(tmp_path / "x.json") == {"a": 1}


def test_bundled_artifact_is_whole(bundled: Path) -> None:
    loaded = load_artifact(bundled)
    assert loaded.classes == ("glioma", "meningioma", "notumor", "pituitary")
    for name, stated in loaded.config.files.items():
        path = bundled / name
        assert path.is_file() and files.sha256(path) == stated.sha256, name
        assert stated.bytes < 10_000_000, f"{name} is too large for a git push without LFS"
