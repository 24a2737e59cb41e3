"""Copy a run without the files that show patients' slices: what may lie beside the code, as `weights/` does.

python -m brain_mri bundle runs/best --out weights --name brain-mri-guided
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from brain_mri.artifact.examples import example_files
from brain_mri.artifact.folder import load_artifact, new_artifact
from brain_mri.evaluation.records import read_metrics
from brain_mri.files import FileError
from brain_mri.reporting import model_card

SHOWS_PATIENTS = {"figures/cases.png", "figures/folded.png", "figures/preprocessing.png", "report.html", "slides.pptx"}


def bundle(run: Path, out: Path, name: str) -> list[str]:
    """Copy every listed file of the artifact in `run` but those, with a card of its own; returns the copied names.

    Raises ArtifactError when `run` is no whole artifact. An artifact in `out` is replaced as a whole.
    """
    source = load_artifact(run)
    config = source.config.model_copy(update={"name": name})
    left = SHOWS_PATIENTS | {"README.md", *example_files(source)}
    names = sorted(set(config.files) - left)
    with new_artifact(out, config) as folder:
        for file in names:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.folder / file, target)
        model_card.write_card(
            folder,
            config,
            read_metrics(source.folder / "metrics.json"),
            [Path(file) for file in names if file.startswith("figures/")],
        )
    return [*names, "README.md"]


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("run", type=Path, help="artifact folder that train.py wrote")
    p.add_argument("--out", type=Path, default=Path("weights"))
    p.add_argument("--name", default="brain-mri-guided")
    args = p.parse_args(argv)
    try:
        names = bundle(args.run, args.out, args.name)
    except (FileError, OSError) as error:
        print(f"bundle.py: {error}", file=sys.stderr)
        return 1
    for name in names:
        print(f"{(args.out / name).stat().st_size / 1e6:8.2f} MB  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
