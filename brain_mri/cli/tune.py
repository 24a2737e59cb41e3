"""Hyper-parameter search for train.py with Optuna. Selects on validation; the test images are not looked at.

    python -m brain_mri tune --trials 20 --out runs/search --data DIR --masks DIR --epochs 8
    python -m brain_mri tune --storage /shared/search.journal --data DIR --epochs 8        # on each of several machines
    python -m brain_mri tune --cluster tcp://10.0.0.1:8786 --data DIR --epochs 8           # on the workers of a cluster

All but the options below goes to train.py. The same command again goes on with the search; with --storage on several
machines, or GPUs of one (CUDA_VISIBLE_DEVICES), at the same time. Each trial is a train.py of its own in OUT/trial-N;
one that is worse than the median of the others at the same epoch is stopped early. --cluster: one for each worker at a
time; --out is then a folder that all machines see. Writes search.md, search.csv, search.png.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from optuna.visualization.matplotlib import plot_optimization_history
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from brain_mri.files import FileError, atomic_write, guarded, read_json
from brain_mri.inference.jobs import BatchError

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "train.py"  # there
STUDY = "brain-mri"
POLL = 5.0  # seconds between looks at a running trial
JOURNAL = b'{"op_code"'  # how a journal of Optuna begins
FAILED = 3  # trials of a process, while none has been finished: then the command is wrong


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="brain-mri tune", description=__doc__, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("--trials", type=int, default=20, help="finished trials to reach, counted over all machines")
    p.add_argument("--hours", type=float, help="start no new trial after this time")
    p.add_argument("--out", type=Path, default=Path("runs/search"), help="folder for the trials and the report")
    p.add_argument("--storage", metavar="FILE|URL",
                   help="what machines share: a file that all of them see (Optuna's journal), or the URL of a database "
                   "(postgresql://..., mysql://..., sqlite:///...); the default is a SQLite file in --out")  # fmt: skip
    p.add_argument("--cluster", default="", metavar="ADDRESS", help="of a Dask cluster whose workers train")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args, words = parser().parse_known_args(argv)
    try:
        with trainers(args.cluster) as (program, number):
            search(args, words, program, number)
        return 0
    except SQLAlchemyError as error:  # its first line; the others are the statement and a link
        print(f"tune: --storage: {str(error).splitlines()[0]}", file=sys.stderr)
    except (OSError, ValueError, ImportError, BatchError, optuna.exceptions.OptunaError) as error:
        print(f"tune: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 1


@contextmanager
def trainers(address: str) -> Iterator[tuple[list[str], int]]:
    """(How a train.py is started, how many at once). Raises BatchError."""
    if not address:
        yield [sys.executable, str(ROOT / TRAIN)], 1
        return
    from brain_mri.inference import cluster  # Dask, only when asked for

    with cluster.connected(address) as client:
        number = sum(client.nthreads().values())
        if not number:
            raise BatchError("No worker has joined the cluster yet; a search begins with those that are there.")
        print(f"{number} trials at once; dashboard: {client.dashboard_link}", flush=True)
        yield [sys.executable, "-m", "brain_mri", "remote", client.scheduler.address, TRAIN], number


def search(args: argparse.Namespace, words: list[str], program: list[str], number: int) -> None:
    """Run trials until enough are finished (or stopped early), or the time is over. program: how a train.py is
    started; number: of trials at once."""
    if {"--refit", "--members"} & {word.split("=")[0] for word in words}:
        raise ValueError("With --refit or --members networks learn from validation rows, by which the search chooses.")
    if args.trials < 1:
        raise ValueError("--trials must be at least 1.")
    args.out.mkdir(parents=True, exist_ok=True)
    where = args.storage or f"sqlite:///{(args.out / 'search.db').absolute()}"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
    study = optuna.create_study(
        storage=storage_of(where), study_name=STUDY, pruner=pruner, direction="maximize", load_if_exists=True
    )
    if (stored := study.user_attrs.get("train.py", words)) != words:
        other = "--storage" if args.storage else "--out"
        raise ValueError(
            f"{named(where)} holds a search with other settings ({' '.join(stored)}); use another {other}."
        )
    study.set_user_attr("train.py", words)
    # where a search goes on it draws other numbers than it began with; machines keep off what another one is trying
    study.sampler = optuna.samplers.TPESampler(
        seed=None if args.storage else len(study.trials),
        n_startup_trials=8,
        constant_liar=bool(args.storage) or number > 1,
    )
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    left = args.trials - len(study.get_trials(states=done))
    if left <= 0:
        print(f"The study has its {args.trials} trials; raise --trials to go on.")
        return
    enough = optuna.study.MaxTrialsCallback(args.trials, states=done)
    writing = threading.Lock()  # trials that run at once end in threads, and Matplotlib draws one figure at a time

    def written(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        with writing:
            write(study, args.out)

    study.optimize(
        lambda trial: objective(trial, args.out, words, program),
        n_trials=2 * left + 5,  # failed ones do not count, but they must not go on for ever
        timeout=args.hours and 3600 * args.hours,
        n_jobs=number,
        callbacks=[written, stop_if_wrong, enough],
    )
    if not study.get_trials(states=done):
        raise ValueError(f"No trial could be trained; {args.out / 'trial-*.log'} say more.")


def stop_if_wrong(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Name a failed trial's error; end a search of which nothing but that comes."""
    if trial.state != TrialState.FAIL:
        return
    print(f"Trial {trial.number} failed: {trial.user_attrs.get('error', 'no word of why')}", file=sys.stderr)
    trials, mine = study.get_trials(deepcopy=False), trial.user_attrs.get("machine")
    failed = [one for one in trials if one.state == TrialState.FAIL and one.user_attrs.get("machine") == mine]
    if len(failed) >= FAILED and not any(one.state in (TrialState.COMPLETE, TrialState.PRUNED) for one in trials):
        study.stop()


def storage_of(where: str) -> BaseStorage:
    """where: a URL of a database, else a journal file. Raises OSError, ValueError, ImportError, SQLAlchemyError."""
    if "://" not in where:
        path = Path(where)
        if path.suffix in (".db", ".sqlite", ".sqlite3"):
            raise ValueError(f"--storage {where} would be a journal; a SQLite file is --storage sqlite:///{where}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with path.open("rb") as file:
                if (begins := file.read(len(JOURNAL))) != JOURNAL[: len(begins)]:  # it would be written to
                    raise ValueError(f"{where} is no journal of Optuna; give --storage another file.")
        return JournalStorage(JournalFileBackend(str(path)))
    # seconds that a process waits while others write
    patient = {"connect_args": {"timeout": 60}} if where.startswith("sqlite") else {}
    try:
        return RDBStorage(where, engine_kwargs=patient)
    except OperationalError:  # another process is making the tables at this moment
        time.sleep(1)
        return RDBStorage(where, engine_kwargs=patient)


def named(where: str) -> str:
    """A storage without its password."""
    return make_url(where).render_as_string(hide_password=True) if "://" in where else where


def objective(trial: optuna.Trial, out: Path, words: list[str], program: list[str]) -> float:
    """Train with the trial's hyper-parameters; the best epoch's score, nan when that failed. Raises TrialPruned."""
    trial.suggest_float("learning-rate", 3e-4, 5e-3, log=True)
    trial.suggest_categorical("batch-size", [16, 32, 64])
    trial.suggest_float("augment", 0.3, 1.5)
    trial.suggest_float("label-smoothing", 0.0, 0.15)
    if "--classifier" not in words:  # only the guided net has a width
        trial.suggest_categorical("width", [16, 24, 32])
    trial.set_user_attr("machine", f"{platform.node()} {os.getpid()}")
    folder = out / f"trial-{trial.number:03d}"
    command = [*program, *words, "--brief", "--verbose", "2", "--out", str(folder)]
    for name, value in trial.params.items():
        command += [f"--{name}", str(value)]
    with (log := folder.with_suffix(".log")).open("w", encoding="utf-8") as file:
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
    best = [max(found) for kind in ("classifier", "segmenter") if (found := progress(folder, kind))]
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the artifact has the best weights
    if running:
        raise optuna.TrialPruned
    if process.returncode:
        trial.set_user_attr("error", log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2])
        return float("nan")  # as Optuna wants it; for an exception it would print a page
    return sum(best) / len(best)


def progress(folder: Path, kind: str = "classifier") -> list[float]:
    """Validation score after each epoch so far: mean of accuracy and, where there are masks, Dice."""
    try:
        history = read_json(folder / "checkpoints" / kind / "state.json")["history"]
    except FileError:  # not begun
        return []
    told = [history[name] for name in history if name.startswith("val_") and name.endswith(("accuracy", "dice"))]
    return [sum(values) / len(values) for values in zip(*told, strict=False)]


def write(study: optuna.Study, out: Path) -> None:
    """search.csv, search.md and search.png of the trials so far, best first; each replaced as a whole."""
    known = finished_trials(study)
    table = study.trials_dataframe(("number", "state", "value", "duration", "user_attrs", "params"))
    table.columns = [name.removeprefix("user_attrs_").removeprefix("params_") for name in table.columns]
    table = table.rename(columns={"value": "score"}).sort_values("score", ascending=False)
    table["state"] = table["state"].str.lower()
    with atomic_write(out / "search.csv") as temporary:
        table.map(guarded).to_csv(temporary, index=False)
    lines = ["The score is the best epoch's accuracy and Dice on validation. Test images were not used to choose."]
    if finished := study.get_trials(states=(TrialState.COMPLETE,)):
        words = " ".join(f"--{name} {value:.4g}" for name, value in study.best_params.items())
        lines.append(f"Best: trial {study.best_trial.number}, `python train.py --data DIR {words}`")
        drawn = plot_optimization_history(study, target_name="Score on validation")
        drawn.set_title(f"{len(finished)} finished trials")
        with atomic_write(out / "search.png") as temporary:
            plt.savefig(temporary, format="png")
        plt.close("all")
    if len(finished) > 5 and len({trial.value for trial in finished}) > 1:
        shares = optuna.importance.get_param_importances(study)
        lines.append("Importance: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()) + ".")
    with atomic_write(out / "search.md") as temporary:
        temporary.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    if finished_trials(study) > known:  # of another process, whose newer files these may have replaced
        write(study, out)


def finished_trials(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
