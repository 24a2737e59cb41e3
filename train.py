"""Train a classifier and a segmenter on class folders and masks; leave an artifact that the app can serve.

    python train.py --data /content/drive/MyDrive/brain-tumor-mri --masks /content/drive/MyDrive/segmentation
    python train.py --data DIR --epochs 10 --out runs/first            # no masks: the bundled segmenter is kept
    python train.py --data DIR --resume --out runs/first               # go on after a Colab disconnect
    python phantom.py phantoms && python train.py --data phantoms --masks phantoms/segmentation --epochs 2  # tiny

From a notebook cell: `import train; train.main(["--data", DIR, "--epochs", "10"])`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if platform.machine() in ("x86_64", "AMD64"):
    # oneDNN: TensorFlow's own choice only on processors with VNNI or AMX; with AVX2 alone a step takes half of the time
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import model_def
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data import dataset as data
from brain_mri.data import folders, splits
from brain_mri.evaluation.held_out import held_out
from brain_mri.files import read_json, write_json
from brain_mri.imaging.scan import ScanError
from brain_mri.training import finish
from brain_mri.training.fit import FitOptions, choose_precision
from brain_mri.training.imagenet_weights import PretrainedError, find_imagenet
from brain_mri.training.losses import MASK_LOSSES
from brain_mri.training.pseudo_masks import weak_masks
from brain_mri.training.run import (
    network_count,
    options_of,
    starts_from_imagenet,
    train_and_validation,
    train_members,
    train_model,
    uses_depthwise,
)

FOLDS = 5


def parser() -> argparse.ArgumentParser:
    defaults = FitOptions()
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = p.add_argument_group("data").add_argument
    add("--data", type=Path, required=True, help="class folders: ROOT/<class>/*.jpg or ROOT/Training and ROOT/Testing")
    add("--masks", type=Path, help="image/mask pairs: ROOT/images and ROOT/masks with equal names")
    add("--groups", type=Path, help="CSV with columns file,group; the default is ROOT/groups.csv where it exists")
    add("--official-split", action="store_true", help="test on the Testing folder (it usually leaks: see README)")
    add("--fold", type=int, help="test on this fold (0..4) of five patient-disjoint folds")
    add("--cache", type=Path, help="folder for the cache of decoded slices")
    add = p.add_argument_group("models").add_argument
    add("--classifier", default="guided", choices=list(model_def.CLASSIFIERS))
    add("--segmenter", default="shared", choices=[*model_def.SEGMENTER_NAMES, "bundled"],
        help="shared: the mask branch of the classifier; bundled: keep the one in weights/")  # fmt: skip
    add("--size", type=int, default=data.SIZE, help="side of the model's input in pixels, a multiple of 16")
    add("--members", type=int, default=1,
        help="networks that answer together, each with other validation patients; --segmenter shared only")  # fmt: skip
    add("--cross-validate", type=int, default=1, metavar="N",
        help="fit N networks in all; those beyond --members only calibrate: cross-validated figures")  # fmt: skip
    add(
        "--refit",
        action="store_true",
        help="these only calibrate; fit as many more as --members, which answer, on all but the test patients",
    )
    add("--encoder", default="efficientnet_lite0", choices=list(model_def.ENCODERS),
        help="of guided; efficientnet_lite0 starts from ImageNet weights")  # fmt: skip
    add("--width", type=int, help="channels of the first level of guided's decoder and of resunet")
    add = p.add_argument_group("fitting").add_argument
    add("--epochs", type=int, default=defaults.epochs, help="0: only check the data")
    add(
        "--joint-epochs",
        type=int,
        help="epochs of the classifier, in guided of its class layers; the default is --epochs, as for the masks",
    )
    add("--init", type=Path, metavar="DIR", help="start from this artifact; what it has seen stays out of the test set")
    add("--batch-size", type=int, default=defaults.batch_size)
    add("--learning-rate", type=float, help="the default is 0.002, of a U-Net from ImageNet weights 0.001")
    add("--label-smoothing", type=float, default=defaults.label_smoothing)
    add("--mask-loss", default=defaults.mask_loss, choices=list(MASK_LOSSES))
    add(
        "--patience", type=int, default=defaults.patience, help="epochs without a better validation loss; 0: never stop"
    )
    add("--augment", type=float, default=defaults.strength, help="strength of the augmentation, 0: none")
    add("--transplants", type=float, default=defaults.transplants,
        help="share of slices that get the lesion of another one while masks alone are learned")  # fmt: skip
    add("--erased", type=float, default=0.15,
        help="guided only: share of tumor slices whose lesion is covered, where it can be, as 'no tumor'")  # fmt: skip
    add("--folded", type=float, default=defaults.folded,
        help="guided only: share of nearly symmetrical heads that are folded at the midline while masks are learned "
        "to show one half twice: with the tumor or, two of three, without it")  # fmt: skip
    add("--weak-masks", action="store_true", help="no masks at hand: teach the segmenter K-means and Grad-CAM masks")
    add("--precision", default="auto", choices=["auto", "float32", "mixed_float16", "mixed_bfloat16"])
    add("--seed", type=int, default=defaults.seed)
    add("--verbose", type=int, default=None, help="0: silent, 1: progress bars, 2: one line an epoch")
    add = p.add_argument_group("result").add_argument
    add("--out", type=Path, default=Path("runs/latest"), help="artifact folder; checkpoints go to OUT/checkpoints")
    add("--resume", action="store_true", help="go on with the run in --out")
    add(
        "--brief",
        action="store_true",
        help="only the scores: no baselines, sanity check, guard, figures, report, slides",
    )
    add("--push", metavar="USER/NAME", help="publish to this Hugging Face model repo; needs HF_TOKEN or a login")
    add("--private", action="store_true", help="make a new Hub repo private")
    return p


def use_fold(dataset: data.Dataset, fold: int, seed: int) -> None:
    """Test on one of five folds that cut no patient, choose on 15 % of the rest. Changes dataset.table's split."""
    if not 0 <= fold < FOLDS:
        raise ValueError(f"--fold is a number from 0 to {FOLDS - 1}, not {fold}.")
    rest = splits.folds(dataset.table, FOLDS, seed) != fold
    dataset.table["split"] = "test"
    dataset.table.loc[rest, "split"] = splits.split_groups(dataset.table[rest], seed, (0.85, 0.15, 0.0))


def check_resume(out: Path, args: argparse.Namespace, fingerprint: str) -> None:
    """Write down what this run is, or compare it with the run that is to be resumed. Raises SystemExit."""
    asked = {
        k: str(v)
        for k, v in vars(args).items()
        if k not in ("resume", "push", "private", "verbose", "cache", "out", "brief")
    }
    asked["data_fingerprint"] = fingerprint
    path = out / "checkpoints" / "run.json"
    if args.resume and path.is_file():
        stored = read_json(path)
        changed = [key for key in asked if stored.get(key) != asked[key]]
        if changed:
            raise SystemExit(
                f"--resume: {out} holds a run with other settings ({', '.join(changed)}); "
                "use the same ones, or another --out."
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.rglob("state.json"):  # a new run must not pick up an older run's weights
        old.unlink()
    write_json(path, asked)


def choose_segmenter(args: argparse.Namespace, dataset: data.Dataset) -> tuple[str, str]:
    """(segmenter, what it learns from: "masks", "weak masks", "bundled" or "nothing")."""
    tumor_masks = dataset.table["has_mask"] & (dataset.table["class"] != NO_TUMOR)
    name = args.segmenter
    if name in ("kmeans", "bundled"):
        return name, "nothing" if name == "kmeans" else "bundled"
    if name == "shared" and args.classifier != "guided":
        name = "resunet"
    if tumor_masks.any():
        return name, "masks"
    if args.weak_masks:
        return ("resunet" if name == "shared" else name), "weak masks"
    if finish.bundled_fits(args.size):
        print("No masks were given: the bundled segmenter is kept. (--weak-masks would train one on guessed masks.)")
        return "bundled", "bundled"
    print(f"No masks were given and no bundled segmenter has input size {args.size}: K-means outlines the tumor.")
    return "kmeans", "nothing"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; raises SystemExit with a sentence for a wrong call."""
    args = parser().parse_args(argv)
    try:
        return run(args, list(sys.argv[1:] if argv is None else argv))
    except (folders.DataError, ArtifactError, ScanError, finish.PushError, PretrainedError, ValueError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that is read-only or went away
        where = error.filename2 or error.filename or args.out
        kept = "; what was finished is kept, add --resume to go on" if list(args.out.glob("checkpoints/*/")) else ""
        print(f"train.py: {error.strerror or error}: {where}{kept}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. Nothing was lost: add --resume to go on with {args.out}.", file=sys.stderr)
        return 130


def run(args: argparse.Namespace, command: list[str]) -> int:
    model_def.check_size(args.size)  # before minutes go into reading the data
    for option in ("members", "cross_validate"):
        if (count := getattr(args, option)) < 1:
            raise ValueError(f"--{option.replace('_', '-')} is a number from 1 up, not {count}.")
    if starts_from_imagenet(args):
        find_imagenet()
    precision = choose_precision(args.precision, depthwise=uses_depthwise(args))
    dataset = data.load_dataset(
        args.data, args.masks, groups=args.groups, size=args.size, cache=args.cache, seed=args.seed,
        official_split=args.official_split,
    )  # fmt: skip
    if args.init:
        dataset, seen = held_out(load_artifact(args.init), dataset)
        print(seen)
    if args.fold is not None:
        use_fold(dataset, args.fold, args.seed)
    print(data.describe(dataset))
    if not dataset.rows("test").size or not dataset.rows("train").size:
        raise ValueError(
            "No slice is left to train on, or none to test on: there are too few patients or groups, or the model "
            "given to --init has seen them all. Nothing was trained."
        )
    if args.epochs <= 0:
        print("--epochs 0: the data was checked, nothing was trained or written.")
        return 0
    args.segmenter, taught_by = choose_segmenter(args, dataset)
    if args.classifier != "guided":
        # a network that nobody shows the lesion does not learn from where it is missing
        args.erased = args.folded = 0.0
    if network_count(args) > 1 and args.segmenter != "shared":
        raise ValueError(
            "--members, --cross-validate and --refit need networks that classify and outline: --classifier guided, "
            "and --masks."
        )
    check_resume(args.out, args, dataset.fingerprint())

    classifiers = train_members(args, dataset, taught_by)
    segmenter = finish.answering(args, classifiers)[0] if args.segmenter == "shared" else None
    if args.segmenter in model_def.SEGMENTERS:
        training, validation = train_and_validation(dataset)
        if taught_by == "weak masks":
            for part in filter(None, (training, validation)):
                part.masks, part.has_mask = weak_masks(classifiers[0].model, part.images, part.labels)
        segmenter = train_model(args, "segmenter", training, validation, taught_by)

    command_line = " ".join(["train.py", *(word for word in command if word != "--resume")])  # what makes it anew
    options = asdict(options_of(args))
    facts = {"command": command_line, "precision": precision, "options": options, "refit": args.refit}
    finish.write_artifact(args, dataset, classifiers, segmenter, facts)
    print(f"\nWritten: {args.out}\nOpen it: python app.py --model {args.out}")
    if args.push:
        finish.push(args.out, args.push, private=args.private)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is on disk. TensorFlow's own threads, still busy after Ctrl-C, now and then crash the interpreter's
    # orderly end (exit status -11 instead of 130), so it is left out.
    os._exit(status)
