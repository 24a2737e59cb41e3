"""An artifact folder on the Hugging Face Hub: push it, pull it, serve it from a Gradio Space.

python -m brain_mri hub push   runs/mine user/name [--private] [--tag TAG]
python -m brain_mri hub pull   user/name[@branch|tag|commit]
python -m brain_mri hub deploy user/space --model user/name [--hardware zero-a10g]
python -m brain_mri hub space  FOLDER [--model runs/mine]      # the same files in a folder, to push yourself
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from brain_mri.artifact.hub import pull
from brain_mri.artifact.hub_client import HubError
from brain_mri.artifact.hub_push import push
from brain_mri.artifact.space import deploy, write_space


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    try:
        if args.command == "push":
            done = push(args.folder, args.repo_id, private=args.private, tag=args.tag)
            print(f"{done.url} {'now holds' if done.changed else 'already held'} this model.")
            print(f"revision {done.revision}, tag {done.tag}")
            if done.note:
                print(done.note)
        elif args.command == "pull":
            got = pull(args.repo_id, patience=600)
            print(f"{got.folder}\nrevision {got.revision} from the {got.source}")
            if got.note:
                print(got.note, file=sys.stderr)
        elif args.command == "space":
            written = write_space(args.folder, model=args.model)
            print(f"{args.folder} holds a Space ({len(written)} files). Push it with git, or `gradio deploy` in it.")
        else:
            space = deploy(args.space_id, model=args.model, private=args.private, hardware=args.hardware)
            print(f"{space.url} {'was updated' if space.changed else 'is up to date'} ({len(space.files)} files).")
            for note in space.notes:
                print(note)
    except HubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    one = commands.add_parser("push", help="publish an artifact folder as a model")
    one.add_argument("folder", type=Path)
    one.add_argument("repo_id", metavar="user/name")
    one.add_argument("--private", action="store_true", help="create the repository as a private one")
    one.add_argument("--tag", help="name of the tag (default: run-<date>-<digest>)")
    two = commands.add_parser("pull", help="fetch and check a model; prints its folder")
    two.add_argument("repo_id", metavar="user/name[@revision]")
    three = commands.add_parser("deploy", help="create or update a Gradio Space that serves a model")
    three.add_argument("space_id", metavar="user/space")
    three.add_argument("--model", metavar="user/name[@revision]", help="default: the bundled weights")
    three.add_argument("--private", action="store_true", help="create the Space as a private one")
    three.add_argument("--hardware", help="cpu-basic, zero-a10g, ... (default: what the account may use)")
    four = commands.add_parser("space", help="write the files of a Space into a folder, without any upload")
    four.add_argument("folder", type=Path)
    four.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled weights")
    return p


if __name__ == "__main__":
    sys.exit(main())
