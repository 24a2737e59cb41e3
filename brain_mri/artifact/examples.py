"""Examples that an artifact brings along: slices of its test split, under the licence that whoever adds them states.

    examples/glioma_1.png ...   re-encoded pixels under new names
    examples/LICENSE.txt        the licence, and how the slices were chosen

A push uploads and a pull fetches them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brain_mri.artifact.folder import Artifact
from brain_mri.artifact.parts import part_files, put_part

FOLDER, LICENCE = "examples", "LICENSE.txt"
MOST = 6  # slices that a model is published with
LONGEST = 200  # characters of a licence that are shown


def licence_of(artifact: Artifact) -> str:
    """The first line of examples/LICENSE.txt, "" where there is none."""
    listed = [path for path in artifact.shown(FOLDER)[0] if path.name == LICENCE]
    lines = listed[0].read_text(encoding="utf-8", errors="replace").splitlines() if listed else []
    return lines[0].strip()[:LONGEST] if lines else ""


def example_files(artifact: Artifact) -> list[str]:
    """The files in examples/ that config.json lists."""
    return part_files(artifact, FOLDER)


def put_examples(folder: Path, pictures: Mapping[str, bytes], licence: str, how: str) -> None:
    """Replace the examples of the artifact in `folder`; no pictures: take them away.

    pictures: file name -> PNG. how: sentences on how they were chosen; a section of the card says both. Raises
    ArtifactError.
    """
    files = {**pictures, LICENCE: f"{licence}\n\n{how}\n".encode()} if pictures else {}
    put_part(folder, FOLDER, files, f"## Examples\n\n{how} Their licence: {licence}.")
