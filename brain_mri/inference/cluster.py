"""Work handed to the workers of a Dask cluster: a cohort in chunks, each part of its table written there; slices of an
evaluation.

    with connected("tcp://10.0.0.1:8786") as client:
        for done in to_parts(client, order, chunks):
            bar.update(done.files)
        ask = asking(client, model)                     # in the place of run_model

Dask does what such engines are for: it hands out, steals, and hands out again what a lost worker had begun. Ours is the
work of one chunk (inference.parts), and that a file which ends processes becomes a row.
"""

from __future__ import annotations

import logging
import pickle
import tempfile
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from brain_mri.artifact.config import plain
from brain_mri.imaging.scan import clean_name
from brain_mri.inference.cohort import Chunk, Done
from brain_mri.inference.jobs import BatchError, Job
from brain_mri.inference.patients import PatientTable
from brain_mri.inference.rows import Row
from brain_mri.inference.runner import BATCH, Ask, Outputs, joined
from brain_mri.inference.worker_model import WorkerModel

try:
    from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    from brain_mri.inference.parts import MORE, SLICES, TABLE, Order, Place, partial, write_part
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] == "brain_mri":
        raise
    raise BatchError(f"--cluster needs {error.name}: pip install -r requirements-scale.txt") from None

PATIENTS = "predictions_patients.csv"
LOCAL = "local"  # as an address: worker processes on this machine
AHEAD = 3  # chunks for each thread that are on their way: memory of the scheduler stays flat
RETRIES = 2  # of a chunk whose storage failed
WAIT = 10.0  # seconds for a scheduler to answer
GONE = "The scheduler is gone; with another one the same command goes on from here."
KILLS = "{} could not be analysed: every process that began it ended."
LOST = "Every worker that began it was lost: what it does ends its process, or needs more memory than they have."


class LostError(BatchError):
    """Every worker that began it was lost."""


@contextmanager
def connected(address: str, workers: int = 1) -> Iterator[Client]:
    """address: tcp://host:port, tls://, a scheduler file, or LOCAL with so many workers. Raises BatchError."""
    for name in ("distributed", "distributed.client"):  # the latter has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised
    # Dask's own dashboard address is that of all networks, on a port that may be taken
    quiet = {"threads_per_worker": 1, "silence_logs": logging.CRITICAL, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=workers, **quiet) if address == LOCAL else nullcontext() as cluster:
        try:
            file = address if Path(address).is_file() else None
            client = Client(cluster or (None if file else address), scheduler_file=file, timeout=WAIT)
        except Exception as error:  # also of what a scheduler file may hold
            reason = ": ".join(filter(None, (type(error).__name__, plain(error))))
            raise BatchError(f"There is no Dask scheduler at {address} ({reason}).") from None
        with client:
            yield client


def to_parts(
    client: Client, order: Order, chunks: Sequence[Chunk], patients: PatientTable | None = None
) -> Iterator[Done]:
    """What each part counts; first those that a run which was stopped has left. Raises BatchError.

    At the end predictions.parquet is a folder of parts, and with slices predictions_slices.parquet; with
    patients also predictions_patients.csv.
    """
    place = Place(order.out)
    try:
        place.write(f"{partial(TABLE)}/{order.mark}", b"-")
        parts = {order.part(chunk) for chunk in chunks} & place.begun(order)
        for name in sorted(parts):
            yield place.counts(f"{partial(TABLE)}/{name}")
        for chunk, done in _handed_out(client, order, place, [c for c in chunks if order.part(c) not in parts]):
            parts.add(order.part(chunk))
            yield done
        if order.slices:
            place.finish(SLICES, parts)
        place.finish(TABLE, parts)
        if patients:
            _answer_patients(order, place, patients)
    except CommClosedError:
        raise BatchError(GONE) from None
    except OSError as error:
        raise BatchError(f"The results could not be written to {order.out} ({error.strerror or error}).") from None


def asking(client: Client, model: WorkerModel) -> Ask:
    """`run_model` of this one model by the workers: slices go there, BATCH at a time, and what the networks say comes
    back. It shows a progress bar, and raises BatchError."""

    def ask(_: Path, images: np.ndarray) -> Outputs:
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        futures = [submitted(client, "inference.worker_model", "outputs", model, batch) for batch in batches]
        with tqdm(total=len(images), unit="slice", disable=None) as bar:
            for future in futures:
                future.add_done_callback(lambda _: bar.update(BATCH))
            return joined([answer(future) for future in futures])

    return ask


def _handed_out(client: Client, order: Order, place: Place, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Done]]:
    """Every chunk and what became of it, as they are finished; of one whose workers were lost again and again, its
    pieces. Those go last and one by one, since a worker takes with it whatever it had been given."""
    left, suspects = deque(chunks), deque[Chunk]()
    under_way, finished = dict[Future, Chunk](), as_completed()
    run = uuid.uuid4().hex[:8]
    while left or suspects or under_way:
        room = AHEAD * max(1, sum(client.nthreads().values()))
        while (left and len(under_way) < room) or (suspects and not under_way):
            chunk = (left or suspects).popleft()
            key = f"chunk-{chunk.name}-{run}"
            future = submitted(client, "inference.parts", "analyze_chunk", order, chunk, key=key)
            under_way[future] = chunk
            finished.add(future)
        future = next(finished)
        chunk = under_way.pop(future)
        try:
            yield chunk, answer(future)
        except LostError:
            if len(pieces := chunk.pieces()) > 1:
                suspects.extend(pieces)
                continue
            rows = [(Row(order.shown(name), KILLS.format(clean_name(name))), [name]) for name in chunk.files]
            yield chunk, write_part(order, place, chunk, rows)


def submitted(client: Client, room: str, function: str, *arguments: Any, **options: Any) -> Future:
    """brain_mri.ROOM.FUNCTION(*arguments), by a worker. It is sent by value, its arguments sealed, since a name that a
    worker cannot import ends it."""

    def begin(module: str, sealed: bytes) -> Any:
        import importlib  # where the worker is, as what it imports

        return getattr(importlib.import_module(module), function)(*pickle.loads(sealed))

    return client.submit(begin, f"brain_mri.{room}", pickle.dumps(arguments), retries=RETRIES, **options)


def answer(future: Future) -> Any:
    """Raises BatchError for whatever went wrong there, LostError when every worker that began it was lost."""
    try:
        return future.result()
    except BatchError:
        raise
    except KilledWorker:
        raise LostError(LOST) from None
    except (FutureCancelledError, CommClosedError):
        raise BatchError(GONE) from None
    except ImportError as error:
        raise BatchError(
            f"A worker lacks {error.name}: every machine needs this program and its requirements-scale.txt."
        ) from None
    except Exception as error:
        raise BatchError(f"A worker failed ({type(error).__name__}: {error}).") from None


def _answer_patients(order: Order, place: Place, patients: PatientTable) -> None:
    """From the finished table."""
    for record in place.records(TABLE):
        paths = tuple(map(Path, record["paths"] or [record["file"]]))
        absent = [column for column in ("slices", *MORE) if record[column] is None]
        result = {column: value for column, value in record.items() if column not in absent}
        result["probabilities"] = {name: record[f"p_{name}"] for name in order.classes}
        deque(patients.noted([Job(paths, "", record["file"])]))
        patients.add(Row(record["file"], record["error"] or "", result, files=record["files"]))
    with tempfile.TemporaryDirectory() as folder:
        patients.write(Path(folder, PATIENTS))
        place.write(PATIENTS, Path(folder, PATIENTS).read_bytes())
