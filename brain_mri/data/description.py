"""What was found in the folders of a data set, in words."""

from __future__ import annotations

import pandas as pd

from brain_mri.classes import NO_TUMOR
from brain_mri.data.dataset import Dataset
from brain_mri.data.folders import NO_CLASS
from brain_mri.data.splits import SPLITS


def described(dataset: Dataset) -> str:
    """What was found, as the text that train.py prints."""
    table = dataset.table
    shown = table.assign(**{"class": table["class"].replace("", "(unknown)")})
    kinds = ["origin", "source", "class"] if table["origin"].nunique() > 1 else ["source", "class"]
    counts = pd.crosstab([shown[name] for name in kinds], shown["split"]).reindex(columns=list(SPLITS), fill_value=0)
    counts["total"] = counts.sum(axis=1)
    grouped = shown.groupby(kinds)
    counts["groups"] = grouped["group"].nunique()
    counts["copies"] = grouped["duplicate_of"].agg(lambda rows: int((rows >= 0).sum()))
    counts["masks"] = grouped["has_mask"].sum()
    exact = int(table.duplicated("digest").sum())
    sizes = table.groupby("group").size()
    twins = int((table["mask_from"] >= 0).sum())
    patients = table.loc[table["patient"] != "", "patient"].nunique()
    lines = [
        counts.reset_index().to_string(index=False),
        f"{len(table)} pictures in {len(sizes)} groups of patients and copies"
        f" (largest {sizes.max()}, {patients} known patients, {int((sizes == 1).sum())} pictures alone).",
        f"{int((table['duplicate_of'] >= 0).sum())} are copies, mirrors or contrast variants of another one"
        f" ({exact} equal to the pixel, {int(table['mirrored'].sum())} mirrored).",
    ]
    present = set(zip(table["class"], table["split"], strict=True))
    for label in dataset.classes:
        missing = [split for split in SPLITS if (label, split) not in present]
        if missing:
            lines.append(
                f"Note: {label} is missing from {' and '.join(missing)}; its groups are too few, or elsewhere."
            )
    volumes = table[table["slice"] >= 0]
    if len(volumes):
        lines.append(f"{len(volumes)} slices come from {volumes['path'].nunique()} volumes.")
    guessed = volumes[~volumes["has_mask"] & ~volumes["class"].isin(["", NO_TUMOR])]
    if len(guessed):
        lines.append(
            f"Note: {len(guessed)} of them are taught as the class of their volume; only masks (--masks) tell which of "
            "them show no tumor."
        )
    if twins:
        lines.append(f"{twins} class-folder slices take the mask of their copy among the mask pairs.")
    if len(dataset.skipped):
        lines.append(f"{len(dataset.skipped)} skipped:")
        told = first_skipped(dataset)
        lines += [f"  {row.path}: {row.reason}" for row in told.itertuples(index=False)]
        if len(dataset.skipped) > len(told):
            lines.append(f"  ... and {len(dataset.skipped) - len(told)} more")
    else:
        lines.append("No file had to be skipped.")
    return "\n".join(lines)


def first_skipped(dataset: Dataset) -> pd.DataFrame:
    """Of Dataset.skipped all folders that are not used, however many, and ten of the others."""
    folders = dataset.skipped["reason"].str.startswith(NO_CLASS)
    return pd.concat([dataset.skipped[folders], dataset.skipped[~folders].head(10)])


def unused(dataset: Dataset) -> str:
    """A sentence that names every folder of pictures that is of none of the classes; "" without one."""
    rows = dataset.skipped[dataset.skipped["reason"].str.startswith(NO_CLASS)]
    named = ", ".join(f"{path} {why.removeprefix(NO_CLASS).lstrip(' ,:')}" for path, why in rows.to_numpy())
    return f"Folders of none of the model's classes are left out: {named}." if named else ""
