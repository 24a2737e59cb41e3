"""The hand-in: figures, report.html, slides.pptx and model card, from real evaluations of small made-up data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from pptx import Presentation
from pptx.util import Inches

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.artifact.folder import load_artifact
from brain_mri.data import dataset as data
from brain_mri.data import folders, phantom, selection
from brain_mri.evaluation import baselines, evaluate
from brain_mri.evaluation.records import Evaluation, Metrics
from brain_mri.evaluation.scores import Estimate
from brain_mri.reporting import (
    figures,
    figures_data,
    figures_masks,
    findings,
    model_card,
    plot_style,
    report,
    tables,
    texts,
)
from brain_mri.reporting.outline import outline

typed, metrics_of = ArtifactConfig.model_validate, Metrics.model_validate
HISTORY = {
    "loss": [2.0, 1.0, 0.8],
    "val_loss": [2.1, 1.2, 1.3],
    "logits_accuracy": [0.4, 0.7, 0.8],
    "val_logits_accuracy": [0.3, 0.6, 0.6],
    "mask_dice": [0.1, 0.4, 0.5],
    "val_mask_dice": [0.1, 0.3, 0.4],
}


@pytest.fixture(scope="module", autouse=True)
def coarse_figures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot_style, "DPI", 60)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, handmade_artifact: Path) -> dict[str, Any]:
    """dataset, evaluation, config of a handmade model on phantoms."""
    folder = phantom.write_dataset(tmp_path_factory.mktemp("data") / "phantoms", per_class=10, size=96)
    cache = tmp_path_factory.mktemp("cache")
    dataset = data.load_dataset(folder, folder / "segmentation", size=64, cache=cache, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 20)
        result = evaluate.evaluate(handmade_artifact, dataset, resamples=40)
    config = load_artifact(handmade_artifact).config.to_json()
    config["name"] = "somebody/brain-mri"
    config["training"] = {
        "seed": 0,
        "epochs": 3,
        "command": "train.py --data <D> & more",
        "options": {"batch_size": 32, "learning_rate": 0.001, "mask_loss": "bce_dice", "label_smoothing": 0.05},
        "classifier": {"history": HISTORY, "best_epoch": 1, "seconds": 90.0},
        "hardware": "2 CPU cores",
    }
    config["data"] = dataset.summary()
    shown = Evaluation(metrics_of(result.metrics), result.cases)  # type: ignore[arg-type]
    return {"dataset": dataset, "evaluation": shown, "config": typed(config)}


@pytest.fixture(scope="module")
def written(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    report.write_all(folder, made["config"], made["evaluation"], made["dataset"])
    return folder


def without(made: dict[str, Any], *parts: str) -> Evaluation:
    return Evaluation(made["evaluation"].metrics.model_copy(update=dict.fromkeys(parts)))


MASKS = ("segmentation", "kmeans", "explanation", "sanity")


# --- the whole -------------------------------------------------------------------------------------------------


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


# --- report.html -----------------------------------------------------------------------------------------------


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
        found = outline(made["config"], metrics_of(metrics))
        text = report.write_html(tmp_path / "r.html", found).read_text(encoding="utf-8")
        assert said in text and unsaid not in text


def test_both_stages_of_a_shared_network_are_told(made, tmp_path):
    config = made["config"].to_json()
    config["segmenter"] |= {"shared": True, "trained_on": "masks", "architecture": "guided"}
    config["classifier"]["architecture"] = "guided"
    config["training"]["segmenter"] = {"history": {"loss": [1.0, 0.5]}, "best_epoch": 1, "seconds": 30.0}
    settings = findings.training_settings(typed(config))
    assert settings["Epochs"] == (
        "masks alone: 2, the weights of epoch 2 are kept; then the class: 3, the weights of epoch 2 are kept"
    )
    assert settings["Time"].startswith("2 min on")
    config["training"]["command"] = "train.py --data /home/ann/My/scans --out runs/a --init /x/b/ -v"
    assert findings.training_settings(typed(config))["Command"] == "train.py --data scans --out runs/a --init b/ -v"
    assert settings["Segmenter"] == "the same network, learned from: masks outlined by hand"
    told = " ".join(texts.method(made["evaluation"].metrics, typed(config)))
    assert "decides where the classifier may look" in told and "on top of that U-Net, which stood still" in told
    assert figures.training_curves(typed(config), tmp_path / "c.png") is not None
    del config["training"]["segmenter"]
    assert findings.training_settings(typed(config))["Epochs"].startswith("3, the weights")


@pytest.mark.parametrize("encoder", ["efficientnet_lite0", "resnet"])
def test_imagenet_is_named_only_where_the_encoder_started_from_it(made, encoder):
    config, metrics = made["config"].to_json(), made["evaluation"].metrics.to_json()
    for part in (config, metrics["model"]):
        part["classifier"] |= {"architecture": "guided", "arguments": {"encoder": encoder}}
    card = model_card.body(typed(config), metrics_of(metrics))
    for said in ("EfficientNet-Lite0 (Google, Apache 2.0", "Tan M., Le Q. V."):
        assert (said in card) == (encoder == "efficientnet_lite0"), said
    told = " ".join(texts.method(metrics_of(metrics), typed(config)))
    assert ("ImageNet" in told) == (encoder == "efficientnet_lite0")
    config["training"]["command"] = "train.py --init runs/a"
    assert findings.training_settings(typed(config))["Started from"].startswith("the weights of an earlier run")


# --- slides ----------------------------------------------------------------------------------------------------


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


# --- model card ------------------------------------------------------------------------------------------------


def test_card_metadata_is_valid_and_equals_the_metrics(written, made):
    card = ModelCard.load(written / "README.md")
    assert card.data.model_name == "somebody/brain-mri"
    assert card.data.license == "mit"
    found = {(row.task_type, row.metric_type): row.metric_value for row in card.data.eval_results}
    metrics = made["evaluation"].metrics
    assert found["image-classification", "accuracy"] == pytest.approx(metrics.classification.accuracy.value, abs=1e-4)
    assert found["image-segmentation", "dice"] == pytest.approx(metrics.segmentation.dice.mean.value, abs=1e-4)
    text = card.text
    for phrase in (
        "Intended use",
        "Limits",
        "Drawn phantoms",
        "1-nearest neighbour",
        "Thresholds",
        "figures/compared.png",
    ):
        assert phrase in text
    for name in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (written / name).is_file()


def test_card_without_any_score_has_no_index(made, tmp_path):
    path = model_card.write_card(tmp_path, made["config"], without(made, *MASKS, "classification").metrics)
    assert "model-index" not in path.read_text(encoding="utf-8").split("---")[1]


# --- words -----------------------------------------------------------------------------------------------------


def lead(made: dict[str, Any], low: float, high: float) -> Metrics:
    def row(value: float, spread: float = 0.02) -> dict[str, Any]:
        return {"value": value, "low": value - spread, "high": value + spread}

    metrics = made["evaluation"].metrics.to_json()
    metrics["classification"] |= {"count": 10, "groups": 5, "accuracy": row(0.8)}
    bar = {"accuracy": row(0.7), "macro_f1": row(0.7), "lead": {"value": (low + high) / 2, "low": low, "high": high}}
    metrics["baselines"]["scores"] = {"border_forest": bar}
    return metrics_of(metrics)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.05, 0.15, "more than chance explains"), (-0.2, -0.1, "worse than that baseline"), (-0.1, 0.1, "too small")],
)
def test_verdict_says_what_the_interval_allows(made, low, high, said):
    assert said in " ".join(findings.verdict(lead(made, low, high)))


def test_scores_are_printed_with_their_interval():
    assert tables.score(Estimate(value=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"
    assert tables.score(Estimate(value=0.5)) == "0.500"
    assert tables.score(None) == tables.score(Estimate()) == "–"
    assert tables.percent(Estimate(value=0.5, low=0.25, high=0.75)) == "50.0 [25.0, 75.0] %"
    assert tables.percent(Estimate(value=1.0)) == "100.0 %"


def test_tables_are_escaped():
    found = tables.Table("<a>", ["x|y", "b"], [["<script>", "1"]])
    assert "<script>" not in tables.as_html(found)
    assert "x\\|y" in tables.as_markdown(found)
    lines = tables.as_text(found).splitlines()
    assert lines[1].index("b") == lines[3].index("1")


# --- drawings --------------------------------------------------------------------------------------------------


def test_example_rows_are_of_different_patients(made):
    table = made["dataset"].table
    rows = figures_data.example_rows(table, 4)
    assert len({table["group"].iloc[row] for row in rows}) == len(rows) > 1
    assert set(table["split"].iloc[rows]) == {"test"}


def test_curves_of_a_run_that_was_not_trained_are_left_out(tmp_path, made):
    assert (
        figures.training_curves(typed(made["config"].to_json() | {"training": {"epochs": 0}}), tmp_path / "a.png")
        is None
    )
    config = made["config"].to_json()
    config["training"]["segmenter"] = {"history": {"loss": [1.0], "mask_dice": [0.2]}, "best_epoch": 0}
    assert figures.training_curves(typed(config), tmp_path / "b.png") is not None


@pytest.mark.parametrize(("dice", "drawn"), [([0.7, 0.7, 0.7], ["loss"]), ([0.7, 0.71, 0.7], ["loss", "Dice"])])
def test_the_dice_of_a_u_net_that_stands_still_is_no_curve(made, dice, drawn):
    history = {"loss": [3.0, 2.0, 1.0], "mask_dice": [0.8, 0.81, 0.79], "val_loss": [3.0] * 3, "val_mask_dice": dice}
    config = made["config"].to_json() | {"training": {"classifier": {"history": history, "best_epoch": 2}}}
    assert [title for _, title, *_ in figures.curves_of(typed(config))] == drawn


def test_case_without_any_outline_is_drawn(tmp_path, made):
    case = made["evaluation"].cases[0]
    blank = replace(case, kind="worst", predicted=np.zeros_like(case.predicted))
    assert figures_masks.cases([case, blank], tmp_path / "c.png") is not None
    assert figures_masks.cases([], tmp_path / "d.png") is None
