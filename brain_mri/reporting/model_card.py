"""README.md of an artifact: the model card with the Hub's metadata.

Mitchell et al. 2019, "Model cards for model reporting"; the metadata block is huggingface_hub's ModelCardData, whose
EvalResults become the `model-index`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.classes import title as class_title
from brain_mri.inference.decision import calibrated_by
from brain_mri.reporting import findings as wording
from brain_mri.reporting import table_text, tables, texts

LICENSE = "mit"
TASKS = {
    "class": ("image-classification", "Image classification"),
    "mask": ("image-segmentation", "Image segmentation"),
}
FIGURES = (
    ("compared.png", "The model beside its baselines"),
    ("confusion.png", "Confusion matrix"),
    ("cases.png", "Best, median and worst test slices; blue: truth, orange: model"),
    ("reliability.png", "Reliability before and after calibration"),
)


def eval_results(metrics: Mapping[str, Any]) -> list[EvalResult]:
    """The main scores for the Hub; the interval is in the metric's arguments."""
    found, masks = metrics.get("classification"), metrics.get("segmentation")
    rows: list[tuple[str, str, str, Mapping[str, Any] | None]] = []
    if found:
        rows += [
            ("class", "accuracy", "Accuracy", found["accuracy"]),
            ("class", "f1", "Macro F1", found["macro"]["f1"]),
            ("class", "roc_auc", "ROC-AUC, tumor or not", (found.get("binary") or {}).get("roc_auc")),
        ]
    if masks and masks["count"]:
        rows += [
            ("mask", "dice", "Mean Dice", masks["dice"]["mean"]),
            ("mask", "mean_iou", "Mean IoU", masks["iou"]["mean"]),
        ]
    return [
        EvalResult(
            task_type=TASKS[task][0],
            task_name=TASKS[task][1],
            dataset_type="brain-tumor-mri",
            dataset_name="Brain tumor MRI, unseen patients and near-duplicate clusters",
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(float(row["value"]), 4),
            metric_args=None
            if row.get("low") is None
            else {"interval_95": [round(row["low"], 4), round(row["high"], 4)]},
        )
        for task, kind, name, row in rows
        if row and row["value"] is not None
    ]


def card_data(config: ArtifactConfig, metrics: Mapping[str, Any]) -> ModelCardData:
    results = eval_results(metrics)
    return ModelCardData(
        language="en",
        license=LICENSE,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["medical", "mri", "brain-tumor", "image-segmentation", "grad-cam", "keras", "onnx"],
        model_name=config.name or "brain-mri",
        eval_results=results or None,
    )


def write_card(folder: Path, config: ArtifactConfig, metrics: Mapping[str, Any], figures: Sequence[str] = ()) -> Path:
    """Write README.md into an artifact folder. figures: names in figures/ that exist."""
    content = f"---\n{card_data(config, metrics).to_yaml()}\n---\n\n{body(config, metrics, figures)}\n"
    ModelCard(content)  # raises when the metadata is not valid
    path = Path(folder) / "README.md"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)
    return path


def body(config: ArtifactConfig, metrics: Mapping[str, Any], figures: Sequence[str]) -> str:
    """The card's text, Markdown."""
    name = config.name or "brain-mri"
    hub_id = name if "/" in name else "<user>/<name>"
    shared, thresholds = config.segmenter.shared, config.thresholds.to_json()
    findings = [
        *wording.verdict(metrics), *wording.class_findings(metrics), *wording.calibration_findings(metrics),
        *wording.mask_findings(metrics), *wording.explanation_findings(metrics),
    ]  # fmt: skip
    settings = [
        f"| {key} | `{value}` |" if key == "Command" else f"| {key} | {value} |"
        for key, value in wording.training_settings(config)
    ]
    parts = [
        f"# {name}",
        f"Classifies one brain MRI slice ({', '.join(class_title(c) for c in config.classes)}), outlines the "
        "tumor and shows where the classifier looked (Grad-CAM). Served with ONNX Runtime; no code is loaded from this "
        f"repository.\n\n**{texts.NOT_A_DEVICE}**",
        "## Use",
        "```python\nfrom brain_mri import Predictor, read_scan\n\n"
        f'model = Predictor.load("{hub_id}")\nanswer = model.analyze(read_scan("slice.png"))\n'
        "answer.probabilities, answer.label, answer.mask, answer.heatmap, answer.warnings\n```\n\n"
        f"or `python app.py --model {hub_id}`. `classifier.onnx`: `image` float32 (N, S, S, 1) 0..255, S = "
        f"{config.preprocessing.image_size}, preprocessed as `{config.preprocessing.name}` → `logits`, "
        f"`heatmaps`, `features`{', `mask`' if shared else ''}; probabilities come from {calibrated_by(config)} "
        f"(`config.json`). `segmenter.onnx`: the same input → `mask`{' alone' if shared else ''}.",
        "## Intended use, and what it is not for",
        "Teaching, student projects, and comparing methods on a split that does not leak. Not for patients: neither "
        "diagnosis nor screening, triage or planning. Not for CT, other organs, children or post-operative scans.",
        "## Results",
        bullets(findings),
        *(f"### {part.title}\n\n{table_text.as_markdown(part)}" for part in tables.sections(metrics)),
        "In brackets: 95 % interval of a bootstrap over groups (patients, clusters of near-copies).",
        *(f"![{caption}](figures/{file})\n\n*{caption}*" for file, caption in FIGURES if file in figures),
        "## Data and split",
        bullets([*wording.data_findings(metrics, config), *wording.flattery(metrics), *texts.data_sources(metrics)]),
        "## Training",
        "\n".join(["| | |", "|---|---|", *settings]),
        f"Thresholds, all chosen on validation: {', '.join(f'{k} {float(v):.4g}' for k, v in thresholds.items())}.",
        "## Limits",
        bullets(texts.limits(metrics)),
        "## References",
        bullets(texts.references(metrics)),
    ]
    return "\n\n".join(part for part in parts if part)


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
