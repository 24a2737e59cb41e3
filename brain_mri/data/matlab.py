"""The MATLAB files in which Cheng et al. publish their slices (figshare 1512427) -> pictures, masks, patients.csv.

Each N.mat holds a struct `cjdata`: image (16 bit), tumorMask, label and PID. Copies as PNG, of which there are many,
have lost whose slices they are; here a patient is one patient.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm.auto import tqdm

from brain_mri.data.folders import DataError
from brain_mri.data.unpack import new_folder
from brain_mri.files import guarded

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}  # as their README says


def write_outlined(files: list[Path], folder: Path, said: str) -> None:
    """images/0001.png (16 bit), masks/0001.png (0 or 255) and patients.csv (file, class, patient) as a new folder.

    files: among them others may be, such as the authors' folds. said: the data set in sentences. Raises DataError.
    """
    import h5py  # of requirements.txt alone; what asks for a data set's name must not need it

    rows = []
    with new_folder(folder) as half:
        for place in ("images", "masks"):
            (half / place).mkdir()
        numbered = sorted((path for path in files if re.fullmatch(r"\d+", path.stem)), key=lambda path: int(path.stem))
        for path in tqdm(numbered, desc="Writing the pictures", unit=" pictures", leave=False):
            name = f"{int(path.stem):04d}.png"
            try:
                with h5py.File(path) as file:
                    image, mask, label, patient = _slice(file["cjdata"])
            except (OSError, KeyError, TypeError, ValueError):
                raise DataError(f"{path.name} of {said} is damaged, or no slice as in figshare 1512427.") from None
            for place, pixels in (("images", image), ("masks", mask)):
                if not cv2.imwrite(str(half / place / name), pixels):
                    raise DataError(f"{half / place / name} could not be written.")
            rows.append((name, label, guarded(patient)))
        if not rows:
            raise DataError(f"{said} holds MATLAB files, but no slices as in figshare 1512427 (1.mat, 2.mat, ...).")
        with (half / "patients.csv").open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows([("file", "class", "patient"), *rows])


def _slice(data: Any) -> tuple[np.ndarray, np.ndarray, str, str]:
    """(image uint16 (H, W), mask uint8 (H, W), class, patient). MATLAB stores columns first."""
    image = np.clip(np.asarray(data["image"]).T, 0, 65535).astype(np.uint16)
    mask = np.where(np.asarray(data["tumorMask"]).T > 0, 255, 0).astype(np.uint8)
    if image.ndim != 2 or image.shape != mask.shape:
        raise ValueError("a slice and its mask differ in size")
    patient = "".join(chr(int(letter)) for letter in np.asarray(data["PID"]).ravel()).strip()
    return image, mask, LABELS.get(int(np.asarray(data["label"]).item()), ""), patient
