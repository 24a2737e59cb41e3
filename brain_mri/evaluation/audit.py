"""What is wrong with a data set, before anything is trained on it.

    print(audit(load_dataset(folder)).text())

The command line, which also writes tables and a figure, is cli/audit.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from brain_mri.classes import NO_TUMOR
from brain_mri.data.about import ABOUT, columns_about, number_in
from brain_mri.data.dataset import Dataset
from brain_mri.data.description import first_skipped
from brain_mri.data.folders import CLASS_FOLDER
from brain_mri.evaluation.shortcuts import shortcuts

BINS = 32  # of the intensity histograms
LEAKS = ["class", "testing", "exact copy", "near copy", "same patient or cluster", "clean"]


@dataclass(frozen=True)
class AuditResult:
    """Everything that was found, as tables.

    counts       source, class, Training, Testing, other, slices (distinct ones), groups, copies
    sizes        source, class, mode, width, height, pictures; the most frequent first
    histograms   class -> share of pixels in 32 bins of the stored values 0..255 (pictures at 64x64)
    links        file_a, file_b, kind, correlation, mirrored, class_a, class_b
    leaks        one line per class: Testing pictures by the closest thing that they have in Training
    conflicts    cluster, file, class: one slice in folders of different classes
    patients     patient, Training, Testing: pictures of patients that are on both sides
    shortcuts    see shortcuts.py
    columns      column, class, known (pictures), values, said: what tables say of patients, beside their classes
    findings     sentences
    """

    dataset: Dataset
    counts: pd.DataFrame
    sizes: pd.DataFrame
    histograms: dict[str, np.ndarray]
    links: pd.DataFrame
    leaks: pd.DataFrame
    conflicts: pd.DataFrame
    patients: pd.DataFrame
    shortcuts: pd.DataFrame
    columns: pd.DataFrame
    findings: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The report for a console of 120 columns."""

        def block(title: str, table: pd.DataFrame, limit: int = 12) -> list[str]:
            if table.empty:
                return []
            more = [f"  ... and {len(table) - limit} more"] if len(table) > limit else []
            lines = table.head(limit).to_string(index=False, float_format="{:.3f}".format).splitlines()
            return ["", title, *(f"  {line}" for line in lines), *more]

        kinds = self.links.groupby("kind").size().rename("pairs").reset_index()
        out = block("PICTURES", self.counts, 99)[1:]
        out += block("SIZES AND MODES, the most frequent", self.sizes, 8)
        out += block("PAIRS THAT SHOW THE SAME SLICE", kinds)
        out += block("TESTING PICTURES, by what Training holds of them", self.leaks)
        out += block("PATIENTS ON BOTH SIDES, pictures", self.patients, 6)
        out += block("ONE SLICE UNDER TWO CLASSES", self.conflicts)
        out += block("COLUMNS OF THE TABLES, by class", self.columns, 24)
        probes = self.shortcuts.drop(columns=["probe"])
        out += block("SHORTCUTS: what predicts the class without the brain (cross-validated by group)", probes)
        skipped = self.dataset.skipped
        out += block("SKIPPED", first_skipped(self.dataset), len(skipped))
        out += [f"  ... and {more} more"] if (more := len(skipped) - len(first_skipped(self.dataset))) else []
        return "\n".join([*out, "", "FINDINGS", *(f"  - {line}" for line in self.findings)])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Everything as tables, by the names of their files."""
        histograms = pd.DataFrame(self.histograms, index=pd.RangeIndex(0, 256, 256 // BINS, name="from_value"))
        own = ("counts", "sizes", "leaks", "conflicts", "patients", "shortcuts", "columns")
        return {name: getattr(self, name) for name in own} | {
            "pictures": self.dataset.table,
            "duplicates": self.links,
            "skipped": self.dataset.skipped,
            "histograms": histograms.reset_index(),
        }


def audit(dataset: Dataset, seed: int = 0) -> AuditResult:
    """Look for copies, leaks, contradictions and shortcuts. Seconds to a minute for thousands of pictures."""
    table = dataset.table
    in_folder = (table["source"] == CLASS_FOLDER).to_numpy()
    known = np.flatnonzero(in_folder & table["class"].isin(dataset.classes).to_numpy())
    sizes = table.groupby(["source", "class", "mode", "width", "height"]).size().rename("pictures").reset_index()
    links = dataset.links
    a, b = table.iloc[links["a"]], table.iloc[links["b"]]
    named = {"file_a": a["file"].to_numpy(), "file_b": b["file"].to_numpy()}
    named |= {"class_a": a["class"].to_numpy(), "class_b": b["class"].to_numpy()}
    both = (
        table[(table["patient"] != "") & in_folder].groupby(["patient", "official_split"]).size().unstack(fill_value=0)
    )
    both = both.reindex(columns=["Training", "Testing"], fill_value=0)
    both = both[(both > 0).all(axis=1)].sort_values("Testing", ascending=False).reset_index()
    result = AuditResult(
        dataset,
        _counts(table),
        sizes.sort_values("pictures", ascending=False).reset_index(drop=True),
        _histograms(dataset),
        pd.concat([pd.DataFrame(named), links[["kind", "correlation", "mirrored"]].reset_index(drop=True)], axis=1),
        _leaks(table),
        _conflicts(table),
        both.rename_axis(columns=None),
        shortcuts(dataset, known, seed),
        _columns(table[table["class"].isin(dataset.classes)]),
    )
    return replace(result, findings=_findings(result))


def _counts(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.assign(
        side=table["official_split"].where(table["official_split"].isin(["Training", "Testing"]), "other"),
        **{"class": table["class"].replace("", "(unknown)")},
    )
    counts = pd.crosstab([shown["source"], shown["class"]], shown["side"])
    counts = counts.reindex(columns=[side for side in ("Training", "Testing", "other") if side in counts.columns])
    grouped = shown.groupby(["source", "class"])
    counts["slices"], counts["groups"] = grouped["cluster"].nunique(), grouped["group"].nunique()
    counts["copies"] = grouped.size() - counts["slices"]
    return counts.reset_index().rename_axis(columns=None)


def _columns(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each class and column: median and range of numbers, the three most frequent words of others."""
    lines = []
    for column in [*(["sequence"] if (table["sequence"] != "").any() else []), *columns_about(table)]:
        numeric = table.loc[table[column] != "", column].map(number_in).notna().all()
        for label, part in table.groupby("class"):
            words = part.loc[part[column] != "", column]
            said = ", ".join(f"{str(word)[:20]} {count}" for word, count in words.value_counts().head(3).items())
            if numeric and words.nunique() > 3:
                low, middle, high = words.map(number_in).quantile([0, 0.5, 1])
                said = f"median {middle:g}, {low:g} to {high:g}"
            lines.append((column.removeprefix(ABOUT), label, len(words), words.nunique(), said))
    return pd.DataFrame(lines, columns=["column", "class", "known", "values", "said"])


def _histograms(dataset: Dataset) -> dict[str, np.ndarray]:
    result = {}
    for label in dataset.classes:
        rows = np.flatnonzero((dataset.table["class"] == label) & (dataset.table["source"] == CLASS_FOLDER))
        if len(rows):
            counts = np.bincount(dataset.thumbnails[rows].reshape(-1) // (256 // BINS), minlength=BINS)
            result[label] = counts / counts.sum()
    return result


def _leaks(table: pd.DataFrame) -> pd.DataFrame:
    """Testing pictures of each class by the closest thing in Training; empty without such folders."""
    training, testing = (table[table["official_split"] == side] for side in ("Training", "Testing"))
    if training.empty or testing.empty:
        return pd.DataFrame(columns=LEAKS)
    steps = ("digest", "cluster", "group")
    closest = np.select([testing[name].isin(training[name]) for name in steps], LEAKS[2:5], default="clean")
    counts = pd.crosstab(testing["class"], closest).reindex(columns=LEAKS[2:], fill_value=0)
    counts.insert(0, "testing", counts.sum(axis=1))
    counts.loc["all"] = counts.sum()
    return counts.rename_axis(index="class", columns=None).reset_index()


def _conflicts(table: pd.DataFrame) -> pd.DataFrame:
    known = table[table["class"] != ""]
    several = known.groupby("cluster")["class"].transform("nunique") > 1
    return known.loc[several, ["cluster", "file", "class"]].sort_values(["cluster", "class"]).reset_index(drop=True)


def _findings(result: AuditResult) -> list[str]:
    table, found = result.dataset.table, []
    copies = int((table["duplicate_of"] >= 0).sum())
    if copies:
        exact = int(table.duplicated("digest").sum())
        found.append(
            f"{copies} of {len(table)} pictures show a slice that is there already ({exact} equal to the pixel)."
        )
    if len(result.leaks):
        total = result.leaks.iloc[-1]
        copied, leaked = int(total["exact copy"] + total["near copy"]), int(total["testing"] - total["clean"])
        found.append(
            f"Of {total['testing']} Testing pictures {copied} have a copy in Training and {leaked} a copy or their "
            "patient: scores on this split measure memory. Split by group instead (the default here)."
        )
    masked = int((table["mask_path"] != "").sum())
    for why, count in table.loc[table["mask_doubt"] != "", "mask_doubt"].value_counts().items():
        found.append(f"{count} of {masked} masks are not used, because each {why}; see skipped.csv.")
    outlined = result.dataset.masks.any(axis=(1, 2)) & (table["has_mask"] & (table["class"] == NO_TUMOR)).to_numpy()
    if outlined.any():
        found.append(f"{outlined.sum()} slices of no tumor have a mask that outlines one.")
    if len(result.patients):
        found.append(f"{len(result.patients)} patients have pictures in both Training and Testing.")
    if len(result.conflicts):
        slices = result.conflicts["cluster"].nunique()
        found.append(f"{slices} slices lie in folders of two classes; see conflicts.csv and decide which is right.")
    alarms = result.shortcuts[result.shortcuts["alarm"].astype(bool)]
    for title, score, base, auc in alarms[["title", "accuracy", "majority", "tumor_auc"]].to_numpy().tolist():
        tumor = f"; tumor against no tumor: AUC {auc:.2f}" if np.isfinite(auc) else ""
        found.append(
            f"Shortcut: {title} alone tells the class in {score:.1%} (the most frequent class: {base:.1%}){tumor}."
        )
    sizes = table.groupby("group").size()
    if sizes.max() > 0.2 * len(table):
        found.append(f"The largest group holds {sizes.max()} pictures, {sizes.max() / len(table):.0%} of all.")
    if len(result.dataset.skipped):
        found.append(f"{len(result.dataset.skipped)} files or folders were skipped; see skipped.csv.")
    return found or ["Nothing suspicious was found."]
