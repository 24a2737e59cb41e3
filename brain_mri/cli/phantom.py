"""Synthetic brain slices with exact tumor masks: class folders, mask pairs, patients.csv; train.py can be run on them.

python -m brain_mri phantom OUT --per-class 40
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from brain_mri.classes import CLASSES
from brain_mri.data.phantom import write_dataset


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write synthetic brain slices with exact tumor masks.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--per-class", type=int, default=40, help="slices of each class (default 40)")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side (default 256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-masks", action="store_true", help="class folders only")
    args = parser.parse_args(arguments)
    if args.per_class < 1 or not 32 <= args.size <= 1024 or args.seed < 0:
        parser.error("--per-class must be at least 1, --size 32..1024 and --seed not negative.")
    try:
        write_dataset(args.out, args.per_class, args.seed, not args.no_masks, args.size)
    except OSError as error:
        raise SystemExit(f"{args.out} could not be written ({error.strerror or error}).") from None
    print(f"{args.per_class} synthetic slices of each of {len(CLASSES)} classes are in {args.out}.")
    masks = "" if args.no_masks else f" --masks {args.out / 'segmentation'}"
    print(f"Train on them:  python train.py --data {args.out}{masks} --epochs 2 --out runs/phantom")
