"""Is a model right for the right reason? Slice by slice through volumes of tumor patients, tumor-free slices included.

python -m brain_mri volumes ../shared/data/volumes --model weights     # X_Scan*.nii.gz beside X_Mask*.nii.gz
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.hub_client import HubError
from brain_mri.evaluation.volumes import COLUMNS, pairs, slices, summary
from brain_mri.files import atomic_write, guarded
from brain_mri.imaging.scan import ScanError
from brain_mri.inference.predictor import Predictor


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="folder of X_Scan*.nii.gz and X_Mask*.nii.gz")
    p.add_argument("--model", default="weights", help="artifact folder or user/name[@revision] (%(default)s)")
    p.add_argument("--out", type=Path, help="write one line per slice to this CSV")
    args = p.parse_args(argv)
    try:
        predictor = Predictor.load(args.model)
        table = pd.concat([slices(predictor, *pair) for pair in pairs(args.folder)], ignore_index=True)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(args.out) as temporary:
                table.map(guarded).to_csv(temporary, index=False)
    except (ArtifactError, HubError, ScanError, OSError) as error:
        print(f"volumes: {error}", file=sys.stderr)
        return 1
    print(summary(table).to_string(float_format=lambda value: f"{value:.2f}"))
    print("Shares of slices;", "; ".join(f"{name}: {meaning}" for name, meaning in COLUMNS.items()) + ".")
    return 0


if __name__ == "__main__":
    sys.exit(main())
