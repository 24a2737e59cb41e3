"""Every table that an evaluation fills, in reading order, and those by source and of further folders.

for table in sections(metrics): print(as_text(table))
"""

from __future__ import annotations

from collections.abc import Sequence

from brain_mri.classes import title
from brain_mri.evaluation.records import Metrics
from brain_mri.evaluation.scores import SourceScores
from brain_mri.evaluation.scores_of_patients import SubgroupScores
from brain_mri.reporting.tables import (
    Table,
    as_text,
    by_class,
    comparison,
    counterfactual,
    cross_validation,
    decisions,
    degraded,
    explanation,
    guard,
    mask_parts,
    masks,
    percent,
    sanity,
    score,
    splits,
    subsets,
)
from brain_mri.reporting.two_classes import operating_point

OTHERS = "*"  # beside an area under the curve for which a source has too few slices without a tumor of its own


def sections(metrics: Metrics) -> list[Table]:
    """Every table that these metrics can fill, in reading order."""
    builders = (
        operating_point, comparison, subsets, splits, by_class, decisions, masks, mask_parts, cross_validation,
        explanation, sanity, counterfactual, guard, degraded,
    )  # fmt: skip
    return [*(table for build in builders if (table := build(metrics)) is not None), *elsewhere(metrics)]


def overview(metrics: Metrics) -> str:
    """Everything that was measured, as text for the terminal."""
    head = f"{metrics.images.count} images of {metrics.images.groups} groups ({metrics.split or 'given'} rows)"
    head += "; in brackets: 95 % interval, bootstrap over groups"
    return "\n\n".join([head, *map(as_text, sections(metrics)), *metrics.notes])


def elsewhere(metrics: Metrics) -> list[Table]:
    """Patient by patient, source by source, on further folders, and by what tables say of patients."""
    found = (metrics.by_source, "source"), (metrics.also, "class of further folders"), (metrics.by_subgroup, "subgroup")
    return [*by_patient(metrics), *(table for rows, by in found for table in of_sources(rows or (), by))]


def by_patient(metrics: Metrics) -> list[Table]:
    """What is said of patients beside what is said of their slices; [] where no patients are known."""
    found = metrics.by_patient
    if not found:
        return []
    both = found.by_slice, found.by_patient
    rows = [["With a tumor / without", *(f"{part.tumors} / {part.free}" for part in both)]]
    if asked := found.by_slice.sensitivity.count or found.by_slice.specificity.count:
        rows += [
            ["Tumor or not, ROC-AUC", *(score(part.tumor_roc_auc) for part in both)],
            ["  by the share of slices called a tumor", "", score(found.share_roc_auc)],
            ["Called a tumor, of those with one", *(percent(part.sensitivity) for part in both)],
            ["Not called one, of those without", *(percent(part.specificity) for part in both)],
        ]
    rows += [
        ["Right class", *(percent(part.right) for part in both)],
        ["Answered (else “not sure”)", *(percent(part.answered) for part in both)],
        ["  right where answered", *(percent(part.right_answered) for part in both)],
    ]
    if found.by_patient.dice.count:
        rows.append(["Dice, mean; of a patient: of all slices together", *(score(part.dice) for part in both)])
        rows.append(["Marked volume, off by", "", percent(found.volume_error)])
    note = f"{found.patients} known patients, {found.slices} slices."
    note += " A patient is called a tumor when a slice is." if asked else ""
    return [Table("By patient, beside by slice", ["", "By slice", "By patient"], rows, note)]


def of_sources(rows: Sequence[SourceScores], by: str) -> list[Table]:
    """Two tables, one for each of the two questions; those without a row are left out."""
    found = [_presence(rows, by), _kind_and_place(rows, by)]
    return [table for table in found if table.rows]


def _presence(rows: Sequence[SourceScores], by: str) -> Table:
    cells = [
        [
            _place(row),
            _slices(row.tumors, row.tumor_groups),
            _slices(row.free, row.free_groups),
            score(row.tumor_roc_auc) + OTHERS * (row.against_all and row.tumor_roc_auc.value is not None),
            *map(percent, (row.called_tumor, row.surely_free, row.surely_tumor)),
        ]
        for row in rows
        if row.called_tumor.count or row.surely_tumor.count  # else the model is not asked that
    ]
    notes = ["Slices / groups. “Not sure” is no sure answer."]
    notes += [f"{OTHERS} against slices without a tumor of all sources, its own being fewer than 20."] * any(
        row.against_all and row.tumor_roc_auc.value is not None for row in rows
    )
    notes += ["Left out: nothing of this source was learned from."] * any(row.left_out for row in rows)
    columns = [
        "", "With a tumor", "Without", "Tumor or not, ROC-AUC", "Called a tumor", "Surely “no tumor”",
        "Without: surely a tumor",
    ]  # fmt: skip
    return Table(f"Is there a tumor? By {by}", columns, cells, " ".join(notes))


def _kind_and_place(rows: Sequence[SourceScores], by: str) -> Table:
    cells = [
        [
            _place(row),
            _slices(row.right.count),
            *map(percent, (row.right, row.answered, row.right_answered)),
            _slices(row.dice.count),
            score(row.dice),
            percent(row.missed),
        ]
        for row in rows
        if row.right.count or row.dice.count
    ]
    columns = ["", "Of a class", "Right class", "Answered", "Right where answered", "Outlined", "Dice, mean", "Missed"]
    return Table(f"Which kind, and where? By {by}", columns, cells)


def _place(row: SourceScores) -> str:
    if isinstance(row, SubgroupScores):
        return f"{row.source}: {row.value}"
    place = f"{row.source} {row.sequence}".strip() + (f": {title(row.label)}" if row.label else "")
    return f"{place} (left out)" if row.left_out else place


def _slices(count: int, groups: int | None = None) -> str:
    return "–" if not count else f"{count}" if groups is None else f"{count} / {groups}"
