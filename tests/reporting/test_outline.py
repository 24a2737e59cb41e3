"""One outline for report, slides and card: what each of them gets, and that nothing unmeasured is mentioned."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_mri.reporting.outline import CARD, REPORT, SLIDES, Topic, outline


def test_what_was_not_measured_is_not_mentioned(made):
    metrics = made["evaluation"].metrics
    whole = outline(made["config"], metrics).sections_for(REPORT)
    assert list(whole)[:4] == ["Problem", "Data", "Method", "Training"] and "Results: where is the tumor?" in whole
    nothing = dict.fromkeys(("segmentation", "kmeans", "classification", "explanation", "sanity"))
    bare = outline(made["config"], metrics.model_copy(update=nothing)).sections_for(REPORT)
    assert not {"Results: where is the tumor?", "Results: how sure?"} & set(bare) and "Limits" in bare


def test_figures_stand_where_their_name_belongs(made):
    found = outline(made["config"], made["evaluation"].metrics, [Path("a/roc.png"), Path("a/unknown.png")])
    shown = {figure.path.name: topic.title for topic in found.topics for figure in topic.figures}
    assert shown == {"roc.png": "Class by class"}


def test_no_two_slides_have_the_same_title(made):
    titles = [topic.title for topic in outline(made["config"], made["evaluation"].metrics).topics_for(SLIDES)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("topic", "readers"),
    [
        (Topic("a", "b"), ""),
        (Topic("a", "b", ["text"]), "report slides card"),
        (Topic("a", "b", ["text"], points=()), "report card"),
        (Topic("a", "b", points=["point"]), "slides"),
        (Topic("a", "b", ["text"], readers=(REPORT,)), "report"),
    ],
)
def test_a_topic_goes_to_those_whom_it_tells_something(topic, readers):
    assert [reader for reader in (REPORT, SLIDES, CARD) if topic.says_something_to(reader)] == readers.split()
