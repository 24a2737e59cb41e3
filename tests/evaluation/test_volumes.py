"""The shortcut test on volumes: which slices count as what, and the command line."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brain_mri.cli import volumes
from brain_mri.evaluation.volumes import summary
from tests.helpers.files import make_volume


def write_pair(folder: Path, name: str, mask: np.ndarray, voxels: np.ndarray) -> None:
    for kind, values in (("Scan", voxels), ("Mask", mask.astype(np.uint8))):
        nib.save(
            nib.Nifti1Image(values.transpose(2, 1, 0)[::-1, ::-1], np.diag([1.0, 1.0, 5.0, 1.0])),
            folder / f"{name}_{kind}.nii.gz",
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    voxels, mask, _ = make_volume("meningioma", 4, 64, 12)
    padding = np.zeros_like(voxels[:1])  # black, as scanners append them
    voxels, mask = np.concatenate([voxels, padding]), np.concatenate([mask, padding > 0])
    write_pair(tmp_path, "head", mask, voxels)
    return tmp_path


def test_slices_beside_the_tumor_count_as_neither(folder: Path, handmade_artifact: Path) -> None:
    out = folder / "out" / "slices.csv"
    assert volumes.main([str(folder), "--model", str(handmade_artifact), "--out", str(out)]) == 0
    table = pd.read_csv(out)
    outlined = (table["truth"] > 0).to_numpy()
    assert len(table) == 13 and outlined.any() and not outlined.all()
    assert (table["kind"] == "tumor").to_numpy().tolist() == outlined.tolist()
    for index in np.flatnonzero(table["kind"] == "tumor-free"):
        assert not outlined[max(0, index - 1) : index + 2].any()
    assert (table["kind"] == "between").any()
    assert table.index[table["kind"] == "empty"].tolist() == [12], "a black slice is no tumor-free head"


def test_shares_are_counted_by_hand() -> None:
    table = pd.DataFrame(
        {
            "volume": ["a"] * 5,
            "kind": ["tumor", "tumor-free", "tumor-free", "between", "empty"],
            "dice": [0.5, 1.0, 0.0, 0.9, 1.0],
            "called tumor": [True, False, True, True, False],
            "given a mask": [True, False, True, True, False],
            "not sure": [False, True, False, True, True],
            "flagged": [False, False, False, True, True],
        }
    )
    shares = summary(table)
    assert shares.loc[("all", "tumor-free"), "slices"] == 2
    assert shares.loc[("all", "tumor-free"), "called tumor"] == 0.5
    assert shares.loc[("a", "tumor"), "mean Dice"] == 0.5


def test_what_does_not_fit_gets_a_sentence(
    folder: Path, handmade_artifact: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "empty").mkdir()
    assert volumes.main([str(folder / "empty"), "--model", str(handmade_artifact)]) == 1
    assert "no pair" in capsys.readouterr().err
    assert volumes.main([str(folder), "--model", str(folder / "empty")]) == 1
    assert capsys.readouterr().err.startswith("volumes: ")
    write_pair(folder, "other", np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), np.uint8))
    (folder / "other_Mask.nii.gz").write_bytes((folder / "head_Mask.nii.gz").read_bytes())
    assert volumes.main([str(folder), "--model", str(handmade_artifact)]) == 1
