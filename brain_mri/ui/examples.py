"""The examples of the page: of a folder, of the model, or the synthetic drawings; and how they are offered.

A folder comes from who starts the page (app.py --examples); those of a model lie in its artifact, see
artifact/examples.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import gradio as gr
import numpy as np

from brain_mri.artifact.examples import LICENCE, licence_of
from brain_mri.artifact.folder import Artifact
from brain_mri.imaging.file_type import is_volume
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import ScanError
from brain_mri.ui.common import PICK
from brain_mri.ui.html import safe, thumbnail_uri

log = logging.getLogger("brain_mri")
SYNTHETIC = Path(__file__).resolve().parents[2] / "assets" / "examples"
MOST = 12  # every one is read before the page stands
THUMBNAIL = 192  # pixels on the longer side


@dataclass(frozen=True)
class Example:
    path: Path
    thumbnail: np.ndarray  # uint8 (h, w)
    volume: bool
    note: str  # where it comes from

    @property
    def caption(self) -> tuple[str, str]:
        """ "synthetic_no_tumor_axial.jpg" -> ("No tumor", "axial, JPG")."""
        stem, _, suffix = self.path.name.removesuffix(".gz").rpartition(".")
        words = stem.removeprefix("synthetic_").replace("no_tumor", "no tumor").replace("16bit", "16-bit").split("_")
        kind = {"nii": "NIfTI", "dcm": "DICOM"}.get(suffix, suffix.upper())
        return words[0].capitalize(), ", ".join([*words[1:], kind])


def load_examples(artifact: Artifact, folder: str | Path | None = None) -> list[Example]:
    """Those of a folder; else those of the model that can be read; else synthetic drawings.

    Raises ScanError with a sentence when the folder has none that can be read.
    """
    if folder:
        return examples_in(Path(folder))
    licence = licence_of(artifact)
    note = f"from the test split of this model, licence: {licence}" if licence else "they come with the model"
    offered = [path for path in artifact.shown("examples")[0] if path.name != LICENCE]
    return (
        _readable(offered[:MOST], note)[0]
        or _readable(sorted(SYNTHETIC.glob("*.*")), "synthetic drawings, not patients")[0]
    )


def examples_in(folder: Path) -> list[Example]:
    """The first files of a folder that can be read; what is skipped is said in the log. Raises ScanError."""
    if not folder.is_dir():
        raise ScanError(f"There is no folder {folder} with examples.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    found, failed = _readable(files, "chosen by who runs this page", MOST)
    for sentence in failed:
        log.warning("Left out of the examples: %s", sentence)
    if not found:
        raise ScanError(f"None of the {len(files)} files in {folder} can be read as a scan, so there are no examples.")
    left = len(files) - len(found) - len(failed)
    if left:
        log.warning("The page offers %d examples at most; %d more files of %s are left out.", MOST, left, folder)
    return found


def _readable(paths: Sequence[Path], note: str, most: int = MOST) -> tuple[list[Example], list[str]]:
    """(the first `most` of the files that are scans, a sentence for each other file before them)."""
    found: list[Example] = []
    failed: list[str] = []
    for path in paths:
        if len(found) == most:
            break
        try:
            image = read_scan(path).image
        except (ScanError, OSError) as error:
            failed.append(str(error))
            continue
        scale = THUMBNAIL / max(image.shape)
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)
        found.append(Example(path, small, is_volume(path), note))
    return found, failed


def example_chooser(examples: Sequence[Example], elem_id: str) -> gr.HTML:
    """A row of buttons with a picture, a name and the format. Its `select` event says which: see `chosen`."""
    note = "; ".join(dict.fromkeys(e.note for e in examples))
    buttons = "".join(
        f'<button type="button" class="example" data-pick="{i}"><img src="{thumbnail_uri(e.thumbnail)}" alt="">'
        f"<span>{safe(e.caption[0])} <small>{safe(e.caption[1])}</small></span></button>"
        for i, e in enumerate(examples)
    )
    block = (
        f'<section class="examples-block"><h2>Or try an example <small>({safe(note)})</small></h2>'
        f'<div class="examples">{buttons}</div></section>'
    )
    return gr.HTML(block, elem_id=elem_id, apply_default_css=False, js_on_load=PICK)


def scan_inputs(
    name: str, label: str, examples: Sequence[Example], *, several: bool = False, scales: tuple[int, int] = (2, 3)
) -> tuple[gr.File, gr.HTML]:
    """Side by side: a box for own files and the examples. name: the beginning of the elements' ids."""
    with gr.Row(equal_height=True):
        with gr.Column(scale=scales[0], min_width=280):
            file = gr.File(
                label=label, file_count="multiple" if several else "single", elem_id=f"{name}-file", height=170
            )
        with gr.Column(scale=scales[1], min_width=300):
            return file, example_chooser(examples, f"{name}-examples")


def chosen(examples: Sequence[Example], event: gr.EventData) -> Example:
    """The example that a `select` event is about."""
    return examples[int((event._data or {}).get("pick", 0))]
