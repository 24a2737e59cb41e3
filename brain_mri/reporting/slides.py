"""slides.pptx: one slide for every topic of the outline, with speaker notes.

Titles and bullets stand in the placeholders of the layouts, so the deck can be edited and read aloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.util import Emu, Inches, Pt

from brain_mri.files import atomic_write
from brain_mri.reporting.outline import SLIDES, Figure, Outline, Topic
from brain_mri.reporting.tables import Table
from brain_mri.reporting.texts import WORDS

WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.6  # inches
TITLE_SLIDE, TITLE_AND_CONTENT, TITLE_ONLY = 0, 1, 5  # layouts of python-pptx's own template
INK, BLUE, GRAY = RGBColor(0x22, 0x22, 0x22), RGBColor(0x00, 0x5A, 0x8F), RGBColor(0x66, 0x66, 0x66)
WHITE, SHADE = RGBColor(0xFF, 0xFF, 0xFF), RGBColor(0xEE, 0xF3, 0xF7)
LARGEST, SMALLEST, IN_TABLE = 18, 11, 14  # points of text


class Box(NamedTuple):
    """Inches."""

    left: float
    top: float
    width: float
    height: float

    def place(self, shape: Any) -> None:
        shape.left, shape.top, shape.width, shape.height = map(Inches, self)


TITLE = Box(MARGIN, 0.35, WIDTH - 2 * MARGIN, 0.8)
FIRST, SUBTITLE = TITLE._replace(top=2.2), Box(MARGIN, 3.5, WIDTH - 2 * MARGIN, 2.0)
BODY = Box(MARGIN, 1.35, WIDTH - 2 * MARGIN, 5.6)


def write_slides(path: Path, found: Outline) -> Path:
    """Build the deck, 16:9."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    places = {TITLE_SLIDE: (FIRST, SUBTITLE), TITLE_AND_CONTENT: (TITLE, BODY), TITLE_ONLY: (TITLE,)}
    for layout, boxes in places.items():  # the template's are for 4:3
        for number, box in enumerate(boxes):
            box.place(deck.slide_layouts[layout].placeholders[number])
    footer = f"{found.title}   ·   {WORDS.not_a_device}"
    first = _new(deck, TITLE_SLIDE, found.question, WORDS.problem, footer)
    made = f"Model: {found.model}   ·   {found.created}"
    _write(first.placeholders[1].text_frame, [f"Classes: {found.classes}", found.headline, made], LARGEST + 2)
    for topic in found.topics_for(SLIDES):
        _slide(deck, topic, footer)
    with atomic_write(path) as temporary:
        deck.save(str(temporary))
    return path


def _new(deck: Any, layout: int, title: str, notes: Sequence[str], footer: str) -> Any:
    """A slide with a title, a footer, its number and speaker notes."""
    slide = deck.slides.add_slide(deck.slide_layouts[layout])
    _write(slide.shapes.title.text_frame, [title], 30, color=BLUE, bold=True)
    for text, left, width in ((footer, MARGIN, 11.0), (str(len(deck.slides)), WIDTH - MARGIN - 0.6, 0.6)):
        frame = slide.shapes.add_textbox(*map(Inches, Box(left, HEIGHT - 0.45, width, 0.3))).text_frame
        _write(frame, [text], SMALLEST, color=GRAY)
    if notes:
        slide.notes_slide.notes_text_frame.text = "\n".join(notes)
    return slide


def _slide(deck: Any, topic: Topic, footer: str) -> None:
    """Title, pictures, bullets below or beside them, and the table at the bottom."""
    layout = TITLE_AND_CONTENT if topic.lines else TITLE_ONLY
    notes = [*topic.text, *topic.items, *(figure.caption for figure in topic.figures)]
    notes += [": ".join(row).strip() for table in topic.tables if len(table.columns) == 2 for row in table.rows]
    slide = _new(deck, layout, topic.title, notes, footer)
    slide.shapes.title.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
    slide.shapes.title.text_frame.paragraphs[0].alignment = PP_ALIGN.LEFT
    rule = slide.shapes.add_connector(1, Inches(MARGIN), Inches(1.18), Inches(WIDTH - MARGIN), Inches(1.18))
    rule.line.color.rgb, rule.line.width = BLUE, Pt(1.5)
    area = BODY
    if topic.slide_table:
        height = 0.0225 * IN_TABLE * (1 + len(topic.slide_table.rows))
        _table(slide, topic.slide_table, Box(MARGIN, BODY.top + BODY.height - height, BODY.width, height))
        area = area._replace(height=area.height - height - 0.15)
    pictures, words = _divided(area, topic)
    _pictures(slide, topic.figures, pictures)
    if topic.lines:
        body = slide.placeholders[1]
        words.place(body)
        sizes = (
            size for size in range(LARGEST, SMALLEST, -1) if _needed(topic.lines, size, words.width) <= words.height
        )
        size = next(sizes, SMALLEST)
        _write(body.text_frame, topic.lines, size)


def _divided(area: Box, topic: Topic) -> tuple[Box, Box]:
    """The places of the pictures and of the words."""
    if not topic.figures or not topic.lines:
        return area, area
    if topic.slide_table or (len(topic.figures) == 1 and _shape(topic.figures[0]) < 2):
        words = area._replace(left=area.left + 0.66 * area.width, width=0.34 * area.width)
        return area._replace(width=0.64 * area.width), words
    height = min(_needed(topic.lines, LARGEST - 1, area.width), 0.4 * area.height)
    words = area._replace(top=area.top + area.height - height, height=height)
    return area._replace(height=area.height - height - 0.1), words


def _needed(lines: Sequence[str], size: int, width: float) -> float:
    """Inches that bullets need, by a cautious count of characters."""
    across = max(1, int((width - 0.6) * 72 / (size * 0.55)))
    rows = sum(-(-len(line) // across) for line in lines)
    return (rows * size * 1.22 + len(lines) * size * 0.45) / 72 + 0.1


def _write(frame: Any, lines: Sequence[str], size: int, *, color: RGBColor = INK, bold: bool = False) -> None:
    """Lines as paragraphs; Arial, because every office program has it or one of its widths."""
    frame.word_wrap = True
    for i, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if i == 0 else frame.add_paragraph()
        paragraph.space_after = Pt(size * 0.45 if len(lines) > 1 else 0)
        run = paragraph.add_run()
        run.text = line
        run.font.size, run.font.bold, run.font.name = Pt(size), bold, "Arial"
        run.font.color.rgb = color


def _shape(figure: Figure) -> float:
    """Width by height."""
    with Image.open(figure.path) as image:
        return image.width / image.height


def _pictures(slide: Any, figures: Sequence[Figure], area: Box) -> None:
    """Side by side, equally high, as large as fits, centred."""
    shapes = [_shape(figure) for figure in figures]
    gap = 0.1 * (len(shapes) - 1)
    height = min(area.height, (area.width - gap) / sum(shapes)) if shapes else 0.0
    left = area.left + (area.width - gap - height * sum(shapes)) / 2
    for figure, shape in zip(figures, shapes, strict=True):
        box = Box(left, area.top + (area.height - height) / 2, height * shape, height)
        picture = slide.shapes.add_picture(str(figure.path), *map(Inches, box))
        picture._element.nvPicPr.cNvPr.set("descr", figure.caption)  # what a screen reader says
        left += box.width + 0.1


def _table(slide: Any, found: Table, box: Box) -> None:
    """Columns as wide as their text needs."""
    rows = [found.columns, *found.rows]
    table = slide.shapes.add_table(len(rows), len(found.columns), *map(Inches, box)).table
    longest = [max(len(row[i].strip()) for row in rows) + 2 for i in range(len(found.columns))]
    for column, length in zip(table.columns, longest, strict=True):
        column.width = Emu(int(Inches(box.width) * length / sum(longest)))
    for r, row in enumerate(rows):
        table.rows[r].height = Inches(box.height / len(rows))
        for c, text in enumerate(row):
            cell = table.cell(r, c)
            cell.margin_top = cell.margin_bottom = Inches(0.02)
            cell.margin_left = cell.margin_right = Inches(0.06)
            _write(cell.text_frame, [text], IN_TABLE, bold=r == 0, color=WHITE if r == 0 else INK)
            cell.fill.solid()
            cell.fill.fore_color.rgb = BLUE if r == 0 else SHADE if r % 2 == 0 else WHITE
