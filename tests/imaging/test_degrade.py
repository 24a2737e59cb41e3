"""Pictures spoilt on purpose."""

from __future__ import annotations

import numpy as np

from brain_mri.imaging.degrade import SEVERITIES, WAYS, degrade


def test_every_way_changes_a_head_and_the_same_seed_gives_the_same(head: np.ndarray) -> None:
    assert set(SEVERITIES) == set(WAYS)
    for kind, severities in SEVERITIES.items():
        for severity in severities:
            found = degrade(head, kind, severity, 3)
            assert found.dtype == np.uint8 and np.array_equal(found, degrade(head, kind, severity, 3))
            if kind == "shrunk":
                assert found.shape == (20, 16)  # never under 16 pixels
            else:
                assert found.shape == head.shape and not np.array_equal(found, head)


def test_noise_in_the_head_leaves_the_background(head: np.ndarray) -> None:
    found = degrade(head, "noise in the head only", 50, 0)
    assert np.array_equal(found[head <= 8], head[head <= 8])
    assert 40 < np.std(found[head > 8].astype(float) - head[head > 8]) < 55
