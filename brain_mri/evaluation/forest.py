"""A random forest on threads, for the baselines and the audit's probes.

The trees are scikit-learn's. Its own RandomForestClassifier(n_jobs=-1) resets Python's warning filters from several
threads at once and then prints its own warning by the thousand, in the middle of somebody's results.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.tree import DecisionTreeClassifier


def forest(
    features: np.ndarray, labels: np.ndarray, asked: np.ndarray, *, trees: int = 300, leaf: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(classes (C,), their probabilities (M, C)) for the rows asked (M, d), after seeing features (N, d), labels (N,).

    Bootstrapped trees over random subsets of sqrt(d) features (Breiman 2001); leaf: the fewest rows of a leaf.
    """
    known, rows = np.ascontiguousarray(features, np.float32), np.ascontiguousarray(asked, np.float32)
    classes, codes = np.unique(labels, return_inverse=True)
    seeds = np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=trees)

    def grow(number: int) -> np.ndarray:
        drawn = np.random.RandomState(number).randint(0, len(known), len(known))
        weights = np.bincount(drawn, minlength=len(known)).astype(np.float64)
        tree = DecisionTreeClassifier(max_features="sqrt", min_samples_leaf=leaf, random_state=number)
        tree.fit(known, codes, sample_weight=weights)
        found = np.zeros((len(rows), len(classes)))
        if len(rows):
            found[:, tree.classes_] = tree.predict_proba(rows)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        total = sum(pool.map(grow, seeds.tolist()), np.zeros((len(rows), len(classes))))
    return classes, total / trees
