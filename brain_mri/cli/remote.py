"""One command of this program on a worker of a Dask cluster: a training, a fold, an evaluation.

    python -m brain_mri remote tcp://10.0.0.1:8786 train.py --data DIR --fold 0 --out runs/fold-0
    python -m brain_mri remote scheduler.json evaluate --data DIR --out runs/check

It runs in the same folder, on a disk that all machines see, prints here, and ends when this one is ended (Ctrl-C). When
its worker is lost another one begins it again, a train.py with --resume. A worker takes as many commands at once as it
has threads: give it one. recipes/folds.sh and the other recipes take --cluster ADDRESS, and so does tune.

Exit status: that of the command; 2 when it could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_mri.inference.jobs import BatchError

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 65536  # bytes of what a command prints, at most, in one message
PATIENCE = 30.0  # seconds for a command to end when it is asked to


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    p = argparse.ArgumentParser(prog="brain-mri remote", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("cluster", metavar="ADDRESS", help="of the scheduler: tcp://host:8786, or its file")
    p.add_argument("command", help="train.py, or a verb such as evaluate")
    p.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="its options")
    args = p.parse_args(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        return sent(args.cluster, [args.command, *args.words])
    except (BatchError, OSError) as error:  # also when nobody reads what is printed
        print(f"remote: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def sent(address: str, words: Sequence[str]) -> int:
    """Have a worker run it, and print what it prints. Returns its exit status; raises BatchError."""
    from brain_mri.inference import cluster  # Dask, only here and where the worker is: `--help` does without

    name, said = f"brain-mri-{uuid.uuid4().hex[:12]}", queue.SimpleQueue[bytes | None]()

    def over(future: Any) -> None:
        if future.status != "finished":  # what was printed of one that is finished may still be on its way
            said.put(None)

    with cluster.connected(address) as client:
        client.subscribe_topic(name, lambda event: said.put(event[1]))
        future = cluster.submitted(client, "cli.remote", "run", [*words], os.getcwd(), name, key=name)
        future.add_done_callback(over)
        try:
            while (chunk := said.get()) is not None:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            return int(cluster.answer(future))
        except (KeyboardInterrupt, OSError):
            from distributed import Event  # as above

            with contextlib.suppress(Exception):  # it is waited for as long as the scheduler is there
                Event(_end(name), client=client).set()
                if Event(_begun(name), client=client).is_set():  # if not, no worker begins it once the client is gone
                    while said.get(timeout=PATIENCE) is not None:
                        pass
            raise


# --- where the worker is ---


def run(words: list[str], folder: str, name: str) -> int:
    """The exit status of a command in `folder`; what it prints are events of the topic `name`, and None at the end.
    Raises BatchError."""
    from distributed import Event, get_worker  # a worker has it

    if not Path(folder).is_dir():
        raise BatchError(f"{folder} is not there on a worker; work in a folder that all machines see.")
    worker, begun = get_worker(), Event(_begun(name))
    script = words[0].endswith(".py")
    if script and begun.is_set() and "--resume" not in words:
        worker.log_event(name, b"The worker was lost; another one goes on.\n")
        words = [*words, "--resume"]
    begun.set()
    program = [str(ROOT / words[0])] if script else ["-m", "brain_mri", words[0]]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, "-m", __name__, sys.executable, *program, *words[1:]],
        cwd=folder, env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        over = threading.Event()
        threading.Thread(target=_close_when_asked, args=(process.stdin, name, over), daemon=True).start()
        while chunk := os.read(process.stdout.fileno(), CHUNK):
            worker.log_event(name, chunk)
        over.set()
    worker.log_event(name, None)
    return process.returncode


def _begun(name: str) -> str:
    return f"{name}-begun"


def _end(name: str) -> str:
    return f"{name}-end"


def _close_when_asked(pipe: Any, name: str, over: threading.Event) -> None:
    """Until the command is over: who sent it may want it to end."""
    from distributed import Event  # as above

    try:
        end = Event(_end(name))
        while not over.is_set():
            if end.wait(timeout=1):
                pipe.write(b"-")
                return
    finally:  # also when the scheduler is gone
        with contextlib.suppress(OSError):
            pipe.close()


def beneath(command: Sequence[str]) -> int:
    """Run a command and what it starts, as leader of their group. A byte on standard input is a Ctrl-C for them; they
    are ended as soon as that ends, which it does with the process that holds its other end, however that one ends: a
    worker that is killed leaves nothing behind that writes on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who ignores it hands that down, as workers do behind a shell's &
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # those below are for the others

    def end() -> None:
        asked = os.read(0, 1)  # not through sys.stdin, whose lock Python cannot do without at its end
        os.killpg(0, signal.SIGINT if asked else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status  # as shells tell of signals


if __name__ == "__main__":
    sys.exit(beneath(sys.argv[1:]))
