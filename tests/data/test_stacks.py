"""Volumes in a data set: every slice is a row, grouped by volume, with the mask of its own index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brain_mri.data import reader, stacks
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.data.description import described
from brain_mri.data.folders import MASK_PAIRS, DataError
from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.preprocessing import preprocess
from tests.helpers.files import dicom, make_volume, saved, write_nifti

SIZE, DEPTH = 64, 8


def _load(root: Path, masks: Path | None = None, **options: object) -> Dataset:
    return load_dataset(root, masks, size=SIZE, cache=root.parent / "c.npz", progress=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """classes/<class>/<n>.nii.gz of three heads each; pairs/ of the gliomas. Do not write into it."""
    root = tmp_path_factory.mktemp("volumes")
    for label in ("glioma", "notumor"):
        for n in range(3):
            voxels, mask, spacing = make_volume(label, 20 + 10 * n + (label == "glioma"), 64, DEPTH)
            voxels = np.concatenate([voxels, np.zeros_like(voxels[:2])])  # two empty slices, as scanners append
            mask = np.concatenate([mask, np.zeros_like(mask[:2])])
            write_nifti(root / "classes" / label / f"{n}.nii.gz", voxels, spacing)
            if label == "glioma":
                write_nifti(root / "pairs" / "images" / f"{n}.nii.gz", voxels, spacing)
                write_nifti(root / "pairs" / "masks" / f"{n}_seg.nii.gz", mask.astype(np.uint8) * 2, spacing)
    (root / "pairs" / "patients.csv").write_text(
        "file,class,patient\n" + "".join(f"{n}.nii.gz,glioma,\n" for n in "012")
    )
    return root


def test_every_slice_is_a_row_grouped_by_volume(volumes: Path) -> None:
    dataset = _load(volumes / "classes")
    table = dataset.table
    shown = table.groupby("path").size()
    assert len(shown) == 6 and shown.min() >= DEPTH - 2 and shown.max() <= DEPTH
    assert table.groupby("path")[["group", "split"]].nunique().to_numpy().max() == 1 and table["group"].nunique() == 6
    assert (
        set(dataset.skipped["path"]) == set(table["file"]) and dataset.skipped["reason"].str.contains("no head").all()
    )
    row = table.index[(table["file"] == "glioma/1.nii.gz") & (table["slice"] == 3)][0]
    scan = stacks.read_slice(*table.loc[row, ["path", "slice"]])
    assert scan.info["index"] == 3 and np.array_equal(preprocess(scan.image, SIZE)[0], dataset.images[row])
    assert (table["duplicate_of"] < 0).all(), "neighbours in a volume are no copies of each other"
    assert "taught as the class of their volume" in described(dataset)


def test_a_volume_is_read_once(volumes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []
    real = stacks.read_volume

    def counted(data: bytes, name: str) -> stacks.Volume:
        calls.append(name)
        return real(data, name=name)

    monkeypatch.setattr(stacks, "read_volume", counted)
    first = load_dataset(volumes / "classes", size=SIZE, cache=tmp_path, progress=False)
    assert len(calls) == 6
    monkeypatch.setattr(reader, "stack_of", None)
    again = load_dataset(volumes / "classes", size=SIZE, cache=tmp_path, progress=False)
    assert again.fingerprint() == first.fingerprint() and again.skipped.equals(first.skipped) and len(calls) == 6


def test_masks_lie_on_their_own_slices_and_free_ones_are_no_tumor(volumes: Path) -> None:
    """Numbers from nibabel: which slices of the mask hold a voxel."""
    dataset = _load(volumes / "classes", volumes / "pairs")
    table = dataset.table
    pairs = table[table["source"] == MASK_PAIRS]
    assert pairs["has_mask"].all()
    for n in range(3):
        stored = np.asarray(nib.load(volumes / "pairs" / "masks" / f"{n}_seg.nii.gz").dataobj)  # type: ignore[attr-defined]
        full = np.flatnonzero(stored.any(axis=(0, 1)))
        mine = pairs[pairs["file"] == f"images/{n}.nii.gz"]
        marked = dataset.masks[mine.index].any(axis=(1, 2))
        assert mine["slice"].to_numpy()[marked].tolist() == [i for i in full.tolist() if i in set(mine["slice"])]
        for index, label in zip(mine["slice"], mine["class"], strict=True):
            distance = np.abs(full - index).min()
            assert label == ("glioma" if distance == 0 else "" if distance == 1 else "notumor")
    own = pairs.iloc[int(np.argmax(dataset.masks[pairs.index].any(axis=(1, 2))))]
    outline = stacks.read_outline(own["path"], own["mask_path"], own["slice"], (64, 64))
    assert outline.any() and outline.shape == (64, 64)
    copies = table[(table["source"] != MASK_PAIRS) & (table["file"].str.startswith("glioma"))]
    assert (copies["mask_from"] >= 0).all()
    givers = table.loc[copies["mask_from"], "class"].tolist()
    assert copies["class"].tolist() == givers, "a copy is no tumor either where the mask of its giver is empty"
    assert set(copies["split"]) and table.groupby("group")["split"].nunique().max() == 1


def test_a_mask_stored_in_another_order_or_without_orientation(tmp_path: Path) -> None:
    voxels, mask, spacing = make_volume("glioma", 3, 64, DEPTH)
    path = write_nifti(tmp_path / "v.nii.gz", voxels, spacing)
    stored = nib.load(path)
    truth = mask.transpose(2, 1, 0).astype(np.uint8)
    kinds = {
        "same": nib.Nifti1Image(truth, stored.affine),  # type: ignore[attr-defined]
        "identity": nib.Nifti1Image(truth, np.eye(4)),
        "canonical": nib.as_closest_canonical(nib.Nifti1Image(truth, stored.affine)),  # type: ignore[attr-defined]
    }
    stack = stacks.stack_of(path.read_bytes(), "v.nii.gz")
    for name, image in kinds.items():
        found = stack.masks(tmp_path / f"{name}.nii", image.to_bytes(), "v.nii.gz")
        assert np.array_equal(found, mask), name
    with pytest.raises(stacks.ScanError, match="64x64x7 voxels, the volume 64x64x8"):
        stack.masks(tmp_path / "m.nii", nib.Nifti1Image(truth[..., :7], stored.affine).to_bytes(), "v")  # type: ignore[attr-defined]


def test_dicom_files_are_grouped_by_patient_and_no_id_is_stored(tmp_path: Path) -> None:
    for c, label in enumerate(("glioma", "notumor")):
        for patient in range(3):
            for number in range(3):
                picture = make_phantom(label, 50 * patient + 7 + c, 64, slice_offset=0.2 * number).image
                tags: dict[str, Any] = {
                    "PatientID": f"SECRET-{label}-{patient}",
                    "SeriesInstanceUID": f"1.2.{c}{patient}.{number}",
                    "SeriesDescription": ("T2", "T1 Gd", "?")[number],
                }
                path = tmp_path / "d" / label / f"{patient}-{number}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(saved(dicom(picture, **tags)))
    dataset = _load(tmp_path / "d")
    table = dataset.table
    assert table.groupby(["class", table["file"].str[-7]])["group"].nunique().max() == 1
    assert table["patient"].nunique() == 6 and table.groupby("patient")["split"].nunique().max() == 1
    numbers = table["file"].str[-5].astype(int)
    assert table["sequence"].tolist() == [("T2", "T1C+", "")[number] for number in numbers]
    assert "SECRET" not in table.to_csv() and b"SECRET" not in (tmp_path / "c.npz").read_bytes()
    anonymous = saved(dicom(picture, PatientID="Anonymous", StudyInstanceUID="1.2.3"))
    assert stacks.stack_of(anonymous, "a").person.startswith("study")


def test_folders_of_patients_are_groups(tmp_path: Path) -> None:
    for c, label in enumerate(("glioma", "notumor")):
        for patient in range(3):
            for number in range(3):
                path = tmp_path / "d" / label / "axial" / f"p{c}{patient}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = make_phantom(label, 50 * patient + 7 + c, 64, slice_offset=0.3 * number).image
                Image.fromarray(picture).save(path)
    table = _load(tmp_path / "d").table
    assert table["patient"].tolist() == table["file"].str.split("/").str[2].tolist()
    assert table["patient"].nunique() == 6 and table.groupby("patient")["split"].nunique().max() == 1


def test_masks_that_cannot_be_read_stop_the_run(tmp_path: Path, volumes: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "m" / folder).mkdir(parents=True)
    Image.fromarray(make_phantom("glioma", 1, 64).image).save(tmp_path / "m" / "images" / "a.png")
    (tmp_path / "m" / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n")
    with pytest.raises(DataError, match=r"No mask in .* could be read \(for example: a.png its mask holds boxes"):
        _load(volumes / "classes", tmp_path / "m")


def test_cases_of_volumes_pairs_and_patients(cases: Path, tmp_path: Path) -> None:
    def load(root: Path, masks: Path | None = None) -> Dataset:
        return load_dataset(root, masks, size=SIZE, cache=tmp_path, progress=False)

    table = load(cases / "volumes" / "classes").table
    assert len(table) == 192 and table.groupby("path").size().eq(12).all()
    assert table.groupby("path")["group"].nunique().max() == 1
    plain = cases / "two-halves" / "classification_task"
    dataset = load(plain, cases / "volume-pairs" / "seg")
    pairs = dataset.table[dataset.table["source"] == MASK_PAIRS]
    for path, mine in pairs.groupby("path"):
        stored = np.asarray(nib.load(str(path).replace("images", "masks")).dataobj)  # type: ignore[attr-defined]
        counts = (stored > 0).sum(axis=(0, 1))[mine["slice"]]
        assert len(mine) == 12 and np.array_equal(counts > 0, dataset.masks[mine.index].any(axis=(1, 2)))
    table = load(cases / "patient-folders" / "png").table
    assert table["patient"].nunique() == 12 and table.groupby("patient")["split"].nunique().max() == 1
    for kind, why in (("inverted", "exchanged"), ("red_overlay", "picture itself")):
        dataset = load(plain, cases / "mask-values" / kind)
        assert dataset.skipped["reason"].str.contains(why).sum() == 12
        assert not dataset.table.loc[dataset.table["source"] == MASK_PAIRS, "has_mask"].any()
    dataset = load(plain, cases / "yolo-labels" / "yolo")
    yolo = dataset.table["source"] == MASK_PAIRS
    assert yolo.sum() == 12 and dataset.masks[yolo.to_numpy()].any(axis=(1, 2)).all()
