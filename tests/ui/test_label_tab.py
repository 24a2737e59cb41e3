"""The tab Label without a browser: what each button does to the folder, and who may have the tab. Strokes and keys:
test_label_browser.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import gradio as gr
import httpx
import numpy as np
import pytest

import app
from brain_mri.data.labelling import Labelling
from brain_mri.data.pairs import mask_pairs
from brain_mri.imaging.picture import png
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import hosting
from brain_mri.ui.outline_editor import mask_of_runs, runs_of
from brain_mri.ui.page import build_interface
from dev.visitor import Visitor
from tests.helpers.files import decode


@pytest.fixture
def root(tmp_path: Path, phantom_png) -> Path:
    for label, seeds in {"glioma": (1, 2, 3), "meningioma": (21, 22), "notumor": (1,)}.items():
        (tmp_path / "slices" / label).mkdir(parents=True)
        for seed in seeds:
            (tmp_path / "slices" / label / f"{seed}.png").write_bytes(phantom_png(label, seed, 128).read_bytes())
    return tmp_path / "slices"


class Hand(Visitor):
    """Somebody at the tab."""

    def __enter__(self) -> Hand:
        return self

    def come(self) -> str:
        said = self._find("label-said")
        load = next(e for e in self._events if e["targets"][0][1] == "load" and said in e["outputs"])
        return "\n".join(self._run(load, 0, None))

    def press(self, button: str, mask: np.ndarray | None = None, key: str | None = None) -> str:
        """mask: what is drawn, else what stood on the board; key: of the board that was seen, else the last."""
        drawn = self.shown("mask") if mask is None else runs_of(mask)
        self._values[self._find("label-sent")] = f"{key or self.shown('of')} {drawn}"
        return self.fire(f"label-{button}", "click")

    def shown(self, what: str) -> str:
        found = re.search(f'data-{what}="([^"]*)"', str(self._values[self._find("label-outline")]))
        return found[1] if found else ""

    @property
    def file(self) -> str:
        found = re.search(r'class="sentence">([^<]*)<', str(self._values[self._find("label-said")]))
        return found[1] if found else ""

    def text(self, name: str) -> str:
        return str(self._values[self._find(name)])


@pytest.fixture
def hand(predictor: Predictor, root: Path) -> Iterator[Hand]:
    page = build_interface(predictor, label=root)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
    with Hand(url) as someone:
        someone.come()
        yield someone
    page.close()


def masks(root: Path) -> dict[str, np.ndarray]:
    """Of what is saved, by the beginning of its name."""
    found = root.with_name("slices-outlines").glob("masks/*")
    return {path.name.rpartition("-")[0]: decode(path.read_bytes()) for path in found}


def stem(file: str) -> str:
    return file.replace("/", "_").removesuffix(".png")


def drawn() -> np.ndarray:
    mask = np.zeros((128, 128), bool)
    mask[50:70, 40:60] = True
    return mask


def test_the_proposal_is_the_model_s_and_what_is_drawn_is_saved(hand: Hand, root: Path, predictor: Predictor) -> None:
    while hand.file != "meningioma/21.png":
        hand.press("skip")
    first = hand.file
    own = predictor.analyze(read_scan(root / first)).mask_at(predictor.mask_threshold)
    assert own.any() and hand.shown("mask") == hand.shown("model") == runs_of(own)
    assert "0 of 5 saved" in hand.text("label-progress") and "train.py" not in hand.text("label-progress")
    hand.press("next", drawn())
    assert hand.file not in ("", first)
    name = first.replace("/", "_").removesuffix(".png")
    assert np.array_equal(masks(root)[name], drawn() * np.uint8(255))
    pairs, skipped = mask_pairs(root.with_name("slices-outlines"))
    assert not skipped and [pair.label for pair in pairs] == [first.split("/")[0]]
    assert pairs[0].path.read_bytes() == (root / first).read_bytes()
    said = hand.text("label-progress")
    assert "1 of 5 saved" in said and f"--data {root} --masks {root}-outlines --init weights" in said
    hand.press("next")  # the proposal as it stands
    assert len(masks(root)) == 2


def test_a_button_counts_for_the_slice_that_was_seen(hand: Hand, root: Path) -> None:
    before = hand.shown("of")
    hand.press("next", drawn())
    second = hand.file
    for button in ("next", "none", "skip"):  # pressed twice, before the next slice arrived
        hand.press(button, drawn(), key=before)
        assert hand.file == second and len(masks(root)) == 1
    hand.press("next", drawn(), key="nonsense")
    assert hand.file == second and len(masks(root)) == 1


def test_damaged_outlines_are_a_sentence_and_nothing_is_lost(hand: Hand, root: Path) -> None:
    first = hand.file
    board = hand.shown("of")
    said = hand.press("next", np.ones((3, 3), bool))
    assert "arrived damaged" in said and not masks(root) and hand.shown("of") == board
    hand.press("next", drawn())
    assert first.replace("/", "_").removesuffix(".png") in masks(root)


def test_no_tumor_skip_previous_and_take_back(hand: Hand, root: Path) -> None:
    first = hand.file
    hand.press("none")
    assert [mask.any() for mask in masks(root).values()] == [False]
    assert "1 without a tumor" in hand.text("label-progress")
    second = hand.file
    hand.press("skip")
    third = hand.file
    assert len({first, second, third}) == 3 and len(masks(root)) == 1
    hand.press("previous")
    assert hand.file == second
    hand.press("previous")
    assert (
        hand.file == first
        and "Saved" in hand.text("label-said")
        and not mask_of_runs(hand.shown("mask"), (128, 128)).any()
    )
    hand.press("next", drawn())  # another opinion
    assert next(iter(masks(root).values())).any() and len(masks(root)) == 1 and hand.file == second
    hand.press("back")  # the last one that was saved
    assert hand.file == first and not masks(root) and hand.shown("mask") == runs_of(drawn())
    before = hand.text("label-said")
    hand.press("back")  # there is nothing more
    assert hand.text("label-said") == before
    assert not list(root.with_name("slices-outlines").glob("images/*"))


def test_what_was_drawn_and_not_saved_comes_again(hand: Hand, root: Path) -> None:
    first = hand.file
    hand.press("skip", drawn())
    second = hand.file
    hand.press("previous", ~drawn())
    assert hand.file == first and hand.shown("mask") == runs_of(drawn()) != hand.shown("model")
    assert "not saved" in hand.text("label-said") and not masks(root)
    hand.press("next")  # as it stands
    assert hand.file == second and hand.shown("mask") == runs_of(~drawn())
    hand.press("back")
    hand.press("back")  # nothing more: what was taken back stands there as it was
    assert hand.file == first and hand.shown("mask") == runs_of(drawn()) and not masks(root)
    hand.press("none")
    hand.press("next")
    hand.press("previous")
    assert hand.file == second and "not saved" not in hand.text("label-said")
    saved = masks(root)[second.replace("/", "_").removesuffix(".png")]
    assert np.array_equal(saved > 0, ~drawn()) and hand.shown("mask") == runs_of(~drawn())


def test_to_the_end_and_on_the_next_day(hand: Hand, root: Path) -> None:
    gone = next(path for path in (root / "glioma").iterdir() if path.name != Path(hand.file).name)
    gone.write_bytes(b"gone bad")  # while the page was open
    seen = []
    while hand.file.endswith(".png"):
        seen.append(hand.file)
        hand.press("next", drawn())
    assert len(seen) == 4 and hand.file == "Every slice that can be read is outlined."
    assert f"Passed over: {gone.name}" in hand.text("label-progress") and "4 of 5 saved" in hand.text("label-progress")
    hand.press("next")  # there is no board to save
    hand.press("previous")
    assert hand.file == seen[-1]
    hand.come()
    assert hand.file == "Every slice that can be read is outlined."
    assert [count.saved for count in Labelling(root).counts()] == [2, 2]


def test_one_class_at_a_time(hand: Hand, root: Path) -> None:
    for _ in range(2):
        hand.fire("label-kind", "input", "meningioma")
        assert hand.file.startswith("meningioma/")
        hand.press("next", drawn())
    assert hand.file == "Of these no slice is left; 3 of other kinds are."
    hand.fire("label-kind", "input", "")
    assert hand.file.startswith("glioma/")


def test_a_picture_with_many_pixels_is_saved_at_its_size(predictor: Predictor, root: Path) -> None:
    path = root / "glioma" / "1.png"
    path.write_bytes(png(cv2.resize(read_scan(path).image, (2100, 1050))))
    page = build_interface(predictor, label=root)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
    with Hand(url) as hand:
        hand.come()
        while hand.file != "glioma/1.png":
            hand.press("skip")
        mask = np.zeros((1024, 2048), bool)
        mask[500:600, 900:1100] = True
        hand.press("next", mask)
        hand.press("back")
        assert hand.file == "glioma/1.png" and hand.shown("mask") == runs_of(mask)
        hand.press("next")
    page.close()
    assert masks(root)["glioma_1"].shape == (1050, 2100)


def test_the_tab_is_there_when_it_was_asked_for_only(predictor: Predictor, root: Path) -> None:
    assert "label-outline" not in json.dumps(build_interface(predictor).get_config_file(), default=str)
    page = build_interface(predictor, label=root)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
    endpoints = httpx.get(f"{url}gradio_api/info", timeout=60).json()["named_endpoints"]
    page.close()
    assert "/analyze" in endpoints and not any("save" in name or "label" in name for name in endpoints)


def test_strangers_never_have_it(predictor: Predictor, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, *args, **options: seen.update(options))
    page, let_in = build_interface(predictor, label=root), hosting.credentials("ada:secret")
    for options in ({"share": True}, {"server_name": "0.0.0.0"}):
        with pytest.raises(ValueError, match="--auth"):
            page.launch(**options)
        page.launch(**options, auth=let_in)
        assert seen["auth"] is let_in
    page.launch()
    assert seen["share"] is False  # Gradio would make a public link by itself on Colab
    monkeypatch.setenv("GRADIO_SHARE", "True")
    with pytest.raises(ValueError, match="--auth"):
        page.launch()
    monkeypatch.setenv("GRADIO_SHARE", "False")
    for name in ("SPACE_ID", "GRADIO_SERVER_NAME"):
        monkeypatch.setenv(name, "0.0.0.0")
        with pytest.raises(ValueError, match="--auth"):
            page.launch()
        monkeypatch.delenv(name)
    build_interface(predictor).launch(share=True)  # without the tab everything is as it was
    assert seen["share"] is True


def test_the_command_line_says_why(handmade_artifact: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--model", str(handmade_artifact), "--label", str(root), "--share"]) == 1
    assert capsys.readouterr().err == f"error: {hosting.FOR_ALL}\n"
    assert app.main(["--model", str(handmade_artifact), "--label", str(root / "nowhere")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: The data folder") and said.count("\n") == 1


def test_two_pages_never_overwrite_each_other(hand: Hand, root: Path) -> None:
    page = str(hand.http.base_url)
    with Hand(page) as other:
        other.come()
        first = hand.file
        assert other.file == first
        hand.press("next", drawn())
        other.press("next", ~drawn())
        assert other.file == first and "Somebody else saved" in other.text("label-said")
        assert np.array_equal(masks(root)[stem(first)] > 0, drawn()) and other.shown("mask") == runs_of(~drawn())
        other.press("none")  # seen, and meant
        assert not masks(root)[stem(first)].any() and other.file == hand.file != first
        work = Labelling(root)  # another program in the same folder
        item = next(item for item in work.items if item.file == hand.file)
        work.save(item, ~drawn())
        hand.press("next", drawn())
        assert hand.file == item.file and np.array_equal(masks(root)[stem(item.file)] > 0, ~drawn())
        other.press("skip")
        work.save(next(work.walk(item)), drawn())
        hand.press("skip")
        assert not {hand.file, other.file} & {item.file, first}
        assert "3 of 5 saved" in hand.text("label-progress")


def test_users_are_given_different_slices(root: Path) -> None:
    work = Labelling(root)
    work.boards["ada"] = work.items[0]
    assert list(work.walk(user="bob")) == [*work.items[1:], work.items[0]]
    assert list(work.walk(user="ada")) == list(work.items)


def test_the_page_knows_its_users(predictor: Predictor, root: Path) -> None:
    page = build_interface(predictor, label=root)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, auth=hosting.credentials("ada:1,bob:2"))
    found = []
    for user, password in (("ada", "1"), ("bob", "2"), ("ada", "1")):
        with Hand(url, sign_in=(user, password)) as someone:
            someone.come()
            found.append(someone.file)
    page.close()
    assert found[0] == found[2] != found[1]


def test_a_page_that_the_server_has_forgotten_says_so(hand: Hand, root: Path) -> None:
    board, hand.session = hand.shown("of"), "another"  # as after a restart
    for button in ("next", "none", "skip", "previous", "back"):
        assert "Load the page again" in hand.press(button, drawn())
    assert hand.shown("of") == board and not masks(root)


def test_what_was_pressed_twice_takes_one_back(hand: Hand, root: Path) -> None:
    for _ in range(2):
        hand.press("next", drawn())
    board = hand.shown("of")
    for _ in range(2):
        hand.press("back", key=board)
    assert len(masks(root)) == 1


def test_what_is_drawn_and_not_saved_is_counted(hand: Hand) -> None:
    hand.press("skip", drawn())
    assert "1 slice is drawn and not saved" in hand.text("label-progress")
    hand.press("previous")
    hand.press("next")
    assert "not saved" not in hand.text("label-progress")
