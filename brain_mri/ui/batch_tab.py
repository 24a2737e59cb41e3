"""The Batch tab: many files, one table, one CSV, one ZIP. A bad file is a row with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from brain_mri.classes import CANNOT_TELL, NO_TUMOR, title
from brain_mri.imaging.scan import ScanError, clean_name
from brain_mri.inference.batch import PICTURES, SEG, to_zip
from brain_mri.inference.jobs import BatchError, Job, named, slices_of
from brain_mri.inference.live_model import Models
from brain_mri.inference.patients import PatientTable, read_patients
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.rows import Row
from brain_mri.inference.sequence import said_of
from brain_mri.ui import views
from brain_mri.ui.common import (
    Update,
    Upload,
    analyzed_in_turn,
    download_box,
    label_of,
    names_box,
    output_folder,
    seg_box,
    sentence_of,
    settled,
    working,
)
from brain_mri.ui.examples import Example
from brain_mri.ui.html import banner, error_banner, image, safe, table
from brain_mri.ui.places import Places

MAX_FILES = 500
MAX_BATCH = 8192  # slices of all its files: some minutes
Step = Callable[..., None]  # see places.Turn.step
HINT = """<p class="prose-small">Choose several slices and volumes at once; each file becomes a row, as do the DICOM
files of one series. Of a volume every slice is analysed. The table can be downloaded.</p>"""


def batch_tab(models: Models, examples: Sequence[Example], places: Places) -> None:
    """Lay the tab out and connect it. Call inside `gr.Blocks`."""
    source = gr.State(None)  # an Upload
    files = gr.File(label="Your scans", file_count="multiple", elem_id="batch-file", height=170)
    with gr.Row(elem_id="batch-row"):
        summary = gr.HTML(HINT, elem_id="batch-summary", apply_default_css=False, min_width=300)
        slices = gr.Checkbox(False, label="A row for each slice of a volume", elem_id="batch-slices", min_width=220)
        names = names_box("batch")
        seg = seg_box("batch")
        try_it = gr.Button("Try it with the examples", elem_id="batch-examples", scale=0, min_width=220)
    downloads = download_box("batch-downloads", "Download: CSV, and a ZIP with overlays, masks, JSON")
    results = gr.HTML(elem_id="batch-table", apply_default_css=False)
    shown = [summary, results, downloads]

    def failed(message: str) -> Update:
        """The sentence, and no table of before."""
        return {summary: error_banner(message), results: "", downloads: gr.File(visible=False)}

    def begun(before: Upload | None, paths: Sequence[str | Path]) -> Update:
        upload = Upload.instead_of(before, paths)
        return failed("") | {summary: working(upload), source: upload}

    def uploaded(before: Upload | None, paths: list[str] | None) -> Update:
        return begun(before, paths) | {files: None} if paths else {files: None}

    def tried(before: Upload | None) -> Update:
        return begun(before, [example.path for example in examples])

    def show(step: Step, upload: Upload, each: bool, named: bool, with_seg: bool) -> Update:
        predictor = models.main  # one revision for the whole batch
        patients = patients_among(predictor, upload.paths)
        rows, written = run_batch(
            predictor, upload.paths, step, slices=each, kept=named, seg=with_seg, patients=patients
        )
        listed = patients_table(patients) + rows_table(rows, predictor.classes)
        return {summary: overview(rows), results: listed, downloads: gr.File(written, visible=True)}

    starts = [
        (files.upload, settled(uploaded, failed), [source, files]),
        (try_it.click, settled(tried, failed), source),
    ]
    everything = [files, source, *shown]
    analyzed_in_turn(
        starts, places, lambda u: weigh(u.paths), show, failed, [source, slices, names, seg], everything, summary
    )


def jobs_of(paths: Sequence[str], kept: bool = False) -> list[Job]:
    """Of all but tables. kept: named as the files, which are not told where the server keeps an upload; else by
    content."""
    jobs = named([Path(path) for path in paths if not is_table(path)], clean_name if kept else label_of, apart=False)
    return [replace(job, named=kept) for job in jobs]


def is_table(path: str) -> bool:
    return path.lower().endswith(".csv")


def patients_among(predictor: Predictor, paths: Sequence[str]) -> PatientTable | None:
    """Where a table of patients is among the files, who is to have a row. Raises ScanError for one that is none."""
    tables = [Path(path) for path in paths if is_table(path)]
    if not tables:
        return None
    if len(tables) > 1:
        raise ScanError(f"{len(tables)} CSV tables are too many; give one, with the columns file and patient.")
    try:
        whose = read_patients(tables[0], paths, "The CSV table", apart=False)
    except BatchError as error:
        raise ScanError(str(error)) from None
    return PatientTable(predictor.classes, predictor.abstain_below, whose)


def weigh(paths: Sequence[str]) -> int:
    """The slices in a batch. Raises ScanError for one that is too large, before anything of it is analysed."""
    jobs = jobs_of(paths)
    if not jobs:
        raise ScanError("There is no scan beside the table; choose both together.")
    if len(jobs) > MAX_FILES:
        raise ScanError(f"{len(jobs)} files are too many at once; the limit is {MAX_FILES}.")
    slices = sum(slices_of(job.paths) for job in jobs)
    if slices > MAX_BATCH:
        raise ScanError(f"These files hold {slices:,} slices, which are too many at once; the limit is {MAX_BATCH:,}.")
    return slices


def run_batch(
    predictor: Predictor,
    paths: Sequence[str],
    step: Step,
    *,
    slices: bool = False,
    kept: bool = False,
    seg: bool = False,
    patients: PatientTable | None = None,
) -> tuple[list[Row], list[str]]:
    """Rows, and the paths of results.csv and results.zip. kept: see jobs_of; seg: see batch.SEG; patients: filled."""
    if seg:
        from brain_mri.imaging import dicom_seg  # pydicom, only when needed

        dicom_seg.require()
    jobs = jobs_of(paths, kept)
    folder, rows, sure = output_folder(), [], lambda error, _: sentence_of(error)
    pictures = (*PICTURES, *([SEG] if seg else []))
    for row in to_zip(
        predictor, jobs, folder, pictures=pictures, reduced=True, slices=slices, patients=patients, explain=sure,
        check=step,
    ):  # fmt: skip
        rows.append(replace(row, pictures={}))
        step(f"{len(rows)} of {len(jobs)} files.")
    more = ["results_slices.csv"] * slices + ["results_patients.csv"] * (patients is not None)
    return rows, [str(folder / name) for name in ("results.csv", *more, "results.zip")]


def overview(rows: Sequence[Row]) -> str:
    good = [row.result for row in rows if not row.error]
    foreign = sum(r["not_brain_mri"] for r in good)
    kinds = [answer(r)[0] for r in good]
    unsure, tumor = kinds.count("unsure"), kinds.count("tumor")
    text = f"{tumor} with a tumor, {len(good) - tumor - unsure - foreign} without, {unsure} not sure"
    if untold := any(r["tumor"] is None for r in good):
        text = f"{tumor} with an answer, {unsure} not sure"
    text += f", {foreign} not a brain MRI" if foreign else ""
    text += f", {len(rows) - len(good)} could not be read" if len(good) < len(rows) else ""
    count = f"{len(rows)} file{'s' * (len(rows) != 1)}"
    return banner("clear" if good else "error", count, f"{text}.", CANNOT_TELL * untold)


def rows_table(rows: Sequence[Row], classes: Sequence[str]) -> str:
    named = classes if len(classes) <= views.FEW else ()  # else the answer's own probability stands alone
    columns = ["File", "", "Answer", *(title(name) for name in named or ["Probability"]), "Marked", "Area", "Notes"]
    return table(
        columns, [cells for row in rows for cells in (_cells(row, len(named) or 1), *_slices(row, len(named) or 1))]
    )


def patients_table(patients: PatientTable | None) -> str:
    """A row for each patient, and how many files are of none; "" without a table of them."""
    if patients is None:
        return ""
    columns = ["Patient", "Answer", "Highest slice", "Slices called a tumor", "Volume", "Notes"]
    note = f"<p class='prose-small'>{patients.left_out}</p>" if patients.left_out else ""
    return table(columns, [_patient(line, patients) for line in patients.lines()]) + note


def _patient(line: dict[str, Any], patients: PatientTable) -> list[str]:
    name = f'<span class="file">{safe(line["patient"])}</span>'
    about = [f"{column} {value}" for column, value in patients.whose.about.get(line["patient"], {}).items()]
    said = "; ".join([*about, *([f"{line['not_read']} not read"] * bool(line["not_read"]))])
    if "label" not in line:
        return [name, '<span class="pill error">No answer</span>', "–", "–", "–", safe(said)]
    kind, word = answer(line | {"not_brain_mri": False})
    chance, share, size = line["tumor_probability"], line["tumor_share"], line["volume_ml"]
    place = line["highest"] + (f", slice {line['highest_slice']}" if line["highest_slice"] else "")
    return [
        name,
        f'<span class="pill {kind}">{safe(word)}</span>',
        "–" if chance is None else f"{views.percent(chance)}<br><small>{safe(place)}</small>",
        "–" if share is None else f"{line['tumor_slices']} of {line['slices']} ({views.percent(share)})",
        "–" if size is None else f"{size:.1f} mL",
        safe(said),
    ]


def _cells(row: Row, columns: int) -> list[str]:
    name = f'<span class="file">{safe(row.file).replace("_", "_<wbr>")}</span>'
    if row.error:
        return [name, "", '<span class="pill error">Not read</span>', *["–"] * (columns + 2), safe(row.error)]
    r = row.result
    kind, word = answer(r)
    thumb = image(row.thumbnail, f"{row.file} with its mask") if row.thumbnail is not None else ""
    shown = r["probabilities"] if columns > 1 else {r["label"]: r["confidence"]}
    chances = [f"<b>{views.percent(p)}</b>" if n == r["label"] else views.percent(p) for n, p in shown.items()]
    area = f"{r['tumor_area_mm2']:,.0f} mm²" if r["tumor_area_mm2"] is not None else "–"
    sequence = said_of(r["sequence"], r["sequence_from"])
    warned = [text for text in r["warnings"] if text != CANNOT_TELL]  # that is said once, above
    said = [f"{sequence}." if sequence else "", r["reason"], *warned]
    if "shown" in r:  # a volume
        where = f"slices {r['marked_on']} of {r['slices']}" if r["marked_on"] else f"on none of {r['slices']} slices"
        size = "" if r["volume_ml"] is None else f"{r['volume_ml']:.1f} mL{' (doubtful)' if r['doubt'] else ''}, "
        share = (size if r["marked_on"] else "") + where
        said.insert(0, f"Picture: {r['shown']}.")
    else:
        share = "–" if r["not_brain_mri"] else f"{views.percent(r['tumor_fraction'], 1)} of the head"
    return [
        name, thumb, f'<span class="pill {kind}">{safe(word)}</span>', *chances, safe(share), area,
        safe(" ".join(text for text in said if text)),
    ]  # fmt: skip


def _slices(row: Row, columns: int) -> list[list[str]]:
    """A row for each slice of a volume, when they were asked for."""
    found = row.result.get("per_slice", [])
    return [
        [
            f"slice {s['slice'] + 1} of {len(found)}", "",
            safe("Not a brain MRI?" if s["not_brain_mri"] else title(s["label"])),
            *["–"] * columns, "–" if (chance := s["tumor_probability"]) is None else f"tumor {views.percent(chance)}",
            f"{s['area']:,.0f} {row.result['area_unit']}", "",
        ]
        for s in found
    ]  # fmt: skip


def answer(result: dict[str, Any]) -> tuple[str, str]:
    """(kind, word) of a row, in the words of the Analyze tab."""
    if result["not_brain_mri"]:
        return "foreign", "Not a brain MRI?"
    if result.get("kind_unsure"):
        return "tumor", "Tumor, kind not sure"
    if result["abstained"]:
        return "unsure", "Not sure"
    return ("clear" if result["label"] == NO_TUMOR else "tumor"), title(result["label"])
