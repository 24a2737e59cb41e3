"""Honest numbers for any artifact on any labelled folders, beside their baselines and with 95 % intervals.

    python -m brain_mri evaluate --model weights --data DIR --masks DIR --out runs/check
    python -m brain_mri evaluate --model user/name@revision --data DIR --groups my_groups.csv
    python -m brain_mri evaluate --model runs/mine --official runs/mine-official --data DIR
    python -m brain_mri evaluate --data DIR     # no model: the baselines, by group and on the folders' own split

Only pictures that the model was neither trained nor tuned on are measured. --official: the same model trained with
train.py --official-split. recipes/folds.sh cross-validates, recipes/leaderboard.sh compares architectures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import Artifact
from brain_mri.artifact.hub_client import HubError
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.folders import DataError
from brain_mri.evaluation.evaluate import evaluate, measure_baselines, measure_official
from brain_mri.evaluation.held_out import held_out
from brain_mri.evaluation.scores import OfficialModel
from brain_mri.files import write_json
from brain_mri.inference.predictor import Predictor
from brain_mri.reporting import overview, report, tables


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument_group("what to measure").add_argument
    add("--model", help="artifact folder, user/name or user/name@revision; without one only the baselines are scored")
    add("--official", metavar="MODEL", help="the same model trained with train.py --official-split, to stand beside it")
    add = p.add_argument_group("data").add_argument
    add("--data", type=Path, nargs="+", required=True, metavar="DIR",
        help="class folders, of one or several sources: DIR/<class>/*.jpg or DIR/Training and DIR/Testing")  # fmt: skip
    add("--masks", type=Path, nargs="+", metavar="DIR",
        help="pictures and masks, of one or several sources: images/ and masks/, or X_mask.png by X.png")  # fmt: skip
    add("--groups", type=Path, help="CSV with columns file,group; the default is ROOT/groups.csv where it exists")
    add("--split", default="test", choices=["test", "validation", "all"],
        help="rows to measure (%(default)s); all includes training rows")  # fmt: skip
    add("--cache", type=Path, help="folder for the cache of decoded slices")
    add = p.add_argument_group("result").add_argument
    add("--out", type=Path, help="folder for metrics.json, figures, report.html and slides.pptx")
    add("--no-baselines", action="store_true", help="leave the baselines out (faster)")
    add("--resamples", type=int, default=1000, help="bootstrap draws (%(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap and the baselines (%(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    try:
        return measure(args) if args.model else measure_nothing(args)
    except (DataError, ArtifactError, HubError, OSError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def load_for(artifact: Artifact, args: argparse.Namespace) -> tuple[Dataset, str]:
    """The data as this artifact's training run saw it, see held_out."""
    training = artifact.config.training
    dataset = load_dataset(
        args.data,
        args.masks,
        groups=args.groups,
        size=artifact.image_size,
        cache=args.cache,
        seed=training.seed,
        official_split=bool(training.official_split),
        min_classes=1,
    )
    return held_out(artifact, dataset)


def measure(args: argparse.Namespace) -> int:
    """One artifact: print its tables and, with --out, write everything that has to be handed in."""
    artifact = Predictor.load(args.model).artifact
    dataset, known = load_for(artifact, args)
    draws = {"seed": args.seed, "resamples": args.resamples}
    found = evaluate(artifact, dataset, split=args.split, baseline=not args.no_baselines, **draws)
    how = known if args.split != "all" else "All pictures are measured, also those trained on."
    changes: dict[str, object] = {"notes": [how, *found.metrics.notes]}
    if args.official:
        other = Predictor.load(args.official).artifact
        if not other.config.training.official_split:
            raise ArtifactError(f"{other.folder} was not trained with train.py --official-split.")
        if not found.metrics.official_split:
            raise ArtifactError(
                f"{' and '.join(map(str, args.data))} has no Training and Testing folders, so it has no official split."
            )
        scores = measure_official(other, load_for(other, args)[0], **draws)
        name = tables.network(other.config.classifier)
        stands = OfficialModel(name=name, accuracy=scores.accuracy, macro_f1=scores.macro.f1)
        changes["official_split"] = found.metrics.official_split.model_copy(update={"model": stands})
    found = replace(found, metrics=found.metrics.model_copy(update=changes))
    print(overview.overview(found.metrics))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "metrics.json", found.metrics.to_json())
        report.write_all(args.out, artifact.config, found, dataset, card=False)
        print(f"\nWritten: {args.out}/report.html, slides.pptx, metrics.json, figures")
    return 0


def measure_nothing(args: argparse.Namespace) -> int:
    """No model: what is scored without learning anything about tumors, by group and on the official split."""
    dataset = load_dataset(args.data, args.masks, groups=args.groups, cache=args.cache, seed=args.seed)
    metrics = measure_baselines(dataset, seed=args.seed, resamples=args.resamples)
    print("\n\n".join(tables.as_text(part) for part in overview.sections(metrics)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
