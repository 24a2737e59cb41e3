"""Write the GitHub address of your copy into the "Open in Colab" badges and into the notebook's first cell.

python colab_badge.py                 # the address that `git remote get-url origin` names
python colab_badge.py owner/name
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("colab_notebook.ipynb", "README.md")
NAME = r"[A-Za-z0-9][\w.-]*/[\w.-]+?"
BADGE = re.compile(rf"(colab\.research\.google\.com/github/){NAME}(/blob/[\w./-]+/colab_notebook\.ipynb)")
FIELD = re.compile(rf'(repository = \\?"https://github\.com/){NAME}(\\?")')  # quotes are escaped in a notebook's JSON
REMOTE = re.compile(rf"(?:https://(?:[^/@]+@)?|ssh://git@|git@)github\.com[:/]({NAME})(?:\.git)?/?")


def origin(root: Path) -> str | None:
    """owner/name of the GitHub repository that this clone came from, None when it is no such clone."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        url = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # there is no git
        return None
    match = REMOTE.fullmatch(url)
    return match[1] if match else None


def write(name: str, root: Path) -> list[str]:
    """Point badges and form field to github.com/<name>; returns the files that changed."""
    changed = []
    for file in FILES:
        path = root / file
        old = path.read_text(encoding="utf-8")
        new = FIELD.sub(rf"\g<1>{name}\g<2>", BADGE.sub(rf"\g<1>{name}\g<2>", old))
        if new != old:
            path.write_text(new, encoding="utf-8", newline="\n")
            changed.append(file)
    return changed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", metavar="owner/name", help="default: where this clone came from")
    name = parser.parse_args(argv).name or origin(ROOT)
    if name is None or not re.fullmatch(NAME, name):
        what = f"{name!r} is no GitHub name" if name else "This folder is no clone of a GitHub repository"
        print(f"error: {what}; write python colab_badge.py owner/name.", file=sys.stderr)
        return 1
    changed = write(name, ROOT)
    print(f"{' and '.join(changed)} now point to github.com/{name}." if changed else f"All point to github.com/{name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
