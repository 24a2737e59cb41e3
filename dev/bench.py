"""How fast is it? Ratios measured in one run, each with its target.

    python bench.py                                  # about ten minutes on two cores
    python bench.py --only serve volume              # of serve, volume, files, training, growth
    python bench.py --data DIR --masks DIR           # files, training and growth on your own scans instead of phantoms
    python bench.py --quick                          # small jobs: does everything run? The figures mean little

What is compared takes turns, and medians are kept. Nothing is written but temporary files, and the figures where --out
says. The usual way, which some lines refer to, is bench_usual.py: Keras models, model.predict, GradientTape.
Exit status: 0 every target was met, 1 some were not (never with --quick), 2 a part could not be measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from brain_mri.inference.onnx_model import cores, ort
from brain_mri.inference.predictor import BUNDLED
from dev import bench_serve, bench_training
from dev.bench_table import Clock, Options, Row

PARTS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "serve": bench_serve.serve,
    "volume": bench_serve.volume,
    "files": bench_serve.files,
    "training": bench_training.training,
    "growth": bench_serve.growth,
}


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    print(f"{machine()}\n", flush=True)
    rows: list[Row] = []
    failed = False
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="brain-mri-bench-") as folder:
        options = Options(Path(folder), args.model, args.data, args.masks, args.quick)
        for name in args.only:
            try:
                for row in PARTS[name](options):
                    rows.append(row)
                    print(row.text(), flush=True)
            except Exception as error:  # of subprocesses, gradio and files: the other parts can still be measured
                failed = True
                print(f"{name:<9}could not be measured: {error}", flush=True)
        share = 100 * clock.others / (clock.wall * cores())
    missed = [row for row in rows if row.met is False]
    kept = [row for row in rows if row.met]
    print(f"\n{len(kept)} of {len(kept) + len(missed)} targets met in {clock.wall:.0f} s.")
    if share > 5:
        print(f"Other programs took {share:.0f} % of the processor meanwhile; run it again when they have ended.")
    if args.out:
        facts = {"machine": machine(), "others_percent": share, "quick": args.quick}
        table = [asdict(row) | {"met": row.met} for row in rows]
        args.out.write_text(json.dumps(facts | {"rows": table}, indent=2) + "\n", encoding="utf-8")
    return 2 if failed else 1 if missed and not args.quick else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    p.add_argument("--quick", action="store_true", help="a smoke test")
    p.add_argument("--model", default=str(BUNDLED), metavar="DIR", help="default: the bundled weights")
    p.add_argument("--data", type=Path, metavar="DIR", help="class folders; default: phantoms drawn on the fly")
    p.add_argument("--masks", type=Path, metavar="DIR", help="image/mask pairs for them")
    p.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures")
    return p


def machine() -> str:
    """What it runs on, in one line."""
    names = [line for line in lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, ONNX Runtime {ort.__version__}"
    return f"{cores()} cores, {processor}; {platform.system()}; {versions}"


def lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
