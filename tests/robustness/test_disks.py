"""Full disks, folders that are read-only or go away, data that changes meanwhile: a sentence, and nothing is lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brain_mri import files
from brain_mri.artifact.folder import load_artifact, new_artifact
from brain_mri.cli import predict
from brain_mri.imaging.read import read_scan
from brain_mri.inference import batch
from brain_mri.inference.predictor import Predictor
from tests.helpers.handmade import write_handmade

ROOT = Path(__file__).resolve().parents[2]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes: what a full disk or a quota does to a program, wherever it writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- artifacts -------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_artifact(tmp_path: Path) -> None:
    folder = write_handmade(tmp_path / "m", name="old")
    before = content(tmp_path)
    with full_disk(50_000), pytest.raises(OSError), new_artifact(folder, {}) as staging:
        (staging / "classifier.onnx").write_bytes(bytes(200_000))
    assert content(tmp_path) == before and load_artifact(folder).config.name == "old"


def test_a_text_that_does_not_fit_leaves_the_old_text(tmp_path: Path) -> None:
    files.write_json(tmp_path / "state.json", {"epoch": 3})
    with full_disk(50_000), pytest.raises(OSError):
        files.write_json(tmp_path / "state.json", {"history": "x" * 100_000})
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert files.read_json(tmp_path / "state.json") == {"epoch": 3}


def test_an_artifact_folder_that_vanishes_while_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError), new_artifact(tmp_path / "m", {}) as staging:
        shutil.rmtree(tmp_path / "m")
        (staging / "classifier.onnx").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


# --- predict ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path: Path, phantom_png: Any) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(6):
        shutil.copy(phantom_png("glioma", seed), folder / f"{seed}.png")
    return folder


def test_predict_on_a_full_disk_keeps_the_last_results(tmp_path: Path, scans: Path, handmade_artifact: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "brain_mri",
        "predict",
        "--model",
        str(handmade_artifact),
        "--out",
        str(out),
        str(scans),
    ]
    assert subprocess.run(command, capture_output=True).returncode == 0
    before = content(out)
    small = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
    small += f"sys.argv = {['brain_mri', *command[3:]]}; runpy.run_module('brain_mri', run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", small], capture_output=True, text=True)
    assert run.returncode == 2, run.stderr
    said = run.stderr.strip().splitlines()[-1]
    assert said.startswith("predict: The results could not be written") and said.endswith(").")
    assert "Traceback" not in run.stderr
    after = content(out)
    assert {name: after[name] for name in before} == before  # the old tables and pictures, whole
    assert not [name for name in after if name.endswith(".tmp")]


@pytest.mark.parametrize("how", ["vanishes", "becomes read-only"])
def test_predict_whose_out_folder_goes_away(
    tmp_path: Path, scans: Path, handmade_artifact: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out, real, done = tmp_path / "out", Predictor.analyze, []

    def analyze(self: Predictor, scan: Any) -> Any:
        done.append(scan)
        if len(done) == 4:  # the first one warms the model up
            if how == "vanishes":
                shutil.rmtree(out)
            else:
                monkeypatch.setattr(Path, "write_bytes", read_only)
        return real(self, scan)

    def read_only(self: Path, data: bytes) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Predictor, "analyze", analyze)
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), "--threads", "1", str(scans)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"predict: The results could not be written to {out} (") and said.endswith(").")


def test_predict_whose_files_vanish_or_are_cut(
    tmp_path: Path, scans: Path, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, **how: Any) -> Any:
        if path.name == "1.png":
            (scans / "2.png").unlink()
            (scans / "3.png").write_bytes((scans / "3.png").read_bytes()[:200])
        return read_scan(path, **how)

    monkeypatch.setattr(batch, "read_scan", read)
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), "--threads", "1", str(scans)]) == 1
    rows = files.read_json(out / "predictions.json")["scans"]
    reasons = [row.get("error", "") for row in rows]
    assert [bool(reason) for reason in reasons] == [False, False, True, True, False, False]
    assert reasons[2] == "There is no file 2.png." and "damaged" in reasons[3]


# --- train.py --------------------------------------------------------------------------------------------------


def test_weights_that_cannot_be_written_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from brain_mri.training import fit

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    path = tmp_path / "tmp-best.weights.h5"
    with pytest.raises(FileNotFoundError):
        fit.save_weights(model, tmp_path / "vanished" / path.name)

    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(fit.shutil, "copyfile", half)
        with pytest.raises(OSError, match="No space left"):
            fit.save_weights(model, path)
    with monkeypatch.context() as patch:
        patch.setattr(fit.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 95, 5))  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="No space left"):
            fit.save_weights(model, path)
    assert list(tmp_path.iterdir()) == []
    fit.save_weights(model, path)
    model.load_weights(path)


@pytest.mark.slow
def test_training_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The disk is full after the first epoch, and again when the artifact is written; the data folder goes away too."""
    import train
    from brain_mri.data import phantom
    from brain_mri.training import fit, guard_fit

    data = phantom.write_dataset(tmp_path / "data", per_class=12, seed=5, size=64)
    out = tmp_path / "run"
    words = ["--data", str(data), "--out", str(out), "--cache", str(tmp_path / "cache"), "--classifier", "gap_cnn"]
    words += ["--size", "32", "--batch-size", "8", "--epochs", "2", "--verbose", "0", "--precision", "float32"]
    real, copies = shutil.copyfile, []

    def copyfile(source: Path, target: Path) -> Any:
        copies.append(target)
        if len(copies) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(fit.shutil, "copyfile", copyfile)
        assert train.main(words) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("train.py: No space left on device: ") and said.endswith("add --resume to go on.")
    folder = out / "checkpoints" / "classifier"
    assert files.read_json(folder / "state.json")["epoch"] == 1 and not list(folder.glob("tmp-*"))

    def no_room(*args: Any) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(guard_fit, "fit_on_dataset", no_room)
        assert train.main([*words, "--resume"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("train.py: No space left on device") and "--resume" in said
    assert [path.name for path in out.iterdir()] == ["checkpoints"]

    guarded = guard_fit.fit_on_dataset

    def fit_guard(*args: Any) -> Any:
        shutil.rmtree(data)  # Drive is unmounted between training and the end
        return guarded(*args)

    with monkeypatch.context() as patch:
        patch.setattr(guard_fit, "fit_on_dataset", fit_guard)
        assert train.main([*words, "--resume"]) in (0, 1)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if not (out / "config.json").exists():
        assert said.err.strip().splitlines()[-1].startswith("train.py: ")
        phantom.write_dataset(data, per_class=12, seed=5, size=64)
        assert train.main([*words, "--resume"]) == 0
    state = load_artifact(out).config.training.classifier
    assert state and state.epoch == 2
