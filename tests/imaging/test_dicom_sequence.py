"""T1, T1C+, T2 and FLAIR by technical tags; nothing for what is none of them, or where tags contradict each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest

from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from tests.helpers.files import dicom, item, saved

SPIN: dict[str, Any] = {"ScanningSequence": "SE", "SequenceVariant": "SK", "RepetitionTime": 550, "EchoTime": 12}
LATE = SPIN | {"RepetitionTime": 4000, "EchoTime": 95}
WATER = LATE | {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "InversionTime": 2500}
GRADIENT = {"ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SP", "MP"], "RepetitionTime": 2300, "EchoTime": 3}


def sequence_of(head: np.ndarray, tags: dict[str, Any]) -> str:
    return read_scan(saved(dicom(head, **tags))).sequence


@pytest.mark.parametrize(
    ("tags", "sequence"),
    [
        (SPIN, "T1"),
        (SPIN | {"ContrastBolusAgent": "Gadovist 8 ml"}, "T1C+"),
        (SPIN | {"ContrastBolusAgent": " none "}, "T1"),
        *((SPIN | {"ContrastBolusAgent": none}, "T1") for none in ("N/A", "-", "No contrast", "0 ml", "kein KM")),
        (SPIN | {"ContrastBolusAgent": "0.1 mmol/kg Gadovist"}, "T1C+"),
        (SPIN | {"ContrastBolusAgent": "Nonionic"}, "T1C+"),
        (SPIN | {"ContrastBolusAgent": "Gd", "SeriesDescription": "ax T1 pre"}, "T1"),
        (SPIN | {"SeriesDescription": "Meier^Eva T1 post Gd"}, "T1C+"),
        (GRADIENT | {"InversionTime": 900}, "T1"),
        (GRADIENT | {"ScanningSequence": "GR", "ContrastBolusAgent": "Gd"}, "T1C+"),
        (SPIN | {"RepetitionTime": 2200, "InversionTime": 860, "SeriesDescription": "Ax T1 FLAIR"}, "T1"),
        (LATE, "T2"),
        (LATE | {"ContrastBolusAgent": "Gd"}, "T2"),
        (WATER, "FLAIR"),
        ({"SeriesDescription": "t2_tirm_flair_dark-fluid"}, "FLAIR"),
        ({"SeriesDescription": "T2W TSE"}, "T2"),
        ({"AcquisitionContrast": "FLUID_ATTENUATED"}, "FLAIR"),
    ],
)
def test_the_four(head: np.ndarray, tags: dict[str, Any], sequence: str) -> None:
    assert sequence_of(head, tags) == sequence


@pytest.mark.parametrize(
    "tags",
    [
        {},
        LATE | {"EchoTime": 20},  # proton density
        WATER | {"InversionTime": 160},  # STIR
        GRADIENT | {"ScanningSequence": "GR", "EchoTime": 25},  # susceptibility
        GRADIENT | {"ScanningSequence": "GR", "SequenceVariant": "SS"},  # not spoiled
        LATE | {"ScanningSequence": "EP"},
        LATE | {"SeriesDescription": "ADC map"},
        LATE | {"SeriesDescription": "ax FLAIR"},  # without its inversion: one of the two is wrong
        SPIN | {"Modality": "CT"},
        SPIN | {"AngioFlag": "Y"},
        {"AcquisitionContrast": "DIFFUSION", "SeriesDescription": "T2"},
    ],
)
def test_none_of_them(head: np.ndarray, tags: dict[str, Any]) -> None:
    assert sequence_of(head, tags) == ""


def test_tags_that_are_no_numbers_hide_no_picture(head: np.ndarray) -> None:
    dataset = dicom(head, **SPIN)
    dataset["EchoTime"] = pydicom.DataElement(pydicom.tag.Tag("EchoTime"), "LO", "twelve")
    scan = read_scan(saved(dataset))
    assert scan.sequence == "" and np.array_equal(scan.raw, head)


def test_frames_of_an_enhanced_file_and_slices_of_a_volume(head: np.ndarray) -> None:
    groups = item(MRImageFrameTypeSequence=[item(AcquisitionContrast="T1")])
    tags: dict[str, Any] = {
        "SharedFunctionalGroupsSequence": [groups],
        "ContrastBolusAgentSequence": [item(CodeMeaning="Gd")],
    }
    volume = read_volume(saved(dicom(np.stack([head] * 4), **tags)))
    assert [volume.scan(i).sequence for i in range(4)] == ["T1C+"] * 4


def test_the_words_of_the_description_are_not_handed_on(head: np.ndarray) -> None:
    scan = read_scan(saved(dicom(head, **SPIN, SeriesDescription="Meier^Eva T1 post Gd")))
    assert scan.sequence == "T1C+" and "Meier" not in str(scan.info)
