"""Small sources of drawn slices, with the tables that people have beside them."""

from __future__ import annotations

from pathlib import Path

import cv2

from brain_mri.classes import CLASSES
from brain_mri.data.phantom import make_phantom


def picture(path: Path, label: str, seed: int, mask: Path | None = None) -> None:
    drawn = make_phantom(label, seed, 96)
    for file, pixels in ((path, drawn.image), *([(mask, drawn.mask)] if mask else [])):
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), pixels)


def write_sources(root: Path) -> tuple[list[Path], list[Path]]:
    """(two class-folder sources with equal names inside, one with other lesions; two sources of masks)."""
    lines = ["file,group,kind,sequence"]
    for number, label in enumerate(CLASSES):
        for i in range(4):
            picture(root / "one" / "data" / label / f"{i}.png", label, 100 * number + i)
            picture(root / "two" / "data" / label / f"{i}.png", label, 100 * number + 50 + i)
            lines.append(f"{label}/{i}.png,{label}-{i},patient,{('t1', 'T2w')[i % 2]}")
    for i in range(4):
        picture(root / "two" / "data" / "other-lesion" / f"{i}.png", "glioma", 900 + i)
    (root / "two" / "data" / "groups.csv").write_text("\n".join(lines))
    table = ["file,class,patient,sequence"]
    for i in range(4):
        for sequence, seed in (("T1", 0), ("FLAIR", 300)):
            name = f"head{i}_{sequence}.png"
            folder = root / "lgg"
            picture(folder / "images" / name, "glioma", 500 + i + seed, folder / "masks" / name)
            table.append(f"{name},glioma,P{i},{sequence}")
        picture(root / "web" / "images" / f"w{i}.png", "meningioma", 700 + i, root / "web" / "masks" / f"w{i}.png")
    (root / "lgg" / "patients.csv").write_text("\n".join(table))
    return [root / "one" / "data", root / "two" / "data"], [root / "lgg", root / "web"]
