"""Which slices stand for the data, and that files which are gone cost only themselves."""

from __future__ import annotations

from dataclasses import replace

from brain_mri.reporting import figures_data


def test_example_rows_are_of_different_patients(made):
    table = made["dataset"].table
    rows = figures_data.example_rows(table, 4)
    assert len({table["group"].iloc[row] for row in rows}) == len(rows) > 1
    assert set(table["split"].iloc[rows]) == {"test"}


def test_without_its_files_the_preprocessing_is_not_drawn(made, tmp_path):
    dataset = made["dataset"]
    gone = replace(dataset, table=dataset.table.assign(path=[str(tmp_path / "gone.png")] * len(dataset.table)))
    assert figures_data.preprocessing(gone, tmp_path / "a.png") is None
    assert not list(tmp_path.iterdir())
