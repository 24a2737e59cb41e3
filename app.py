"""The page: upload a brain MRI slice, see class probabilities, mask overlay and Grad-CAM side by side.

    python app.py                                    # the bundled model, http://127.0.0.1:7860
    python app.py --model runs/mine --compare weights
    python app.py --model user/name@revision --share --auth ada:secret

In a notebook:

    from app import build_interface
    interface = build_interface()                    # or build_interface("user/name"), build_interface(predictor)
    interface.launch(share=True)                     # theme, size limits and privacy settings come with it

Environment: BRAIN_MRI_MODEL, BRAIN_MRI_COMPARE and BRAIN_MRI_AUTH stand in for --model, --compare and --auth.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: no visitor is counted anywhere
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # of 10,000 kept requests, which nobody looks at
os.environ.setdefault("MPLBACKEND", "agg")  # else gradio makes matplotlib, where there is one, look for a screen: 10 MB

import gradio as gr

from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import BUNDLED
from brain_mri.classes import DISCLAIMER
from brain_mri.imaging.scan import MAX_BYTES
from brain_mri.inference.live_model import LiveModel
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import flat_memory, hosting, theme
from brain_mri.ui.analyze_tab import analyze_tab
from brain_mri.ui.api import endpoints
from brain_mri.ui.batch_tab import batch_tab
from brain_mri.ui.examples import load_examples, temporary_folder
from brain_mri.ui.model_tab import Models, model_tab
from brain_mri.ui.reload import connect, newer_row, notice_of
from brain_mri.ui.volume_tab import volume_tab

TITLE = "Brain MRI tumor explorer"
CACHE_SECONDS = (600, 3600)  # look every 10 minutes, delete temporary files older than an hour
WAITING = 64  # visitors in the queue before the next one is asked to come back later
SESSIONS = 200  # visitors whose last scan is remembered

MASTHEAD = f"""<div class="masthead"><svg viewBox="0 0 48 48" fill="none" stroke="currentColor" stroke-width="2.6"
stroke-linecap="round" aria-hidden="true"><circle cx="24" cy="24" r="21"/><path d="M24 8v32M24 13c-7-4-13 1-12 7-4 4-2
10 2 11 1 6 7 7 10 3M24 13c7-4 13 1 12 7 4 4 2 10-2 11-1 6-7 7-10 3"/></svg><div><h1>{TITLE}</h1>
<p>What a small neural network sees on a brain MRI: its answer, the area it marks, and where it looked.</p></div>
<button type="button" class="theme" aria-label="Switch between light and dark" title="Light or dark">◐</button></div>"""
NOTE = f'<p class="disclaimer" role="note"><strong>Not a diagnosis.</strong> {DISCLAIMER}</p>'


class Page(gr.Blocks):
    """Blocks whose launch() brings the looks, the limits and the privacy settings; each can be overridden."""

    def launch(self, *args: Any, **options: Any) -> Any:
        hosting.register()
        defaults: dict[str, Any] = {
            "theme": theme.ScanTheme(),
            "css": theme.css(),
            "head": theme.head(),
            "run_history": False,  # medical images: nothing is kept in the visitor's browser
            "footer_links": ["api"],
            "max_file_size": MAX_BYTES,
            "state_session_capacity": SESSIONS,
            "enable_monitoring": False,
            "ssr_mode": False,
            "pwa": False,
            "server_name": "0.0.0.0" if os.environ.get("SPACE_ID") else None,
            "auth": credentials(os.environ.get("BRAIN_MRI_AUTH")),
        }
        for tries_left in (2, 1, 0):
            try:
                return super().launch(*args, **(defaults | options))
            except ValueError as error:  # on a busy machine: Gradio gives its own server 3 s to answer, and gives up
                if "localhost" not in str(error) or not tries_left:
                    raise
                self.close(verbose=False)
        return None


def build_interface(model: Predictor | str | Path | None = None, *, compare: Sequence[str | Path] = ()) -> Page:
    """The whole page.

    model: a Predictor, a folder, or "user/name[@revision]"; default: BRAIN_MRI_MODEL or the bundled one.
    compare: further models that visitors may put beside it. Raises ArtifactError or hub.HubError with one sentence.
    """
    chosen = model or os.environ.get("BRAIN_MRI_MODEL") or BUNDLED
    live = LiveModel(chosen)
    predictor = live.current
    models = Models(live, compare or os.environ.get("BRAIN_MRI_COMPARE", "").replace(",", " ").split())
    folder = temporary_folder()
    examples = load_examples(predictor.artifact.folder / "examples", Path(folder.name))

    with Page(title=TITLE, delete_cache=CACHE_SECONDS, analytics_enabled=False) as page:
        page.example_folder = folder  # lives as long as the page
        gr.HTML(MASTHEAD, apply_default_css=False)
        gr.HTML(NOTE, elem_id="disclaimer", apply_default_css=False)
        notice = gr.Markdown(notice_of(predictor), elem_id="notice", visible=bool(predictor.notice))
        newer = newer_row()
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Analyze", id="analyze"):
                analyze_tab(models, examples)
            with gr.Tab("Volume", id="volume"):
                volume_tab(models, examples)
            with gr.Tab("Batch", id="batch"):
                batch_tab(models, examples)
            with gr.Tab("Model", id="model"):
                who, good = model_tab(models, examples)
        if live.follows_hub:
            connect(page, live, newer, [notice, who, good])
        endpoints(models)
    page.queue(max_size=WAITING, default_concurrency_limit=max(2, cores()))
    return page


def credentials(text: str | None) -> list[tuple[str, str]] | None:
    """ "ada:secret" or "ada:secret,bob:other" -> what Gradio wants. Raises ValueError with a sentence."""
    if not text:
        return None
    pairs = [tuple(part.split(":", 1)) for part in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError("--auth wants user:password, or several of them separated by commas.")
    return [(user, password) for user, password in pairs]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", metavar="DIR|USER/NAME[@REV]", help="default: $BRAIN_MRI_MODEL or the bundled weights")
    p.add_argument("--compare", nargs="*", default=[], metavar="MODEL", help="more models to put beside it")
    p.add_argument("--share", action="store_true", help="a public link for a week, through gradio.live")
    p.add_argument("--port", type=int, help="default: the first free one from 7860")
    p.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors for these; default: $BRAIN_MRI_AUTH")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    flat_memory.few_heaps()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        auth = credentials(args.auth or os.environ.get("BRAIN_MRI_AUTH"))
        page = build_interface(args.model, compare=args.compare)
        page.launch(share=args.share, server_port=args.port, auth=auth)
    except (ArtifactError, OSError, ValueError, RuntimeError) as error:
        taken = args.port and "Cannot find empty port" in str(error)
        print(
            f"error: Port {args.port} is in use; choose another one with --port." if taken else f"error: {error}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
