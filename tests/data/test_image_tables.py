"""Pictures in Parquet tables of the Hub become class folders, or pictures and masks; read by the real `datasets`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brain_mri.data.folders import DataError, class_folders, read_groups
from brain_mri.data.image_tables import columns_of, folder_name, write_pictures
from brain_mri.data.pairs import mask_pairs
from brain_mri.data.remote import fetched
from tests.helpers.loopback_hub import LoopbackHub

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
datasets = pytest.importorskip("datasets")
NAMES = ["glioma", "no/tumor"]


def picture(value: int, suffix: str = ".png") -> dict[str, Any]:
    image = np.full((8, 8), value, np.uint8)
    return {"bytes": cv2.imencode(suffix, image)[1].tobytes(), "path": None}


def written(folder: Path, **parts: Any) -> Path:
    """The Parquet files of a data set as `push_to_hub` writes them. parts: (features, columns) of each split."""
    (folder / "data").mkdir(parents=True)
    for split, (features, columns) in parts.items():
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def labelled(folder: Path) -> Path:
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=NAMES),
        "patient_id": datasets.Value("int32"),
    }
    train = {"image": [picture(1), picture(2, ".jpg"), picture(3)], "label": [0, 1, None], "patient_id": [7, 7, 8]}
    test = {"image": [picture(4), None], "label": [1, 0], "patient_id": [None, None]}
    return written(folder, train=(features, train), test=(features, test))


def test_class_folders_with_their_patients(tmp_path: Path) -> None:
    write_pictures(labelled(tmp_path / "tables"), tmp_path / "out", "hf:ada/x")
    found, _ = class_folders(tmp_path / "out")
    assert [(s.file, s.label, s.official) for s in found] == [
        ("Testing/no_tumor/test-000001.png", "notumor", "Testing"),
        ("Training/glioma/train-000001.png", "glioma", "Training"),
        ("Training/no_tumor/train-000002.jpg", "notumor", "Training"),
    ]
    assert found[1].path.read_bytes() == picture(1)["bytes"]  # byte for byte
    groups = read_groups(tmp_path / "out" / "groups.csv")
    assert {file: group for file, (group, _) in groups.items()} == {
        "Training/glioma/train-000001.png": "7",
        "Training/no_tumor/train-000002.jpg": "7",
    }


def test_pictures_and_masks(tmp_path: Path) -> None:
    features = {"image": datasets.Image(), "mask": datasets.Image(), "diagnosis": datasets.Value("string")}
    columns = {"image": [picture(1), picture(2)], "mask": [picture(255), None], "diagnosis": ["meningioma", "glioma"]}
    write_pictures(written(tmp_path / "tables", train=(features, columns)), tmp_path / "out", "hf:ada/x")
    pairs, _ = mask_pairs(tmp_path / "out")
    assert [(s.path.name, s.mask and s.mask.parent.name, s.label) for s in pairs] == [
        ("train-000001.png", "masks", "meningioma")
    ]
    with (tmp_path / "out" / "patients.csv").open() as file:
        assert next(csv.reader(file)) == ["file", "class", "patient"]


def test_from_the_hub_once(loopback: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    loopback.publish(labelled(tmp_path / "tables"), "ada/brain", "dataset")
    name, folder = fetched("hf:ada/brain")
    assert name == "brain" and len(list(folder.rglob("*-00000?.*"))) == 3
    loopback.publish(labelled(tmp_path / "more"), "ada/other", "dataset")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert fetched("hf:ada/brain") == (name, folder)
    with pytest.raises(DataError, match=r"hf:ada/other keeps its pictures in Parquet tables.*pip install datasets\."):
        fetched("hf:ada/other")


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"text": "string", "label": "string"}, "have no column of pictures; their columns: text, label"),
        (
            {"image": None, "width": "int32"},
            "neither a column of classes nor one of masks; their columns: image, width",
        ),
    ],
)
def test_tables_of_something_else(tmp_path: Path, features: dict[str, str | None], said: str) -> None:
    kinds = {name: datasets.Value(kind) if kind else datasets.Image() for name, kind in features.items()}
    columns: dict[str, list[Any]] = {name: [None] for name in features}
    with pytest.raises(DataError, match=said):
        write_pictures(written(tmp_path / "tables", train=(kinds, columns)), tmp_path / "out", "hf:ada/x")
    assert not (tmp_path / "out").exists()


def test_damaged_and_empty_tables(tmp_path: Path) -> None:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    folder = written(tmp_path / "tables", train=(features, {"image": [None], "label": [0]}))
    with pytest.raises(DataError, match="hold no picture"):
        write_pictures(folder, tmp_path / "out", "hf:ada/x")
    next(folder.rglob("*.parquet")).write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="of hf:ada/x could not be read") as error:
        write_pictures(folder, tmp_path / "out", "hf:ada/x")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_code_of_a_data_set_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = labelled(tmp_path / "tables")
    (folder / "tables.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")  # named like its folder
    with pytest.raises(DataError, match=r"could not be read \(Dataset scripts are no longer supported"):
        write_pictures(folder, tmp_path / "out", "hf:ada/x")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    with pytest.raises(DataError, match="needs datasets 4 or newer"):
        write_pictures(folder, tmp_path / "other", "hf:ada/x")


def test_several_configurations_are_one_sentence(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "tables")
    configs = "".join(f"- config_name: {name}\n  data_files: data/{name}-*.parquet\n" for name in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with pytest.raises(DataError, match=r"of hf:ada/x could not be read \(Config name is missing") as error:
        write_pictures(folder, tmp_path / "out", "hf:ada/x")
    assert "\n" not in str(error.value)


def test_columns_and_names() -> None:
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    found = columns_of({"Scan": struct, "Scan_mask": struct, "Class": datasets.Value("int64")}, "x")
    assert (found.image, found.mask, found.label, found.names) == ("Scan", "Scan_mask", "Class", ())
    assert folder_name("../no\0tumor ") == "_no_tumor" and folder_name("..") == "_"
