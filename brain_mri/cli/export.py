"""The networks of a finished run in another format: LiteRT (.tflite) for phones and small boards.

    python -m brain_mri export runs/mine --litert --data DIR --masks DIR     # adds runs/mine/litert/
    python -m brain_mri export runs/mine --litert                            # no data: float32 and float16 only
    python -m brain_mri export weights --litert --data DIR --out phone       # the bundled model, into a folder

Every file is checked with ai-edge-litert against the ONNX file that the page runs, on slices that the model has never
seen; --data and --masks as for train.py. vectors.json says what an app must do before and after the network.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import Artifact, load_artifact
from brain_mri.artifact.hub_client import HubError
from brain_mri.data.folders import DataError
from brain_mri.data.remote import given
from brain_mri.evaluation.held_out import as_trained, held_out
from brain_mri.evaluation.on_device import table
from brain_mri.inference.lite_model import INT8, KINDS, interpreter_class


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    if not args.litert:
        print("export: say into which format: --litert. (ONNX files are in every run.)", file=sys.stderr)
        return 2
    if args.slices < 1:
        print("export: --slices must be at least 1.", file=sys.stderr)
        return 2
    try:
        artifact = load_artifact(args.folder)
        kinds = tuple(kind for kind in KINDS if kind in args.kinds) if args.kinds else default_kinds(args.data)
        print(add_litert(artifact, args.data, args.masks, args.groups, kinds, args.slices, args.out))
        print(f"{args.out or args.folder / 'litert'} holds the files; vectors.json there says what to feed them.")
    except (ArtifactError, DataError, HubError, OSError, ValueError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    return 0


def default_kinds(data: Sequence[str] | None) -> tuple[str, ...]:
    if data:
        return KINDS
    print("Without --data there are no real slices, so int8 is left out.")
    return tuple(kind for kind in KINDS if kind != INT8)


def add_litert(
    artifact: Artifact,
    data: Sequence[str] | None,
    masks: Sequence[str] | None,
    groups: Path | None,
    kinds: tuple[str, ...],
    most: int = 500,
    out: Path | None = None,
) -> str:
    """Export into the artifact, or into out; returns the comparison as a table. Raises as put_litert and as_trained."""
    interpreter_class()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what fails is raised; the converter calls much else an error
    try:
        from brain_mri.training.phone import put_litert  # TensorFlow: only when something is exported
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing; pip install -r requirements.txt brings it.") from None
    dataset = None
    if data or masks:
        dataset, how = held_out(artifact, as_trained(artifact, data or [], masks, groups=groups))
        print(how)
    return table(put_litert(artifact, dataset, kinds, most=most, out=out))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="artifact folder that train.py wrote, with its .weights.h5")
    p.add_argument("--litert", action="store_true", help="LiteRT files, as Android and iOS run them")
    p.add_argument("--kinds", nargs="+", choices=KINDS, help="default: all, without --data all but int8")
    p.add_argument("--data", type=given, nargs="+", metavar="DIR", help="class folders, as for train.py")
    p.add_argument("--masks", type=given, nargs="+", metavar="DIR", help="pictures and masks, as for train.py")
    p.add_argument("--groups", type=Path, help="as for train.py")
    p.add_argument("--slices", type=int, default=500, help="at most so many test slices are compared on (%(default)s)")
    p.add_argument("--out", type=Path, metavar="DIR", help="write the files there and leave the artifact as it is")
    return p


if __name__ == "__main__":
    sys.exit(main())
