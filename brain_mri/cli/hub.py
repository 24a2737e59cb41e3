"""An artifact folder on the Hugging Face Hub: push it, pull it, serve it from a Gradio Space.

python -m brain_mri hub push   runs/mine user/name [--private] [--tag TAG]
python -m brain_mri hub push   runs/mine user/name --examples 6 --examples-license "CC BY 4.0" --data DIR [--masks DIR]
python -m brain_mri hub push   runs/mine user/name --litert --data DIR [--masks DIR]    # with LiteRT files for phones
python -m brain_mri hub pull   user/name[@branch|tag|commit]
python -m brain_mri hub deploy user/space --model user/name [--hardware zero-a10g]
python -m brain_mri hub space  FOLDER [--model runs/mine]      # the same files in a folder, to push yourself
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from brain_mri.artifact.examples import FOLDER, MOST, example_files, put_examples
from brain_mri.artifact.folder import load_artifact
from brain_mri.artifact.hub import pull
from brain_mri.artifact.hub_client import HubError
from brain_mri.artifact.hub_push import push
from brain_mri.artifact.parts import part_files
from brain_mri.artifact.space import deploy, write_space


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status; errors are one sentence on stderr."""
    args = parser().parse_args(argv)
    try:
        if args.command == "push":
            add_examples(args)
            add_litert(args)
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
            print(f"{args.folder} holds a Space ({len(written)} files).")
            print("Push it with git and git-lfs, or with `gradio deploy` in it.")
        else:
            space = deploy(args.space_id, model=args.model, private=args.private, hardware=args.hardware)
            print(f"{space.url} {'was updated' if space.changed else 'is up to date'} ({len(space.files)} files).")
            for note in space.notes:
                print(note)
    except (HubError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except EOFError:  # Ctrl-D at a question
        print("\nerror: The questions were not answered, so nothing was pushed.", file=sys.stderr)
        return 1
    return 0


def add_examples(args: argparse.Namespace) -> None:
    """Put slices of the run's own test split into its folder, where asked for. Raises ValueError with a sentence."""
    if args.examples is None and sys.stdin.isatty() and not example_files(load_artifact(args.folder)):
        ask(args)
    if args.examples is None:
        return
    if not args.examples:
        if example_files(load_artifact(args.folder)):
            put_examples(args.folder, {}, "", "")
        return
    licence = " ".join((args.examples_license or "").split())
    if not licence or not args.data:
        raise ValueError(
            "Examples are slices of patients: say under which licence they may be shown (--examples-license TEXT) and "
            "where they lie (--data DIR, and --masks as for train.py). Nothing was pushed."
        )
    # Only here: everything else needs the Hub's library alone
    from brain_mri.evaluation.held_out import as_trained
    from brain_mri.evaluation.slices_to_show import slices_to_show

    artifact = load_artifact(args.folder)
    dataset = as_trained(artifact, args.data, args.masks, groups=args.groups)
    pictures, how = slices_to_show(artifact, dataset, args.examples)
    put_examples(args.folder, pictures, licence, how)
    print(f"Examples: {', '.join(pictures)} in {args.folder / FOLDER}. {how}")
    print("Names, tags and EXIF are gone; text that is burnt into a picture is not.")


def add_litert(args: argparse.Namespace) -> None:
    """LiteRT files into the run's folder, where asked for and not there yet. Raises ValueError with a sentence."""
    if not args.litert:
        return
    if part_files(artifact := load_artifact(args.folder), "litert"):
        print(
            f"The LiteRT files in {args.folder / 'litert'} are pushed as they are; "
            f"`python -m brain_mri export {args.folder} --litert --data DIR` makes them anew."
        )
        return
    # Only here: everything else needs the Hub's library alone
    from brain_mri.cli import export

    print(export.add_litert(artifact, args.data, args.masks, args.groups, export.default_kinds(args.data)))


def ask(args: argparse.Namespace) -> None:
    """Of a person at the terminal; whoever presses Enter adds none."""
    print(f"Show up to {MOST} slices of this run's test split on its page, as examples to click? They become public.")
    if input("[y/N] ").strip().lower() not in ("y", "yes"):
        return
    args.examples = MOST
    folder = "" if args.data else input("Folder of the data, as given to train.py --data: ").strip()
    args.data = args.data or ([folder] if folder else None)
    args.masks = args.masks or input("Folder of the masks, or Enter: ").split() or None
    args.examples_license = args.examples_license or input("Licence of these slices, for example CC BY 4.0: ")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    one = commands.add_parser("push", help="publish an artifact folder as a model")
    one.add_argument("folder", type=Path)
    one.add_argument("repo_id", metavar="user/name")
    one.add_argument("--private", action="store_true", help="create the repository as a private one")
    one.add_argument("--tag", help="name of the tag (default: run-<date>-<digest>)")
    one.add_argument(
        "--examples",
        type=int,
        choices=range(MOST + 1),
        help="slices of the run's test split to show on its page (at a terminal you are asked; 0: none)",
    )
    one.add_argument("--examples-license", metavar="TEXT", help="under which these slices may be shown")
    one.add_argument("--litert", action="store_true", help="with LiteRT files, made now unless there are some")
    one.add_argument("--data", type=str, nargs="+", metavar="DIR", help="slices for both of these: as for train.py")
    one.add_argument("--masks", type=str, nargs="+", metavar="DIR", help="as for train.py")
    one.add_argument("--groups", type=Path, help="as for train.py")
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
