"""Good and bad requests from many clients at once: every answer right, every refusal a sentence, memory flat.

    python -m dev.soak                                          # 2,000 requests from 16 clients, the bundled model
    python -m dev.soak --requests 300 --clients 4 --model runs/mine

Starts app.py as a process of its own, sends phantoms in many formats and broken, lying and empty files to its named
endpoints, and compares each answer with what the same model says without a server: label, probabilities within 1e-5,
mask to the bit, refusals word for word. Prints a table. Exit status 1 when anything was wrong or memory grew by more
than --growth percent after the first fifth of the requests.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from PIL import Image

from brain_mri.artifact.folder import BUNDLED
from brain_mri.classes import CLASSES
from brain_mri.data import phantom
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.imaging.volume import read_volume
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.volume_analysis import analyze_volume
from dev.child_process import ended, free_port
from tests.helpers.files import make_volume, write_nifti

APP = Path(__file__).resolve().parent.parent / "app.py"
EXAMPLES = APP.parent / "assets" / "examples"
WARM = 0.2  # share of the requests after which memory should stay as it is
# Of a hundred requests.
SHARES = {"analyze": 46, "segment": 14, "heatmap": 5, "report": 3, "volume": 2, "batch": 3, "model": 4, "bad": 23}
SAME = 1e-5  # probabilities of two passes through the model


# --- what is sent, and what must come back ---------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One call. check: what is wrong with the answer, "" when nothing is; sentence: the refusal that is due instead."""

    endpoint: str
    values: dict[str, Any]
    check: Callable[[Any], str] = lambda answer: ""
    sentence: str = ""


def good_files(folder: Path) -> list[Path]:
    """One slice each, in the formats that people upload."""
    files = [
        Path(shutil.copy(path, folder)) for path in sorted(EXAMPLES.iterdir()) if not path.name.endswith(".nii.gz")
    ]
    for i, label in enumerate(CLASSES):
        picture = Image.fromarray(phantom.make_phantom(label, 40 + i, 200 + 60 * i).image)
        forms: dict[str, tuple[Image.Image, dict[str, Any]]] = {
            "png": (picture.convert("P"), {}),
            "jpg": (picture.convert("CMYK"), {"quality": 90}),
            "tif": (picture.convert("F"), {}),
            "webp": (picture.convert("RGB"), {"lossless": True}),
            "gif": (picture, {"save_all": True, "append_images": [picture.rotate(9)]}),
        }
        for kind, (image, options) in forms.items():
            files.append(folder / f"{label}.{kind}")
            image.save(files[-1], **options)
    return files


def bad_files(folder: Path, good: Sequence[Path]) -> list[Path]:
    """Broken, lying and empty ones."""
    whole = {path.suffix: path.read_bytes() for path in good}
    bomb = bytearray(whole[".gif"])
    bomb[6:10] = b"\xff" * 4
    contents = {
        "empty.png": b"",
        "letter.png": b"dear doctor",
        "cut.png": whole[".png"][:300],
        "cut.dcm": whole[".dcm"][:-4000],
        "cut.tif": whole[".tif"][:5000],
        "bomb.gif": bytes(bomb),
        "noise.jpg": b"\xff\xd8\xff" + random.Random(0).randbytes(3000),
        "<b>page</b>.html": b"<html><script>alert(1)</script></html>",
        "half.nii": b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(40),
    }
    for name, data in contents.items():
        (folder / name.replace("/", "_")).write_bytes(data)
    return [folder / name.replace("/", "_") for name in contents]


def requests_for(predictor: Predictor, folder: Path) -> dict[str, list[Request]]:
    """Kind of request -> all of that kind, with what must come back."""
    good = good_files(folder)
    kinds: dict[str, list[Request]] = {kind: [] for kind in SHARES}
    for path in good:
        a = predictor.analyze(read_scan(path))
        kinds["analyze"].append(Request("/analyze", {"scan": path}, _same_analysis(a.label, a.probabilities)))
        kinds["segment"].append(Request("/segment", {"scan": path}, _same_mask(a.mask)))
        kinds["segment"].append(Request("/segment", {"scan": path, "method": "kmeans"}, _same_mask(a.kmeans())))
        kinds["heatmap"].append(Request("/heatmap", {"scan": path, "label": a.label}, _picture_of(a.image.shape)))
        kinds["report"].append(Request("/report", {"scan": path}, _same_report(a.label, a.probabilities)))
        kinds["bad"].append(Request("/segment", {"scan": path, "threshold": 3}, sentence="must lie between 0 and 1"))
        kinds["bad"].append(Request("/analyze", {"scan": path, "slice_index": 77}, sentence="77"))
        kinds["bad"].append(Request("/analyze", {"scan": path, "model": "/etc"}, sentence="no model /etc"))
    for path in bad_files(folder, good):
        try:
            read_scan(path)
            raise AssertionError(f"{path.name} was to be unreadable")
        except ScanError as error:
            due = html.escape(str(error), quote=False).removeprefix(html.escape(path.name, quote=False))
        kinds["bad"] += [Request(f"/{name}", {"scan": path}, sentence=due) for name in ("analyze", "report", "heatmap")]
    kinds["bad"].append(Request("/analyze", {"scan": None}, sentence="No file was given"))
    voxels, _, spacing = make_volume("glioma", 9, 96, 6)
    stack = write_nifti(folder / "stack.nii.gz", voxels, spacing)
    found = analyze_volume(predictor, read_volume(stack))
    kinds["volume"].append(Request("/volume", {"files": [stack]}, _same_volume(found.to_dict())))
    labels = [predictor.analyze(read_scan(path)).label for path in good[:3]]
    mixed = [*good[:3], folder / "letter.png"]
    kinds["batch"].append(Request("/batch", {"files": mixed}, _same_batch([*labels, None])))
    kinds["model"].append(Request("/model", {}, lambda answer: _unequal(answer["revision"], predictor.revision)))
    return kinds


def _unequal(found: Any, due: Any) -> str:
    return "" if found == due else f"{found!r:.80} instead of {due!r:.80}"


def _same_probabilities(found: dict[str, float], label: str, due: dict[str, float]) -> str:
    far = max(abs(found["probabilities"][name] - due[name]) for name in due)  # type: ignore[index]
    return _unequal(found["label"], label) or ("" if far <= SAME else f"probabilities differ by {far:.2g}")


def _same_analysis(label: str, due: dict[str, float]) -> Callable[[Any], str]:
    return lambda answer: _same_probabilities(answer[0], label, due) or _all_pictures(answer[1:])


def _same_report(label: str, due: dict[str, float]) -> Callable[[Any], str]:
    def check(answer: Sequence[str]) -> str:
        data = next(path for path in answer if path.endswith(".json"))
        return _same_probabilities(json.loads(Path(data).read_text(encoding="utf-8")), label, due)

    return check


def _same_mask(due: np.ndarray) -> Callable[[Any], str]:
    def check(answer: Any) -> str:
        found = cv2.imread(answer[1], cv2.IMREAD_UNCHANGED)
        same = found is not None and np.array_equal(found > 0, due)
        return "" if same else "another mask"

    return check


def _picture_of(shape: tuple[int, ...]) -> Callable[[Any], str]:
    def check(answer: Any) -> str:
        found = cv2.imread(answer)
        return "no picture" if found is None else _unequal(found.shape[:2], shape)

    return check


def _all_pictures(paths: Sequence[str]) -> str:
    return "" if all(cv2.imread(path) is not None for path in paths) else "no picture"


def _same_volume(due: dict[str, Any]) -> Callable[[Any], str]:
    keys = ("label", "marked_slices", "shape")
    return lambda answer: _unequal({k: answer[0][k] for k in keys}, {k: due[k] for k in keys})


def _same_batch(labels: list[str | None]) -> Callable[[Any], str]:
    return lambda answer: _unequal([row.get("label") for row in answer[0]["rows"]], labels)


# --- the server ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(model: str | Path, folder: Path, program: Sequence[str] | None = None) -> Iterator[tuple[str, int, Path]]:
    """(address, process id, log) of app.py with its temporary files below `folder`.

    program: another one that takes the port as its next argument, and --model.
    """
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    settings = os.environ | {"GRADIO_TEMP_DIR": str(folder / "gradio"), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [*(program or [sys.executable, str(APP), "--port"]), str(port), "--model", str(model)]
    with log.open("w") as file:
        process = subprocess.Popen(command, env=settings, stdout=file, stderr=file)
    with ended(process):
        deadline = time.monotonic() + 300
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"app.py did not start: {log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/config", timeout=5):
                break
            time.sleep(0.2)
        yield url, process.pid, log


def resident(pid: int) -> float:
    """MB of memory that a process holds; NaN where there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), float("nan"))


# --- the run ---------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came back."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[int, float]] = field(default_factory=list)  # (requests answered, MB)


class Refused(Exception):
    """The server answered with a sentence instead."""


class Caller:
    """The named endpoints over plain HTTP, each call a visitor of its own, as curl would do it (see README)."""

    def __init__(self, url: str, folder: Path):
        self.http, self.folder = httpx.Client(base_url=f"{url}/gradio_api", timeout=300, trust_env=False), folder

    def __call__(self, endpoint: str, values: dict[str, Any]) -> Any:
        """The outputs, files as paths of local copies; one output comes without a list. Raises Refused, HTTPError."""
        body = {name: self._uploaded(value) for name, value in values.items()}
        event = self.http.post(f"/call/v2{endpoint}", json=body).raise_for_status().json()["event_id"]
        kind = ""
        with self.http.stream("GET", f"/call{endpoint}/{event}") as stream:
            stream.raise_for_status()
            for line in stream.iter_lines():
                if line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:") and kind == "error":
                    raise Refused(str((json.loads(line[5:]) or {}).get("error")))
                elif line.startswith("data:") and kind == "complete":
                    answer = self._fetched(json.loads(line[5:]))
                    return answer[0] if len(answer) == 1 else answer
        raise httpx.HTTPError(f"The answer ended after {kind!r}.")

    def _uploaded(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._uploaded(v) for v in value]
        if not isinstance(value, Path):
            return value
        answer = self.http.post("/upload", files={"files": (value.name, value.read_bytes())}).raise_for_status()
        return {"path": answer.json()[0], "orig_name": value.name, "meta": {"_type": "gradio.FileData"}}

    def _fetched(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._fetched(v) for v in value]
        if not isinstance(value, dict) or value.get("meta") != {"_type": "gradio.FileData"}:
            return value
        self.folder.mkdir(exist_ok=True)
        copy = self.folder / f"{len(list(self.folder.iterdir()))}{Path(value['path']).suffix}"
        copy.write_bytes(self.http.get(f"/file={value['path']}").raise_for_status().content)
        return str(copy)


def soak(url: str, pid: int, jobs: Sequence[tuple[str, Request]], clients: int, folder: Path) -> Tally:
    """Send all jobs, each client one after the other, all clients at once."""
    tally, lock, own = Tally(), threading.Lock(), threading.local()
    every = max(1, len(jobs) // 20)

    def work(job: tuple[str, Request]) -> None:
        if not hasattr(own, "caller"):
            own.caller = Caller(url, folder / f"client-{threading.get_ident()}")
        kind, request = job
        started = time.perf_counter()
        outcome, complaint = call(own.caller, request)
        seconds = time.perf_counter() - started
        shutil.rmtree(own.caller.folder, ignore_errors=True)
        with lock:
            tally.counts[f"{kind}: {outcome}"] += 1
            tally.counts[outcome] += 1
            tally.seconds.append(seconds)
            if complaint:
                tally.wrong.append(f"{request.endpoint} {request.values}: {complaint}")
            if len(tally.seconds) % every == 0:
                tally.memory.append((len(tally.seconds), resident(pid)))

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, jobs))
    return tally


def call(caller: Callable[[str, dict[str, Any]], Any], request: Request) -> tuple[str, str]:
    """("answered" | "refused" | "failed", complaint)."""
    try:
        answer = caller(request.endpoint, request.values)
    except Refused as refusal:
        said = str(refusal)
        if not request.sentence:
            return "failed", f"refused: {said}"
        return "refused", "" if request.sentence in said else f"said {said!r} instead of {request.sentence!r}"
    except Exception as error:  # a 5xx, a broken connection, anything that is no sentence
        return "failed", f"{type(error).__name__}: {error}"
    if request.sentence:
        return "answered", "an answer instead of a refusal"
    return "answered", request.check(answer)


def growth(memory: Sequence[tuple[int, float]], total: int) -> tuple[float, float, float]:
    """(MB after the warm-up, MB at the end, percent of growth); each the median of three samples."""
    after = [mb for done, mb in memory if done >= WARM * total]
    first, last = (statistics.median(part) if part else float("nan") for part in (after[:3], after[-3:]))
    return first, last, 100 * (last / first - 1)


def table(tally: Tally, seconds: float, clients: int, errors: int, files: Path) -> str:
    times = sorted(tally.seconds)
    first, last, percent = growth(tally.memory, len(times))
    kept = [path for path in files.rglob("*") if path.is_file()]
    rows = {
        "requests · clients": f"{len(times)} · {clients}",
        "time · requests a second": f"{seconds:.0f} s · {len(times) / seconds:.1f}",
        "median · 95th percentile · longest": " · ".join(
            f"{1000 * times[min(len(times) - 1, int(share * len(times)))]:.0f} ms" for share in (0.5, 0.95, 1)
        ),
        "answered · refused with a sentence": f"{tally.counts['answered']} · {tally.counts['refused']}",
        "wrong · failed without a sentence": f"{len(tally.wrong)} · {tally.counts['failed']}",
        "tracebacks in the server's log": str(errors),
        "memory after warm-up · at the end": f"{first:.0f} MB · {last:.0f} MB ({percent:+.1f} %)",
        "temporary files left": f"{len(kept)}, {sum(p.stat().st_size for p in kept) / 2**20:.0f} MB",
    }
    return "\n".join(["| soak | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--model", default=str(BUNDLED), help="artifact folder (default: the bundled model)")
    parser.add_argument("--growth", type=float, default=5.0, help="percent of memory growth that is still accepted")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        (folder / "scans").mkdir()
        kinds = requests_for(Predictor.load(args.model), folder / "scans")
        chosen = rng.choices(list(SHARES), list(SHARES.values()), k=args.requests)
        jobs = [(kind, rng.choice(kinds[kind])) for kind in chosen]
        with served(args.model, folder) as (url, pid, log):
            started = time.perf_counter()
            tally = soak(url, pid, jobs, args.clients, folder)
            seconds = time.perf_counter() - started
        errors = log.read_text(errors="replace").count("Traceback")
        print(table(tally, seconds, args.clients, errors, folder / "gradio"))
        print("memory, MB: " + " ".join(f"{mb:.0f}" for _, mb in tally.memory))
    for complaint in tally.wrong[:10]:
        print(f"wrong: {complaint}", file=sys.stderr)
    grown = growth(tally.memory, args.requests)[2]
    return int(bool(tally.wrong) or errors > 0 or grown > args.growth)


if __name__ == "__main__":
    sys.exit(main())
