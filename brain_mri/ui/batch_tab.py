"""The Batch tab: many files, one table, one CSV, one ZIP. A bad file is a row with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from brain_mri.classes import NO_TUMOR, title
from brain_mri.imaging.scan import ScanError, clean_name
from brain_mri.inference.batch import to_zip
from brain_mri.inference.jobs import named
from brain_mri.inference.live_model import Models
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import Row
from brain_mri.ui import views
from brain_mri.ui.common import HEAVY, Example, Update, download_box, output_folder, sentence_of
from brain_mri.ui.html import banner, error_banner, image, safe, table

MAX_FILES = 500
HINT = '<p class="prose-small">Choose several slices at once; each becomes a row, and the table can be downloaded.</p>'


def batch_tab(models: Models, examples: Sequence[Example]) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    files = gr.File(label="Your scans", file_count="multiple", elem_id="batch-file", height=170)
    with gr.Row(elem_id="batch-row"):
        summary = gr.HTML(HINT, elem_id="batch-summary", apply_default_css=False, min_width=300)
        try_it = gr.Button("Try it with the examples", elem_id="batch-examples", scale=0, min_width=220)
    downloads = download_box("batch-downloads", "Download: CSV, and a ZIP with overlays, masks, JSON")
    results = gr.HTML(elem_id="batch-table", apply_default_css=False)
    shown = [summary, results, downloads]

    def show(paths: Sequence[str], progress: gr.Progress) -> Update:
        predictor = models.main  # one revision for the whole batch
        try:
            rows, written = run_batch(predictor, paths, progress)
        except Exception as error:
            return {summary: error_banner(sentence_of(error)), results: "", downloads: gr.File(visible=False)}
        listed = rows_table(rows, predictor.classes)
        return {summary: overview(rows), results: listed, downloads: gr.File(written, visible=True)}

    def uploaded(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> Update:
        return {files: None} | (show(paths, progress) if paths else {})

    def tried(progress: gr.Progress = gr.Progress()) -> Update:
        return show([str(example.path) for example in examples], progress)

    files.upload(uploaded, files, [files, *shown], show_progress_on=[summary], **HEAVY)
    try_it.click(tried, None, shown, show_progress_on=[summary], **HEAVY)


def run_batch(predictor: Predictor, paths: Sequence[str], progress: gr.Progress) -> tuple[list[Row], list[str]]:
    """Rows, and the paths of results.csv and results.zip. Raises ScanError for too many files."""
    if len(paths) > MAX_FILES:
        raise ScanError(f"{len(paths)} files are too many at once; the limit is {MAX_FILES}.")
    folder, rows = output_folder(), []
    progress(0, desc="Reading the files")
    jobs = named([Path(path) for path in paths], clean_name)  # not where the server keeps an upload
    for row in to_zip(predictor, jobs, folder, reduced=True, explain=lambda error, _: sentence_of(error)):
        rows.append(replace(row, pictures={}))
        progress(len(rows) / len(paths), desc=f"{len(rows)} of {len(paths)} files")
    return rows, [str(folder / "results.csv"), str(folder / "results.zip")]


def overview(rows: Sequence[Row]) -> str:
    good = [row.result for row in rows if not row.error]
    foreign = sum(r["not_brain_mri"] for r in good)
    unsure = sum(r["abstained"] and not r["not_brain_mri"] for r in good)
    tumor = sum(not r["abstained"] and r["label"] != NO_TUMOR for r in good)
    text = f"{tumor} with a tumor, {len(good) - tumor - unsure - foreign} without, {unsure} not sure"
    text += f", {foreign} not a brain MRI" if foreign else ""
    text += f", {len(rows) - len(good)} could not be read" if len(good) < len(rows) else ""
    count = f"{len(rows)} file{'s' * (len(rows) != 1)}"
    return banner("clear" if good else "error", count, f"{text}.")


def rows_table(rows: Sequence[Row], classes: Sequence[str]) -> str:
    columns = ["File", "", "Answer", *(title(name) for name in classes), "Tumor share", "Area", "Notes"]
    return table(columns, [_cells(row, classes) for row in rows])


def _cells(row: Row, classes: Sequence[str]) -> list[str]:
    name = f'<span class="file">{safe(row.file).replace("_", "_<wbr>")}</span>'
    if row.error:
        return [name, "", '<span class="pill error">Not read</span>', *["–"] * (len(classes) + 2), safe(row.error)]
    r = row.result
    kind, word = answer(r)
    thumb = image(row.thumbnail, f"{row.file} with its mask") if row.thumbnail is not None else ""
    chances = [
        f"<b>{views.percent(p)}</b>" if n == r["label"] else views.percent(p) for n, p in r["probabilities"].items()
    ]
    area = f"{r['tumor_area_mm2']:,.0f} mm²" if r["tumor_area_mm2"] is not None else "–"
    share = "–" if r["not_brain_mri"] else views.percent(r["tumor_fraction"], 1)
    return [
        name, thumb, f'<span class="pill {kind}">{safe(word)}</span>', *chances, share, area,
        safe(" ".join([r["reason"], *r["warnings"]])),
    ]  # fmt: skip


def answer(result: dict[str, Any]) -> tuple[str, str]:
    """(kind, word) of a row, in the words of the Analyze tab."""
    if result["not_brain_mri"]:
        return "foreign", "Not a brain MRI?"
    if result["abstained"]:
        return "unsure", "Not sure"
    return ("clear" if result["label"] == NO_TUMOR else "tumor"), title(result["label"])
