"""What was measured as tables of text, and how a score is written, for the terminal, the page and the documents.

    print(as_text(comparison(metrics)))

One place decides what is shown beside what: no score stands without its interval and its baselines. overview.py has
them all in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brain_mri.artifact.config import Network
from brain_mri.classes import title
from brain_mri.evaluation.records import Metrics
from brain_mri.evaluation.scores import Estimate, MaskScores

BASELINE_TITLES = {
    "majority": "Majority class",
    "nearest_neighbour": "1-nearest neighbour, 32×32 thumbnails",
    "border_forest": "Random forest, 3-pixel border only",
    "thumbnail_forest": "Random forest, whole thumbnail",
}
COUNTERFACTUALS = (
    ("folded", "Symmetrical heads with a tumor in one half", "  the same, the other half twice"),
    ("erased", "Slices with a tumor", "  the same, lesion covered with tissue of the same slice"),
    ("given", 'Slices of the "no tumor" sources', "  the same, with the lesion of another slice"),
)


@dataclass(frozen=True)
class Table:
    """Cells of text; a first cell that begins with two blanks belongs to the row above."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


# --- how it is written -----------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def score(found: Estimate | None, digits: int = 3, *, sign: bool = False, scale: float = 1) -> str:
    """ "0.892 [0.861, 0.917]", the interval left out where there is none, "–" where the score is undefined."""
    if found is None or found.value is None:
        return "–"

    def written(value: float) -> str:
        return f"{scale * value:{'+' if sign else ''}.{digits}f}"

    if found.low is None or found.high is None:
        return written(found.value)
    return f"{written(found.value)} [{written(found.low)}, {written(found.high)}]"


def percent(found: Estimate | float | None, digits: int = 1) -> str:
    """As `score`, in percent."""
    text = score(Estimate(value=found) if isinstance(found, float) else found, digits, scale=100)
    return text if text == "–" else f"{text} %"


def as_text(table: Table) -> str:
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([table.title, body[0], rule, *body[1:], *([table.note] if table.note else [])])


def as_markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.strip().replace("|", "\\|").replace("<", "\\<") for cell in cells) + " |"

    note = ["", table.note] if table.note else []
    return "\n".join([line(table.columns), "|" + "---|" * len(table.columns), *map(line, table.rows), *note])


def network(part: Network | None) -> str:
    """Name of a network; "2 × guided" where two such networks answer together."""
    name, count = (part.architecture or "model", part.members) if part else ("model", 1)
    return name if count == 1 else f"{count} × {name}"


# --- what was measured -----------------------------------------------------------------------------------------


def comparison(metrics: Metrics) -> Table | None:
    """The model beside the baselines on the same images."""
    found, bars = metrics.classification, metrics.baselines
    rows = []
    if found:
        rows.append([f"This model ({network(metrics.model.classifier)})", score(found.accuracy), score(found.macro.f1)])
    for name, row in bars.scores.items() if bars else ():
        rows.append([BASELINE_TITLES.get(name, name), score(row.accuracy), score(row.macro_f1)])
    if not rows:
        return None
    measured = found or metrics.images
    note = f"{measured.count} images of {measured.groups} groups (patients, near-duplicate clusters)."
    if bars and not bars.train:
        note += " Baselines: cross-validated over the groups of these images."
    if not found:
        return Table("Baselines", ["", "Accuracy", "Macro F1"], rows, note)
    leads = ["", *(score(row.lead, sign=True) for row in (bars.scores.values() if bars else ()))]
    rows = [[*row, lead] for row, lead in zip(rows, leads, strict=True)]
    return Table("Classification beside the baselines", ["", "Accuracy", "Macro F1", "Model's lead"], rows, note)


def subsets(metrics: Metrics) -> Table | None:
    """Accuracy on the images without a twin in training."""
    bars = metrics.baselines
    if not bars or not bars.subsets or not metrics.classification:
        return None
    parts = (
        ("without a near-copy in training", bars.subsets.without_copy),
        ("of patients and clusters not in training", bars.subsets.unseen_groups),
    )
    rows = [
        [name, str(part.count), score(part.accuracy), score(part.baselines.get("nearest_neighbour"))]
        for name, part in parts
    ]
    whole = all(part.count == bars.test for _, part in parts)
    note = "These are all test images: the split keeps copies and patients together." if whole else ""
    return Table("Test images without a twin in training", ["Test images", "Count", "This model", "1-NN"], rows, note)


def by_class(metrics: Metrics) -> Table | None:
    found = metrics.classification
    if not found:
        return None
    rows = [
        [
            title(name),
            f"{row.count} / {row.groups}",
            *(score(rate, 2) for rate in (row.precision, row.recall, row.f1)),
            score(row.roc_auc),
        ]
        for name, row in found.per_class.items()
    ]
    macro = [score(rate, 2) for rate in (found.macro.precision, found.macro.recall, found.macro.f1)]
    rows.append(["Macro average", "", *macro, number(found.roc_auc_macro)])
    return Table("By class", ["Class", "Images / groups", "Precision", "Recall", "F1", "ROC-AUC"], rows)


def decisions(metrics: Metrics) -> Table | None:
    """Tumor or not, calibration, abstention."""
    found = metrics.classification
    if not found:
        return None
    rows = []
    if found.binary and len(found.classes) > 2:  # else two_classes.py says it in front
        point = found.binary.operating_point
        rows += [
            ["Tumor or not: ROC-AUC", score(found.binary.roc_auc)],
            [f"  sensitivity at P(tumor) ≥ {point.threshold:.2f}", score(point.sensitivity)],
            [f"  specificity at P(tumor) ≥ {point.threshold:.2f}", score(point.specificity)],
        ]
    if metrics.calibration_before:
        rows.append(["ECE as trained", score(metrics.calibration_before.ece)])
    band = found.abstention
    rows += [
        ["ECE after calibration on validation", score(found.calibration.ece)],
        ["Brier score (0 best, 2 worst)", score(found.calibration.brier)],
        [f"Answered (confidence ≥ {band.threshold:.2f})", percent(band.coverage)],
        ["  accuracy where answered", score(band.accuracy_answered)],
        ["  accuracy where refused", score(band.accuracy_refused)],
    ]
    return Table("Decisions and calibration", ["", "Value"], rows)


def masks(metrics: Metrics) -> Table | None:
    """The segmenter beside K-means."""
    found, simple = metrics.segmentation, metrics.kmeans
    if not found or not simple:
        return None
    square = f"{found.pixels or 0}×{found.pixels or 0}"
    rows = []
    if found.count:
        both = (found, simple)
        rows = [
            ["Dice, mean", *(score(part.dice.mean) for part in both)],
            ["Dice, median", *(score(part.dice.median) for part in both)],
            ["IoU, mean", *(score(part.iou.mean) for part in both)],
            ["Precision, mean", *(score(part.precision.mean) for part in both)],
            ["Recall, mean", *(score(part.recall.mean) for part in both)],
            [f"HD95, median, pixels of {square}", *(score(part.hd95.median, 1) for part in both)],
        ]
        if found.files:
            rows.append(["Dice on the files' own pixels, mean", score(found.files.dice.mean), ""])
            rows.append(["HD95 on the files' own pixels, median", score(found.files.hd95.median, 1), ""])
        rows.append(["Lesions missed (Dice < 0.1)", *(percent(part.missed) for part in both)])
    note = (
        f"Measured in the model's square of {square} pixels: {found.count} outlined slices of {found.groups} patients"
    )
    if found.tumor_free and simple.tumor_free:
        free = (found.tumor_free.false_positive, simple.tumor_free.false_positive)
        rows.append(["Tumor drawn on tumor-free slices", *map(percent, free)])
        note += f", {found.tumor_free.count} tumor-free slices"
    if not rows:
        return None
    segmenter = metrics.model.segmenter
    column = network(segmenter) + (" (weak masks)" if segmenter and segmenter.trained_on == "weak masks" else "")
    return Table("Masks", ["", column, "K-means"], rows, f"{note}.")


def mask_parts(metrics: Metrics) -> Table | None:
    """Dice by class and by lesion size."""
    found = metrics.segmentation
    if not found or not found.count:
        return None
    parts = [(title(name), row) for name, row in found.by_class.items()]
    parts += [
        (f"{row.size} ({100 * row.fraction.from_:.1f}–{100 * row.fraction.to:.1f} % of the square)", row)
        for row in found.by_size
    ]
    rows = [
        [name, str(row.count), score(row.dice.mean), score(row.dice.median), percent(row.missed)] for name, row in parts
    ]
    return Table("Masks by class and lesion size", ["", "Slices", "Dice, mean", "Dice, median", "Missed"], rows)


def cross_validation(metrics: Metrics) -> Table | None:
    """What the networks of an ensemble say, each alone, about validation patients of its own."""
    found = metrics.cross_validation
    if not found:
        return None
    note = (
        "Each network alone, on patients that only the choice of its epoch has seen; calibration and thresholds from "
        "the other networks' patients. The test split has no part in it."
    )
    rows = []
    if part := found.classification:
        rows += [["Accuracy", score(part.accuracy)], ["Macro F1", score(part.macro.f1)]]
        rows += [[f"  F1: {title(name)}", score(row.f1)] for name, row in part.per_class.items()]
        rows.append(["ECE after calibration", score(part.calibration.ece)])
        note += f" {part.count} images of {part.groups} groups in {found.parts} parts."
    if found.segmentation:
        rows += _cross_validated_masks(found.segmentation)
        if found.segmentation.count:
            note += f" {found.segmentation.count} outlined slices of {found.segmentation.groups} patients."
    return Table("Cross-validation over patients", ["", "Value"], rows, note) if rows else None


def _cross_validated_masks(found: MaskScores) -> list[list[str]]:
    rows = []
    if found.count:
        rows.append(["Dice, mean", score(found.dice.mean)])
        rows += [[f"  Dice: {title(name)}", score(row.dice.mean)] for name, row in found.by_class.items()]
        rows.append(["Lesions missed (Dice < 0.1)", percent(found.missed)])
    if found.tumor_free:
        rows.append(["Tumor drawn on tumor-free slices", percent(found.tumor_free.false_positive)])
    return rows


def explanation(metrics: Metrics) -> Table | None:
    found = metrics.explanation
    if not found or not found.count:
        return None
    rows = [
        [name, str(row.count), score(row.pointing_game), score(row.energy_inside), number(row.chance)]
        for name, row in (("All lesions", found), *((title(name), row) for name, row in found.by_class.items()))
    ]
    columns = ["", "Slices", "Hottest pixel in the lesion", "Heat inside the lesion", "Both by chance"]
    return Table("Does the heatmap point at the lesion?", columns, rows)


def sanity(metrics: Metrics) -> Table | None:
    found = metrics.sanity
    if not found:
        return None
    rows = [["trained model", "1.00", "1.00", number(found.trained.energy_inside)]]
    rows += [
        [
            f"random weights: {row.randomised}",
            number(row.ssim, 2),
            number(row.rank_correlation, 2),
            number(row.energy_inside),
        ]
        for row in found.stages
    ]
    columns = ["", "SSIM with the trained heatmap", "Rank correlation", "Heat inside the lesion"]
    return Table("Randomised-weights check of the heatmaps", columns, rows, f"{found.count} slices.")


def counterfactual(metrics: Metrics) -> Table | None:
    """Lesions taken out, and put in."""
    found = metrics.counterfactual
    rows = []
    for kind, before, after in COUNTERFACTUALS if found else ():
        if part := getattr(found, kind):
            rows.append([before, str(part.count), percent(part.before), ""])
            rows.append([after, str(part.count), percent(part.called_tumor), percent(part.outlined)])
            if part.twice:
                rows.append(["  the same, the half with the tumor twice", str(part.count), percent(part.twice), ""])
    if not rows:
        return None
    note = "A model that looks at the lesion, and not at the source of the picture, changes its answer."
    columns = ["", "Count", "Called a tumor", "Given a mask"]
    return Table("Does the answer follow the lesion?", columns, rows, note)


def guard(metrics: Metrics) -> Table | None:
    """Real slices and other pictures before the not-a-brain-MRI guard."""
    found = metrics.guard
    if not found:
        return None
    bare, drawn, unseen = found.stripped, found.drawn, found.unseen_kinds
    rows = [["Real slices, of the rows measured here", str(found.count), percent(found.flagged)]]
    if bare:
        rows.append(["  the same without their skull (cut off roughly)", str(bare.count), percent(bare.flagged)])
    rows.append(["Drawn photographs, X-rays, text, noise …", str(drawn.count), percent(drawn.flagged)])
    if unseen:
        mean, weakest = sum(unseen.values()) / len(unseen), min(unseen, key=lambda kind: unseen[kind])
        rows.append(["  of kinds that the fit has not seen, mean of", f"{len(unseen)} kinds", percent(mean)])
        rows.append([f"  the weakest of these kinds: {weakest}", "", percent(unseen[weakest])])
    note = ""
    if bare:
        note = (
            f"Noticed as brains without a skull, and answered with “not sure”: {percent(bare.noticed)} of those, "
            f"{percent(found.noticed)} of the whole heads. The class stays in {percent(bare.same_answer)}."
        )
    return Table("Flagged as no brain MRI", ["Pictures", "Count", "Flagged"], rows, note)


def degraded(metrics: Metrics) -> Table | None:
    """Answers about spoilt scans."""
    rows = [
        [
            f"{row.kind}, {row.severity:g}" if row.kind else "As they are",
            *(percent(value, 0) for value in (row.right, row.answered, row.right_answered)),
            *(percent(value, 0) for value in (row.sure_and_wrong, row.refused, row.flagged)),
        ]
        for row in metrics.degraded
    ]
    if not rows:
        return None
    one = metrics.degraded[0]
    note = (
        f"{one.count} slices of {one.groups} groups, as many of each source and class as there are. Numbers: standard "
        "deviation in gray values (noise) or pixels (blur), times, JPEG quality, share of the ghosts (motion), gray "
        "values (brighter), share of the contrast (flatter), power (gamma). A lesion of unknown kind counts as right "
        "where it is called a tumor."
    )
    columns = [
        "Spoilt scans",
        "Right",
        "Answered",
        "Right where answered",
        "Sure and wrong",
        "Too poor",
        "No brain MRI",
    ]
    return Table("Answers about spoilt scans", columns, rows, note)


def splits(metrics: Metrics) -> Table | None:
    """The folders' own Training/Testing split beside the split by group."""
    found = metrics.official_split
    if not found:
        return None
    own = metrics.baselines.scores if metrics.baselines else {}
    rows = []
    for name, row in found.baselines.scores.items():
        mine = own[name].accuracy if name in own else None
        rows.append(_flattery(BASELINE_TITLES.get(name, name), row.accuracy, mine))
    mine = metrics.classification.accuracy if metrics.classification else None
    if found.model:
        rows.append(_flattery(f"{found.model.name}, trained on each split", found.model.accuracy, mine))
    elif mine:
        rows.append([f"This model ({network(metrics.model.classifier)})", "never trained on it", score(mine), "–"])
    unseen = found.baselines.subsets.unseen_groups.count if found.baselines.subsets else 0
    note = (
        f"{unseen} of the {found.baselines.test} official test images belong to a patient or cluster that is not in "
        "the official training folder."
    )
    columns = ["Accuracy", "Official Training/Testing", "By group (this project)", "Flattery"]
    return Table("How much the official split flatters", columns, rows, note)


def _flattery(name: str, official: Estimate, own: Estimate | None) -> list[str]:
    gap = "–"
    if official.value is not None and own is not None and own.value is not None:
        gap = f"{official.value - own.value:+.3f}"
    return [name, score(official), score(own), gap]
