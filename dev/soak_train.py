"""Kill training at random moments and resume it: never half an artifact, and in the end one as good as if undisturbed.

    python -m dev.soak_train                          # ten kills, about ten minutes on two cores
    python -m dev.soak_train --kills 3 --epochs 2 --classifier gap_cnn --size 32      # a quick one, as in the tests

Trains small models on phantoms, once to the end and once killed (SIGKILL) again and again and started
anew with --resume. After every kill the output folder must hold a whole artifact, all hashes right, or none; a resumed
run must not repeat finished epochs. Prints a table; exit status 1 when something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.data import phantom
from brain_mri.files import sha256

SMALL = ["--width", "6", "--batch-size", "8", "--patience", "0", "--verbose", "0"]
FIRST = 0.5  # seconds after a start before which there is nothing to kill


@dataclass
class Outcome:
    """What ten kills did. found: what lay in the folder after each; wrong: sentences, none when all is well."""

    moments: list[float] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    whole: int = 0  # runs that were quicker than their killer


def train(arguments: list[str], log: str) -> None:
    """train.py in a process of its own; the forkserver has imported it already."""
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        import train as program

        status = program.main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(arguments: list[str], log: Path) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train"])
    process = context.Process(target=train, args=(arguments, str(log)))
    process.start()
    return process


def finish(arguments: list[str], log: Path) -> float:
    """Seconds of a run to its end. Raises RuntimeError when it fails."""
    started = time.monotonic()
    process = start(arguments, log)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"train.py ended with {process.exitcode}: {log.read_text()[-2000:]}")
    return time.monotonic() - started


def state_of(out: Path) -> str:
    """ "none" or "whole". Raises ArtifactError for half an artifact: a missing file, or another one than was stated."""
    if not (out / "config.json").exists():
        return "none"
    artifact = load_artifact(out)
    for name, stated in artifact.config.files.items():
        path = out / name
        if not path.is_file() or sha256(path) != stated.sha256:
            raise ArtifactError(f"{name} is not the file that config.json names.")
    return "whole"


def epochs_of(out: Path) -> dict[str, int]:
    """Stage -> finished epochs, from the checkpoints. Each file must be whole JSON at any moment."""
    folder = out / "checkpoints"
    return {path.parent.name: int(json.loads(path.read_text())["epoch"]) for path in folder.glob("*/state.json")}


def kill_often(arguments: list[str], out: Path, log: Path, kills: int, seconds: float, rng: random.Random) -> Outcome:
    """Start and kill until `kills` kills have hit; seconds: how long an undisturbed run takes."""
    outcome, before = Outcome(), dict[str, int]()
    while len(outcome.moments) < kills:
        # the first kills come early, while the models are fitted, the last ones anywhere up to the very end
        moment = rng.uniform(FIRST, max(2.0, seconds * (len(outcome.moments) + 1) / kills))
        process = start([*arguments, "--resume"], log)
        process.join(moment)
        if process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode == -signal.SIGKILL:
            outcome.moments.append(round(moment, 1))
            print(f"killed after {moment:.1f} s, finished epochs: {epochs_of(out)}", flush=True)
        elif process.exitcode == 0:
            outcome.whole += 1
            seconds = max(2.0, min(seconds, moment))  # what is left to do has become less
        else:
            outcome.wrong.append(f"A resumed run ended with {process.exitcode}: {log.read_text()[-500:]}")
            break
        try:
            outcome.found.append(state_of(out))
            now = epochs_of(out)
        except (ArtifactError, ValueError) as error:
            outcome.wrong.append(str(error))
            break
        lost = [name for name in before if now.get(name, 0) < before[name]]
        outcome.wrong += [f"Finished epochs of {name} were lost." for name in lost]
        before = now
    return outcome


def scores(out: Path) -> dict[str, float]:
    """The scores that both runs are compared in."""
    metrics = load_artifact(out).config.metrics
    return {name: float(metrics[name]["value"]) for name in ("accuracy", "dice") if metrics.get(name)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--classifier", default="guided")
    parser.add_argument("--size", type=int, default=64, help="side of the model's input")
    parser.add_argument("--per-class", type=int, default=24, help="phantoms of each class")
    parser.add_argument(
        "--noise", type=float, default=0.2, help="difference of a score that is chance on so few slices"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="soak-train-") as name:
        folder = Path(name)
        root = phantom.write_dataset(folder / "data", per_class=args.per_class, seed=3, size=96)
        words = ["--data", str(root), "--masks", str(root / "segmentation"), "--cache", str(folder / "cache")]
        words += [
            *SMALL,
            "--classifier",
            args.classifier,
            "--size",
            str(args.size),
            "--epochs",
            str(args.epochs),
            "--out",
        ]
        log, quiet, killed = folder / "log.txt", folder / "undisturbed", folder / "killed"
        seconds = finish([*words, str(quiet)], log)
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        outcome = kill_often([*words, str(killed)], killed, log, args.kills, seconds, random.Random(args.seed))
        if not outcome.wrong:
            finish([*words, str(killed), "--resume"], log)
            if state_of(killed) != "whole":
                outcome.wrong.append("The last run left no artifact.")
            due, got = scores(quiet), scores(killed)
            outcome.wrong += [
                f"{k} is {got[k]:.3f} instead of {due[k]:.3f}." for k in due if got[k] < due[k] - args.noise
            ]
            if epochs_of(quiet) != epochs_of(killed):
                outcome.wrong.append(f"{epochs_of(killed)} epochs instead of {epochs_of(quiet)}.")
            left = [path.name for path in killed.iterdir() if path.name.startswith(".")]
            outcome.wrong += [f"Left behind: {name}." for name in left]
            print("| training, killed and resumed | |\n|---|---|")
            print(f"| undisturbed run | {seconds:.0f} s |")
            print(f"| kills, seconds after each start | {' '.join(map(str, outcome.moments))} |")
            print(f"| artifact after each | {' '.join(outcome.found)} |")
            print(f"| runs that ended before their kill | {outcome.whole} |")
            print(f"| scores, undisturbed | {' · '.join(f'{k} {v:.3f}' for k, v in due.items())} |")
            print(f"| scores, killed and resumed | {' · '.join(f'{k} {v:.3f}' for k, v in got.items())} |")
    for sentence in outcome.wrong:
        print(f"wrong: {sentence}", file=sys.stderr)
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    sys.exit(main())
