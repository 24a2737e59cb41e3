"""What gives the class away: probes that may not recognise a patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brain_mri.data import dataset as data
from brain_mri.data import folders
from brain_mri.evaluation.shortcuts import shortcuts


def test_probes_do_not_see_patients() -> None:
    """Borders that name the patient but not the class must not count as a shortcut."""
    draw = np.random.default_rng(0)
    count, per = 40, 8
    group = np.repeat(np.arange(count), per)
    label = np.array(["glioma", "meningioma"], object)[group % 2]
    gray = np.clip(draw.integers(0, 255, count)[group] + draw.integers(0, 3, count * per), 0, 255).astype(np.uint8)
    pictures = np.repeat(gray, 64 * 64).reshape(-1, 64, 64)
    table = pd.DataFrame({"group": group.astype(str), "class": label, "source": folders.CLASS_FOLDER, "fold": -1})
    table["digest"] = [str(i) for i in range(len(table))]
    table = table.assign(width=64, height=64, mode="L", mean=1.0, std=1.0, sharpness=1.0)
    skipped = pd.DataFrame(columns=["path", "reason"])
    dataset = data.Dataset(table, pictures, np.zeros_like(pictures), skipped, 64, pictures, pictures[:, ::2, ::2])
    lines = shortcuts(dataset, np.arange(len(table)))
    assert not lines["alarm"].any(), lines.to_string()
    assert lines["majority"].iloc[0] == pytest.approx(0.5)
