"""Honest numbers for any artifact on any labelled folders, beside their baselines and with 95 % intervals.

    python -m brain_mri evaluate --model weights --data DIR --masks DIR --out runs/check
    python -m brain_mri evaluate weights --also FOLDER ANOTHER     # any labelled folders, with --data or alone
    python -m brain_mri evaluate --model user/name@revision --data DIR --groups my_groups.csv
    python -m brain_mri evaluate --model runs/mine --official runs/mine-official --data DIR
    python -m brain_mri evaluate --data DIR     # no model: the baselines, by group and on the folders' own split

Every source and sequence has a line of its own. --also: further labelled folders, class folders or pictures with masks.
Only pictures that the model was neither trained nor tuned on are measured. --official: the same model trained with
train.py --official-split. --cluster: the workers of a Dask cluster run the networks (docs/scale.md).
recipes/folds.sh cross-validates, recipes/leaderboard.sh compares architectures.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import Artifact
from brain_mri.artifact.hub_client import HubError
from brain_mri.data.class_names import IMAGE_FOLDERS, MASK_FOLDERS, ClassChoice, class_of
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.description import unused
from brain_mri.data.folders import DataError, holds, printable
from brain_mri.data.remote import fetched, given
from brain_mri.evaluation.evaluate import evaluate, measure_also, measure_baselines, measure_official
from brain_mri.evaluation.held_out import as_trained, held_out, of_artifact
from brain_mri.evaluation.records import Evaluation
from brain_mri.evaluation.scores import OfficialModel
from brain_mri.files import atomic_write, write_json
from brain_mri.inference.jobs import BatchError
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.runner import Ask, run_model
from brain_mri.reporting import model_card, overview, report, tables


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument_group("what to measure").add_argument
    add("model", nargs="?", help="artifact folder, user/name[@revision]; without one only the baselines are scored")
    add("--model", dest="named", help="the same")
    add("--official", metavar="MODEL", help="the same model trained with train.py --official-split, to stand beside it")
    add = p.add_argument_group("data").add_argument
    add("--data", type=given, nargs="+", metavar="DIR",
        help="class folders, of one or several sources: DIR/<class>/*.jpg or DIR/Training and DIR/Testing; also an "
        "archive, its URL, kaggle:owner/name, hf:user/name")  # fmt: skip
    add("--masks", type=given, nargs="+", metavar="DIR",
        help="pictures and masks, of one or several sources: images/ and masks/, or X_mask.png by X.png")  # fmt: skip
    add("--classes", nargs="+", metavar="NAME", default=[],
        help="without a model: standard, folders or names, as in train.py")  # fmt: skip
    add(
        "--no-tumor",
        metavar="NAME",
        default="",
        help="the folder of pictures without one, by its name",
    )
    add("--groups", type=Path, help="CSV with columns file,group; the default is ROOT/groups.csv where it exists")
    add("--also", type=given, nargs="+", metavar="DIR", default=[],
        help="further labelled folders, measured as they are, by class and sequence")  # fmt: skip
    add("--split", default="test", choices=["test", "validation", "all"],
        help="rows to measure (%(default)s); all includes training rows")  # fmt: skip
    add("--cache", type=Path, help="folder for the cache of decoded slices")
    add = p.add_argument_group("result").add_argument
    add("--out", type=Path, help="folder for metrics.json, figures, report.html and slides.pptx")
    add("--benchmark", metavar="USER/DATASET:TASK",
        help="--data is this benchmark of the Hub: also write its file for .eval_results/ of the model")  # fmt: skip
    add("--cluster", default="", metavar="ADDRESS", help="of a Dask cluster that runs the networks, or local")
    add("--no-baselines", action="store_true", help="leave the baselines out (faster)")
    add("--resamples", type=int, default=1000, help="bootstrap draws (%(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap and the baselines (%(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    args.model = args.named or args.model
    if args.benchmark and not (args.model and args.data and args.out):
        print("evaluate: --benchmark needs a model, --data and --out.", file=sys.stderr)
        return 2
    if not args.data and not (args.model and args.also):
        print("evaluate: give labelled folders as --data, or a model and --also.", file=sys.stderr)
        return 2
    try:
        return measure(args) if args.model else measure_nothing(args)
    except (DataError, ArtifactError, BatchError, HubError, OSError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def load_for(artifact: Artifact, args: argparse.Namespace) -> tuple[Dataset, str]:
    """The data as this artifact's training run saw it, see held_out."""
    dataset = as_trained(artifact, args.data, args.masks, groups=args.groups, cache=args.cache, choice=choice_of(args))
    return held_out(artifact, dataset)


def choice_of(args: argparse.Namespace) -> ClassChoice:
    return ClassChoice(tuple(args.classes), no_tumor=args.no_tumor)


def tell_unused(dataset: Dataset) -> None:
    """To the person at the terminal alone: a folder may have the name of a patient."""
    if said := unused(dataset):
        print(f"evaluate: {said}", file=sys.stderr)


def further(artifact: Artifact, args: argparse.Namespace) -> tuple[list[Dataset], list[str], list[str]]:
    """Of the folders of --also (what this artifact has not seen, how that is known, why others cannot be measured)."""
    found, known, failed = [], [], []
    there = [fetched(folder, args.cache) for folder in args.also]
    each = list({os.path.realpath(folder): (name, folder) for name, folder in reversed(there)}.values())[::-1]  # once
    names = [name for name, _ in each]
    for name, folder in each:
        try:
            dataset, how = held_out(artifact, load_labelled(folder, artifact, args))
            if not dataset.rows("test").size:
                raise DataError("the model was trained or tuned on all of its pictures.")
        except (DataError, OSError) as error:
            failed.append(f"{folder} was not measured: {error}")
            continue
        origin = printable(name if names.count(name) == 1 else folder)
        found.append(replace(dataset, table=dataset.table.assign(origin=origin)))
        known.append(f"{origin}: {how}")
        tell_unused(dataset)
    return found, known, failed


def load_labelled(folder: Path, artifact: Artifact, args: argparse.Namespace) -> Dataset:
    """Class folders, else pictures with masks; every row is a test row. Raises DataError."""
    choice = of_artifact(artifact, choice_of(args))
    common: dict[str, Any] = {"size": artifact.image_size, "cache": args.cache, "whole": True, "choice": choice}
    try:
        return load_dataset([folder], min_classes=1, **common)
    except DataError as error:
        if not folder.is_dir() or any(map(class_of, os.listdir(folder))):
            raise
        try:
            return load_dataset([], [folder], min_classes=0, **common)
        except DataError as other:  # which speaks of masks
            raise (other if holds(folder, (*IMAGE_FOLDERS, *MASK_FOLDERS)) else error) from None


def measure(args: argparse.Namespace) -> int:
    """One artifact: print its tables and, with --out, write everything that has to be handed in."""
    if args.benchmark:
        model_card.benchmark_of(args.benchmark)
    predictor = Predictor.load(args.model)
    artifact, draws = predictor.artifact, {"seed": args.seed, "resamples": args.resamples}
    others, known, failed = further(artifact, args)
    if not args.data and not others:
        raise DataError(" ".join(failed))
    with asked(predictor, args) as ask:
        if args.data:
            found, dataset = measure_main(artifact, others, args, draws, ask)
        else:
            found, dataset = Evaluation(measure_also(artifact, others, ask=ask, **draws)), None
    found = replace(found, metrics=found.metrics.model_copy(update={"notes": [*found.metrics.notes, *known, *failed]}))
    print(overview.overview(found.metrics))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "metrics.json", found.metrics.to_json())
        report.write_all(args.out, artifact.config, found, dataset, card=False)
        print(f"\nWritten: {args.out}/report.html, slides.pptx, metrics.json, figures")
        if args.benchmark:
            result = for_the_hub(artifact, found, args)
            print(f"For .eval_results/ of the model's repository: {result}")
    for sentence in failed:
        print(f"evaluate: {sentence}", file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def asked(predictor: Predictor, args: argparse.Namespace) -> Iterator[Ask]:
    """What runs the networks. Raises BatchError."""
    if not args.cluster:
        yield run_model
        return
    from brain_mri.inference import cluster, worker_model  # Dask, only when asked for

    with cluster.connected(args.cluster, cores()) as client:
        print(f"Dashboard of the cluster: {client.dashboard_link}", flush=True)
        yield cluster.asking(client, worker_model.pinned(predictor, args.model))


def for_the_hub(artifact: Artifact, found: Evaluation, args: argparse.Namespace) -> Path:
    """OUT/.eval_results/DATASET.yaml: `hf upload user/model OUT/.eval_results .eval_results`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    content = model_card.benchmark_result(found.metrics, args.benchmark, artifact.config.name, now)
    dataset, _ = model_card.benchmark_of(args.benchmark)
    path = args.out / ".eval_results" / f"{dataset.rpartition('/')[2]}.yaml"
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def measure_main(
    artifact: Artifact, also: Sequence[Dataset], args: argparse.Namespace, draws: dict[str, Any], ask: Ask
) -> tuple[Evaluation, Dataset]:
    """The folders of --data."""
    dataset, known = load_for(artifact, args)
    tell_unused(dataset)
    found = evaluate(artifact, dataset, split=args.split, baseline=not args.no_baselines, also=also, ask=ask, **draws)
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
    return replace(found, metrics=found.metrics.model_copy(update=changes)), dataset


def measure_nothing(args: argparse.Namespace) -> int:
    """No model: what is scored without learning anything about tumors, by group and on the official split."""
    common: dict[str, Any] = {"groups": args.groups, "cache": args.cache, "seed": args.seed}
    dataset = load_dataset(args.data, args.masks, choice=choice_of(args), **common)
    metrics = measure_baselines(dataset, seed=args.seed, resamples=args.resamples)
    print("\n\n".join(tables.as_text(part) for part in overview.sections(metrics)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
