"""The engine of many files: a row for each, a volume is one, a ZIP; a run that was stopped goes on."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from brain_mri.imaging.read import read_scan
from brain_mri.inference.batch import to_zip
from brain_mri.inference.jobs import named
from brain_mri.inference.predictor import Predictor
from tests.helpers.files import decode


@pytest.fixture(scope="module")
def predictor(handmade_artifact: Path) -> Predictor:
    return Predictor.load(handmade_artifact)


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
