"""config.json as a record: all that serving needs, and where it came from.

`ArtifactConfig` is checked when it is read, for the file may come from anyone's Hub repo; what does not fit ends in one
sentence. Attribute names are the keys of the file. Keys that this version does not know are kept, keys that a file
lacks stay away when it is written again, and a number keeps the type that it was written with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from brain_mri.classes import MOST_CLASSES, NO_TUMOR, SEQUENCES
from brain_mri.files import FileError

FORMAT_VERSION = 1
CONFIG, CLASSIFIER, SEGMENTER = SERVING_FILES = "config.json", "classifier.onnx", "segmenter.onnx"

Number = Annotated[int | float, Field(gt=-1e300, lt=1e300)]
Numbers = Annotated[tuple[Number, ...], Strict(False)]  # JSON has lists only
# What answers are worked out with: within these bounds finite outputs of a network give finite probabilities.
Weight = Annotated[int | float, Field(ge=-1e9, le=1e9)]
Weights = Annotated[tuple[Weight, ...], Strict(False)]
Temperature = Annotated[int | float, Field(ge=1e-4, le=1e4)]
Threshold = Annotated[int | float, Field(ge=0, le=10)]  # above 1: nothing reaches it
Share = Annotated[int | float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]  # what the page shows; Python writes no number of 4,300 digits
Words = Annotated[
    str, Field(max_length=200, pattern=r"^\P{C}*$")
]  # for the page: one line, nothing that steers a screen


class ArtifactError(FileError):
    """A folder that is no usable artifact; the message is one sentence for a person."""


def plain(words: object) -> str:
    """Foreign words for a sentence: one printable line, not a long one."""
    line = "".join(c if c.isprintable() else " " for c in str(words))
    return " ".join(line.split())[:300]


class Record(BaseModel):
    """Frozen, without the conversions (text to number and so on) that pydantic makes by itself."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """The keys that were set, as plain values."""
        return self.model_dump(mode="json", exclude_unset=True)


class Preprocessing(Record):
    name: Words | None = None  # inference runs the one it has, and refuses any other
    image_size: Annotated[int, Field(ge=16, le=1024)]


class Network(Record):
    """Of several that answer together in one file, all are alike."""

    architecture: Words = ""
    arguments: dict[str, Any] = {}  # of model_def.build
    parameters: Count = 0  # of all members
    members: Count = 1


class Segmenter(Network):
    shared: bool = False  # the classifier gives the mask, too
    trained_on: Words = "nothing"  # or "masks", "weak masks", "bundled"

    @property
    def is_network(self) -> bool:
        """K-means, which needs no training, has no file."""
        return self.architecture != "kmeans"


class Thresholds(Record):
    mask: Threshold = 0.5  # cut of the tumor probability
    min_fraction: Threshold = 0.002  # the smallest region, as a share of the model's square
    abstain: Threshold = 0.0  # the least confidence that is no "not sure"
    tumor: Threshold = 0.5  # the probability of any tumor from which it counts as one


class Stacking(Record):
    """A logistic regression on the logits and the evidence of the mask."""

    weights: Annotated[tuple[Weights, ...], Strict(False)]  # a row for each class: of every logit, and the evidence
    bias: Weights


class TumorRule(Record):
    """Is there a tumor? A logistic regression on what the network outlines, see decision.tumor_evidence."""

    weights: Annotated[Weights, Field(min_length=2, max_length=3)]  # of two of the mask, and what the class layers say
    bias: Weight


def _known(sequence: str) -> str:
    if sequence not in SEQUENCES:
        raise ValueError("no known sequence")
    return sequence


Names = Annotated[tuple[Annotated[str, AfterValidator(_known)], ...], Strict(False), Field(max_length=len(SEQUENCES))]


class SequenceRule(Record):
    """Which sequence a picture is: a multinomial logistic regression on the features, see inference/sequence.py."""

    sequences: Names
    weights: Annotated[tuple[Weights, ...], Strict(False)]  # a row for each sequence
    bias: Weights
    limits: Annotated[tuple[Threshold, ...], Strict(False)]  # the least probability with which each is named
    kinds_on: Names = ()  # those on which the kinds of tumor were learned; empty: nothing is said of it
    named: Share = 0.0  # share of the validation slices of which it names one
    right: Share = 0.0  # and of those, the share that it is right of

    @model_validator(mode="after")
    def _fits(self) -> Self:
        counts = {len(self.sequences), len(set(self.sequences)), len(self.bias), len(self.weights), len(self.limits)}
        if len(counts) > 1 or len(self.bias) < 2 or len({len(row) for row in self.weights}) > 1:
            raise ValueError("two sequences or more, a row of weights and a bias for each")
        return self


class QualityRule(Record):
    """From where on a picture is too poor to judge, see inference/quality.py; nothing above a limit is answered."""

    noise: Annotated[int | float, Field(gt=0, le=1e6)]
    blur: Annotated[int | float, Field(gt=0, le=1e6)]
    flat: Annotated[int | float, Field(gt=0, le=1e6)]
    ghosts: Annotated[int | float, Field(gt=0, le=1e6)]


class DecisionRule(Record):
    """How the outputs of the networks become answers; inference/decision.py applies it."""

    classes: Annotated[tuple[Words, ...], Strict(False), Field(max_length=MOST_CLASSES)]  # in the order of the logits
    temperature: Temperature
    bias: Weights | None = None  # one of each class
    stacking: Stacking | None = None
    outlined: TumorRule | None = None  # tumor or none is read off the outline; the logits only say which kind
    sequence: SequenceRule | None = None  # None: none is named
    quality: QualityRule | None = None  # None: pictures of every quality are answered
    elsewhere: Temperature | None = None  # of the kinds, on a sequence that none was learned on
    thresholds: Thresholds = Thresholds()

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        seen = {name.strip() for name in classes}
        if len(seen) < max(2, len(classes)) or "" in seen:
            raise ValueError("two classes or more, none twice or without a name")
        return classes

    @field_validator("bias")
    @classmethod
    def _one_of_each(cls, bias: Weights | None, info: ValidationInfo) -> Weights | None:
        if bias is None or len(bias) != len(info.data.get("classes", ())):
            raise ValueError("one number of each class")
        return bias

    @field_validator("outlined")
    @classmethod
    def _knows_none(cls, outlined: TumorRule | None, info: ValidationInfo) -> TumorRule | None:
        if outlined is not None and NO_TUMOR not in info.data.get("classes", ()):
            raise ValueError(f"without a class {NO_TUMOR} there is no first question")
        return outlined

    @field_validator("stacking")
    @classmethod
    def _fits_classes(cls, stacking: Stacking | None, info: ValidationInfo) -> Stacking | None:
        count = len(info.data.get("classes", ()))
        if stacking is None or len(stacking.bias) != count or [*map(len, stacking.weights)] != [count + 1] * count:
            raise ValueError("a row for each class, a weight for each logit and the evidence")
        return stacking


class FitFacts(Record):
    """What training/config.py's FitOptions were."""

    batch_size: int | None = None
    learning_rate: float | None = None
    label_smoothing: float = 0.0
    mask_loss: str | None = None
    erased: float = 0.0
    folded: float = 0.0


class Stage(Record):
    """One fit: the classifier, or the masks alone before it."""

    run: str = ""  # whose checkpoint this is; see TrainingFacts
    epoch: int = 0  # finished epochs
    best: Number | None = None  # validation loss, of best_epoch
    best_epoch: int = -1
    waited: int = 0
    seconds: Number = 0.0
    finished: bool = False
    history: dict[str, Numbers] = {}


class Stages(Record):
    """How one network was fitted."""

    classifier: Stage | None = None
    segmenter: Stage | None = None  # the masks alone before the classes, or a network of its own


class TrainingFacts(Stages):
    """How the artifact came about. None: its file does not say."""

    run: str = ""  # the name of the run, new for each: whose weights these are
    command: str = ""  # for people; nothing reads it but `_of_november`
    precision: Words | None = None
    options: FitFacts = FitFacts()
    refit: bool = False  # do the last ones of `others` answer, which learned from validation rows, too
    seed: int = 0
    epochs: Count | None = None
    hardware: Words = "unknown hardware"
    others: Annotated[tuple[Stages, ...], Strict(False)] = ()  # further networks; the first one's stages are our own
    official_split: bool | None = None  # tested on the folders' own Testing part
    init: bool | None = None  # started from the weights of an earlier run
    left_out: Annotated[tuple[Words, ...], Strict(False)] = ()  # sources of the data that were only tested on

    @model_validator(mode="after")
    def _of_november(self) -> Self:
        """Artifacts until November 2026 say these two with their command alone."""
        words = self.command.split()
        for name, option in (("official_split", "--official-split"), ("init", "--init")):
            if words and getattr(self, name) is None:
                object.__setattr__(self, name, option in words)  # not as set: the file is written again as it was
        return self


class DataFacts(Record):
    """What data.Dataset.summary says about the data of the training run."""

    images: int = 0
    counts: Annotated[tuple[dict[str, Any], ...], Strict(False)] = ()  # images of each source, class and split
    groups: int = 0
    largest_group: int = 0
    patients: int = 0
    duplicates: int = 0
    with_mask: int = 0
    skipped: int = 0
    fingerprint: str = ""
    datasets: Annotated[tuple[Words, ...], Strict(False)] = ()  # their names, as their owner states them


def _inside(name: str) -> str:
    """A file of the folder, wherever the folder is and whatever the system."""
    if {"", ".", ".."} & set(name.split("/")) or re.search(r"[\\\\:\0]", name):
        raise ValueError("no path inside of the folder")
    return name


class StoredFile(Record):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class ArtifactConfig(DecisionRule):
    format_version: int = FORMAT_VERSION
    name: Words = ""
    created: Words = ""  # ISO date
    class_titles: dict[str, Words] = {}  # how people call the classes
    no_tumor_class: Words | None = None  # which of them means "no tumor", "" for none; None: the file does not say
    license: Words = ""  # of the weights, by its name on the Hub; "" where nobody has stated one
    preprocessing: Preprocessing
    classifier: Network
    segmenter: Segmenter
    thresholds: Thresholds
    guard: dict[str, Any] | None = None  # read by inference/guard.py
    training: TrainingFacts = TrainingFacts()
    data: DataFacts = DataFacts()
    versions: dict[str, str] = {}  # of python, keras, tensorflow, ...
    metrics: dict[str, Any] = {}  # the summary of metrics.json
    files: dict[Annotated[str, AfterValidator(_inside)], StoredFile] = {}

    @classmethod
    def read(cls, stored: Mapping[str, Any], where: str) -> Self:
        """Raises ArtifactError when this program cannot serve such a config."""
        version = stored.get("format_version")
        if not isinstance(version, int):
            raise ArtifactError(f"{where} has a config.json of another program (no format_version).")
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"{where} has artifact format {version}; this program reads format {FORMAT_VERSION}. "
                "Update the program or train the model again."
            )
        required = [name for name, field in cls.model_fields.items() if field.is_required() or name == "files"]
        if missing := [name for name in required if name not in stored]:
            raise ArtifactError(f"{where}: config.json lacks {', '.join(missing)}.")
        try:
            return cls.model_validate(stored)
        except ValidationError as error:
            unusable = dict.fromkeys(str(one["loc"][0]) for one in error.errors(include_url=False))
            raise ArtifactError(f"{where}: config.json has no usable value for {', '.join(unusable)}.") from None

    @property
    def onnx_files(self) -> tuple[str, ...]:
        """The files that the app needs beside config.json."""
        alone = self.segmenter.is_network and not self.segmenter.shared
        # until November 2026 there was a second file where the classifier gives the mask, too
        return (CLASSIFIER, SEGMENTER) if alone or SEGMENTER in self.files else (CLASSIFIER,)
