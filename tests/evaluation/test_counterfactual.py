"""Slices without their lesion, slices with one they never had, and what is measured on them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brain_mri.artifact.folder import load_artifact
from brain_mri.data.phantom import make_phantom
from brain_mri.evaluation import counterfactual
from brain_mri.evaluation.cases import FOLDED, folded_cases
from brain_mri.evaluation.counterfactual import (
    LEAST,
    VISIBLE,
    counterfactual_metrics,
    erase,
    erased_copies,
    give,
    given_copies,
)
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting import figures_masks, findings, tables


def shown(**parts: Any) -> Metrics:
    return Metrics.model_validate({"images": {"count": 0, "groups": 0}} | parts)


def phantoms(labels, size=96):
    drawn = [make_phantom(label, seed, size) for seed, label in enumerate(labels)]
    return np.stack([p.image for p in drawn]), np.stack([p.mask for p in drawn])


def test_erasing_changes_the_lesion_and_nothing_else():
    images, masks = phantoms(["meningioma", "glioma", "pituitary"])
    for image, mask in zip(images, masks, strict=True):
        result = erase(image, mask)
        assert result is not None
        far = np.ones(mask.shape, bool)
        ys, xs = np.nonzero(mask)
        far[max(0, ys.min() - 16) : ys.max() + 17, max(0, xs.min() - 16) : xs.max() + 17] = False
        np.testing.assert_array_equal(result[far], image[far])
        assert np.abs(result[mask > 0].astype(int) - image[mask > 0]).mean() > 5


def test_erased_copies_are_one_of_each_unit_and_name_their_source():
    images, masks = phantoms(["meningioma", "meningioma", "notumor", "pituitary"])
    pictures, rows = erased_copies(images, masks, np.array([0, 0, 1, 2]), seed=1)
    assert len(rows) == 2 and len(set(rows) & {0, 1}) == 1 and 3 in rows and 2 not in rows
    assert pictures.dtype == np.uint8 and pictures.shape[1:] == images.shape[1:]
    for picture, row in zip(pictures, rows, strict=True):
        assert np.abs(picture[masks[row] > 0].astype(int) - images[row][masks[row] > 0]).mean() > 5


def test_erased_copies_without_tumors_are_none():
    images, masks = phantoms(["notumor", "notumor"])
    pictures, rows = erased_copies(images, masks, np.arange(2))
    assert pictures.shape == (0, *images.shape[1:]) and len(rows) == 0


def test_a_given_lesion_lies_where_it_lay_and_can_be_seen():
    images, masks = phantoms(["meningioma", "glioma", "pituitary", "notumor"])
    done = 0
    for image, mask in zip(images[:3], masks[:3], strict=True):
        result = give(images[3], image, mask)
        if result is None:
            continue
        done += 1
        lesion = mask > 127
        rows, columns = np.nonzero(lesion)
        near = np.zeros(mask.shape, bool)
        near[max(0, rows.min() - 8) : rows.max() + 9, max(0, columns.min() - 8) : columns.max() + 9] = True
        assert np.abs(result.astype(int) - images[3])[~near].max() <= 1
        assert np.abs(result[lesion].astype(int) - images[3][lesion]).mean() > VISIBLE / 2
    assert done


def test_nothing_is_given_outside_the_head_or_that_cannot_be_seen():
    images, masks = phantoms(["meningioma", "notumor"])
    corner = np.zeros_like(masks[0])
    corner[2:10, 2:10] = 255
    assert give(images[1], images[0], corner) is None
    assert give(images[1], images[1], masks[0]) is None  # tissue of the same head: there is nothing to see
    assert give(images[1], images[0], np.zeros_like(masks[0])) is None


def test_given_copies_name_host_and_donor_and_are_the_same_again():
    images, masks = phantoms(["meningioma", "glioma", "notumor", "notumor", "glioma", "meningioma"])
    hosts, donors = np.array([2, 3]), np.array([0, 1, 4, 5])
    pictures, of, by = given_copies(images, masks, hosts, donors, each=2)
    assert len(pictures) == len(of) == len(by) > 0
    assert set(of) <= set(hosts) and set(by) <= set(donors) and np.bincount(of).max() <= 2
    for left, right in zip(given_copies(images, masks, hosts, donors, each=2), (pictures, of, by), strict=True):
        np.testing.assert_array_equal(left, right)
    none, of, by = given_copies(images, masks, hosts[:0], donors)
    assert none.shape == (0, *images.shape[1:]) and not len(of) and not len(by)


@pytest.mark.parametrize("tumor", [True, False])
def test_copies_are_counted_beside_what_they_were_made_from(
    handmade_artifact: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch, tumor: bool
) -> None:
    """An oracle that is right about every slice of the data, and says the same of every copy."""
    known = {
        image.tobytes(): name != "notumor" for image, name in zip(dataset.images, dataset.table["class"], strict=True)
    }

    def oracle(_: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = np.array([known.get(image.tobytes(), tumor) for image in images])
        return said, np.broadcast_to(said[:, None, None], images.shape)

    monkeypatch.setattr(counterfactual, "_answers", oracle)
    rows = np.arange(len(dataset.table))
    found = counterfactual_metrics(load_artifact(handmade_artifact), dataset, rows, resamples=0)
    assert found is not None
    for kind, before in (("erased", 1.0), ("given", 0.0)):
        assert getattr(found, kind).before.value == before
        assert getattr(found, kind).called_tumor.value == getattr(found, kind).outlined.value == float(tumor)


def test_a_model_that_looks_at_the_lesion_changes_its_answer(
    handmade_artifact: Path, dataset: Any, tmp_path: Path
) -> None:
    """The handmade one looks for bright spots and knows nothing of sources."""
    # Of the data set's few drawn heads hardly any can be folded; small spots, as heads stay symmetrical with them
    pictures, _ = phantoms(["notumor"] * 90, 64)
    outlines = np.zeros_like(pictures)
    outlines[:, 24:32, 20:28] = 255
    pictures = np.where(outlines > 0, 200, np.minimum(1.5 * pictures, 130)).astype(np.uint8)
    more = pd.DataFrame({"class": ["meningioma", "glioma"] * 45, "has_mask": True, "split": "test"})
    more["cluster"] = more["group"] = [f"more {row}" for row in range(len(more))]
    dataset = SimpleNamespace(
        table=pd.concat([dataset.table, more], ignore_index=True),
        images=np.concatenate([dataset.images, pictures]),
        masks=np.concatenate([dataset.masks, outlines]),
    )
    rows = np.arange(len(dataset.table))
    found: Any = counterfactual_metrics(load_artifact(handmade_artifact), dataset, rows, resamples=50)
    assert found is not None and found.folded and found.erased and found.given, found
    stored = found.to_json()
    assert stored == json.loads(json.dumps(stored, allow_nan=False))
    for part in (found.folded, found.erased, found.given):
        assert part.count >= LEAST and part.groups > 1
    for gone in (found.folded, found.erased):
        assert gone.called_tumor.value < gone.before.value
    assert found.folded.called_tumor.value < found.folded.twice.value
    table = tables.counterfactual(shown(counterfactual=found))
    assert table is not None and len(table.rows) == 7
    assert figures_masks.counterfactual(shown(counterfactual=found), tmp_path / "a.png") is not None
    bare = shown(counterfactual=found.model_copy(update={"given": None}))
    assert figures_masks.counterfactual(bare, tmp_path / "b.png") is not None
    assert figures_masks.counterfactual(shown(), tmp_path / "c.png") is None
    artifact = load_artifact(handmade_artifact)
    heads = folded_cases(artifact, dataset, rows)
    assert 1 < len(heads) <= FOLDED and all(head.truth.any() for head in heads)
    assert figures_masks.folded(heads, tmp_path / "d.png") is not None
    none = folded_cases(artifact, dataset, rows[:0])
    assert none == [] and figures_masks.folded(none, tmp_path / "e.png") is None
    said = " ".join(findings.counterfactual(shown(counterfactual=found)))
    assert f"{found.folded.count} nearly symmetrical heads" in said
    assert f"{found.erased.count} slices" in said and f"{found.given.count} pictures" in said


@pytest.mark.parametrize("kept", ["tumor-free", "tumors"])
def test_what_cannot_be_made_is_left_out(handmade_artifact: Path, dataset: Any, kept: str) -> None:
    rows = np.flatnonzero((dataset.table["class"] == "notumor") == (kept == "tumor-free"))
    found = counterfactual_metrics(load_artifact(handmade_artifact), dataset, rows, resamples=0)
    table = tables.counterfactual(shown(counterfactual=found))
    if kept == "tumor-free":
        assert found is None and table is None
    else:
        assert found is not None and found.given is None and table is not None and len(table.rows) == 2
    assert findings.counterfactual(shown()) == []
