"""slides.pptx: about ten slides from the same numbers and figures as the report, with speaker notes.

Titles are real title placeholders and text is text, so the deck can be edited and read aloud.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.oxml.ns import qn
from pptx.util import Emu, Inches, Pt

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.classes import title as class_title
from brain_mri.reporting import findings, table_text, tables, texts

Metrics = Mapping[str, Any]
WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.6  # inches
TOP = 1.35  # below the title
INK, BLUE, GRAY = RGBColor(0x22, 0x22, 0x22), RGBColor(0x00, 0x5A, 0x8F), RGBColor(0x66, 0x66, 0x66)
Box = tuple[float, float, float, float]  # left, top, width, height in inches


class Deck:
    """A 16:9 presentation in one plain style."""

    def __init__(self, footer: str) -> None:
        self.file = Presentation()
        self.file.slide_width, self.file.slide_height = Inches(WIDTH), Inches(HEIGHT)
        self.footer = footer

    def slide(self, title: str, notes: Sequence[str] = ()) -> Any:
        """A slide with a title, a rule under it, a footer and speaker notes."""
        slide = self.file.slides.add_slide(self.file.slide_layouts[5])
        _place(slide.shapes.title, (MARGIN, 0.35, WIDTH - 2 * MARGIN, 0.8))
        _write(slide.shapes.title.text_frame, [title], 30, color=BLUE, bold=True, anchor=MSO_ANCHOR.MIDDLE)
        rule = slide.shapes.add_connector(1, Inches(MARGIN), Inches(1.18), Inches(WIDTH - MARGIN), Inches(1.18))
        rule.line.color.rgb, rule.line.width = BLUE, Pt(1.5)
        number = len(self.file.slides)
        self.text(slide, [self.footer], (MARGIN, HEIGHT - 0.45, WIDTH - 2 * MARGIN - 1, 0.3), 11, color=GRAY)
        self.text(slide, [str(number)], (WIDTH - MARGIN - 0.6, HEIGHT - 0.45, 0.6, 0.3), 11, color=GRAY)
        if notes:
            slide.notes_slide.notes_text_frame.text = "\n".join(notes)
        return slide

    def text(
        self, slide: Any, lines: Sequence[str], box: Box, size: float = 18, *, color: RGBColor = INK, bold: bool = False
    ) -> None:
        frame = slide.shapes.add_textbox(*(Inches(value) for value in box)).text_frame
        _write(frame, lines, size, color=color, bold=bold)

    def bullets(self, slide: Any, lines: Sequence[str], box: Box, size: float = 18) -> None:
        """Bulleted text; the size shrinks until it fits the box by a cautious count of characters."""
        width, height = box[2], box[3]

        def needed(points: float) -> float:
            across = max(1, int(width * 72 / (points * 0.5)) - 3)
            rows = sum(-(-len(line) // across) for line in lines)
            return (rows * points * 1.22 + len(lines) * points * 0.45) / 72

        while size > 11 and needed(size) > height:
            size -= 0.5
        frame = slide.shapes.add_textbox(*(Inches(value) for value in box)).text_frame
        _write(frame, lines, size, bullet=True)

    def picture(self, slide: Any, path: Path | None, box: Box, text: str = "") -> None:
        """A picture as large as fits the box, centred; nothing without one."""
        if path is None:
            return
        left, top, width, height = box
        with Image.open(path) as image:
            scale = min(width / image.width, height / image.height)
            across, down = image.width * scale, image.height * scale
        place = (left + (width - across) / 2, top + (height - down) / 2, across, down)
        shape = slide.shapes.add_picture(str(path), *(Inches(value) for value in place))
        shape._element.nvPicPr.cNvPr.set("descr", text or path.stem)  # what a screen reader says

    def table(self, slide: Any, found: table_text.Table | None, box: Box, size: float = 13) -> None:
        """A table whose first column is as wide as its text needs."""
        if found is None:
            return
        left, top, width, _ = box
        rows = [list(found.columns), *[list(row) for row in found.rows]]
        count = len(found.columns)
        shape = slide.shapes.add_table(
            len(rows), count, *(Inches(v) for v in (left, top, width, size * 0.0225 * len(rows)))
        )
        longest = [max(len(str(row[i]).strip()) for row in rows) + 2 for i in range(count)]
        for i, length in enumerate(longest):
            shape.table.columns[i].width = Emu(int(Inches(width) * length / sum(longest)))
        for r, row in enumerate(rows):
            shape.table.rows[r].height = Inches(size * 0.0225)
            for c, text in enumerate(row):
                cell = shape.table.cell(r, c)
                cell.margin_top = cell.margin_bottom = Inches(0.02)
                cell.margin_left = cell.margin_right = Inches(0.06)
                _write(
                    cell.text_frame, [str(text)], size, bold=r == 0, color=RGBColor(255, 255, 255) if r == 0 else INK
                )
                cell.fill.solid()
                shade = RGBColor(0xEE, 0xF3, 0xF7) if r % 2 == 0 else RGBColor(0xFF, 0xFF, 0xFF)
                cell.fill.fore_color.rgb = BLUE if r == 0 else shade


def _place(shape: Any, box: Box) -> None:
    shape.left, shape.top, shape.width, shape.height = (Inches(value) for value in box)


def _write(
    frame: Any,
    lines: Sequence[str],
    size: float,
    *,
    color: RGBColor = INK,
    bold: bool = False,
    bullet: bool = False,
    anchor: Any = None,
) -> None:
    """Lines as paragraphs; Arial, because every office program has it or one of its widths."""
    frame.word_wrap = True
    if anchor is not None:
        frame.vertical_anchor = anchor
    for i, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if i == 0 else frame.add_paragraph()
        paragraph.alignment = PP_ALIGN.LEFT
        run = paragraph.add_run()
        run.text = line
        run.font.size, run.font.bold, run.font.name = Pt(size), bold, "Arial"
        run.font.color.rgb = color
        if bullet:  # python-pptx has no interface for bullets
            paragraph.space_after = Pt(size * 0.45)
            properties = paragraph._p.get_or_add_pPr()
            properties.set("marL", str(Pt(size)))
            properties.set("indent", str(-Pt(size)))
            properties.append(properties.makeelement(qn("a:buChar"), {"char": "•"}))


def write_slides(path: Path, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> Path:
    """Build the deck; slides whose numbers or pictures are missing are left out. Written beside, then renamed."""
    deck = Deck(f"{findings.title(config, metrics)}   ·   {texts.NOT_A_DEVICE}")
    for build in (_title, _problem, _data, _preprocessing, _network, _training, _compared, _classes, _sure, _masks,
                  _looks, _cases, _folded, _limits, _sources):  # fmt: skip
        build(deck, config, metrics, drawn)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    deck.file.save(str(temporary))
    os.replace(temporary, path)
    return path


def _title(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    slide = deck.slide("Brain tumor MRI: which tumor, where, and why?", texts.PROBLEM)
    classes = ", ".join(class_title(name) for name in config.classes)
    deck.text(slide, [f"Classes: {classes}", findings.headline(metrics)], (MARGIN, 1.5, WIDTH - 2 * MARGIN, 1.2), 20)
    deck.picture(
        slide, drawn.get("pipeline"), (MARGIN, 2.9, WIDTH - 2 * MARGIN, 2.9), "The way of a scan through the program"
    )
    made = f"Model: {config.name or tables.architecture(metrics)}   ·   {str(metrics.get('created', ''))[:10]}"
    deck.text(slide, [made], (MARGIN, 6.2, WIDTH - 2 * MARGIN, 0.4), 16, color=GRAY)


def _problem(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    slide = deck.slide("Problem: high scores that mean little", [*texts.PROBLEM, *findings.flattery(metrics)])
    lines = [
        "One MRI slice in; class, confidence, outline of the tumor and the reason for the answer out.",
        "Usual data sets hold copies, mirrored copies and many slices of the same patient on both sides of the split.",
        "Healthy pictures come from other sources: frame, size and border already give the class away.",
        *findings.flattery(metrics)[1:],
    ]
    deck.bullets(slide, lines, (MARGIN, TOP + 0.1, WIDTH - 2 * MARGIN, 2.9), 20)
    deck.table(slide, tables.splits(metrics), (MARGIN, 4.6, WIDTH - 2 * MARGIN, 2.2), 15)


def _data(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    if "counts" not in drawn:
        return
    slide = deck.slide("Data: many slices, few patients", texts.data_sources(metrics))
    deck.picture(
        slide, drawn["counts"], (MARGIN, TOP, WIDTH - 2 * MARGIN, 3.3), "Images and groups per class and split"
    )
    lines = [*findings.data_findings(metrics, config), *texts.data_sources(metrics)]
    deck.bullets(slide, lines, (MARGIN, 4.7, WIDTH - 2 * MARGIN, 2.3), 16)


def _preprocessing(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    if "preprocessing" not in drawn:
        return
    side = config.preprocessing.image_size
    slide = deck.slide("Preprocessing: one square, in training and app")
    deck.picture(
        slide, drawn["preprocessing"], (MARGIN, TOP, 8.6, 5.5), "Slices as stored and as the network sees them"
    )
    lines = [
        "Find the head; square box around it with a small margin (orange).",
        "Aspect kept, black outside the picture, area resize.",
        "Brightness from percentiles of the head: 16-bit and DICOM files look like 8-bit ones.",
        f"Result: {side} × {side} gray pixels. Margins and frames, which give the source away, are gone.",
        "Blue: the tumor as outlined by hand.",
    ]
    deck.bullets(slide, lines, (9.4, TOP + 0.2, WIDTH - MARGIN - 9.4, 5.2), 18)


def _network(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    slide = deck.slide("Network", [f"{key}: {value}" for key, value in findings.training_settings(config)])
    deck.picture(slide, drawn.get("network"), (MARGIN, TOP, WIDTH - 2 * MARGIN, 4.1), "The network as exported")
    lines = [
        f"{key}: {value}"
        for key, value in findings.training_settings(config)
        if key in ("Classifier", "Segmenter", "Input")
    ]
    lines.append("Grad-CAM of every class is part of the exported graph: one pass gives answer, heatmap and mask.")
    deck.bullets(slide, lines, (MARGIN, 5.5, WIDTH - 2 * MARGIN, 1.5), 16)


def _training(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    if "training" not in drawn:
        return
    settings = findings.training_settings(config)
    slide = deck.slide("Training", [f"{key}: {value}" for key, value in settings])
    deck.picture(slide, drawn["training"], (MARGIN, TOP, WIDTH - 2 * MARGIN, 3.7), "Loss, accuracy and Dice per epoch")
    shown = ("Epochs", "Batch, learning rate", "Loss", "Time", "Seed")
    lines = [f"{key}: {value}" for key, value in settings if key in shown]
    lines.append("One copy of each slice an epoch; flipped, turned, shifted, zoomed and changed in tone at random.")
    deck.bullets(slide, lines, (MARGIN, 5.15, WIDTH - 2 * MARGIN, 1.8), 16)


def _compared(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    if "compared" not in drawn and not metrics.get("classification"):
        return
    slide = deck.slide("Result: the model beside simple baselines", findings.verdict(metrics))
    deck.picture(
        slide, drawn.get("compared"), (MARGIN, TOP, WIDTH - 2 * MARGIN, 3.9), "Accuracy of model and baselines"
    )
    deck.bullets(slide, findings.verdict(metrics), (MARGIN, 5.35, WIDTH - 2 * MARGIN, 1.65), 17)


def _classes(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    if "confusion" not in drawn:
        return
    slide = deck.slide("Result by class", findings.class_findings(metrics))
    half = (WIDTH - 2 * MARGIN) / 2
    deck.picture(slide, drawn["confusion"], (MARGIN, TOP, half, 4.5), "Confusion matrix")
    deck.picture(slide, drawn.get("roc"), (MARGIN + half, TOP, half, 4.5), "ROC curves")
    deck.bullets(slide, findings.class_findings(metrics), (MARGIN, 6.0, WIDTH - 2 * MARGIN, 1.0), 17)


def _sure(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    if "reliability" not in drawn:
        return
    slide = deck.slide('How sure is it? Calibration and "not sure"', findings.calibration_findings(metrics))
    deck.picture(slide, drawn["reliability"], (MARGIN, TOP, 7.3, 3.8), "Reliability before and after calibration")
    deck.picture(slide, drawn.get("abstention"), (8.1, TOP, WIDTH - MARGIN - 8.1, 3.8), "Accuracy against coverage")
    deck.bullets(slide, findings.calibration_findings(metrics), (MARGIN, 5.25, WIDTH - 2 * MARGIN, 1.75), 16)


def _masks(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    found = tables.masks(metrics)
    if found is None or not found.rows:
        return
    lines = findings.mask_findings(metrics)
    slide = deck.slide("Result: where is the tumor?", lines)
    if "dice" in drawn:
        deck.picture(slide, drawn["dice"], (MARGIN, TOP, 7.9, 3.3), "Distribution of Dice")
        deck.bullets(slide, lines, (8.7, TOP, WIDTH - MARGIN - 8.7, 3.3), 16)
    else:
        deck.bullets(slide, lines, (MARGIN, TOP, WIDTH - 2 * MARGIN, 2.9), 18)
    shown = ("Dice", "HD95, ", "Lesions missed", "Tumor drawn")
    rows = [row for row in found.rows if row[0].startswith(shown)]
    deck.table(slide, replace(found, rows=rows), (MARGIN, 4.85, WIDTH - 2 * MARGIN, 2.0), 14)


def _looks(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    lines = findings.explanation_findings(metrics)
    if not lines:
        return
    slide = deck.slide("What did the classifier look at?", lines)
    deck.picture(
        slide, drawn.get("explanation"), (MARGIN, TOP, WIDTH - 2 * MARGIN, 3.5), "Heatmaps against the outlined lesions"
    )
    deck.bullets(slide, lines, (MARGIN, 5.0, WIDTH - 2 * MARGIN, 2.0), 17)


def _cases(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    notes = ["Chosen by Dice alone, one slice per patient."]
    _scans(
        deck,
        drawn.get("cases"),
        "Best, median and worst test slices",
        notes,
        "Outlines and heatmaps of nine test slices",
    )


def _folded(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    described = "Test slices folded at the midline to the half without the tumor, and to the half with it"
    notes = findings.counterfactual_findings(metrics)
    _scans(deck, drawn.get("folded"), "Does the answer follow the lesion?", notes, described)


def _scans(deck: Deck, picture: Path | None, title: str, notes: list[str], described: str) -> None:
    """A slide that one picture of scans fills; none without it."""
    if picture is not None:
        deck.picture(deck.slide(title, notes), picture, (MARGIN, TOP - 0.05, WIDTH - 2 * MARGIN, 5.65), described)


def _limits(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    slide = deck.slide("Limits and outlook")
    deck.text(slide, ["Limits"], (MARGIN, TOP, 7.4, 0.4), 20, bold=True)
    deck.bullets(slide, texts.limits(metrics), (MARGIN, TOP + 0.5, 7.4, 5.0), 17)
    deck.text(slide, ["Outlook"], (8.5, TOP, WIDTH - MARGIN - 8.5, 0.4), 20, bold=True)
    deck.bullets(slide, findings.outlook(metrics), (8.5, TOP + 0.5, WIDTH - MARGIN - 8.5, 5.0), 17)


def _sources(deck: Deck, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> None:
    slide = deck.slide("Sources")
    deck.bullets(slide, texts.references(metrics), (MARGIN, TOP, WIDTH - 2 * MARGIN, 5.5), 15)
