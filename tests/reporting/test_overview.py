"""All tables in their order; those by source say what they compare with."""

from __future__ import annotations

from brain_mri.evaluation.records import Metrics
from brain_mri.evaluation.scores import Counted, SourceScores
from brain_mri.reporting import overview

SHARE = Counted(value=0.5, low=0.25, high=0.75, count=8)
NOTHING = Counted(count=0)
KNOWN = SourceScores(
    source="a", sequence="T1", tumors=8, tumor_groups=3, free=30, free_groups=9, tumor_roc_auc=SHARE,
    called_tumor=SHARE, surely_free=SHARE, surely_tumor=SHARE, right=SHARE, answered=SHARE, right_answered=SHARE,
    dice=SHARE, missed=SHARE,
)  # fmt: skip
NO_CLASS = {name: NOTHING for name in ("right", "answered", "right_answered", "dice", "missed", "surely_tumor")}
OF_A_KIND = {"label": "glioma", "free": 0, "free_groups": 0, "left_out": True, "against_all": True}


def test_a_source_that_is_compared_with_others_or_left_out_says_so() -> None:
    (table, kinds) = overview.of_sources([KNOWN], "source")
    assert table.rows == [["a T1", "8 / 3", "30 / 9", "0.500 [0.250, 0.750]", *["50.0 [25.0, 75.0] %"] * 3]]
    assert "*" not in table.note and "Left out" not in table.note and kinds.rows[0][:2] == ["a T1", "8"]
    (table,) = overview.of_sources([KNOWN.model_copy(update=NO_CLASS | OF_A_KIND)], "source")
    assert table.rows[0][:4] == ["a T1: Glioma (left out)", "8 / 3", "–", "0.500 [0.250, 0.750]*"]
    assert table.rows[0][-1] == "–" and "* against" in table.note and "Left out:" in table.note


def test_tables_by_source_come_last_and_only_where_they_were_measured(evaluation) -> None:
    metrics: Metrics = evaluation.metrics
    bare = metrics.model_copy(update={"by_source": None, "also": None, "by_patient": None})
    assert overview.elsewhere(bare) == [] and overview.sections(bare)
    both = metrics.model_copy(update={"by_source": [KNOWN], "also": [KNOWN]})
    titles = [table.title for table in overview.sections(both)]
    assert titles[: len(overview.sections(bare))] == [table.title for table in overview.sections(bare)]
    assert [title.partition("? By ")[2] for title in titles[-4:]] == ["source"] * 2 + ["class of further folders"] * 2
