"""What the page offers to try: a folder of the host, slices of the model, drawings; and what is said of each."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

import app
from brain_mri.artifact.examples import LICENCE
from brain_mri.artifact.folder import load_artifact
from brain_mri.imaging.scan import ScanError
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import examples
from brain_mri.ui.page import build_interface


@pytest.fixture
def model(handmade_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(handmade_artifact, tmp_path / "model"))


@pytest.fixture
def folder(phantom_png, tmp_path: Path) -> Path:
    place = tmp_path / "mine"
    place.mkdir()
    shutil.copy(phantom_png("glioma", 1), place / "own_axial.png")
    (place / "broken.png").write_text("no picture")
    (place / ".hidden.png").write_text("no picture")
    return place


def test_drawings_say_what_they_are(model: Path) -> None:
    found = examples.load_examples(load_artifact(model))
    captions = [example.caption for example in found]
    assert len(found) == 6 and {example.note for example in found} == {"synthetic drawings, not patients"}
    assert ("No tumor", "axial, JPG") in captions and ("Meningioma", "coronal, 16-bit, PNG") in captions
    assert [example.path.name for example in found if example.volume] == ["synthetic_glioma_volume.nii.gz"]


def test_those_of_a_model_come_first_and_broken_ones_are_left_out(model: Path, folder: Path) -> None:
    shutil.copytree(folder, model / "examples")
    (example,) = examples.load_examples(load_artifact(model))
    assert (
        example.caption == ("Own", "axial, PNG") and not example.volume and example.note == "they come with the model"
    )
    (model / "examples" / LICENCE).write_text("CC BY 4.0 <b>\n\nhow they were chosen")
    (example,) = examples.load_examples(load_artifact(model))
    assert example.note == "from the test split of this model, licence: CC BY 4.0 <b>"
    assert "licence: CC BY 4.0 &lt;b&gt;)" in str(examples.example_chooser([example], "x").value)


def test_a_folder_comes_before_all_and_says_what_it_skips(
    model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "brain_mri"):
        (example,) = examples.load_examples(load_artifact(model), folder)
    assert example.note == "chosen by who runs this page"
    assert len(caplog.records) == 1 and "broken.png" in caplog.text  # and not of the hidden file


def test_a_folder_has_a_limit(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(examples.MOST + 2):
        shutil.copy(folder / "own_axial.png", folder / f"z{i:02d}.png")
    assert len(examples.examples_in(folder)) == examples.MOST
    assert "3 more files" in caplog.text


def test_a_folder_without_scans_is_an_error(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "own_axial.png").unlink()
    with pytest.raises(ScanError, match=r"None of the 1 files in .* can be read"):
        examples.examples_in(folder)
    assert app.main(["--model", str(model), "--examples", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"error: There is no folder {tmp_path / 'nowhere'} with examples.\n"
    monkeypatch.setenv("BRAIN_MRI_EXAMPLES", str(folder))
    with pytest.raises(ScanError, match="None of the 1 files"):
        build_interface(Predictor.load(model))


def test_the_page_offers_them(folder: Path, predictor: Predictor) -> None:
    page = build_interface(predictor, examples=folder)
    shown = [getattr(block, "value", "") for block in page.blocks.values() if block.elem_id == "scan-examples"]
    page.close()
    assert len(shown) == 1 and "chosen by who runs this page" in shown[0] and shown[0].count("data-pick") == 1
