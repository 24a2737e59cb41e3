"""The parts of metrics.json with named fields, from one estimate to everything about masks; the whole is in records.py.

Field names are the keys of the file. None in place of a value or a part: undefined, or not measured.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from brain_mri.artifact.config import Record
from brain_mri.classes import ANY_TUMOR


class Estimate(Record):
    """A value with its 95 % interval over groups; None where undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Rates(Record):
    """Means over the classes that have images."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


class ClassScores(Rates):
    """Of one class; a class without a labelled image has no rates."""

    count: int
    groups: int
    roc_auc: Estimate = Estimate()


class LabelScores(Record):
    """Of predicted labels: confusion[i][j] counts images of class i that were called j."""

    count: int
    groups: int
    classes: list[str]
    accuracy: Estimate
    macro: Rates
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]


class OperatingPoint(Record):
    """Yes or no, from this probability of what is asked for."""

    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    accuracy: Estimate


class BinaryScores(Record):
    """Tumor against no tumor; of two classes that are both tumors, or neither, the second against the first."""

    asked: str = ANY_TUMOR  # or that second class
    positive: int
    negative: int
    roc_auc: Estimate
    operating_point: OperatingPoint


class Bin(Record):
    """Images whose confidence lies between low and high."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class CalibrationScores(Record):
    """Are the probabilities true?"""

    ece: Estimate
    brier: Estimate
    nll: Estimate
    bins: list[Bin]


class Uncalibrated(CalibrationScores):
    """The softmax as trained, and what was done about it."""

    temperature: float
    method: str | None = None


class Coverage(Record):
    """Accuracy of the most confident answers, which are this share of all."""

    coverage: float
    accuracy: float


class Abstention(Record):
    """What saying "not sure" below the threshold costs and buys."""

    threshold: float
    coverage: Estimate
    accuracy_answered: Estimate
    accuracy_refused: Estimate
    curve: list[Coverage]


class RocCurve(Record):
    fpr: list[float]
    tpr: list[float]


class Curves(Record):
    roc: dict[str, RocCurve]  # by class, and "tumor"


class ClassificationScores(LabelScores):
    """Of a classifier's probabilities; binary is None for a model that does not know "no tumor"."""

    roc_auc_macro: float | None
    binary: BinaryScores | None
    calibration: CalibrationScores
    abstention: Abstention
    curves: Curves


class BaselineScores(Record):
    """Of one way to answer without knowing about tumors; lead: the model's accuracy less this one's."""

    description: str = ""
    accuracy: Estimate
    macro_f1: Estimate
    recall: dict[str, float | None] = {}
    lead: Estimate | None = None


class Subset(Record):
    """Test images without a twin in training: accuracy of the model and of the baselines."""

    count: int
    share: float | None
    accuracy: Estimate | None
    baselines: dict[str, Estimate]


class Subsets(Record):
    without_copy: Subset
    unseen_groups: Subset


class Baselines(Record):
    """train 0: cross-validated over the groups of the test images, which then have no subsets."""

    train: int
    test: int
    scores: dict[str, BaselineScores]
    subsets: Subsets | None


class OfficialModel(Record):
    """A model that was trained on the official split."""

    name: str
    accuracy: Estimate
    macro_f1: Estimate


class OfficialSplit(Record):
    """The folders' own Training/Testing split."""

    baselines: Baselines
    model: OfficialModel | None = None


class Center(Record):
    mean: Estimate
    median: Estimate
    undefined: int | None = None  # of distances: slices on which nothing was drawn


class MaskPart(Record):
    """Of some of the lesions."""

    count: int
    dice: Center
    hd95: Center
    missed: Estimate


class Limits(Record):
    model_config = ConfigDict(serialize_by_alias=True)

    from_: float = Field(alias="from")
    to: float


class SizePart(MaskPart):
    """Of a third of the lesions, by size as a share of the picture."""

    size: str
    fraction: Limits


class FileMasks(MaskPart):
    """On the pixels of the files."""

    iou: Center


class TumorFree(Record):
    """Slices without a tumor."""

    count: int
    groups: int
    false_positive: Estimate
    mean_fraction_when_drawn: float | None


class Slices(Record):
    """Slice by slice, those with a lesion."""

    dice: list[float]
    hd95: list[float | None]
    fraction: list[float]


class MaskScores(Record):
    """Of masks; count 0: only slices without a tumor."""

    count: int
    groups: int
    dice: Center
    iou: Center
    precision: Center
    recall: Center
    hd95: Center
    missed: Estimate
    by_class: dict[str, MaskPart]
    by_size: list[SizePart]
    tumor_free: TumorFree | None
    per_image: Slices | None = None
    pixels: int | None = None  # side of the square that was measured in
    files: FileMasks | None = None


class HeatPart(Record):
    """Does the heatmap sit on the lesion? chance: what heat spread evenly over the head would score."""

    count: int
    pointing_game: Estimate
    pointing_game_tolerant: Estimate
    energy_inside: Estimate
    chance: float | None
    empty: int


class ExplanationScores(HeatPart):
    by_class: dict[str, HeatPart]


class Heat(Record):
    energy_inside: float | None


class RandomWeights(Heat):
    """Heatmaps of a model with random weights beside the trained one's."""

    randomised: str
    ssim: float
    rank_correlation: float


class SanityCheck(Record):
    count: int
    trained: Heat
    stages: list[RandomWeights]


class Changed(Record):
    """Shares called a tumor before and after a lesion was taken out or put in; outlined: copies that get a mask."""

    count: int
    groups: int
    before: Estimate
    called_tumor: Estimate
    outlined: Estimate
    twice: Estimate | None = None  # of the heads folded to the half with the lesion


class Counterfactuals(Record):
    folded: Changed | None = None
    erased: Changed | None = None
    given: Changed | None = None


class Stripped(Record):
    """Slices whose skull was cut off."""

    count: int
    flagged: Estimate
    noticed: Estimate
    same_answer: Estimate


class Drawn(Record):
    """Pictures that are no brain MRI."""

    count: int
    flagged: float
    by_kind: dict[str, float]


class GuardCheck(Record):
    """flagged: taken for no brain MRI; noticed: for a brain without its skull."""

    count: int
    flagged: Estimate
    noticed: Estimate | None = None
    stripped: Stripped | None = None
    drawn: Drawn
    unseen_kinds: dict[str, float] | None = None  # flagged, of kinds left out of the fit


class Counted(Estimate):
    """Over this many slices; of an area under the curve: so many without a tumor."""

    count: int


class SourceScores(Record):
    """Of the slices of one source and sequence, of all classes or of one."""

    source: str
    sequence: str = ""  # "" where nothing says
    label: str = ""  # one class, "" of all
    left_out: bool = False  # nothing of this source was learned from
    tumors: int
    tumor_groups: int
    free: int  # slices without a tumor
    free_groups: int
    tumor_roc_auc: Counted
    against_all: bool = False  # the slices without a tumor are those of all sources: too few of its own
    called_tumor: Counted
    surely_free: Counted  # of the slices with a tumor
    surely_tumor: Counted  # of those without
    right: Counted
    answered: Counted
    right_answered: Counted
    dice: Counted
    missed: Counted


class DegradedScores(Record):
    """Of slices spoilt in one way; kind "": as they are. Shares of all, right_answered of the answered ones.

    flagged: taken for no brain MRI; refused: "not sure" because of the picture's quality.
    """

    kind: str
    severity: float
    count: int
    groups: int
    right: Estimate
    answered: Estimate
    right_answered: Estimate
    sure_and_wrong: Estimate
    flagged: Estimate
    refused: Estimate
