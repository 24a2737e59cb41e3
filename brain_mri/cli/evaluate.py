"""Honest numbers for any artifact on any labelled folders, beside their baselines and with 95 % intervals.

    python evaluate.py --model weights --data DIR --masks DIR --out runs/check
    python evaluate.py --data DIR     # no model: the baselines, by group and on the folders' own Training/Testing split
    python evaluate.py --model user/name@revision --data DIR --groups my_groups.csv
    python evaluate.py --model runs/mine --official runs/mine-official --data DIR     # after train.py --official-split

Only pictures that the model was neither trained nor tuned on are measured (held_out.py). In Python:

    from evaluate import evaluate, table
    evaluation = evaluate("runs/mine", dataset)     # .metrics -> metrics.json, .cases -> pictures for report.py
    print(table(evaluation.metrics))
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_mri.artifact.config import ArtifactError, Network
from brain_mri.artifact.folder import Artifact
from brain_mri.classes import CLASSES
from brain_mri.data.selection import classification_rows, split_baselines
from brain_mri.evaluation.evaluate import counts, evaluate, official_baselines
from brain_mri.evaluation.held_out import held_out
from brain_mri.evaluation.records import Evaluation as Shown
from brain_mri.evaluation.records import Metrics
from brain_mri.files import write_json
from brain_mri.reporting import report, tables


def table(metrics: dict[str, Any]) -> str:
    """Everything that was measured, as text for the terminal."""
    return tables.overview(Metrics.model_validate(metrics))


def summary(metrics: dict[str, Any]) -> dict[str, Any]:
    """The main scores, for config.json and for tables of several models; None where not measured."""
    found = metrics.get("classification") or {}
    binary, masks = found.get("binary") or {}, metrics.get("segmentation") or {}
    heat, bars = metrics.get("explanation") or {}, (metrics.get("baselines") or {}).get("scores") or {}
    lesions = bool(masks.get("count"))
    return {
        "split": metrics.get("split"),
        "count": found.get("count"),
        "groups": found.get("groups"),
        "accuracy": found.get("accuracy"),
        "macro_f1": (found.get("macro") or {}).get("f1"),
        "tumor_roc_auc": binary.get("roc_auc"),
        "ece": (found.get("calibration") or {}).get("ece"),
        "dice": masks["dice"]["mean"] if lesions else None,
        "dice_median": masks["dice"]["median"] if lesions else None,
        "missed": masks.get("missed") if lesions else None,
        "false_positive": (masks.get("tumor_free") or {}).get("false_positive"),
        "pointing_game": heat.get("pointing_game"),
        "energy_inside": heat.get("energy_inside"),
        "baselines": {name: row["accuracy"] for name, row in bars.items()},
    }


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = p.add_argument_group("what to measure").add_argument
    add("--model", help="artifact folder, user/name or user/name@revision; without one only the baselines are scored")
    add("--official", metavar="MODEL", help="the same model trained with train.py --official-split, to stand beside it")
    add = p.add_argument_group("data").add_argument
    add("--data", type=Path, required=True, help="class folders: ROOT/<class>/*.jpg or ROOT/Training and ROOT/Testing")
    add("--masks", type=Path, help="image/mask pairs: ROOT/images and ROOT/masks with equal names")
    add("--groups", type=Path, help="CSV with columns file,group; the default is ROOT/groups.csv where it exists")
    add(
        "--split",
        default="test",
        choices=["test", "validation", "all"],
        help="rows to measure; all includes training rows",
    )
    add("--cache", type=Path, help="folder for the cache of decoded slices")
    add = p.add_argument_group("result").add_argument
    add("--out", type=Path, help="folder for metrics.json, figures, report.html and slides.pptx")
    add("--no-baselines", action="store_true", help="leave the baselines out (faster)")
    add("--resamples", type=int, default=1000, help="bootstrap draws")
    add("--seed", type=int, default=0, help="of the bootstrap and the baselines")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    from brain_mri.artifact import hub_client
    from brain_mri.data import folders

    args = parser().parse_args(argv)
    try:
        return measure(args) if args.model else measure_nothing(args)
    except (folders.DataError, ArtifactError, hub_client.HubError, OSError, ValueError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def find_artifact(where: str) -> Artifact:
    """A folder or a Hub id. Raises ArtifactError or hub.HubError."""
    from brain_mri.inference.predictor import Predictor

    return Predictor.load(where).artifact


def load_for(artifact: Artifact, args: argparse.Namespace) -> Any:
    """The data as this artifact's training run saw it: its size, its seed, its kind of split."""
    from brain_mri.data import dataset as data

    return data.load_dataset(
        args.data,
        args.masks,
        groups=args.groups,
        size=artifact.image_size,
        cache=args.cache,
        seed=artifact.config.training.seed,
        official_split=bool(artifact.config.training.official_split),
        min_classes=1,
    )


def measure(args: argparse.Namespace) -> int:
    """One artifact: print its tables and, with --out, write everything that has to be handed in."""
    artifact = find_artifact(args.model)
    dataset, known = held_out(artifact, load_for(artifact, args))
    evaluation = evaluate(
        artifact,
        dataset,
        split=args.split,
        baseline=not args.no_baselines,
        seed=args.seed,
        resamples=args.resamples,
    )
    metrics = evaluation.metrics
    metrics["notes"].insert(0, known if args.split != "all" else "All pictures are measured, also those trained on.")
    if args.official:
        add_official(metrics, find_artifact(args.official), args)
    print(table(metrics))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "metrics.json", metrics)
        found = Shown(Metrics.model_validate(metrics), evaluation.cases)  # type: ignore[arg-type]
        report.write_all(args.out, artifact.config, found, dataset, card=False)
        print(f"\nWritten: {args.out}/report.html, slides.pptx, metrics.json, figures")
    return 0


def measure_nothing(args: argparse.Namespace) -> int:
    """No model: what is scored without learning anything about tumors, by group and on the official split."""
    from brain_mri.data import dataset as data

    dataset = data.load_dataset(args.data, args.masks, groups=args.groups, cache=args.cache, seed=args.seed)
    rows = dataset.rows("test")
    rows = rows[classification_rows(dataset.table.iloc[rows], CLASSES)]
    common: dict[str, Any] = {"classes": CLASSES, "seed": args.seed, "resamples": args.resamples}
    metrics = {
        "images": counts(dataset.table.iloc[rows], CLASSES),
        "baselines": split_baselines(dataset, rows, **common),
        "official_split": official_baselines(dataset, **common),
    }
    print("\n\n".join(tables.as_text(part) for part in tables.sections(Metrics.model_validate(metrics))))
    return 0


def add_official(metrics: dict[str, Any], artifact: Artifact, args: argparse.Namespace) -> None:
    """Put the accuracy of a model that was trained on the official split into metrics["official_split"]."""
    if not artifact.config.training.official_split:
        raise ArtifactError(f"{artifact.folder} was not trained with train.py --official-split.")
    if not metrics.get("official_split"):
        raise ArtifactError(f"{args.data} has no Training and Testing folders, so it has no official split.")
    dataset, _ = held_out(artifact, load_for(artifact, args))
    rows = np.flatnonzero((dataset.table["split"] == "test") & (dataset.table["official_split"] == "Testing"))
    rows = rows[classification_rows(dataset.table.iloc[rows], artifact.classes)]
    found = evaluate(artifact, dataset, rows, baseline=False, sanity=False, seed=args.seed, resamples=args.resamples)
    scores = summary(found.metrics)
    metrics["official_split"]["model"] = {
        "name": tables.network(Network.model_validate(found.metrics["model"]["classifier"])),
        "accuracy": scores["accuracy"],
        "macro_f1": scores["macro_f1"],
    }


if __name__ == "__main__":
    sys.exit(main())
