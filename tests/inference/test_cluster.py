"""predict --cluster: a real Dask scheduler and worker processes on the loopback write what a local run writes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_mri.classes import CLASSES
from brain_mri.cli import evaluate as evaluate_command
from brain_mri.cli import predict
from brain_mri.data.phantom import make_phantom
from brain_mri.inference import cohort, worker_model
from brain_mri.inference.jobs import BatchError
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import chances_apart, each_slice
from brain_mri.inference.runner import run_model
from tests.helpers.dask_processes import processes
from tests.helpers.files import make_volume, metaimage, series, write_nifti
from tests.helpers.handmade import handmade_classifier, write_handmade

WHERE = "pip install -r requirements-scale.txt"
distributed = pytest.importorskip("distributed", reason=WHERE)
pq = pytest.importorskip("pyarrow.parquet", reason=WHERE)
cluster = pytest.importorskip("brain_mri.inference.cluster", reason=WHERE)
parts = pytest.importorskip("brain_mri.inference.parts", reason=WHERE)

ROOT = Path(__file__).resolve().parents[2]
HANGS = """
import os, pathlib, time
from brain_mri.inference import parts
real = parts.analyze_files
def dask_setup(worker):
    parts.analyze_files = stuck
def stuck(*args, **options):
    rows = real(*args, **options)
    yield next(rows)
    pathlib.Path(os.environ["MARK"]).touch()
    time.sleep(600)
"""
POISONED = """
import os
from brain_mri.inference.predictor import Predictor
real = Predictor.analyze
def analyze(self, scan):
    if scan.name == "poison.png":
        os._exit(3)
    return real(self, scan)
def dask_setup(worker):
    Predictor.analyze = analyze
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a scheduler with two workers."""
    with processes(tmp_path_factory.mktemp("dask") / "two") as two:
        two.worker(), two.worker()
        two.wait_for(2)
        yield two.address


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "FILES", 4)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, phantom_png: Callable[..., Path]) -> Path:
    """Slices of two patients, a broken file, a DICOM series, a NIfTI volume, a header with its voxels."""
    root = tmp_path_factory.mktemp("cohort") / "scans"
    for i, label in enumerate(["glioma", "meningioma", "notumor", "pituitary"] * 6):
        (root / f"P{i % 2}/T1").mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom_png(label, i), root / f"P{i % 2}/T1/{i:02}.png")
    (root / "P0/T1/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    voxels, _, spacing = make_volume("meningioma", 5, size=64, depth=6)
    write_nifti(root / "P1/flair.nii.gz", voxels, spacing)
    (root / "P1/series").mkdir()
    for i, data in enumerate(series(make_volume("glioma", 2, size=64, depth=6)[0])):
        (root / f"P1/series/{i}.dcm").write_bytes(data)
    (root / "P1/other").mkdir()
    (root / "P1/other/v.mhd").write_bytes(metaimage(voxels, file="v.raw"))
    (root / "P1/other/v.raw").write_bytes(voxels.tobytes())
    return root


Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(out, inputs..., status=1) -> the folder of the results."""
    monkeypatch.chdir(tmp_path)

    def predict_(out: str, *words: object, status: int = 1) -> Path:
        assert predict.main(["--model", str(handmade_artifact), "--out", out, *map(str, words)]) == status
        return tmp_path / out

    return predict_


def table(out: Path, name: str = parts.TABLE) -> list[dict[str, Any]]:
    return pq.read_table(out / f"{name}.parquet").to_pylist()


def assert_same(out: Path, local: Path, called: Callable[[str], str] = str) -> None:
    """Every row and digit of a local run, in the same order; the pictures, which lie in a folder for each chunk."""
    wanted = [chances_apart(scan) for scan in json.loads((local / "predictions.json").read_text())["scans"]]
    rows = table(out)
    assert [row["file"] for row in rows] == [called(scan["file"]) for scan in wanted]
    places = {"overlay", "mask", "heatmap"}
    for row, scan in zip(rows, wanted, strict=True):
        for column in row.keys() - places - {"file", "files", "paths"}:
            assert row[column] == scan.get(column), (scan["file"], column)
        for kind in places & scan.keys():
            assert (out / row[kind]).read_bytes()[10:] == (local / scan[kind]).read_bytes()[10:]  # gzip tells the time
    if (local / "predictions_slices.csv").exists():
        lines = [line | {"file": called(line["file"])} for scan in wanted for line in each_slice(scan)]
        assert [{key: line[key] for key in row} for row, line in zip(table(out, parts.SLICES), lines, strict=True)] == (
            table(out, parts.SLICES)
        )
        assert lines
    assert not list(out.glob("*.partial.*"))


def test_a_worker_is_killed_in_the_middle(scans: Path, tmp_path: Path, run: Run) -> None:
    local, mark = run("local", scans, "--slices"), tmp_path / "mark"
    with processes(tmp_path / "dask") as two:
        lost = two.worker(HANGS, MARK=str(mark))
        two.worker()

        def kill() -> None:
            while not mark.exists():
                time.sleep(0.05)
            lost.kill()

        threading.Thread(target=kill, daemon=True).start()
        out = run("out", scans, "--slices", "--cluster", two.address)
        lost.wait(10)
    assert mark.exists() and lost.poll() == -signal.SIGKILL  # it had begun a chunk
    assert_same(out, local)
    assert len(list((out / "predictions.parquet").iterdir())) >= 8


def test_patients_and_what_is_printed(scans: Path, run: Run, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [scans, "--table-only", "--patients", "folder"]
    local = run("local", *words)
    said = capsys.readouterr().out.splitlines()
    out = run("out", *words, "--cluster", address)
    printed = capsys.readouterr().out.replace("out/", "local/").replace(".parquet", ".csv").splitlines()
    assert printed[1:] == said and "dashboard: http://127.0.0.1" in printed[0]
    assert_same(out, local)
    assert (out / cluster.PATIENTS).read_text() == (local / cluster.PATIENTS).read_text()
    about = json.loads(pq.read_schema(next((out / "predictions.parquet").iterdir())).metadata[parts.ABOUT])["about"]
    assert about == {k: v for k, v in json.loads((local / "predictions.json").read_text()).items() if k != "scans"}


def test_a_run_that_was_stopped_goes_on(
    scans: Path, run: Run, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    own = shutil.copytree(scans, tmp_path / "scans")
    real = cluster._handed_out

    def stopped(*args: Any) -> Iterator[Any]:
        found = real(*args)
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "_handed_out", stopped)
    out = run("out", own, "--cluster", address, status=2)
    assert "out/predictions.partial.parquet" in capsys.readouterr().err and not (out / "predictions.parquet").exists()
    monkeypatch.setattr(cluster, "_handed_out", real)
    before = {path: path.stat().st_mtime_ns for path in (out / "predictions.partial.parquet").glob("part-*")}
    assert len(before) >= 2
    changed = min(before)
    os.utime(tmp_path / pq.read_table(changed)["file"][0].as_py(), ns=(1, 1))  # as if it was another one now
    out = run("out", own, "--cluster", address)
    assert " files had been analysed before the run was stopped" in capsys.readouterr().out
    finished = {path.name: path.stat().st_mtime_ns for path in (out / "predictions.parquet").iterdir()}
    assert changed.name not in finished
    assert {path.name: when for path, when in before.items() if path != changed}.items() <= finished.items()
    assert_same(out, run("local", own))
    assert_same(run("out", own, "--cluster", address), tmp_path / "local")  # over a table that is complete


def test_addresses_are_fetched_where_the_worker_is(scans: Path, run: Run, address: str, tmp_path: Path) -> None:
    """Series and voxels of headers stay together; nothing is left behind."""
    own = shutil.copytree(scans, tmp_path / "scans")
    (own / ".hidden.png").write_bytes(b"x")
    (own / "notes.txt").write_text("x")
    shutil.copy(own / "P0/T1/00.png", own / "P0/T1/a [1]*.png")
    local = run("local", own, "--slices")
    out = run("out", f"file://{own}", "--slices", "--cluster", address)
    order = {row["file"]: row for row in table(out)}
    for name in ("predictions", "predictions_slices"):
        for path in sorted((out / f"{name}.parquet").iterdir()):
            assert path.name.startswith("part-")
    wanted = json.loads((local / "predictions.json").read_text())["scans"]
    assert {name.removeprefix("file://") for name in order} == {str(own.parent / scan["file"]) for scan in wanted}
    for scan in wanted:
        row = order[f"file://{own.parent / scan['file']}"]
        assert row["label"] == scan.get("label") and row["error"] == scan.get("error")
        assert [row[f"p_{c}"] for c in scan.get("probabilities", ())] == [*scan.get("probabilities", {}).values()]
    far = run("far", own, "--slices", "--cluster", address, "--out", f"file://{tmp_path}/far")
    assert_same(far, local)


def test_a_file_that_ends_processes_is_a_row(
    scans: Path, run: Run, tmp_path: Path, phantom_png: Callable[..., Path]
) -> None:
    own = tmp_path / "scans"
    shutil.copytree(scans / "P0", own / "P0")
    shutil.copy(phantom_png("glioma", 3), own / "P0/T1/poison.png")
    with processes(tmp_path / "dask", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as two:
        two.worker(POISONED, nanny=True), two.worker(POISONED, nanny=True)
        out = run("out", own, "--table-only", "--cluster", two.address)
    rows = {Path(row["file"]).name: row for row in table(out)}
    assert len(rows) == len(table(out)) == 14
    poison = rows.pop("poison.png")
    assert poison["error"] == "poison.png could not be analysed: every process that began it ended."
    assert [name for name, row in rows.items() if row["error"]] == ["broken.png"]


def test_the_scheduler_is_lost(
    scans: Path, run: Run, tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    with processes(tmp_path / "dask") as one:
        one.worker(HANGS, MARK=str(mark))

        def kill() -> None:
            while not mark.exists():
                time.sleep(0.05)
            one.scheduler.kill()

        threading.Thread(target=kill, daemon=True).start()
        run("out", scans, "--table-only", "--cluster", one.address, status=2)
    said = capsys.readouterr().err
    assert said == f"predict: {cluster.GONE}\n"
    assert_same(run("out", scans, "--table-only", "--cluster", address), run("local", scans, "--table-only"))


def test_what_cannot_be_done_is_one_sentence(
    scans: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "WAIT", 1.0)
    (tmp_path / "half.json").write_text("{")
    for words, sentence in (
        ([scans, "--cluster", "half.json"], "There is no Dask scheduler at half.json"),
        ([scans, "--cluster", "tcp://127.0.0.1:9"], "There is no Dask scheduler at tcp://127.0.0.1:9"),
        ([scans, "--cluster", "tcp://127.0.0.1:9", "--out", "odd://x"], "odd://x cannot be written"),
        (["odd://bucket", "--cluster", "local"], "odd://bucket c"),
        (["file:///no/such", "--cluster", "local"], "There is no file, folder or match for file:///no/such"),
        ([f"file://{tmp_path}", "--cluster", "local"], "There are no scans in"),
        ([f"file://{scans}"], "is an address; --cluster local reads"),
    ):
        run("out", *words, status=2)
        said = capsys.readouterr().err
        assert said.startswith("predict: ") and sentence in said and said.count("\n") == 1, said


def test_the_first_worker_comes_late_and_lacks_the_program(
    scans: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = cluster.to_parts
    with processes(tmp_path / "dask") as one:

        def late(*args: Any) -> Iterator[Any]:
            one.worker(PYTHONPATH="", PYTHONSAFEPATH="1")
            return real(*args)

        monkeypatch.setattr(cluster, "to_parts", late)
        run("out", scans, "--cluster", one.address, status=2)
    said = capsys.readouterr()
    assert "No worker has joined yet" in said.out and "A worker lacks brain_mri: every machine needs" in said.err


def test_other_answers_are_refused(scans: Path, tmp_path: Path, handmade_artifact: Path, predictor: Predictor) -> None:
    """On another disk, with other libraries, with another model."""
    order = parts.order(predictor, str(handmade_artifact), str(tmp_path / "out"))
    chunk = cohort.chunks([str(scans)], order.out)[0]
    with pytest.raises(BatchError, match="not the same folder on all machines"):
        parts.analyze_chunk(order, chunk)
    model = order.model
    for changed, sentence in (
        (replace(model, libraries="numpy 1.0"), "The digits would differ"),
        (replace(model, libraries=model.libraries[:-1] + "-"), "The digits would differ"),  # another program
        (replace(model, revision="0123"), "another model on a worker"),
        (replace(model, where=str(tmp_path)), "A worker cannot load the model"),
    ):
        other = replace(order, model=changed)
        parts.Place(order.out).write(f"{parts.partial(parts.TABLE)}/{other.mark}", b"-")
        with pytest.raises(BatchError, match=sentence):
            parts.analyze_chunk(other, chunk)


def test_a_worker_answers_with_the_model_that_is_there_now(tmp_path: Path) -> None:
    """Trained anew in the same folder while the worker stays."""
    image = make_phantom("glioma", 3, 64).image[None]
    logits = []
    for names in (CLASSES, CLASSES[::-1]):
        folder = write_handmade(tmp_path / "model", classifier_onnx=handmade_classifier(names))
        model = worker_model.pinned(Predictor.load(folder), str(folder))
        logits.append(worker_model.outputs(model, image).logits)
        assert np.array_equal(logits[-1], run_model(folder, image).logits)
    assert not np.array_equal(logits[0], logits[1])


def test_names_of_any_bytes_and_torn_series(tmp_path: Path, handmade_artifact: Path, predictor: Predictor) -> None:
    """What no table of text can hold is escaped; DICOM files of a series that are named as pictures are not guessed."""
    root = tmp_path / "scans"
    root.mkdir()
    (root / os.fsdecode(b"a\xff.png")).write_bytes(b"x")
    for i, data in enumerate(series(np.stack([make_phantom("glioma", i, 64).image for i in range(6)]))):
        (root / f"s{i}.png").write_bytes(data)
    order = parts.order(predictor, str(handmade_artifact), str(tmp_path / "out"))
    place = parts.Place(order.out)
    place.write(f"{parts.partial(parts.TABLE)}/{order.mark}", b"-")
    done = [parts.analyze_chunk(order, chunk) for chunk in cohort.chunks([str(root)], order.out)]
    assert [(one.files, one.failed) for one in done] == [(4, 4), (3, 3)]
    place.finish(parts.TABLE, {p.name for p in Path(order.out, parts.partial(parts.TABLE)).glob("part-*")})
    rows = list(place.records(parts.TABLE))
    assert rows[0]["file"].endswith("a\\udcff.png") and [row["error"] for row in rows[1:]] == [parts.TORN] * 2


def test_a_storage_without_folders() -> None:
    """As s3:// is one: what is complete takes the place of what was there, and nothing else is left."""
    place = parts.Place("memory://bucket/results")
    for _ in range(2):
        for name in ("part-1", "part-2", "part-stale", "_order-1"):
            place.write(f"{parts.partial('t')}/{name}", name.encode())
        assert place.names(parts.partial("t")) == {"part-1", "part-2", "part-stale", "_order-1"}
        place.finish("t", {"part-1", "part-2"})
        assert place.names("t.parquet") == {"part-1", "part-2"} and not place.names(parts.partial("t"))


def test_two_runs_in_one_folder_lose_nothing_in_silence() -> None:
    """The second one took parts of the first away."""
    place = parts.Place("memory://bucket/shared")
    place.write(f"{parts.partial('t')}/part-1", b"1")
    with pytest.raises(BatchError, match=r"^1 of 2 parts are gone from .* another run has written to the same --out"):
        place.finish("t", {"part-1", "part-2"})
    assert place.names(parts.partial("t")) == {"part-1"} and not place.names("t.parquet")


def test_a_kill_between_the_two_tables(
    scans: Path, run: Run, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the slices had its name already."""
    real = parts.Place.finish

    def killed(self: Any, name: str, found: set[str]) -> None:
        if name == parts.TABLE:
            raise KeyboardInterrupt
        real(self, name, found)

    monkeypatch.setattr(parts.Place, "finish", killed)
    words = [scans, "--table-only", "--slices", "--cluster", address]
    run("out", *words, status=2)
    monkeypatch.setattr(parts.Place, "finish", real)
    out = run("out", *words)
    assert "34 of 34 files had been analysed before" in capsys.readouterr().out
    assert_same(out, run("local", scans, "--table-only", "--slices"))


def test_local_is_seen_from_this_machine_only() -> None:
    """Dask's dashboard has no password."""
    psutil = pytest.importorskip("psutil")
    with cluster.connected("local", 1) as client:
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        listening = [one for one in psutil.Process().net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert {one.laddr.ip for one in listening} == {"127.0.0.1"}


def test_local_is_a_cluster(scans: Path, run: Run) -> None:
    out = run("out", scans, "--table-only", "--cluster", "local", "--threads", "1")
    assert_same(out, run("local", scans, "--table-only"))


def test_the_csv_of_a_local_run_from_the_parts(scans: Path, run: Run, address: str) -> None:
    """As docs/scale.md says."""
    pd = pytest.importorskip("pandas")
    out, local = run("out", scans, "--table-only", "--cluster", address), run("local", scans, "--table-only")
    pd.read_parquet(out / "predictions.parquet").to_csv(out / "all.csv", index=False)
    with (out / "all.csv").open(newline="") as file, (local / "predictions.csv").open(newline="") as other:
        ours, theirs = list(csv.DictReader(file)), list(csv.DictReader(other))
    assert [row["label"] for row in ours] == [row["label"] for row in theirs]


def test_an_evaluation_is_that_of_a_local_run(
    run: Run, address: str, tmp_path: Path, handmade_artifact: Path, phantom_png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Two batches of slices; the networks of this process are not asked for the rows."""
    for i in range(40):
        folder = tmp_path / "data" / ("glioma", "meningioma", "notumor", "pituitary")[i % 4]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom_png(folder.name, i), folder / f"{i}.png")
    words = ["--model", str(handmade_artifact), "--also", str(tmp_path / "data")]
    assert evaluate_command.main([*words, "--out", "local"]) == 0
    said = capsys.readouterr().out.replace("local/", "out/")
    monkeypatch.setattr(evaluate_command, "run_model", None)
    assert evaluate_command.main([*words, "--out", "out", "--cluster", address]) == 0
    first, printed = capsys.readouterr().out.split("\n", 1)
    assert printed == said and first.startswith("Dashboard of the cluster: http://127.0.0.1")
    local, found = (json.loads(Path(out, "metrics.json").read_text()) for out in ("local", "out"))
    assert found | {"created": ""} == local | {"created": ""}
    assert evaluate_command.main([*words, "--cluster", "no.json"]) == 1
    assert capsys.readouterr().err.startswith("evaluate: There is no Dask scheduler at no.json")
