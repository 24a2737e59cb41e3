"""Federated rounds: who is a hospital, what leaves it, what becomes of it, and the whole recipe on phantoms."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import model_def
from brain_mri.artifact.folder import load_artifact
from brain_mri.data.phantom import write_dataset
from brain_mri.training.config import FitOptions, TrainConfig
from brain_mri.training.training_set import TrainingSet
from recipes import federated

RECIPE = Path(federated.__file__)


def test_sources_are_joined_to_hospitals():
    found = federated.hospitals_of(["a", "b", "c", "a"], ["a,c"])
    assert found == {"a": "a,c", "c": "a,c", "b": "b"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [(["a,x"], "the data has a, b"), (["a", "b,a"], "names this source twice"), (["a,b"], "only one hospital")],
)
def test_hospitals_that_cannot_be_are_a_sentence(asked, said):
    with pytest.raises(ValueError, match=said):
        federated.hospitals_of(["a", "b"], asked)


def test_a_hospital_alone_learns_from_its_own_and_is_tested_on_all(several):
    together = federated.as_hospitals(several, ["data,lgg"])
    own = federated.alone(together, "data,lgg")
    for part in ("train", "validation"):
        assert set(own.table["origin"].iloc[own.rows(part)]) == {"data,lgg"}
    np.testing.assert_array_equal(own.rows("test"), together.rows("test"))
    assert 0 < len(own.rows("train")) < len(together.rows("train"))


def test_no_mask_crosses_from_one_hospital_to_another(several):
    """A copy of an outlined slice has the outline where both are of one hospital, and not where they are of two."""
    table = several.table.copy()
    giver, copy = np.flatnonzero((table["origin"] == "lgg") & table["has_mask"])[:2]
    table.loc[table.index[copy], ["origin", "mask_from"]] = ["data", giver]
    dataset = replace(several, table=table)
    assert federated.as_hospitals(dataset, ["data,lgg"]).table["has_mask"].iloc[copy]
    apart = federated.as_hospitals(dataset, []).table["has_mask"]
    assert not apart.iloc[copy] and apart.drop(apart.index[copy]).sum() == table["has_mask"].sum() - 1


def test_the_rate_falls_from_round_to_round():
    rates = [federated.in_round(FitOptions(epochs=8, learning_rate=2.0), 4, n) for n in (1, 2, 3, 4)]
    assert [one.epochs for one in rates] == [2] * 4
    assert [one.learning_rate for one in rates] == pytest.approx([1 + math.cos(math.pi * n / 4) for n in range(4)])


def test_a_hospital_without_outlines_has_no_say_about_masks(tmp_path):
    none = np.zeros((4, 32, 32), np.uint8)
    own = TrainingSet(none, none, np.arange(4), np.zeros(4, bool), np.arange(4), np.ones(4, bool), np.zeros(4, int))
    np.savez(tmp_path / "0.npz", **vars(own))
    config = TrainConfig(data=(), out=tmp_path, size=32, encoder="resnet")
    work = federated.Work(config, {"encoder": "resnet", "width": 4}, tmp_path, 1, frozen=True)
    weights = model_def.build("guided", 32, **work.arguments).get_weights()
    found, count, _ = federated.learned(work, 0, federated.MASKS, 1, weights)
    assert count == 0 and all(np.array_equal(a, b) for a, b in zip(found, weights, strict=True))


def reply(place: int = 0, count: int = 1, reason: str = "") -> Any:
    """Of a hospital, as Flower hands it on: its weights are its number, count the slices that it has seen."""
    from flwr.app import ArrayRecord, MetricRecord, RecordDict

    weights = ArrayRecord([np.full((2, 3), place, np.float32)])
    said = RecordDict(
        {federated.WEIGHTS: weights, federated.FACTS: MetricRecord({federated.COUNT: count, "loss": 1.0})}
    )
    return SimpleNamespace(content=said, error=SimpleNamespace(reason=reason), has_error=lambda: bool(reason))


def test_weights_are_averaged_by_the_number_of_slices():
    pytest.importorskip("flwr")
    replies = [reply(0, 1), reply(1, 0), reply(2, 3)]
    averaged, _ = federated.strategy(["a", "b", "c"]).aggregate_train(1, replies)
    np.testing.assert_allclose(averaged.to_numpy_ndarrays()[0], np.full((2, 3), (0 * 1 + 2 * 3) / 4))


def test_a_hospital_that_fails_ends_the_rounds():
    """Flower alone would go on without it, and nobody would know that its patients are missing."""
    pytest.importorskip("flwr")
    bad = reply(reason="Traceback ...\nMemoryError: no memory")
    with pytest.raises(RuntimeError, match="1 of 2 hospitals failed: MemoryError: no memory"):
        federated.strategy(["a", "b"]).aggregate_train(3, [reply(), bad])
    with pytest.raises(RuntimeError, match="one of 2 hospitals failed: no answer came"):
        federated.strategy(["a", "b"]).aggregate_train(3, [reply()])


@pytest.mark.parametrize(
    ("words", "said"),
    [("--epochs 5 --rounds 2", "multiple of the rounds"), ("--epochs 4 --rounds 2 --members 2", "not for federated")],
)
def test_what_cannot_be_federated_is_a_sentence(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.setattr(federated, "find_spec", lambda name: True)
    monkeypatch.setattr(federated, "checked", lambda config: config)
    assert federated.main([*words.split(), "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err


def test_without_flower_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(federated, "find_spec", lambda name: None)
    assert federated.main(["--data", str(tmp_path)]) == 1
    assert 'pip install "flwr[simulation]"' in capsys.readouterr().err


def test_strangers_run_nothing_on_the_ports_of_ray():
    """They are open to the network: ray is asked as it is from the recipe, by someone without the word."""
    pytest.importorskip("ray")
    enter = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
    code = f"""
import os, subprocess, sys
from recipes import federated
import ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
where = ray.get_runtime_context().gcs_address
for word in (os.environ["RAY_AUTH_TOKEN"], "0" * 64):
    known = os.environ | {{"RAY_AUTH_TOKEN": word}}
    print(subprocess.run([sys.executable, "-c", {enter!r}, where], env=known, stderr=subprocess.DEVNULL).returncode)
"""
    environment = {**os.environ, "PYTHONPATH": str(RECIPE.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "1"], done.stderr[-2000:]


@pytest.mark.slow
def test_alone_federated_and_pooled_on_phantoms(tmp_path):
    """Flower's simulation with processes of its own; hospital b has no outlines, c is of tumors of one kind only."""
    pytest.importorskip("flwr")
    pytest.importorskip("ray")
    for place, name in enumerate("abc"):
        write_dataset(tmp_path / name, per_class=12, seed=100 * place, masks=name == "a", size=64)
    for path in tmp_path.glob("c/T*/*/*.jpg"):
        if path.parent.name != "glioma":
            path.unlink()
    out = tmp_path / "out"
    command = f"--rounds 2 --epochs 2 --size 32 --encoder resnet --width 4 --batch-size 8 --verbose 0 --out {out}"
    command += f" --hospitals a,segmentation --data {' '.join(str(tmp_path / n) for n in 'abc')}"
    words = [sys.executable, str(RECIPE), *command.split(), "--masks", str(tmp_path / "a" / "segmentation")]
    environment = {**os.environ, "BRAIN_MRI_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    table = pd.read_csv(out / "federated.csv")
    models = ["a,segmentation alone", "b alone", "federated", "pooled"]
    for _, part in table.groupby("score"):
        assert [name for name in part["Learned from"] if not name.startswith("test")] == models
    assert {"a,segmentation", "b", "c", federated.EVERYWHERE} < set(table.columns)
    text = (out / "federated.md").read_text()
    assert "c alone: Only glioma is left to train on" in text and "b alone: No slice of its own is outlined" in text
    facts = load_artifact(out / "federated").config
    assert facts.training.segmenter and len(facts.training.segmenter.history["loss"]) == 2
    assert facts.segmenter.shared and facts.training.epochs == 2
    assert not list((out / "federated").rglob("*.npz"))  # the pictures of a hospital
