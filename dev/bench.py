"""How fast is it? Ratios measured in one run, each with its target.

    python -m dev.bench                                  # about ten minutes on two cores
    python -m dev.bench --only serve volume              # of serve, volume, files, training, growth
    python -m dev.bench --data DIR --masks DIR           # files, training and growth on your own scans, not on phantoms

What is compared takes turns, and medians are kept. Nothing is written but temporary files, and the figures where --out
says. The usual way, which some lines refer to, is bench_usual.py: Keras models, model.predict, GradientTape.
Exit status: 0 every target was met, 1 some were not, 2 a part could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil

from brain_mri.artifact.folder import BUNDLED
from brain_mri.classes import CLASSES
from brain_mri.data import folders
from brain_mri.data.dataset import load_dataset
from brain_mri.data.phantom import write_dataset
from brain_mri.imaging.read import read_scan
from brain_mri.inference.onnx_model import cores, ort
from brain_mri.inference.predictor import Predictor
from dev.bench_serve import Options, bare, jpeg, run, serve, start, volume
from dev.bench_table import Clock, Row, interleaved, resident
from dev.child_process import ended

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm"}
SIZE = 128  # what the targets of reading are stated for


# --- what is measured on ---------------------------------------------------------------------------------------


def pictures(options: Options, count: int) -> Path:
    """A folder of `count` picture files: those of --data, or 512x512 JPEG phantoms, again and again under new names."""
    folder = options.folder / f"pictures-{count}"
    if folder.is_dir():
        return folder
    folder.mkdir()
    if options.data:
        found = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in SUFFIXES)
        step = max(1, len(found) // count)
        contents = [(path.read_bytes(), path.suffix) for path in found[::step][:count]]
    else:
        contents = [(jpeg(label, seed), ".jpg") for label in CLASSES for seed in range(4)]
    for number in range(count):
        content, suffix = contents[number % len(contents)]
        (folder / f"{number:04d}{suffix}").write_bytes(content)
    return folder


def tenth(folder: Path, to: Path) -> Path:
    """A tenth of the files of each class folder, as copies."""
    by_folder: dict[Path, list[Path]] = {}
    for source in folders.class_folders(folder)[0]:
        by_folder.setdefault(source.path.parent, []).append(source.path)
    for parent, paths in by_folder.items():
        target = to / parent.relative_to(folder)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(paths)[:: max(1, min(10, len(paths) // 2))]:
            shutil.copy2(path, target / path.name)
    return to


# --- the parts -------------------------------------------------------------------------------------------------


def files(options: Options) -> Iterator[Row]:
    """brain_mri predict on 1,000 files: are the cores busy, does memory stay flat?"""
    count = 1000
    folder, out = pictures(options, count), options.folder / "predicted"
    clock, memory = Clock(), []
    process = start(["-m", "brain_mri", "predict", "--model", options.model, "--out", str(out), str(folder)])
    with ended(process):
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                memory.append(resident(psutil.Process(process.pid)))
            time.sleep(0.1)
        wall, own, others = clock.wall, clock.own, clock.others
    if process.returncode:
        raise RuntimeError(f"brain_mri predict ended with status {process.returncode}.")
    quarter = max(1, len(memory) // 4)
    before, after = (statistics.median(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    left = wall * cores() - others
    note = f"{wall:.0f} s, {1000 * wall / count:.0f} ms a file, start included; {own:.0f} of {left:.0f} core seconds"
    yield Row("files", f"brain_mri predict on {count} files, cores busy", 100 * own / left, "%", least=90, note=note)
    once, taken = bare(Predictor.load(options.model), 1), []
    for _ in range(50):
        started = time.thread_time()
        once()
        taken.append(time.thread_time() - started)
    each, least = 1000 * own / count, 1000 * statistics.median(taken)
    note = f"{each:.1f} ms a file, start and pictures included, against {least:.1f} ms"
    yield Row("files", "its processor time, of that of the bare passes", each / least, "x", note=note)
    yield Row("files", "its memory, last quarter against second", 100 * (after / before - 1), "%", 5,
              note=f"{before:.0f} MB and {after:.0f} MB")  # fmt: skip


def training(options: Options) -> Iterator[Row]:
    """Seconds of an epoch, of the first and of the second start, and peak memory."""
    folder, masks = options.data, options.masks
    if folder is None:
        folder = write_dataset(options.folder / "phantoms", 100)
        masks = folder / "segmentation"

    def asked(what: str) -> dict[str, float]:
        return json.loads(run("-m", "dev.bench_training", what, folder, *([masks] if masks else [])).splitlines()[-1])

    epoch = asked("epoch")
    ms = ", ".join(f"{name} {1000 * epoch[name]:.0f} ms a step" for name in ("real", "memory"))
    yield Row("training", "real input pipeline, of the same model fed from memory", epoch["real"] / epoch["memory"],
              "x", 1.15, note=ms)  # fmt: skip
    first, count = read(folder, masks, options.folder / "cache")
    second, _ = read(folder, masks, options.folder / "cache")
    note = f"{first:.1f} s and {second:.2f} s for {count} slices"
    yield Row("training", "second start on cached data, of the first read", 100 * second / first, "%", 5, note=note)
    memory = asked("memory")
    note = f"{memory['data']:.0f} MB when the data is read, {memory['set']:.0f} MB when the training set is made"
    what = f"peak memory, {memory['slices']} slices of {SIZE} pixels, guided"
    yield Row("training", what, memory["peak"] / 1000, "GB", 2.5, note=note)

    some, few = read(tenth(folder, options.folder / "tenth"), None, options.folder / "cache-tenth")
    yield Row("growth", f"reading 10 % of the training set ({few} slices)", some, "s")
    alone, all_ = read(folder, None, options.folder / "cache-alone")
    yield Row("growth", f"reading 100 % of it ({all_} slices)", alone, "s")
    exponent = math.log(alone / some) / math.log(all_ / few)
    note = "each compared with all others"
    yield Row("growth", "exponent of reading in the number of slices", exponent, "", note=note)


def read(folder: Path, masks: Path | None, cache: Path) -> tuple[float, int]:
    """(seconds, slices) of load_dataset."""
    started = time.perf_counter()
    loaded = load_dataset(folder, masks, size=SIZE, cache=cache, progress=False)
    return time.perf_counter() - started, len(loaded.table)


def growth(options: Options) -> Iterator[Row]:
    """Seconds for ever more scans, read and analysed in groups, and the exponent."""
    counts = (1, 10, 100, 1000)
    paths = sorted(pictures(options, counts[-1]).iterdir())
    predictor = Predictor.load(options.model)
    seconds = []
    for count in counts:

        def work(part: Sequence[Path] = paths[:count]) -> None:
            for first in range(0, len(part), 16):
                predictor.analyze_batch([read_scan(path) for path in part[first : first + 16]])

        seconds.append(interleaved({"scans": work}, 1 if count > 100 else 5)["scans"])
        yield Row("growth", f"{count} scans", seconds[-1], "s", note=f"{1000 * seconds[-1] / count:.1f} ms each")
    exponent = float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])
    yield Row("growth", "exponent of the cost in the number of scans", exponent, "", 1.05)


# --- the command line ------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "serve": serve,
    "volume": volume,
    "files": files,
    "training": training,
    "growth": growth,
}


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    print(f"{machine()}\n", flush=True)
    rows: list[Row] = []
    failed = False
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="brain-mri-bench-") as folder:
        options = Options(Path(folder), args.model, args.data, args.masks)
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
        table = [asdict(row) | {"met": row.met} for row in rows]
        facts = {"machine": machine(), "others_percent": share, "rows": table}
        args.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return 2 if failed else 1 if missed else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    p.add_argument("--model", default=str(BUNDLED), metavar="DIR", help="default: the bundled weights")
    p.add_argument("--data", type=Path, metavar="DIR", help="class folders; default: phantoms drawn on the fly")
    p.add_argument("--masks", type=Path, metavar="DIR", help="image/mask pairs for them")
    p.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures")
    return p


def machine() -> str:
    """What it runs on, in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, ONNX Runtime {ort.__version__}"
    return f"{cores()} cores, {processor}; {platform.system()}; {versions}"


if __name__ == "__main__":
    sys.exit(main())
