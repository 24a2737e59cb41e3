"""The words that the page explains: one source, in docs/ and on the page, and every table and figure has its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brain_mri.classes import CLASSES, title
from brain_mri.evaluation.records import Metrics, checked
from brain_mri.inference.analysis import KIND_UNSURE, NO_SKULL
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.quality import SENTENCES
from brain_mri.reporting.overview import sections
from brain_mri.reporting.texts import WORDS as REPORT
from brain_mri.ui import glossary, model_tab, theme
from brain_mri.ui.html import TERM, explained, explainer, open_tab, unexplained

ROOT = Path(__file__).resolve().parents[2]


def found(text: str) -> list[str]:
    return [glossary.WORDS[word].name for _, word in glossary.pieces(text) if word is not None]


def test_the_page_in_docs_is_made_of_the_same_words() -> None:
    """python -m brain_mri.ui.glossary > docs/glossary.md"""
    assert (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8") == glossary.markdown()


def test_each_spelling_means_one_word_and_texts_are_short() -> None:
    spellings = [name.lower() for word in glossary.WORDS for name in (word.name, *word.also)]
    assert len(spellings) == len(set(spellings))
    for word in glossary.WORDS:
        assert word.text.endswith(".") and len(word.text.split()) <= 62, word.name
        assert found(word.name) == [word.name]  # not a longer one, nor a piece of it


def test_answers_and_every_reason_to_be_unsure_are_explained() -> None:
    for name in CLASSES:
        assert found(title(name))
    reasons = [*SENTENCES.values(), NO_SKULL, KIND_UNSURE, "below 68% the model does not commit itself."]
    for reason in reasons:
        assert set(found(reason)) - {"Not sure", "Sequence"}, reason
    assert {"Not sure", "Grad-CAM", "Dice", "ROC-AUC", "ECE", "Threshold", "Tumor area"} <= {
        word.name for word in glossary.WORDS
    }


def test_words_are_whole_the_longest_one_and_once() -> None:
    assert found("a pituitary tumor, gliomas2, Grad-CAMs") == ["Pituitary tumor"]
    assert found("ROC-AUC") == ["ROC-AUC"] and found("Heat inside the mask") == ["Heat inside the mask"]
    text = 'a glioma <b> "Glioma" {x}, a meningioma'
    html = explained(text)
    assert html.count(TERM) == 2 and "<b>" not in html and "{" not in html
    assert unexplained(html) == "a glioma &lt;b&gt; &quot;Glioma&quot; &#123;x&#125;, a meningioma"
    assert unexplained(f"A{open_tab('Model', 'How often?')}B") == "AB"
    write = explainer()
    assert write("glioma").count(TERM) == 1 and write("glioma").count(TERM) == 0


def test_every_table_and_figure_says_how_it_was_measured(bundled: Path) -> None:
    metrics = checked(Metrics, json.loads((bundled / "metrics.json").read_text()), "metrics.json")
    for table in sections(metrics):
        assert glossary.measured(table.title), table.title
    shown = {path.stem for path in (bundled / "figures").glob("*.png")}
    assert shown | set(REPORT.captions) <= set(glossary.FIGURES)
    predictor = Predictor.load(bundled)
    scores, figures = model_tab.scores(predictor), model_tab.figure_grid(predictor)
    assert scores.count("<details") == len(sections(metrics)) and figures.count("<details") == len(shown)
    assert figures.count(model_tab.EVALUATE) == len(shown - set(model_tab.NOT_EVALUATED))
    assert "docs/numbers.md" in scores and "python -m brain_mri evaluate" in figures
    assert all(word.name in model_tab.word_list() for word in glossary.WORDS[:20])


def test_a_model_of_the_hub_links_to_its_own_numbers(handmade_artifact: Path) -> None:
    own = Predictor.load(handmade_artifact)
    pulled = Predictor(own.artifact, model_id="me/mine", revision="a" * 40)
    text = model_tab.how_measured("Masks", "So.", pulled)
    assert f'/me/mine/blob/{"a" * 40}/metrics.json" target="_blank" rel="noopener noreferrer"' in text
    assert "<a " not in model_tab.how_measured("Masks", "So.", own)
    odd = Predictor(own.artifact, model_id='me/"><script>', revision="a" * 40)
    assert "<script>" not in model_tab.how_measured("Masks", "So.", odd)


def test_the_script_cannot_be_ended_by_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = (glossary.Word("x", "a</script>", "b</script>"),)
    monkeypatch.setattr(glossary, "WORDS", evil)
    assert "</script>" not in glossary.script() and glossary.script() in theme.head()
