"""A cohort on many machines: chunks handed to the workers of a Dask cluster, each part of the table written there.

    with connected("tcp://10.0.0.1:8786") as client:
        for done in to_parts(client, order, chunks):
            bar.update(done.files)

Dask does what such engines are for: it hands out, steals, and hands out again what a lost worker had begun. Ours is the
work of one chunk (inference.parts), and that a file which ends processes becomes a row.
"""

from __future__ import annotations

import logging
import pickle
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from brain_mri.artifact.config import plain
from brain_mri.imaging.scan import clean_name
from brain_mri.inference.cohort import Chunk, Done
from brain_mri.inference.jobs import BatchError, Job
from brain_mri.inference.parts import MORE, SLICES, TABLE, Order, Place, partial, write_part
from brain_mri.inference.patients import PatientTable
from brain_mri.inference.rows import Row

PATIENTS = "predictions_patients.csv"
LOCAL = "local"  # as an address: worker processes on this machine
AHEAD = 3  # chunks for each thread that are on their way: memory of the scheduler stays flat
RETRIES = 2  # of a chunk whose storage failed
WAIT = 10.0  # seconds for a scheduler to answer
GONE = "The scheduler is gone; with another one the same command goes on from here."
KILLS = "{} could not be analysed: every process that began it ended."


@contextmanager
def connected(address: str, workers: int = 1) -> Iterator[Client]:
    """address: tcp://host:port, tls://, a scheduler file, or LOCAL with so many workers. Raises BatchError."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is raised
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


def _handed_out(client: Client, order: Order, place: Place, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Done]]:
    """Every chunk and what became of it, as they are finished; of one whose workers were lost again and again, its
    pieces. Those go last and one by one, since a worker takes with it whatever it had been given."""
    left, suspects = deque(chunks), deque[Chunk]()
    under_way, finished = dict[Future, Chunk](), as_completed()
    run, begin = uuid.uuid4().hex[:8], _task()
    while left or suspects or under_way:
        room = AHEAD * max(1, sum(client.nthreads().values()))
        while (left and len(under_way) < room) or (suspects and not under_way):
            chunk = (left or suspects).popleft()
            key = f"chunk-{chunk.name}-{run}"
            future = client.submit(begin, pickle.dumps((order, chunk)), key=key, retries=RETRIES)
            under_way[future] = chunk
            finished.add(future)
        future = next(finished)
        chunk = under_way.pop(future)
        try:
            yield chunk, future.result()
        except KilledWorker:
            if len(pieces := chunk.pieces()) > 1:
                suspects.extend(pieces)
                continue
            rows = [(Row(order.shown(name), KILLS.format(clean_name(name))), [name]) for name in chunk.files]
            yield chunk, write_part(order, place, chunk, rows)
        except BatchError:
            raise
        except FutureCancelledError:
            raise BatchError(GONE) from None
        except ImportError as error:
            raise BatchError(
                f"A worker lacks {error.name}: every machine needs this program and its requirements-scale.txt."
            ) from None
        except Exception as error:
            raise BatchError(f"A worker failed ({type(error).__name__}: {error}).") from None


def _task() -> Callable[[bytes], Done]:
    """What workers are sent: by value, its arguments sealed, since a name that a worker cannot import ends it."""

    def begin(sealed: bytes) -> Done:
        from brain_mri.inference.parts import analyze_chunk  # where the worker is, not where it is sent from

        return analyze_chunk(*pickle.loads(sealed))

    return begin


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
