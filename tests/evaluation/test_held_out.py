"""Which pictures may judge a model: under any name only those that it has never seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brain_mri.artifact.folder import load_artifact
from brain_mri.data.folders import DataError
from brain_mri.evaluation import held_out
from tests.helpers.handmade import write_handmade


def test_training_data_is_recognised_by_its_fingerprint(dataset, tmp_path):
    artifact = load_artifact(write_handmade(tmp_path / "a", data={"fingerprint": dataset.fingerprint()}))
    same, known = held_out.held_out(artifact, dataset)
    assert same is dataset
    assert "held out" in known


def test_pictures_seen_in_training_are_set_aside_under_any_name_with_their_whole_group(dataset, tmp_path):
    artifact = load_artifact(write_handmade(tmp_path / "a"))
    held_out.write_split(artifact.folder, dataset)
    renamed = dataset.table.assign(path="x", file="y", split="test", official_split="")
    renamed.loc[renamed.index[0], "digest"] = "changed" * 5  # a picture of a group that was seen, itself unknown
    found, known = held_out.held_out(artifact, replace(dataset, table=renamed))
    first = dataset.table.iloc[0]
    siblings = dataset.table["group"] == first["group"]
    assert siblings.sum() > 1
    assert (found.table["split"] == dataset.table["split"]).all()
    assert "set aside" in known
    shuffled = renamed.sample(frac=1, random_state=0)
    again, _ = held_out.held_out(artifact, replace(dataset, table=shuffled))
    assert (again.table["split"].sort_index() == dataset.table["split"]).all()


def test_a_training_that_starts_from_a_model_learns_from_what_is_new_to_it(dataset, tmp_path):
    artifact = load_artifact(write_handmade(tmp_path / "a"))
    old = dataset.table["group"].isin(sorted(dataset.table["group"].unique())[::2])
    other = dataset.table["split"].map({"train": "validation", "validation": "test", "test": "train"})
    held_out.write_split(artifact.folder, replace(dataset, table=dataset.table.assign(split=other)[old]))
    found, _ = held_out.carried_on(artifact, dataset)
    assert (found.table["split"] == other)[old].all()  # what it has seen is not tested on, what tested it still does
    assert (found.table["split"] == dataset.table["split"])[~old].all()
    held_out.write_split(artifact.folder, replace(dataset, table=dataset.table.assign(digest="f" * 32)))
    found, known = held_out.carried_on(artifact, dataset)  # all is new to it: it used to be tested on as a whole
    assert (found.table["split"] == dataset.table["split"]).all() and "None of the pictures" in known
    (artifact.folder / held_out.SPLIT_FILE).unlink()
    found, known = held_out.carried_on(artifact, dataset)
    assert (found.table["split"] == dataset.table["split"]).all() and "does not say" in known


def test_an_earlier_split_is_kept_and_new_patients_are_dealt(dataset, tmp_path):
    half = dataset.table["group"].isin(sorted(dataset.table["group"].unique())[::2])
    other = dataset.table["split"].map({"train": "test", "validation": "train", "test": "validation"})
    path = held_out.write_split(tmp_path, replace(dataset, table=dataset.table.assign(split=other)[half]))
    found = held_out.as_before(path, dataset, 0).table
    assert (found["split"] == other)[half].all()
    assert set(found["split"][~half]) == {"train", "validation", "test"}
    assert found.groupby("group")["split"].nunique().max() == 1
    with pytest.raises(DataError, match=r"no split\.csv"):
        held_out.as_before(tmp_path / "missing.csv", dataset, 0)


def test_fewer_new_patients_than_parts_are_to_learn_from(dataset, tmp_path):
    groups = sorted(dataset.table["group"].unique())
    old = ~dataset.table["group"].isin(groups[:2])
    path = held_out.write_split(tmp_path, replace(dataset, table=dataset.table[old]))
    found = held_out.as_before(path, dataset, 0).table
    assert set(found["split"][~old]) == {"train"}
    assert (found["split"] == dataset.table["split"])[old].all()


def test_the_split_of_other_data_is_refused(dataset, tmp_path):
    path = held_out.write_split(tmp_path, replace(dataset, table=dataset.table.assign(digest="f" * 32)))
    with pytest.raises(DataError, match="split of other data"):
        held_out.as_before(path, dataset, 0)


@pytest.mark.parametrize("content", [b"", b"picture,part\n1,train\n", b"\xff\xfe\x00", b"digest\n1\n"])
def test_a_split_csv_of_anybody_is_refused_with_a_sentence(dataset, tmp_path, content):
    artifact = load_artifact(write_handmade(tmp_path / "a"))
    (artifact.folder / held_out.SPLIT_FILE).write_bytes(content)
    for use in (lambda: held_out.held_out(artifact, dataset), lambda: held_out.test_pictures(artifact.folder)):
        with pytest.raises(DataError, match=r"no split\.csv"):
            use()


def test_group_that_touches_training_and_validation_counts_as_training(dataset, tmp_path):
    artifact = load_artifact(write_handmade(tmp_path / "a"))
    held_out.write_split(artifact.folder, dataset)
    merged = dataset.table.assign(group="everybody")
    found, _ = held_out.held_out(artifact, replace(dataset, table=merged))
    assert set(found.table["split"]) == {"train"}


def test_unknown_model_measures_everything_and_says_so(dataset, handmade_artifact):
    found, known = held_out.held_out(load_artifact(handmade_artifact), dataset)
    assert set(found.table["split"]) == {"test"}
    assert "does not say" in known
