"""Copies are found whatever was done to them, different heads are not joined, and groups follow from content alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from brain_mri.classes import CLASSES
from brain_mri.data import duplicates, neighbours
from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.preprocessing import preprocess

SIZE = 128
COUNT = 24


def _person(seed: int) -> np.ndarray:
    return make_phantom(CLASSES[seed % 4], seed=1000 + seed, size=192).image


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    """Slices of different heads."""
    return [_person(seed) for seed in range(COUNT)]


def _thumbs(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [duplicates.thumbnails(p, preprocess(p, SIZE)[0]) for p in pictures]
    return np.stack([whole for whole, _, _ in pairs]), np.stack([head for _, _, head in pairs])


def _links(pictures: list[np.ndarray]) -> pd.DataFrame:
    digests = [hashlib.sha256(p.tobytes()).hexdigest() for p in pictures]
    return duplicates.find_links(*_thumbs(pictures), digests)


def _jpeg(p: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))


def _crop(p: np.ndarray) -> np.ndarray:
    edge = round(0.03 * len(p))
    return p[edge:-edge, edge:-edge]


def _caption(p: np.ndarray) -> np.ndarray:
    taller = cv2.copyMakeBorder(p, 0, 24, 0, 0, cv2.BORDER_CONSTANT)
    return cv2.putText(taller, "hospital", (8, taller.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 200, 1)


def _turn(p: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(p, cv2.getRotationMatrix2D((p.shape[1] / 2, p.shape[0] / 2), 3, 1), p.shape[::-1])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "recompressed": _jpeg,
    "half size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "contrast": lambda p: np.clip(p * 1.4 + 5, 0, 255).astype(np.uint8),
    "darker": lambda p: (p * 0.6).astype(np.uint8),
    "gamma": lambda p: (255 * (p / 255.0) ** 0.75).astype(np.uint8),
    "padded": lambda p: cv2.copyMakeBorder(p, 20, 20, 20, 20, cv2.BORDER_CONSTANT),
    "cropped": _crop,
    "captioned": _caption,
    "turned": _turn,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_changed_copies_are_found(people: list[np.ndarray], change: str, mirrored: bool) -> None:
    changed = [CHANGES[change](p[:, ::-1].copy() if mirrored else p) for p in people]
    links = _links([*people, *changed])
    direct = links[(links["b"] - links["a"] == COUNT) & (links["a"] < COUNT)]
    assert len(direct) >= 0.9 * COUNT, f"only {len(direct)} of {COUNT} {change} copies were found"
    assert (direct["mirrored"] == mirrored).all()


def test_different_heads_are_not_joined(people: list[np.ndarray]) -> None:
    assert _links(people).empty


def test_exact_copies_form_a_star_and_share_further_links(people: list[np.ndarray]) -> None:
    pictures = [people[0], people[1], people[0], people[0], _jpeg(people[0])]
    links = _links(pictures)
    exact = links[links["kind"] == "exact"]
    assert list(zip(exact["a"], exact["b"], strict=True)) == [(0, 2), (0, 3)]
    labels = duplicates.components(5, links["a"].to_numpy(), links["b"].to_numpy())
    assert labels[0] == labels[2] == labels[3] == labels[4] != labels[1]


def test_blocks_and_trees_give_what_one_product_gives(
    people: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [*people, *[_jpeg(p) for p in people], *[_caption(p) for p in people[:6]]]
    at_once = _links(pictures)
    for name, value in (("BLOCK", 7), ("EXACT", 0), ("LEAF", 16)):  # in blocks, then by trees of few and of many
        monkeypatch.setattr(neighbours, name, value)
        pd.testing.assert_frame_equal(at_once, _links(pictures))
    assert len(set(at_once["kind"])) > 1 and len(at_once) >= len(people)


def test_a_film_of_one_head_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def near_pairs(*arguments: Any) -> Iterator[np.ndarray]:
        for part in neighbours.near_pairs(*arguments):
            looked_at.append(len(part))
            yield part

    monkeypatch.setattr(duplicates, "near_pairs", near_pairs)
    monkeypatch.setattr(neighbours, "BLOCK", 15)
    monkeypatch.setattr(duplicates, "MANY", 2000)
    noise = np.random.default_rng(0)
    base = _person(0).astype(int)
    frames = [np.clip(base + noise.integers(-3, 4, base.shape), 0, 255).astype(np.uint8) for _ in range(150)]
    links = _links(frames)
    labels = duplicates.components(150, links["a"].to_numpy(), links["b"].to_numpy())
    assert len(set(labels)) == 1
    assert len(links) < 2500, "150 frames have 11,175 pairs; most of them say nothing new"
    assert sum(looked_at) < 4000, "once they are joined no further pair is even listed"


def test_constant_pictures_match_nothing() -> None:
    pictures = [np.full((64, 64), value, np.uint8) for value in (0, 7, 255)]
    assert _links(pictures).empty
    assert duplicates.find_links(*(np.zeros((0, 64, 64), np.uint8),) * 2, []).empty


def test_originals_follow_mirrors_along_a_chain() -> None:
    rows = [(0, 1, True), (1, 2, True), (2, 3, False), (5, 6, True)]
    links = pd.DataFrame(rows, columns=["a", "b", "mirrored"])
    duplicate_of, mirrored = duplicates.originals(7, links)
    assert duplicate_of.tolist() == [-1, 0, 0, 0, -1, -1, 5]
    assert mirrored.tolist() == [False, True, False, False, False, False, True]


def test_group_names_depend_on_content_only() -> None:
    digests, patients = ["d", "a", "c", "b", "e"], ["", "P2", "", "P2", ""]
    links = pd.DataFrame([(0, 1)], columns=["a", "b"])
    labels = duplicates.components(5, links["a"].to_numpy(), links["b"].to_numpy())
    group, cluster = duplicates.group_names(digests, labels, patients)
    assert group.tolist() == ["P2", "P2", "slice c", "P2", "slice e"]
    assert cluster.tolist() == ["slice a", "slice a", "slice c", "slice b", "slice e"]
    order = [4, 2, 0, 3, 1]
    place = {row: new for new, row in enumerate(order)}
    labels = duplicates.components(5, np.array([place[0]]), np.array([place[1]]))
    shuffled, _ = duplicates.group_names([digests[i] for i in order], labels, [patients[i] for i in order])
    assert shuffled.tolist() == [group[i] for i in order]


def test_groups_join_patients_through_a_shared_slice() -> None:
    labels = duplicates.components(4, np.array([0, 2]), np.array([1, 3]))
    group, _ = duplicates.group_names(["a", "b", "c", "d"], labels, ["P1", "", "P1", "P0"])
    assert group.tolist() == ["P0"] * 4
