"""Are the probabilities true? Reliability, ECE and Brier score, and what saying "not sure" costs and buys."""

from __future__ import annotations

import numpy as np

from brain_mri.evaluation.bootstrap import Bootstrap
from brain_mri.evaluation.scores import Abstention, Bin, CalibrationScores, Coverage

BINS = 15


def calibration_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    boot: Bootstrap | None = None,
    *,
    predicted: np.ndarray | None = None,
    bins: int = BINS,
) -> CalibrationScores:
    """ECE over equal-width bins of the answer's probability (Naeini et al. 2015), Brier score, log loss.

    probabilities (N, C), labels (N,) int >= 0; predicted (N,) int: the answers, by default the likeliest. Brier is the
    multi-class sum over classes, 0..2.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels).astype(int)
    boot = boot or Bootstrap(np.arange(len(labels)), resamples=0)
    predicted = probabilities.argmax(axis=1) if predicted is None else predicted
    confidence, right = probabilities[np.arange(len(labels)), predicted], predicted == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    member = np.eye(bins)[index]  # (N, bins)
    total, totals = boot.sums(np.stack([member, member * confidence[:, None], member * right[:, None]], axis=2))
    with np.errstate(invalid="ignore", divide="ignore"):
        ece = np.abs(total[:, 1] - total[:, 2]).sum() / total[:, 0].sum()
        eces = np.abs(totals[..., 1] - totals[..., 2]).sum(axis=1) / totals[..., 0].sum(axis=1)
    truth = np.eye(probabilities.shape[1])[labels]
    own = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)
    edges = np.linspace(0, 1, bins + 1)
    return CalibrationScores(
        ece=boot.interval(ece, eces),
        brier=boot.mean(((probabilities - truth) ** 2).sum(axis=1)),
        nll=boot.mean(-np.log(own)),
        bins=[
            Bin(
                low=round(float(edges[i]), 4),
                high=round(float(edges[i + 1]), 4),
                count=int(total[i, 0]),
                confidence=float(total[i, 1] / total[i, 0]) if total[i, 0] else None,
                accuracy=float(total[i, 2] / total[i, 0]) if total[i, 0] else None,
            )
            for i in range(bins)
        ],
    )


def abstention_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    boot: Bootstrap,
    *,
    predicted: np.ndarray | None = None,
) -> Abstention:
    """What the "not sure" band costs and buys: share of images answered, accuracy with and without the refused.

    An image is refused when its answer's probability is below `threshold`. "curve": accuracy at coverages 5 %..100 %.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    predicted = probabilities.argmax(axis=1) if predicted is None else predicted
    confidence, right = probabilities[np.arange(len(labels)), predicted], predicted == labels
    answered = confidence >= threshold
    order = np.argsort(-confidence, kind="stable")
    running = np.cumsum(right[order]) / np.arange(1, len(order) + 1) if len(order) else np.zeros(0)
    counts = np.unique(np.ceil(np.linspace(0.05, 1, 20) * len(order)).astype(int))
    return Abstention(
        threshold=float(threshold),
        coverage=boot.ratio(answered, np.ones(len(labels))),
        accuracy_answered=boot.ratio(answered & right, answered),
        accuracy_refused=boot.ratio(~answered & right, ~answered),
        curve=[Coverage(coverage=float(n / len(order)), accuracy=float(running[n - 1])) for n in counts if n > 0],
    )
