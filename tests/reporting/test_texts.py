"""Words that belong to something: every figure has its caption, every network its sentence."""

from __future__ import annotations

import model_def
from brain_mri.reporting import report
from brain_mri.reporting.texts import WORDS


def test_every_figure_has_a_caption(made, tmp_path):
    drawn = report.write_figures(tmp_path, made["config"], made["evaluation"], made["dataset"])
    assert {path.stem for path in drawn} <= set(WORDS.captions)


def test_every_architecture_is_described():
    assert set(WORDS.architectures) == {*model_def.CLASSIFIERS, *model_def.SEGMENTERS, "kmeans"}


def test_no_word_lost_its_line_break():
    """A sentence of texts.toml is one line, and ends as a sentence does."""
    for text in (*WORDS.problem, *WORDS.method.values(), *WORDS.captions.values(), *WORDS.methods):
        assert text == " ".join(text.split()) and text.endswith(".")
