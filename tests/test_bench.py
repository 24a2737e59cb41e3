"""bench.py as a program: its table, its figures, its parts on small jobs. No time is asserted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import bench
import bench_table
import bench_training
import data
from bench_table import Clock, Options, Row, figure, interleaved
from phantom import write_dataset
from scan import CLASSES, read_scan


def test_a_row_says_whether_its_target_is_met() -> None:
    slow, fast = Row("serve", "analyze", 2.0, "x", most=1.5), Row("serve", "analyze", 1.5, "x", most=1.5)
    assert slow.met is False and fast.met is True and slow.text().endswith("NOT MET")
    assert Row("serve", "faster by", 9.99, "x", least=10).met is False
    assert Row("serve", "faster by", 10.0, "x", least=10).text().endswith(">= 10 x     met")
    plain = Row("growth", "10 scans", 0.25, "s", note="25.0 ms each")
    assert plain.met is None and plain.target == "" and plain.text().splitlines()[1].strip() == "25.0 ms each"
    assert Row("serve", "tensorflow", 0, most=0).met is True


def test_a_value_that_is_no_number_meets_no_target() -> None:
    nan = float("nan")
    assert Row("serve", "x", nan, most=1).met is False and Row("serve", "x", nan, least=1).met is False


def test_figures_have_three_digits() -> None:
    assert [figure(v) for v in (0.01234, 1.0, 12.345, 123.4, 0)] == ["0.0123", "1", "12.3", "123", "0"]


def test_what_is_compared_takes_turns_after_an_unmeasured_round() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.02)

    found = interleaved({"slow": slow, "fast": lambda: calls.append("fast")}, 3, pause=0)
    assert calls == ["slow", "fast"] * 4
    assert found["slow"] >= 0.02 > found["fast"] >= 0


def test_the_clock_counts_own_work() -> None:
    clock, until = Clock(), time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert 0.15 <= clock.own <= clock.wall * 2 + 0.1 and clock.others >= 0


def test_pictures_are_readable_and_as_many_as_asked(tmp_path: Path) -> None:
    folder = bench_table.pictures(Options(tmp_path, quick=True), 6)
    paths = sorted(folder.iterdir())
    assert len(paths) == 6 and all(read_scan(path).image.shape == (512, 512) for path in paths[:2])
    (tmp_path / "two").mkdir()
    own = sorted(bench_table.pictures(Options(tmp_path / "two", data=folder), 4).iterdir())
    assert len(own) == 4 and own[0].read_bytes() == paths[0].read_bytes()


def test_a_tenth_of_every_class_and_an_enlarged_set(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "all", 20, size=64)
    few = bench_training.tenth(root, tmp_path / "tenth")
    counts = {name: len(list(few.rglob(f"{name}/*.jpg"))) for name in CLASSES}
    assert all(2 <= count <= 6 for count in counts.values())
    small = data.load_dataset(few, size=64, cache=tmp_path / "cache", progress=False)
    large = bench_training.enlarged(small, 50)
    n = len(small.table)
    assert len(large.table) == len(large.images) == len(large.masks) == 50
    assert np.array_equal(large.images[n], small.images[0]) and large.table["cluster"][n] != large.table["cluster"][0]
    assert large.table["cluster"].nunique() > small.table["cluster"].nunique()


@pytest.mark.usefixtures("bundled")
def test_a_quick_run_prints_the_table_and_writes_only_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(bench_table.ROOT.iterdir())
    out = tmp_path / "figures.json"
    assert bench.main(["--quick", "--only", "volume", "files", "growth", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert {row["part"] for row in found["rows"]} == {"volume", "files", "growth"} and found["quick"] is True
    assert all(np.isfinite(row["value"]) and row["what"] in printed for row in found["rows"])
    assert "targets met" in printed and "cores" in found["machine"]
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json"}
    new = {path.name for path in set(bench_table.ROOT.iterdir()) - before}
    assert not any(name.startswith(("brain-mri-bench", "predictions", "pictures")) for name in new)


def test_a_part_that_fails_is_a_sentence_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--quick", "--only", "growth", "--model", str(tmp_path / "absent")]) == 2
    assert "could not be measured" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        bench.main(["--only", "weather"])
