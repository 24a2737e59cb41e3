"""Masks at the resolution of the files, as the app draws them: the model's squares back on the pictures.

The squares (160 x 160, say) are what models of one size are compared on; what a person sees, and what other papers
score, is the picture's own grid.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import segmentation
from brain_mri.data.reader import FRAME_COLUMNS, stored_mask
from brain_mri.imaging.preprocessing import Frame, restore
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError


def file_masks(
    table: pd.DataFrame, probability: np.ndarray, threshold: float, min_fraction: float
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(positions in table, masks of the model, masks of the files), the masks bool (H, W) of each picture.

    table: rows of data.Dataset.table; probability: float32 (N, S, S), their tumor maps. min_fraction: of the square, as
    in Predictor. Rows without a readable mask file of their own are left out.
    """
    places, predicted, truth = [], [], []
    frames = table[FRAME_COLUMNS].to_numpy(int) if "mask_path" in table else np.zeros((0, 5), int)
    for i, (path, values) in enumerate(zip(table.get("mask_path", []), frames, strict=True)):
        if not path:
            continue
        frame = Frame(*values.tolist())
        try:
            stored = read_scan(path).raw
        except ScanError:  # gone since the data was read
            continue
        share = min_fraction * frame.side**2 / max(1, frame.height * frame.width)
        places.append(i)
        predicted.append(segmentation.postprocess(restore(probability[i], frame), threshold, share))
        truth.append(stored_mask(stored, (frame.height, frame.width)) > 0)
    return np.array(places, int), predicted, truth
