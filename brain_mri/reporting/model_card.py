"""README.md of an artifact: the model card with the Hub's metadata.

Mitchell et al. 2019, "Model cards for model reporting"; the metadata block is huggingface_hub's ModelCardData, whose
EvalResults become the `model-index`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.evaluation.records import Metrics
from brain_mri.evaluation.scores import Estimate
from brain_mri.files import atomic_write
from brain_mri.inference.decision import calibrated_by
from brain_mri.reporting import tables, texts
from brain_mri.reporting.outline import CARD, Outline, Topic, outline

LICENSE = "mit"
CLASS = ("image-classification", "Image classification")
MASK = ("image-segmentation", "Image segmentation")
FIGURES = ("compared", "confusion", "cases", "reliability")


def write_card(folder: Path, config: ArtifactConfig, metrics: Metrics, figures: Sequence[Path] = ()) -> Path:
    """Write README.md into an artifact folder. figures: those that are in its figures/."""
    content = f"---\n{card_data(config, metrics).to_yaml()}\n---\n\n{body(config, metrics, figures)}\n"
    ModelCard(content)  # raises when the metadata is not valid
    path = Path(folder) / "README.md"
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def card_data(config: ArtifactConfig, metrics: Metrics) -> ModelCardData:
    return ModelCardData(
        language="en",
        license=LICENSE,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["medical", "mri", "brain-tumor", "image-segmentation", "grad-cam", "keras", "onnx"],
        model_name=config.name or "brain-mri",
        eval_results=eval_results(metrics) or None,
    )


def eval_results(metrics: Metrics) -> list[EvalResult]:
    """The main scores for the Hub; the interval is in the metric's arguments."""
    found, masks = metrics.classification, metrics.segmentation
    rows: list[tuple[tuple[str, str], str, str, Estimate]] = []
    if found:
        rows += [(CLASS, "accuracy", "Accuracy", found.accuracy), (CLASS, "f1", "Macro F1", found.macro.f1)]
        rows += [(CLASS, "roc_auc", "ROC-AUC, tumor or not", found.binary.roc_auc)] if found.binary else []
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


def body(config: ArtifactConfig, metrics: Metrics, figures: Sequence[Path] = ()) -> str:
    """The card's text, Markdown."""
    found = outline(config, metrics, [path for path in figures if path.stem in FIGURES])
    sections = [
        f"## {name}\n\n" + "\n\n".join(part for topic in topics for part in _topic(topic))
        for name, topics in found.sections_for(CARD).items()
    ]
    return "\n\n".join([_use(config, found), *sections])


def _topic(topic: Topic) -> list[str]:
    return [
        *([_bullets(topic.text)] if topic.text else []),
        *(f"### {table.title}\n\n{tables.as_markdown(table)}" for table in topic.tables),
        *(f"![{one.caption}](figures/{one.path.name})\n\n*{one.caption}*" for one in topic.figures),
        *([_bullets(topic.items)] if topic.items else []),
    ]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _use(config: ArtifactConfig, found: Outline) -> str:
    """What only the card says: how to load the model, and what it is for."""
    name, hub_id = config.name or "brain-mri", config.name if "/" in config.name else "<user>/<name>"
    shared, calibration = config.segmenter.shared, calibrated_by(config)
    thresholds = ", ".join(f"{key} {value:.4g}" for key, value in config.thresholds.to_json().items())
    return f"""# {name}

Classifies one brain MRI slice ({found.classes}), outlines the tumor and shows where the classifier looked (Grad-CAM). \
Served with ONNX Runtime; no code is loaded from this repository.

**{texts.NOT_A_DEVICE}**

## Use

```python
from brain_mri import Predictor, read_scan

model = Predictor.load("{hub_id}")
answer = model.analyze(read_scan("slice.png"))
answer.probabilities, answer.label, answer.mask, answer.heatmap, answer.warnings
```

or `python app.py --model {hub_id}`. `classifier.onnx`: `image` float32 (N, S, S, 1) 0..255, S = \
{config.preprocessing.image_size}, preprocessed as `{config.preprocessing.name}` → `logits`, `heatmaps`, `features`\
{", `mask`" if shared else ""}; probabilities come from {calibration} (`config.json`). `segmenter.onnx`: the same \
input → `mask`{" alone" if shared else ""}. Thresholds, all chosen on validation: {thresholds}.

## Intended use, and what it is not for

Teaching, student projects, and comparing methods on a split that does not leak. Not for patients: neither diagnosis \
nor screening, triage or planning. Not for CT, other organs, children or post-operative scans.

{texts.BRACKETS}"""
