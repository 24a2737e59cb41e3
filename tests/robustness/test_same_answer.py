"""Same file, same answer: to the bit whenever and by whomever it is asked, and in a batch as far as floats allow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brain_mri.imaging.read import read_scan
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.predictor import Predictor
from tests.helpers.files import EXAMPLES

ARRAYS: tuple[Callable[[Analysis], np.ndarray], ...] = (
    lambda a: a.logits,
    lambda a: a.mask,
    lambda a: a.mask_probability,
    lambda a: a.heatmap,
)


@pytest.fixture(scope="module")
def model(bundled: Path) -> Predictor:
    return Predictor.load(bundled)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return EXAMPLES


def same_bits(a: Analysis, b: Analysis) -> bool:
    facts = [{**x.to_dict(), "seconds": 0} for x in (a, b)]
    return facts[0] == facts[1] and all(np.array_equal(of(a), of(b)) for of in ARRAYS)


@pytest.mark.slow
def test_the_hundredth_answer_is_the_first(model: Predictor, files: list[Path], bundled: Path) -> None:
    first = {path: model.analyze(read_scan(path)) for path in files}
    for i in range(100):
        path = files[(7 * i) % len(files)]
        again = model.analyze(read_scan(path.read_bytes(), name=path.name))
        if i % 10 == 9 or i > 94:
            assert same_bits(first[path], again), (i, path.name)
    with ThreadPoolExecutor(8) as pool:  # eight visitors at once
        many = list(pool.map(lambda path: (path, model.analyze(read_scan(path))), files * 4))
    assert all(same_bits(first[path], a) for path, a in many)
    restarted = Predictor.load(bundled)
    assert all(same_bits(first[path], restarted.analyze(read_scan(path))) for path in files)


@pytest.mark.parametrize("count", [1, 3, 18])
def test_a_batch_says_what_single_calls_say(model: Predictor, files: list[Path], count: int) -> None:
    scans = [read_scan(path) for path in (files * 3)[:count]]
    for a, scan in zip(model.analyze_batch(scans), scans, strict=True):
        b = model.analyze(scan)
        assert a.label == b.label and a.abstained == b.abstained and np.array_equal(a.mask, b.mask)
        assert max(abs(a.probabilities[name] - b.probabilities[name]) for name in b.probabilities) <= 1e-5
