"""The parts of bench.py that serve: one scan, the page, a volume, a thousand files, and how their cost grows."""

from __future__ import annotations

import contextlib
import itertools
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
from gradio_client import Client, handle_file

from brain_mri.data.phantom import make_volume, write_nifti
from brain_mri.imaging.preprocessing import preprocess
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.onnx_model import cores, ort
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume
from dev.bench_table import PYTHON, ROOT, Clock, Options, Row, interleaved, jpeg, pictures, run
from dev.child_process import ended, free_port

NO_TENSORFLOW = """import sys, app
app.build_interface(sys.argv[1])
print(len({"tensorflow", "keras", "tf2onnx"} & {name.split(".")[0] for name in sys.modules}))"""


def serve(options: Options) -> Iterator[Row]:
    """One 512x512 JPEG: in the process, against the bare models and the usual way, and through the page."""
    path, usual = options.folder / "slice.jpg", options.folder / "usual"
    path.write_bytes(jpeg("glioma", 3))
    data = path.read_bytes()
    predictor = Predictor.load(options.model)
    usual.mkdir(exist_ok=True)
    run("bench_usual.py", "save", usual, predictor.artifact.folder)

    def analyze() -> object:
        a = predictor.analyze(read_scan(data))
        return a.probabilities, a.mask, a.heatmap

    with answering(usual) as answer:
        works = {"bare": bare(predictor, path), "analyze": analyze, "usual": lambda: answer(path)}
        s = interleaved(works, 3 if options.quick else 30)
    note = f"{1000 * s['analyze']:.1f} ms against {1000 * s['bare']:.1f} ms"
    yield Row("serve", "analyze a 512x512 JPEG, of the bare forward passes", s["analyze"] / s["bare"], "x", 1.5,
              note=note)  # fmt: skip
    note = f"the usual way takes {1000 * s['usual']:.0f} ms"
    yield Row("serve", "analyze, faster than the usual way by", s["usual"] / s["analyze"], "x", least=10, note=note)

    starts: dict[str, list[float]] = {"ours": [], "usual": []}
    memory: dict[str, float] = {}
    for _ in range(1 if options.quick else 3):
        with first_answer(["bench_usual.py", "page", str(usual)], path) as (seconds, ask, process):
            starts["usual"].append(seconds)
            interleaved({"usual": ask}, 3)
            memory["usual"] = resident(process)
        with first_answer(["app.py", "--model", options.model, "--port"], path) as (seconds, ask, process):
            starts["ours"].append(seconds)
            times = interleaved({"here": analyze, "page": ask}, 3 if options.quick else 20)
            memory["ours"] = resident(process)
    here, page = 1000 * times["here"], 1000 * times["page"]
    yield Row("serve", "one answer through HTTP, median", page, "ms", max(6 * here, 120.0),
              note=f"{page / here:.1f} times the one in the process")  # fmt: skip
    ours, theirs = (statistics.median(starts[name]) for name in ("ours", "usual"))
    note = f"{ours:.1f} s against {theirs:.1f} s"
    yield Row("serve", "start to the first answer, faster than the usual way by", theirs / ours, "x", least=3,
              note=note)  # fmt: skip
    note = f"{memory['ours']:.0f} MB against {memory['usual']:.0f} MB"
    yield Row("serve", "resident memory, of the usual way", memory["ours"] / memory["usual"], "x", 0.333, note=note)
    found = float(run("-c", NO_TENSORFLOW, options.model))
    yield Row("serve", "of tensorflow, keras, tf2onnx in sys.modules of the page", found, "", 0)


def bare(predictor: Predictor, path: Path) -> Callable[[], object]:
    """The forward passes of both models, in sessions as ONNX Runtime makes them."""
    square, _ = preprocess(read_scan(path).image, predictor.image_size)
    image = {"image": square[None, ..., None].astype(np.float32)}
    files = [f for f in sorted(predictor.artifact.folder.glob("*.onnx"))]
    sessions = [ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]) for file in files]
    return lambda: [session.run(None, image) for session in sessions]


@contextlib.contextmanager
def answering(usual: Path) -> Iterator[Callable[[Path], float]]:
    """The usual way in its own process: path -> milliseconds."""
    process = subprocess.Popen(
        [PYTHON, "bench_usual.py", "answer", str(usual)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin and process.stdout

    def ask(path: Path) -> float:
        print(path, file=process.stdin, flush=True)
        return float(process.stdout.readline())  # type: ignore[union-attr]

    with ended(process):
        yield ask


@contextlib.contextmanager
def first_answer(command: Sequence[str], path: Path) -> Iterator[tuple[float, Callable[[], object], psutil.Process]]:
    """Start a page; (seconds until it has answered once, a function that asks again, its process)."""
    port = free_port()
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    process = subprocess.Popen([PYTHON, *command, str(port)], **quiet)  # type: ignore[call-overload]
    with ended(process):
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.perf_counter() - started > 300:
                raise RuntimeError(f"{command[0]} did not open a page.")
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


def resident(process: psutil.Process) -> float:
    """MB of a process and its children."""
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6


def volume(options: Options) -> Iterator[Row]:
    """A 256x256x150 phantom volume at once, against one call after the other."""
    depth = 12 if options.quick else 150
    path = options.folder / "volume.nii.gz"
    voxels, _, spacing = make_volume("glioma", 9, 256, depth)
    write_nifti(path, voxels, spacing)
    predictor, loaded = Predictor.load(options.model), read_volume(path)
    few = range(0, depth, 4 if options.quick else 10)
    works = {
        "volume": lambda: analyze_volume(predictor, loaded),
        "slices": lambda: [predictor.analyze(loaded.scan(i)) for i in range(depth)],
        "files": lambda: [predictor.analyze(read_scan(path, index=i)) for i in few],
    }
    s = interleaved(works, 1 if options.quick else 3)
    each = {"volume": s["volume"] / depth, "slices": s["slices"] / depth, "files": s["files"] / len(few)}
    ms = {name: f"{1000 * value:.1f} ms" for name, value in each.items()}
    what = f"256x256x{depth} volume, throughput of analyze_volume over analyze calls"
    yield Row("volume", f"{what}", each["slices"] / each["volume"], "x", least=2,
              note=f"{ms['volume']} against {ms['slices']} a slice; a single call already uses both cores")  # fmt: skip
    yield Row("volume", "the same over calls with the file and a slice number", each["files"] / each["volume"], "x",
              least=2, note=f"{ms['files']} a slice")  # fmt: skip


def files(options: Options) -> Iterator[Row]:
    """predict.py on 1,000 files: are the cores busy, does memory stay flat?"""
    count = 24 if options.quick else 1000
    folder, out = pictures(options, count), options.folder / "predicted"
    command = [PYTHON, "predict.py", "--model", options.model, "--out", str(out), str(folder)]
    clock, memory = Clock(), []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ended(process):
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                memory.append(resident(psutil.Process(process.pid)))
            time.sleep(0.1)
        wall, own, others = clock.wall, clock.own, clock.others
    if process.returncode:
        raise RuntimeError(f"predict.py ended with status {process.returncode}.")
    quarter = max(1, len(memory) // 4)
    before, after = (statistics.median(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    left = wall * cores() - others
    note = f"{wall:.0f} s, {1000 * wall / count:.0f} ms a file, start included; {own:.0f} of {left:.0f} core seconds"
    yield Row("files", f"predict.py on {count} files, cores busy", 100 * own / left, "%", least=85, note=note)
    yield Row("files", "its memory, last quarter against second", 100 * (after / before - 1), "%", 5,
              note=f"{before:.0f} MB and {after:.0f} MB")  # fmt: skip


def growth(options: Options) -> Iterator[Row]:
    """Seconds for ever more scans, read and analysed in groups, and the exponent."""
    counts = (1, 4, 16) if options.quick else (1, 10, 100, 1000)
    paths = sorted(pictures(options, counts[-1]).iterdir())
    predictor = Predictor.load(options.model)
    seconds = []
    for count in counts:

        def work(part: Sequence[Path] = paths[:count]) -> None:
            for first in range(0, len(part), 16):
                predictor.analyze_batch([read_scan(path) for path in part[first : first + 16]])

        seconds.append(interleaved({"scans": work}, 1 if options.quick or count > 100 else 5)["scans"])
        yield Row("growth", f"{count} scans", seconds[-1], "s", note=f"{1000 * seconds[-1] / count:.1f} ms each")
    exponent = float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])
    yield Row("growth", "exponent of the cost in the number of scans", exponent, "", 1.05)
