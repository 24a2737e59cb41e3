"""The audit finds what is wrong with a data set, and finds nothing where nothing is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brain_mri.classes import CLASSES
from brain_mri.cli import audit as command
from brain_mri.data import dataset as data
from brain_mri.data.phantom import make_phantom
from brain_mri.evaluation import audit

SIZE = 64


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies, leaks, a contradiction, a patient on both sides, and a class that its file size gives away."""
    root = tmp_path_factory.mktemp("bad")
    groups = ["file,class,group,kind"]

    def put(file: str, picture: np.ndarray, group: str = "", kind: str = "near-duplicate cluster") -> None:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / file)
        if group:
            groups.append(f"{file},{file.split('/')[1]},{group},{kind}")

    for c, label in enumerate(CLASSES[:3]):
        for i in range(10):
            size = 120 if label == "notumor" else 96
            picture = make_phantom(label, seed=4000 + 100 * c + i, size=size).image
            put(f"Training/{label}/{i}.png", picture, f"c{c}-{i}")
            if i < 3:
                put(f"Testing/{label}/{i}.png", picture, f"c{c}-{i}")  # equal to the pixel
            if 3 <= i < 5:
                put(f"Testing/{label}/{i}.jpg", cv2.flip(picture, 1), f"c{c}-{i}")
        new = make_phantom(label, seed=9100 + c, size=96).image
        put(f"Testing/{label}/new.png", new, f"new{c}")
    for k, side in enumerate(("Training", "Testing")):
        picture = make_phantom("glioma", seed=7000, size=96, slice_offset=0.6 * k).image
        put(f"{side}/glioma/P.png", picture, "patient7", "patient")
    put("Training/meningioma/wrong.png", make_phantom("glioma", seed=4001, size=96).image, "c0-1")
    (root / "groups.csv").write_text("\n".join(groups) + "\n")
    return root


@pytest.fixture(scope="module")
def result(bad: Path, tmp_path_factory: pytest.TempPathFactory) -> audit.AuditResult:
    cache = tmp_path_factory.mktemp("cache")
    return audit.audit(data.load_dataset(bad, size=SIZE, cache=cache, progress=False))


def test_leaks_are_counted_by_kind(result: audit.AuditResult) -> None:
    leaks = {row[0]: row[1:] for row in result.leaks.to_numpy().tolist()}
    assert leaks["notumor"] == [6, 3, 2, 0, 1]
    assert leaks["glioma"] == [7, 3, 2, 1, 1], "the patient with slices on both sides is the third kind"
    assert leaks["all"] == [19, 9, 6, 1, 3]
    assert result.leaks.columns.tolist() == audit.LEAKS


def test_contradictions_and_patients_are_named(result: audit.AuditResult) -> None:
    files = set(result.conflicts["file"])
    assert files == {"Training/glioma/1.png", "Testing/glioma/1.png", "Training/meningioma/wrong.png"}
    assert result.conflicts["cluster"].nunique() == 1
    assert result.patients.to_numpy().tolist() == [["patient7", 1, 1]]


def test_counts_and_histograms_add_up(result: audit.AuditResult) -> None:
    counts = result.counts.set_index("class")
    assert counts.at["glioma", "Training"] == 11 and counts.at["glioma", "Testing"] == 7
    assert (counts["slices"] + counts["copies"] == counts["Training"] + counts["Testing"]).all()
    assert set(result.histograms) == set(CLASSES[:3])
    for shares in result.histograms.values():
        assert shares.sum() == pytest.approx(1) and len(shares) == audit.BINS
    assert result.sizes["pictures"].sum() == len(result.dataset.table)


def test_size_shortcut_is_called_out(result: audit.AuditResult) -> None:
    lines = {line["probe"]: line for line in result.shortcuts.to_dict("records")}
    assert lines["size"]["alarm"] and not lines["mode"]["alarm"]
    assert lines["size"]["tumor_auc"] > 0.9
    assert any(line.startswith("Shortcut: width and height") for line in result.findings)


def test_text_and_files(result: audit.AuditResult, tmp_path: Path) -> None:
    text = result.text()
    for word in ("PICTURES", "TESTING PICTURES", "ONE SLICE UNDER TWO CLASSES", "SHORTCUTS", "FINDINGS"):
        assert word in text
    paths = command.write(result, tmp_path / "out")
    figure = cv2.imread(str(tmp_path / "out" / "figure.png"))
    assert figure is not None and figure.shape[0] > 1000 and figure.std() > 10
    assert len(paths) == 12 and not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
    for name, table in (("leaks", result.leaks), ("duplicates", result.links), ("conflicts", result.conflicts)):
        assert len(pd.read_csv(tmp_path / "out" / f"{name}.csv")) == len(table)


def test_columns_of_the_tables_are_shown_by_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["file,patient,age,sex"]
    for c, label in enumerate(("glioma", "notumor")):
        for i in range(8):
            path = tmp_path / "d" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(make_phantom(label, seed=500 * c + i, size=96).image).save(path)
            rows.append(f"{label}/{i}.png,{label}{i},{60 - 30 * c + i},{'FM'[i % 2] if i else ''}")
    (tmp_path / "d/patients.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    assert command.main([str(tmp_path / "d"), "--out", str(out), "--cache", str(tmp_path / "c"), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "COLUMNS OF THE TABLES, by class" in told and "median 63.5, 60 to 67" in told and "M 4, F 3" in told
    assert "Shortcut: column age of the tables alone tells the class" in told
    columns = pd.read_csv(out / "columns.csv")
    assert columns[["column", "class", "known"]].to_numpy().tolist() == [
        ["age", "glioma", 8], ["age", "notumor", 8], ["sex", "glioma", 7], ["sex", "notumor", 7],
    ]  # fmt: skip
    assert "about age" in pd.read_csv(out / "pictures.csv")


def test_names_of_pictures_are_no_formulas(result: audit.AuditResult, tmp_path: Path) -> None:
    named = dataclasses.replace(result, conflicts=pd.DataFrame({"path": ["=1+1.png", "plain.png"], "share": [-0.5, 1]}))
    command.write(named, tmp_path)
    assert (tmp_path / "conflicts.csv").read_text().splitlines()[1:] == ["'=1+1.png,-0.5", "plain.png,1.0"]


def test_command_line(bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    assert command.main([str(bad), "--out", str(out), "--cache", str(cache), "--quiet"]) == 0
    assert "FINDINGS" in capsys.readouterr().out and (out / "pictures.csv").is_file()
    assert command.main([str(tmp_path / "nowhere"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and "does not exist" in error and "Traceback" not in error
    (tmp_path / "file").write_text("in the way")
    assert command.main([str(bad), "--out", str(tmp_path / "file"), "--cache", str(cache), "--quiet"]) == 2
    assert "could not be written" in capsys.readouterr().err


def test_masks_that_are_no_outlines_are_named(tmp_path: Path) -> None:
    """White for black, and the picture itself with the tumor outlined; train.py stops on them."""
    for i in range(6):
        label = CLASSES[i % 2]
        phantom = make_phantom(label, seed=300 + i, size=96)
        masks = [255 - phantom.mask, phantom.image, phantom.mask]
        for folder, picture in (
            (f"data/{label}", phantom.image), ("pairs/images", phantom.image), ("pairs/masks", masks[i % 3])
        ):  # fmt: skip
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{i}.png")
    cache = tmp_path / "c"
    dataset = data.load_dataset(tmp_path / "data", tmp_path / "pairs", size=SIZE, cache=cache, progress=False)
    found = audit.audit(dataset).findings
    assert [line for line in found if line.startswith("2 of 6 masks are not used") and "exchanged" in line]
    assert [line for line in found if line.startswith("2 of 6 masks are not used") and "the picture itself" in line]
    own = dataset.table[dataset.table["mask_path"] != ""]
    assert own["has_mask"].tolist() == [False, False, True] * 2 and not dataset.masks[own.index[0]].any()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_one_to_four_pictures_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, classes: int
) -> None:
    for c, label in enumerate(CLASSES[:classes]):
        for i in range(count):
            path = tmp_path / "d" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(make_phantom(label, seed=40 * c + 7 * i, size=64).image).save(path)
    status = command.main([str(tmp_path / "d"), "--out", str(tmp_path / "o"), "--cache", str(tmp_path), "--quiet"])
    told = capsys.readouterr()
    if status:
        assert classes * count < 3 and told.err.startswith("Error: ") and told.err.count("\n") == 1
    else:
        assert "FINDINGS" in told.out


def test_plain_folders_raise_no_alarm_about_leaks(tmp_path: Path) -> None:
    for label in ("glioma", "meningioma"):
        for i in range(6):
            path = tmp_path / label / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(make_phantom(label, seed=500 * (label == "glioma") + i, size=96).image).save(path)
    dataset = data.load_dataset(tmp_path, size=SIZE, cache=tmp_path / "c", progress=False)
    found = audit.audit(dataset)
    assert found.leaks.empty and found.conflicts.empty and found.patients.empty
    assert not [line for line in found.findings if "Testing" in line or "classes" in line]
    assert command.write(found, tmp_path / "out")[-1].is_file()


def test_real_data_audit(real_data: Path, tmp_path: Path) -> None:
    """DATA.md: the official split leaks, four pituitary files are meningiomas, the border gives the class away."""
    roots = real_data / "brain-tumor-mri", real_data / "segmentation"
    found = audit.audit(data.load_dataset(*roots, cache=tmp_path, progress=False))
    clean = dict(found.leaks[["class", "clean"]].to_numpy().tolist())
    assert clean["notumor"] <= 10 and clean["glioma"] == 0
    assert (found.conflicts["class"] == "pituitary").sum() >= 4
    probes = dict(found.shortcuts[["probe", "accuracy"]].to_numpy().tolist())
    assert probes["border"] > 0.75
