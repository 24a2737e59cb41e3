"""The catalogue of evils.py, read by a program of its own: right values or one sentence, bounded, a quiet console."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_mri.data.description import described
from brain_mri.data.folders import DataError
from brain_mri.data.reader import ATTEMPTS
from brain_mri.imaging import archive, scan
from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from tests.helpers.files import dicom, encode, saved
from tests.robustness.evils import HEAD, STACK

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_evil_ends_well() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.robustness.evils"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    print(f"{len(rows)} evils in {sum(row['seconds'] for row in rows):.1f} s")
    assert len(rows) >= 90 and len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row["expected"] in ("any", row["outcome"]), row
        assert row["seconds"] < 10, row
        for text in row["sentences"]:
            assert text[-1] in ".)" and "\n" not in text and len(text) < 400 and "Traceback" not in text, row
    assert run.stderr == ""  # no warning of Pillow, pydicom, nibabel or OpenCV reaches the console


def series(folder: Path) -> Path:
    folder.mkdir()
    for i, values in enumerate(STACK):
        tags: dict[str, Any] = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, i]}
        (folder / f"{i}.dcm").write_bytes(saved(dicom(values, **tags)))
    return folder


@pytest.mark.parametrize("how", ["vanishes", "is cut short", "becomes a dead link"])
def test_a_series_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    folder = series(tmp_path / "study")
    real = scan.read_bytes

    def read_bytes(path: Path, name: str) -> bytes:
        following = folder / f"{int(path.stem) + 1}.dcm"
        if path.stem == "1":
            if how == "vanishes":
                following.unlink(missing_ok=True)
            elif how == "is cut short":
                following.write_bytes(following.read_bytes()[:300])
            else:
                following.unlink(missing_ok=True)
                following.symlink_to(folder / "nowhere")
        return real(path, name)

    monkeypatch.setattr(archive, "read_bytes", read_bytes)
    volume = read_volume(folder)  # the rest is shown, and it is said that some is missing
    assert len(volume) == 4 and any("evenly" in w or "passed over" in w for w in volume.warnings)


def test_what_is_no_ordinary_file_is_never_opened(tmp_path: Path) -> None:
    """A pipe would block for ever, /dev/zero never ends."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "zero.png", "round.png", "folder.png", "n" * 300, "nul\0l"):
        with pytest.raises(ScanError) as caught:
            read_scan(tmp_path / name)
        assert str(caught.value).endswith((".", ".)")) and "\n" not in str(caught.value)
        assert is_volume(tmp_path / name) == (name == "folder.png")


def test_pipes_devices_and_strange_names_among_the_training_data(tmp_path: Path) -> None:
    from brain_mri.data import dataset as data

    good = encode(Image.fromarray(HEAD), "PNG")
    for label in ("glioma", "notumor"):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        for i in range(6):
            picture = Image.fromarray(np.roll(HEAD, 5 * i + (label == "glioma"), 0))
            (folder / f"{i}.png").write_bytes(encode(picture, "PNG"))
    glioma = tmp_path / "data" / "glioma"
    os.mkfifo(glioma / "pipe.png")
    (glioma / "zero.png").symlink_to("/dev/zero")
    (glioma / "nowhere.png").symlink_to("/nowhere")
    (glioma / "up").symlink_to(tmp_path / "data")
    with open(os.fsencode(glioma) + b"/\xff\xfe\n.png", "wb") as file:
        file.write(good)
    dataset = data.load_dataset(tmp_path / "data", size=32, cache=tmp_path / "cache", progress=False)
    assert len(dataset.table) == 13
    reasons = dict(zip(dataset.skipped["path"], dataset.skipped["reason"], strict=True))
    assert reasons["glioma/pipe.png"] == reasons["glioma/zero.png"] == "is no ordinary file"
    assert "vanished" in reasons["glioma/nowhere.png"] and ATTEMPTS > 1
    described(dataset).encode()  # can be printed


def test_a_data_folder_that_vanishes_after_it_was_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from brain_mri.data import dataset as data
    from brain_mri.data import reader

    for label in ("glioma", "notumor"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "data" / label / f"{i}.png").write_bytes(encode(Image.fromarray(np.roll(HEAD, i)), "PNG"))
    real = reader.read_all

    def read_all(*args: object) -> object:
        shutil.rmtree(tmp_path / "data")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(data, "read_all", read_all)
    with pytest.raises(DataError, match=r"None of the 6 files could be read; .* vanished while"):
        data.load_dataset(tmp_path / "data", size=32, cache=tmp_path / "cache", progress=False)
