"""Examples that an artifact brings along: slices of its test split, under the licence that whoever adds them states.

    examples/glioma_1.png ...   re-encoded pixels under new names
    examples/LICENSE.txt        the licence, and how the slices were chosen

They are files of the artifact like all others: config.json lists them, a push uploads and a pull fetches them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from brain_mri.artifact.folder import Artifact, load_artifact, new_artifact

FOLDER, LICENCE = "examples", "LICENSE.txt"
MOST = 6  # slices that a model is published with
LONGEST = 200  # characters of a licence that are shown
CARD, MARK = "README.md", "\n<!-- examples -->\n"  # what follows the mark is ours


def licence_of(artifact: Artifact) -> str:
    """The first line of examples/LICENSE.txt, "" where there is none."""
    listed = [path for path in artifact.shown(FOLDER)[0] if path.name == LICENCE]
    lines = listed[0].read_text(encoding="utf-8", errors="replace").splitlines() if listed else []
    return lines[0].strip()[:LONGEST] if lines else ""


def example_files(artifact: Artifact) -> list[str]:
    """The files in examples/ that config.json lists."""
    return sorted(name for name in artifact.config.files if name.startswith(f"{FOLDER}/"))


def put_examples(folder: Path, pictures: Mapping[str, bytes], licence: str, how: str) -> None:
    """Replace the examples of the artifact in `folder`; no pictures: take them away.

    pictures: file name -> PNG. how: sentences on how they were chosen. A section at the end of the card says both; the
    rest of it stays as it is, also where a person has edited it. Raises ArtifactError.
    """
    artifact = load_artifact(folder)
    kept = sorted(set(artifact.config.files) - set(example_files(artifact)))
    with new_artifact(folder, artifact.config) as files:
        for name in kept:
            (files / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.folder / name, files / name)
        card = files / CARD
        text = card.read_text(encoding="utf-8").partition(MARK)[0].rstrip("\n") + "\n" if card.is_file() else ""
        if pictures:
            (files / FOLDER).mkdir()
            for name, png in pictures.items():
                (files / FOLDER / name).write_bytes(png)
            (files / FOLDER / LICENCE).write_text(f"{licence}\n\n{how}\n", encoding="utf-8")
            text += f"{MARK}\n## Examples\n\n{how} Their licence: {licence}.\n"
        if text:
            card.write_text(text, encoding="utf-8")
