"""A model that came from elsewhere, opened and run for the first time in a process of its own.

An ONNX file is a program: it may loop without end or ask for all memory, and ONNX Runtime cannot be stopped while it
opens one. So a child process with limits does it first. From elsewhere is every model but the bundled one: a folder
that was downloaded looks like one that was trained here, and the trial takes about a second, once for each model and
process. `Predictor(load_artifact(folder))`, as training uses it for what it has just exported, goes without.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from brain_mri.artifact.config import ArtifactError, plain
from brain_mri.artifact.folder import Artifact
from brain_mri.inference.runner import Networks

SECONDS = 30  # of processor time; an ordinary model takes one
MEMORY = 4 * 2**30  # bytes of addresses
REFUSED = 3  # exit status of a child that has written why
ROOT = Path(__file__).resolve().parents[2]
# A child needs no tokens and passwords of its parent.
HANDED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
# On a machine of many cores the threads of a library would take all addresses, whatever the model is.
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}

_known: dict[tuple[object, ...], str] = {}  # what came of the trials of this process: "" where a model has passed


def try_out(artifact: Artifact, *, seconds: int = SECONDS, memory: int = MEMORY) -> None:
    """Raises ArtifactError with a sentence for a model that cannot be opened and run within the limits."""
    config, folder = artifact.config, artifact.folder
    networks = config.segmenter.is_network
    tried = (artifact.image_size, networks, *(config.files[name].sha256 for name in config.onnx_files))
    if tried not in _known:  # a visitor who asks again for a model that never answers costs nothing more
        _known[tried] = _reason(folder.resolve(), artifact.image_size, networks, seconds, memory)
    if reason := _known[tried]:
        raise ArtifactError(f"{folder}: {reason}.")


def _reason(folder: Path, size: int, networks: bool, seconds: int, memory: int) -> str:
    """Why a model cannot be used, "" where it can. Raises ArtifactError when no process can be started."""
    # -P, and not in the model's folder: a file of the name of a module there would be run.
    command = [sys.executable, "-P", "-m", "brain_mri.inference.trial"]
    command += map(str, (folder, size, int(networks), seconds, memory))
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {name: os.environ[name] for name in HANDED_ON if name in os.environ} | ALONE | {"PYTHONPATH": path}
    try:
        run = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, timeout=5 * seconds)
    except OSError as error:
        raise ArtifactError(f"{folder}: the models could not be tried ({plain(error)}).") from None
    except subprocess.TimeoutExpired:
        run = None
    if run and run.returncode in (0, REFUSED):
        return plain(run.stdout) and f"the models do not fit their config.json ({plain(run.stdout)}); train them again"
    return (
        f"the models are not used, for they need more than {seconds} s or {memory / 2**30:.1f} GB to be opened and to "
        "answer once, or end the program that runs them"
    )


def limit(seconds: int, memory: int) -> None:
    """Of this process. Windows has no such limits; there the parent's patience is the only one."""
    if sys.platform != "win32":
        import resource  # not on Windows

        for kind, most in (("RLIMIT_CPU", seconds), ("RLIMIT_AS", memory), ("RLIMIT_CORE", 0)):
            with contextlib.suppress(OSError, ValueError):  # a lower one holds already; macOS knows not all of them
                resource.setrlimit(getattr(resource, kind), (most, most))


def main(folder: str, size: str, networks: str, seconds: str, memory: str) -> int:
    limit(int(seconds), int(memory))
    try:
        found = Networks(Path(folder), 1, segmenter=networks == "1")
        noise = np.random.default_rng(0).integers(0, 256, (int(size), int(size)), np.uint8)
        for picture in (np.zeros_like(noise), np.full_like(noise, 255), noise):
            found(picture[None])
    except Exception as error:  # whatever ONNX Runtime or NumPy make of a foreign graph
        if "alloc" in f"{error} {error.__context__}":  # "std::bad_alloc", "Failed to allocate": the parent says it
            return 1
        print(plain(error).rstrip(".") or type(error).__name__)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
