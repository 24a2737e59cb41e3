"""What bench.py measures of answers, against the usual way of serving them (bench_usual.py) and the bare networks."""

from __future__ import annotations

import contextlib
import itertools
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
from gradio_client import Client, handle_file

from brain_mri.data.phantom import make_phantom
from brain_mri.imaging.picture import png
from brain_mri.imaging.preprocessing import preprocess
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.onnx_model import cores, ort
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume
from dev.bench_table import Row, interleaved, resident
from dev.child_process import ended, free_port
from tests.helpers.files import make_volume, write_nifti

ROOT = Path(__file__).resolve().parent.parent
USUAL = ["-m", "dev.bench_usual"]
NO_TENSORFLOW = """import sys
from brain_mri.ui.page import build_interface
build_interface(sys.argv[1])
print(len({"tensorflow", "keras", "tf2onnx"} & {name.split(".")[0] for name in sys.modules}))"""
GRADIO = {
    "usual": "import time; a = time.perf_counter(); import gradio; print(time.perf_counter() - a)",
    "ours": """import time
a = time.perf_counter()
from brain_mri.ui import hosting
with hosting.no_stubs():
    import gradio
print(time.perf_counter() - a)""",
}


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


# --- what is compared ------------------------------------------------------------------------------------------


def jpeg(label: str, seed: int, size: int = 512) -> bytes:
    """A phantom slice as a JPEG file."""
    return cv2.imencode(".jpg", make_phantom(label, seed, size).image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def usual_models(options: Options, predictor: Predictor) -> Path:
    """The folder with the networks of the usual way."""
    folder = options.folder / "usual"
    if not folder.is_dir():
        folder.mkdir()
        run(*USUAL, "save", folder, predictor.artifact.folder)
    return folder


def bare(predictor: Predictor, threads: int = 0) -> Callable[[], object]:
    """The forward passes of all models on one picture, in sessions as ONNX Runtime makes them. threads: 0 for all."""
    square, _ = preprocess(make_phantom("glioma", 3, 512).image, predictor.image_size)
    image = {"image": square[None, ..., None].astype(np.float32)}
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    files = sorted(predictor.artifact.folder.glob("*.onnx"))
    sessions = [ort.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"]) for file in files]
    return lambda: [session.run(None, image) for session in sessions]


def serve(options: Options) -> Iterator[Row]:
    """One 512x512 JPEG: in the process, against the bare models and the usual way, and through the page."""
    path = options.folder / "slice.jpg"
    path.write_bytes(jpeg("glioma", 3))
    data = path.read_bytes()
    predictor = Predictor.load(options.model)
    usual = usual_models(options, predictor)

    def analyze() -> object:
        a = predictor.analyze(read_scan(data))
        return a.probabilities, a.mask, a.heatmap

    with answering(usual) as answer:
        s = interleaved({"bare": bare(predictor), "analyze": analyze, "usual": lambda: answer(path)}, 30)
    ms = {name: 1000 * value for name, value in s.items()}
    yield Row("serve", "analyze a 512x512 JPEG, of the bare forward passes", s["analyze"] / s["bare"], "x", 1.5,
              note=f"{ms['analyze']:.1f} ms against {ms['bare']:.1f} ms")  # fmt: skip
    note = f"the usual way takes {ms['usual']:.0f} ms, {s['usual'] / s['bare']:.0f} times the bare passes"
    yield Row("serve", "analyze, faster than the usual way by", s["usual"] / s["analyze"], "x", least=15, note=note)

    starts: dict[str, list[float]] = {"ours": [], "usual": []}
    imports: dict[str, list[float]] = {"ours": [], "usual": []}
    processor: dict[str, list[float]] = {"ours": [], "usual": []}
    memory: dict[str, float] = {}
    for _ in range(3):
        for name, program in GRADIO.items():
            imports[name].append(float(run("-c", program)))
        with first_answer([*USUAL, "page", str(usual)], path) as (seconds, ask, process):
            starts["usual"].append(seconds)
            processor["usual"].append(sum(process.cpu_times()[:2]))
            interleaved({"usual": ask}, 3)
            memory["usual"] = resident(process)
        with first_answer(["app.py", "--model", options.model, "--port"], path) as (seconds, ask, process):
            starts["ours"].append(seconds)
            processor["ours"].append(sum(process.cpu_times()[:2]))
            times = interleaved({"here": analyze, "page": ask}, 20)
            memory["ours"] = resident(process)
    here, page = 1000 * times["here"], 1000 * times["page"]
    note = f"{page / here:.1f} times the one in the process, {page / ms['bare']:.0f} the bare passes"
    yield Row("serve", "one answer through HTTP, median", page, "ms", max(6 * here, 120.0), note=note)
    ours, theirs = (statistics.median(starts[name]) for name in ("ours", "usual"))
    yield Row("serve", "start to the first answer, faster than the usual way by", theirs / ours, "x", least=3,
              note=f"{ours:.1f} s against {theirs:.1f} s")  # fmt: skip
    own, others = (statistics.median(processor[name]) for name in ("ours", "usual"))
    yield Row("serve", "the same in processor time, whatever else runs", others / own, "x", least=3,
              note=f"{own:.1f} s against {others:.1f} s")  # fmt: skip
    mine, other = (statistics.median(imports[name]) for name in ("ours", "usual"))
    note = f"`import gradio` takes {mine:.1f} s of ours, without its stubs for editors, and {other:.1f} s of the other"
    yield Row(
        "serve", "start to the first answer without `import gradio`", (theirs - other) / (ours - mine), "x", note=note
    )
    note = f"{memory['ours']:.0f} MB against {memory['usual']:.0f} MB"
    yield Row("serve", "resident memory, of the usual way", memory["ours"] / memory["usual"], "x", 0.333, note=note)
    found = float(run("-c", NO_TENSORFLOW, options.model))
    yield Row("serve", "of tensorflow, keras, tf2onnx in sys.modules of the page", found, "", 0)


def volume(options: Options) -> Iterator[Row]:
    """A 256x256x150 phantom volume at once, against one call after the other."""
    depth, few = 150, range(0, 150, 10)
    path = options.folder / "volume.nii.gz"
    voxels, _, spacing = make_volume("glioma", 9, 256, depth)
    write_nifti(path, voxels, spacing)
    predictor, loaded = Predictor.load(options.model), read_volume(path)
    pictures = [options.folder / f"slice-{i}.png" for i in few]
    for i, picture in zip(few, pictures, strict=True):
        picture.write_bytes(png(loaded.scan(i).image))
    usual, once = usual_models(options, predictor), bare(predictor, 1)
    found, alone = analyze_volume(predictor, loaded), [predictor.analyze(loaded.scan(i)) for i in range(depth)]
    with answering(usual) as answer, ThreadPoolExecutor(cores()) as pool:
        works = {
            "volume": lambda: analyze_volume(predictor, loaded),
            "slices": lambda: [predictor.analyze(loaded.scan(i)) for i in range(depth)],
            "files": lambda: [predictor.analyze(read_scan(path, index=i)) for i in few],
            "usual": lambda: [answer(picture) for picture in pictures],
            "bare": lambda: list(pool.map(lambda _: once(), range(depth))),
        }
        s = interleaved(works, 3)
    each = {name: 1000 * value / (len(few) if name in ("files", "usual") else depth) for name, value in s.items()}
    took = each["volume"]
    what = f"256x256x{depth} at once, faster than slice by slice"
    note = f"{took:.1f} ms a slice against {each['usual']:.0f} ms"
    yield Row("volume", f"{what} in the usual way by", each["usual"] / took, "x", least=3, note=note)
    yield Row("volume", "the same, than `analyze` with file and slice number by", each["files"] / took, "x", least=3,
              note=f"{each['files']:.0f} ms a slice")  # fmt: skip
    note = f"{each['slices']:.1f} ms a slice, on both cores, too; the bare passes alone, one on each, would give "
    note += f"{each['slices'] / each['bare']:.1f} x"
    yield Row("volume", "the same, than `analyze` of slices in memory by", each["slices"] / took, "x", least=3,
              note=note)  # fmt: skip
    yield Row("volume", "the same, of the bare passes, one on each core", took / each["bare"], "x",
              note=f"{each['bare']:.1f} ms a slice")  # fmt: skip
    other = sum(
        [np.float32(one.probabilities[name]) for name in found.classes] != row.tolist()
        or (not foreign and not np.array_equal(one.mask, mask))
        for one, row, mask, foreign in zip(alone, found.probabilities, found.mask, found.foreign, strict=True)
    )
    yield Row("volume", "slices with another answer than by a single call", float(other), "", 0)
