"""What report, slides, card and leaderboard say of models of two, three and 43 classes, without training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.artifact.folder import load_artifact
from brain_mri.classes import CANNOT_TELL, CLASSES, NO_TUMOR
from brain_mri.data import phantom
from brain_mri.data.dataset import Dataset, load_dataset
from brain_mri.evaluation import baselines, evaluate
from brain_mri.evaluation.records import Evaluation, Summary
from brain_mri.reporting import compare_runs, figures, model_card, overview, plot_style, report, two_classes
from brain_mri.reporting.outline import SLIDES, outline
from tests.helpers.handmade import write_handmade

LONG = [f"{kind} {sequence}" for kind in ("Oligodendroglioma", "Medulloblastoma", *"ABCDEFGHIJKL") for sequence in
        ("T1", "T1C+", "T2")]  # fmt: skip
NAMES: dict[str, Callable[[str, int], str]] = {
    "yes or no": lambda label, i: "no" if label == NO_TUMOR else "yes" * (i % 3 == 0),
    "two kinds": lambda label, i: {"glioma": "HGG", "meningioma": "LGG"}.get(label, ""),
    "three": lambda label, i: dict(zip(CLASSES, ("Grade $2$", "Grade $3$", "", "Grade $4$"), strict=True))[label],
    "many": lambda label, i: "_NORMAL" if label == NO_TUMOR else LONG[(14 * CLASSES.index(label) + i) % len(LONG)],
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    folder: Path
    config: ArtifactConfig
    evaluation: Evaluation
    dataset: Dataset


@pytest.fixture(scope="module")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """A handmade model of these classes, measured on phantoms in folders of these names."""
    home = tmp_path_factory.mktemp("classes")
    drawn = phantom.write_dataset(home / "drawn", per_class=42, seed=5, size=64)
    known: dict[str, Made] = {}

    def make(which: str) -> Made:
        root = home / which
        for label in CLASSES:
            for i, path in enumerate(sorted(p for p in drawn.glob(f"T*/{label}/*") if p.is_file())):
                if name := NAMES[which](label, i):
                    (root / name).mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, root / name / f"{label}-{i}{path.suffix}")
        dataset = load_dataset(root, size=64, cache=home / "cache", progress=False)
        folder = write_handmade(home / "model" / which, classes=list(dataset.classes))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(baselines, "TREES", 5)
            found = evaluate.evaluate(folder, dataset, split="all", sanity=False, resamples=20)
        return Made(folder, load_artifact(folder).config, found, dataset)

    return lambda which: known[which] if which in known else known.setdefault(which, make(which))


@pytest.mark.parametrize(
    ("which", "asked", "at"),
    [("yes or no", "Tumor or not", "At P(tumor) ≥ 0.50"), ("two kinds", "LGG or HGG", "At P(LGG) ≥ 0.50")],
)
def test_the_question_of_two_classes_stands_in_front(
    made_of: Callable[[str], Made], tmp_path: Path, which: str, asked: str, at: str
) -> None:
    made = made_of(which)
    metrics = made.evaluation.metrics
    (first, *others) = overview.sections(metrics)
    assert (
        first.title.lower() == f"one question: {asked}".lower()
        and first.rows[0][0] == "ROC-AUC"
        and first.rows[1][0].startswith(at)
    )
    assert not any("ROC-AUC" in row[0] for table in others if table.title.startswith("Decisions") for row in table.rows)
    found = outline(made.config, metrics, [tmp_path / "roc.png"])
    assert found.summary[0].startswith(f"{asked}: ROC-AUC") and asked.lower()[:5] in found.question.lower()
    assert found.headline.startswith(f"{asked}: ROC-AUC") and "sensitivity" in found.headline
    (topic,) = (topic for topic in found.topics_for(SLIDES) if topic.figures)
    assert topic.title == f"{asked}: ROC-AUC and operating point" and topic.slide_table == first
    names = [row.metric_name for row in model_card.eval_results(metrics)]
    assert str(names[0]).startswith("ROC-AUC, ") and names[1:4] == ["Sensitivity", "Specificity", "Accuracy"]
    summary = Summary.of(metrics)
    assert summary.sensitivity and summary.tumor_roc_auc and metrics.classification
    area = metrics.classification.per_class[made.config.classes[1]].roc_auc
    assert area and summary.tumor_roc_auc.value == area.value
    assert figures.roc(metrics, tmp_path / "roc.png")


def test_of_more_classes_nothing_stands_before_the_baselines(made_of: Callable[[str], Made]) -> None:
    for which in ("three", "many"):
        metrics = made_of(which).evaluation.metrics
        assert two_classes.asked(metrics) is None and not two_classes.said(metrics)
        assert overview.sections(metrics)[0].title == "Classification beside the baselines"


def test_without_no_tumor_nothing_is_said_of_whether_there_is_one(made_of: Callable[[str], Made]) -> None:
    made = made_of("three")
    metrics = made.evaluation.metrics
    titles = " ".join(table.title for table in overview.sections(metrics))
    assert "Is there a tumor?" not in titles and not metrics.counterfactual
    text = " ".join(
        " ".join([*topic.text, *topic.items, *topic.lines]) for topic in outline(made.config, metrics).topics
    )
    assert CANNOT_TELL in text and "Healthy" not in text
    assert outline(made.config, metrics).question == "Brain tumor MRI: which class, where, and why?"


@pytest.mark.parametrize("which", NAMES)
def test_everything_is_drawn_and_written(
    made_of: Callable[[str], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    made = made_of(which)
    written = report.write_all(tmp_path, made.config, made.evaluation, made.dataset)
    assert {"report.html", "slides.pptx", "README.md", "confusion.png", "roc.png", "counts.png"} <= {
        path.name for path in written
    }
    assert "could not" not in capsys.readouterr().err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in made.config.classes if name not in CLASSES and name != "tumor")


def test_43_classes_stay_readable(made_of: Callable[[str], Made], tmp_path: Path) -> None:
    from PIL import Image

    made = made_of("many")
    found = outline(made.config, made.evaluation.metrics, [tmp_path / "confusion.png"])
    assert len(made.config.classes) == 43 and found.classes.endswith("and 35 more")
    assert [t.title for t in found.topics_for(SLIDES) if t.figures] == ["Which class is taken for which"]
    path = figures.confusion(made.evaluation.metrics, tmp_path / "confusion.png")
    assert path
    with Image.open(path) as image:  # 60 DPI: a row for each class, letters of at least 7 points
        assert image.height > 43 * 7 * plot_style.DPI / 72 and image.width < 15 * plot_style.DPI


def test_a_leaderboard_of_two_classes_is_ordered_by_their_question(
    made_of: Callable[[str], Made], tmp_path: Path
) -> None:
    made = made_of("yes or no")
    metrics = made.evaluation.metrics
    assert metrics.classification and metrics.classification.binary
    better = metrics.classification.binary.model_copy(
        update={"roc_auc": metrics.classification.accuracy.model_copy(update={"value": 0.999})}
    )
    runs = []
    for name, binary, accuracy in (("a", metrics.classification.binary, 0.9), ("b", better, 0.1)):
        right = metrics.classification.accuracy.model_copy(update={"value": accuracy})
        scores = metrics.classification.model_copy(update={"binary": binary, "accuracy": right})
        config: dict[str, Any] = made.config.to_json() | {"classifier": {"architecture": name, "parameters": 1}}
        runs.append(
            compare_runs.Run(
                tmp_path / name,
                ArtifactConfig.model_validate(config),
                metrics.model_copy(update={"classification": scores}),
            )
        )
    path = compare_runs.write(tmp_path, runs)
    lines = path.read_text(encoding="utf-8").splitlines()
    (head,) = (line for line in lines if "Macro F1" in line)
    assert head.index("| ROC-AUC") < head.index("Accuracy") and (tmp_path / "leaderboard.png").is_file()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| b ") or line.startswith("| a ")] == [
        "b",
        "a",
    ]
