"""soak.py in small: the page as a process, good and bad requests from several clients at once."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from dev import soak, soak_visitors


@pytest.mark.slow
def test_a_small_soak(handmade_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--requests", "40", "--clients", "4", "--growth", "1000", "--model", str(handmade_artifact)]
    assert soak.main(words) == 0, capsys.readouterr().err
    pairs = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    rows = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    assert rows["wrong · failed without a sentence"] == "0 · 0"
    answered, refused = map(int, rows["answered · refused with a sentence"].split(" · "))
    assert answered > 20 and refused > 3 and answered + refused == 40


@pytest.mark.slow
@pytest.mark.parametrize("default_queue", [False, True])
def test_each_kind_of_visitor_once(
    handmade_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default_queue: bool
) -> None:
    monkeypatch.setattr(soak_visitors, "PAUSE", (0.1, 0.2))
    sent, tally, rng = soak_visitors.world(str(handmade_artifact), tmp_path), soak_visitors.Tally(), random.Random(0)
    own = [sys.executable, "-m", "dev.soak_visitors", "--serve"] if default_queue else None
    with soak.served(handmade_artifact, tmp_path, own) as (sent.url, _, log):
        for visit in soak_visitors.KINDS.values():
            visit(sent, tally, rng)
        assert soak_visitors.Disk.of(tmp_path / "gradio").count > 10
    assert not tally.wrong and "Traceback" not in log.read_text(), log.read_text()
    assert soak_visitors.Disk.of(tmp_path / "gradio").count == 0
    assert {"page", "slice", "slider", "volume", "download", "batch"} <= set(tally.seconds)
    assert soak_visitors.due(f"<p>{next(iter(sent.slices.values()))}</p>", "Another sentence.")
    rows = soak_visitors.table(tally, 10, {"a row": "1"}).splitlines()
    assert rows[0] == "| step | times | p50 | p95 | p99 | longest |" and rows[-1] == "| wrong or failed | 0 |"


def test_wrong_answers_are_noticed(handmade_artifact: Path, tmp_path: Path) -> None:
    kinds = soak.requests_for(Predictor.load(handmade_artifact), tmp_path)
    assert set(kinds) == set(soak.SHARES) and all(kinds.values())
    right = Predictor.load(handmade_artifact)
    png = str(tmp_path / "a picture as the page returns it.png")
    cv2.imwrite(png, np.zeros((8, 8), np.uint8))
    for request in kinds["analyze"][:3]:
        a = right.analyze(read_scan(request.values["scan"]))
        near = a.probabilities | {a.label: a.probabilities[a.label] + 1e-3}
        assert request.check([{"label": a.label, "probabilities": a.probabilities}, png, png]) == ""
        assert "instead of" in request.check([{"label": "other", "probabilities": a.probabilities}, png, png])
        assert "differ by" in request.check([{"label": a.label, "probabilities": near}, png, png])
    mask = kinds["segment"][0].check
    assert mask([{}, str(tmp_path / "nothing.png")]) == "another mask"

    def refuse(endpoint: str, values: dict[str, object]) -> None:
        raise soak.Refused("Something went wrong.")

    assert soak.call(refuse, kinds["analyze"][0])[0] == "failed"
    assert soak.call(refuse, kinds["bad"][0])[1] != ""
    assert "instead of a refusal" in soak.call(lambda endpoint, values: [], kinds["bad"][0])[1]


def test_growth_is_counted_after_the_warm_up() -> None:
    memory = [(10 * i, 100.0 if i < 4 else 200.0 + i) for i in range(1, 21)]
    first, last, percent = soak.growth(memory, 200)
    assert (first, last) == (205.0, 219.0) and np.isclose(percent, 100 * 14 / 205)


def test_threads_share_their_heaps_where_the_library_can() -> None:
    """In a process of its own: it holds for good."""
    code = "from brain_mri.ui import hosting; import platform; print(hosting.few_heaps(), platform.libc_ver()[0])"
    run = subprocess.run([sys.executable, "-c", code], cwd=soak.APP.parent, capture_output=True, text=True, timeout=60)
    done, library = (run.stdout.strip() + " ").split(" ")[:2]
    assert done == str(library == "glibc"), run.stderr
