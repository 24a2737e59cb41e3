"""README.md of an artifact: the model card with the Hub's metadata.

Mitchell et al. 2019, "Model cards for model reporting"; the metadata block is huggingface_hub's ModelCardData, whose
EvalResults become the `model-index`. The Hub's newer form of results, files in `.eval_results/`, is for data sets that
the Hub lists as benchmarks: who has measured a model on one gets such a file from `benchmark_result`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.classes import question
from brain_mri.evaluation.records import Metrics
from brain_mri.evaluation.scores import Estimate
from brain_mri.files import atomic_write
from brain_mri.inference.decision import calibrated_by
from brain_mri.reporting.outline import CARD, outline
from brain_mri.reporting.tables import as_markdown
from brain_mri.reporting.texts import ASSETS, WORDS, from_imagenet

CLASS = ("image-classification", "Image classification")
MASK = ("image-segmentation", "Image segmentation")
ENCODER = "timm/tf_efficientnet_lite0.in1k"  # the Hub's copy of the ImageNet weights that the encoder starts from
DATA_SET = re.compile(r"[a-zA-Z0-9][\w.-]*(/[a-zA-Z0-9][\w.-]*)?", re.ASCII)  # as the Hub takes its id
FIGURES = ("compared", "confusion", "cases", "reliability")


def write_card(folder: Path, config: ArtifactConfig, metrics: Metrics, figures: Sequence[Path] = ()) -> Path:
    """Write README.md into an artifact folder. figures: those that are in its figures/."""
    content = str(card(config, metrics, figures))
    path = Path(folder) / "README.md"
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def card(config: ArtifactConfig, metrics: Metrics, figures: Sequence[Path] = ()) -> ModelCard:
    """assets/model_card.md, filled in; raises ValueError when the metadata is not valid."""
    found = outline(config, metrics, [path for path in figures if path.stem in FIGURES])
    return ModelCard.from_template(
        card_data(config, metrics),
        template_path=str(ASSETS / "model_card.md"),
        outline=found,
        sections=found.sections_for(CARD),
        words=WORDS,
        config=config,
        hub_id=config.name if "/" in config.name else "<user>/<name>",
        calibration=calibrated_by(config),
        licence=licence(config),
        thresholds=", ".join(f"{key} {value:.4g}" for key, value in config.thresholds.to_json().items()),
        as_markdown=as_markdown,
    )


def licence(config: ArtifactConfig) -> str:
    """What a reader may do with the weights."""
    data = "stand under Data, as their owners state them" if config.data.datasets else "are not stated"
    data = f"Licences of the data that they learned from {data}."
    if not config.license:
        return (
            "Licence of the weights: not stated. Whoever publishes them states it (`train.py --license`); it may not "
            f"allow more than the licences of the training data do. {data}"
        )
    return f"Licence of the weights: {config.license}. {data} The program is MIT licensed."


def card_data(config: ArtifactConfig, metrics: Metrics) -> ModelCardData:
    starts = from_imagenet(config.classifier)
    encoder: dict[str, Any] = {"base_model": ENCODER, "base_model_relation": "finetune"} if starts else {}
    return ModelCardData(
        language="en",
        license=config.license or None,
        library_name="onnx",
        datasets=[id_ for name in config.data.datasets if DATA_SET.fullmatch(id_ := name.partition(" ")[0])] or None,
        metrics=list(dict.fromkeys(row.metric_type for row in eval_results(metrics))) or None,
        pipeline_tag="image-classification",
        tags=["medical", "mri", "brain-tumor", "image-segmentation", "grad-cam", "keras", "onnx"],
        model_name=config.name or "brain-mri",
        eval_results=eval_results(metrics) or None,
        **encoder,
    )


def eval_results(metrics: Metrics) -> list[EvalResult]:
    """The main scores for the Hub; the interval is in the metric's arguments."""
    found, masks = metrics.classification, metrics.segmentation
    rows: list[tuple[tuple[str, str], str, str, Estimate]] = []
    if found:
        rows += [(CLASS, "accuracy", "Accuracy", found.accuracy), (CLASS, "f1", "Macro F1", found.macro.f1)]
        if found.binary:
            pair, point = len(found.classes) == 2, found.binary.operating_point
            asked = question(found.classes) if pair else "tumor or not"
            area = (CLASS, "roc_auc", f"ROC-AUC, {asked}", found.binary.roc_auc)
            sensitive = (CLASS, "recall", "Sensitivity", point.sensitivity)
            specific = (CLASS, "specificity", "Specificity", point.specificity)
            rows = [area, sensitive, specific, *rows] if pair else [*rows, area]
    if masks and masks.count:
        rows += [(MASK, "dice", "Mean Dice", masks.dice.mean), (MASK, "mean_iou", "Mean IoU", masks.iou.mean)]
    return [
        EvalResult(
            task_type=task,
            task_name=title,
            dataset_type="brain-tumor-mri",
            dataset_name="Brain tumor MRI, unseen patients and near-duplicate clusters",
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(row.value, 4),
            metric_args=None
            if row.low is None or row.high is None
            else {"interval_95": [round(row.low, 4), round(row.high, 4)]},
        )
        for (task, title), kind, name, row in rows
        if row.value is not None
    ]


def benchmark_of(text: str) -> tuple[str, str]:
    """(data set, task) of "user/dataset:task". Raises ValueError."""
    dataset, _, task = text.partition(":")
    if not task or "/" not in dataset or not DATA_SET.fullmatch(dataset):
        raise ValueError(f"{text!r} names no benchmark of the Hub; give user/dataset:task.")
    return dataset, task


def benchmark_result(metrics: Metrics, benchmark: str, model: str, date: str) -> str:
    """The YAML of a file in `.eval_results/` of a model repository: the accuracy (where there are only masks, the mean
    Dice) on a data set that the Hub lists as a benchmark. https://huggingface.co/docs/hub/eval-results

    benchmark: "user/dataset:task", the task as its eval.yaml calls it; date: ISO 8601. Raises ValueError.
    """
    dataset, task = benchmark_of(benchmark)
    rows = {row.metric_type: row for row in reversed(eval_results(metrics))}
    row = rows.get("accuracy") or rows.get("dice")
    if row is None:
        raise ValueError("Nothing was measured that could be a result of a benchmark; give its folders as --data.")
    low, high = (row.metric_args or {}).get("interval_95", (None, None))
    notes = f"{row.metric_name} of {model}" + ("" if low is None else f", 95 % interval {low} to {high}")
    entry = EvalResultEntry(dataset, task, row.metric_value, date=date, notes=notes)
    return yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
