"""The card: valid metadata that equals the metrics, and what is said."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting import findings, model_card, texts

typed, metrics_of = ArtifactConfig.model_validate, Metrics.model_validate


def test_card_metadata_is_valid_and_equals_the_metrics(written, made):
    card = ModelCard.load(written / "README.md")
    assert card.data.model_name == "somebody/brain-mri"
    assert card.data.license is None and "not stated" in card.text and "learned from are not stated" in card.text
    assert card.data.metrics == ["accuracy", "f1", "roc_auc", "dice", "mean_iou"] and card.data.base_model is None
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
    gone = dict.fromkeys(("segmentation", "kmeans", "explanation", "sanity", "classification"))
    metrics = made["evaluation"].metrics.model_copy(update=gone)
    path = model_card.write_card(tmp_path, made["config"], metrics)
    assert "model-index" not in path.read_text(encoding="utf-8").split("---")[1]


@pytest.mark.parametrize("encoder", ["efficientnet_lite0", "resnet"])
def test_imagenet_is_named_only_where_the_encoder_started_from_it(made, encoder):
    config, metrics = made["config"].to_json(), made["evaluation"].metrics.to_json()
    for part in (config, metrics["model"]):
        part["classifier"] |= {"architecture": "guided", "arguments": {"encoder": encoder}}
    card = model_card.card(typed(config), metrics_of(metrics)).text
    for said in ("EfficientNet-Lite0 (Google, Apache 2.0", "Tan M., Le Q. V."):
        assert (said in card) == (encoder == "efficientnet_lite0"), said
    told = " ".join(texts.method(metrics_of(metrics), typed(config)))
    assert ("ImageNet" in told) == (encoder == "efficientnet_lite0")
    config["training"]["command"] = "train.py --init runs/a"
    assert findings.training_settings(typed(config))["Started from"].startswith("the weights of an earlier run")


def test_licence_data_sets_and_what_it_starts_from_are_metadata(made):
    config, metrics = made["config"].to_json(), made["evaluation"].metrics
    config["license"] = "cc-by-nc-sa-4.0"
    config["data"]["datasets"] = ["me/slices of mine, CC BY 4.0", "TCGA-LGG", "(no id)", "- none", "../up of it"]
    config["classifier"] |= {"architecture": "guided", "arguments": {"encoder": "efficientnet_lite0"}}
    card = model_card.card(typed(config), metrics)
    data = card.data.to_dict()
    assert data["license"] == "cc-by-nc-sa-4.0" and data["datasets"] == ["me/slices", "TCGA-LGG"]
    assert data["base_model"] == model_card.ENCODER and data["base_model_relation"] == "finetune"
    for said in (
        "weights: cc-by-nc-sa-4.0",
        "learned from stand under Data",
        "me/slices of mine, CC BY 4.0.",
        "(no id)",
    ):
        assert said in card.text
    assert "Drawn phantoms" not in card.text  # what the owner states takes the place of what names tell


def test_the_file_of_a_benchmark_of_the_hub(made):
    """The Hub's form of results: https://huggingface.co/docs/hub/eval-results."""
    metrics = made["evaluation"].metrics
    text = model_card.benchmark_result(metrics, "me/brain-mri:which", "mine", "2026-11-29T10:00:00+00:00")
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id) == ("me/brain-mri", "which") and str(entry.date).startswith("2026-11-29")
    assert entry.value == pytest.approx(metrics.classification.accuracy.value, abs=1e-4)
    assert str(entry.notes).startswith("Accuracy of mine, 95 % interval")
    masks = metrics.model_copy(update={"classification": None})
    (entry,) = parse_eval_result_entries(yaml.safe_load(model_card.benchmark_result(masks, "me/a:b", "mine", "2026")))
    assert entry.value == pytest.approx(metrics.segmentation.dice.mean.value, abs=1e-4)
    assert "Mean Dice" in str(entry.notes)
    for wrong in ("me/brain-mri", "brain:which", "me/../x:y", ":", "me/a:"):
        with pytest.raises(ValueError, match="names no benchmark"):
            model_card.benchmark_result(metrics, wrong, "mine", "2026")
    with pytest.raises(ValueError, match="Nothing was measured"):
        gone = {"classification": None, "segmentation": None}
        model_card.benchmark_result(metrics.model_copy(update=gone), "me/a:b", "mine", "2026")
