"""From an artifact and folders to metrics.json: the right rows, the right baselines, and no leak."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segmentation
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES
from brain_mri.data import dataset as data
from brain_mri.data import folders, selection
from brain_mri.evaluation import baselines, evaluate
from brain_mri.evaluation.baselines import baselines as measure
from brain_mri.evaluation.evaluate import LEARNED_FROM_VALIDATION
from brain_mri.evaluation.masks import file_masks
from brain_mri.evaluation.records import Metrics
from brain_mri.imaging.read import read_scan
from brain_mri.inference import runner
from brain_mri.inference.predictor import Predictor
from brain_mri.reporting import overview, plot_style


@pytest.fixture(scope="module", autouse=True)
def small_forests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 25)
        patch.setattr(plot_style, "DPI", 60)
        yield


def rows_of(dataset: Any, split: str, source: str) -> np.ndarray:
    return np.flatnonzero((dataset.table["split"] == split) & (dataset.table["source"] == source))


# --- the whole -------------------------------------------------------------------------------------------------


def test_everything_is_measured_on_the_test_rows_only(evaluation, dataset):
    metrics = evaluation.metrics
    stored = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert Metrics.model_validate(stored) == metrics
    test = dataset.table[dataset.table["split"] == "test"]
    assert metrics.images.count == len(test)
    folder_rows = (test["source"] == folders.CLASS_FOLDER).sum()
    assert metrics.classification.count == metrics.baselines.test == folder_rows
    assert metrics.baselines.train == len(rows_of(dataset, "train", folders.CLASS_FOLDER))
    assert metrics.baselines.subsets.unseen_groups.count == folder_rows  # the split cuts no group
    for part in ("segmentation", "kmeans", "explanation", "sanity", "calibration_before"):
        assert getattr(metrics, part) is not None, part
    assert metrics.segmentation.count == (test["has_mask"] & (test["source"] == folders.MASK_PAIRS)).sum()
    assert metrics.segmentation.tumor_free.count == (test["class"] == "notumor").sum()
    assert metrics.segmentation.files.count == metrics.segmentation.count
    assert set(metrics.baselines.scores) == set(baselines.DESCRIPTIONS)


def test_handmade_artifact_is_right_about_phantoms_it_was_made_for(evaluation, handmade_artifact, dataset):
    """A bright lesion is what the handmade models look for: far above chance, or rows and labels are mixed up."""
    metrics = evaluation.metrics
    assert metrics.segmentation.dice.mean.value > 0.2
    assert metrics.explanation.energy_inside.value > 3 * metrics.explanation.chance
    # the test rows are too few for a binary score
    all_rows: Any = evaluate.evaluate(
        handmade_artifact, dataset, split="all", baseline=False, sanity=False, resamples=50
    )
    assert all_rows.metrics.classification.binary.roc_auc.value > 0.7


def test_masks_are_also_scored_on_the_pixels_of_the_files(dataset, tmp_path):
    """The truth given back as the model's answer is nearly perfect on the files; shifted by a tenth it is not."""
    rows = rows_of(dataset, "test", folders.MASK_PAIRS)
    part = dataset.table.iloc[rows]
    truth = (dataset.masks[rows] > 127).astype(np.float32)
    places, predicted, stored = file_masks(part, truth, 0.5, 0.0)
    assert places.tolist() == list(range(len(rows)))
    for mask, file, path, own in zip(predicted, stored, part["path"], part["mask_path"], strict=True):
        assert mask.shape == file.shape == read_scan(path).image.shape == (128, 128)
        assert (file == (read_scan(own).raw > 127)).all()
    dices = [segmentation.dice(p, s) for p, s in zip(predicted, stored, strict=True)]
    assert np.mean(dices) > 0.85
    shifted = file_masks(part, np.roll(truth, 6, axis=2), 0.5, 0.0)[1]
    assert np.mean([segmentation.dice(p, s) for p, s in zip(shifted, stored, strict=True)]) < np.mean(dices) - 0.2
    gone = part.assign(mask_path=["", str(tmp_path / "gone.png"), *part["mask_path"].iloc[2:]])
    assert file_masks(gone, truth, 0.5, 0.0)[0].tolist() == list(range(2, len(rows)))
    assert file_masks(part.drop(columns="mask_path"), truth, 0.5, 0.0)[1] == []


def test_logits_are_those_that_the_app_uses(handmade_artifact, dataset):
    """Batch evaluation and the predictor must agree on a picture whose preprocessing is already done."""
    predictor = Predictor.load(handmade_artifact)
    rows = rows_of(dataset, "test", folders.CLASS_FOLDER)[:6]
    outputs = runner.run_model(handmade_artifact, dataset.images[rows], batch=4)
    for logits, row in zip(outputs.logits, rows, strict=True):
        answer = predictor.analyze(read_scan(dataset.table["path"].iloc[row]))
        np.testing.assert_allclose(logits, answer.logits, atol=1e-4)


def test_same_call_same_numbers(handmade_artifact, dataset, evaluation):
    again = evaluate.evaluate(handmade_artifact, dataset, resamples=50).metrics
    assert again.model_copy(update={"created": ""}) == evaluation.metrics.model_copy(update={"created": ""})


# --- other data, other folders ---------------------------------------------------------------------------------


def load(folder: Path, tmp_path: Path, **options: Any) -> data.Dataset:
    return data.load_dataset(folder, size=64, cache=tmp_path / "cache", progress=False, **options)


def test_without_masks_everything_else_is_measured(handmade_artifact, folders, tmp_path):
    found: Any = evaluate.evaluate(handmade_artifact, load(folders, tmp_path), resamples=20)
    assert found.metrics.classification.count > 0
    assert found.metrics.segmentation.count == 0
    assert found.metrics.segmentation.tumor_free.count > 0
    assert found.metrics.explanation is None
    assert found.cases == []
    assert any("--masks" in note for note in found.metrics.notes)
    assert "Dice" not in overview.overview(found.metrics).split("Lesions")[0].split("Masks")[0]


def test_single_class_folder(handmade_artifact, folders, tmp_path):
    only = tmp_path / "one" / "glioma"
    only.mkdir(parents=True)
    for path in sorted((folders / "Training" / "glioma").glob("*") if (folders / "Training").is_dir()
                       else (folders / "glioma").glob("*"))[:8]:  # fmt: skip
        (only / path.name).write_bytes(path.read_bytes())
    dataset = load(only.parent, tmp_path, min_classes=1)
    found: Any = evaluate.evaluate(handmade_artifact, dataset, split="all", resamples=20).metrics
    assert found.classification.count == len(dataset.table)
    assert found.classification.binary.roc_auc.value is None
    json.dumps(found.to_json(), allow_nan=False)
    overview.overview(found)


def test_no_rows_is_a_sentence(handmade_artifact, dataset):
    empty = replace(dataset, table=dataset.table.assign(split="train"))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate.evaluate(handmade_artifact, empty)


def test_model_without_segmenter_file_outlines_with_kmeans(handmade_artifact, dataset, tmp_path):
    (tmp_path / "classifier.onnx").write_bytes((handmade_artifact / "classifier.onnx").read_bytes())
    outputs = runner.run_model(tmp_path, dataset.images[:3])
    assert set(np.unique(outputs.mask_probability)) <= {0.0, 1.0}


@pytest.mark.parametrize("change", [{"training": {"refit": True}}, {"classifier": {"members": 2}}, {}])
def test_validation_figures_of_networks_that_learned_from_them_say_so(dataset, handmade_artifact, change):
    artifact = load_artifact(handmade_artifact)
    artifact = replace(artifact, config=artifact.config.model_validate(artifact.config.to_json() | change))
    common: dict[str, Any] = {"baseline": False, "sanity": False, "resamples": 0}
    notes = {
        split: evaluate.evaluate(artifact, dataset, split=split, **common).metrics.notes
        for split in ("validation", "test")
    }
    assert (LEARNED_FROM_VALIDATION in notes["validation"]) == bool(change)
    assert LEARNED_FROM_VALIDATION not in notes["test"]


def test_importing_evaluate_needs_no_tensorflow_and_no_gradio():
    code = "import sys; from brain_mri.evaluation import evaluate; " \
        "from brain_mri.reporting import report, slides, model_card; from brain_mri.cli import evaluate; " \
        "print([m for m in ('tensorflow', 'keras', 'gradio', 'torch') if m in sys.modules])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).resolve().parents[2])  # fmt: skip
    assert done.stdout.strip() == "[]"


# --- real data -------------------------------------------------------------------------------------------------


def test_official_split_of_the_real_data_flatters(real_data):
    """The measured trap of DESIGN §6: thumbnails and borders score far better where patients and copies are shared."""
    dataset = data.load_dataset(real_data / "brain-tumor-mri", size=96, progress=False)
    train, test = selection.official_rows(dataset.table)
    official: Any = measure(dataset, test, train=train, classes=CLASSES, resamples=50)
    mine: Any = measure(dataset, dataset.rows("test"), classes=CLASSES, resamples=50)
    assert official and mine
    for name in ("nearest_neighbour", "border_forest", "thumbnail_forest"):
        gap = official.scores[name].accuracy.value - mine.scores[name].accuracy.value
        assert gap > 0.03, name
    assert official.scores["nearest_neighbour"].accuracy.value > 0.95
    assert official.subsets.unseen_groups.count < 0.05 * official.test
    assert official.subsets.without_copy.count < 0.5 * official.test
    assert mine.subsets.unseen_groups.count == mine.test
