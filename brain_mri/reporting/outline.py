"""What a run has to say, once: report.html, slides.pptx and the model card are three renderings of this outline.

    found = outline(config, metrics, paths_of_figures)
    for topic in found.topics_for(SLIDES): ...

A topic without text, figure or table is left out, so whatever was not measured is not mentioned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.classes import NO_TUMOR, question, title
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting import findings, overview, tables, texts, two_classes
from brain_mri.reporting.tables import Table
from brain_mri.reporting.texts import WORDS

REPORT, SLIDES, CARD = "report", "slides", "card"
EVERYONE = (REPORT, SLIDES, CARD)
MANY, FEW = 12, 8  # more classes than MANY are not all named in a line, only FEW of them


@dataclass(frozen=True)
class Figure:
    """A picture that was drawn; the caption is also what a screen reader says."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Topic:
    """One thing to say: a slide, and a part of a section of the report and of the card.

    text: sentences; items: a list below figures and tables. points: the lines of its slide, by default text and items;
    slide_table: the table of its slide.
    """

    section: str
    title: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    items: Sequence[str] = ()
    points: Sequence[str] | None = None
    slide_table: Table | None = None
    readers: Collection[str] = EVERYONE

    @property
    def lines(self) -> Sequence[str]:
        """Of its slide."""
        return [*self.text, *self.items] if self.points is None else self.points

    def says_something_to(self, reader: str) -> bool:
        slide = self.lines or self.figures or self.slide_table
        return reader in self.readers and bool(
            slide if reader == SLIDES else self.text or self.figures or self.tables or self.items
        )


@dataclass(frozen=True)
class Outline:
    title: str
    question: str
    model: str
    created: str  # day
    classes: str
    headline: str
    summary: Sequence[str]  # the few sentences that somebody in a hurry reads
    topics: Sequence[Topic]

    def topics_for(self, reader: str) -> list[Topic]:
        return [topic for topic in self.topics if topic.says_something_to(reader)]

    def sections_for(self, reader: str) -> dict[str, list[Topic]]:
        """Topics under the headings of report and card."""
        found: dict[str, list[Topic]] = {}
        for topic in self.topics_for(reader):
            found.setdefault(topic.section, []).append(topic)
        return found


OF_MASKS_ON_SLIDE = ("Dice", "HD95, ", "Lesions missed", "Tumor drawn")


def outline(config: ArtifactConfig, metrics: Metrics, figures: Sequence[Path] = ()) -> Outline:
    """figures: those that exist; one called "roc.png" is shown where ROC curves belong."""
    drawn = {path.stem: path for path in figures}

    def shown(*names: str) -> list[Figure]:
        return [Figure(drawn[name], WORDS.captions[name]) for name in names if name in drawn]

    topics = [
        *_background(config, metrics, shown),
        *_classes(config, metrics, shown),
        *_lesions(metrics, shown),
        *_ending(config, metrics),
    ]
    summary = [
        *two_classes.said(metrics),
        *findings.verdict(metrics),
        *findings.masks(metrics)[:2],
        *findings.heatmaps(metrics)[:1],
    ]
    return Outline(
        findings.heading(config, metrics),
        f"Brain tumor MRI: {question(config.classes)}, where, and why?",
        config.name or tables.network(metrics.model.classifier),
        metrics.created[:10],
        _listed(config.classes),
        findings.headline(config, metrics),
        summary or [findings.headline(config, metrics)],
        topics,
    )


def _listed(classes: Sequence[str]) -> str:
    named = [title(name) for name in classes[: FEW if len(classes) > MANY else MANY]]
    more = f" and {len(classes) - len(named)} more" if len(named) < len(classes) else ""
    return ", ".join(named) + more


Shown = Callable[..., list[Figure]]


def _background(config: ArtifactConfig, metrics: Metrics, shown: Shown) -> list[Topic]:
    """Problem, data and method."""
    settings = findings.training_settings(config)
    flattery, side = findings.flattery(metrics), config.preprocessing.image_size
    square = shown("preprocessing")
    return [
        Topic(
            "Problem",
            "Problem: high scores that mean little",
            [*WORDS.problem, *flattery],
            tables=_known(tables.splits(metrics)),
            points=[*WORDS.problem_points[: None if NO_TUMOR in config.classes else -1], *flattery[1:]],
            slide_table=tables.splits(metrics),
        ),
        Topic(
            "Data",
            "Data: many slices, few patients",
            [*findings.data(metrics, config), *metrics.notes],
            shown("counts"),
            items=texts.data_sources(metrics, config),
        ),
        Topic(
            "Method",
            "How it works",
            figures=shown("pipeline"),
            items=texts.method(metrics, config),
            points=[*_lines(settings, "Classifier", "Segmenter", "Input"), WORDS.one_pass],
            readers=(REPORT, SLIDES),
        ),
        Topic(
            "Method",
            "Preprocessing: one square, in training and app",
            figures=square,
            points=[line.format(side=side) for line in WORDS.preprocessing_points] if square else (),
            readers=(REPORT, SLIDES),
        ),
        Topic(
            "Training",
            "Training",
            figures=shown("training"),
            tables=[Table("What it takes to repeat the run", ["Setting", "Value"], list(settings.items()))],
            points=[
                *_lines(settings, "Epochs", "Batch, learning rate", "Loss", "Time", "Seed"), WORDS.augmented
            ],
        ),
    ]  # fmt: skip


def _classes(config: ArtifactConfig, metrics: Metrics, shown: Shown) -> list[Topic]:
    """How well classes are told, and how sure the answers are."""
    pair, asked = two_classes.operating_point(metrics), question(config.classes)
    which, many = f"Results: {asked}?", len(config.classes) > MANY
    first = Topic(
        which,
        f"{asked[0].upper()}{asked[1:]}: ROC-AUC and operating point",
        two_classes.said(metrics),
        shown("roc"),
        _known(pair),
        slide_table=pair,
    )
    return [
        *([first] if pair else []),
        Topic(
            which,
            "The model beside simple baselines",
            findings.verdict(metrics),
            shown("compared"),
            _known(tables.comparison(metrics), tables.subsets(metrics)),
        ),
        Topic(
            which,
            "Class by class",
            findings.classes(metrics),
            shown(*([] if many else ["confusion"]), *([] if pair else ["roc"])),
            _known(tables.by_class(metrics)),
        ),
        Topic(which, "Which class is taken for which", figures=shown(*(["confusion"] if many else [])), points=()),
        Topic(
            "Results: how sure?",
            'How sure is it? Calibration and "not sure"',
            findings.calibration(metrics),
            shown("reliability", "abstention"),
            _known(tables.decisions(metrics)),
        ),
    ]


def _lesions(metrics: Metrics, shown: Shown) -> list[Topic]:
    """Masks, heatmaps, lesions taken out and put in; then what only tables tell."""
    where, looks = "Results: where is the tumor?", "Results: what did the classifier look at?"
    found = tables.masks(metrics)
    rows = [row for row in found.rows if row[0].startswith(OF_MASKS_ON_SLIDE)] if found else []
    return [
        Topic(
            where,
            "Where is the tumor?",
            findings.masks(metrics),
            shown("dice"),
            _known(found, tables.mask_parts(metrics)),
            slide_table=replace(found, rows=rows) if found else None,
        ),
        Topic(where, "Best, median and worst test slices", figures=shown("cases"), points=()),
        Topic(
            looks,
            "What did the classifier look at?",
            findings.heatmaps(metrics),
            shown("explanation"),
            _known(tables.explanation(metrics), tables.sanity(metrics)),
        ),
        Topic(
            looks,
            "Does the answer follow the lesion?",
            findings.counterfactual(metrics),
            shown("counterfactual"),
            _known(tables.counterfactual(metrics)),
        ),
        Topic(looks, "The same heads, folded at the midline", figures=shown("folded"), points=()),
        Topic("Results: other sources", "Source by source", tables=overview.elsewhere(metrics), points=()),
        Topic(
            "Results: cross-validation",
            "Cross-validation",
            tables=_known(tables.cross_validation(metrics)),
            points=(),
        ),
        Topic(
            "Results: is it a brain MRI at all?",
            "Is it a brain MRI at all?",
            tables=_known(tables.guard(metrics)),
            points=(),
        ),
        Topic(
            "Results: poor pictures",
            "Noise, blur, small size, other brightness",
            tables=_known(tables.degraded(metrics)),
            points=(),
        ),
    ]


def _ending(config: ArtifactConfig, metrics: Metrics) -> list[Topic]:
    return [
        Topic("Limits", "Limits", items=texts.limits(metrics, config.classes)),
        Topic("Outlook", "Outlook", items=findings.outlook(metrics), readers=(REPORT, SLIDES)),
        Topic("References", "Sources", items=texts.references(metrics)),
    ]


def _known(*found: Table | None) -> list[Table]:
    return [table for table in found if table is not None]


def _lines(settings: dict[str, str], *names: str) -> list[str]:
    return [f"{name}: {settings[name]}" for name in names if name in settings]
