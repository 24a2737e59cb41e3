"""The networks of one run: build, fit, and where masks are known, teach the outline, then the class on top of it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import model_def
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.data import dataset as data
from brain_mri.data.splits import rotated
from brain_mri.files import sha256
from brain_mri.training import finish
from brain_mri.training.fit import FitOptions, FitState, fit
from brain_mri.training.imagenet_weights import load_imagenet
from brain_mri.training.training_set import TrainingSet


def chosen_encoder(args: argparse.Namespace) -> str:
    """The encoder of guided; with --init the artifact says which. Raises ArtifactError."""
    return encoder_of(args.init) if args.init else args.encoder


def has_lite_encoder(args: argparse.Namespace) -> bool:
    return args.classifier == "guided" and chosen_encoder(args) == "efficientnet_lite0"


def starts_from_imagenet(args: argparse.Namespace) -> bool:
    return not args.init and has_lite_encoder(args)


def uses_depthwise(args: argparse.Namespace) -> bool:
    """Has the classifier depthwise convolutions? See fit.choose_precision."""
    return has_lite_encoder(args) or args.classifier == "efficientnet"


def options_of(args: argparse.Namespace, kind: str = "classifier") -> FitOptions:
    """How to fit a classifier, a segmenter, or the "class layers" on top of a U-Net, which are always new."""
    pretrained = kind == "classifier" and starts_from_imagenet(args)
    own = FitOptions.learning_rate / 2 if pretrained else FitOptions.learning_rate
    return FitOptions(
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=own if args.learning_rate is None else args.learning_rate,
        label_smoothing=args.label_smoothing,
        mask_loss=args.mask_loss,
        patience=args.patience,
        average=FitOptions.average if args.classifier == "guided" else 0.0,  # the students' nets stay as they are known
        strength=args.augment,
        transplants=args.transplants,
        erased=args.erased,
        folded=args.folded,
        seed=args.seed,
        verbose="auto" if args.verbose is None else args.verbose,
    )


def train_and_validation(dataset: data.Dataset) -> tuple[TrainingSet, TrainingSet | None]:
    validates = dataset.rows("validation").size
    return TrainingSet.of(dataset, "train"), TrainingSet.of(dataset, "validation").one_of_each() if validates else None


def network_count(args: argparse.Namespace) -> int:
    """How many classifiers are fitted: those that answer, and those that only calibrate."""
    return judge_count(args) + (args.members if args.refit else 0)


def judge_count(args: argparse.Namespace) -> int:
    """How many of them have validation patients of their own, and so calibrate."""
    return max(args.members, args.cross_validate)


def train_members(args: argparse.Namespace, dataset: data.Dataset, taught_by: str) -> list[finish.Trained]:
    """The classifiers, each from a seed of its own: first those with validation patients of their own.

    With --refit as many more as answer follow, which learn from all patients but the test ones.
    """
    splits = rotated(dataset.table, judge_count(args), args.seed)
    everything = dataset.table["split"].replace("validation", "train")
    splits += [everything] * (network_count(args) - len(splits))
    tables = [dataset.table.assign(split=split) for split in splits]
    return [
        train_model(args, "classifier", *train_and_validation(replace(dataset, table=table)), taught_by, number)
        for number, table in enumerate(tables, 1)
    ]


def train_model(
    args: argparse.Namespace,
    kind: str,
    training: TrainingSet,
    validation: TrainingSet | None,
    taught_by: str,
    number: int = 1,
) -> finish.Trained:
    """Build and fit the classifier or the segmenter that args name; the classifier also sees covered lesions.

    validation: to choose an epoch by; without it the last one is kept.

    number: which of the classifiers, from 1.
    """
    name = getattr(args, kind)
    arguments: dict[str, Any] = {"width": args.width} if args.width and name in ("guided", "resunet") else {}
    if name == "guided":
        arguments["encoder"] = chosen_encoder(args)
        if not training.outlines_tumors:
            arguments["gate_gradient"] = True  # nobody else tells the mask where to look
    options = options_of(args, kind)
    options = replace(options, seed=options.seed + number - 1)
    keras.utils.set_random_seed(options.seed)
    model = model_def.build(name, args.size, **arguments)
    if kind == "classifier":
        if args.init:
            start_from(args.init, name, model, number)
        elif starts_from_imagenet(args):
            load_imagenet(model)
    which = f" {number} of {network_count(args)}" if network_count(args) > 1 and kind == "classifier" else ""
    print(f"\n{kind.capitalize()}{which}, {name}: {model.count_params():,} parameters.")
    checkpoints, ending = args.out / "checkpoints", finish.numbered(number)
    outlined = None
    judged = validation is None or validation.outlines_tumors
    if name == "guided" and training.outlines_tumors and judged and not args.init:
        outliner = keras.Model(model.input, {"mask": model.output["mask"]}, name="outliner")
        folder = checkpoints / f"outliner{ending}"
        outlined = outline_first(outliner, training, validation, options, folder, args.resume)
        outliner.trainable = False  # the class learns to read the U-Net, which it would spoil (docs/training.md)
        options = replace(options, learning_rate=options_of(args, "class layers").learning_rate)
    if kind == "classifier":
        # A transplanted lesion has lost its place, which says much about its kind, and class layers that see folded
        # heads lose accuracy (docs/training.md): both teach outlines only
        options = replace(options, epochs=args.joint_epochs or args.epochs, transplants=0.0, folded=0.0)
    else:
        options = replace(options, erased=0.0)
    feeds = training.feed(model, options, True), validation and validation.feed(model, options, False)
    state = fit(model, *feeds, options, checkpoints / f"{kind}{ending}", resume=args.resume)
    return finish.Trained(name, arguments, model, state, taught_by, outlined)


def outline_first(
    outliner: keras.Model,
    training: TrainingSet,
    validation: TrainingSet | None,
    options: FitOptions,
    checkpoints: Path,
    resume: bool,
) -> FitState:
    """Fit the mask branch alone on the slices whose mask is known: the U-Net first, then the class on top of it.

    With both losses from the start the mask learned many times slower (Dice 0.58 after 40 epochs instead of 4).
    """
    options = replace(options, erased=0.0)
    training, validation = training.where(training.has_mask), validation and validation.where(validation.has_mask)
    print(f"First the masks alone: {len(np.unique(training.units))} different slices an epoch.")
    feeds = training.feed(outliner, options, True), validation and validation.feed(outliner, options, False)
    return fit(outliner, *feeds, options, checkpoints, resume=resume)


def encoder_of(folder: Path) -> str:
    """The encoder of an artifact's networks; those of earlier versions do not name theirs."""
    return load_artifact(folder).config.classifier.arguments.get("encoder", "resnet")


def start_from(folder: Path, name: str, model: keras.Model, number: int = 1) -> None:
    """Load the weights of an earlier run's network of this number, of its first one where it has fewer.

    Raises ArtifactError when they are of another architecture.
    """
    config, path = load_artifact(folder).config, folder / f"classifier{finish.numbered(number)}.weights.h5"
    path = path if path.name in config.files else folder / "classifier.weights.h5"
    stated = config.classifier.architecture
    if stated != name or not path.is_file() or sha256(path) != config.files[path.name].sha256:
        raise ArtifactError(f"--init: {folder} holds no whole weights of a classifier {name} (but of {stated}).")
    model.load_weights(path)
