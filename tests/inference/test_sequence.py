"""The sequence that a picture suggests or its file states, and the doubt that it casts on the kind of a tumor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_mri.artifact.config import ArtifactError, SequenceRule
from brain_mri.artifact.folder import load_artifact
from brain_mri.imaging.read import read_scan, scan_from_array
from brain_mri.imaging.volume import read_volume
from brain_mri.inference import sequence
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.sequence import Shown
from brain_mri.inference.volume_analysis import analyze_volume
from tests.helpers.files import dicom, make_volume, saved, write_nifti
from tests.helpers.handmade import write_handmade

RULE: dict[str, Any] = {
    "sequences": ["T1C+", "FLAIR"],
    "weights": [[0.0] * 3, [0.0] * 3],  # of the three features of the handmade classifier
    "bias": [0.0, 2.0],  # FLAIR at 88 %, whatever the picture
    "limits": [0.5, 0.8],
    "kinds_on": ["T1C+"],
}
DOUBT = "This looks like FLAIR. The kinds of tumor were learned mostly on T1 with contrast medium"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    bold = {"mask": 0.5, "min_fraction": 0.002, "abstain": 0.3, "tumor": 0.5}
    return Predictor.load(write_handmade(tmp_path_factory.mktemp("sequence") / "model", sequence=RULE, thresholds=bold))


def test_only_what_is_sure_enough_is_named() -> None:
    rule = SequenceRule(
        sequences=("T1", "T2", "FLAIR"),
        weights=((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),
        bias=(0.0, 0.0, 1.0),
        limits=(0.9, 0.5, 0.5),
    )
    features = np.array([[4.0, 0.0], [2.5, 0.0], [0.0, 2.5], [0.0, 0.0], [1.0, 1.0]], np.float32)
    np.testing.assert_allclose(sequence.chances(rule, features).sum(axis=1), 1)
    assert sequence.named(rule, features) == ["T1", "", "T2", "FLAIR", ""]


def test_a_rule_that_knows_no_sequence_of_the_kinds_tells_nothing_from_them() -> None:
    rule = SequenceRule(**RULE | {"sequences": ["T2", "FLAIR"]})
    assert not sequence.looks_unlearned(rule, np.zeros((2, 3))).any()
    assert not sequence.shown_by(rule, "", np.zeros((1, 3))).away and sequence.shown_by(rule, "T2", None).away


def test_a_picture_is_named_and_its_kind_is_doubted(model: Predictor, phantom_image) -> None:
    tumor, free = (model.analyze(scan_from_array(phantom_image(label, 21))) for label in ("meningioma", "notumor"))
    assert tumor.label != "notumor" and not tumor.abstained and free.label == "notumor"
    for found in (tumor, free):
        data = found.to_dict()
        assert (data["sequence"], data["sequence_from"]) == ("FLAIR", "picture")
    assert DOUBT in tumor.warnings[-1] and not any("FLAIR" in text for text in free.warnings)


def test_what_cannot_be_named_can_still_be_something_else(tmp_path: Path, phantom_image) -> None:
    """As T1 without contrast medium mostly is: likelier not what kinds were learned on, and nothing surely."""
    vague = RULE | {"sequences": ["T1C+", "FLAIR", "T1"], "weights": [[0.0] * 3] * 3, "bias": [0.0, 0.2, 0.2]}
    vague |= {"limits": [0.9] * 3}
    low = {"mask": 0.5, "min_fraction": 0.002, "abstain": 0.3, "tumor": 0.5}
    model = Predictor.load(write_handmade(tmp_path / "model", sequence=vague, thresholds=low))
    found = model.analyze(scan_from_array(phantom_image("meningioma", 21)))
    assert found.sequence == found.sequence_from == "" and not found.abstained
    assert found.warnings[-1].startswith("This does not look like T1 with contrast medium. The kinds of tumor were")
    sure = vague | {"bias": [1.0, 0.2, 0.2]}
    other = Predictor.load(write_handmade(tmp_path / "sure", sequence=sure, thresholds=low))
    assert other.analyze(scan_from_array(phantom_image("meningioma", 21))).warnings == []


def test_kinds_have_a_temperature_of_their_own_where_they_were_not_learned(tmp_path: Path, phantom_image) -> None:
    two: dict[str, Any] = {"outlined": {"weights": [1.0, 1.0], "bias": 0.0}, "temperature": 1.0, "sequence": RULE}
    scan = scan_from_array(phantom_image("meningioma", 21))
    here = Predictor.load(write_handmade(tmp_path / "here", **two)).analyze(scan)
    away = Predictor.load(write_handmade(tmp_path / "away", **two, elsewhere=50.0)).analyze(scan)
    assert away.tumor_probability == pytest.approx(here.tumor_probability)
    assert away.confidence < here.confidence and away.confidence < 0.36 * (away.tumor_probability or 0)


@pytest.mark.parametrize(("agent", "name"), [("Gd", "T1C+"), ("", "T1")])
def test_what_the_file_says_comes_first(model: Predictor, phantom_image, agent: str, name: str) -> None:
    times: dict[str, Any] = {
        "ScanningSequence": "SE",
        "RepetitionTime": 500,
        "EchoTime": 10,
        "ContrastBolusAgent": agent,
    }
    found = model.analyze(read_scan(saved(dicom(phantom_image("meningioma", 21), **times))))
    assert (found.sequence, found.sequence_from) == (name, "file") and found.label != "notumor"
    doubts = [text for text in found.warnings if "kinds of tumor" in text]
    assert len(doubts) == (name == "T1")
    assert all(text.startswith("The file says that this is T1 without contrast medium. The kinds") for text in doubts)


def test_artifacts_without_a_rule_say_nothing(predictor: Predictor, phantom_image) -> None:
    found = predictor.analyze(scan_from_array(phantom_image("meningioma", 21)))
    assert found.to_dict()["sequence"] == found.sequence_from == "" and found.warnings == []


def test_a_volume_is_what_most_of_its_slices_are(model: Predictor, tmp_path: Path) -> None:
    none, t1, t2, other = Shown(), Shown("T1", "picture"), Shown("T2", "picture"), Shown(away=True)
    assert sequence.most_show([none] * 5 + [t2] * 2 + [t1]) == t2
    assert sequence.most_show([t1, t2, none, none]) == sequence.most_show([]) == none
    assert sequence.most_show([other, other, none]) == other and sequence.most_show([other, none]) == none
    voxels, _, spacing = make_volume("meningioma", 5)
    found = analyze_volume(model, read_volume(write_nifti(tmp_path / "v.nii", voxels, spacing)))
    data = found.to_dict()
    assert (data["sequence"], data["sequence_from"]) == ("FLAIR", "picture")
    assert found.label != "notumor" and not found.reason and DOUBT in data["warnings"][-1]


@pytest.mark.parametrize(
    "change",
    [
        {"sequences": ["T1C+", "X"]},
        {"sequences": ["T1", "T1"]},
        {"weights": [[0.0] * 3, [0.0] * 2]},
        {"weights": [[0.0] * 3]},
        {"bias": [0.0, float("nan")]},
        {"limits": [0.5]},
        {"limits": [0.5, -1.0]},
        {"kinds_on": ["T3"]},
    ],
)
def test_a_malformed_rule_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="sequence"):
        load_artifact(write_handmade(tmp_path / "model", sequence=RULE | change))


def test_a_rule_of_another_network_is_refused(tmp_path: Path) -> None:
    other = RULE | {"weights": [[0.0] * 4, [0.0] * 4]}
    with pytest.raises(ArtifactError, match=r"do not fit their config\.json"):
        Predictor.load(write_handmade(tmp_path / "model", sequence=other))


def test_the_revision_changes_with_the_rule(model: Predictor, predictor: Predictor, tmp_path: Path) -> None:
    other = Predictor.load(write_handmade(tmp_path / "model", sequence=RULE | {"bias": [0.0, 1.5]}))
    assert len({predictor.revision, model.revision, other.revision}) == 3
