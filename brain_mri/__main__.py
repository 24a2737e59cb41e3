"""python -m brain_mri VERB ...: one command for everything beside the page and the training.

Each verb is a file of brain_mri/cli/, imported only when it is asked for; `VERB --help` is its reference.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

VERBS = {
    "audit": "what is wrong with a data set, before anything is trained on it",
    "evaluate": "measure a model on labelled folders, beside baselines and with intervals",
    "volumes": "measure a model slice by slice on NIfTI volumes with masks",
    "compare": "put finished runs into one table",
    "predict": "analyse many files: a table, overlays and masks",
    "tune": "search hyper-parameters of train.py",
    "remote": "one command on a worker of a Dask cluster",
    "export": "LiteRT files for phones, checked against the ONNX files",
    "hub": "push, pull, deploy: the Hugging Face Hub and a Space",
    "phantom": "draw synthetic slices with exact masks",
    "bundle": "copy a run into weights/ without the files that show patients",
}
USAGE = "usage: brain-mri VERB ...      (or python -m brain_mri VERB ...; VERB --help says more)\n\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit status."""
    verb, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if verb in ("-h", "--help"):
        print(USAGE + "\n".join(f"  {name:<10}{text}" for name, text in VERBS.items()))
        return 0
    if verb not in VERBS:
        print(f"brain-mri: there is no verb {verb!r}; there are {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    sys.argv[:] = [f"brain-mri {verb}", *rest]  # how argparse names the program in its help
    try:
        program = importlib.import_module(f"brain_mri.cli.{verb}")
    except ModuleNotFoundError as error:  # a plain `pip install .` brings what serving needs
        if (error.name or "brain_mri").split(".")[0] in ("brain_mri", "model_def", "segmentation", "train"):
            raise
        what = "optuna" if error.name == "optuna" else "-r requirements.txt"  # `tune` alone needs that
        print(f"brain-mri {verb}: {error.name} is missing; pip install {what} brings it.", file=sys.stderr)
        return 1
    return program.main(rest) or 0


if __name__ == "__main__":
    sys.exit(main())
