"""Slices to publish with a model: of its test split only, drawn by the seed, without names, tags or EXIF."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_mri.artifact.folder import Artifact, load_artifact
from brain_mri.data.dataset import Dataset
from brain_mri.data.folders import DataError
from brain_mri.evaluation.held_out import write_split
from brain_mri.evaluation.slices_to_show import slices_to_show
from brain_mri.imaging.read import read_scan
from tests.helpers.handmade import write_handmade


@pytest.fixture
def artifact(dataset: Dataset, tmp_path: Path) -> Artifact:
    folder = write_handmade(tmp_path / "run", data={"fingerprint": dataset.fingerprint()})
    write_split(folder, dataset)
    return load_artifact(folder)


def shown(dataset: Dataset, pictures: dict[str, bytes]) -> list[int]:
    """The rows that the pictures are."""
    rows = {read_scan(path).image.tobytes(): i for i, path in enumerate(dataset.table["path"])}
    return [rows[np.asarray(Image.open(io.BytesIO(png))).tobytes()] for png in pictures.values()]


def test_classes_in_turn_of_the_test_split_and_no_patient_twice(artifact: Artifact, dataset: Dataset) -> None:
    pictures, how = slices_to_show(artifact, dataset, 6)
    table = dataset.table.iloc[shown(dataset, pictures)]
    assert len(pictures) >= 4 and set(table["split"]) == {"test"} and table["group"].is_unique
    names = [name.rpartition("_")[0].replace("no_tumor", "notumor") for name in pictures]
    assert names == table["class"].tolist() and set(names[:4]) == set(artifact.classes)
    assert f"{len(pictures)} slices of the test split" in how and "drawn at random (seed 0)" in how
    again, _ = slices_to_show(artifact, dataset, 2)
    assert again == dict(list(pictures.items())[:2])


def test_another_seed_draws_others(dataset: Dataset, tmp_path: Path) -> None:
    found = []
    for seed in range(4):
        folder = write_handmade(tmp_path / str(seed), training={"seed": seed})
        write_split(folder, dataset)
        found.append(tuple(shown(dataset, slices_to_show(load_artifact(folder), dataset, 4)[0])))
    assert len(set(found)) > 1


def test_nothing_but_pixels_is_kept(artifact: Artifact, dataset: Dataset, tmp_path: Path) -> None:
    table = dataset.table.copy()
    tagged = tmp_path / "Ada Lovelace 1815.jpg"
    exif = Image.Exif()
    exif[0x010E] = "Ada Lovelace"
    for path in table.loc[table["split"] == "test", "path"]:
        picture = Image.open(path).convert("L").resize((900, 700))
        picture.save(tagged, exif=exif, comment=b"Ada Lovelace")
    table["path"] = str(tagged)
    pictures, how = slices_to_show(artifact, replace(dataset, table=table), 6)
    for name, png in pictures.items():
        assert b"Ada" not in png and "Ada" not in name + how
        picture = Image.open(io.BytesIO(png))
        assert picture.info == {} and not picture.getexif() and picture.size == (512, 398)


def test_what_cannot_be_read_any_more_is_passed_over(artifact: Artifact, dataset: Dataset) -> None:
    first = shown(dataset, slices_to_show(artifact, dataset, 1)[0])[0]
    table = dataset.table.copy()
    table.loc[first, "path"] = "gone.png"
    assert slices_to_show(artifact, replace(dataset, table=table), 1)[0]
    with pytest.raises(DataError, match="has the data moved"):
        slices_to_show(artifact, replace(dataset, table=table.assign(path="gone.png")), 1)


def test_without_a_known_test_split_none_is_shown(artifact: Artifact, dataset: Dataset) -> None:
    other = replace(dataset, table=dataset.table.assign(digest="0" * 64))
    with pytest.raises(DataError, match="None of these pictures is of the test split"):
        slices_to_show(artifact, other, 6)
    (artifact.folder / "split.csv").unlink()
    with pytest.raises(DataError, match=r"has no split\.csv"):
        slices_to_show(artifact, dataset, 6)
