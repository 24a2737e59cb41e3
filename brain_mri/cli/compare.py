"""The scores of finished runs in one table.

    python -m brain_mri compare runs/leaderboard/*/ weights --out runs/leaderboard
    python -m brain_mri compare runs/folds/*/ --folds --out runs/folds
    python -m brain_mri compare runs/left_out/*/ --left-out --out runs/left_out

Runs that were measured on other pictures than the first one are left out. Writes leaderboard.md, .csv and .png (or
folds.*, left_out.md and .csv). recipes/leaderboard.sh trains the usual student models one after the other,
recipes/folds.sh one model on five folds, recipes/leave_one_out.sh one model without each source.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from brain_mri.data.folders import DataError
from brain_mri.files import FileError
from brain_mri.reporting.compare_runs import comparable, left_out, read_run, write


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="artifact folder that train.py wrote")
    p.add_argument("--out", type=Path, default=Path("runs/leaderboard"), help="where the table goes (%(default)s)")
    p.add_argument("--folds", action="store_true", help="the runs are folds of one cross-validation (train.py --fold)")
    p.add_argument("--left-out", action="store_true", help="the sources that each run left out (train.py --leave-out)")
    args = p.parse_args(argv)
    try:
        given = [read_run(folder) for folder in args.runs]
        if args.left_out:
            print(left_out(args.out, given).read_text(encoding="utf-8"))
            return 0
        runs, others = (given, []) if args.folds else comparable(given)
        for run in others:
            print(f"Left out: {run.folder} was measured on other pictures than the rest.", file=sys.stderr)
        print(write(args.out, runs, folds=args.folds).read_text(encoding="utf-8"))
    except (FileError, DataError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
