"""A budget in bytes over all visitors: the longest unused goes first, and its visitor reads a sentence."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from brain_mri.imaging.scan import ScanError
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import keeping
from brain_mri.ui.keeping import Shelf, still_there, tidy
from brain_mri.ui.page import build_interface
from dev.visitor import Visitor
from tests.helpers.files import make_volume, write_nifti

HOUR = 3600


def test_the_longest_unused_goes_first_and_its_visitor_is_told() -> None:
    shelf = Shelf(memory=100, disk=1000)
    first, second, third = (shelf.put(f"scan {i}", memory=40) for i in range(3))
    with pytest.raises(ScanError, match=r"no longer keeps.*choose the file again"):
        shelf.get(first)
    assert shelf.get(second) == "scan 1" and shelf.size == (80, 0)
    volume = shelf.put("a volume", disk=900)  # no memory is needed for it
    assert shelf.get(third) == "scan 2" and shelf.size == (80, 900)
    shelf.get(second)  # looked at: the third is the older one now
    another = shelf.put("another scan", memory=50)
    assert shelf.get(volume) and shelf.get(another) and third.value is None and shelf.get(second) == "scan 1"
    huge = shelf.put("a huge one", memory=5000)  # no visitor is refused for the others' sake
    assert shelf.get(huge) == "a huge one" and second.value is None and shelf.size == (5000, 900)
    with pytest.raises(ScanError, match="choose a scan"):
        shelf.get(None)


def test_what_a_session_forgets_counts_no_more() -> None:
    shelf = Shelf(memory=100)
    kept = [shelf.put(object(), memory=30) for _ in range(3)]
    del kept[1:]
    gc.collect()
    assert shelf.size == (30, 0)
    shelf.let_go(unused=HOUR)
    assert kept[0].value is not None
    kept[0].used -= 2 * HOUR
    shelf.let_go(unused=HOUR)
    assert kept[0].value is None and shelf.size == (0, 0)


def test_many_threads() -> None:
    shelf, held = Shelf(memory=1000), []

    def visitor() -> None:
        for _ in range(200):
            held.append(shelf.put(bytes(1), memory=90))

    threads = [threading.Thread(target=visitor) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(kept.value is not None for kept in held) == 11 and shelf.size == (990, 0)


def test_files_that_are_old_or_broken_off_or_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = tmp_path / "abc" / "scan.png"
    pieces = [tmp_path / "tmpbroken", tmp_path / "tmpgrowing"]
    part, page = tmp_path / "out-1" / "part.png", tmp_path / "def" / "figure.png"
    for path in (upload, *pieces, part, page):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
    real, now = os.stat, time.time()
    ages = {upload: HOUR / 2, pieces[0]: HOUR / 10, pieces[1]: 60, part: HOUR + 1, page: 9 * HOUR}

    def stat(path: Any, **options: Any) -> os.stat_result:
        """As if they were so old: nobody can set a file's time of change."""
        found = list(real(path, **options))
        if Path(path) in ages:
            found[8] = found[9] = int(now - ages[Path(path)])
        return os.stat_result(found)

    monkeypatch.setattr(keeping.os, "stat", stat)
    assert tidy(tmp_path, {str(page)}) == {str(pieces[0]), str(part)}
    assert tidy(tmp_path, {str(page)}, budget=299) == {str(upload)}
    assert tidy(tmp_path, {str(page)}, budget=1) == {str(pieces[1])} and page.exists()
    ages |= {part.parent: HOUR, upload.parent: HOUR}
    tidy(tmp_path, {str(page)})
    assert not part.parent.exists() and not upload.parent.exists()
    with pytest.raises(ScanError, match=r"no longer keeps this file.*choose the file again"):
        still_there([page, upload])


# --- on the page -----------------------------------------------------------------------------------------------


@pytest.fixture
def page(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[gr.Blocks, str, Shelf]]:
    shelf = Shelf()
    monkeypatch.setattr(keeping, "EVERY", 0.1)
    for module in ("analyze_tab", "volume_tab", "keeping"):
        monkeypatch.setattr(f"brain_mri.ui.{module}.shelf", shelf)
    page = build_interface(predictor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield page, url, shelf
    page.close(verbose=False)


def test_visitors_beyond_the_budget(
    page: tuple[gr.Blocks, str, Shelf], phantom_png: Callable[..., Path], tmp_path: Path
) -> None:
    _, url, shelf = page
    voxels, _, spacing = make_volume("meningioma", 5)
    volume = write_nifti(tmp_path / "v.nii.gz", voxels, spacing)
    with Visitor(url) as ada, Visitor(url) as bob:
        assert "Largest area" in ada.choose("volume-file", volume)
        assert "Heat inside the mask" in ada.choose("scan-file", phantom_png())
        memory, disk = shelf.size
        assert 100_000 < memory < 10**8 and disk == voxels.size * (voxels.itemsize + 1)
        shelf.memory, shelf.disk = memory, disk  # room for one visitor
        bob.choose("volume-file", volume)
        bob.choose("scan-file", phantom_png("glioma", 3))
        assert shelf.size[1] == disk
        for control in ("volume-0", "Mask threshold"):
            said = ada.fire(control, "input")
            assert "no longer keeps this result" in said and "choose the file again" in said and "<img" not in said
            assert "no longer keeps" not in bob.fire(control, "input")
        assert "Largest area" in ada.choose("volume-file", volume)


def test_who_has_left_is_forgotten(
    page: tuple[gr.Blocks, str, Shelf], phantom_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, url, shelf = page
    monkeypatch.setattr(keeping, "LEFT_SECONDS", 0)
    with Visitor(url) as ada:
        with Visitor(url) as bob:
            for visitor in (ada, bob):
                visitor.choose("scan-file", phantom_png())
            both = shelf.size[0]
        deadline = time.monotonic() + 120
        while shelf.size[0] != both / 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            gc.collect()
        assert ada.session in blocks.state_holder and bob.session not in blocks.state_holder
        assert "Heat inside the mask" in ada.fire("Mask threshold", "input", 0.4)


def test_uploads_beyond_the_budget(
    page: tuple[gr.Blocks, str, Shelf], phantom_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, url, _ = page
    with Visitor(url) as ada:
        path = Path(ada.send(phantom_png())["path"])
        assert path.exists() and str(path) in blocks.upload_file_set
        assert tidy(path.parents[1], budget=0) >= {str(path)}
        assert "no longer keeps" in ada.choose("scan-file", path, sent=True)


def test_a_page_tidies_by_itself(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is older than no time at all goes; the files of the page itself stay."""
    monkeypatch.setattr(keeping, "EVERY", 0.05)
    monkeypatch.setattr(keeping, "FILE_SECONDS", 0)
    blocks = build_interface(predictor)
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
    try:
        answer = httpx.post(f"{url}gradio_api/upload", files={"files": ("a.png", b"scan")}).raise_for_status()
        path, deadline = Path(answer.json()[0]), time.monotonic() + 120
        while path.exists() or str(path) in blocks.upload_file_set:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        blocks.close(verbose=False)
