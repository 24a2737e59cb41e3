"""The deck: titles, notes, nothing beyond the edge, the scores."""

from __future__ import annotations

from pptx import Presentation
from pptx.util import Inches

from brain_mri.reporting import tables


def test_slides_have_titles_notes_and_stay_on_the_slide(written):
    deck = Presentation(str(written / "slides.pptx"))
    titles = [slide.shapes.title.text_frame.text for slide in deck.slides]
    assert 10 <= len(titles) <= 15
    assert all(titles) and len(set(titles)) == len(titles)
    assert sum(slide.has_notes_slide for slide in deck.slides) >= 8
    for slide in deck.slides:
        for shape in slide.shapes:
            assert shape.left >= 0 and shape.top >= 0, (titles, shape.name)
            assert shape.left + shape.width <= deck.slide_width + 10
            assert shape.top + shape.height <= Inches(7.5) + 10
    pictures = [s for slide in deck.slides for s in slide.shapes if s.shape_type == 13]
    assert len(pictures) >= 11
    assert all(picture._element.nvPicPr.cNvPr.get("descr") for picture in pictures)


def test_slides_hold_the_scores(written, made):
    deck = Presentation(str(written / "slides.pptx"))
    text = []
    for slide in deck.slides:
        for shape in slide.shapes:
            if shape.has_text_frame:
                text.append(shape.text_frame.text)
            if shape.has_table:
                text += [cell.text for row in shape.table.rows for cell in row.cells]
    everything = "\n".join(text)
    assert tables.percent(made["evaluation"].metrics.classification.accuracy) in everything
    assert tables.score(made["evaluation"].metrics.segmentation.dice.mean) in everything
