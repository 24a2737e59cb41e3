"""Hospitals that learn together and share no picture: each alone, in federated rounds, and with all data pooled.

    pip install "flwr[simulation]"
    python recipes/federated.py --hospitals A,C B --rounds 5 --data A B --masks C D --epochs 10 --out runs/federated

--hospitals: which sources of --data and --masks belong together, "A,C" with one another; those that are not named are
a hospital each. --epochs: how often each picture is seen in all, so federated hospitals learn epochs / rounds between
two averages. All other options are those of train.py. Flower runs the hospitals on this machine, one after the other,
each in a process that opens only its own pictures; what travels are weights, averaged by the number of slices (FedAvg:
McMahan et al. 2017). Every model is measured on the same test patients of all hospitals. Writes an artifact for each
into OUT, and federated.md and .csv: a row a model, a column a hospital.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["FLWR_TELEMETRY_ENABLED"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to their makers
# Ray's ports are open to the network, and whoever is let in runs what they like: only who knows this word
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # the process of a hospital needs room beside this one

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import model_def
import train
from brain_mri.artifact.config import Stage
from brain_mri.artifact.folder import load_artifact
from brain_mri.data.dataset import Dataset
from brain_mri.data.description import described
from brain_mri.evaluation.by_source import judged, scores_of
from brain_mri.files import atomic_write, guarded
from brain_mri.inference.decision import answers_of
from brain_mri.inference.runner import run_model
from brain_mri.reporting.tables import Table, as_markdown, as_text, percent, score
from brain_mri.training.claim import Claim, claimed
from brain_mri.training.config import FitOptions, TrainConfig
from brain_mri.training.fit import choose_precision, fit
from brain_mri.training.run import (
    Networks,
    Trained,
    architecture_arguments,
    check_split,
    checked,
    choose_segmenter,
    fit_networks,
    load,
    outline_first,
    outliner_of,
    start,
)
from brain_mri.training.training_set import TrainingSet

FEDERATED, POOLED, EVERYWHERE = "federated", "pooled", "all hospitals"
MASKS, CLASSES = "masks", "classes"  # the two stages of the default network, each with rounds of its own
WEIGHTS, COUNT, FACTS, ASKED = "arrays", "num-examples", "metrics", "config"  # as FedAvg calls them
ELSEWHERE = ""  # the split of pictures that a hospital by itself does not have


@dataclass(frozen=True)
class Work:
    """What the process of a hospital must know; its pictures lie in a file of their own."""

    config: TrainConfig
    arguments: Mapping[str, Any]  # of model_def.build
    folder: Path  # 0.npz, 1.npz, ...: the TrainingSet of each hospital
    rounds: int
    frozen: bool  # does the mask branch stand still while classes are learned?


# -- the hospitals --------------------------------------------------------------------------------------------------
def hospitals_of(origins: Iterable[str], asked: Sequence[str]) -> dict[str, str]:
    """Source -> its hospital. Raises ValueError for a source that is not there or twice, and for fewer than two."""
    known, found = sorted(set(origins)), dict[str, str]()
    for name in asked:
        for origin in name.split(","):
            if origin not in known or origin in found:
                what = "names this source twice" if origin in found else f"the data has {', '.join(known)}"
                raise ValueError(f"--hospitals {name}: {origin!r}: {what}.")
            found[origin] = name
    found |= {origin: origin for origin in known if origin not in found}
    if len(set(found.values())) < 2:
        raise ValueError(f"There is only one hospital ({', '.join(known)}); give --data or --masks several folders.")
    return found


def as_hospitals(dataset: Dataset, asked: Sequence[str]) -> Dataset:
    """The dataset whose sources are the hospitals; none has a mask that only another one drew for a copy."""
    hospital = dataset.table["origin"].map(hospitals_of(dataset.table["origin"], asked))
    giver = dataset.table["mask_from"].to_numpy(int)
    lent = (giver >= 0) & (hospital.to_numpy()[giver] != hospital.to_numpy())
    own = dataset.table["has_mask"].to_numpy(bool) & ~lent
    return replace(dataset, table=dataset.table.assign(origin=hospital, has_mask=own))


def alone(dataset: Dataset, hospital: str) -> Dataset:
    """One hospital's pictures to learn from and to validate on, and the test pictures of all."""
    split = dataset.table["split"]
    seen = (dataset.table["origin"] == hospital) | (split == "test")
    return replace(dataset, table=dataset.table.assign(split=split.where(seen, ELSEWHERE)))


# -- federated rounds -----------------------------------------------------------------------------------------------
def fit_federated(config: TrainConfig, dataset: Dataset, rounds: int) -> Networks:
    """The default network, or another classifier, fitted in rounds. Raises RuntimeError when a hospital fails."""
    from flwr.app import ArrayRecord, ConfigRecord  # optional, as is all of Flower
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    everything, names = TrainingSet.of(dataset, "train"), sorted(set(dataset.table["origin"]))
    keras.utils.set_random_seed(config.seed)
    arguments = architecture_arguments(config, config.classifier, everything)
    model = model_def.build(config.classifier, config.size, **arguments)
    start(model, config, everything.classes)
    frozen = config.classifier == "guided" and everything.outlines_tumors
    stages: dict[str, Stage] = {}
    server = ServerApp()

    @server.main()
    def serve(grid: Any, _: Any) -> None:
        weights = ArrayRecord(model.get_weights())
        for stage in [MASKS, CLASSES] if frozen else [CLASSES]:
            print(f"\nFederated, {stage}: {rounds} rounds of {len(names)} hospitals.")
            begun, told = time.monotonic(), ConfigRecord({"stage": stage})
            found = strategy(names).start(grid, weights, rounds, timeout=math.inf, train_config=told)
            weights = found.arrays
            losses = tuple(round(float(of["loss"]), 5) for _, of in sorted(found.train_metrics_clientapp.items()))
            stages[stage] = Stage(
                epoch=config.epochs, seconds=time.monotonic() - begun, finished=True, history={"loss": losses}
            )
        model.set_weights(weights.to_numpy_ndarrays())

    with tempfile.TemporaryDirectory(prefix="brain-mri-hospitals-") as folder:
        for place, name in enumerate(names):
            own = TrainingSet.of(alone(dataset, name), "train")
            np.savez(Path(folder, f"{place}.npz"), **vars(own))
        work = Work(config, arguments, Path(folder), rounds, frozen)
        gpus = min(1, len(tf.config.list_physical_devices("GPU")))
        share = {"num_cpus": os.cpu_count() or 1, "num_gpus": float(gpus)}  # one hospital at a time
        backend: Any = {"client_resources": share, "init_args": {"include_dashboard": False, "log_to_driver": False}}
        run_simulation(server, client(work), len(names), backend_config=backend)
    trained = Trained(config.classifier, arguments, model, stages[CLASSES], stages.get(MASKS))
    taught_by = {"bundled": "bundled", "kmeans": "nothing"}.get(config.segmenter, "masks")
    return Networks([trained], [trained], [trained], None, config.segmenter, taught_by)


def strategy(names: Sequence[str]) -> Any:
    """FedAvg over all hospitals in every round; Flower's own goes on without those that failed."""
    from flwr.serverapp.strategy import FedAvg

    class All(FedAvg):
        def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
            replies = list(replies)
            failed = [reply.error.reason for reply in replies if reply.has_error()]
            if failed or len(replies) < len(names):
                why = failed[0].strip().rpartition("\n")[2] if failed else "no answer came"
                raise RuntimeError(
                    f"Round {server_round}: {len(failed) or 'one'} of {len(names)} hospitals failed: {why}"
                )
            averaged, facts = super().aggregate_train(server_round, replies)
            print(f"Round {server_round}: loss {facts['loss']:.4f}", flush=True)
            return averaged, facts

    return All(fraction_evaluate=0.0, min_train_nodes=len(names), min_available_nodes=len(names))


def client(work: Work) -> Any:
    """Flower's ClientApp of a hospital: weights in, weights of its own pictures out, and how many slices they were."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def learn(message: Any, context: Any) -> Any:
        asked, arrays = message.content[ASKED], message.content[WEIGHTS]
        place, number = int(context.node_config["partition-id"]), int(asked["server-round"])
        weights, count, loss = learned(work, place, str(asked["stage"]), number, arrays.to_numpy_ndarrays())
        facts = MetricRecord({COUNT: count, "loss": loss})
        return Message(RecordDict({WEIGHTS: ArrayRecord(weights), FACTS: facts}), reply_to=message)

    return app


def learned(
    work: Work, place: int, stage: str, number: int, weights: list[np.ndarray]
) -> tuple[list[np.ndarray], int, float]:
    """(weights, different slices, last loss) of hospital `place` after round `number`, counted from 1, of a stage.

    A hospital without a single outline has nothing to say about masks: it gives the weights back and counts nothing.
    """
    with np.load(work.folder / f"{place}.npz") as file:
        own = TrainingSet(**{name: file[name] for name in file if name != "classes"}, classes=tuple(file["classes"]))
    config = work.config
    if stage == MASKS and not own.outlines_tumors:
        return weights, 0, 0.0
    choose_precision(config.precision, depthwise=config.uses_depthwise)
    keras.utils.set_random_seed(config.seed + 1000 * number + place)
    model = model_def.build(config.classifier, config.size, **work.arguments)
    model.set_weights(weights)
    options = in_round(
        config.fit_options("class layers" if work.frozen and stage == CLASSES else "classifier"), work.rounds, number
    )
    with tempfile.TemporaryDirectory(prefix="brain-mri-round-") as folder:
        if stage == MASKS:
            done = outline_first(model, own, None, options.for_masks(), Path(folder), False, Claim())
            own = own.where(own.has_mask | own.tumor)
        else:
            outliner_of(model).trainable = not work.frozen
            options = options.for_classes(options.epochs)
            done = fit(model, own.feed(model.output, options, True), None, options, Path(folder))
    return model.get_weights(), len(np.unique(own.units)), float(done.history["loss"][-1])


def in_round(options: FitOptions, rounds: int, number: int) -> FitOptions:
    """The epochs of one round, at a learning rate that falls from round to round by half a cosine."""
    falling = (1 + math.cos(math.pi * (number - 1) / rounds)) / 2
    return replace(
        options, epochs=options.epochs // rounds, learning_rate=falling * options.learning_rate, patience=0,
        seed=options.seed + number, verbose=0, log="",
    )  # fmt: skip


# -- the table ------------------------------------------------------------------------------------------------------
def scored(folder: Path, dataset: Dataset, seed: int) -> dict[str, dict[str, Any]]:
    """Hospital -> the fields of SourceScores, on its test rows; EVERYWHERE: on all of them."""
    config, rows = load_artifact(folder).config, dataset.rows("test")
    said = answers_of(run_model(folder, dataset.images[rows]), config)
    found = judged(dataset, rows, said, config)
    free = found[~found["tumor"]]
    parts = [*found.groupby("origin", sort=True), (EVERYWHERE, found)]
    return {str(name): scores_of(part, part, free, seed, 1000) for name, part in parts}


def tables(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Table]:
    """Model -> hospital -> scores, as a table for each question."""
    columns = list(next(iter(found.values())))
    asked = (
        ("Right class", "right", percent),
        ("Tumor or not, ROC-AUC", "tumor_roc_auc", score),
        ("Outline, mean Dice", "dice", score),
    )
    made = []
    for title, key, written in asked:
        rows = [[model, *(written(scores[name][key]) for name in columns)] for model, scores in found.items()]
        first = next(iter(found.values()))
        counts = [str(first[name][key].count) for name in columns]
        if key == "tumor_roc_auc":
            counts = [f"{first[name]['tumors']} / {count}" for name, count in zip(columns, counts, strict=True)]
        what = "test slices, with a tumor / without" if key == "tumor_roc_auc" else "test slices"
        made.append(Table(title, ["Learned from", *columns], [*rows, [what, *counts]]))
    return made


def write(out: Path, found: Mapping[str, Mapping[str, Mapping[str, Any]]], notes: Mapping[str, str]) -> str:
    """federated.md and .csv, each replaced as a whole. Returns the text."""
    made = tables(found)
    text = "\n\n".join(f"### {table.title}\n\n{as_markdown(table)}" for table in made)
    text += "".join(f"\n\n{name} alone: {why}" for name, why in notes.items())
    text += "\n\nIn brackets: 95 % interval of a bootstrap over patients and near-duplicate clusters."
    frame = pd.concat([pd.DataFrame(t.rows, columns=list(t.columns)).assign(score=t.title) for t in made])
    for name, content in (("federated.md", text + "\n"), ("federated.csv", frame.map(guarded).to_csv(index=False))):
        with atomic_write(out / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return "\n\n".join(as_text(table) for table in made)


# -- the command line -----------------------------------------------------------------------------------------------
def run(out: Path, rounds: int, asked: Sequence[str], words: Sequence[str]) -> None:
    """All models, one after the other, and their table. Raises ValueError, RuntimeError, OSError with a sentence."""
    if find_spec("flwr") is None or find_spec("ray") is None:
        raise ValueError('Federated rounds need a package that is not installed: pip install "flwr[simulation]".')
    config = checked(replace(train.read_arguments([*words, "--out", str(out)]), brief=True))
    if config.resume or config.push or config.networks > 1:
        raise ValueError("--resume, --push, --members, --cross-validate and --refit are not for federated rounds.")
    if rounds < 1 or config.epochs < rounds or config.epochs % rounds:
        raise ValueError(f"--epochs {config.epochs} in {rounds} rounds: give a multiple of the rounds.")
    precision = choose_precision(config.precision, depthwise=config.uses_depthwise)
    dataset = as_hospitals(load(config), asked)
    print(described(dataset))
    check_split(dataset)
    config = choose_segmenter(config, dataset)
    if config.segmenter in model_def.SEGMENTERS:
        raise ValueError("A segmenter of its own is not federated: use --classifier guided, or --segmenter kmeans.")
    names = sorted(set(dataset.table["origin"]))
    notes: dict[str, str] = {}
    done: dict[str, Path] = {}
    for name in [*names, FEDERATED, POOLED]:
        part = alone(dataset, name) if name in names else dataset
        folder = out / (f"alone-{name.replace(',', '-')}" if name in names else name)
        mine = replace(config, out=folder, command="recipes/federated.py " + " ".join(words))
        if name in names and not TrainingSet.of(part, "train").outlines_tumors and config.segmenter == "shared":
            mine = replace(mine, segmenter="kmeans")
            notes[name] = "No slice of its own is outlined: K-means outlines."
        print(f"\n== {folder}")
        try:
            check_split(part)
        except ValueError as error:
            notes[name] = str(error)
            print(f"{name} alone: {error}")
            continue
        with claimed(mine) as claim:
            networks = fit_federated(mine, part, rounds) if name == FEDERATED else fit_networks(mine, part, claim)
            train.finish(mine, precision, part, networks, claim)
        done[f"{name} alone" if name in names else name] = folder
    found = {name: scored(folder, dataset, config.seed) for name, folder in done.items()}
    print(f"\n{write(out, found, notes)}\n\nWritten: {out / 'federated.md'}")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    p.add_argument("--hospitals", nargs="+", default=[], metavar="SOURCE[,SOURCE]", help="sources that belong together")
    p.add_argument("--rounds", type=int, default=5, help="averages in all, of each stage (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("runs/federated"), help="folder for all of it (%(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args, words = parser().parse_known_args(argv)
    try:
        run(args.out, args.rounds, args.hospitals, words)
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"federated: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as train.py ends
