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
import codecs
import contextlib
import os
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
    except BatchError as error:
        print(f"remote: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def sent(address: str, words: Sequence[str]) -> int:
    """Have a worker run it, and print what it prints. Returns its exit status; raises BatchError."""
    from brain_mri.inference import cluster  # Dask, only here and where the worker is: `--help` does without

    name, ended = f"brain-mri-{uuid.uuid4().hex[:12]}", threading.Event()

    def printed(event: tuple[Any, str | None]) -> None:
        if event[1] is None:
            ended.set()
        else:
            print(event[1], end="", flush=True)

    with cluster.connected(address) as client:
        client.subscribe_topic(name, printed)
        future = cluster.submitted(client, "cli.remote", "run", [*words], os.getcwd(), name, key=name)
        try:
            status = cluster.answer(future)
            ended.wait(PATIENCE)  # what it printed last may still be on its way
            return int(status)
        except KeyboardInterrupt:
            from distributed import Event  # as above

            Event(_end(name), client=client).set()
            with contextlib.suppress(Exception):  # it is not waited for longer
                future.result(PATIENCE)
            raise


# --- where the worker is ---


def run(words: list[str], folder: str, name: str) -> int:
    """The exit status of a command in `folder`; what it prints are events of the topic `name`, and None at the end.
    Raises BatchError."""
    from distributed import Event, get_worker  # a worker has it

    if not Path(folder).is_dir():
        raise BatchError(f"{folder} is not there on a worker; work in a folder that all machines see.")
    worker, begun = get_worker(), Event(f"{name}-begun")
    script = words[0].endswith(".py")
    if script and begun.is_set() and "--resume" not in words:
        worker.log_event(name, "The worker was lost; another one goes on.\n")
        words = [*words, "--resume"]
    begun.set()
    program = [str(ROOT / words[0])] if script else ["-m", "brain_mri", words[0]]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, "-m", __name__, sys.executable, *program, *words[1:]],
        cwd=folder, env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        over = threading.Event()
        threading.Thread(target=_close_when_asked, args=(process.stdin, name, over), daemon=True).start()
        text = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := os.read(process.stdout.fileno(), CHUNK):
            worker.log_event(name, text.decode(chunk))
        over.set()
    worker.log_event(name, None)
    return process.returncode


def _end(name: str) -> str:
    return f"{name}-end"


def _close_when_asked(pipe: Any, name: str, over: threading.Event) -> None:
    """Until the command is over: who sent it may want it to end."""
    from distributed import Event  # as above

    try:
        end = Event(_end(name))
        while not over.is_set() and not end.wait(timeout=1):
            pass
    finally:  # also when the scheduler is gone
        with contextlib.suppress(OSError):
            pipe.close()


def beneath(command: Sequence[str]) -> int:
    """Run a command and end it as soon as standard input ends, which it does with the process that holds its other
    end, however that one ends: a worker that is killed leaves nothing behind that writes on."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock Python cannot do without at its end
            pass
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()

    threading.Thread(target=end, daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status  # as shells tell of signals


if __name__ == "__main__":
    sys.exit(beneath(sys.argv[1:]))
