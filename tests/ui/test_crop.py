"""One slice cut out of a montage: two clicks, pixels as they are in the file."""

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


def test_two_clicks_cut_out_what_lies_between(montage: tuple[str, np.ndarray]) -> None:
    path, values = montage
    for one, other in (((0.5, 0.25), (1.0, 0.75)), ((1.0, 0.25), (0.5, 0.75))):
        after, part = crop.clicked(Cut(path), {"x": one[0], "y": one[1]})
        assert part is None and after.corner == one and crop.SECOND in crop.board(after)
        after, part = crop.clicked(after, {"x": other[0], "y": other[1]})
        assert part and part.name == "montage_cropped.png" and after == Cut(path)
        assert np.array_equal(np.asarray(Image.open(part)), values[10:30, 30:60])


def test_a_turned_photograph_is_cropped_as_it_is_shown(montage: tuple[str, np.ndarray], tmp_path: Path) -> None:
    _, values = montage
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turned to the right
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    _, part = crop.clicked(Cut(str(tmp_path / "turned.png"), (0.0, 0.0)), {"x": 0.5, "y": 0.5})
    assert part and np.array_equal(np.asarray(Image.open(part)), np.rot90(values, -1)[:30, :20])


def test_a_double_click_is_a_sentence(montage: tuple[str, np.ndarray]) -> None:
    with pytest.raises(ScanError, match="too close together"):
        crop.clicked(Cut(montage[0], (0.5, 0.5)), {"x": 0.51, "y": 0.5})


def test_without_a_picture_it_says_what_to_do() -> None:
    assert crop.NOTHING in crop.board(None)
