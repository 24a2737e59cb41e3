"""What the tabs share: failures as sentences, examples to click."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import gradio.networking
import pytest
from starlette.requests import Request

from brain_mri.ui import common


def test_unexpected_errors_are_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    @common.speaking
    def handler() -> None:
        raise RuntimeError("secret path /home/ada")

    with pytest.raises(gr.Error) as error:
        handler()
    assert "secret" not in str(error.value) and "secret path" in caplog.text


def test_a_group_that_shares_a_password_does_not_wait_for_each_other() -> None:
    def asks(user: str | None, host: str, page: str) -> str:
        scope = {"type": "http", "headers": [], "client": (host, 5000)}
        return common.visitor(gr.Request(Request(scope), user, page))

    assert asks("course", "10.0.0.1", "a") == asks("course", "10.0.0.1", "b")  # one person with many pages
    assert len({asks("course", "10.0.0.1", "a"), asks("course", "10.0.0.2", "b"), asks("ada", "10.0.0.1", "c")}) == 3
    assert asks(None, "10.0.0.1", "a") != asks(None, "10.0.0.1", "b")


def test_examples_of_the_page_are_synthetic_and_say_what_they_are() -> None:
    examples = common.load_examples([])
    captions = [example.caption for example in examples]
    assert len(examples) == 6 and all(example.synthetic for example in examples)
    assert ("No tumor", "axial, JPG") in captions and ("Meningioma", "coronal, 16-bit, PNG") in captions
    assert [example.path.name for example in examples if example.volume] == ["synthetic_glioma_volume.nii.gz"]


def test_examples_of_a_model_come_first_and_broken_ones_are_left_out(phantom_png, tmp_path: Path) -> None:
    shutil.copy(phantom_png("glioma", 1), tmp_path / "own_axial.png")
    (tmp_path / "broken.png").write_text("no picture")
    (example,) = common.load_examples(sorted(tmp_path.iterdir()))
    assert example.caption == ("Own", "axial, PNG") and not example.synthetic and not example.volume
