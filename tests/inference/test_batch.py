"""The engine of many files: a row for each, a volume is one, a ZIP; a run that was stopped goes on."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from brain_mri.inference import batch
from brain_mri.inference.batch import PICTURES, SEG, to_folder, to_zip
from brain_mri.inference.jobs import find, named
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume
from tests.helpers.files import decode, load, make_volume, of_a_patient, saved, series, write_nifti


def test_batch_writes_a_row_for_every_file(predictor: Predictor, phantom_png, tmp_path: Path) -> None:
    good = [phantom_png("meningioma", 21), phantom_png("notumor", 2)]
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    rows = list(to_zip(predictor, named([good[0], bad, good[1], good[0]]), tmp_path))
    assert [bool(row.error) for row in rows] == [False, True, False, False] and "broken.png" in rows[1].error
    with zipfile.ZipFile(tmp_path / "results.zip") as bundle:
        names = bundle.namelist()
        table = list(csv.DictReader(io.StringIO(bundle.read("results.csv").decode())))
        mask = decode(bundle.read(f"masks/{good[0].stem}.png"))
    assert len([n for n in names if n.startswith("overlays/")]) == 3 and f"masks/{good[0].stem}-2.png" in names
    alone = predictor.analyze(read_scan(good[0]))
    assert np.array_equal(mask > 0, alone.mask)
    assert table[0]["label"] == alone.label and float(table[0]["p_notumor"]) == pytest.approx(
        alone.probabilities["notumor"], abs=1e-4
    )
    assert table[1]["error"] and not table[1]["label"]


def test_a_row_says_what_the_caller_wants_said(
    predictor: Predictor, phantom_png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows no visitor what went wrong inside; the other files and the tables are whole."""
    real = Predictor.analyze

    def analyze(self, scan):
        if "glioma" in scan.name:
            raise RuntimeError("secret")
        return real(self, scan)

    monkeypatch.setattr(Predictor, "analyze", analyze)
    jobs = named([phantom_png("glioma", 1), phantom_png("notumor", 2)])
    rows = list(to_zip(predictor, jobs, tmp_path, explain=lambda error, name: f"{name}: sorry"))
    assert [row.error for row in rows] == ["glioma-1-256-axial.png: sorry", ""]
    assert len(json.loads((tmp_path / "results.json").read_text())["scans"]) == 2


# --- volumes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tumor in a NIfTI file, a head without one in the DICOM files of a series, an animation, a picture."""
    folder = tmp_path_factory.mktemp("volumes")
    voxels, _, spacing = make_volume("meningioma", 5)
    write_nifti(folder / "a.nii.gz", voxels, spacing)
    healthy = make_volume("notumor", 2, depth=6)[0]
    (folder / "series").mkdir()
    for i, data in enumerate(series(healthy)):
        (folder / "series" / f"{i}.dcm").write_bytes(data)
    frames = [Image.fromarray(plane) for plane in voxels]
    frames[0].save(folder / "scroll.gif", save_all=True, append_images=frames[1:])
    frames[9].save(folder / "slice.png")
    return folder


def test_every_slice_of_a_volume_counts(predictor: Predictor, volumes: Path, tmp_path: Path) -> None:
    """The row is the answer of the Volume tab; the mask lies on the volume."""
    paths = [p for p in sorted(volumes.rglob("*")) if p.is_file()]
    rows = list(to_folder(predictor, named(paths), tmp_path, slices=True))
    assert [Path(row.file).name for row in rows] == ["a.nii.gz", "scroll.gif", "series", "slice.png"]
    by_name = {Path(row.file).name: row.result for row in rows}
    assert not any(row.error for row in rows) and [row.files for row in rows] == [1, 1, 6, 1]
    volume = read_volume(volumes / "a.nii.gz")
    found, result = analyze_volume(predictor, volume), by_name["a.nii.gz"]
    assert found.marked and result["label"] == found.label != "notumor" and result["volume_ml"] == found.millilitres
    assert result["probabilities"] == found.answer and sum(found.answer.values()) == pytest.approx(1)
    assert result["marked_on"] == found.marked_on and result["slices"] == len(volume) == 20
    largest = int(found.area.argmax())
    assert result["shown"] == f"slice {largest + 1} of 20"
    mask = np.asarray(load(tmp_path / result["mask"]).dataobj)
    assert np.array_equal(mask.transpose(2, 1, 0) > 0, found.mask)  # as write_nifti has turned the voxels
    overlay = decode((tmp_path / result["overlay"]).read_bytes())
    alone = predictor.analyze(volume.scan(largest))
    assert np.array_equal(overlay, batch.DRAW["overlay"](alone))
    assert by_name["scroll.gif"]["slices"] == 20 and by_name["scroll.gif"]["volume_ml"] is None
    assert by_name["series"]["slices"] == 6 and "slices" not in by_name["slice.png"]
    with (tmp_path / "predictions_slices.csv").open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["file"].endswith("a.nii.gz")]
    assert [int(row["slice"]) for row in listed] == list(range(1, 21)) and {row["slices"] for row in listed} == {"20"}
    assert [float(row["area"]) for row in listed] == pytest.approx(found.area.tolist(), abs=0.01)


def test_the_zip_holds_the_mask_of_a_volume(predictor: Predictor, volumes: Path, tmp_path: Path) -> None:
    (row,) = to_zip(predictor, named([volumes / "a.nii.gz"]), tmp_path)
    with zipfile.ZipFile(tmp_path / "results.zip") as bundle:
        assert {"masks/a.nii.gz", "overlays/a.png", "results.csv"} <= set(bundle.namelist())
    assert "per_slice" not in row.result and row.thumbnail is not None


def test_one_volume_at_a_time(predictor: Predictor, volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads: a volume takes all cores, and hundreds of MB."""
    running, most, real = [0], [0], batch.analyze_volume

    def counted(*args):
        running[0] += 1
        most[0] = max(most[0], running[0])
        found = real(*args)
        running[0] -= 1
        return found

    monkeypatch.setattr(batch, "analyze_volume", counted)
    rows = list(batch.analyze_files(predictor, named([volumes / "a.nii.gz"] * 6), threads=4))
    assert most[0] == 1 and len({str(row.result["probabilities"]) for row in rows}) == 1


# --- a run that was stopped ------------------------------------------------------------------------------------


def tables(folder: Path) -> tuple[str, list[dict]]:
    text = (folder / "predictions.csv").read_text()
    return text, json.loads((folder / "predictions.json").read_text())["scans"]


def killed(lines: bytes) -> bytes:
    """What a kill leaves of predictions.json while its fourth row is written."""
    head, *rows = lines.split(b"\n")
    return b"\n".join([head, *rows[:3], rows[3][: len(rows[3]) // 2]])


@pytest.mark.parametrize(
    ("cut", "kept"), [(killed, 3), (lambda whole: whole, 7), (lambda whole: whole[:20], 0), (lambda _: b"", 0)]
)
def test_a_killed_run_goes_on(
    predictor: Predictor,
    phantom_png,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cut: Callable[[bytes], bytes],
    kept: int,
) -> None:
    paths = [phantom_png(label, seed) for seed in (1, 2) for label in ("glioma", "meningioma", "notumor")]
    paths.insert(2, tmp_path / "absent.png")
    (tmp_path / "absent.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    list(to_folder(predictor, named(paths), out, slices=True))
    expected = tables(out)
    whole = (out / "predictions.json").read_bytes()
    for name in ("predictions.csv", "predictions.json", "predictions_slices.csv"):
        (out / name).unlink()
    (out / "predictions.partial.json").write_bytes(cut(whole))
    done, real = [], batch.work

    def work(predictor, job, *rest):
        done.append(job.file)
        return real(predictor, job, *rest)

    monkeypatch.setattr(batch, "work", work)
    rows = list(to_folder(predictor, named(paths), out, slices=True))
    assert len(done) == len(paths) - kept == sum(not row.kept for row in rows) and tables(out) == expected
    assert not list(out.glob("*.partial.*"))


def test_what_is_kept_is_of_the_same_files_model_and_options(predictor: Predictor, phantom_png, tmp_path: Path) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    for path, label in ((first, "glioma"), (second, "meningioma")):
        path.write_bytes(phantom_png(label, 1).read_bytes())

    def stopped(**options) -> None:
        rows = to_folder(predictor, named([first, second]), tmp_path / "out", **options)
        next(rows), next(rows)
        del rows  # it ends there, as after Ctrl-C

    def kept(paths: list[Path], **options) -> list[bool]:
        return [row.kept for row in to_folder(predictor, named(paths), tmp_path / "out", **options)]

    stopped()
    assert kept([first, second]) == [True, True]
    stopped()
    assert kept([first]) == [True] and len(tables(tmp_path / "out")[1]) == 1
    stopped()
    assert kept([second, first]) == [False, False]
    stopped()
    assert kept([first, second], slices=True) == [False, False]
    stopped()
    second.write_bytes(phantom_png("notumor", 2).read_bytes())
    assert kept([first, second]) == [True, False]
    stopped()
    (tmp_path / "out" / "masks" / "1.png").unlink()
    assert kept([first, second]) == [False, False]
    assert tables(tmp_path / "out")[1][1]["label"] == predictor.analyze(read_scan(second)).label


# --- files as people have them (../shared/cases) ---------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_of_volumes_is_answered_by_their_slices(cases: Path, tmp_path: Path) -> None:
    """Six tumors were answered "no tumor", five of them surely, by the one slice that was looked at."""
    bundled = Predictor.load(threads=1)
    rows = list(to_folder(bundled, named(sorted((cases / "volumes" / "vols").iterdir())), tmp_path))
    by_kind = [(Path(row.file).name[2:-7], row.result) for row in rows]
    assert len(rows) == 8 and all(r["slices"] == 16 and r["shown"] for _, r in by_kind)
    for kind, result in by_kind:
        assert (result["label"] == "notumor") == (not result["marked_on"])
        assert result["label"] == kind or result["abstained"], "wrong is at least not sure"
        assert (result["label"] != "notumor") or kind == "notumor", "no tumor is missed"
    first = analyze_volume(bundled, read_volume(cases / "volumes" / "vols" / "0_meningioma.nii.gz"))
    assert by_kind[0][1]["volume_ml"] == pytest.approx(first.millilitres), "as the Volume tab says"


@pytest.mark.slow
def test_folders_of_series_pairs_and_studies_are_rows(cases: Path, tmp_path: Path) -> None:
    bundled, rows = Predictor.load(threads=1), {}
    for name in ("gantry-tilt", "dicom-oddities", "whole-study", "other-formats", "few-slices", "brats-subject"):
        for row in to_folder(bundled, named(find([str(cases / name)], tmp_path / name)), tmp_path / name):
            assert not row.error, row
            rows[Path(row.file).relative_to(cases).as_posix()] = row.result
    for name in ("dicom-oddities/iop_jitter_6e-3", "dicom-oddities/with_localizer", "other-formats/dcm_gz.zip",
                 "other-formats/pair.hdr and 1 more", "other-formats/v.mha", "other-formats/v.nrrd",
                 "brats-subject/brats2021.zip", "brats-subject/brats2023.zip"):  # fmt: skip
        assert (rows[name]["slices"], rows[name]["label"]) == (12, "meningioma"), name
    study = rows["whole-study/study.zip"]
    assert study["choice"] == "T1 with contrast medium" and study["slices"] == 14 and len(study["choices"]) == 3
    assert rows["gantry-tilt/series"]["slices"] == 14
    assert "slices" not in rows["few-slices/one.dcm"] and rows["few-slices/five_thin_slices.nii.gz"]["slices"] == 5


def test_masks_as_dicom_seg_of_what_is_dicom(predictor: Predictor, phantom_png, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scans, out = tmp_path / "scans", tmp_path / "out"
    (scans / "study").mkdir(parents=True)
    stack, _, _ = make_volume("meningioma", 5)
    middle = len(stack) // 2
    for i, data in enumerate(series(stack, **of_a_patient())):
        (scans / "study" / f"{i}.dcm").write_bytes(data)
    for name in ("single.dcm", "bare.dcm"):
        (scans / name).write_bytes(series(stack[middle : middle + 1], **of_a_patient())[0])
    bare = pydicom.dcmread(scans / "bare.dcm")
    del bare.FrameOfReferenceUID
    (scans / "bare.dcm").write_bytes(saved(bare))
    (scans / "picture.png").write_bytes(phantom_png("glioma", 1).read_bytes())
    jobs = named(find([str(scans)], out))
    rows = {Path(row.file).name: row.result for row in to_folder(predictor, jobs, out, pictures=(*PICTURES, SEG))}
    assert sorted(p.name for p in (out / "dicom_segs").iterdir()) == ["single.dcm", "study.dcm"]
    for name, slices in (("study", stack), ("single.dcm", stack[middle : middle + 1])):
        made = pydicom.dcmread(out / rows[name][SEG])
        assert made.pixel_array.sum() == rows[name]["tumor_pixels"] > 0 and made.PatientID == "4711"
        assert made.pixel_array.shape[-2:] == slices.shape[1:]
    assert SEG not in rows["bare.dcm"] and any("FrameOfReferenceUID" in w for w in rows["bare.dcm"]["warnings"])
    assert SEG not in rows["picture.png"] and not rows["picture.png"]["warnings"]
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        listed = {Path(row["file"]).name: row["dicom_seg"] for row in csv.DictReader(file)}
    assert listed["study"] == "dicom_segs/study.dcm" and listed["picture.png"] == ""
    told = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file() and p.parent.name != "dicom_segs")
    assert b"Doe" not in told and b"4711" not in told  # only the files that were asked for name the patient
