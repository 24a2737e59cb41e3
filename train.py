"""Train a classifier and a segmenter on class folders and masks; leave an artifact that the app can serve.

    python train.py --data /content/drive/MyDrive/brain-tumor-mri --masks /content/drive/MyDrive/segmentation
    python train.py --data DIR --epochs 10 --out runs/first            # no masks: the bundled segmenter is kept
    python train.py --data kaggle:masoudnickparvar/brain-tumor-mri-dataset --epochs 10   # or a zip, a URL, hf:...
    python train.py --data DIR --resume --out runs/first               # go on after a Colab disconnect
    python -m brain_mri phantom phantoms && python train.py --data phantoms --masks phantoms/segmentation --epochs 2

From a notebook cell: `import train; train.main(["--data", DIR, "--epochs", "10"])`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if platform.machine() in ("x86_64", "AMD64"):
    # oneDNN: TensorFlow's own choice only on processors with VNNI or AMX; with AVX2 alone a step takes half of the time
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import model_def
from brain_mri.artifact.folder import Artifact, install, staging
from brain_mri.artifact.hub_client import HubError
from brain_mri.artifact.hub_push import push
from brain_mri.data.dataset import Dataset
from brain_mri.data.description import described
from brain_mri.data.remote import given, on_the_hub, without_secrets
from brain_mri.evaluation.evaluate import evaluate
from brain_mri.evaluation.held_out import write_split
from brain_mri.evaluation.records import Summary
from brain_mri.files import write_json
from brain_mri.reporting import model_card, overview, report
from brain_mri.training import guard_fit, sequence_fit
from brain_mri.training.calibrate import calibrate, cross_validation
from brain_mri.training.claim import Claim, claimed, default_out
from brain_mri.training.config import TrainConfig
from brain_mri.training.devices import devices
from brain_mri.training.export import export_networks, validation_answers
from brain_mri.training.fit import choose_precision
from brain_mri.training.follow import LOGS
from brain_mri.training.imagenet_weights import PretrainedError
from brain_mri.training.provenance import artifact_config
from brain_mri.training.quality_fit import fit_quality
from brain_mri.training.run import (
    Networks,
    check_resume,
    check_split,
    checked,
    choose_segmenter,
    fit_networks,
    load,
)


def train(config: TrainConfig, claim: Claim) -> None:
    """The whole recipe. Everything is measured on the exported ONNX files, as the app runs them."""
    config = checked(config)
    precision = choose_precision(config.precision, depthwise=config.uses_depthwise)

    dataset = load(config)
    print(described(dataset))
    check_split(dataset)
    if config.epochs <= 0:
        print("--epochs 0: the data was checked, nothing was trained or written.")
        return

    config = choose_segmenter(config, dataset)
    check_resume(config, dataset.fingerprint(), claim)
    with devices(config.batch_size).scope():
        networks = fit_networks(config, dataset, claim)
    finish(config, precision, dataset, networks, claim)
    if config.push:
        publish(config.out, config.push, private=config.private)


def finish(config: TrainConfig, precision: str, dataset: Dataset, networks: Networks, claim: Claim) -> None:
    """Export fitted networks, calibrate them on validation, measure them on test: the artifact in config.out."""
    with staging(config.out) as folder:
        print("\nExporting to ONNX.")
        exported = export_networks(networks, folder, mirrored=not config.one_look)
        write_split(folder, dataset)

        print("Calibrating on validation, measuring on test.")
        answers = validation_answers(config, networks, folder, dataset)
        sequence = None if config.brief else sequence_fit.fit_on_dataset(folder, dataset, config.seed)
        rule = calibrate(answers, exported.segmenter, dataset, sequence)
        if not config.brief:
            limits = fit_quality(folder, rule, dataset, dataset.rows("validation"), config.seed)
            rule = rule.model_copy(update={"quality": limits})
        guard = None if config.brief else guard_fit.fit_on_dataset(folder, dataset, config.seed)
        facts = artifact_config(config, precision, dataset, networks, exported, rule, guard, claim.run)

        whole = not config.brief
        evaluation = evaluate(Artifact(folder, facts), dataset, seed=config.seed, baseline=whole, sanity=whole)
        metrics = evaluation.metrics
        if len(answers) > 1:
            crossed = cross_validation(answers, exported.segmenter, dataset, seed=config.seed)
            metrics = metrics.model_copy(update={"cross_validation": crossed})
            evaluation = replace(evaluation, metrics=metrics)
        facts = facts.model_copy(update={"metrics": Summary.of(metrics).to_json()})
        write_json(folder / "metrics.json", metrics.to_json())

        if config.brief:
            model_card.write_card(folder, facts, metrics)
        else:
            report.write_all(folder, facts, evaluation, dataset)
        claim.check()
        install(folder, config.out, facts)

    print(overview.overview(metrics))
    print(f"\nWritten: {config.out}\nOpen it: python app.py --model {config.out}")


def publish(folder: Path, repo: str, *, private: bool) -> None:
    """Raises HubError with a sentence; the artifact itself stays whole."""
    try:
        pushed = push(folder, repo, private=private)
    except HubError as error:
        later = f"python -m brain_mri hub push {folder} {repo}"
        raise HubError(f"{error} The artifact is safe in {folder}; publish it later: {later}") from None
    done = f"Published {pushed.url} at revision {pushed.revision[:12]}."
    print(done if pushed.changed else f"{pushed.url} is up to date.")


# -- the command line -----------------------------------------------------------------------------------------------
def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = p.add_argument_group("data").add_argument
    add("--data", type=given, nargs="+", required=True, metavar="DIR",
        help="class folders, of one or several sources: DIR/<class>/*.jpg or DIR/Training and DIR/Testing; "
        "also a zip or tar file, its URL, kaggle:owner/name[/versions/N], hf:user/name[@revision]")  # fmt: skip
    add("--masks", type=given, nargs="+", metavar="DIR",
        help="pictures and masks, as --data of one or several sources: images/ and masks/, or X_mask.png by "
        "X.png")  # fmt: skip
    add("--groups", type=Path, help="CSV with columns file,group; the default is ROOT/groups.csv where it exists")
    add(
        "--official-split",
        action="store_true",
        help="test on the Testing folder (it usually leaks: docs/numbers.md)",
    )
    add("--fold", type=int, help="test on this fold (0..4) of five patient-disjoint folds")
    add("--split", type=Path, metavar="CSV",
        help="split.csv of an earlier artifact: its patients stay where they are, new ones are dealt")  # fmt: skip
    add("--leave-out", nargs="+", metavar="SOURCE",
        help="only test on these sources, by the names in the table of the data (those of the folders)")  # fmt: skip
    add("--classes", nargs="+", metavar="NAME",
        help="standard: our four; folders: each one; or names. The default: what the folders tell")  # fmt: skip
    add("--no-tumor", metavar="NAME", help="the folder whose pictures show none, where its name does not say so")
    add("--cache", type=Path, help="folder for the cache of decoded slices")
    add = p.add_argument_group("models").add_argument
    add("--classifier", choices=list(model_def.CLASSIFIERS), help="guided: a U-Net that also classifies")
    add("--segmenter", choices=[*model_def.SEGMENTER_NAMES, "bundled"],
        help="shared: the mask branch of the classifier; bundled: keep the one in weights/")  # fmt: skip
    add("--pseudo-masks", "--weak-masks", action="store_true",
        help="no masks at hand: teach the segmenter what K-means and Grad-CAM agree on")  # fmt: skip
    add("--size", type=int, help="side of the model's input in pixels, a multiple of 16")
    add("--members", type=int,
        help="networks that answer together, each with other validation patients; --segmenter shared only")  # fmt: skip
    add("--cross-validate", type=int, metavar="N",
        help="fit N networks in all; those beyond --members only calibrate: cross-validated figures")  # fmt: skip
    add("--refit", action="store_true",
        help="all these only calibrate; as many more as --members answer, fitted on all but test patients")  # fmt: skip
    add("--refit-epochs", type=int, metavar="N",
        help="with --refit: go on from those that calibrate, N epochs of each stage, instead of anew")  # fmt: skip
    add("--encoder", choices=list(model_def.ENCODERS),
        help="of guided; efficientnet_lite0 starts from ImageNet weights")  # fmt: skip
    add("--width", type=int, help="channels of the first level of guided's decoder and of resunet")
    add("--one-look", action="store_true",
        help="serve one pass over the slice, not the mean with that over its mirror image: twice as fast")  # fmt: skip
    add = p.add_argument_group("fitting").add_argument
    add("--epochs", type=int, help="0: only check the data")
    add("--joint-epochs", type=int,
        help="epochs of the classifier, in guided of its class layers; the default is --epochs")  # fmt: skip
    add("--init", type=Path, metavar="DIR", help="start from this artifact; what it has seen stays out of the test set")
    add("--batch-size", type=int)
    add(
        "--learning-rate",
        type=float,
        help="the default is 0.002, of a U-Net from ImageNet weights 0.001, with --init 0.4 x that",
    )
    add("--label-smoothing", type=float)
    add("--patience", type=int, help="epochs without a better validation loss; 0: never stop")
    add("--augment", type=float, help="strength of the augmentation, 0: none")
    add("--precision", choices=["auto", "float32", "mixed_float16", "mixed_bfloat16"])
    add("--seed", type=int)
    add("--log", choices=LOGS, help="curves while it trains, kept on this machine; a package of its own each")
    add("--verbose", type=int, help="0: silent, 1: progress bars, 2: one line an epoch")
    add = p.add_argument_group("result").add_argument
    add("--out", type=Path,
        help="artifact folder, without it a new one in runs/; checkpoints go to OUT/checkpoints")  # fmt: skip
    add("--resume", action="store_true", help="go on with the run in --out, or with the last one in runs/")
    add("--brief", action="store_true",
        help="only the scores: no baselines, sanity check, guard, figures, report, slides")  # fmt: skip
    add("--license", metavar="ID",
        help="of the weights, for the card: cc-by-nc-sa-4.0 where data may not be used commercially")  # fmt: skip
    add("--datasets", nargs="+", metavar="NAME",
        help='for the card; the first word is the id: "figshare-1512427 Cheng et al., CC BY 4.0"')  # fmt: skip
    add("--push", metavar="USER/NAME", help="publish to this Hugging Face model repo; needs HF_TOKEN or a login")
    add("--private", action="store_true", help="make a new Hub repo private")
    p.set_defaults(**{field.name: field.default for field in fields(TrainConfig) if field.default is not MISSING})
    return p


def read_arguments(argv: Sequence[str]) -> TrainConfig:
    asked = vars(parser().parse_args(argv))
    asked["out"] = asked["out"] or default_out(asked["classifier"], asked["resume"])
    asked["datasets"] = asked["datasets"] or on_the_hub([*asked["data"], *(asked["masks"] or ())])
    words = [without_secrets(word) for word in argv if word != "--resume"]
    return TrainConfig(**asked | {"command": " ".join(["train.py", *words])})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; raises SystemExit with a sentence for a wrong call."""
    config = read_arguments(sys.argv[1:] if argv is None else argv)
    try:
        with claimed(config) as claim:
            train(config, claim)
        return 0
    except (HubError, PretrainedError, ValueError) as error:  # DataError, ArtifactError and ScanError are ValueErrors
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that is read-only or went away
        where = error.filename2 or error.filename or config.out
        kept = "; what was finished is kept, add --resume to go on" if list(config.out.glob("checkpoints/*/")) else ""
        print(f"train.py: {error.strerror or error}: {where}{kept}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. Nothing was lost: add --resume to go on with {config.out}.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is on disk. TensorFlow's own threads, still busy after Ctrl-C, now and then crash the interpreter's
    # orderly end (exit status -11 instead of 130), so it is left out.
    os._exit(status)
