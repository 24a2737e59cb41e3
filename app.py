"""The page: upload a brain MRI slice, see class probabilities, mask overlay and Grad-CAM side by side.

    python app.py                                    # the bundled model, http://127.0.0.1:7860
    python app.py --model runs/mine --compare weights
    python app.py --model user/name@revision --share --auth ada:secret
    python app.py --label brain-tumor-mri            # also a tab on which you outline its tumors, for train.py --masks

In a notebook:

    from app import build_interface
    interface = build_interface()                    # or build_interface("user/name"), build_interface(predictor)
    interface.launch(share=True)                     # theme, size limits and privacy settings come with it

Environment: BRAIN_MRI_MODEL, BRAIN_MRI_COMPARE, BRAIN_MRI_EXAMPLES, BRAIN_MRI_AUTH and BRAIN_MRI_MCP=1 stand in for
--model, --compare, --examples, --auth and --mcp.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: no visitor is counted anywhere
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # of 10,000 kept requests, which nobody looks at
os.environ.setdefault("MPLBACKEND", "agg")  # else gradio makes matplotlib, where there is one, look for a screen: 10 MB

from brain_mri.artifact.config import ArtifactError
from brain_mri.ui import hosting

with hosting.no_stubs():
    from brain_mri.ui import lifetime
    from brain_mri.ui.page import build_interface


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    hosting.few_heaps()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        auth = hosting.credentials(args.auth or os.environ.get("BRAIN_MRI_AUTH"))
        with lifetime.tidy_process():
            label = {"label": args.label, "label_out": args.label_out}
            page = build_interface(args.model, compare=args.compare, examples=args.examples, **label)
            page.launch(
                share=args.share, server_port=args.port, auth=auth, mcp_server=args.mcp, prevent_thread_lock=True
            )
            lifetime.stay(page)
    except (ArtifactError, OSError, ValueError, RuntimeError) as error:
        taken = args.port and "Cannot find empty port" in str(error)
        sentence = f"Port {args.port} is in use; choose another one with --port." if taken else str(error)
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", metavar="DIR|USER/NAME[@REV]", help="default: $BRAIN_MRI_MODEL or the bundled weights")
    p.add_argument("--compare", nargs="*", default=[], metavar="MODEL", help="more models to put beside it")
    p.add_argument(
        "--examples",
        metavar="DIR",
        help="a folder of files to try, shown with their names; default: $BRAIN_MRI_EXAMPLES",
    )
    p.add_argument(
        "--label",
        metavar="DIR",
        help="class folders whose tumors you outline, or what else train.py --data takes; for this machine only",
    )
    p.add_argument("--label-out", metavar="DIR", help="where the outlines are kept; default: DIR-outlines, beside DIR")
    p.add_argument("--share", action="store_true", help="a public link for a week, through gradio.live")
    p.add_argument("--port", type=int, help="default: the first free one from 7860")
    p.add_argument(
        "--auth", metavar="USER:PASSWORD", help="ask visitors for these, in small groups; default: $BRAIN_MRI_AUTH"
    )
    p.add_argument(
        "--mcp", action="store_const", const=True, help="also serve agents, as an MCP server; default: $BRAIN_MRI_MCP"
    )
    return p


if __name__ == "__main__":
    lifetime.leave(main())
