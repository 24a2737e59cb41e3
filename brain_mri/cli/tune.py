"""A small hyper-parameter search with Optuna, for train.py. Selects on validation; the test images are not looked at.

    pip install optuna
    python search.py --data DIR --masks DIR --trials 20 --epochs 8 --out runs/search
    python search.py ... --storage postgresql://user@host/db       # several machines share one study

Stop it at any time and give the same command again: it goes on. Each trial is a train.py of its own in OUT/trial-N; a
trial worse than the median of the others at the same epoch is stopped early. Writes search.md, search.csv, search.png.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.evaluation.evaluate import evaluate
from brain_mri.evaluation.records import Summary
from brain_mri.files import FileError, read_json
from brain_mri.reporting import compare_runs, tables

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
POLL = 5.0  # seconds between looks at a running trial
STUDY = "brain-mri"


class TrialFailed(RuntimeError):
    """One training run broke off; the search goes on with the next."""


def space(trial: Any, *, masks: bool, guided: bool = True) -> dict[str, Any]:
    """The hyper-parameters that are searched: option of train.py -> value. Only the guided net has a width."""
    found: dict[str, Any] = {
        "--learning-rate": trial.suggest_float("learning-rate", 3e-4, 5e-3, log=True),
        "--batch-size": trial.suggest_categorical("batch-size", [16, 32, 64]),
        "--augment": trial.suggest_float("augment", 0.3, 1.5),
        "--label-smoothing": trial.suggest_float("label-smoothing", 0.0, 0.15),
    }
    if guided:
        found["--width"] = trial.suggest_categorical("width", [16, 24, 32])
    if masks:
        found["--mask-loss"] = trial.suggest_categorical("mask-loss", ["bce_dice", "focal_tversky"])
    return found


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = p.add_argument
    add("--data", type=Path, required=True, help="class folders, as for train.py")
    add("--masks", type=Path, help="image/mask pairs, as for train.py")
    add("--groups", type=Path, help="CSV with columns file,group, as for train.py")
    add("--cache", type=Path, help="folder for the cache of decoded slices")
    add("--trials", type=int, default=20, help="finished trials to reach, counted over all machines")
    add("--hours", type=float, help="start no new trial after this time")
    add("--epochs", type=int, default=8, help="of each trial")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/search"), help="folder for the trials and the report")
    add("--storage", help="Optuna storage URL; the default is a SQLite file in --out")
    add("--train-args", default="", help='more for train.py, e.g. --train-args="--size 128"')
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    try:
        import optuna
    except ModuleNotFoundError:
        print("search.py: the search needs Optuna; pip install optuna", file=sys.stderr)
        return 1
    try:
        study = open_study(args)
        search(study, args)
        write(study, args.out)
        print("\n" + (args.out / "search.md").read_text(encoding="utf-8"))
        return 0
    except (ArtifactError, OSError, ValueError, optuna.exceptions.OptunaError) as error:
        print(f"search.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on with the search.", file=sys.stderr)
        return 130


def open_study(args: argparse.Namespace) -> Any:
    """Create the study or open the one that is there. Raises ValueError when it belongs to another search."""
    import optuna

    if found := {"--refit", "--members"} & {word.split("=")[0] for word in shlex.split(args.train_args)}:
        raise ValueError(
            f"--train-args holds {' and '.join(sorted(found))}, with which networks learn from validation rows, "
            "by which the search chooses. Search with one network, then train with what was found."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    url = args.storage or f"sqlite:///{(args.out / 'search.db').absolute()}"
    if "://" not in url:
        raise ValueError(f"--storage is an Optuna URL such as sqlite:///search.db, not {url}.")
    # A machine that vanishes stops its heartbeat; its trial is then marked as failed and does not count.
    storage = optuna.storages.RDBStorage(url, heartbeat_interval=60)
    study = optuna.create_study(
        storage=storage,
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=None if args.storage else args.seed, n_startup_trials=8),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    )
    settings = {"epochs": args.epochs, "train_args": args.train_args, "masks": args.masks is not None}
    stored = study.user_attrs.get("settings")
    if stored not in (None, settings):
        raise ValueError(f"{url} holds a search with other settings ({stored}); use another --out or --storage.")
    study.set_user_attr("settings", settings)
    return study


def search(study: Any, args: argparse.Namespace) -> None:
    """Run trials until there are enough finished (or stopped early) ones, or the time is over."""
    import optuna

    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    left = args.trials - len(study.get_trials(deepcopy=False, states=done))
    if left <= 0:
        print(f"The study has its {args.trials} trials; raise --trials to go on.")
        return

    def tell(study: Any, trial: Any) -> None:
        value = "" if trial.value is None else f" {trial.value:.4f}"
        print(f"trial {trial.number}: {trial.state.name.lower()}{value} {trial.params}", flush=True)
        write(study, args.out)

    study.optimize(
        lambda trial: objective(trial, args),
        n_trials=2 * left + 5,  # failed ones do not count, but they must not go on for ever
        timeout=None if args.hours is None else 3600 * args.hours,
        catch=(TrialFailed,),
        callbacks=[tell, optuna.study.MaxTrialsCallback(args.trials, states=done)],
    )


def objective(trial: Any, args: argparse.Namespace) -> float:
    """Train with the trial's hyper-parameters; the validation score. Raises TrialFailed or optuna.TrialPruned."""
    import optuna

    folder = args.out / f"trial-{trial.number:03d}"
    words = ["--data", args.data, "--epochs", args.epochs, "--seed", args.seed, "--out", folder, "--verbose", 2]
    for flag, value in (("--masks", args.masks), ("--groups", args.groups), ("--cache", args.cache)):
        words += [flag, value] if value else []
    more = shlex.split(args.train_args)
    for flag, value in space(trial, masks=args.masks is not None, guided="--classifier" not in more).items():
        words += [flag, value]
    command = [sys.executable, str(TRAIN), *map(str, words), *more]
    log = folder.with_suffix(".log")
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            given_up = follow(trial, process, folder)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the artifact has the best weights
    if given_up:
        raise optuna.TrialPruned
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        trial.set_user_attr("error", lines[-1] if lines else "no output")
        raise TrialFailed(f"training ended with status {process.returncode} (see {log})")
    scores = validation_scores(folder, args)
    for name, value in scores.items():
        trial.set_user_attr(name, value)
    return sum(scores.values()) / len(scores)


def follow(trial: Any, process: subprocess.Popen[Any], folder: Path) -> bool:
    """Report every finished epoch to Optuna until the process has ended; True when it is not worth going on with."""
    told = 0
    while process.poll() is None:
        time.sleep(POLL)
        for step, value in enumerate(progress(folder)[told:], start=told):
            trial.report(value, step)
            told = step + 1
            if trial.should_prune():
                return True
    return False


def progress(folder: Path) -> list[float]:
    """Validation score after each epoch so far: mean of accuracy and, where there are masks, Dice."""
    try:
        history = read_json(folder / "checkpoints" / "classifier" / "state.json").get("history") or {}
    except FileError:  # not begun, or being replaced right now
        return []
    found = [
        values for name, values in history.items() if name.startswith("val_") and name.endswith(("accuracy", "dice"))
    ]
    return [sum(values) / len(values) for values in zip(*found, strict=False)]


def validation_scores(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Macro F1, and mean Dice where there are masks, of the exported model on the validation rows."""
    from brain_mri.data import dataset as data

    artifact = load_artifact(folder)
    dataset = data.load_dataset(
        args.data, args.masks, groups=args.groups, size=artifact.image_size, cache=args.cache, seed=args.seed,
        progress=False,
    )  # fmt: skip
    found = evaluate(artifact, dataset, split="validation", baseline=False, sanity=False, resamples=0)
    short = Summary.of(found.metrics)
    scores = {"macro_f1": short.macro_f1, "dice": short.dice}
    return {name: score.value for name, score in scores.items() if score and score.value is not None}


def trials(study: Any) -> pd.DataFrame:
    """One line per trial, best first: number, state, score, its parts, hyper-parameters, minutes."""
    lines = []
    for trial in study.get_trials(deepcopy=False):
        minutes = trial.duration.total_seconds() / 60 if trial.duration else None
        line = {"trial": trial.number, "state": trial.state.name.lower(), "score": trial.value, "minutes": minutes}
        kept = {key: value for key, value in trial.user_attrs.items() if key in ("macro_f1", "dice", "error")}
        lines.append(line | kept | trial.params)
    found = pd.DataFrame(lines)
    return found if found.empty else found.sort_values("score", ascending=False, na_position="last")


def importance(study: Any) -> dict[str, float]:
    """How much each hyper-parameter explains of the score (fANOVA, Hutter et al. 2014); empty below 6 trials."""
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < 6 or len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(study)


def write(study: Any, out: Path) -> None:
    """search.md, search.csv and search.png of the trials so far, each replaced as a whole."""
    found, weights = trials(study), importance(study)
    if found.empty:
        return
    finished = found[found["state"] == "complete"]
    settings = study.user_attrs.get("settings", {})
    lines = [
        f"{len(finished)} finished trials, {int((found['state'] == 'pruned').sum())} stopped early, "
        f"{int((found['state'] == 'fail').sum())} failed; {settings.get('epochs')} epochs each. The score is the "
        "mean of "
        "macro F1 and Dice (macro F1 alone without masks) on validation. Test images were not used to choose; measure "
        "the winner once, with evaluate.py.",
    ]
    if not finished.empty:
        best = study.best_trial
        words = " ".join(f"--{key} {_cell(value)}" for key, value in best.params.items())
        command = f"python train.py --data DIR {words} {settings.get('train_args', '')}".rstrip()
        lines.append(f"Best: trial {best.number}, score {best.value:.4f}\n\n    {command}")
    shown = [c for c in found.columns if c != "error"]
    cells = [[_cell(value) for value in row] for row in found[shown].itertuples(index=False)]
    lines.append(tables.as_markdown(tables.Table("Trials", shown, cells)))
    if weights:
        lines.append("Importance: " + ", ".join(f"{key} {value:.2f}" for key, value in weights.items()) + ".")
    for name, text in (("search.md", "\n\n".join(lines) + "\n"), ("search.csv", found.to_csv(index=False))):
        temporary = out / f".{name}.{os.getpid()}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, out / name)
    compare_runs.draw_search(found, weights, out / "search.png")


def _cell(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
