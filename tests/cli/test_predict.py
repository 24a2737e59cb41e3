"""python -m brain_mri predict: what it finds, what it writes, what it says and how it ends."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brain_mri.classes import CLASSES
from brain_mri.cli import predict
from brain_mri.imaging import dicom_seg
from brain_mri.imaging.read import read_scan
from brain_mri.inference import batch
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import Tables
from tests.helpers.files import dicom, make_volume, saved, write_nifti
from tests.helpers.handmade import picture_of

Png = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, phantom_png: Png) -> Path:
    """Two sub-folders with equal names, one broken file, and things that are no scans."""
    root = tmp_path / "scans"
    for place, label, seed in (("a/one.png", "glioma", 1), ("b/one.png", "meningioma", 2), ("b/two.jpg", "notumor", 3)):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        picture = picture_of(phantom_png(label, seed), cv2.IMREAD_GRAYSCALE)
        assert cv2.imwrite(str(root / place), picture)
    (root / "b/broken.png").write_bytes((root / "b/one.png").read_bytes()[:200])
    (root / "notes.txt").write_text("no scan")
    (root / ".hidden.png").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX/._one.png").write_bytes(b"x")
    return root


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder(folder: Path, tmp_path: Path, handmade_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), "--heatmaps", str(folder)]) == 1
    assert "3 of 4 files analysed by handmade" in capsys.readouterr().out
    rows = rows_of(out)
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in rows] == [
        "a/one.png", "b/broken.png", "b/one.png", "b/two.jpg",
    ]  # fmt: skip
    broken = rows.pop(1)
    assert "broken.png" in broken["error"] and not broken["label"] and not broken["overlay"]
    assert [row["overlay"] for row in rows] == ["overlays/one.png", "overlays/one-2.png", "overlays/two.png"]
    model = Predictor.load(handmade_artifact)
    for row in rows:
        a = model.analyze(read_scan(row["file"]))
        assert row["label"] == a.label and row["tumor_pixels"] == str(a.mask.sum()) and not row["error"]
        assert [float(row[f"p_{c}"]) for c in CLASSES] == pytest.approx(list(a.probabilities.values()), abs=1e-5)
        mask = picture_of(out / row["mask"])
        assert mask.ndim == 2 and np.array_equal(mask, a.mask * np.uint8(255))
        overlay, heat = (picture_of(out / row[kind]) for kind in ("overlay", "heatmap"))
        assert overlay.shape == heat.shape == (*mask.shape, 3)
    record = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert record["model"] == "handmade" and record["revision"] == model.revision
    assert [scan.get("label", "") for scan in record["scans"]] == [
        rows[0]["label"],
        "",
        rows[1]["label"],
        rows[2]["label"],
    ]
    assert sorted(p.name for p in out.iterdir()) == [
        "heatmaps", "masks", "overlays", "predictions.csv", "predictions.json",
    ]  # fmt: skip


def test_files_patterns_and_repeats(folder: Path, tmp_path: Path, handmade_artifact: Path) -> None:
    out = tmp_path / "out"
    inputs = [str(folder / "b/two.jpg"), str(folder / "**/*.jpg"), str(folder / "a"), str(folder / "a/one.png")]
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), "--table-only", *inputs]) == 0
    assert [Path(row["file"]).name for row in rows_of(out)] == ["two.jpg", "one.png"]
    assert not (out / "overlays").exists()


def test_results_inside_the_searched_folder_are_not_read_again(folder: Path, handmade_artifact: Path) -> None:
    out = folder / "results"
    for _ in range(2):
        predict.main(["--model", str(handmade_artifact), "--out", str(out), str(folder)])
        assert len(rows_of(out)) == 4


def test_threads_do_not_change_the_answers(folder: Path, tmp_path: Path, handmade_artifact: Path) -> None:
    def table(threads: int) -> list[dict[str, str]]:
        out = tmp_path / f"out{threads}"
        predict.main(["--model", str(handmade_artifact), "--out", str(out), "--threads", str(threads), str(folder)])
        return rows_of(out)

    assert table(1) == table(5)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_name_that_is_no_utf8(tmp_path: Path, phantom_png: Png, handmade_artifact: Path) -> None:
    source = os.fsencode(tmp_path / "scans") + b"/sl\xff,ice\n.png"
    (tmp_path / "scans").mkdir()
    shutil.copy(os.fsencode(phantom_png()), source)
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), str(tmp_path / "scans")]) == 0
    (row,) = rows_of(out)
    assert row["label"] and (out / row["overlay"]).is_file()
    assert len(json.loads((out / "predictions.json").read_text(encoding="utf-8"))["scans"]) == 1


def test_the_longest_names_that_a_disk_takes(tmp_path: Path, phantom_png: Png, handmade_artifact: Path) -> None:
    (tmp_path / "scans").mkdir()
    for end in ("甲", "乙"):
        shutil.copy(phantom_png(), tmp_path / "scans" / f"{'脑' * 82}{end}.png")  # 253 bytes
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), str(tmp_path / "scans")]) == 0
    assert len({row["overlay"] for row in rows_of(out)}) == len(list((out / "overlays").iterdir())) == 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: ["--out", f"{root}/out", f"{root}/absent.png"], "no file, folder or match"),
        (lambda root: ["--out", f"{root}/out", f"{root}/empty"], "no scans in"),
        (lambda root: ["--model", f"{root}/none", "--out", f"{root}/out", f"{root}/x.png"], "no model folder"),
        (lambda root: ["--out", f"{root}/x.png", f"{root}/x.png"], "could not be written"),
    ],
)
def test_what_cannot_start_ends_with_one_sentence(
    tmp_path: Path, handmade_artifact: Path, capsys: pytest.CaptureFixture[str], make: Callable, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "x.png"), np.eye(32, dtype=np.uint8))
    arguments = make(tmp_path)
    if "--model" not in arguments:
        arguments = ["--model", str(handmade_artifact), *arguments]
    assert predict.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error and "Traceback" not in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out/predictions.csv").exists()


def test_nothing_readable_is_a_failure(tmp_path: Path, handmade_artifact: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), str(tmp_path / "bad.png")]) == 2
    assert rows_of(out)[0]["error"]


def test_a_strange_failure_is_a_row_and_not_the_end(
    folder: Path, tmp_path: Path, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Predictor.analyze

    def analyze(self, scan):
        if scan.name == "two.jpg":
            raise RuntimeError("boom")
        return real(self, scan)

    monkeypatch.setattr(Predictor, "analyze", analyze)
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), str(folder)]) == 1
    assert "two.jpg could not be analysed (RuntimeError: boom)" in rows_of(out)[3]["error"]


def test_interrupt_keeps_the_old_table_and_the_rows_so_far(
    folder: Path, tmp_path: Path, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = ["--model", str(handmade_artifact), "--out", str(out), "--threads", "1", str(folder)]
    predict.main(arguments)
    before = (out / "predictions.csv").read_bytes()
    real = Tables.add
    calls: list[dict] = []

    def add(self, row):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(row)
        real(self, row)

    monkeypatch.setattr(Tables, "add", add)
    assert predict.main(arguments) == 2
    assert (out / "predictions.csv").read_bytes() == before
    assert len((out / "predictions.partial.csv").read_text().splitlines()) == 3
    assert len(json.loads((out / "predictions.partial.json").read_text())["scans"]) == 2


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path: Path, handmade_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scans").mkdir()
    for i in range(400):
        picture = np.random.default_rng(i).integers(0, 255, (64, 64), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"scans/{i:03}.bmp"), picture)

    def arguments(out: Path) -> list[str]:
        return ["--model", str(handmade_artifact), "--out", str(out), str(tmp_path / "scans")]

    out, journal = tmp_path / "out", tmp_path / "out" / "predictions.partial.json"
    with subprocess.Popen([sys.executable, "-m", "brain_mri", "predict", *arguments(out)], cwd=ROOT) as process:
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 50):
            time.sleep(0.02)
        process.kill()
    assert not (out / "predictions.csv").exists() and len((out / "predictions.partial.csv").read_text()) > 50
    assert predict.main(arguments(out)) == 0
    kept = re.match(r"(\d+) of 400 files had been analysed before", capsys.readouterr().out)
    assert kept and 49 <= int(kept[1]) < 400
    assert predict.main(arguments(tmp_path / "whole")) == 0
    assert rows_of(out) == rows_of(tmp_path / "whole") and len(rows_of(out)) == 400


def test_the_window_is_bounded(tmp_path: Path, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files, only a few analyses exist at once: memory stays flat."""
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    (tmp_path / "scans").mkdir()
    for i in range(60):
        cv2.imwrite(str(tmp_path / f"scans/{i:03}.bmp"), picture)
    started, most = [0], [0]
    work, add = batch.work, Tables.add

    def counted_work(*args, **options):
        started[0] += 1
        return work(*args, **options)

    def counted_add(self, row):
        started[0] -= 1
        most[0] = max(most[0], started[0])
        add(self, row)

    monkeypatch.setattr(batch, "work", counted_work)
    monkeypatch.setattr(Tables, "add", counted_add)
    arguments = ["--model", str(handmade_artifact), "--out", str(tmp_path / "out"), "--threads", "2", "--table-only"]
    assert predict.main([*arguments, str(tmp_path / "scans")]) == 0
    assert len(rows_of(tmp_path / "out")) == 60 and most[0] <= 9


def test_a_file_name_is_no_formula(
    tmp_path: Path, phantom_png: Png, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spreadsheet would work out what begins with =, +, - or @; --table-only or not, the cell is text."""
    monkeypatch.chdir(tmp_path)
    for name in ("=1+1.png", "+2.png", "-3.png", "@SUM(1).png", "plain.png"):
        shutil.copy(phantom_png(), tmp_path / name)
    (tmp_path / "=bad.png").write_text("no picture")
    assert predict.main(["--model", str(handmade_artifact), "--out", "out", "--table-only", "."]) == 1
    names = [row["file"] for row in rows_of(tmp_path / "out")]
    assert names == ["'+2.png", "'-3.png", "'=1+1.png", "'=bad.png", "'@SUM(1).png", "plain.png"]
    scans = json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8"))["scans"]
    assert "=1+1.png" in [scan["file"] for scan in scans]  # JSON is for programs: the name as it is


def test_dicom_and_nifti_carry_millimetres(tmp_path: Path, handmade_artifact: Path) -> None:
    from brain_mri.data import phantom

    image = phantom.make_phantom("meningioma", seed=4).image
    placed: dict[str, Any] = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.8, 0.8]}
    (tmp_path / "slice.dcm").write_bytes(saved(dicom(image.astype(np.uint16) * 9, bits=12, **placed)))
    shutil.copy(tmp_path / "slice.dcm", tmp_path / "IM0001")  # DICOM files often have no suffix
    out = tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), str(tmp_path)]) == 0
    rows = rows_of(out)
    assert [Path(row["file"]).name for row in rows] == ["IM0001", "slice.dcm"]
    for row in rows:
        assert float(row["tumor_area_mm2"]) == pytest.approx(int(row["tumor_pixels"]) * 0.64, rel=1e-4)


def test_what_has_no_dicom_seg_is_counted(
    handmade_artifact: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dicom_seg, "find_spec", lambda name: name)
    predict.main(["--model", str(handmade_artifact), "--dicom-seg", "--out", str(tmp_path / "out"), str(folder)])
    without = sum(not row["error"] for row in rows_of(tmp_path / "out"))
    assert f"Rows without a DICOM-SEG: {without};" in capsys.readouterr().out


def patients_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions_patients.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def patients(tmp_path: Path, png: Png) -> Path:
    """Two patients with folders for their sequences, and a volume of the second one."""
    root = tmp_path / "scans"
    for place, label, seed in (
        ("P1/T1/1.png", "meningioma", 5),  # which the handmade model calls one
        ("P1/T1/2.png", "notumor", 2),
        ("P2/T2/1.png", "notumor", 3),
    ):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(png(label, seed), root / place)
    voxels, _, spacing = make_volume("glioma", 4, size=64, depth=6)
    write_nifti(root / "P2/flair.nii.gz", voxels, spacing)
    (root / "P1/T1/broken.png").write_bytes(b"x")
    return root


def test_a_line_a_patient_by_their_folders(
    tmp_path: Path, phantom_png: Png, handmade_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = patients(tmp_path, phantom_png), tmp_path / "out"
    assert predict.main(["--model", str(handmade_artifact), "--out", str(out), "--patients", "folder", str(scans)]) == 1
    assert f"2 patients: {out / 'predictions_patients.csv'}\n" in capsys.readouterr().out
    first, second = patients_of(out)
    rows = {Path(row["file"]).relative_to(scans).as_posix(): row for row in rows_of(out)}
    assert (first["patient"], first["files"], first["not_read"], first["slices"]) == ("P1", "3", "1", "2")
    called = [name for name in ("P1/T1/1.png", "P1/T1/2.png") if rows[name]["label"] != "notumor"]
    assert called and int(first["tumor_slices"]) == len(called) and first["label"] == rows[called[0]]["label"]
    assert float(first["tumor_probability"]) == max(float(rows[name]["tumor_probability"]) for name in called)
    assert (second["patient"], second["files"], second["slices"]) == ("P2", "2", "7")
    scan = next(s for s in json.loads((out / "predictions.json").read_text())["scans"] if s["file"].endswith(".nii.gz"))
    assert int(second["tumor_slices"]) == scan["called_slices"] + (rows["P2/T2/1.png"]["label"] != "notumor")
    assert float(second["volume_ml"]) == pytest.approx(scan["volume_ml"], rel=1e-4)
    assert second["volume_of"].endswith("flair.nii.gz")
    highest = int(second["highest_slice"] or 0)
    assert highest == (scan["highest_slice"] + 1 if second["highest"].endswith(".gz") else 0)


def test_a_run_that_was_stopped_gives_the_same_patients(
    tmp_path: Path, phantom_png: Png, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, whole, out = patients(tmp_path, phantom_png), tmp_path / "whole", tmp_path / "out"
    words = ["--model", str(handmade_artifact), "--patients", "folder", str(scans), "--out"]
    predict.main([*words, str(whole)])
    real = Tables.add
    calls: list[Any] = []

    def add(self, row):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(row)
        real(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "add", add)
        assert predict.main([*words, str(out)]) == 2
    assert not (out / "predictions_patients.csv").exists()
    assert predict.main([*words, str(out)]) == 1
    assert patients_of(out) == patients_of(whole)


def test_a_line_a_patient_by_a_table(
    tmp_path: Path, phantom_png: Png, handmade_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out, table = patients(tmp_path, phantom_png), tmp_path / "out", tmp_path / "patients.csv"
    table.write_text("file,patient,age,sex\nscans/P1/T1/1.png,A,63,F\nscans/P2/T2/1.png,A,,\nflair.nii.gz,B,40,M\n")
    words = ["--model", str(handmade_artifact), "--out", str(out), "--table-only", str(scans), "--patients"]
    assert predict.main([*words, str(table)]) == 1
    assert "2 files are of no patient that is known" in capsys.readouterr().out
    lines = patients_of(out)
    assert [(line["patient"], line["files"], line["age"], line["sex"]) for line in lines] == [
        ("A", "2", "63", "F"), ("B", "1", "40", "M"),
    ]  # fmt: skip
    assert predict.main([*words, str(scans / "P1/T1/1.png")]) == 2
    assert capsys.readouterr().err.startswith("predict: ")


def test_one_folder_is_one_patient(folder: Path, tmp_path: Path, handmade_artifact: Path) -> None:
    out = tmp_path / "out"
    predict.main(["--model", str(handmade_artifact), "--out", str(out), "--patients", "folder", str(folder / "b")])
    assert [(line["patient"], line["files"]) for line in patients_of(out)] == [("b", "3")]


def test_dicom_seg_without_its_package_is_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dicom_seg, "find_spec", lambda name: None)
    assert predict.main(["--dicom-seg", "--out", str(tmp_path / "out"), str(folder)]) == 2
    assert capsys.readouterr().err == f"predict: {dicom_seg.MISSING}\n" and not (tmp_path / "out").exists()


def test_without_the_option_nothing_of_a_cluster_is_imported(
    folder: Path, tmp_path: Path, handmade_artifact: Path
) -> None:
    words = ["--model", str(handmade_artifact), "--out", str(tmp_path / "out"), str(folder / "a")]
    code = (
        f"import sys; from brain_mri.cli import predict; assert predict.main({words!r}) == 0; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'dask', 'distributed', 'pyarrow', 'fsspec'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"


def test_a_cluster_without_its_packages_is_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("brain_mri.inference.cluster", "distributed"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert predict.main(["--cluster", "local", "--out", str(tmp_path / "out"), str(folder)]) == 2
    said = capsys.readouterr().err
    assert said == "predict: --cluster needs distributed: pip install -r requirements-scale.txt\n"


def test_an_address_needs_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(["--out", str(tmp_path / "out"), "s3://bucket/scans"]) == 2
    assert capsys.readouterr().err == (
        "predict: s3://bucket/scans is an address; --cluster local reads and writes those, too.\n"
    )
    assert not (tmp_path / "out").exists()
