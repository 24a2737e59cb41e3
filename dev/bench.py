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
import itertools
import json
import math
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
from gradio_client import Client, handle_file

from brain_mri.artifact.folder import BUNDLED
from brain_mri.classes import CLASSES
from brain_mri.data import folders
from brain_mri.data.dataset import load_dataset
from brain_mri.data.phantom import make_phantom, write_dataset
from brain_mri.imaging.preprocessing import preprocess
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.onnx_model import cores, ort
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume
from dev.bench_table import Clock, Row, interleaved, resident
from dev.child_process import ended, free_port
from tests.helpers.files import make_volume, write_nifti

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm"}
ROOT = Path(__file__).resolve().parent.parent
USUAL = ["-m", "dev.bench_usual"]
SIZE = 128  # what the targets of reading are stated for
NO_TENSORFLOW = """import sys
from brain_mri.ui.page import build_interface
build_interface(sys.argv[1])
print(len({"tensorflow", "keras", "tf2onnx"} & {name.split(".")[0] for name in sys.modules}))"""


@dataclass(frozen=True)
class Options:
    """What the command line asks for, and a folder for the bench's own files."""

    folder: Path
    model: str
    data: Path | None = None  # class folders; None: phantoms
    masks: Path | None = None


# --- programs beside this one --------------------------------------------------------------------------------


def run(*command: object) -> str:
    """Output of a Python command, run in the repository. Raises RuntimeError with the end of what it said."""
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def start(command: Sequence[str], **pipes: int) -> subprocess.Popen[str]:
    """A Python command that runs on, silent but for the given pipes."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, text=True, **quiet | pipes)  # type: ignore[call-overload]


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


def jpeg(label: str, seed: int, size: int = 512) -> bytes:
    """A phantom slice as a JPEG file."""
    return cv2.imencode(".jpg", make_phantom(label, seed, size).image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


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


def serve(options: Options) -> Iterator[Row]:
    """One 512x512 JPEG: in the process, against the bare models and the usual way, and through the page."""
    path, usual = options.folder / "slice.jpg", options.folder / "usual"
    path.write_bytes(jpeg("glioma", 3))
    data = path.read_bytes()
    predictor = Predictor.load(options.model)
    usual.mkdir(exist_ok=True)
    run(*USUAL, "save", usual, predictor.artifact.folder)

    def analyze() -> object:
        a = predictor.analyze(read_scan(data))
        return a.probabilities, a.mask, a.heatmap

    with answering(usual) as answer:
        works = {"bare": bare(predictor, path), "analyze": analyze, "usual": lambda: answer(path)}
        s = interleaved(works, 30)
    note = f"{1000 * s['analyze']:.1f} ms against {1000 * s['bare']:.1f} ms"
    yield Row("serve", "analyze a 512x512 JPEG, of the bare forward passes", s["analyze"] / s["bare"], "x", 1.5,
              note=note)  # fmt: skip
    note = f"the usual way takes {1000 * s['usual']:.0f} ms"
    yield Row("serve", "analyze, faster than the usual way by", s["usual"] / s["analyze"], "x", least=10, note=note)

    starts: dict[str, list[float]] = {"ours": [], "usual": []}
    memory: dict[str, float] = {}
    for _ in range(3):
        with first_answer([*USUAL, "page", str(usual)], path) as (seconds, ask, process):
            starts["usual"].append(seconds)
            interleaved({"usual": ask}, 3)
            memory["usual"] = resident(process)
        with first_answer(["app.py", "--model", options.model, "--port"], path) as (seconds, ask, process):
            starts["ours"].append(seconds)
            times = interleaved({"here": analyze, "page": ask}, 20)
            memory["ours"] = resident(process)
    here, page = 1000 * times["here"], 1000 * times["page"]
    yield Row("serve", "one answer through HTTP, median", page, "ms", max(6 * here, 120.0),
              note=f"{page / here:.1f} times the one in the process")  # fmt: skip
    ours, theirs = (statistics.median(starts[name]) for name in ("ours", "usual"))
    yield Row("serve", "start to the first answer, faster than the usual way by", theirs / ours, "x", least=3,
              note=f"{ours:.1f} s against {theirs:.1f} s")  # fmt: skip
    note = f"{memory['ours']:.0f} MB against {memory['usual']:.0f} MB"
    yield Row("serve", "resident memory, of the usual way", memory["ours"] / memory["usual"], "x", 0.333, note=note)
    found = float(run("-c", NO_TENSORFLOW, options.model))
    yield Row("serve", "of tensorflow, keras, tf2onnx in sys.modules of the page", found, "", 0)


def bare(predictor: Predictor, path: Path) -> Callable[[], object]:
    """The forward passes of both models, in sessions as ONNX Runtime makes them."""
    square, _ = preprocess(read_scan(path).image, predictor.image_size)
    image = {"image": square[None, ..., None].astype(np.float32)}
    files = sorted(predictor.artifact.folder.glob("*.onnx"))
    sessions = [ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]) for file in files]
    return lambda: [session.run(None, image) for session in sessions]


@contextlib.contextmanager
def answering(usual: Path) -> Iterator[Callable[[Path], float]]:
    """The usual way in its own process: path -> milliseconds."""
    process = start([*USUAL, "answer", str(usual)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(path: Path) -> float:
        print(path, file=process.stdin, flush=True)
        return float(process.stdout.readline())  # type: ignore[union-attr]

    with ended(process):
        yield ask


@contextlib.contextmanager
def first_answer(command: Sequence[str], path: Path) -> Iterator[tuple[float, Callable[[], object], psutil.Process]]:
    """Start a page; (seconds until it has answered once, a function that asks again, its process)."""
    port = free_port()
    started = time.perf_counter()
    process = start([*command, str(port)])
    with ended(process):
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.perf_counter() - started > 300:
                raise RuntimeError(f"{command} did not open a page.")
            time.sleep(0.02)
        client = connect(f"http://127.0.0.1:{port}")

        def ask() -> object:
            return client.predict(handle_file(path), api_name="/analyze")

        ask()
        yield time.perf_counter() - started, ask, psutil.Process(process.pid)


def connect(url: str) -> Client:
    """The port may be open a moment before the page can describe itself."""
    for wait in itertools.count():
        try:
            return Client(url, verbose=False, ssl_verify=False)  # no certificates are read for each plain request
        except Exception:
            if wait > 100:
                raise
            time.sleep(0.05)
    raise AssertionError


def volume(options: Options) -> Iterator[Row]:
    """A 256x256x150 phantom volume at once, against one call after the other."""
    depth = 150
    path = options.folder / "volume.nii.gz"
    voxels, _, spacing = make_volume("glioma", 9, 256, depth)
    write_nifti(path, voxels, spacing)
    predictor, loaded = Predictor.load(options.model), read_volume(path)
    few = range(0, depth, 10)
    works = {
        "volume": lambda: analyze_volume(predictor, loaded),
        "slices": lambda: [predictor.analyze(loaded.scan(i)) for i in range(depth)],
        "files": lambda: [predictor.analyze(read_scan(path, index=i)) for i in few],
    }
    s = interleaved(works, 3)
    each = {"volume": s["volume"] / depth, "slices": s["slices"] / depth, "files": s["files"] / len(few)}
    ms = {name: f"{1000 * value:.1f} ms" for name, value in each.items()}
    what = f"256x256x{depth} volume, throughput of analyze_volume over analyze calls"
    yield Row("volume", what, each["slices"] / each["volume"], "x", least=2,
              note=f"{ms['volume']} against {ms['slices']} a slice; a single call already uses both cores")  # fmt: skip
    yield Row("volume", "the same over calls with the file and a slice number", each["files"] / each["volume"], "x",
              least=2, note=f"{ms['files']} a slice")  # fmt: skip


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
    yield Row("files", f"brain_mri predict on {count} files, cores busy", 100 * own / left, "%", least=85, note=note)
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
