"""Examples are files of the artifact, with a licence and a section of the card; nothing else of it changes."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import ANY

import pytest

from brain_mri.artifact import hub, hub_push
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.examples import example_files, licence_of, put_examples
from brain_mri.artifact.folder import load_artifact
from brain_mri.artifact.parts import part_files, put_part
from tests.helpers.loopback_hub import LoopbackHub, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
HOW = "Drawn at random."
PICTURES = {"glioma_1.png": b"\x89PNG one", "no_tumor_1.png": b"\x89PNG two"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_they_come_and_go(model: Path) -> None:
    (model / "checkpoints").mkdir()
    (model / "checkpoints" / "a.keras").write_bytes(b"mine")
    before = contents(model)
    put_examples(model, PICTURES, "CC BY 4.0", HOW)
    artifact = load_artifact(model)
    assert example_files(artifact) == ["examples/LICENSE.txt", "examples/glioma_1.png", "examples/no_tumor_1.png"]
    assert licence_of(artifact) == "CC BY 4.0"
    now = contents(model)
    assert {name for name in before if now[name] != before[name]} == {"config.json", "README.md"}
    assert now["README.md"].decode().startswith(before["README.md"].decode())
    assert "## Examples\n\nDrawn at random. Their licence: CC BY 4.0." in now["README.md"].decode()
    put_examples(model, {"glioma_1.png": b"\x89PNG other"}, "CC0", HOW)  # replaced, not heaped up
    assert example_files(load_artifact(model)) == ["examples/LICENSE.txt", "examples/glioma_1.png"]
    assert (model / "README.md").read_text().count("## Examples") == 1
    put_examples(model, {}, "", "")
    now = contents(model)
    assert json.loads(now.pop("config.json")) == json.loads(before.pop("config.json")) | {"segmenter": ANY}
    assert now == before


def test_a_card_that_a_person_edited_stays(model: Path) -> None:
    (model / "README.md").write_text("# Mine\n\n## Examples\n\nOf my own.\n")
    put_examples(model, PICTURES, "CC BY 4.0", HOW)
    assert (model / "README.md").read_text().startswith("# Mine\n\n## Examples\n\nOf my own.\n")


@pytest.mark.parametrize("first", ["examples", "litert"])
def test_two_parts_keep_out_of_each_others_way(model: Path, first: str) -> None:
    before = contents(model)

    def put(part: str, number: int) -> None:
        if part == "examples":
            put_examples(model, PICTURES, "CC BY 4.0", f"Drawn {number}.")
        else:
            put_part(
                model,
                "litert",
                {"a.tflite": bytes([number]), "vectors/a.png": b"png"},
                f"## On a phone\n\nNo. {number}.",
            )

    for number, part in enumerate([first, "litert" if first == "examples" else "examples", first]):
        put(part, number)
    artifact, card = load_artifact(model), (model / "README.md").read_text()
    assert (
        part_files(artifact, "litert") == ["litert/a.tflite", "litert/vectors/a.png"]
        and len(example_files(artifact)) == 3
    )
    assert card.startswith(before["README.md"].decode())
    assert card.count("## Examples") == card.count("## On a phone") == 1 and ("Drawn 2." in card or "No. 2." in card)
    put_examples(model, {}, "", "")
    assert "Examples" not in (model / "README.md").read_text() and "## On a phone" in (model / "README.md").read_text()
    put_part(model, "litert", {}, "")
    now = contents(model)
    assert now.keys() == before.keys() and now["README.md"] == before["README.md"]


def test_a_damaged_artifact_is_left_alone(model: Path) -> None:
    (model / "classifier.onnx").write_bytes(b"other")
    before = contents(model)
    with pytest.raises(ArtifactError):
        put_examples(model, PICTURES, "CC BY 4.0", HOW)
    assert contents(model) == before


def test_they_are_pushed_pulled_and_taken_away(loopback: LoopbackHub, model: Path, tmp_path: Path) -> None:
    put_examples(model, PICTURES, "CC BY 4.0", HOW)
    hub_push.push(model, "me/model")
    repo = loopback.repo("me/model")
    assert {name: repo.files[f"examples/{name}"].content for name in PICTURES} == PICTURES
    pulled = load_artifact(hub.pull("me/model", cache_dir=tmp_path / "cache").folder)
    assert licence_of(pulled) == "CC BY 4.0"
    assert [path.name for path in pulled.shown("examples")[0]] == ["LICENSE.txt", *PICTURES]
    put_examples(model, {}, "", "")
    hub_push.push(model, "me/model")
    assert not [name for name in repo.files if name.startswith("examples/")]


def test_examples_that_cannot_be_had_stop_no_model(loopback: LoopbackHub, model: Path, tmp_path: Path) -> None:
    put_examples(model, PICTURES, "CC BY 4.0", HOW)
    hub_push.push(model, "me/model")
    loopback.fail("examples/glioma_1.png", status=503)
    pulled = load_artifact(hub.pull("me/model", cache_dir=tmp_path / "cache", patience=60).folder)
    assert "glioma_1.png" not in [path.name for path in pulled.shown("examples")[0]]
