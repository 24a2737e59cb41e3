"""Which volume of an upload is taken, what is said of the others, and how another one is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_mri.imaging.choice import is_label_map
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import Volume, read_volume
from tests.helpers.files import nifti, sentence, series, tarred, zipped


def taken(*names: str, stack: np.ndarray) -> str:
    return read_volume(zipped({f"{name}.nii": nifti(stack) for name in names})).choice.removesuffix(".nii")


@pytest.mark.parametrize(
    ("wanted", "others"),
    [
        ("x_t1ce", ["x_flair", "x_seg", "x_t1", "x_t2"]),
        ("x-t1c", ["x-seg", "x-t1n", "x-t2f", "x-t2w"]),
        ("p_t1Gd", ["p_FLAIR", "p_T1", "p_T2"]),
        ("sub-01_ce-gadolinium_T1w", ["sub-01_T1w", "sub-01_FLAIR"]),
        ("AX T1 POST", ["AX T1 PRE", "AX T1", "AX FLAIR POST"]),
        ("T1 TSE TRA KM", ["T1 TSE TRA", "T1 TSE TRA ohne KM"]),
        ("t1_mprage_c+", ["t1_mprage", "localizer_t1_c+"]),
        ("T1+C", ["T2+C", "ADC"]),
        ("MPRAGE post contrast", ["MPRAGE without contrast", "MPRAGE"]),
        ("T2", ["DWI_b1000", "scout", "perf_dsc", "swi"]),
        ("T1_post_op", ["brain_mask", "aseg", "labels", "gt", "aparc+aseg", "tumor_segmentation", "ROI"]),
        ("T1_masked", ["T1_mask"]),
        (
            "UCSF-PDGM-0004_T1c_bias",
            [f"UCSF-PDGM-0004_{n}" for n in ("T1_bias", "FLAIR_bias", "tumor_segmentation", "ADC")],
        ),
        ("UPENN-GBM-00001_11_T1GD", ["UPENN-GBM-00001_11_segm", "UPENN-GBM-00001_11_T1", "UPENN-GBM-00001_11_T2"]),
        ("norm", ["aparc+aseg", "wmparc", "aseg"]),
        ("IXI002-Guys-0828-T1", ["IXI002-Guys-0828-MRA"]),
        ("sub-01_T1w", ["sub-01_desc-brain_mask", "sub-01_dseg", "sub-01_label-GM_probseg"]),
        ("t1_vibe_fs_tra_KM", ["AAHead_Scout", "t2_tse_tra", "ep2d_diff_3scan_trace_p2_ADC", "t1_vibe_fs_tra"]),
        ("sT1W_3D_TFE +Gd", ["SURVEY", "sT1W_3D_TFE", "T2W_TSE"]),
        ("+C AX FSPGR", ["3-Plane Loc", "AX FSPGR", "+C AX FLAIR"]),
        ("T1 C+", ["T1 C-", "T1 -C"]),
        ("MPRAGE_GADO", ["MPRAGE", "T1 pre Gd"]),
        ("T1 COR", ["T1 localizer"]),
    ],
)
def test_names(wanted: str, others: list[str], stack: np.ndarray) -> None:
    assert taken(*others, wanted, stack=stack) == taken(wanted, *others, stack=stack) == wanted


def test_a_label_map_is_known_by_its_values(stack: np.ndarray) -> None:
    labels = (stack > 180).astype(np.uint8) * 4 + (stack > 220)
    volume = read_volume(zipped({"t1ce_a.nii": nifti(labels), "b.nii": nifti(stack), "c.nii": nifti(labels * 0)}))
    assert volume.choice == "b.nii" and np.array_equal(volume.voxels, stack)
    only = read_volume(zipped({"a.nii": nifti(labels), "b.nii": nifti(labels)}))
    assert only.choice == "a.nii" and any("mask (label map)" in w for w in only.warnings)
    asked = read_volume(zipped({"a.nii": nifti(labels), "b.nii": nifti(stack)}), choose="a.nii")
    assert asked.choice == "a.nii" and any("mask (label map)" in w for w in asked.warnings)
    assert is_label_map(labels.astype(np.float32)) and not is_label_map(labels * np.float32(0.3))
    assert not is_label_map(stack)


def test_folders_of_labels_and_equal_names(stack: np.ndarray) -> None:
    files = {f"{folder}/{name}.nii": nifti(stack) for folder in ("labelsTr", "imagesTr") for name in ("a", "b")}
    volume = read_volume(zipped(files))
    assert volume.choice == "imagesTr/a.nii"
    assert [c.title for c in volume.choices] == ["labelsTr/a.nii", "labelsTr/b.nii", "imagesTr/a.nii", "imagesTr/b.nii"]


def study(stack: np.ndarray) -> dict[str, bytes]:
    """A localizer, a diffusion series with three pictures a place, T1 with a contrast agent, a derived copy of it."""
    files = {f"1/{i}": d for i, d in enumerate(series(stack[:3], SeriesDescription="LOC", SeriesNumber=1))}
    for b in range(3):
        tags = {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "ep2d b 1000", "SeriesNumber": 2}
        files |= {f"2/{b}-{i}": d for i, d in enumerate(series(stack // (b + 1), **tags))}
    agent = {"SeriesDescription": "AX SE", "SeriesNumber": 5, "ContrastBolusAgent": "Gadovist"}
    files |= {f"5/{i}": d for i, d in enumerate(series(stack, **agent))}
    derived = agent | {"SeriesNumber": 6, "ImageType": ["DERIVED", "SECONDARY"]}
    return files | {f"6/{i}": d for i, d in enumerate(series(stack[:, ::-1], **derived))}


def test_places_count_and_the_series_are_named(stack: np.ndarray, tmp_path: Path) -> None:
    volume = read_volume(zipped(study(stack)), name="study.zip")
    assert (
        volume.choice == "series with contrast medium"
        and np.array_equal(volume.voxels, stack)
        and volume.name == "study.zip"
    )
    found = {c.title: (c.places, c.chosen) for c in volume.choices}
    assert found == {
        "localizer": (3, False),
        "diffusion": (7, False),
        "series with contrast medium": (7, True),
        "series with contrast medium (axial)": (7, False),
    }
    (said,) = volume.warnings
    assert "4 series; series with contrast medium (7 slices) is shown, not localizer (3), diffusion (7), " in said
    for choice in volume.choices:
        other = read_volume(tarred(study(stack)), choose=choice.key)
        assert other.choice == choice.title and len(other) == choice.places
        assert [c.key for c in other.choices if c.chosen] == [choice.key]
        assert not any("is shown, not" in w for w in other.warnings)
    with pytest.raises(ScanError, match="no volume 7; it holds localizer, diffusion, series") as error:
        read_volume(zipped(study(stack)), choose="7")
    sentence(error)


def test_an_agent_that_every_series_states(stack: np.ndarray) -> None:
    """Some scanners state the agent for the whole examination."""
    files: dict[str, bytes] = {}
    for number, title in enumerate(("AX T2", "AX T1 PRE", "AX T1 FS", "AX FLAIR")):
        tags = {"SeriesDescription": title, "SeriesNumber": number, "ContrastBolusAgent": "Dotarem"}
        files |= {f"{number}/{i}": d for i, d in enumerate(series(stack, **tags))}
    assert read_volume(zipped(files)).choice == "T1 with contrast medium"


def test_most_places_and_then_the_order(stack: np.ndarray) -> None:
    assert (
        read_volume(zipped({"a.nii": nifti(stack[:4]), "b.nii": nifti(stack), "c.nii": nifti(stack)})).choice == "b.nii"
    )
    few = read_volume(zipped({"t1ce_key.nii": nifti(stack[:1]), "flair.nii": nifti(stack)}))
    assert few.choice == "flair.nii" and [c.places for c in few.choices] == [1, 7]


def test_series_and_files_together(stack: np.ndarray) -> None:
    files = {f"dicom/{i}": d for i, d in enumerate(series(stack))} | {
        "t1c.nii": nifti(stack),
        "bad.dcm": b"\0" * 128 + b"DICM",
    }
    volume = read_volume(zipped(files))
    assert volume.choice == "t1c.nii" and [c.title for c in volume.choices] == ["t1c.nii", "DICOM series"]
    assert any("1 DICOM files" in w for w in volume.warnings)


def test_one_that_cannot_be_read_is_named(stack: np.ndarray) -> None:
    volume = read_volume(zipped({"t1ce.nii": nifti(stack)[:-9], "t2.nii": nifti(stack)}))
    assert volume.choice == "t2.nii" and any("t1ce.nii is incomplete" in w for w in volume.warnings)
    with pytest.raises(ScanError, match=r"t1ce\.nii is incomplete"):
        read_volume(zipped({"t1ce.nii": nifti(stack)[:-9], "t2.nii": nifti(stack)}), choose="t1ce.nii")


def test_a_single_file_is_its_own_choice(stack: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "me.nii"
    path.write_bytes(nifti(stack))
    volume = read_volume(path)
    assert volume.choice == "me.nii" and [(c.places, c.chosen) for c in volume.choices] == [(7, True)]
    assert volume.warnings == ()


# ---- the cases ----


def others(volume: Volume) -> set[str]:
    return {c.title for c in volume.choices if not c.chosen}


def test_case_brats_subject(cases: Path) -> None:
    for file, own in (("brats2021.zip", "BraTS_00001_t1ce.nii.gz"), ("brats2023.zip", "BraTS_00001-t1c.nii.gz")):
        volume = read_volume(cases / "brats-subject" / file)
        assert volume.choice == own and len(others(volume)) == 4
        assert all(other in " ".join(volume.warnings) for other in others(volume))
        seg = next(c for c in volume.choices if "seg" in c.title)
        assert len(np.unique(read_volume(cases / "brats-subject" / file, choose=seg.key).voxels)) < 8
    files = sorted((cases / "brats-subject" / "BraTS2023_00001").iterdir())
    assert read_volume(files).choice == read_volume(files[0].parent).choice == "BraTS_00001-t1c.nii.gz"


def test_case_whole_study(cases: Path) -> None:
    volume = read_volume(cases / "whole-study" / "study.zip")
    assert volume.choice == "T1 with contrast medium" and len(volume) == 14
    assert {(c.title, c.places) for c in volume.choices} == {
        ("localizer", 3),
        ("diffusion", 14),
        ("T1 with contrast medium", 14),
    }
    other = read_volume(cases / "whole-study" / "study.zip", choose="diffusion")
    assert len(other) == 14 and not np.array_equal(other.voxels, volume.voxels)
