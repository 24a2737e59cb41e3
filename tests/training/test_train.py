"""train.py as a person runs it: on phantoms, interrupted, resumed, without masks, with wrong arguments."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from huggingface_hub import ModelCard

import model_def
from brain_mri.artifact.config import Stage
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CLASSES
from brain_mri.data import phantom
from brain_mri.evaluation.records import read_metrics
from brain_mri.files import read_json
from brain_mri.imaging.preprocessing import head_mask, preprocess, restore
from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor
from brain_mri.reporting import texts
from brain_mri.training import run
from brain_mri.training.fit import UNCLAIMED
from segmentation import kmeans_mask

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
SMALL = ["--size", "64", "--width", "6", "--batch-size", "8", "--verbose", "0", "--precision", "float32"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    return phantom.write_dataset(tmp_path_factory.mktemp("phantoms"), per_class=16, seed=3, size=128)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAIN_MRI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def arguments(root: Path, out: Path, *more: str, masks: bool = True) -> list[str]:
    pairs = ["--masks", str(root / "segmentation")] if masks else []
    return ["--data", str(root), *pairs, "--out", str(out), *SMALL, *more]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="another processor")
@pytest.mark.parametrize("own", [None, "0"])
def test_onednn_is_switched_on_but_for_whoever_switched_it_off(own: str | None) -> None:
    asked = {"TF_ENABLE_ONEDNN_OPTS": own} if own else {}
    settings = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"} | asked
    code = "import os, train; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=TRAIN.parent, env=settings, capture_output=True, text=True)
    assert done.stdout.split()[-1] == (own or "1"), done.stderr


def start(*words: str) -> subprocess.Popen:
    """With Ctrl-C as in a terminal: what a shell runs in the background, these tests for one, ignores it."""
    return subprocess.Popen(
        [sys.executable, str(TRAIN), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_epoch(out: Path, epoch: int, process: subprocess.Popen) -> None:
    """However busy the machine is: minutes are allowed, and a process that ends is noticed."""
    state = out / "checkpoints" / "classifier" / "state.json"
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline and process.poll() is None:
        if state.is_file() and json.loads(state.read_text())["epoch"] >= epoch:
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[0])


@pytest.mark.slow
def test_a_killed_run_resumes_and_the_artifact_serves(phantoms, tmp_path):
    out = tmp_path / "run"
    words = arguments(phantoms, out, "--epochs", "8", "--encoder", "resnet")
    process = start(*words)
    wait_for_epoch(out, 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "config.json").exists()  # nothing that looks like an artifact
    finished = subprocess.run([sys.executable, str(TRAIN), *words, "--resume"], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "Resuming after epoch" in finished.stdout

    artifact = load_artifact(out)
    state = artifact.config.training.classifier
    assert state and state.epoch == 8 and len(state.history["val_loss"]) == 8
    assert artifact.config.segmenter.trained_on == "masks"
    assert (out / "metrics.json").is_file() and (out / "README.md").is_file()
    for name in ("classifier.onnx", "classifier.weights.h5"):
        assert 0 < (out / name).stat().st_size < 10e6
    assert not (out / "segmenter.onnx").exists(), "the classifier gives the mask"
    # 1-NN and the rest stand beside the score
    assert "baselines" in artifact.metrics()

    # the app answers with it, and a second training run elsewhere does not disturb it
    path = next((phantoms / "Testing" / "glioma").iterdir())
    analysis = Predictor.load(out).analyze(read_scan(path))
    assert sum(analysis.probabilities.values()) == pytest.approx(1)
    assert analysis.mask.shape == analysis.image.shape

    # other settings must not continue this run
    other = subprocess.run(
        [sys.executable, str(TRAIN), *words, "--seed", "5", "--resume"], capture_output=True, text=True
    )
    assert other.returncode != 0 and "other settings" in other.stderr and "seed" in other.stderr
    assert load_artifact(out).config == artifact.config

    # measured again, only the scores
    words += ["--resume", "--brief"]
    finished = subprocess.run([sys.executable, str(TRAIN), *words], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    brief = load_artifact(out)
    assert brief.config.guard is None and brief.metrics()["baselines"] is None and brief.metrics()["sanity"] is None
    assert brief.metrics()["classification"]["accuracy"] == artifact.metrics()["classification"]["accuracy"]
    assert Predictor.load(out).analyze(read_scan(path)).probabilities == analysis.probabilities


@pytest.mark.slow
def test_a_second_run_into_one_folder_is_refused_and_the_artifact_is_the_firsts(phantoms, tmp_path):
    out = tmp_path / "run"
    words = arguments(phantoms, out, "--epochs", "4", "--encoder", "resnet", "--brief")
    process = start(*words)
    wait_for_epoch(out, 1, process)
    process.send_signal(signal.SIGSTOP)  # so that it cannot be done before the others have begun
    for more in (["--seed", "7"], ["--resume"]):
        second = subprocess.run([sys.executable, str(TRAIN), *words, *more], capture_output=True, text=True)
        assert second.returncode == 1 and f"(process {process.pid} on " in second.stderr, second.stderr
        assert second.stderr.strip().splitlines()[-1].startswith(f"train.py: {out} is being written by the run 20")
    process.send_signal(signal.SIGCONT)
    text, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, text
    training = load_artifact(out).config.training
    assert training.seed == 0 and training.classifier and training.segmenter and training.classifier.epoch == 4
    run = read_json(out / "checkpoints" / "run.json")["run"]
    assert {training.run, training.classifier.run, training.segmenter.run} == {run}


@pytest.mark.slow
def test_ctrl_c_leaves_no_artifact_and_says_how_to_go_on(phantoms, tmp_path):
    out = tmp_path / "run"
    process = start(*arguments(phantoms, out, "--epochs", "50", "--encoder", "resnet"))
    wait_for_epoch(out, 1, process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=1200)
    assert process.returncode == 130
    assert "--resume" in text and "Traceback" not in text
    assert not (out / "config.json").exists()


def test_training_and_serving_see_the_same_bits(phantoms):
    from brain_mri.data import dataset as data

    dataset = data.load_dataset(phantoms, phantoms / "segmentation", size=64, progress=False)
    for row in range(0, len(dataset.table), 7):
        served, _ = preprocess(read_scan(dataset.table["path"].iloc[row]).image, 64)
        np.testing.assert_array_equal(dataset.images[row], served)


def test_training_and_serving_see_the_same_bits_of_real_files(real_data):
    from brain_mri.data import dataset as data

    dataset = data.load_dataset(real_data / "brain-tumor-mri", size=96, progress=False)
    for row in range(0, len(dataset.table), 97):
        served, _ = preprocess(read_scan(dataset.table["path"].iloc[row]).image, 96)
        np.testing.assert_array_equal(dataset.images[row], served)


def test_epochs_0_checks_the_data_and_writes_nothing(phantoms, tmp_path, capsys):
    import train

    assert train.main(arguments(phantoms, tmp_path / "run", "--epochs", "0")) == 0
    assert "glioma" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_masks_that_mark_the_background_stop_the_run(phantoms, tmp_path, capsys):
    """Half of them exchanged: nothing is trained; a few: they are named and not used."""
    import train

    for few in (1, 24):
        pairs = shutil.copytree(phantoms / "segmentation", tmp_path / f"pairs-{few}")
        for path in sorted((pairs / "masks").iterdir())[:few]:
            cv2.imwrite(str(path), 255 - read_scan(path).image)
        words = arguments(phantoms, tmp_path / "run", "--epochs", "0", "--masks", str(pairs), masks=False)
        status, told = train.main(words), capsys.readouterr()
        if few == 1:
            assert status == 0 and "Note: 1 of " in told.out and "audit names them all" in told.out
        else:
            assert status == 1 and "cannot be outlines of tumors" in told.err and "Nothing was trained." in told.err
            assert told.err.strip().splitlines()[-1].startswith("train.py: ")


@pytest.mark.slow
def test_without_masks_the_user_is_told_what_outlines_the_tumor(phantoms, tmp_path, capsys):
    import train

    only_classes = tmp_path / "classes"
    only_classes.mkdir()
    for name in ("Training", "Testing"):
        (only_classes / name).symlink_to(phantoms / name)
    words = arguments(only_classes, tmp_path / "run", "--epochs", "1", "--classifier", "gap_cnn", masks=False)
    assert train.main(words) == 0
    assert "K-means outlines the tumor" in capsys.readouterr().out
    config = load_artifact(tmp_path / "run").config
    assert config.segmenter.architecture == "kmeans"
    scan = read_scan(next((phantoms / "Testing" / "pituitary").iterdir()))
    analysis = Predictor.load(tmp_path / "run").analyze(scan)
    square, frame = preprocess(scan.image, 64)
    outlined = kmeans_mask(square, head_mask).astype(np.float32)
    assert outlined.any() and np.array_equal(analysis.mask_probability, restore(outlined, frame))


@pytest.mark.slow
def test_weak_masks_are_marked_as_weak(phantoms, tmp_path):
    import train

    only_classes = tmp_path / "classes"
    only_classes.mkdir()
    (only_classes / "Training").symlink_to(phantoms / "Training")
    words = arguments(only_classes, tmp_path / "run", "--epochs", "1", "--weak-masks", masks=False)
    assert train.main([*words, "--classifier", "flatten_cnn", "--segmenter", "resunet"]) == 0
    config = load_artifact(tmp_path / "run").config
    assert config.segmenter.trained_on == "weak masks"
    assert "weak" in (tmp_path / "run" / "README.md").read_text().lower()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--size", "100"], "multiple of 16"),
        (["--fold", "9"], "--fold"),
        (["--members", "2", "--classifier", "gap_cnn"], "--members, --cross-validate and --refit need"),
        (["--members", "0"], "--members"),
        (["--cross-validate", "-1"], "--cross-validate is a number from 1 up, not -1"),
        (["--leave-out", "lgg"], "There is no source 'lgg' to leave out; the data has"),
        (["--refit-epochs", "2"], "--refit-epochs goes on with --refit"),
        (["--split", "split.csv", "--fold", "1"], "give one of them"),
        (["--datasets", "mine", " "], "--datasets takes names of one line"),
        (["--license", "CC BY-NC-SA 4.0"], "such as mit or cc-by-nc-sa-4.0, not 'CC BY-NC-SA 4.0'"),
    ],
)
def test_wrong_arguments_get_a_sentence(phantoms, tmp_path, capsys, change, sentence):
    import train

    assert train.main([*arguments(phantoms, tmp_path / "run", "--epochs", "1"), *change]) == 1
    message = capsys.readouterr().err.splitlines()[-1]  # a progress bar may stand before it
    assert message.startswith("train.py: ") and sentence in message
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_networks_that_answer_together_are_one_artifact(phantoms, tmp_path, handmade_artifact):
    import train

    out = tmp_path / "run"
    words = ["--epochs", "1", "--members", "2", "--cross-validate", "3", "--encoder", "resnet"]
    assert train.main(arguments(phantoms, out, *words)) == 0
    config = load_artifact(out).config
    assert config.classifier.members == config.segmenter.members == 2
    first, _ = config.training.others
    assert first.classifier and first.classifier.history
    assert (out / "classifier-2.weights.h5").is_file() and not (out / "classifier-3.weights.h5").exists()
    assert (out / "checkpoints" / "outliner-2").is_dir()
    assert "2 × guided" in (out / "README.md").read_text()
    assert Predictor.load(out).analyze(read_scan(next((phantoms / "Testing" / "glioma").iterdir()))).label
    found = read_json(out / "metrics.json")["cross_validation"]
    assert found["parts"] == 3 and found["classification"]["count"] and found["segmentation"]["count"]
    assert "Cross-validation over patients" in (out / "report.html").read_text()

    model, starts = model_def.build("guided", 64, width=6), []
    for number in (1, 2, 3):
        run.start_from(out, "guided", model, CLASSES, number)
        starts.append(model.get_weights()[0])
    assert not np.array_equal(starts[0], starts[1]), "--init: the second network starts from its own weights"
    assert np.array_equal(starts[0], starts[2]), "there is no third one"
    outliner = keras.Model(model.input, {"mask": model.output["mask"]})
    outliner.load_weights(out / "checkpoints" / "outliner" / "best.weights.h5")
    taught = outliner.get_weights()
    model.load_weights(out / "checkpoints" / "classifier" / "best.weights.h5")
    for before, after in zip(taught, outliner.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)  # the U-Net stood still while the class was learned
    assert run.encoder_of(handmade_artifact) == "resnet", "artifacts of earlier versions do not name theirs"
    going_on = train.read_arguments(["--data", "x", "--init", str(out)])
    assert going_on.encoder == "efficientnet_lite0", "the option's default, which says nothing about the artifact"
    assert run.checked(going_on).encoder == "resnet" and not run.checked(going_on).uses_depthwise


@pytest.mark.slow
def test_networks_that_answer_can_learn_from_all_but_the_test_patients(phantoms, tmp_path, monkeypatch):
    import train
    from brain_mri.training import export

    fed, asked = [], []
    fit, ask, out = run.fit, export.ask, tmp_path / "run"

    def watched_fit(model, training, validation, *more, **options):
        fed.append((int(training.cardinality()), validation is not None))
        return fit(model, training, validation, *more, **options)

    def watched_ask(folder, dataset, rows, seed):
        asked.append(set(rows))
        return ask(folder, dataset, rows, seed)

    monkeypatch.setattr(run, "fit", watched_fit)
    monkeypatch.setattr(export, "ask", watched_ask)
    words = ["--epochs", "1", "--cross-validate", "2", "--refit", "--encoder", "resnet", "--brief"]
    assert train.main(arguments(phantoms, out, *words)) == 0
    assert [validates for _, validates in fed] == [True] * 4 + [False] * 2, "masks, then the class, thrice"
    assert fed[-1][0] > fed[1][0], "the last one learns from more"
    assert len(asked) == 2 and not asked[0] & asked[1], "only those with patients of their own calibrate"
    config = load_artifact(out).config
    assert config.training.refit and "members" not in config.classifier.to_json()
    assert read_json(out / "metrics.json")["cross_validation"]["parts"] == 2
    kept = model_def.build("guided", 64, width=6)
    kept.load_weights(out / "classifier.weights.h5")
    last = model_def.build("guided", 64, width=6)
    last.load_weights(out / "checkpoints" / "classifier-3" / "epoch-0001-averaged.weights.h5")
    for ours, theirs in zip(kept.get_weights(), export.rounded(last).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    told = texts.method(read_metrics(out / "metrics.json"), config)
    assert "fitted on all patients but those of the test set" in " ".join(told)


def test_a_refit_can_go_on_from_the_network_that_calibrates(phantoms, tmp_path, monkeypatch):
    import train
    from brain_mri.training import run

    began, ended, fit = [], [], run.fit

    def watched_fit(model, *more, **options):
        began.append((model.get_weights(), more[2].learning_rate))
        stage = fit(model, *more, **options)
        ended.append(model.get_weights())
        return stage

    monkeypatch.setattr(run, "fit", watched_fit)
    words = ["--epochs", "1", "--refit", "--refit-epochs", "1", "--encoder", "resnet", "--brief"]
    assert train.main(arguments(phantoms, tmp_path / "run", *words)) == 0
    assert len(began) == 4, "masks, then the class, twice"
    for before, after in zip(began[2][0], ended[0], strict=True):
        np.testing.assert_array_equal(before, after)  # the class layers were fitted on a frozen U-Net
    assert began[2][1] < began[0][1]
    with pytest.raises(ValueError, match="refit-epochs"):
        run.checked(train.read_arguments(["--data", ".", "--refit-epochs", "0"]))


def test_a_fold_is_the_test_set_and_cuts_no_patient(phantoms):
    from brain_mri.data import dataset as data

    whole = data.load_dataset(phantoms, phantoms / "segmentation", size=64, progress=False)
    seen: set[int] = set()
    for fold in range(run.FOLDS):
        dataset = run.on_fold(whole, fold, seed=0)
        parts = {name: set(dataset.table["group"].iloc[dataset.rows(name)]) for name in ("train", "validation", "test")}
        assert not parts["train"] & parts["test"] and not parts["validation"] & parts["test"]
        assert not parts["train"] & parts["validation"] and all(parts.values())
        assert not seen & set(dataset.rows("test"))
        seen |= set(dataset.rows("test"))
    assert len(seen) == len(whole.table)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_nothing_is_trained_where_a_part_is_empty(phantoms, part):
    from brain_mri.data import dataset as data

    whole = data.load_dataset(phantoms, phantoms / "segmentation", size=64, progress=False)
    other = {"train": "test"}.get(part, "train")
    lacking = replace(whole, table=whole.table.assign(split=whole.table["split"].replace(part, other)))
    with pytest.raises(ValueError, match="Nothing was trained"):
        run.check_split(lacking)


def test_nothing_is_trained_where_one_class_is_left(phantoms):
    from brain_mri.data import dataset as data

    whole = data.load_dataset(phantoms, phantoms / "segmentation", size=64, progress=False)
    split = whole.table["split"].mask(whole.table["class"] != "glioma", "test")
    with pytest.raises(ValueError, match="Only glioma is left to train on"):
        run.check_split(replace(whole, table=whole.table.assign(split=split)))


@pytest.mark.slow
def test_a_source_that_is_left_out_is_measured_and_the_card_says_what_the_owner_states(source_folders, tmp_path):
    import train

    (data, masks), out = source_folders, tmp_path / "run"
    words = ["--data", *map(str, data), "--masks", *map(str, masks), "--out", str(out), *SMALL, "--epochs", "1"]
    said = ["--license", "cc-by-nc-sa-4.0", "--datasets", "me/drawn", "phantoms drawn here"]
    assert train.main([*words, "--encoder", "resnet", "--brief", "--leave-out", "web", *said]) == 0
    config = load_artifact(out).config
    assert config.training.left_out == ("web",) and config.data.datasets == ("me/drawn", "phantoms drawn here")
    rows = {(row.source, row.sequence): row for row in read_metrics(out / "metrics.json").by_source or ()}
    assert {source for (source, _), row in rows.items() if row.left_out} == {"web"}
    assert rows["web", ""].tumors == rows["web", ""].dice.count == 4  # all of them, not the test part alone
    card = ModelCard.load(out / "README.md").data
    assert card.license == "cc-by-nc-sa-4.0" and card.datasets == ["me/drawn", "phantoms"]


def test_what_an_artifact_keeps_of_data_sets_by_name():
    import train

    config = train.read_arguments(["--data", "https://me:word@x.org/a.zip?sig=1", "kaggle:a/b", "d", "--out", "o"])
    assert config.data == ["https://me:word@x.org/a.zip?sig=1", "kaggle:a/b", Path("d")] and not config.datasets
    assert config.command == "train.py --data https://x.org/a.zip?... kaggle:a/b d --out o"
    named = ["--data", "hf:a/b@v1", "hf:a/b", "--masks", "https://huggingface.co/datasets/c/d", "--out", "o"]
    assert train.read_arguments(named).datasets == ["a/b", "c/d"]
    assert train.read_arguments([*named, "--datasets", "mine"]).datasets == ["mine"]


def test_init_goes_on_with_the_masks_first_and_slower(phantoms, tmp_path, monkeypatch):
    """With both losses from the start, at a new network's rate, 14 outlines made 0.00 of a Dice of 0.49."""
    import train

    fitted = []

    def fit(model, training, validation, options, *rest, **more):
        taught = {weight.path for weight in model.trainable_weights}
        fitted.append((len(taught), options.learning_rate))
        return Stage(finished=True)

    monkeypatch.setattr(run, "fit", fit)
    monkeypatch.setattr(run, "start_from", lambda *args: None)
    config = train.read_arguments(arguments(phantoms, tmp_path / "run", "--epochs", "1", "--init", "before"))
    parts = run.train_and_validation(run.load(replace(config, init=None)))
    run.fit_network(config, "classifier", *parts, UNCLAIMED)
    run.fit_network(replace(config, init=None), "classifier", *parts, UNCLAIMED)
    (masks, slow), (classes, _), (anew, fast), _ = fitted
    assert masks > 10 * classes and slow == pytest.approx(run.GOING_ON * fast)
    assert anew > masks, "the statistics of batch normalisation, and its weights, stay as they were"
