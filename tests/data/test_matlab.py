"""The MATLAB files of figshare 1512427: slices upright, each with its mask, class and patient."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from brain_mri.data.folders import DataError
from brain_mri.data.matlab import write_outlined
from brain_mri.data.pairs import mask_pairs
from brain_mri.data.remote import fetched
from tests.helpers.loopback_hub import LoopbackHub
from tests.helpers.loopback_kaggle import LoopbackKaggle, zipped

pytest_plugins = ("tests.helpers.loopback_kaggle", "tests.helpers.loopback_hub")  # fixtures `kaggle` and `loopback`


def image_of(number: int) -> np.ndarray:
    return (np.arange(12 * 8).reshape(12, 8) * 300 + number).astype(np.int16)


def write_mat(path: Path, number: int, label: int, patient: str) -> None:
    """As MATLAB 7.3 does: columns first, text as numbers."""
    mask = np.zeros((12, 8), np.uint8)
    mask[:3, :2] = 1
    with h5py.File(path, "w") as file:
        data = file.create_group("cjdata")
        data["image"], data["tumorMask"] = image_of(number).T, mask.T
        data["label"] = np.array([[float(label)]])
        data["PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)


@pytest.fixture
def mats(tmp_path: Path) -> Path:
    folder = tmp_path / "mats"
    folder.mkdir()
    for number, label, patient in ((1, 1, "100360"), (2, 2, "MR024780B"), (10, 3, "MR024780D")):
        write_mat(folder / f"{number}.mat", number, label, patient)
    (folder / "cvind.mat").write_bytes(b"the authors' folds")
    return folder


def test_slices_masks_classes_patients(mats: Path, tmp_path: Path) -> None:
    write_outlined(sorted(mats.glob("*.mat")), tmp_path / "out", "x")
    pairs, skipped = mask_pairs(tmp_path / "out")
    assert not skipped
    assert [(s.path.name, s.label, s.patient) for s in pairs] == [
        ("0001.png", "meningioma", "100360"), ("0002.png", "glioma", "MR024780"), ("0010.png", "pituitary", "MR024780")
    ]  # fmt: skip
    image, mask = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (pairs[1].path, pairs[1].mask))
    assert image is not None and mask is not None
    assert image.dtype == np.uint16 and np.array_equal(image, image_of(2))
    assert set(np.unique(mask)) == {0, 255} and mask[:3, :2].all() and mask.sum() == 6 * 255


def test_as_figshare_sends_it(kaggle: LoopbackKaggle, mats: Path, tmp_path: Path) -> None:
    """One archive of several, fetched once."""
    outer = tmp_path / "1512427.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("brainTumorDataPublic_1-10.zip", zipped(mats))
        archive.write(mats / "cvind.mat", "cvind.mat")
    url = kaggle.file("5", outer.read_bytes(), {"Content-Disposition": 'attachment; filename="1512427.zip"'})
    name, folder = fetched(url)
    assert name == "1512427" and len(mask_pairs(folder)[0]) == 3
    assert fetched(url) == (name, folder) and len(kaggle.log) == 1
    assert len(mask_pairs(fetched(mats)[1])[0]) == 3  # unpacked by hand


def test_as_others_publish_it_again(loopback: LoopbackHub, mats: Path, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A zip of them in a data set, whose own copy stays as it is."""
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    loopback.create("ada/cheng", "dataset")
    loopback.edit("ada/cheng", {"data.zip": zipped(mats)}, "dataset")
    for _ in range(2):
        name, folder = fetched("hf:ada/cheng")
        assert name == "cheng" and len(mask_pairs(folder)[0]) == 3


@pytest.mark.parametrize("content", [b"MATLAB 5.0 MAT-file", b""])
def test_others_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"1\.mat of x is damaged, or no slice as in figshare 1512427\."):
        write_outlined([tmp_path / "1.mat"], tmp_path / "out", "x")
    with pytest.raises(DataError, match="holds MATLAB files, but no slices"):
        write_outlined([tmp_path / "model.mat"], tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()
