"""What a training run is asked to do, each default standing here once. train.py fills it in from its command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from brain_mri.data.dataset import SIZE

LITE = "efficientnet_lite0"  # the encoder that starts from ImageNet weights
# What does not make another run out of one that is resumed
PASSING = ("command", "resume", "push", "private", "license", "datasets", "verbose", "cache", "out", "brief", "log")


@dataclass(frozen=True)
class FitOptions:
    """How one network is fitted. The bundled weights were made with these, but for what README's command states."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    label_smoothing: float = 0.05
    mask_weight: float = 1.0
    patience: int = 10
    average: float = 0.98  # decay of the moving average of the weights that is judged and kept; 0: none
    strength: float = 0.8  # of the augmentation
    transplants: float = 0.3  # share of slices that get another slice's lesion, where masks are known
    erased: float = 0.15  # share of tumor slices whose lesion is covered with another slice's tissue, as "no tumor"
    folded: float = 0.3  # share of nearly symmetrical heads that are folded at the midline
    seed: int = 0
    verbose: int | str = "auto"
    log: str = ""  # see follow.LOGS

    def for_masks(self) -> FitOptions:
        return replace(self, erased=0.0)

    def for_classes(self, epochs: int) -> FitOptions:
        """A transplanted lesion has lost its place, which says much about its kind, and class layers that see folded
        heads lose accuracy (docs/experiments.md): both teach outlines only."""
        return replace(self, epochs=epochs, transplants=0.0, folded=0.0)


GOING_ON = 0.4  # times the learning rate, of a network that goes on from another one


@dataclass(frozen=True)
class TrainConfig:
    """One run. `python train.py --help` says what each means."""

    data: Sequence[str | Path]  # folders, archives, names of data sets: see data/remote.py
    out: Path  # train.py has a new one for each run
    masks: Sequence[str | Path] = ()
    groups: Path | None = None
    official_split: bool = False
    fold: int | None = None
    split: Path | None = None
    leave_out: Sequence[str] = ()
    classes: Sequence[str] = ()  # names, or "standard" or "folders"; (): see class_names.names_of
    no_tumor: str = ""  # the folder that means it
    cache: Path | None = None

    classifier: str = "guided"
    segmenter: str = "shared"
    size: int = SIZE
    members: int = 1
    cross_validate: int = 1
    refit: bool = False
    refit_epochs: int | None = None  # of networks that go on from those that calibrate; None: they begin anew
    encoder: str = LITE
    width: int | None = None
    one_look: bool = False  # is the mirrored slice left out of the answer?

    epochs: int = FitOptions.epochs
    joint_epochs: int | None = None
    init: Path | None = None
    batch_size: int = FitOptions.batch_size
    learning_rate: float | None = None
    label_smoothing: float = FitOptions.label_smoothing
    patience: int = FitOptions.patience
    augment: float = FitOptions.strength
    pseudo_masks: bool = False
    precision: str = "auto"
    seed: int = FitOptions.seed
    verbose: int | None = None
    log: str = ""

    resume: bool = False
    brief: bool = False
    push: str | None = None
    private: bool = False
    license: str = ""
    datasets: Sequence[str] = ()
    command: str = ""  # as it was given, without --resume: what makes it anew

    @property
    def has_lite_encoder(self) -> bool:
        return self.classifier == "guided" and self.encoder == LITE

    @property
    def starts_from_imagenet(self) -> bool:
        return self.has_lite_encoder and self.init is None

    @property
    def uses_depthwise(self) -> bool:
        """Has the classifier depthwise convolutions? See fit.choose_precision."""
        return self.has_lite_encoder or self.classifier == "efficientnet"

    @property
    def judges(self) -> int:
        """How many classifiers have validation patients of their own, and so calibrate."""
        return max(self.members, self.cross_validate)

    @property
    def networks(self) -> int:
        """How many classifiers are fitted: those that calibrate, and with --refit as many more as answer."""
        return self.judges + (self.members if self.refit else 0)

    def fit_options(self, kind: str = "classifier") -> FitOptions:
        """How to fit a classifier, a segmenter, or the "class layers" on top of a U-Net, which are always new."""
        guided = self.classifier == "guided"
        usual = FitOptions.learning_rate / (2 if kind == "classifier" and self.has_lite_encoder else 1)
        usual *= GOING_ON if self.init and kind == "classifier" else 1
        return FitOptions(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=usual if self.learning_rate is None else self.learning_rate,
            label_smoothing=self.label_smoothing,
            patience=self.patience,
            strength=self.augment,
            # The students' networks stay as they are known; one that nobody shows the lesion does not learn from where
            # it is missing
            average=FitOptions.average if guided else 0.0,
            erased=FitOptions.erased if guided else 0.0,
            folded=FitOptions.folded if guided else 0.0,
            seed=self.seed,
            verbose="auto" if self.verbose is None else self.verbose,
            log=self.log,
        )

    def settings(self) -> dict[str, str]:
        """What a run that is resumed must have in common with the one that was begun."""
        return {name.name: str(getattr(self, name.name)) for name in fields(self) if name.name not in PASSING}
