"""The sentences of report, slides and model card, made from the numbers: the text cannot promise more than they do.

Every function returns plain text without markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.classes import title as class_title
from brain_mri.reporting import texts as prose
from brain_mri.reporting.table_text import number, percent, score
from brain_mri.reporting.tables import BASELINE_TITLES, architecture, network

Metrics = Mapping[str, Any]

TAUGHT = {
    "masks": "masks outlined by hand",
    "weak masks": "masks guessed by K-means and Grad-CAM",
    "bundled": "nothing in this run (the bundled segmenter)",
}


def outlook(metrics: Metrics) -> list[str]:
    """What to do next, the weakest class first."""
    recalls = known_recalls(metrics)
    found = []
    if recalls:
        worst = min(recalls, key=recalls.__getitem__)
        groups = metrics["classification"]["per_class"][worst]["groups"]
        found.append(
            f"More patients with the class that is recognised worst, {class_title(worst)} ({groups} groups in the test "
            "set)."
        )
    return [
        *found,
        "Test on a second hospital's data, tumor-free slices of tumor patients included.",
        "Use neighbouring slices and all sequences of a study instead of one slice.",
        "Two annotators for the test masks, to know how well people agree with each other.",
    ]


def known_recalls(metrics: Metrics) -> dict[str, float]:
    """Recall of every class that has test images."""
    rows = (metrics.get("classification") or {}).get("per_class") or {}
    return {name: row["recall"]["value"] for name, row in rows.items() if row["recall"]["value"] is not None}


def headline(metrics: Metrics) -> str:
    """One line for a title page or a card."""
    found, masks = metrics.get("classification"), metrics.get("segmentation")
    parts = []
    if found:
        parts.append(
            f"accuracy {score(found['accuracy'], 2)} on {found['count']} images of {found['groups']} unseen groups"
        )
    if masks and masks["count"]:
        parts.append(f"mean Dice {score(masks['dice']['mean'], 2)} on {masks['count']} outlined slices")
    return "; ".join(parts)[:1].upper() + "; ".join(parts)[1:] or "Nothing could be measured"


def verdict(metrics: Metrics) -> list[str]:
    """The model against the baselines."""
    found, bars = metrics.get("classification"), (metrics.get("baselines") or {}).get("scores") or {}
    if not found:
        return []
    text = [
        f"The model names the right class in {percent(found['accuracy'])} of {found['count']} test images from "
        f"{found['groups']} groups (patients or clusters of near-copies); macro F1 {score(found['macro']['f1'])}."
    ]
    if not bars:
        return text
    name, best = max(bars.items(), key=lambda pair: pair[1]["accuracy"]["value"])
    lead = best.get("lead") or {}
    text.append(f'The strongest baseline, "{BASELINE_TITLES.get(name, name)}", reaches {percent(best["accuracy"])}.')
    if lead.get("low") is not None:
        gap = f"{100 * lead['value']:+.1f} points, 95 % interval {100 * lead['low']:+.1f} to {100 * lead['high']:+.1f}"
        if lead["low"] > 0:
            text.append(f"The model leads it by more than chance explains ({gap}).")
        elif lead["high"] < 0:
            text.append(f"The model is worse than that baseline ({gap}): it has not learned what it should.")
        else:
            text.append(f"The test set is too small to tell the two apart ({gap}).")
    return text


def flattery(metrics: Metrics) -> list[str]:
    """What the folders' own split would have said."""
    found, own = metrics.get("official_split"), (metrics.get("baselines") or {}).get("scores") or {}
    if not found:
        return []
    official = found["baselines"]["scores"]["nearest_neighbour"]["accuracy"]
    mine = (own.get("nearest_neighbour") or {}).get("accuracy")
    text = [
        "On the folders' own Training/Testing split a comparison with the most similar training thumbnail "
        "scores "
        f"{percent(official)}" + (f", on unseen patients and clusters {percent(mine)}." if mine else ".")
    ]
    subsets = found["baselines"]["subsets"] or {}
    unseen = (subsets.get("unseen_groups") or {}).get("count", 0)
    text.append(
        f"{unseen} of the {found['baselines']['test']} official test images show a patient or cluster that "
        "is not in "
        "Training."
    )
    if model := found.get("model"):
        here = (metrics.get("classification") or {}).get("accuracy")
        text.append(
            f"The model trained on that split scores {percent(model['accuracy'])} there, against {percent(here)} here."
        )
    elif metrics.get("classification"):
        text.append("This model itself was never trained on the official split, so it has no score there.")
    return text


def mask_findings(metrics: Metrics) -> list[str]:
    found, simple = metrics.get("segmentation"), metrics.get("kmeans")
    if not found or not simple:
        return []
    text = []
    if found["count"]:
        text.append(
            f"On {found['count']} outlined slices of {found['groups']} patients the mean Dice is "
            f"{score(found['dice']['mean'])} in the model's square of {found['pixels']}×{found['pixels']} pixels "
            f"(median {number(found['dice']['median']['value'])}); K-means with morphology reaches "
            f"{score(simple['dice']['mean'])}."
        )
        text.append(f"{percent(found['missed'])} of the lesions are missed (Dice below 0.1).")
        if len(found["by_size"]) == 3:
            small, _, large = found["by_size"]
            text.append(
                f"By size of the lesion: mean Dice {number(small['dice']['mean']['value'], 2)} in the smallest third, "
                f"{number(large['dice']['mean']['value'], 2)} in the largest."
            )
    if free := found["tumor_free"]:
        text.append(f"On {percent(free['false_positive'])} of {free['count']} tumor-free slices a tumor is drawn.")
    return text


def explanation_findings(metrics: Metrics) -> list[str]:
    found, check = metrics.get("explanation"), metrics.get("sanity")
    text = []
    if found and found["count"]:
        text.append(
            f"The hottest pixel of the heatmap lies inside the lesion on {percent(found['pointing_game'])} of "
            f"{found['count']} "
            f"slices, and {percent(found['energy_inside'])} of the heat does; heat spread evenly over the head "
            "would give "
            f"{100 * (found['chance'] or 0):.1f} % for both."
        )
    if check:
        last = check["stages"][-1]
        differs = last["ssim"] < 0.6 and last["rank_correlation"] < 0.6
        text.append(
            f"With random weights the heatmaps {'change' if differs else 'stay similar'} (similarity "
            f"{number(last['ssim'], 2)}, rank correlation {number(last['rank_correlation'], 2)}): they "
            + (
                "depend on what was learned, not only on the edges of the picture."
                if differs
                else "follow the picture more than what was learned, so do not rely on them."
            )
        )
    return text


def counterfactual_findings(metrics: Metrics) -> list[str]:
    found = metrics.get("counterfactual") or {}
    text = []
    if folded := found.get("folded"):
        text.append(
            f"Of {folded['count']} nearly symmetrical heads with a tumor in one half, {percent(folded['before'])} are "
            f"called one; folded at the midline to show the other half twice, {percent(folded['called_tumor'])}, and "
            f"the half with the tumor twice, {percent(folded['twice'])}."
        )
    if erased := found.get("erased"):
        text.append(
            f"Of {erased['count']} slices with a tumor, {percent(erased['before'])} are called one; with the lesion "
            f"covered it is still {percent(erased['called_tumor'])}."
        )
    if given := found.get("given"):
        text.append(
            f"Of {given['count']} pictures of the tumor-free sources, {percent(given['before'])} are called a tumor; "
            f"with the lesion of another patient put in, {percent(given['called_tumor'])}."
        )
    if text:
        text.append(
            "As far as such pictures look natural, what these shares lack to 0 and 100 % is said by the source of the "
            "picture, not by the lesion."
        )
    return text


def calibration_findings(metrics: Metrics) -> list[str]:
    found, before = metrics.get("classification"), metrics.get("calibration_before")
    if not found or not before:
        return []
    after, band = found["calibration"], found["abstention"]
    method = before.get("method", f"dividing the logits by the temperature {before['temperature']:.2f}")
    text = [
        f"Expected calibration error {number(before['ece']['value'])} as trained, {number(after['ece']['value'])} "
        f"after {method}, fitted on validation; Brier score "
        f"{number(after['brier']['value'])}."
    ]
    if band["threshold"] > 0 and band["accuracy_answered"]["value"] is not None:
        text.append(
            f'Below {100 * band["threshold"]:.0f} % confidence the program says "not sure": it answers '
            f"{percent(band['coverage'])} of the images and is right in {percent(band['accuracy_answered'])} of "
            "these."
        )
    if (binary := found.get("binary")) and binary["roc_auc"]["value"] is not None:
        point = binary["operating_point"]
        text.append(
            f"Tumor or not: ROC-AUC {score(binary['roc_auc'])}; at its threshold sensitivity "
            f"{percent(point['sensitivity'])}, "
            f"specificity {percent(point['specificity'])}."
        )
    return text


def class_findings(metrics: Metrics) -> list[str]:
    """Best and worst class, most frequent confusion."""
    found = metrics.get("classification")
    if not found:
        return []
    known = known_recalls(metrics)
    if len(known) < 2:
        return []
    best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    text = [
        f"{class_title(best)} is recognised best (recall {known[best]:.2f}), {class_title(worst)} worst "
        f"({known[worst]:.2f})."
    ]
    pairs = [
        (count, found["classes"][i], found["classes"][j])
        for i, row in enumerate(found["confusion"])
        for j, count in enumerate(row)
        if i != j
    ]
    count, truth, answer = max(pairs)
    if count:
        text.append(f"The most frequent mistake: {class_title(truth)} called {class_title(answer)} ({count} images).")
    return text


def data_findings(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    data, images = config.data, metrics["images"]
    text = []
    if data.images:
        text.append(
            f"The training run read {data.images:,} images in {data.groups:,} groups of patients and "
            f"near-copies; {data.duplicates:,} of them show a slice that is there already, and the largest "
            f"group holds {data.largest_group:,}."
        )
    text.append(f"Measured here: {images['count']:,} images of {images['groups']:,} groups.")
    text.append("Copies, mirrored copies and slices of one patient are kept on one side of the split.")
    return text


def training_settings(config: ArtifactConfig) -> list[tuple[str, str]]:
    """(name, value) of what is needed to repeat the run."""
    training, options = config.training, config.training.options
    classifier, segmenter = config.classifier, config.segmenter
    side, name = config.preprocessing.image_size, config.preprocessing.name
    taught = segmenter.trained_on
    same = "the same network" if segmenter.shared else network(segmenter)
    lines = {
        "Classifier": f"{network(classifier)}, {classifier.parameters:,} parameters",
        "Segmenter": f"{same}, learned from: {TAUGHT.get(taught, taught)}",
        "Input": f"{side} × {side} pixels, gray ({name})",
        "Epochs": "" if training.epochs is None else str(training.epochs),
    }
    outlined, state = training.segmenter, training.classifier
    stages = {"masks alone": outlined, "then the class" if outlined else "masks and classes": state}
    if not segmenter.shared:
        stages = {"classifier": state, "segmenter": outlined}
    known = {name: stage for name, stage in stages.items() if stage and stage.history}
    count = 1 + len(training.others)
    texts = [
        (f"{name}: " if len(known) > 1 else "")
        + f"{max(len(values) for values in stage.history.values())}, the weights of epoch "
        f"{stage.best_epoch + 1} are kept"
        for name, stage in known.items()
    ]
    if texts:
        lines["Epochs"] = "; ".join(texts) + (f" (the first of {count} networks)" if count > 1 else "")
    if training.init:
        lines["Started from"] = "the weights of an earlier run (--init in the command)"
    elif prose.from_imagenet(classifier):
        lines["Started from"] = prose.IMAGENET
    if options.batch_size is not None and options.learning_rate is not None:
        lines["Batch, learning rate"] = f"{options.batch_size}, {options.learning_rate:g}"
    if options.mask_loss:
        smoothing = f" (smoothing {options.label_smoothing:g})" if options.label_smoothing else ""
        lines["Loss"] = f"cross-entropy{smoothing}; masks: {options.mask_loss}"
    if seconds := sum(stage.seconds for stage in known.values()):
        minutes = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        lines["Time"] = f"{minutes} on {training.hardware}"
    lines |= {
        "Seed": str(training.seed),
        "Command": re.sub(r"(?<!\S)/\S*/(?=\S)", "", training.command),  # nobody's folders
        "Versions": ", ".join(f"{key} {value}" for key, value in config.versions.items()),
        "Data fingerprint": config.data.fingerprint[:16],
    }
    return [(key, value) for key, value in lines.items() if value]


def title(config: ArtifactConfig, metrics: Metrics) -> str:
    return f"Brain tumor MRI: {config.name or architecture(metrics)}"
