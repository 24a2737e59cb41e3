"""Hyper-parameter search for train.py with Optuna. Selects on validation; the test images are not looked at.

    python -m brain_mri tune --data DIR --masks DIR --trials 20 --epochs 8 --out runs/search

The same command again goes on. Each trial is a train.py of its own in OUT/trial-N; one that is worse than the median of
the others at the same epoch is stopped early. Writes search.md, search.csv, search.png.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import optuna
from optuna.trial import TrialState
from optuna.visualization.matplotlib import plot_optimization_history

from brain_mri.artifact.folder import load_artifact
from brain_mri.data.dataset import load_dataset
from brain_mri.evaluation.evaluate import evaluate
from brain_mri.evaluation.records import Summary
from brain_mri.files import FileError, read_json

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
STUDY = "brain-mri"
POLL = 5.0  # seconds between looks at a running trial


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="brain-mri tune", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name in ("data", "masks", "groups", "cache"):
        p.add_argument(f"--{name}", type=Path, required=name == "data", help="as for train.py")
    p.add_argument("--trials", type=int, default=20, help="finished trials to reach, counted over all machines")
    p.add_argument("--hours", type=float, help="start no new trial after this time")
    p.add_argument("--epochs", type=int, default=8, help="of each trial")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/search"), help="folder for the trials and the report")
    p.add_argument("--storage", help="Optuna storage URL that machines share; the default is a SQLite file in --out")
    p.add_argument("--train-args", default="", help='more for train.py, e.g. --train-args="--size 128"')
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    try:
        search(args)
        return 0
    except (OSError, ValueError, optuna.exceptions.OptunaError) as error:
        print(f"tune: {error}", file=sys.stderr)
        return 1


def search(args: argparse.Namespace) -> None:
    """Run trials until enough are finished (or stopped early), or the time is over."""
    if {"--refit", "--members"} & {word.split("=")[0] for word in shlex.split(args.train_args)}:
        raise ValueError("With --refit or --members networks learn from validation rows, by which the search chooses.")
    if args.storage and "://" not in args.storage:
        raise ValueError(f"--storage is an Optuna URL such as sqlite:///search.db, not {args.storage}.")
    args.out.mkdir(parents=True, exist_ok=True)
    url = args.storage or f"sqlite:///{(args.out / 'search.db').absolute()}"
    study = optuna.create_study(
        storage=url,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
    )
    settings = {"epochs": args.epochs, "train_args": args.train_args, "masks": args.masks is not None}
    if (stored := study.user_attrs.get("settings", settings)) != settings:
        raise ValueError(f"{url} holds a search with other settings ({stored}); use another --out or --storage.")
    study.set_user_attr("settings", settings)
    # where a search goes on it draws other numbers than it began with
    study.sampler = optuna.samplers.TPESampler(
        seed=None if args.storage else args.seed + len(study.trials), n_startup_trials=8
    )
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    left = args.trials - len(study.get_trials(states=done))
    if left <= 0:
        print(f"The study has its {args.trials} trials; raise --trials to go on.")
        return
    enough = optuna.study.MaxTrialsCallback(args.trials, states=done)
    study.optimize(
        lambda trial: objective(trial, args),
        n_trials=2 * left + 5,  # failed ones do not count, but they must not go on for ever
        timeout=args.hours and 3600 * args.hours,
        catch=(subprocess.CalledProcessError,),
        callbacks=[lambda study, trial: write(study, args.out), enough],
    )


def objective(trial: optuna.Trial, args: argparse.Namespace) -> float:
    """Train with the trial's hyper-parameters; the validation score. Raises CalledProcessError, optuna.TrialPruned."""
    folder, more = args.out / f"trial-{trial.number:03d}", shlex.split(args.train_args)
    asked = {f"--{name}": getattr(args, name) for name in ("data", "masks", "groups", "cache", "epochs", "seed")}
    asked |= {
        "--out": folder,
        "--verbose": 2,
        "--learning-rate": trial.suggest_float("learning-rate", 3e-4, 5e-3, log=True),
        "--batch-size": trial.suggest_categorical("batch-size", [16, 32, 64]),
        "--augment": trial.suggest_float("augment", 0.3, 1.5),
        "--label-smoothing": trial.suggest_float("label-smoothing", 0.0, 0.15),
    }
    if "--classifier" not in more:  # only the guided net has a width
        asked["--width"] = trial.suggest_categorical("width", [16, 24, 32])
    words = [str(word) for pair in asked.items() if pair[1] is not None for word in pair]
    with (log := folder.with_suffix(".log")).open("w", encoding="utf-8") as file:
        command = [sys.executable, str(TRAIN), "--brief", *words, *more]
        process, told = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT), 0
        try:
            while (running := process.poll() is None) and not trial.should_prune():
                time.sleep(POLL)
                for value in progress(folder)[told:]:
                    trial.report(value, told)
                    told += 1
        finally:
            process.terminate()
            process.wait()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the artifact has the best weights
    if running:
        raise optuna.TrialPruned
    if process.returncode:
        trial.set_user_attr("error", log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2])
        raise subprocess.CalledProcessError(process.returncode, str(TRAIN))
    scores = validation_scores(folder, args)
    for name, score in scores.items():
        trial.set_user_attr(name, score)
    return sum(scores.values()) / len(scores)


def progress(folder: Path) -> list[float]:
    """Validation score after each epoch so far: mean of accuracy and, where there are masks, Dice."""
    try:
        history = read_json(folder / "checkpoints" / "classifier" / "state.json")["history"]
    except FileError:  # not begun
        return []
    told = [history[name] for name in history if name.startswith("val_") and name.endswith(("accuracy", "dice"))]
    return [sum(values) / len(values) for values in zip(*told, strict=False)]


def validation_scores(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Macro F1, and mean Dice where there are masks, of the exported model on the validation rows."""
    artifact = load_artifact(folder)
    dataset = load_dataset(args.data, args.masks, groups=args.groups, size=artifact.image_size, cache=args.cache,
                           seed=args.seed, progress=False)  # fmt: skip
    metrics = evaluate(artifact, dataset, split="validation", baseline=False, sanity=False, resamples=0).metrics
    found = {"macro_f1": Summary.of(metrics).macro_f1, "dice": Summary.of(metrics).dice}
    return {name: score.value for name, score in found.items() if score and score.value is not None}


def write(study: optuna.Study, out: Path) -> None:
    """search.csv, search.md and search.png of the trials so far, best first."""
    table = study.trials_dataframe(("number", "state", "value", "duration", "user_attrs", "params"))
    table.columns = [name.removeprefix("user_attrs_").removeprefix("params_") for name in table.columns]
    table = table.rename(columns={"value": "score"}).sort_values("score", ascending=False)
    table["state"] = table["state"].str.lower()
    table.to_csv(out / "search.csv", index=False)
    lines = ["The score is the mean of macro F1 and Dice on validation. Test images were not used to choose."]
    if finished := study.get_trials(states=(TrialState.COMPLETE,)):
        words = " ".join(f"--{name} {value:.4g}" for name, value in study.best_params.items())
        lines.append(f"Best: trial {study.best_trial.number}, `python train.py --data DIR {words}`")
        plot_optimization_history(study)
        plt.savefig(out / "search.png")
        plt.close("all")
    if len(finished) > 5 and len({trial.value for trial in finished}) > 1:
        shares = optuna.importance.get_param_importances(study)
        lines.append("Importance: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()) + ".")
    (out / "search.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
