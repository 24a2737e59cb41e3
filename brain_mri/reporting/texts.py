"""What report, slides and model card say in words: the problem, the method, the limits, the sources.

The words themselves are in assets/texts.toml. Sentences with numbers in them are made in findings.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from brain_mri.artifact.config import ArtifactConfig, Network, Record
from brain_mri.classes import CANNOT_TELL, NO_TUMOR
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting.tables import percent

ASSETS = Path(__file__).resolve().parent / "assets"


class Words(Record):
    """texts.toml."""

    not_a_device: str
    brackets: str
    problem: list[str]
    problem_points: list[str]
    preprocessing_points: list[str]
    one_pass: str
    augmented: str
    outlook: list[str]
    methods: list[str]  # papers
    blending_paper: str
    encoder_paper: str
    imagenet: str
    mask_limit: str
    method: dict[str, str]
    architectures: dict[str, str]
    sources: dict[str, str]
    data_sets: dict[str, list[str]]  # papers
    captions: dict[str, str]  # of figures


WORDS = Words.model_validate(tomllib.loads((ASSETS / "texts.toml").read_text(encoding="utf-8")))


def from_imagenet(part: Network | None) -> bool:
    """Did the encoder of this network start from ImageNet weights?"""
    return part is not None and part.arguments.get("encoder") == "efficientnet_lite0"


def data_sources(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    """Where the pictures come from, as their owner states it or as far as their names tell."""
    if config.data.datasets:
        return [f"{name}." for name in config.data.datasets]
    return [WORDS.sources[name] for name in metrics.images.known_sources or ["unknown"]]


def references(metrics: Metrics) -> list[str]:
    """Papers on the data sets that were recognised, then on the methods."""
    own = [WORDS.encoder_paper] if from_imagenet(metrics.model.classifier) else []
    own += [WORDS.blending_paper] if metrics.counterfactual and metrics.counterfactual.given else []
    known = [paper for name in metrics.images.known_sources for paper in WORDS.data_sets.get(name, ())]
    return [*known, *WORDS.methods, *own]


def method(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    """Preprocessing, networks, training, measuring."""
    networks = _networks(metrics, config)
    return [
        WORDS.method["preprocessing"],
        *([" ".join(["Network.", *networks])] if networks else []),
        WORDS.method["heatmaps"],
        WORDS.method["training"],
        WORDS.method["measuring"].format(resamples=metrics.resamples),
    ]


def _networks(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    """What the networks are and how many of them answer."""
    classifier, segmenter, training = config.classifier, config.segmenter, config.training
    found = []
    if classifier.architecture in WORDS.architectures:
        found.append(f"The classifier, {classifier.architecture}, is {WORDS.architectures[classifier.architecture]}")
    if from_imagenet(classifier):
        found.append(
            "Its encoder is EfficientNet-Lite0 (Tan & Le 2019), which was first taught ImageNet's photographs."
        )
    if segmenter.shared:
        found.append("The same network gives the mask.")
        if training.segmenter:
            found.append("It learned masks first, then the class on top of that U-Net, which stood still.")
    count, judges = classifier.members, metrics.cross_validation.parts if metrics.cross_validation else 1
    if count > 1:
        found.append(f"{count} such networks answer together by the mean of their logits and masks.")
    if training.refit:
        found.append(
            "What answers was fitted on all patients but those of the test set and kept as its last epoch left it; "
            f"{judges} fitted alike before, with validation patients of {'its' if judges == 1 else 'their'} own, only "
            "gave the calibration, the thresholds and the cross-validation."
        )
    elif count > 1:
        found.append(
            "Each was fitted from other random numbers and chosen on other patients, so that between them they have "
            "learned from all patients but those of the test set."
        )
    if judges > count and not training.refit:
        found.append(
            f"{judges - count} further networks, fitted alike, only take part in the calibration and the "
            "cross-validation."
        )
    if count == 1 and segmenter.architecture in WORDS.architectures:
        found.append(f"The segmenter, {segmenter.architecture}, is {WORDS.architectures[segmenter.architecture]}")
    return found


def limits(metrics: Metrics, classes: Sequence[str]) -> list[str]:
    """What the numbers do not say. classes: those of the model."""
    kaggle = "kaggle" in metrics.images.known_sources
    sources = '"No tumor" pictures come' if kaggle else 'In public data sets "no tumor" pictures come'
    sources += (
        " from other sources than tumor pictures. Part of the score for tumor or not may be recognition of the source; "
        "performance on another hospital's scanner may be far lower."
    )
    if metrics.counterfactual and (given := metrics.counterfactual.given):
        sources += (
            f" Of heads of the tumor-free sources into which a lesion was put {percent(given.called_tumor)} were "
            "called a tumor."
        )
    if NO_TUMOR not in classes:
        sources = CANNOT_TELL
    outlined = metrics.segmentation is not None and metrics.segmentation.count > 0
    return [
        "Single slices are judged, not patients: no history, no other sequences, no neighbouring slices.",
        sources,
        "Only the classes of the training data are known. Whatever else a head may show, bleeding, an abscess, several "
        'lesions, gets one of them or "not sure".',
        *([WORDS.mask_limit] if outlined else []),
        "A heatmap shows where the classifier looked, not why, and not where the tumor ends.",
        "The intervals count the patients that were drawn, not hospitals, scanners or annotators.",
    ]
