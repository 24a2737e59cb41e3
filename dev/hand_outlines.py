"""How much a few hand outlines give: the Label tab's own first slices, outlined as the experts did, and train.py.

    python -m dev.hand_outlines PAIRS --init weights --counts 0 20 40

PAIRS holds images/, masks/ and patients.csv with class and patient. Half of the patients are measured on and nothing
else; the slices of the others become class folders without masks, of which the Label tab's order is followed and the
expert's mask saved. Then `train.py --data FOLDERS --masks OUTLINES` learns, from --init or from ImageNet weights alone;
0 outlines: the model of --init as it is.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brain_mri import Predictor, read_scan
from brain_mri.classes import NO_TUMOR
from brain_mri.data.folders import Source
from brain_mri.data.labelling import Labelling
from brain_mri.data.pairs import mask_pairs
from brain_mri.data.stacks import read_outline
from segmentation import dice

ROOT = Path(__file__).resolve().parent.parent


def truth_of(source: Source, shape: tuple[int, ...]) -> np.ndarray:
    assert source.mask is not None
    return read_outline(source.path, source.mask, -1, shape)


def class_folders(sources: Sequence[Source], folder: Path) -> dict[str, Source]:
    """The pictures as folder/<class>/ with groups.csv -> {path there: source}."""
    placed, rows = {}, [("file", "group", "sequence")]
    for source in sources:
        file = f"{source.label}/{source.path.name}"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.path, folder / file)
        placed[file] = source
        rows.append((file, source.patient, source.sequence))
    with (folder / "groups.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    return placed


def outlined(folder: Path, placed: dict[str, Source], count: int) -> Path:
    """The first `count` slices that the Label tab shows, with the experts' masks, as it saves them."""
    work = Labelling(folder, folder.with_name(f"outlines-{count}"))
    for item in itertools.islice(work.walk(), count):
        work.save(item, truth_of(placed[item.file], work.scan(item).shape))
    return work.out


def measured(model: Path, sources: Sequence[Source]) -> str:
    """Means over the slices with a tumor: Dice of the mask on the page and of the mask whatever the label, missed."""
    predictor = Predictor.load(model)
    shown, drawn = [], []
    for source in sources:
        scan = read_scan(source.path)
        truth = truth_of(source, scan.shape)
        if truth.any():
            analysis = predictor.analyze(scan)
            shown.append(dice(analysis.mask, truth))
            drawn.append(dice(analysis.mask_at(predictor.mask_threshold), truth))
    missed = np.mean(np.array(drawn) < 0.1)
    return f"{np.mean(shown):.3f} | {np.mean(drawn):.3f} | {missed:.0%} | {len(drawn)}"


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    p.add_argument("pairs", type=Path)
    p.add_argument("--init", type=Path, help="artifact to begin with")
    p.add_argument("--sequence", default="", help="only slices of this one")
    p.add_argument("--healthy", type=Path, help="folder of slices without a tumor, where PAIRS has none")
    p.add_argument("--counts", type=int, nargs="+", default=[0, 20, 40])
    p.add_argument("--epochs", type=int, default=40, help="of the masks; 20 slices are one step each (%(default)s)")
    p.add_argument("--joint-epochs", type=int, default=3, help="of the class (%(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/hand-outlines"))
    args = p.parse_args()
    pairs = [s for s in mask_pairs(args.pairs)[0] if s.label and args.sequence in ("", s.sequence)]
    patients = sorted({s.patient for s in pairs})
    test = set(np.random.default_rng(args.seed).permutation(patients)[: len(patients) // 2])
    folder = args.out / "folders"
    shutil.rmtree(args.out, ignore_errors=True)
    placed = class_folders([s for s in pairs if s.patient not in test], folder)
    if args.healthy:
        shutil.copytree(args.healthy, folder / NO_TUMOR)
    tested = [s for s in pairs if s.patient in test]
    print("outlines | Dice on the page | Dice whatever the label | missed | slices", flush=True)
    for count in args.counts:
        model = args.init
        if count:
            model = args.out / f"run-{count}"
            given = ["--data", folder, "--masks", outlined(folder, placed, count), "--out", model, "--brief"]
            given += ["--epochs", args.epochs, "--joint-epochs", args.joint_epochs, "--seed", args.seed, "--verbose", 0]
            given += ["--init", args.init] if args.init else []
            subprocess.run(
                [sys.executable, "train.py", *map(str, given)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
            )
        if model:
            print(f"{count} | {measured(model, tested)}", flush=True)


if __name__ == "__main__":
    main()
