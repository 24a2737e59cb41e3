"""python -m brain_mri VERB ...: one command for everything beside the page and the training."""

from __future__ import annotations

import importlib
import sys

VERBS = {
    "audit": "what is wrong with a data folder",
    "bundle": "copy a run into weights/ without the files that show patients",
    "evaluate": "measure a model on labelled folders",
    "hub": "push, pull, deploy",
    "leaderboard": "train and compare the usual student models",
    "phantom": "draw synthetic slices with masks",
    "predict": "analyse many files",
    "tune": "search hyper-parameters",
    "volumes": "measure a model on NIfTI volumes with masks",
}


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in VERBS:
        print("usage: python -m brain_mri VERB ...\n")
        print("\n".join(f"  {verb:12} {text}" for verb, text in VERBS.items()))
        return 0 if arguments in ([], ["-h"], ["--help"]) else 2
    sys.argv = [f"brain_mri {arguments[0]}", *arguments[1:]]
    # until their command lines stand in cli/
    room = {"hub": "artifact", "phantom": "data", "audit": "evaluation"}.get(arguments[0], "cli")
    return importlib.import_module(f"brain_mri.{room}.{arguments[0]}").main(arguments[1:]) or 0


if __name__ == "__main__":
    sys.exit(main())
