"""The whole page: masthead, disclaimer, its tabs and the endpoints, with its looks, limits and privacy settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from brain_mri.artifact.folder import BUNDLED
from brain_mri.classes import DISCLAIMER
from brain_mri.imaging.scan import MAX_BYTES
from brain_mri.inference.live_model import LiveModel, Models
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.predictor import Predictor
from brain_mri.ui import agents, hosting, lifetime, theme
from brain_mri.ui.analyze_tab import analyze_tab
from brain_mri.ui.api import endpoints
from brain_mri.ui.batch_tab import batch_tab
from brain_mri.ui.common import speaking
from brain_mri.ui.examples import load_examples
from brain_mri.ui.gate import Gate
from brain_mri.ui.keeping import tidying
from brain_mri.ui.model_tab import model_tab
from brain_mri.ui.places import WAITING, Places
from brain_mri.ui.reload import connect, newer_row, notice_of
from brain_mri.ui.volume_tab import volume_tab

TITLE = "Brain MRI tumor explorer"
SESSIONS = 200  # visitors whose last scan is remembered

NOTE = f'<p class="disclaimer" role="note"><strong>Not a diagnosis.</strong> {DISCLAIMER}</p>'


def build_interface(
    model: Predictor | str | Path | None = None,
    *,
    compare: Sequence[str | Path] = (),
    examples: str | Path | None = None,
    label: str | Path | None = None,
    label_out: str | Path | None = None,
) -> Page:
    """The whole page.

    model: a Predictor, a folder, or "user/name[@revision]"; default: BRAIN_MRI_MODEL or the bundled one.
    compare: further models that visitors may put beside it. examples: a folder of files to try; default:
    BRAIN_MRI_EXAMPLES, those of the model, or drawings. label: a folder of classes whose slices are to be outlined on a
    tab of their own; label_out: where the outlines are kept, see Labelling. Raises ArtifactError, HubError, ScanError
    or DataError with one sentence.
    """
    work = None
    if label:
        from brain_mri.data.labelling import Labelling  # a Space has neither class folders nor what reads them
        from brain_mri.ui.label_tab import label_tab  # nor this tab

        work = Labelling(label, label_out)
    lifetime.private_folder()  # before any component is made: each asks once where files are kept
    live = LiveModel(model or os.environ.get("BRAIN_MRI_MODEL") or BUNDLED)
    predictor = live.current
    models = Models(live, compare or os.environ.get("BRAIN_MRI_COMPARE", "").replace(",", " ").split())
    offered = load_examples(predictor.artifact, examples or os.environ.get("BRAIN_MRI_EXAMPLES"))
    places = Places()

    with Page(title=TITLE, analytics_enabled=False) as page:
        page.writes = work is not None
        gr.HTML(theme.asset("masthead.html"), apply_default_css=False)
        gr.HTML(NOTE, elem_id="disclaimer", apply_default_css=False)
        said = notice_of(predictor)
        notice = gr.HTML(said, elem_id="notice", visible=bool(said), apply_default_css=False)
        newer = newer_row()
        with gr.Tabs(elem_id="tabs"):
            if work:
                with gr.Tab("Label", id="label"):
                    label_tab(page, models, work)
            with gr.Tab("Analyze", id="analyze"):
                analyze_tab(models, offered)
            with gr.Tab("Volume", id="volume"):
                volume_tab(models, offered, places)
            with gr.Tab("Batch", id="batch"):
                batch_tab(models, offered, places)
            with gr.Tab("Model", id="model"):
                who, good = model_tab(models, offered)
        if live.follows_hub:
            connect(page, live, newer, [notice, who, good])
        endpoints(models, places)
    page.queue(max_size=WAITING, default_concurrency_limit=max(2, cores()))
    return page


class Page(gr.Blocks):
    """Blocks whose launch() brings the looks, the limits and the privacy settings; each can be overridden.

    writes: does a tab work in a folder of the page's owner? Then launch() raises ValueError where strangers could open
    it.
    """

    writes = False

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> Any:
        """Before Gradio looks at what any event was given: it would fetch a file from its address."""
        return await super().preprocess_data(block_fn, speaking(agents.uploads_of)(inputs), *args, **options)

    def launch(self, *args: Any, **options: Any) -> Any:
        hosting.register_zero_gpu()
        defaults: dict[str, Any] = {
            "theme": theme.ScanTheme(),
            "css": theme.asset("style.css"),
            "head": theme.head(),
            "run_history": False,  # medical images: nothing is kept in the visitor's browser
            "footer_links": ["api"],
            "max_file_size": MAX_BYTES,
            "max_threads": 40 + WAITING,  # Gradio counts those that wait for a place, which need no thread
            "state_session_capacity": SESSIONS,
            "enable_monitoring": False,
            "ssr_mode": False,
            "pwa": False,
            "server_name": "0.0.0.0" if os.environ.get("SPACE_ID") else None,
            "auth": hosting.credentials(os.environ.get("BRAIN_MRI_AUTH")),
        }
        options["mcp_server"] = agents.wanted(options.get("mcp_server"))
        options = hosting.kept_private(defaults | options) if self.writes else options
        for tries_left in (2, 1, 0):
            # A new dict each time, for Gradio writes into it.
            gate = [Middleware(Gate, shared=lambda: self.share)]
            quiet = {ClientDisconnect: lambda request, error: Response(status_code=400)}  # a broken upload
            own = {"middleware": gate, "lifespan": tidying, "exception_handlers": quiet}
            served: dict[str, Any] = {"app_kwargs": own}
            try:
                with agents.serving(self, (defaults | options)["auth"]) if options["mcp_server"] else nullcontext():
                    return super().launch(*args, **(served | defaults | options))
            except ValueError as error:  # on a busy machine: Gradio gives its own server 3 s to answer, and gives up
                if "localhost" not in str(error) or not tries_left:
                    raise
                self.close(verbose=False)
        return None
