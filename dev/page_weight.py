"""How heavy is the page, and how soon does it answer? Two versions of the project, in turns, in a real Chromium.

    git worktree add /tmp/before COMMIT
    python -m dev.page_weight /tmp/before                   # this version against that one
    python -m dev.page_weight /tmp/before --turns 15 --out figures.json

A visitor with an empty cache opens the page, chooses the first example as soon as it stands, and opens no other tab.
Counted is what the browser was sent: requests, bytes on the wire, and milliseconds to the page and to the first answer.
Exit status: 0 the new version is no worse, 1 it is: more than 1 % more bytes, or its median answer more than 5 % later.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from dev import child_process, screenshots

HERE = Path(__file__).resolve().parent.parent
MORE_BYTES, LATER = 1.01, 1.05  # of the version before
START = 300  # seconds that a page may take to start


@dataclass(frozen=True)
class Visit:
    """What one visitor was sent. kilobytes: on the wire, with headers; the times are ms since the visit began."""

    requests: int
    kilobytes: float
    page: float
    answer: float


@contextlib.contextmanager
def served(tree: Path) -> Iterator[str]:
    """The address of the page of a source tree. Raises RuntimeError when it does not open."""
    port = child_process.free_port()
    command = [sys.executable, "app.py", "--port", str(port)]
    own, quiet = os.environ | {"PYTHONPATH": str(tree)}, subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=tree, env=own, stdout=quiet, stderr=quiet)
    with child_process.ended(process):
        started = time.perf_counter()
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.perf_counter() - started > START:
                raise RuntimeError(f"{tree / 'app.py'} did not open a page.")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


def visit(chromium: Browser, url: str) -> Visit:
    """One visitor, who waits for the first answer and, after it, for whatever the page still fetches."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    view = context.new_page()
    network, sizes = context.new_cdp_session(view), Counter[str]()

    def sent(event: dict[str, Any]) -> None:
        if event["request"]["url"].startswith("http"):  # the others are pictures in the text of the page
            sizes[event["requestId"]] = 0

    def arrived(event: dict[str, Any]) -> None:  # a stream of events may not end while the page is open
        if event["requestId"] in sizes:
            sizes[event["requestId"]] += event["dataLength"]

    def ended(event: dict[str, Any]) -> None:
        if event["requestId"] in sizes:
            sizes[event["requestId"]] = event["encodedDataLength"]

    network.send("Network.enable")
    network.on("Network.requestWillBeSent", sent)
    network.on("Network.dataReceived", arrived)
    network.on("Network.loadingFinished", ended)
    started = time.perf_counter()
    view.goto(url, wait_until="commit")
    view.wait_for_selector("#panel-bars h3", timeout=screenshots.WAIT)
    stands = time.perf_counter()
    view.locator("#scan-examples .example").first.click()
    view.wait_for_selector("#panel-heat img.zoom", timeout=screenshots.WAIT)
    answered = time.perf_counter()
    view.wait_for_timeout(1500)
    context.close()
    return Visit(len(sizes), sizes.total() / 1000, 1000 * (stands - started), 1000 * (answered - started))


def medians(visits: Sequence[Visit]) -> Visit:
    columns = zip(*(asdict(one).values() for one in visits), strict=True)
    requests, *others = (statistics.median(column) for column in columns)
    return Visit(round(requests), *others)


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before", type=Path, help="a source tree of the version to compare with")
    p.add_argument("--turns", type=int, default=9, help="visits of each (default 9), after one that is not counted")
    p.add_argument("--out", type=Path, metavar="FILE.json", help="write every visit")
    args = p.parse_args(argv)
    trees = {"before": args.before.resolve(), "now": HERE}
    visits: dict[str, list[Visit]] = {name: [] for name in trees}
    with contextlib.ExitStack() as stack:
        urls = {name: stack.enter_context(served(tree)) for name, tree in trees.items()}
        chromium = stack.enter_context(screenshots.browser())
        for turn, name in itertools.product(range(args.turns + 1), trees):
            one = visit(chromium, urls[name])
            if turn:
                visits[name].append(one)
    before, now = (medians(visits[name]) for name in trees)
    print(f"{'median of ' + str(args.turns):<16}{'requests':>10}{'kB sent':>10}{'ms to page':>12}{'ms to answer':>14}")
    for name, row in (("before", before), ("now", now)):
        print(f"{name:<16}{row.requests:>10}{row.kilobytes:>10.0f}{row.page:>12.0f}{row.answer:>14.0f}")
    if args.out:
        table = {name: [asdict(one) for one in found] for name, found in visits.items()}
        args.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    worse = now.kilobytes > MORE_BYTES * before.kilobytes or now.answer > LATER * before.answer
    print("The page is heavier or slower." if worse else "The page is no heavier and no slower.")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
