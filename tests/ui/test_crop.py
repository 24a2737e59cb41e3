"""One slice cut out of a montage: a rectangle, pixels as they are in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_mri.imaging.scan import ScanError
from brain_mri.ui import crop
from brain_mri.ui.crop import Cut


@pytest.fixture
def montage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray]:
    """(a picture of 60 x 40 pixels, its values)."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    values = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "montage.png")
    return str(tmp_path / "montage.png"), values


def test_what_lies_in_the_rectangle_is_cut_out(montage: tuple[str, np.ndarray]) -> None:
    path, values = montage
    for box in ((0.5, 0.25, 1.0, 0.75), (1.0, 0.25, 0.5, 0.75), (1.7, 0.75, 0.5, 0.25)):
        after, part = crop.chosen(Cut(path), {"box": list(box)})
        assert Path(part).name == "montage_cropped.png" and after.path == path
        assert np.array_equal(np.asarray(Image.open(part)), values[10:30, 30:60])
        assert "left:50.00%;top:25.00%;width:50.00%;height:50.00%" in crop.board(after)


def test_the_whole_picture_comes_back(montage: tuple[str, np.ndarray]) -> None:
    path, _ = montage
    cut, _ = crop.chosen(Cut(path), {"box": [0, 0, 0.5, 0.5]})
    assert "data-whole" in crop.board(cut) and "data-whole" not in crop.board(Cut(path))
    assert crop.chosen(cut, {"whole": True}) == (Cut(path), path)


def test_gray_values_of_sixteen_bits_stay(montage: tuple[str, np.ndarray], tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65535, (40, 60), np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    _, part = crop.chosen(Cut(str(tmp_path / "deep.png")), {"box": [0.5, 0.25, 1, 0.75]})
    assert np.array_equal(np.asarray(Image.open(part)), values[10:30, 30:60])


def test_a_turned_photograph_is_cropped_as_it_is_shown(montage: tuple[str, np.ndarray], tmp_path: Path) -> None:
    _, values = montage
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turned to the right
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    _, part = crop.chosen(Cut(str(tmp_path / "turned.png")), {"box": [0, 0, 0.5, 0.5]})
    assert np.array_equal(np.asarray(Image.open(part)), np.rot90(values, -1)[:30, :20])


def test_too_small_a_rectangle_is_a_sentence(montage: tuple[str, np.ndarray]) -> None:
    with pytest.raises(ScanError, match="too small"):
        crop.chosen(Cut(montage[0]), {"box": [0.5, 0.5, 0.51, 0.5]})


def test_without_a_picture_it_says_what_to_do() -> None:
    assert crop.NOTHING in crop.board(None)
