"""The steps of a run up to its fitted networks: read the data, decide what there is to learn, build, fit."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import model_def
from brain_mri.artifact.config import ArtifactConfig, ArtifactError, Network, Stage, Stages
from brain_mri.artifact.folder import BUNDLED, load_artifact
from brain_mri.classes import NO_TUMOR
from brain_mri.data import splits
from brain_mri.data.class_names import ClassChoice
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.evaluation.held_out import as_before, carried_on
from brain_mri.files import read_json, sha256, write_json
from brain_mri.imaging.preprocessing import PREPROCESSING
from brain_mri.training import follow
from brain_mri.training.claim import RUN, Claim
from brain_mri.training.config import GOING_ON, FitOptions, TrainConfig
from brain_mri.training.fit import fit
from brain_mri.training.imagenet_weights import find_imagenet, load_imagenet
from brain_mri.training.pseudo_masks import with_pseudo_masks
from brain_mri.training.training_set import TrainingSet

FOLDS = 5
WEAK = "weak masks"  # what artifacts call pseudo masks


@dataclass(frozen=True)
class Trained:
    """A fitted network and how it came about."""

    name: str
    arguments: dict[str, Any]
    model: keras.Model
    stage: Stage
    outlined: Stage | None = None  # the stage that taught it masks alone, before the classes

    @property
    def network(self) -> Network:
        return Network(architecture=self.name, arguments=self.arguments, parameters=int(self.model.count_params()))

    @property
    def stages(self) -> Stages:
        return Stages(classifier=self.stage, **({"segmenter": self.outlined} if self.outlined else {}))


@dataclass(frozen=True)
class Networks:
    """All networks of a run."""

    classifiers: Sequence[Trained]
    answering: Sequence[Trained]  # those of them that are served together
    calibrating: Sequence[Trained]  # those of them that have validation patients of their own
    segmenter: Trained | None  # a network of its own
    outlining: str  # the segmenter's name, or "shared", "bundled", "kmeans"
    taught_by: str  # where the masks that it learned from are from: "masks", "weak masks", "bundled" or "nothing"


def numbered(number: int) -> str:
    """What tells the files of the second, third, ... network from those of the first: "", "-2", "-3", ..."""
    return "" if number == 1 else f"-{number}"


# -- before anything is fitted --------------------------------------------------------------------------------------
def checked(config: TrainConfig) -> TrainConfig:
    """config, its encoder that of the artifact which it starts from. Raises ValueError, ArtifactError, PretrainedError.

    All that can be said before minutes go into reading the data.
    """
    model_def.check_size(config.size)
    follow.require(config.log)
    for option in ("members", "cross_validate", "refit_epochs"):
        if (count := getattr(config, option)) is not None and count < 1:
            raise ValueError(f"--{option.replace('_', '-')} is a number from 1 up, not {count}.")
    if config.refit_epochs is not None and not config.refit:
        raise ValueError("--refit-epochs goes on with --refit, which is missing.")
    if config.split and (config.fold is not None or config.official_split):
        raise ValueError("--split, --fold and --official-split each say what is tested on; give one of them.")
    if config.license and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,99}", config.license):
        raise ValueError(
            f"--license is a licence as the Hub writes it, such as mit or cc-by-nc-sa-4.0, not {config.license!r}."
        )
    if any(not name.strip() or not name.isprintable() or len(name) > 200 for name in config.datasets):
        raise ValueError("--datasets takes names of one line, each of at most 200 characters.")
    if config.init:
        config = replace(config, encoder=encoder_of(config.init))
    if config.starts_from_imagenet:
        find_imagenet()
    return config


def encoder_of(folder: Path) -> str:
    """The encoder of an artifact's networks; those of earlier versions do not name theirs."""
    return load_artifact(folder).config.classifier.arguments.get("encoder", "resnet")


def load(config: TrainConfig) -> Dataset:
    """The data, split as config says. Raises DataError, ArtifactError, ValueError."""
    dataset = load_dataset(
        config.data, config.masks, groups=config.groups, size=config.size, cache=config.cache, seed=config.seed,
        official_split=config.official_split, choice=ClassChoice(tuple(config.classes), no_tumor=config.no_tumor),
    )  # fmt: skip
    if config.split:
        dataset = as_before(config.split, dataset, config.seed)
    if config.init:
        dataset, seen = carried_on(load_artifact(config.init), dataset)
        print(seen)
    if config.fold is not None:
        dataset = on_fold(dataset, config.fold, config.seed)
    if config.leave_out:
        dataset = replace(dataset, table=dataset.table.assign(split=splits.leave_out(dataset.table, config.leave_out)))
    return dataset


def on_fold(dataset: Dataset, fold: int, seed: int) -> Dataset:
    """Tested on one of five folds that cut no patient; 15 % of the rest are for validation."""
    if not 0 <= fold < FOLDS:
        raise ValueError(f"--fold is a number from 0 to {FOLDS - 1}, not {fold}.")
    rest = splits.folds(dataset.table, FOLDS, seed) != fold
    table = dataset.table.assign(split="test")
    table.loc[rest, "split"] = splits.split_groups(table[rest], seed, (0.85, 0.15, 0.0))
    return replace(dataset, table=table)


def check_split(dataset: Dataset) -> None:
    """Raises ValueError when there is nothing to learn from, to calibrate or to measure on, or half of the masks are
    none."""
    if not all(dataset.rows(part).size for part in splits.SPLITS):
        raise ValueError(
            "No slice is left to train on, none to validate on, or none to test on: there are too few patients or "
            "groups, or --init, --split or --leave-out keep them elsewhere. Nothing was trained."
        )
    table = dataset.table
    learned = table.iloc[dataset.rows("train")]
    if len(answers := {*learned.loc[(learned["class"] != "") | learned["tumor"], "class"]}) < 2:
        only = " or ".join(sorted(answers)) or "nothing that has a name"
        raise ValueError(f"Only {only} is left to train on; two answers at least are needed. Nothing was trained.")
    own, doubtful = table[table["mask_path"] != ""], table[table["mask_doubt"] != ""]
    if len(doubtful):
        said = (
            f"{len(doubtful)} of {len(own)} masks cannot be outlines of tumors (that of {doubtful['file'].iloc[0]} "
            f"{doubtful['mask_doubt'].iloc[0]}); python -m brain_mri audit names them all"
        )
        if len(doubtful) >= 0.5 * len(own):
            raise ValueError(f"{said}. Nothing was trained.")
        print(f"Note: {said}. They are not used.")


def choose_segmenter(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """config with a segmenter that can be had: without masks one that needs none, and a line that says so.

    Raises ValueError for an ensemble that cannot be had without masks.
    """
    name = config.segmenter
    if name == "shared" and config.classifier != "guided":
        name = "resunet"
    if name not in ("kmeans", "bundled") and not has_tumor_masks(dataset):
        if config.pseudo_masks:
            name = "resunet" if name == "shared" else name
        elif bundled_fits(config.size):
            print("No masks were given: the bundled segmenter is kept. (--pseudo-masks would train one on guesses.)")
            name = "bundled"
        else:
            print(f"No masks were given and no bundled segmenter has input size {config.size}: K-means outlines the "
                  "tumor.")  # fmt: skip
            name = "kmeans"
    if config.networks > 1 and name != "shared":
        raise ValueError(
            "--members, --cross-validate and --refit need networks that classify and outline: --classifier guided, "
            "and --masks."
        )
    return replace(config, segmenter=name)


def has_tumor_masks(dataset: Dataset) -> bool:
    return bool((dataset.table["has_mask"] & (dataset.table["class"] != NO_TUMOR)).any())


def bundled_fits(size: int) -> bool:
    """Is there a bundled segmenter with this input size?"""
    try:
        bundled = load_artifact(BUNDLED)
    except ArtifactError:
        return False
    return bundled.image_size == size and bundled.config.preprocessing.name == PREPROCESSING


def check_resume(config: TrainConfig, fingerprint: str, claim: Claim) -> None:
    """Write down what this run is, or compare it with the run that is to be resumed. Raises SystemExit."""
    asked = {"run": claim.run} | config.settings() | {"data_fingerprint": fingerprint}
    path = config.out / "checkpoints" / RUN
    if config.resume and path.is_file():
        stored = {"run": ""} | read_json(path)
        changed = sorted(key for key in asked.keys() | stored.keys() if stored.get(key) != asked.get(key))
        if changed:
            raise SystemExit(
                f"--resume: {config.out} holds a run with other settings ({', '.join(changed)}); "
                "use the same ones, or another --out."
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.rglob("state.json"):  # a new run must not pick up an older run's weights
        old.unlink()
    write_json(path, asked)


# -- fitting --------------------------------------------------------------------------------------------------------
def fit_networks(config: TrainConfig, dataset: Dataset, claim: Claim) -> Networks:
    """The classifiers, each from a seed of its own, and the segmenter where it is a network of its own.

    First those with validation patients of their own; with --refit as many more as answer follow, which learn from all
    patients but the test ones.
    """
    parts = splits.rotated(dataset.table, config.judges, config.seed)
    everything = dataset.table["split"].replace("validation", "train")
    parts += [everything] * (config.networks - len(parts))
    tables = [dataset.table.assign(split=split) for split in parts]
    classifiers: list[Trained] = []
    for number, table in enumerate(tables, 1):
        goes_on = config.refit_epochs is not None and number > config.judges
        first = classifiers[number - config.judges - 1] if goes_on else None
        parts_of_it = train_and_validation(replace(dataset, table=table))
        classifiers.append(fit_network(config, "classifier", *parts_of_it, claim, number, first))
    segmenter, taught_by = None, {"bundled": "bundled", "kmeans": "nothing"}.get(config.segmenter, "masks")
    if config.segmenter in model_def.SEGMENTERS:
        training, validation = train_and_validation(dataset)
        if not has_tumor_masks(dataset):
            taught_by, teacher = WEAK, classifiers[0].model
            training = with_pseudo_masks(training, teacher)
            validation = validation and with_pseudo_masks(validation, teacher)
        segmenter = fit_network(config, "segmenter", training, validation, claim)
    members = config.members
    answering = classifiers[-members:] if config.refit else classifiers[:members]
    calibrating = classifiers[:-members] if config.refit else classifiers
    return Networks(classifiers, answering, calibrating, segmenter, config.segmenter, taught_by)


def train_and_validation(dataset: Dataset) -> tuple[TrainingSet, TrainingSet | None]:
    validates = dataset.rows("validation").size
    return TrainingSet.of(dataset, "train"), TrainingSet.of(dataset, "validation").one_of_each() if validates else None


def fit_network(
    config: TrainConfig,
    kind: str,
    training: TrainingSet,
    validation: TrainingSet | None,
    claim: Claim,
    number: int = 1,
    first: Trained | None = None,
) -> Trained:
    """Build and fit the classifier or the segmenter that config names; the classifier also sees covered lesions.

    validation: to choose an epoch by; without it the last one is kept. number: which of the classifiers, from 1.
    first: a network of fewer patients, to go on from.
    """
    if first:
        rate = GOING_ON * config.fit_options(kind).learning_rate
        config = replace(config, epochs=config.refit_epochs or config.epochs, joint_epochs=None, learning_rate=rate)
    name, options = getattr(config, kind), config.fit_options(kind)
    options = replace(options, seed=options.seed + number - 1)
    keras.utils.set_random_seed(options.seed)
    arguments = architecture_arguments(config, name, training)
    model = model_def.build(name, config.size, **arguments)
    if kind == "classifier":
        start(model, config, training.classes, number, first)
    which = f" {number} of {config.networks}" if config.networks > 1 and kind == "classifier" else ""
    print(f"\n{kind.capitalize()}{which}, {name}: {model.count_params():,} parameters.")
    checkpoints, ending = config.out / "checkpoints", numbered(number)
    outlined = None
    judged = validation is None or validation.outlines_tumors
    if name == "guided" and training.outlines_tumors and judged:
        folder = checkpoints / f"outliner{ending}"
        outlined = outline_first(model, training, validation, options.for_masks(), folder, config.resume, claim)
        options = replace(options, learning_rate=config.fit_options("class layers").learning_rate)
    is_classifier = kind == "classifier"
    options = options.for_classes(config.joint_epochs or config.epochs) if is_classifier else options.for_masks()
    feeds = training.feed(model.output, options, True), validation and validation.feed(model.output, options, False)
    stage = fit(model, *feeds, options, checkpoints / f"{kind}{ending}", resume=config.resume, claim=claim)
    return Trained(name, arguments, model, stage, outlined)


def start(
    model: keras.Model, config: TrainConfig, classes: Sequence[str], number: int = 1, first: Trained | None = None
) -> None:
    """Give a new classifier the weights to begin with: of first, of --init, of ImageNet, or else its own.

    Raises ArtifactError, PretrainedError.
    """
    if first:
        model.set_weights(first.model.get_weights())
    elif config.init:
        start_from(config.init, config.classifier, model, classes, number)
        keep_statistics(model)
    elif config.starts_from_imagenet:
        load_imagenet(model)


def keep_statistics(model: keras.Model) -> None:
    """Batch normalisation stays as it is: statistics of a few slices of one scanner took Dice from 0.88 to 0."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            keep_statistics(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def architecture_arguments(config: TrainConfig, name: str, training: TrainingSet) -> dict[str, Any]:
    """What model_def.build is asked for beside name and size."""
    arguments: dict[str, Any] = {"width": config.width} if config.width and name in ("guided", "resunet") else {}
    if name in model_def.CLASSIFIERS and len(training.classes) != model_def.CLASS_COUNT:
        arguments["classes"] = len(training.classes)
    if name == "guided":
        arguments["encoder"] = config.encoder
        if not training.outlines_tumors:
            arguments["gate_gradient"] = True  # nobody else tells the mask where to look
    return arguments


def outliner_of(model: keras.Model) -> keras.Model:
    """The mask branch alone; its weights are those of the model."""
    return keras.Model(model.input, {"mask": model.output["mask"]}, name="outliner")


def outline_first(
    model: keras.Model,
    training: TrainingSet,
    validation: TrainingSet | None,
    options: FitOptions,
    checkpoints: Path,
    resume: bool,
    claim: Claim,
) -> Stage:
    """Fit the mask branch alone on the slices whose mask is known: the U-Net first, then the class on top of it.

    With both losses from the start the mask learned many times slower (Dice 0.58 after 40 epochs instead of 4). Then
    it stands still: the class learns to read the U-Net, which it would spoil (docs/experiments.md).
    """
    outliner = outliner_of(model)
    training = training.where(training.has_mask | training.tumor)  # that there is one is known of these
    validation = validation and validation.where(validation.has_mask)
    print(f"First the masks alone: {len(np.unique(training.units))} different slices an epoch.")
    feeds = (
        training.feed(outliner.output, options, True),
        validation and validation.feed(outliner.output, options, False),
    )
    stage = fit(outliner, *feeds, options, checkpoints, resume=resume, claim=claim)
    outliner.trainable = False
    return stage


def start_from(folder: Path, name: str, model: keras.Model, classes: Sequence[str], number: int = 1) -> None:
    """Load the weights of an earlier run's network of this number, of its first one where it has fewer.

    Of a network with other classes than these the head is left out, which then begins anew.

    Raises ArtifactError when they are of another architecture, width or size.
    """
    config, path = load_artifact(folder).config, folder / f"classifier{numbered(number)}.weights.h5"
    path = path if path.name in config.files else folder / "classifier.weights.h5"
    stated = config.classifier.architecture
    if stated != name or not path.is_file() or sha256(path) != config.files[path.name].sha256:
        raise ArtifactError(f"--init: {folder} holds no whole weights of a classifier {name} (but of {stated}).")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one for each layer that does not fit
            _load(model, path, config, anew=tuple(classes) != tuple(config.classes))
    except ValueError:
        raise ArtifactError(
            f"--init: the weights in {folder} are of a network of another --width or --size than this one."
        ) from None
    if tuple(classes) != tuple(config.classes):
        print(f"--init: {folder} knows {', '.join(config.classes)}; the layer of classes begins anew.")


def _load(model: keras.Model, path: Path, config: ArtifactConfig, anew: bool) -> None:
    """All weights; anew: all but those of the head. Raises ValueError where they do not fit."""
    if not anew:
        model.load_weights(path)
        return
    network = config.classifier
    bare = {"weights": None} if network.architecture in ("vgg16", "efficientnet") else {}  # none are fetched
    theirs = model_def.build(network.architecture, config.preprocessing.image_size, **network.arguments | bare)
    theirs.load_weights(path)
    for own, given in zip(_below_head(model), _below_head(theirs), strict=True):
        own.assign(given)


def _below_head(model: keras.Model) -> list[keras.Variable]:
    return [weight for layer in model.layers if layer.name != "head" for weight in layer.weights]
