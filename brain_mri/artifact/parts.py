"""What is added to a finished artifact later: the files of one subfolder, and the section of the card that tells of it.

They are files of the artifact like all others: config.json lists them, and a push uploads them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from brain_mri.artifact.folder import Artifact, load_artifact, new_artifact

CARD = "README.md"


def part_files(artifact: Artifact, part: str) -> list[str]:
    """The files in the subfolder `part` that config.json lists."""
    return sorted(name for name in artifact.config.files if name.startswith(f"{part}/"))


def put_part(folder: Path, part: str, contents: Mapping[str, bytes], section: str) -> None:
    """Replace the files of `part` in the artifact in `folder`, and its section of the card.

    contents: name -> file, {} to take both away. The rest of the card stays as it is, also where a person has edited
    it. Raises ArtifactError.
    """
    artifact = load_artifact(folder)
    kept = sorted(set(artifact.config.files) - set(part_files(artifact, part)))
    with new_artifact(folder, artifact.config) as files:
        for name in kept:
            (files / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.folder / name, files / name)
        for name, content in contents.items():
            (files / part / name).parent.mkdir(parents=True, exist_ok=True)
            (files / part / name).write_bytes(content)
        card, mark = files / CARD, f"\n<!-- {part} -->\n"  # what follows the mark, up to that of another part, is ours
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        text = re.sub(f"\n*{re.escape(mark)}.*?(?=\n<!-- [a-z]+ -->\n|\\Z)", "\n", text, flags=re.DOTALL)
        text = text.rstrip("\n") + "\n" if text else ""
        text += f"{mark}\n{section}\n" if contents else ""
        if text:
            card.write_text(text, encoding="utf-8")
