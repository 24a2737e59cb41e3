"""From an artifact and folders to metrics.json: the right rows, the right baselines, and no leak."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pandas as pd
import pytest
from conftest import write_handmade
from onnx import numpy_helper
from sklearn.ensemble import RandomForestClassifier

import baselines
import data
import evaluate
import file_masks
import forest
import held_out
import leaderboard
import phantom
import plot_style
import sanity
import scoreboard
import segmentation
import selection
from artifact import load_artifact, read_json, write_json
from predictor import Predictor
from scan import CLASSES, read_scan


@pytest.fixture(scope="module", autouse=True)
def small_forests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 25)
        patch.setattr(plot_style, "DPI", 60)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom.write_dataset(tmp_path_factory.mktemp("data") / "phantoms", per_class=12, size=128)


@pytest.fixture(scope="module")
def dataset(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> data.Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return data.load_dataset(folders, folders / "segmentation", size=64, cache=cache, progress=False)


@pytest.fixture(scope="module")
def evaluation(handmade_artifact: Path, dataset: data.Dataset) -> evaluate.Evaluation:
    return evaluate.evaluate(handmade_artifact, dataset, resamples=50)


# --- the whole -------------------------------------------------------------------------------------------------


def test_everything_is_measured_on_the_test_rows_only(evaluation, dataset):
    metrics = json.loads(json.dumps(evaluation.metrics, allow_nan=False))
    test = dataset.table[dataset.table["split"] == "test"]
    assert metrics["images"]["count"] == len(test)
    folder_rows = (test["source"] == data.CLASS_FOLDER).sum()
    assert metrics["classification"]["count"] == metrics["baselines"]["test"] == folder_rows
    assert metrics["baselines"]["train"] == len(dataset.rows("train", source=data.CLASS_FOLDER))
    assert metrics["baselines"]["subsets"]["unseen_groups"]["count"] == folder_rows  # the split cuts no group
    for part in ("segmentation", "kmeans", "explanation", "sanity", "calibration_before"):
        assert metrics[part] is not None, part
    assert metrics["segmentation"]["count"] == (test["has_mask"] & (test["source"] == data.MASK_PAIRS)).sum()
    assert metrics["segmentation"]["tumor_free"]["count"] == (test["class"] == "notumor").sum()
    assert metrics["segmentation"]["files"]["count"] == metrics["segmentation"]["count"]
    assert set(metrics["baselines"]["scores"]) == set(baselines.DESCRIPTIONS)


def test_handmade_artifact_is_right_about_phantoms_it_was_made_for(evaluation, handmade_artifact, dataset):
    """A bright lesion is what the handmade models look for: far above chance, or rows and labels are mixed up."""
    metrics = evaluation.metrics
    assert metrics["segmentation"]["dice"]["mean"]["value"] > 0.2
    assert metrics["explanation"]["energy_inside"]["value"] > 3 * metrics["explanation"]["chance"]
    # the test rows are too few for a binary score
    all_rows = evaluate.evaluate(handmade_artifact, dataset, split="all", baseline=False, sanity=False, resamples=50)
    assert all_rows.metrics["classification"]["binary"]["roc_auc"]["value"] > 0.7


def test_masks_are_also_scored_on_the_pixels_of_the_files(dataset, tmp_path):
    """The truth given back as the model's answer is nearly perfect on the files; shifted by a tenth it is not."""
    rows = dataset.rows("test", source=data.MASK_PAIRS)
    part = dataset.table.iloc[rows]
    truth = (dataset.masks[rows] > 127).astype(np.float32)
    places, predicted, stored = file_masks.file_masks(part, truth, 0.5, 0.0)
    assert places.tolist() == list(range(len(rows)))
    for mask, file, path, own in zip(predicted, stored, part["path"], part["mask_path"], strict=True):
        assert mask.shape == file.shape == read_scan(path).image.shape == (128, 128)
        assert (file == (read_scan(own).raw > 127)).all()
    dices = [segmentation.dice(p, s) for p, s in zip(predicted, stored, strict=True)]
    assert np.mean(dices) > 0.85
    shifted = file_masks.file_masks(part, np.roll(truth, 6, axis=2), 0.5, 0.0)[1]
    assert np.mean([segmentation.dice(p, s) for p, s in zip(shifted, stored, strict=True)]) < np.mean(dices) - 0.2
    gone = part.assign(mask_path=["", str(tmp_path / "gone.png"), *part["mask_path"].iloc[2:]])
    assert file_masks.file_masks(gone, truth, 0.5, 0.0)[0].tolist() == list(range(2, len(rows)))
    assert file_masks.file_masks(part.drop(columns="mask_path"), truth, 0.5, 0.0)[1] == []


def test_table_and_summary_hold_the_same_numbers(evaluation):
    text, short = evaluate.table(evaluation.metrics), evaluate.summary(evaluation.metrics)
    assert f"{short['accuracy']['value']:.3f}" in text
    assert f"{short['dice']['value']:.3f}" in text
    for name in ("1-nearest neighbour", "border only", "Majority class", "K-means", "Randomised-weights", "ROC-AUC"):
        assert name in text
    json.dumps(short, allow_nan=False)


def test_logits_are_those_that_the_app_uses(handmade_artifact, dataset):
    """Batch evaluation and the predictor must agree on a picture whose preprocessing is already done."""
    predictor = Predictor.load(handmade_artifact)
    rows = dataset.rows("test", source=data.CLASS_FOLDER)[:6]
    outputs = evaluate.run_model(handmade_artifact, dataset.images[rows], batch=4)
    for logits, row in zip(outputs.logits, rows, strict=True):
        answer = predictor.analyze(read_scan(dataset.table["path"].iloc[row]))
        np.testing.assert_allclose(logits, answer.logits, atol=1e-4)


def test_cases_are_of_different_patients_and_in_order(evaluation, dataset):
    kinds = [case.kind for case in evaluation.cases]
    assert kinds == sorted(kinds, key=["best", "median", "worst"].index)
    best = [case.dice for case in evaluation.cases if case.kind == "best"]
    worst = [case.dice for case in evaluation.cases if case.kind == "worst"]
    assert min(best) >= max(worst)
    for case in evaluation.cases:
        assert case.image.shape == case.truth.shape == case.heatmap.shape == (64, 64)
        assert case.truth.any()


def test_same_call_same_numbers(handmade_artifact, dataset, evaluation):
    again = evaluate.evaluate(handmade_artifact, dataset, resamples=50).metrics
    assert {**again, "created": ""} == {**evaluation.metrics, "created": ""}


# --- other data, other folders ---------------------------------------------------------------------------------


def load(folder: Path, tmp_path: Path, **options: Any) -> data.Dataset:
    return data.load_dataset(folder, size=64, cache=tmp_path / "cache", progress=False, **options)


def test_without_masks_everything_else_is_measured(handmade_artifact, folders, tmp_path):
    found = evaluate.evaluate(handmade_artifact, load(folders, tmp_path), resamples=20)
    assert found.metrics["classification"]["count"] > 0
    assert found.metrics["segmentation"]["count"] == 0
    assert found.metrics["segmentation"]["tumor_free"]["count"] > 0
    assert found.metrics["explanation"] is None
    assert found.cases == []
    assert any("--masks" in note for note in found.metrics["notes"])
    assert "Dice" not in evaluate.table(found.metrics).split("Lesions")[0].split("Masks")[0]


def test_single_class_folder(handmade_artifact, folders, tmp_path):
    only = tmp_path / "one" / "glioma"
    only.mkdir(parents=True)
    for path in sorted((folders / "Training" / "glioma").glob("*") if (folders / "Training").is_dir()
                       else (folders / "glioma").glob("*"))[:8]:  # fmt: skip
        (only / path.name).write_bytes(path.read_bytes())
    dataset = load(only.parent, tmp_path, min_classes=1)
    found = evaluate.evaluate(handmade_artifact, dataset, split="all", resamples=20).metrics
    assert found["classification"]["count"] == len(dataset.table)
    assert found["classification"]["binary"]["roc_auc"]["value"] is None
    json.dumps(found, allow_nan=False)
    evaluate.table(found)


def test_no_rows_is_a_sentence(handmade_artifact, dataset):
    empty = replace(dataset, table=dataset.table.assign(split="train"))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate.evaluate(handmade_artifact, empty)


def test_model_without_segmenter_file_outlines_with_kmeans(handmade_artifact, dataset, tmp_path):
    (tmp_path / "classifier.onnx").write_bytes((handmade_artifact / "classifier.onnx").read_bytes())
    outputs = evaluate.run_model(tmp_path, dataset.images[:3])
    assert set(np.unique(outputs.mask_probability)) <= {0.0, 1.0}


# --- held out --------------------------------------------------------------------------------------------------


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


# --- rows ------------------------------------------------------------------------------------------------------


def table(**columns: Any) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    base = {"source": data.CLASS_FOLDER, "class": "glioma", "has_mask": False, "duplicate_of": -1}
    return pd.DataFrame({key: columns.get(key, [value] * count) for key, value in base.items()})


def test_outlined_slices_count_once():
    found = table(
        source=[data.CLASS_FOLDER, data.MASK_PAIRS, data.MASK_PAIRS, data.CLASS_FOLDER, data.MASK_PAIRS],
        has_mask=[True, True, True, True, False],
        duplicate_of=[-1, 0, 1, -1, -1],
        **{"class": ["glioma", "glioma", "glioma", "notumor", "glioma"]},
    )
    assert selection.mask_rows(found).tolist() == [1, 3]  # 0 repeats 1, 2 is a copy of 1, 4 has no mask
    without_pairs = found[found["source"] == data.CLASS_FOLDER]
    assert selection.mask_rows(without_pairs).tolist() == [0, 1]


def test_classification_uses_class_folders_and_else_the_pairs():
    found = table(source=[data.MASK_PAIRS, data.CLASS_FOLDER, data.MASK_PAIRS], **{"class": ["glioma", "glioma", ""]})
    assert selection.classification_rows(found, CLASSES).tolist() == [1]
    assert selection.classification_rows(found.iloc[[0, 2]], CLASSES).tolist() == [0]


def test_few_cases_are_not_shown_twice():
    picked = selection.pick_cases(np.array([0.9, 0.1]), np.array(["a", "b"], dtype=object))
    assert picked == [("best", 0), ("worst", 1)]


# --- baselines -------------------------------------------------------------------------------------------------


def thumbs_and_labels(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return rng.integers(0, 255, (count, 32, 32)).astype(np.uint8), labels


def test_nearest_neighbour_equals_brute_force():
    thumbs, labels = thumbs_and_labels()
    train, test = np.arange(40), np.arange(40, 60)
    answer = baselines.predict_baselines(thumbs, labels, train, test)["nearest_neighbour"]
    for row, label in zip(test, answer, strict=True):
        distances = ((thumbs[train].astype(float) - thumbs[row].astype(float)) ** 2).sum(axis=(1, 2))
        assert label == labels[train][distances.argmin()]


@pytest.mark.parametrize("leaf", [1, 3])
def test_forest_equals_scikit_learns(leaf):
    thumbs, labels = thumbs_and_labels(90)
    flat = thumbs.reshape(90, -1) + 20 * labels[:, None]
    theirs = RandomForestClassifier(15, min_samples_leaf=leaf, random_state=5).fit(flat[:60], labels[:60])
    classes, chance = forest.forest(flat[:60], labels[:60], flat[60:], trees=15, leaf=leaf, seed=5)
    assert classes.tolist() == theirs.classes_.tolist()
    np.testing.assert_allclose(chance, theirs.predict_proba(flat[60:]))
    assert forest.forest(flat[:60], labels[:60], flat[:0], trees=2)[1].shape == (0, 3)


def test_border_forest_sees_only_the_border():
    thumbs, labels = thumbs_and_labels()
    thumbs[:, :3] = (labels * 100)[:, None, None]
    other = thumbs.copy()
    other[:, 3:-3, 3:-3] = 7
    train, test = np.arange(40), np.arange(40, 60)
    first = baselines.predict_baselines(thumbs, labels, train, test)
    second = baselines.predict_baselines(other, labels, train, test)
    assert (first["border_forest"] == labels[test]).all()
    assert (first["border_forest"] == second["border_forest"]).all()
    assert baselines.border(thumbs).shape == (60, 32 * 32 - 26 * 26)


def test_copies_are_found_mirrored_and_brightened_and_others_are_not():
    rng = np.random.default_rng(1)
    smooth = [cv2.GaussianBlur(rng.random((32, 32)).astype(np.float32), (0, 0), 2) for _ in range(6)]
    pictures = np.stack([np.interp(p, (p.min(), p.max()), (20, 200)) for p in smooth]).astype(np.uint8)
    test = [pictures[0], pictures[1][:, ::-1], (pictures[2] * 0.6 + 30).astype(np.uint8), pictures[4], pictures[5]]
    thumbs = np.concatenate([pictures[:4], np.stack(test)])
    found = baselines.near_copies(thumbs, np.arange(4), np.arange(4, 9))
    assert found.tolist() == [True, True, True, False, False]
    assert baselines.near_copies(thumbs, np.arange(0), np.arange(4)).tolist() == [False] * 4


def test_out_of_fold_baselines_never_see_the_own_group():
    """Each group is one picture repeated, and its label is found nowhere else: knowing the group would be cheating."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), 4)
    thumbs = rng.integers(0, 255, (12, 32, 32)).astype(np.uint8)[groups]
    answers = baselines.predict_out_of_fold(thumbs, groups, groups.astype(str))
    assert all((answer != groups).all() for answer in answers.values())
    assert baselines.predict_out_of_fold(thumbs[:4], groups[:4], groups[:4].astype(str)) == {}


def test_thumbnails_are_of_the_whole_picture_as_stored(tmp_path):
    picture = np.zeros((60, 100), np.uint8)
    picture[:, 50:] = 200
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture)
    square = np.full((2, 64, 64), 9, np.uint8)
    found = baselines.thumbnails([path, tmp_path / "missing.png"], square)
    assert found[0, :, 0].max() == 0
    assert found[0, :, -1].min() == 200
    assert (found[1] == 9).all()


# --- sanity ----------------------------------------------------------------------------------------------------


def test_identical_maps_are_similar_and_unrelated_ones_are_not():
    rng = np.random.default_rng(0)
    a, b = (cv2.GaussianBlur(rng.random((64, 64)).astype(np.float32), (0, 0), 3) for _ in range(2))
    assert sanity.similarity(a, 5 * a) == pytest.approx((1, 1), abs=1e-3)
    assert abs(sanity.similarity(a, b)[1]) < 0.4
    assert sanity.similarity(a, np.zeros((8, 8)))[1] == 0


def test_randomised_layers_lie_equally_deep_and_copies_of_a_weight_stay_equal():
    """The head's weights are used twice (logits and Grad-CAM); a random model must use the same random numbers."""
    rng = np.random.default_rng(0)
    head = rng.normal(size=(6, 5)).astype(np.float32)
    weights: dict[str, np.ndarray] = {
        "early": rng.normal(size=(6, 6)),
        "side": rng.normal(size=(6, 5)),
        "first": head,
        "turned": head.T / 9,
    }
    stored = [numpy_helper.from_array(np.ascontiguousarray(w, np.float32), name) for name, w in weights.items()]
    stored[1] = numpy_helper.from_array(weights["side"].astype(np.float16), "side")  # as in a file of two networks
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["side"], ["side32"], to=onnx.TensorProto.FLOAT),
        node("MatMul", ["image", "early"], ["a"]),
        node("MatMul", ["a", "first"], ["b"]),
        node("MatMul", ["a", "side32"], ["c"]),
        node("Add", ["b", "c"], ["logits"]),
        node("MatMul", ["logits", "turned"], ["heatmaps"]),
    ]
    ends = [value(name, onnx.TensorProto.FLOAT, [None, None]) for name in ("image", "logits", "heatmaps")]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], stored))
    assert sanity.weight_depths(model) == {"turned": 1, "first": 2, "side": 2, "early": 3}
    changed = sanity.randomised(model, 0.0, seed=1)
    found = {i.name: numpy_helper.to_array(i) for i in changed.graph.initializer}
    np.testing.assert_allclose(found["first"], 9 * found["turned"].T, rtol=1e-5)
    assert not np.allclose(found["first"], head)
    np.testing.assert_array_equal(found["early"], weights["early"].astype(np.float32))  # untouched at share 0
    again = sanity.randomised(model, 0.0, seed=1)
    assert again.SerializeToString() == changed.SerializeToString()
    half = {i.name: numpy_helper.to_array(i) for i in sanity.randomised(model, 0.5, seed=1).graph.initializer}
    assert half["side"].dtype == np.float16 and not np.array_equal(half["side"], stored[1])
    np.testing.assert_array_equal(half["early"], weights["early"].astype(np.float32))
    everything = sanity.randomised(model, 1.0, seed=1).graph.initializer
    assert not any(np.array_equal(numpy_helper.to_array(new), weights[new.name]) for new in everything)


def test_sanity_check_reports_every_stage(handmade_artifact, dataset):
    rows = dataset.rows(source=data.MASK_PAIRS)[::3]
    found = sanity.sanity_check(handmade_artifact, dataset.images[rows], dataset.masks[rows] > 127)
    assert [row["randomised"] for row in found["stages"]] == [name for name, _ in sanity.STAGES]
    assert found["count"] == len(rows)
    assert found["trained"]["energy_inside"] > 0


# --- command line ----------------------------------------------------------------------------------------------


def test_command_line_writes_a_whole_hand_in(handmade_artifact, folders, tmp_path, capsys):
    out = tmp_path / "out"
    status = evaluate.main(
        ["--model", str(handmade_artifact), "--data", str(folders), "--masks", str(folders / "segmentation"),
         "--cache", str(tmp_path), "--out", str(out), "--resamples", "30"]
    )  # fmt: skip
    text = capsys.readouterr().out
    assert status == 0
    assert "1-nearest neighbour" in text
    assert "K-means" in text
    metrics = read_json(out / "metrics.json")
    assert metrics["baselines"]["train"] == 0  # unknown training rows: baselines are cross-validated
    for name in ("report.html", "slides.pptx", "figures/compared.png", "figures/cases.png"):
        assert (out / name).stat().st_size > 3000, name
    assert not (out / "README.md").exists()  # the model's card is not overwritten by someone's evaluation
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "{tmp}/nothing", "--data", "{data}"], "nothing"),
        (["--model", "{model}", "--data", "{tmp}/nowhere"], "nowhere"),
        (["--leaderboard", "--only", "alexnet", "--data", "{data}", "--out", "{tmp}/b"], "alexnet"),
        (["--leaderboard", "--only", "unet", "--data", "{data}", "--out", "{tmp}/b"], "Without --masks"),
        (["--leaderboard", "--only", "--also", "{tmp}/no", "--data", "{data}", "--out", "{tmp}/b"], "no config.json"),
        (["--folds", "9", "--data", "{data}", "--out", "{tmp}/b"], "five folds"),
        (["--model", "{model}", "--official", "{model}", "--data", "{data}", "--no-baselines"], "official-split"),
    ],
)
def test_wrong_calls_end_with_one_sentence(arguments, said, handmade_artifact, folders, tmp_path, capsys):
    words = [a.format(tmp=tmp_path, data=folders, model=handmade_artifact) for a in arguments]
    assert evaluate.main([*words, "--cache", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_without_a_model_the_baselines_stand_on_both_splits(folders, tmp_path, capsys):
    assert evaluate.main(["--data", str(folders), "--cache", str(tmp_path), "--resamples", "20"]) == 0
    text = capsys.readouterr().out
    for phrase in ("1-nearest neighbour", "How much the official split flatters", "Official Training/Testing"):
        assert phrase in text
    assert "model" not in text.lower()


def test_importing_evaluate_needs_no_tensorflow_and_no_gradio():
    code = "import sys, evaluate, report, slides, model_card, figures_model; " \
        "print([m for m in ('tensorflow', 'keras', 'gradio', 'torch') if m in sys.modules])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(evaluate.__file__).parent)  # fmt: skip
    assert done.stdout.strip() == "[]"


# --- leaderboard -----------------------------------------------------------------------------------------------

STUB = """
import json, pathlib, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
name = words[words.index("--classifier") + 1] if "--classifier" in words else "fold"
if name == "broken":
    print("it broke")
    sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
with open(out / "calls", "a") as file:
    file.write("r" if "--resume" in words else "x")
if name == "stopped" and "--resume" not in words:
    sys.exit("stopped in the middle")
template = json.loads(pathlib.Path(__file__).with_name("metrics.json").read_text())
def value(flag, default):
    return int(words[words.index(flag) + 1]) if flag in words else default
config = {"training": {"command": "train.py " + " ".join(words), "classifier": {"seconds": 60},
                       "epochs": value("--epochs", 10)},
          "preprocessing": {"image_size": value("--size", 160)},
          "classifier": {"architecture": name, "parameters": 10},
          "segmenter": {"architecture": "unet", "parameters": 5, "trained_on": "masks"}}
(out / "config.json").write_text(json.dumps(config))
(out / "metrics.json").write_text(json.dumps(template))
other = words[words.index("--seed") + 1] != "0"
(out / "split.csv").write_text("digest,split\\n" + ("other" if other else "one") + ",test\\n")
"""


@pytest.fixture
def stub(tmp_path, monkeypatch, evaluation) -> Path:
    """A train.py that takes no time."""
    script = tmp_path / "stub" / "train.py"
    script.parent.mkdir()
    script.write_text(STUB)
    write_json(script.parent / "metrics.json", evaluation.metrics)
    monkeypatch.setattr(leaderboard, "TRAIN", script)
    return script


def options(tmp_path: Path, **changes: Any) -> Namespace:
    base = {"leaderboard": True, "folds": None, "out": tmp_path / "board", "data": tmp_path, "masks": None,
            "groups": None, "cache": None, "epochs": 2, "seed": 0, "only": None, "also": None, "size": None,
            "train_args": ""}  # fmt: skip
    return Namespace(**base | changes)


def entries(out: Path, *names: str) -> list[scoreboard.Entry]:
    return [scoreboard.Entry(name, ["--classifier", name], out / name) for name in names]


def test_leaderboard_gathers_resumes_and_survives_a_failure(stub, tmp_path, monkeypatch, capsys, evaluation):
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: entries(out, "gap_cnn", "broken", "guided"))
    args = options(tmp_path)
    assert leaderboard.run(args) == 1
    assert "it broke" in capsys.readouterr().err
    text = (args.out / "leaderboard.md").read_text()
    for name in ("gap_cnn", "guided", "Majority class", "1-nearest", "kmeans", "unet"):
        assert name in text
    assert "broken" not in text
    assert f"{evaluation.metrics['classification']['accuracy']['value']:.3f}" in text
    found = pd.read_csv(args.out / "leaderboard.csv")
    assert set(found["kind"]) == {"classifier", "segmenter"}
    assert (args.out / "leaderboard.png").stat().st_size > 3000
    briefly = {name: "--brief" in (args.out / f"{name}.log").read_text() for name in ("gap_cnn", "guided")}
    assert briefly == {"gap_cnn": False, "guided": True}  # baselines are measured once
    leaderboard.run(args)
    assert {name: (args.out / name / "calls").read_text() for name in briefly} == {"gap_cnn": "x", "guided": "x"}
    leaderboard.run(options(tmp_path, epochs=3))
    assert (args.out / "gap_cnn" / "calls").read_text() == "xx"  # another budget is another run


def test_only_what_the_same_command_began_is_resumed(stub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: entries(out, "stopped"))
    args = options(tmp_path)
    assert leaderboard.run(args) == 1
    assert "stopped in the middle" in capsys.readouterr().err
    assert leaderboard.run(args) == 0
    assert (args.out / "stopped" / "calls").read_text() == "xr"
    assert leaderboard.run(options(tmp_path, epochs=3)) == 1  # train.py would refuse to resume under another budget
    assert (args.out / "stopped" / "calls").read_text() == "xrx"


def test_rows_of_several_commands_and_folders_stand_in_one_table(stub, tmp_path, monkeypatch, capsys):
    asked: list[str] = []
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: entries(out, *asked))
    asked[:] = ["gap_cnn"]
    leaderboard.run(options(tmp_path))
    asked[:] = ["flatten_cnn"]
    leaderboard.run(options(tmp_path, size=96, epochs=5))
    asked[:] = ["vgg16"]
    leaderboard.run(options(tmp_path, seed=1, out=tmp_path / "foreign"))  # the stub then tests on other pictures
    asked[:] = ["resnet"]
    leaderboard.run(options(tmp_path, out=tmp_path / "elsewhere"))
    asked[:] = []
    capsys.readouterr()
    also = [tmp_path / "elsewhere" / "resnet", tmp_path / "foreign" / "vgg16"]
    assert leaderboard.run(options(tmp_path, also=also)) == 0
    found = pd.read_csv(tmp_path / "board" / "leaderboard.csv")
    models = found[(found["kind"] == "classifier") & ~found["baseline"]].set_index("name")
    assert set(models.index) == {"gap_cnn", "flatten_cnn", "resnet (resnet)"}
    assert models["epochs"].to_dict() == {"gap_cnn": 2, "flatten_cnn": 5, "resnet (resnet)": 2}
    assert models.at["flatten_cnn", "size"] == 96
    said = capsys.readouterr()
    assert "vgg16 was measured on other pictures" in said.err
    assert "flatten_cnn" in said.out


def test_a_classifier_that_only_kept_a_segmenter_company_has_no_row(stub, tmp_path, monkeypatch):
    unet = scoreboard.Entry("unet", ["--classifier", "gap_cnn"], tmp_path / "board" / "unet")
    monkeypatch.setattr(leaderboard, "architectures", lambda args, out: [unet])
    leaderboard.run(options(tmp_path))
    found = pd.read_csv(tmp_path / "board" / "leaderboard.csv")
    assert found.loc[~found["baseline"], "name"].tolist() == ["unet"]


def test_folds_end_with_mean_and_deviation(stub, tmp_path):
    args = options(tmp_path, leaderboard=False, folds=3, out=tmp_path / "folds")
    assert leaderboard.run(args) == 0
    text = (args.out / "folds.md").read_text()
    assert "fold 2" in text
    assert "mean ± SD" in text


def test_every_registered_architecture_is_covered(tmp_path):
    model_def = pytest.importorskip("model_def")
    found = leaderboard.architectures(options(tmp_path, masks=tmp_path), tmp_path)
    words = [entry.arguments for entry in found]
    assert {w[1] for w in words} == set(model_def.CLASSIFIERS)
    few = leaderboard.architectures(options(tmp_path, masks=tmp_path, only=["unet", "resnet", "gap_cnn"]), tmp_path)
    assert [entry.name for entry in few] == ["gap_cnn-unet", "resnet"]
    assert leaderboard.architectures(options(tmp_path, only=[]), tmp_path) == []
    assert set(model_def.SEGMENTERS) <= {w[3] for w in words}
    assert len({entry.folder for entry in found}) == len(found)


# --- real data -------------------------------------------------------------------------------------------------


def test_official_split_of_the_real_data_flatters(real_data):
    """The measured trap of DESIGN §6: thumbnails and borders score far better where patients and copies are shared."""
    dataset = data.load_dataset(real_data / "brain-tumor-mri", size=96, progress=False)
    train, test = selection.official_rows(dataset.table)
    official = selection.split_baselines(dataset, test, train=train, classes=CLASSES, resamples=50)
    mine = selection.split_baselines(dataset, dataset.rows("test"), classes=CLASSES, resamples=50)
    assert official and mine
    for name in ("nearest_neighbour", "border_forest", "thumbnail_forest"):
        gap = official["scores"][name]["accuracy"]["value"] - mine["scores"][name]["accuracy"]["value"]
        assert gap > 0.03, name
    assert official["scores"]["nearest_neighbour"]["accuracy"]["value"] > 0.95
    assert official["subsets"]["unseen_groups"]["count"] < 0.05 * official["test"]
    assert official["subsets"]["without_copy"]["count"] < 0.5 * official["test"]
    assert mine["subsets"]["unseen_groups"]["count"] == mine["test"]
