"""Train several models through train.py, one process each, and gather their scores in one table.

    python evaluate.py --leaderboard --data DIR --masks DIR --epochs 10 --out runs/leaderboard
    python evaluate.py --leaderboard --data DIR --masks DIR --only gap_cnn unet --size 96 --epochs 8 --out runs/board
    python evaluate.py --leaderboard --data DIR --only --also weights --out runs/board     # only gathers
    python evaluate.py --folds 5 --data DIR --masks DIR --epochs 10 --out runs/folds --train-args "--classifier guided"

Every model gets the same split, the same number of epochs and the same seed. A finished run is not trained again and an
interrupted one is resumed, so the same command can simply be given once more. The table also holds what earlier
commands left in the same --out, and the artifacts named with --also, if they were measured on the same pictures.
Baselines are measured once, with the first model; of the others only the scores are.
Writes leaderboard.md, leaderboard.csv and leaderboard.png (or folds.*), and beside every run its log.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from brain_mri.artifact.config import CONFIG
from brain_mri.evaluation.held_out import test_pictures
from brain_mri.files import FileError, read_json
from brain_mri.reporting.compare_runs import Entry, write

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
METRICS = "metrics.json"


def run(args: argparse.Namespace) -> int:
    """--leaderboard or --folds of evaluate.py. Returns 1 when any run failed, after the others were written."""
    title = "leaderboard" if args.leaderboard else "folds"
    out = args.out or Path("runs") / title
    entries = architectures(args, out) if args.leaderboard else folds(args.folds, out)
    others = [read_entry(Path(folder), given=True) for folder in args.also or []]  # a wrong name: before any training
    out.mkdir(parents=True, exist_ok=True)
    others = [*earlier(out, entries), *others] if args.leaderboard else []
    for i, entry in enumerate(entries):
        print(f"[{i + 1}/{len(entries)}] {entry.name} (log: {entry.folder}.log)", flush=True)
        known = [other for other in [*entries, *others] if (other.metrics or {}).get("baselines")]
        train_one(entry, args, brief=bool(args.leaderboard and known))
        if entry.error:
            print(f"evaluate.py: {entry.name}: {entry.error}", file=sys.stderr)
        write(out, title, comparable([*entries, *others])[0] if args.leaderboard else entries)
    if others:
        shown, left_out = comparable([*entries, *others])
        for entry in left_out:
            print(f"Left out: {entry.folder} was measured on other pictures than the rest.", file=sys.stderr)
        write(out, title, shown)
    if (out / f"{title}.md").is_file():
        print("\n" + (out / f"{title}.md").read_text(encoding="utf-8"))
    return 1 if any(entry.error for entry in entries) else 0


def architectures(args: argparse.Namespace, out: Path) -> list[Entry]:
    """As few runs as cover every classifier and segmenter of --only: one run trains one of each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import model_def  # imports Keras: only here, where models are trained anyway

    known = [*model_def.CLASSIFIERS, *model_def.SEGMENTERS]
    asked = known if args.only is None else args.only
    if unknown := sorted(set(asked) - {*known, "kmeans"}):
        raise ValueError(f"There is no architecture {', '.join(unknown)}; there are {', '.join(known)}.")
    classifiers = [name for name in model_def.CLASSIFIERS if name in asked]
    segmenters = [name for name in model_def.SEGMENTERS if name in asked and name not in classifiers]
    if segmenters and not args.masks:
        if args.only is not None:
            raise ValueError(f"Without --masks there is nothing to teach {', '.join(segmenters)}.")
        segmenters = []
    own = [(name, "shared") for name in classifiers if name == "guided"]
    rest = [name for name in classifiers if name != "guided"]
    pairs = own + list(itertools.zip_longest(rest, segmenters))
    return [
        Entry(
            "-".join(name for name in (classifier, segmenter) if name),
            ["--classifier", classifier or "gap_cnn", "--segmenter", segmenter or "kmeans"],
            out / "-".join(name for name in (classifier, segmenter) if name),
        )
        for classifier, segmenter in pairs
    ]


def earlier(out: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Finished runs in `out` that are not among `entries`."""
    known = {entry.folder.name for entry in entries}
    found = [path.parent for path in sorted(out.glob(f"*/{CONFIG}")) if path.parent.name not in known]
    return [read_entry(folder) for folder in found if (folder / METRICS).is_file()]


def read_entry(folder: Path, *, given: bool = False) -> Entry:
    """An artifact as it lies there. Raises ArtifactError."""
    config = read_json(folder / CONFIG)
    return Entry(folder.name, [], folder, read_json(folder / METRICS), config, given=given)


def comparable(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """(those measured on the same pictures as the first of them, the others); unfinished ones are in neither."""
    done = [entry for entry in entries if entry.metrics is not None]
    pictures = [test_pictures(entry.folder) for entry in done]
    same = [found == pictures[0] for found in pictures]
    return [e for e, s in zip(done, same, strict=True) if s], [e for e, s in zip(done, same, strict=True) if not s]


def folds(count: int, out: Path) -> list[Entry]:
    """The first `count` of the five folds that train.py --fold knows."""
    if not 1 <= count <= 5:
        raise ValueError("There are five folds, so --folds is a number from 1 to 5.")
    return [Entry(f"fold {i}", ["--fold", str(i)], out / f"fold{i}") for i in range(count)]


def train_one(entry: Entry, args: argparse.Namespace, *, brief: bool = False) -> None:
    """Run train.py unless the folder holds this very run, finished; fills metrics and config, or error.

    The first line of the log is the command: only what that same command began is resumed.
    """
    arguments = ["--epochs", str(args.epochs), "--seed", str(args.seed)]
    arguments += ["--size", str(args.size)] if args.size else []
    for name in ("data", "masks", "groups", "cache"):
        path = getattr(args, name)
        arguments += [f"--{name}", str(path.absolute())] if path else []
    arguments += ["--out", str(entry.folder.absolute()), "--verbose", "2"]
    arguments += [*entry.arguments, *shlex.split(args.train_args)]
    if finished(entry, arguments):
        return
    arguments += ["--brief"] if brief else []
    log, first = entry.folder.with_name(f"{entry.folder.name}.log"), f"$ train.py {shlex.join(arguments)}\n"
    begun = False
    with contextlib.suppress(OSError), log.open(encoding="utf-8", errors="replace") as file:
        begun = file.readline() == first
    resume = ["--resume"] if begun else []
    with log.open("a" if begun else "w", encoding="utf-8") as file:
        if not begun:
            file.write(first)
            file.flush()
        command = [sys.executable, str(TRAIN), *arguments, *resume]
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if status or not finished(entry, arguments):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        entry.error = f"training ended with status {status}: {lines[-1]}"


def finished(entry: Entry, arguments: list[str]) -> bool:
    """Does the folder hold a complete artifact that these arguments made? Then fill the entry."""
    try:
        config = read_json(entry.folder / CONFIG)
        metrics = read_json(entry.folder / METRICS)
    except FileError:
        return False
    stated = str((config.get("training") or {}).get("command", "")).split()
    asked = " ".join(arguments).split()
    if [word for word in stated[1:] if word not in ("--resume", "--brief")] != [w for w in asked if w != "--brief"]:
        return False
    entry.metrics, entry.config = metrics, config
    return True
