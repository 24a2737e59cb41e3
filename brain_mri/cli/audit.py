"""What is wrong with a data set, before anything is trained on it.

    python -m brain_mri audit brain-tumor-mri --out audit
    python -m brain_mri audit brain-tumor-mri --masks segmentation --out audit
    python -m brain_mri audit kaggle:masoudnickparvar/brain-tumor-mri-dataset

Prints a table and writes figure.png and CSV files to --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_mri.data.class_names import ClassChoice
from brain_mri.data.dataset import load_dataset
from brain_mri.data.folders import DataError
from brain_mri.data.remote import given
from brain_mri.evaluation.audit import AuditResult, audit
from brain_mri.files import atomic_write, guarded
from brain_mri.reporting import audit_figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=given, nargs="+", help="folders with one folder per class (also inside Training and Testing); "
        "also an archive, its URL, kaggle:owner/name, hf:user/name")  # fmt: skip
    add("--masks", type=given, nargs="+", help="pictures and masks: images/ and masks/, or X_mask.png beside X.png")
    add("--classes", nargs="+", metavar="NAME", default=[], help="standard, folders or names, as in train.py")
    add(
        "--no-tumor",
        metavar="NAME",
        default="",
        help="the folder of pictures without one, by its name",
    )
    add("--out", type=Path, default=Path("runs/audit"), help="where figure and CSV files go (%(default)s)")
    add("--groups", type=Path, help="CSV file,group[,kind]; default: groups.csv in the data folder")
    add("--cache", type=Path, help="cache file or folder (default ~/.cache/brain-mri)")
    add("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    try:
        choice = ClassChoice(tuple(args.classes), no_tumor=args.no_tumor)
        common: dict[str, Any] = {"groups": args.groups, "cache": args.cache, "progress": not args.quiet}
        dataset = load_dataset(args.data, args.masks, min_classes=1, choice=choice, **common)
        result = audit(dataset)
        print(result.text())
        paths = write(result, args.out)
    except DataError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Error: {args.out} could not be written ({error.strerror or error}).", file=sys.stderr)
        return 2
    print(f"\nWritten: {paths[-1]} and {len(paths) - 1} CSV files beside it.")
    return 0


def write(result: AuditResult, folder: Path) -> list[Path]:
    """CSV files and figure.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in result.tables().items():
        paths.append(folder / f"{name}.csv")
        with atomic_write(paths[-1]) as temporary:
            table.map(guarded).to_csv(temporary, index=False, errors="backslashreplace")
    return [*paths, audit_figure.draw(result, folder / "figure.png")]


if __name__ == "__main__":
    sys.exit(main())
