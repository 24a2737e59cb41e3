"""Is a model right for the right reason? Slice by slice through volumes of tumor patients, tumor-free slices included.

In the usual class folders slices without a tumor come from other scanners than those with one, so a model may have
learned the scanner. Here both kinds are of the same head. A slice counts as tumor-free when the given mask is empty on
it and on both neighbours, as a tumor slice when the mask is not empty on it; slices in between are left out, and so are
empty ones, which scanners append.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brain_mri.classes import NO_TUMOR
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from segmentation import dice

COLUMNS = {
    "called tumor": "the most probable class is a tumor",
    "given a mask": "the outline is not empty",
    "not sure": "the answer is in the band of abstention",
    "flagged": "the guard takes it for no brain MRI",
}


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(scan, mask) files named X_Scan... and X_Mask.... Raises ScanError when there are none."""
    scans = {path.name.split("_Scan")[0]: path for path in sorted(folder.glob("*_Scan*.nii*"))}
    masks = {path.name.split("_Mask")[0]: path for path in sorted(folder.glob("*_Mask*.nii*"))}
    if not scans.keys() & masks.keys():
        raise ScanError(f"{folder} holds no pair of X_Scan.nii.gz and X_Mask.nii.gz.")
    return [(scans[name], masks[name]) for name in sorted(scans.keys() & masks.keys())]


def slices(predictor: Predictor, scan: Path, mask: Path) -> pd.DataFrame:
    """One row per slice: volume, slice, truth (pixels outlined), kind, label, dice and the COLUMNS as bool."""
    volume, drawn = read_volume(scan), read_volume(mask)
    if volume.shape != drawn.shape:
        raise ScanError(f"{scan.name} has the shape {volume.shape}, {mask.name} {drawn.shape}.")
    truth = drawn.voxels > 0
    outlined: np.ndarray = np.any(truth, axis=(1, 2))
    near = outlined | np.r_[outlined[1:], False] | np.r_[False, outlined[:-1]]
    rows = []
    for index in range(len(volume)):
        found = predictor.analyze(volume.scan(index))
        kind = "tumor" if outlined[index] else "between" if near[index] else "tumor-free"
        rows.append(
            {
                "volume": scan.name,
                "slice": index,
                "kind": kind if np.ptp(found.image) else "empty",
                "truth": int(truth[index].sum()),
                "label": found.label,
                "dice": dice(truth[index], found.mask),
                "called tumor": found.label != NO_TUMOR,
                "given a mask": bool(found.mask.any()),
                "not sure": found.abstained,
                "flagged": found.not_brain_mri,
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Shares per volume and in all: rows (volume, kind), columns slices, COLUMNS and the mean Dice."""
    table = table[~table["kind"].isin(["between", "empty"])]
    both = pd.concat([table, table.assign(volume="all")])
    groups = both.groupby(["volume", "kind"], sort=False)
    shares = groups[list(COLUMNS)].mean()
    shares.insert(0, "slices", groups.size())
    return shares.assign(**{"mean Dice": groups["dice"].mean()})
