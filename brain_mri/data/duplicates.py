"""Copies of one slice: found by their pixels, linked, and joined with patient ids to groups that no split may cut.

Four kinds of links between two pictures, from strict to wide:
    exact     the decoded pixels are equal
    copy      the whole pictures, 64x64 and standardised, correlate at 0.98 or more: recompressed, resized, brightened
    variant   the heads do: cut out, contrast equalised locally, correlation at 32x32 and at 64x64: other contrast,
              sharpened, other margins
    aligned   they do once one is laid over the other, see alignment.py: cropped, captioned, turned a little
each also with one picture mirrored left-right. The head is what preprocessing.preprocess cuts out.

The limits were set on the 8,323 slices of shared/data. Of the pairs of slices of different patients there the most
alike have 0.957 (whole), 0.857 (head at 32) and 0.811 (head at 64), so none of the limits below joins two patients.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from brain_mri.data import alignment
from brain_mri.data.neighbours import mirror, near_pairs, standardised

SIDE, COARSE = 64, 32  # thumbnails, and the size at which neighbours are looked for
COPY = 0.98  # correlation of whole pictures at SIDE
COPY_COARSE = 0.97  # the same at COARSE: only a filter
VARIANT_COARSE, VARIANT = 0.88, 0.82  # correlation of heads at COARSE and at SIDE
MANY = 50_000  # candidate pairs at once that are still ordinary, of fewer than as many pictures
PAIRS = 1024  # that are verified at once, to bound the memory
LINK_COLUMNS = ["a", "b", "kind", "correlation", "mirrored"]


def thumbnails(image: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(whole picture, the same, head), uint8, SIDE, COARSE and SIDE pixels a side; aspect not kept.

    image: uint8 (H, W); square: of it, preprocessed, at >= SIDE.
    """
    sides = ((image, SIDE), (image, COARSE), (square, SIDE))
    whole, small, head = (cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA) for p, side in sides)
    return whole, small, head


def local_contrast(pictures: np.ndarray) -> np.ndarray:
    """alignment.local_contrast of each: (N, s, s) -> float32 (N, s, s)."""
    result = np.empty(pictures.shape, np.float32)
    for index, picture in enumerate(pictures):
        result[index] = alignment.local_contrast(picture)
    return result


def shrunk(pictures: np.ndarray) -> np.ndarray:
    """uint8 (N, SIDE, SIDE) -> float32 (N, COARSE, COARSE)."""
    size = (COARSE, COARSE)
    small = [cv2.resize(p.astype(np.float32), size, interpolation=cv2.INTER_AREA) for p in pictures]
    return np.stack(small) if small else np.zeros((0, COARSE, COARSE), np.float32)


def find_links(whole: np.ndarray, head: np.ndarray, digests: list[str]) -> pd.DataFrame:
    """All pairs of rows that show the same slice: columns a < b, kind, correlation, mirrored (b is a mirror of a).

    whole, head: uint8 (N, SIDE, SIDE) of `thumbnails`; digests: of the decoded pixels. Rows with equal digests are each
    linked to the first of them only, and only that one is compared with the rest. Memory: about 20 KB per row.
    """
    first_of: dict[str, int] = {}
    firsts = np.array([first_of.setdefault(digest, row) for row, digest in enumerate(digests)], np.int64)
    unique, copies = np.unique(firsts), np.flatnonzero(np.arange(len(digests)) != firsts)
    exact = [(int(firsts[row]), int(row), "exact", 1.0, False) for row in copies]
    whole, head = whole[unique], head[unique]
    links = _found_by_correlation(whole, head)
    labels = components(len(unique), links["a"].to_numpy(), links["b"].to_numpy())
    alone = np.unique(labels, return_index=True)[1]  # one picture of each slice so far
    found = alignment.aligned_pairs(whole, head, alone)
    aligned = [(a, b, "aligned", value, mirrored) for a, b, value, mirrored in found]
    links = _joined([links, pd.DataFrame(aligned, columns=LINK_COLUMNS)])
    links = links.assign(a=unique[links["a"]], b=unique[links["b"]])
    return _joined([pd.DataFrame(exact, columns=LINK_COLUMNS), links])


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One table without repeated pairs (the highest correlation stays), sorted by row numbers."""
    parts = [part for part in parts if len(part)] or [pd.DataFrame(columns=LINK_COLUMNS)]
    types = {"a": np.int64, "b": np.int64, "kind": object, "correlation": np.float64, "mirrored": bool}
    links = pd.concat(parts, ignore_index=True)[LINK_COLUMNS].astype(types)
    links = links.sort_values("correlation", ascending=False, kind="stable").drop_duplicates(["a", "b"])
    return links.sort_values(["a", "b"], kind="stable").reset_index(drop=True)


def _found_by_correlation(whole: np.ndarray, head: np.ndarray) -> pd.DataFrame:
    """Links of the kinds copy and variant."""
    coarse_head, count = standardised(local_contrast(shrunk(head))), len(whole)
    labels = np.arange(count)
    parts = itertools.chain(
        near_pairs(standardised(shrunk(whole)), COPY_COARSE, labels), near_pairs(coarse_head, VARIANT_COARSE, labels)
    )
    found, seen, many = [], np.zeros(0, np.int64), max(MANY, count)
    for pairs in parts:
        keys = np.setdiff1d((pairs[:, 0] * count + pairs[:, 1]) * 2 + pairs[:, 2], seen, assume_unique=True)
        while len(keys):
            some = keys if len(keys) <= many else keys[: many // 4]
            found.append(_verified(whole, head, coarse_head, some))
            seen, keys = np.union1d(seen, some), keys[len(some) :]
            if len(keys):  # a film of one head: pairs that are joined already add nothing
                links = _joined(found)
                labels[:] = components(count, links["a"].to_numpy(), links["b"].to_numpy())
                keys = keys[labels[keys // 2 // count] != labels[keys // 2 % count]]
    return _joined(found)


def _verified(whole: np.ndarray, head: np.ndarray, coarse_head: np.ndarray, keys: np.ndarray) -> pd.DataFrame:
    """The candidate pairs, (a * N + b) * 2 + mirrored, that hold at full thumbnail size."""
    parts = []
    for start in range(0, len(keys), PAIRS):
        pairs, flip = np.divmod(keys[start : start + PAIRS], 2)
        left, right = np.divmod(pairs, len(whole))
        rows, place = np.unique(np.r_[left, right], return_inverse=True)
        i, j = place[: len(left)], place[len(left) :]

        def pairwise(features: np.ndarray, i=i, j=j, flip=flip) -> np.ndarray:
            mirrored = np.where(flip[:, None] == 1, mirror(features)[j], features[j])
            return np.einsum("ij,ij->i", features[i], mirrored)

        copy, coarse = pairwise(standardised(whole[rows])), pairwise(coarse_head[rows])
        fine = pairwise(standardised(local_contrast(head[rows])))
        is_copy = copy >= COPY
        keep = is_copy | ((fine >= VARIANT) & (coarse >= VARIANT_COARSE))
        kind, value = np.where(is_copy, "copy", "variant"), np.where(is_copy, copy, fine)
        columns = {"a": left, "b": right, "kind": kind, "correlation": value, "mirrored": flip == 1}
        parts.append(pd.DataFrame(columns)[keep])
    return pd.concat(parts, ignore_index=True)


def components(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int (count,): connected rows have equal numbers."""
    ones = np.ones(len(a), np.int8)
    graph = coo_matrix((ones, (np.asarray(a, np.int64), np.asarray(b, np.int64))), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def originals(count: int, links: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(duplicate_of, mirrored against it): int and bool (count,).

    duplicate_of is -1 for the first row of its cluster and for lone ones. Along a chain of links two mirrors cancel.
    """
    neighbours: dict[int, list[tuple[int, bool]]] = {}
    for a, b, flip in zip(links["a"].tolist(), links["b"].tolist(), links["mirrored"].tolist(), strict=True):
        neighbours.setdefault(a, []).append((b, flip))
        neighbours.setdefault(b, []).append((a, flip))
    duplicate_of, mirrored = np.full(count, -1, np.int64), np.zeros(count, bool)
    for root in sorted(neighbours):
        if duplicate_of[root] >= 0:
            continue
        queue = [root]
        for row in queue:  # grows while it is read: breadth first
            for other, flip in neighbours[row]:
                if other != root and duplicate_of[other] < 0:
                    duplicate_of[other], mirrored[other] = root, mirrored[row] ^ flip
                    queue.append(other)
    return duplicate_of, mirrored


def group_names(digests: list[str], labels: np.ndarray, patients: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(group, cluster): two object arrays (N,) of names that depend on content only, not on the order of the files.

    labels: cluster number of each row (`components`); patients: patient or given group of each row, "" where unknown.
    A group is what clusters and patients connect; it is named for its first patient, else for its first digest.
    """
    count = len(digests)
    frame = pd.DataFrame({"digest": digests, "label": labels, "patient": patients})
    cluster = "slice " + frame.groupby("label")["digest"].transform("min").str[:12]
    known = np.flatnonzero(frame["patient"].to_numpy() != "")
    codes = pd.factorize(frame["patient"].iloc[known])[0]
    _, first = np.unique(labels, return_index=True)
    a = np.r_[np.arange(count), known]
    b = np.r_[first[labels], known[np.unique(codes, return_index=True)[1]][codes]] if len(known) else first[labels]
    frame["group"] = components(count, a, b)
    name = frame["patient"].where(frame["patient"] != "").groupby(frame["group"]).transform("min")
    lone = "slice " + frame.groupby("group")["digest"].transform("min").str[:12]
    return np.asarray(name.fillna(lone), object), np.asarray(cluster, object)
