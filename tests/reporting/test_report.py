"""The whole hand-in, and report.html, from real evaluations of small made-up data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image
from pptx import Presentation

from brain_mri.data import folders, selection
from brain_mri.evaluation.records import Evaluation, Metrics
from brain_mri.reporting import figures, report, tables
from brain_mri.reporting.outline import outline

MASKS = ("segmentation", "kmeans", "explanation", "sanity")


def without(made: dict[str, Any], *parts: str) -> Evaluation:
    return Evaluation(made["evaluation"].metrics.model_copy(update=dict.fromkeys(parts)))


def test_everything_is_written_and_nothing_half(written):
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    figures_ = {"pipeline", "training", "compared", "confusion", "roc", "reliability", "abstention", "dice",
                "explanation", "cases", "counts", "preprocessing"}  # fmt: skip
    assert names == {"report.html", "slides.pptx", "README.md"} | {f"figures/{name}.png" for name in figures_}


def test_figures_are_pictures_with_something_on_them(written):
    for path in (written / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 100, path.name
            assert np.asarray(image.convert("L")).std() > 5, path.name


def test_a_failing_figure_costs_only_itself(made, tmp_path, monkeypatch, capsys):
    def broken(*_: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "roc", broken)
    drawn = report.write_figures(tmp_path, made["config"], made["evaluation"])
    names = [path.stem for path in drawn]
    assert "roc" not in names
    assert "confusion" in names
    assert "no ink" in capsys.readouterr().err


def test_run_without_masks_still_gives_a_full_hand_in(made, tmp_path):
    report.write_all(tmp_path, made["config"], without(made, *MASKS), made["dataset"])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Results: which tumor?" in text
    assert "Results: where is the tumor?" not in text
    assert len(Presentation(str(tmp_path / "slides.pptx")).slides) >= 9
    assert not (tmp_path / "figures" / "dice.png").exists()
    assert "mean_iou" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_metrics_with_nothing_in_them_still_give_a_report(made, tmp_path):
    nothing = without(made, *MASKS, "classification", "baselines", "official_split", "calibration_before")
    written = report.write_all(tmp_path, made["config"], nothing)
    assert {path.name for path in written} >= {"report.html", "slides.pptx", "README.md"}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.images_without_text = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.sources += [value for key, value in attrs if key in ("src", "href") and value]
        if tag == "img":
            self.images_without_text += not given.get("alt")
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def test_report_is_self_contained_and_well_formed(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.images_without_text == 0
    assert sum(source.startswith("data:image/") for source in page.sources) >= 11
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    targets = {source[1:] for source in page.sources if source.startswith("#")}
    assert targets == set(re.findall(r'id="(s\d+)"', text))
    assert "train.py --data &lt;D&gt; &amp; more" in text  # nobody's command line becomes markup
    assert (written / "report.html").stat().st_size < 6_000_000


def test_report_states_scores_baselines_and_limits(written, made):
    text = (written / "report.html").read_text(encoding="utf-8")
    found = made["evaluation"].metrics
    for row in (found.classification.accuracy, found.segmentation.dice.mean):
        assert tables.score(row) in text
    for phrase in ("1-nearest neighbour", "K-means", "Not a medical device", "never trained on", "References"):
        assert phrase in text


def test_data_sets_are_named_only_when_the_rows_show_them(made, tmp_path):
    """Phantoms imitate the file names of the public sets; a report on them must not claim to be about people."""
    table = made["dataset"].table
    assert selection.known_sources(table) == ["phantoms"]
    real = table.assign(patient=["MR017260" if "Tr-gl" in path else "" for path in table["path"]])
    pairs = real["source"] == folders.MASK_PAIRS
    real.loc[pairs, "patient"] = "100360"
    assert selection.known_sources(real) == ["figshare", "kaggle"]
    assert selection.known_sources(real[~pairs]) == ["kaggle"]
    other = real.assign(patient="", path="scan.png")
    assert selection.known_sources(other) == []
    for known, said, unsaid in (
        ([], "not known to the program", "Cheng"),
        (["kaggle"], "Nickparvar", "Cheng"),
        (["figshare"], "Cheng", "Nickparvar"),
    ):
        metrics = made["evaluation"].metrics.to_json()
        metrics["images"]["known_sources"] = known
        found = outline(made["config"], Metrics.model_validate(metrics))
        text = report.write_html(tmp_path / "r.html", found).read_text(encoding="utf-8")
        assert said in text and unsaid not in text
