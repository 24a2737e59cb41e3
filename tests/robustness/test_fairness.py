"""Small files that mean much work, several visitors at once, and visitors who leave: over HTTP, work counted."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import MAX_FRAMES, MAX_SLICES, ScanError
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import batch_tab, common
from dev.soak import Caller, Refused
from tests.helpers.files import dicom, saved
from tests.helpers.gated_page import GatedPage, gated_page


def thin(path: Path, slices: int) -> Path:
    """A NIfTI file of a few kB: many slices of 8 x 8 pixels."""
    image = nib.Nifti2Image(np.zeros((8, 8, slices), np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]))
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    return path


@pytest.fixture
def served(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedPage]:
    with gated_page(predictor, monkeypatch, opened=True) as made:
        yield made


def until(true: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def begun(served: GatedPage, folder: Path, path: Path) -> tuple[httpx.Client, str]:
    """A program that asks for a volume, as curl would: (its connection, the address of the answer)."""
    caller = Caller(served.url, folder)
    body = {"files": caller._uploaded([path])}
    event = caller.http.post("/call/v2/volume", json=body).raise_for_status().json()["event_id"]
    return caller.http, f"/call/volume/{event}"


def test_a_small_file_of_200_000_slices_is_refused_before_anything_is_analysed(
    served: GatedPage, tmp_path: Path
) -> None:
    bomb = thin(tmp_path / "thin.nii.gz", 200_000)
    assert bomb.stat().st_size < 20_000
    call = Caller(served.url, tmp_path)
    with pytest.raises(Refused, match=r"scan-\w{10} has 200,000 slices; the limit is 1,024\."):
        call("/volume", {"files": [bomb]})
    (row,) = call("/batch", {"files": [bomb]})[0]["rows"]
    assert "200,000 slices" in row["error"] and served.slices == 0
    assert len(read_volume(thin(tmp_path / "most.nii", MAX_SLICES))) == MAX_SLICES
    with pytest.raises(ScanError, match="the limit is"):
        read_scan(bomb)


def test_many_small_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), i % 251, np.uint8)) for i in range(MAX_SLICES + 1)]
    frames[0].save(tmp_path / "many.tif", save_all=True, append_images=frames[1:])
    (tmp_path / "many.dcm").write_bytes(saved(dicom(np.zeros((MAX_FRAMES + 1, 8, 8), np.uint8))))
    for name in ("many.tif", "many.dcm"):
        with pytest.raises(ScanError, match=r"more than 1,024 pictures|8193 frames"):
            read_volume(tmp_path / name)


def test_a_batch_of_too_many_slices_is_refused_before_anything_is_analysed(served: GatedPage, tmp_path: Path) -> None:
    files = [thin(tmp_path / f"{i}.nii.gz", MAX_SLICES) for i in range(batch_tab.MAX_BATCH // MAX_SLICES + 1)]
    with pytest.raises(Refused, match=r"hold 9,216 slices, which are too many at once; the limit is 8,192"):
        Caller(served.url, tmp_path)("/batch", {"files": files})
    assert served.slices == 0


def test_two_long_volumes_do_not_keep_another_visitor_waiting(served: GatedPage, tmp_path: Path, phantom_png) -> None:
    """They stand still here, for as long as it takes."""
    served.gate.clear()
    long = thin(tmp_path / "long.nii.gz", MAX_SLICES)
    visitors = [begun(served, tmp_path, long) for _ in range(3)]
    until(lambda: served.slices and len(served.places.waiting) == 2)
    (row,) = Caller(served.url, tmp_path)("/batch", {"files": [phantom_png("glioma", 1)]})[0]["rows"]
    assert row["label"] and len(served.places.working) == 1
    for http, _ in visitors:
        http.close()


def test_the_work_ends_when_a_program_hangs_up(served: GatedPage, tmp_path: Path) -> None:
    served.gate.clear()
    visitors = [begun(served, tmp_path, thin(tmp_path / "long.nii.gz", MAX_SLICES)) for _ in range(2)]
    with visitors[0][0].stream("GET", visitors[0][1]) as answer:
        lines = answer.iter_lines()
        assert any("generating" in line for line in lines)  # it works
        with visitors[1][0].stream("GET", visitors[1][1]):
            until(lambda: served.slices and served.places.waiting)
    until(lambda: not served.places.waiting)  # that one has not begun
    until(lambda: served.places.working[0].left)
    served.gate.set()
    until(lambda: not served.places.working)
    count = served.slices
    assert 0 < count < 100
    assert Caller(served.url, tmp_path)("/volume", {"files": [thin(tmp_path / "short.nii", 20)]})[0]["slices"] == 20
    assert served.slices == count + 20


def test_the_work_ends_when_nobody_ever_listens(
    served: GatedPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "UNHEARD", 3)
    served.gate.clear()
    long = thin(tmp_path / "long.nii.gz", MAX_SLICES)
    asked = [begun(served, tmp_path, long) for _ in range(3)]
    until(lambda: served.slices and not served.places.waiting)
    until(lambda: served.places.working[0].left)
    served.gate.set()
    until(lambda: not served.places.working)
    assert 0 < served.slices < 100
    with asked[0][0].stream("GET", asked[0][1]) as answer:
        assert "Nobody has listened" in answer.read().decode()


def test_the_work_ends_when_a_job_is_cancelled(served: GatedPage, tmp_path: Path) -> None:
    served.gate.clear()
    client = Client(served.url, verbose=False, download_files=False)
    job = client.submit([handle_file(thin(tmp_path / "long.nii.gz", MAX_SLICES))], None, api_name="/volume")
    until(lambda: served.slices)
    time.sleep(1)  # the client knows only then that it may cancel
    job.cancel()
    until(lambda: not served.places.working or served.places.working[0].left)
    served.gate.set()
    until(lambda: not served.places.working)
    assert served.slices < 100


def test_an_answer_of_a_program_is_whole_at_the_end(served: GatedPage, tmp_path: Path) -> None:
    """Events before it carry nothing."""
    http, address = begun(served, tmp_path, thin(tmp_path / "short.nii.gz", 40))
    with http.stream("GET", address) as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-2] == "event: complete"
    found, files = json.loads(lines[-1].removeprefix("data: "))
    assert found["slices"] == 40 and len(files) == 3
