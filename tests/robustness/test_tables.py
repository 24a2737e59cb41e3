"""Injured CSV tables and config.json files, which may come from anybody: read, or refused with one sentence."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.data.folders import DataError, read_groups, read_patients
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from tests.helpers.injured import mutate

PATIENTS = b'file,class,patient,fold\n1.png,glioma,MR012345A,2\n2.png,menin,7,\xc2\xb2\n"a,b.png",pituitary,,\n'
GROUPS = b"file,group,kind\nTraining/glioma/1.jpg,12345,patient\nTesting/x.jpg,g2,cluster\n"
STRANGE: list[Any] = [
    None,
    True,
    -1,
    0,
    10**400,
    1e300,
    float("nan"),
    "",
    "../../x",
    [],
    [[]],
    {},
    {"a": []},
    ["a"] * 4,
]


def check_sentence(error: Exception) -> None:
    text = str(error)
    assert text and "\n" not in text and len(text) < 600 and "Traceback" not in text, repr(text)


def test_injured_tables(tmp_path: Path) -> None:
    path, read = tmp_path / "table.csv", 0
    for case in range(150):
        rng = random.Random(case)
        data = mutate(rng.choice((PATIENTS, GROUPS)), rng, [PATIENTS, GROUPS, b'"\r\n,,,,,"\0\xff\xfe'])
        path.write_bytes(data)
        for reader in (read_patients, read_groups):
            try:
                reader(path)
                read += 1
            except DataError as error:
                check_sentence(error)
    assert 0 < read < 300


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a JSON tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [spot for key, item in items for spot in [(*path, key), *spots(item, (*path, key))]]


def test_strange_values_in_a_config(tmp_path: Path, handmade_artifact: Path, phantom_png: Any) -> None:
    """Whatever stands in it, the model is refused with a sentence or answers."""
    folder = tmp_path / "m"
    shutil.copytree(handmade_artifact, folder)
    good = json.loads((folder / "config.json").read_text())
    scan, refused = read_scan(phantom_png("glioma", 1)), 0
    places = spots(good)
    for case in range(120):
        rng = random.Random(case)
        config, spot, value = copy.deepcopy(good), places[case % len(places)], rng.choice(STRANGE)
        inner = config
        for key in spot[:-1]:
            inner = inner[key]
        if rng.random() < 0.2:
            del inner[spot[-1]]
        else:
            inner[spot[-1]] = value
        (folder / "config.json").write_text(json.dumps(config))
        try:
            answer = Predictor(load_artifact(folder)).analyze(scan)
            assert sum(answer.probabilities.values()) == pytest.approx(1)
        except ArtifactError as error:
            check_sentence(error)
            refused += 1
        except Exception as error:
            raise AssertionError(f"{spot} = {value!r}: {type(error).__name__}: {error}") from error
    assert 20 < refused < 120
