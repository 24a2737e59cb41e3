"""The Model tab: which weights answer, their scores beside simple baselines, their limits; two models on one scan."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from brain_mri.artifact.folder import BUNDLED, METRICS
from brain_mri.artifact.hub_client import endpoint
from brain_mri.classes import CANNOT_TELL, NO_TUMOR, SEQUENCES, question, title
from brain_mri.evaluation.records import Metrics, Summary, checked
from brain_mri.files import FileError
from brain_mri.imaging.read import read_scan
from brain_mri.imaging.scan import Scan
from brain_mri.inference.live_model import Models
from brain_mri.inference.predictor import Predictor
from brain_mri.reporting import overview, tables
from brain_mri.reporting.texts import WORDS
from brain_mri.ui import glossary, theme, views
from brain_mri.ui.common import MODEL, Update, Upload, analyzed, settled, working
from brain_mri.ui.examples import Example, chosen, scan_inputs
from brain_mri.ui.html import banner, card, error_banner, explained, explainer, image, notes, safe, table, tiles

MOST_TEXT = 2**20  # characters of tables, which every visitor gets; ordinary ones have some 20,000
EVALUATE = "python -m brain_mri evaluate MODEL --data FOLDER --masks FOLDER --out FOLDER"
NOT_EVALUATED = ("pipeline", "training")  # figures that do not come out of it
OWN_LIMITS = (
    "Few tumors were seen on T2 and on T1 without contrast medium, and FLAIR only of gliomas: there the answer is "
    "mostly that there is a tumor, its kind not sure."
)  # of the bundled weights
PNG = b"\x89PNG\r\n\x1a\n"  # its first bytes


def model_tab(models: Models, examples: Sequence[Example]) -> tuple[gr.HTML, gr.HTML]:
    """Facts about the answering model, and a comparison when there is another one. Returns what names the revision."""
    who = gr.HTML(identity(models.main), elem_id="model-identity", apply_default_css=False)
    with gr.Tabs():
        with gr.Tab("How good it is"):
            good = gr.HTML(scores(models.main), elem_id="model-scores", apply_default_css=False)
        with gr.Tab("Figures") as figures_tab:
            figures = gr.HTML(elem_id="model-figures", apply_default_css=False)
        with gr.Tab("Intended use and limits"):
            gr.HTML(intended_use(models.main), apply_default_css=False)
        with gr.Tab("Words") as words_tab:
            words = gr.HTML(elem_id="model-words", apply_default_css=False)
        with gr.Tab("Compare two models"):
            compare(models, examples)
    drawn = settled(lambda: figure_grid(models.main), error_banner)
    figures_tab.select(drawn, None, figures, api_visibility="private")
    words_tab.select(settled(word_list, error_banner), None, words, api_visibility="private")
    return who, good


def intended_use(predictor: Predictor) -> str:
    """What a model of these classes is for and not for, and what is known of its limits."""
    classes, rule = predictor.classes, predictor.config.sequence
    bundled = predictor.artifact.folder.resolve() == BUNDLED
    kinds = [title(name) for name in classes if name != NO_TUMOR]
    named = ", ".join(kinds[: views.FEW]) + (f" and {len(kinds) - views.FEW} more" if len(kinds) > views.FEW else "")
    asked = f"{question(classes)}?"
    if NO_TUMOR in classes:
        asked = "whether they show a tumor" + (f", and which of {len(kinds)} kinds" if len(kinds) > 1 else "")
    none = "“No tumor” means that nothing of this was recognised on this one slice, not that the head is healthy."
    learned = ", ".join(SEQUENCES[name] for name in rule.kinds_on) if rule else ""
    own = f"Kinds of tumor were learned on {learned}; elsewhere mostly none is named." if learned else ""
    return theme.asset("intended_use.html").format(
        heads="adult heads" if bundled else "heads",
        asked=safe(asked),
        known=safe(f"the {len(kinds)} kinds it knows ({named})" if len(kinds) > 1 else "tumors"),
        none=safe(none if NO_TUMOR in classes else CANNOT_TELL),
        own=safe(OWN_LIMITS if bundled else own),
    )


def compare(models: Models, examples: Sequence[Example]) -> None:
    names = models.names
    if len(names) < 2:
        gr.Markdown(
            "Start the page with a second model to compare it here: `python app.py --compare runs/mine` or "
            "`--compare user/name`, or set `BRAIN_MRI_COMPARE` in a Space."
        )
        return
    source = gr.State(None)  # an Upload
    with gr.Row():
        first = gr.Dropdown(names, value=names[0], label="Left")
        second = gr.Dropdown(names, value=names[1], label="Right")
    file, chooser = scan_inputs("compare", "Your scan", examples)
    result = gr.HTML(elem_id="compare-result", apply_default_css=False)

    def failed(message: str) -> Update:
        return {result: error_banner(message)}

    def begun(before: Upload | None, path: str | Path) -> Update:
        upload = Upload.instead_of(before, [path])
        return {result: working(upload), source: upload}

    def uploaded(before: Upload | None, path: str | None) -> Update:
        return begun(before, path) | {file: None} if path else {file: None}

    def picked(before: Upload | None, event: gr.EventData) -> Update:
        return begun(before, chosen(examples, event).path)

    def run(upload: Upload | None, left: str, right: str) -> Update:
        return {result: side_by_side(models, (left, right), read_scan(upload.paths[0]))} if upload else gr.skip()

    inputs, outputs = [source, first, second], [file, source, result]
    starts = [
        (file.upload, settled(uploaded, failed), [source, file]),
        (chooser.select, settled(picked, failed), source),
    ]
    analyzed(starts, settled(run, failed), inputs, outputs, result, **MODEL)
    for control in (first, second):
        control.input(settled(run, failed), inputs, [result], **MODEL)


def side_by_side(models: Models, names: Sequence[str], scan: Scan) -> str:
    cards = []
    for name in names:
        predictor = models.get(name)
        view = views.analyze_scan(predictor, scan)
        picture = views.overlay_picture(view, views.settings_of(view))
        body = banner(*views.sentence(view.analysis), views.which_slice(view)) + views.bars_panel(view)
        body += image(picture, f"{scan.name} with the mask of {name}") + views.facts(view, views.settings_of(view))
        cards.append(card(name, f"Revision {predictor.revision[:12]}", body))
    return f'<div class="pair wide">{"".join(cards)}</div>'


def identity(predictor: Predictor) -> str:
    """Name, revision, date, size; the main scores."""
    config = predictor.config
    own = [config.classifier] if config.segmenter.shared else [config.classifier, config.segmenter]
    size = sum(part.parameters for part in own)
    try:
        summary = summary_of(config.metrics)
    except FileError:  # `scores` says so
        summary = Summary()
    licence = f", licence {config.license}" if config.license else ""
    right = ("Accuracy", tables.percent(summary.accuracy), f"{len(config.classes)} classes, patients it never saw")
    if len(config.classes) == 2 and summary.tumor_roc_auc:
        found = tables.percent(summary.sensitivity), tables.percent(summary.specificity)
        point = f"; sensitivity {found[0]}, specificity {found[1]}" if summary.sensitivity else ""
        asked = question(config.classes)
        right = ("ROC-AUC", tables.score(summary.tumor_roc_auc), f"{asked}, on patients it never saw{point}")
    facts = [
        ("Model", predictor.model_id, f"revision {predictor.revision[:12]}{licence}"),
        (
            "Trained",
            (config.created or "unknown")[:10],
            f"{'?' if config.training.epochs is None else config.training.epochs} epochs",
        ),
        ("Networks", " + ".join(tables.network(part) for part in own), f"{size:,} parameters"),
        right,
        ("Mask overlap (Dice)", tables.score(summary.dice, 2), "mean over test slices with a tumor"),
    ]
    return tiles(facts)


def scores(predictor: Predictor) -> str:
    """Every table of metrics.json, only the summary when a model of the Hub came without it, or why there is none."""
    return settled(_scores, error_banner)(predictor)


def _scores(predictor: Predictor) -> str:
    stored = predictor.artifact.metrics()
    if "classification" not in stored:
        return summary_table(summary_of(predictor.config.metrics))
    metrics = checked(Metrics, stored, predictor.artifact.folder / METRICS)
    write = explainer()
    parts = [
        f"<div>{_written(part, write)}{how_measured(part.title, glossary.measured(part.title), predictor)}</div>"
        for part in overview.sections(metrics)
    ]
    text = f'<div class="stack">{preamble(metrics)}{"".join(parts)}{notes(metrics.notes, kind="info")}</div>'
    if len(text) > MOST_TEXT:
        raise FileError(f"{predictor.artifact.folder / METRICS} says too much to be shown.")
    return text


def _written(part: tables.Table, write: Callable[[object], str]) -> str:
    rows = [[write(row[0]), *map(safe, row[1:])] for row in part.rows]
    note = f'<p class="prose-small">{safe(part.note)}</p>' if part.note else ""
    return table(part.columns, rows, caption=part.title, write=write) + note


def preamble(metrics: Metrics) -> str:
    """What all figures have in common."""
    count = f"{metrics.images.count:,} slices of {metrics.images.groups:,} groups"
    text = f"Measured on {count} ({metrics.split or 'given'} rows)"
    text += f" on {metrics.created[:10]}" if metrics.created else ""
    text += ". In brackets: the 95 % interval. Dotted words explain themselves; so does the tab Words."
    return f'<p class="prose-small">{explained(text)}</p>'


def how_measured(name: str, text: str, predictor: Predictor, again: str = EVALUATE) -> str:
    """A line to open below a table or figure: how it came about, the command that repeats it, where it stands."""
    text = text or "Worked out by the program that trained or evaluated this model; its model card says more."
    where, commit = predictor.artifact.folder.resolve(), predictor.revision
    source = "metrics.json in the folder of the model holds every number."
    if where == BUNDLED:
        source = "Every number: weights/metrics.json; what they are worth: docs/numbers.md of this project."
    elif "/" in predictor.model_id and re.fullmatch("[0-9a-f]{40}", commit):  # pulled from the Hub
        page = safe(f"{endpoint()}/{predictor.model_id}/blob/{commit}/metrics.json")
        link = f'<a href="{page}" target="_blank" rel="noopener noreferrer">metrics.json of this revision</a>'
        source = f"Every number: {link}."
    repeat = f"Again, on your own scans: <code>{again}</code>. " if again else ""
    return (
        f'<details class="how"><summary aria-label="{safe(f"How this was measured: {name}")}">How this was measured'
        f"</summary><p>{safe(text)}</p><p>{repeat}{source}</p></details>"
    )


def word_list() -> str:
    """Every word that the page explains."""
    parts = []
    for group, words in glossary.by_group():
        rows = "".join(f"<dt>{safe(word.name)}</dt><dd>{safe(word.text)}</dd>" for word in words)
        parts.append(f'<h2>{safe(group)}</h2><dl class="words">{rows}</dl>')
    return f'<div class="prose-small">{"".join(parts)}</div>'


def summary_of(stored: dict[str, Any]) -> Summary:
    """The scores in a config; those of early versions are bare numbers. Raises FileError."""
    named = {key: {"value": value} if isinstance(value, float) else value for key, value in stored.items()}
    return checked(Summary, named, "The entry metrics of config.json")


def summary_table(summary: Summary) -> str:
    if not summary.accuracy:
        return '<p class="prose-small">This model came without figures: run python -m brain_mri evaluate on it.</p>'
    rows = [["This model", tables.score(summary.accuracy)]]
    for name, row in summary.baselines.items():
        rows.append([tables.BASELINE_TITLES.get(name, name), tables.score(row)])
    return table(["", "Accuracy"], [[safe(cell) for cell in row] for row in rows], caption="Beside the baselines")


def figure_grid(predictor: Predictor) -> str:
    """The pictures of the model's figures/ folder."""
    paths, withheld = predictor.artifact.shown("figures", "*.png")
    pictures = [path for path in paths if path.read_bytes()[:8] == PNG]
    withheld += len(paths) - len(pictures)
    said = [f"{withheld} more are not shown: they are no PNG files of this folder, or too large."] if withheld else []
    if not pictures and not said:
        return '<p class="prose-small">This model came without figures; they are in the folder that train.py wrote.</p>'
    grid = "".join(_figure(path, predictor) for path in pictures)
    return f'<div class="gallery-grid">{grid}</div>' + notes(said)


def _figure(path: Path, predictor: Predictor) -> str:
    name = path.stem.replace("_", " ").capitalize()
    caption = WORDS.captions.get(path.stem, "")
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    again = "" if path.stem in NOT_EVALUATED else EVALUATE
    how = how_measured(name, glossary.FIGURES.get(path.stem, ""), predictor, again)
    return (
        f'<figure><img class="zoom" tabindex="0" role="button" loading="lazy" alt="{safe(name)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{safe(caption or name)}</figcaption>'
        f"{how}</figure>"
    )
