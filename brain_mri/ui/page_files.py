"""Files for download: written where Gradio serves and, an hour later, deletes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gradio.utils import get_upload_folder


def output_folder() -> Path:
    """A new empty folder with a name that cannot be guessed, inside Gradio's own temporary folder."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="out-", dir=get_upload_folder()))
