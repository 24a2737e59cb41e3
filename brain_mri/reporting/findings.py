"""Sentences made from the numbers: the text of report, slides and model card cannot promise more than they do.

Every function returns plain text without markup. Text that is the same for every run is in texts.py.
"""

from __future__ import annotations

import re

from brain_mri.artifact.config import ArtifactConfig, Stage
from brain_mri.classes import question, title
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting import texts, two_classes
from brain_mri.reporting.tables import BASELINE_TITLES, network, number, percent, score

MANY = 12  # classes beyond which more than one mistake is named
TAUGHT = {
    "masks": "masks outlined by hand",
    "weak masks": "masks guessed by K-means and Grad-CAM",
    "bundled": "nothing in this run (the bundled segmenter)",
}


def heading(config: ArtifactConfig, metrics: Metrics) -> str:
    return f"Brain tumor MRI: {config.name or network(metrics.model.classifier)}"


def headline(config: ArtifactConfig, metrics: Metrics) -> str:
    """One line for a title page."""
    found, masks = metrics.classification, metrics.segmentation
    parts = []
    if pair := two_classes.asked(metrics):
        point = pair.operating_point
        parts.append(f"{question(config.classes)}: ROC-AUC {score(pair.roc_auc, 2)}")
        parts.append(f"sensitivity {score(point.sensitivity, 2)} and specificity {score(point.specificity, 2)}")
    if found:
        parts.append(f"accuracy {score(found.accuracy, 2)} on {found.count} images of {found.groups} unseen groups")
    if masks and masks.count:
        parts.append(f"mean Dice {score(masks.dice.mean, 2)} on {masks.count} outlined slices")
    text = "; ".join(parts) or "nothing could be measured"
    return text[0].upper() + text[1:]


def verdict(metrics: Metrics) -> list[str]:
    """The model against the baselines."""
    found, bars = metrics.classification, metrics.baselines
    if not found:
        return []
    text = [
        f"The model names the right class in {percent(found.accuracy)} of {found.count} test images from "
        f"{found.groups} groups (patients or clusters of near-copies); macro F1 {score(found.macro.f1)}.",
    ]
    if not bars or not bars.scores:
        return text
    name, best = max(bars.scores.items(), key=lambda pair: pair[1].accuracy.value or 0.0)
    text.append(f'The strongest baseline, "{BASELINE_TITLES.get(name, name)}", reaches {percent(best.accuracy)}.')
    lead = best.lead
    if lead and lead.value is not None and lead.low is not None and lead.high is not None:
        gap = f"{100 * lead.value:+.1f} points, 95 % interval {100 * lead.low:+.1f} to {100 * lead.high:+.1f}"
        if lead.low > 0:
            text.append(f"The model leads it by more than chance explains ({gap}).")
        elif lead.high < 0:
            text.append(f"The model is worse than that baseline ({gap}): it has not learned what it should.")
        else:
            text.append(f"The test set is too small to tell the two apart ({gap}).")
    return text


def flattery(metrics: Metrics) -> list[str]:
    """What the folders' own split would have said."""
    found, own = metrics.official_split, metrics.baselines.scores if metrics.baselines else {}
    if not found:
        return []
    official, here = found.baselines, metrics.classification
    text = (
        "On the folders' own Training/Testing split a comparison with the most similar training thumbnail scores "
        f"{percent(official.scores['nearest_neighbour'].accuracy)}"
    )
    if "nearest_neighbour" in own:
        text += f", on unseen patients and clusters {percent(own['nearest_neighbour'].accuracy)}"
    unseen = official.subsets.unseen_groups.count if official.subsets else 0
    sentences = [
        f"{text}.",
        f"{unseen} of the {official.test} official test images show a patient or cluster that is not in Training.",
    ]
    if found.model:
        sentences.append(
            f"The model trained on that split scores {percent(found.model.accuracy)} there, against "
            f"{percent(here.accuracy if here else None)} here."
        )
    elif here:
        sentences.append("This model itself was never trained on the official split, so it has no score there.")
    return sentences


def masks(metrics: Metrics) -> list[str]:
    found, simple = metrics.segmentation, metrics.kmeans
    if not found or not simple:
        return []
    text = []
    if found.count:
        text = [
            f"On {found.count} outlined slices of {found.groups} patients the mean Dice is {score(found.dice.mean)} in "
            f"the model's square of {found.pixels}×{found.pixels} pixels (median {number(found.dice.median.value)}); "
            f"K-means with morphology reaches {score(simple.dice.mean)}.",
            f"{percent(found.missed)} of the lesions are missed (Dice below 0.1).",
        ]
        if len(found.by_size) == 3:
            small, _, large = found.by_size
            text.append(
                f"By size of the lesion: mean Dice {number(small.dice.mean.value, 2)} in the smallest third, "
                f"{number(large.dice.mean.value, 2)} in the largest."
            )
    if free := found.tumor_free:
        text.append(f"On {percent(free.false_positive)} of {free.count} tumor-free slices a tumor is drawn.")
    return text


def heatmaps(metrics: Metrics) -> list[str]:
    found, check = metrics.explanation, metrics.sanity
    text = []
    if found and found.count:
        text.append(
            f"The hottest pixel of the heatmap lies inside the lesion on {percent(found.pointing_game)} of "
            f"{found.count} slices, and {percent(found.energy_inside)} of the heat does; heat spread evenly over the "
            f"head would give {100 * (found.chance or 0):.1f} % for both."
        )
    if check:
        last = check.stages[-1]
        if last.ssim < 0.6 and last.rank_correlation < 0.6:
            change, so = "change", "depend on what was learned, not only on the edges of the picture"
        else:
            change, so = "stay similar", "follow the picture more than what was learned, so do not rely on them"
        text.append(
            f"With random weights the heatmaps {change} (similarity {number(last.ssim, 2)}, rank correlation "
            f"{number(last.rank_correlation, 2)}): they {so}."
        )
    return text


def counterfactual(metrics: Metrics) -> list[str]:
    found = metrics.counterfactual
    if not found:
        return []
    text = []
    if folded := found.folded:
        text.append(
            f"Of {folded.count} nearly symmetrical heads with a tumor in one half, {percent(folded.before)} are called "
            f"one; folded at the midline to show the other half twice, {percent(folded.called_tumor)}, and the half "
            f"with the tumor twice, {percent(folded.twice)}."
        )
    if erased := found.erased:
        text.append(
            f"Of {erased.count} slices with a tumor, {percent(erased.before)} are called one; with the lesion covered "
            f"it is still {percent(erased.called_tumor)}."
        )
    if given := found.given:
        text.append(
            f"Of {given.count} pictures of the tumor-free sources, {percent(given.before)} are called a tumor; with "
            f"the lesion of another patient put in, {percent(given.called_tumor)}."
        )
    if text:
        text.append(
            "As far as such pictures look natural, what these shares lack to 0 and 100 % is said by the source of the "
            "picture, not by the lesion."
        )
    return text


def calibration(metrics: Metrics) -> list[str]:
    found, before = metrics.classification, metrics.calibration_before
    if not found or not before:
        return []
    after, band = found.calibration, found.abstention
    method = before.method or f"dividing the logits by the temperature {before.temperature:.2f}"
    text = [
        f"Expected calibration error {number(before.ece.value)} as trained, {number(after.ece.value)} after {method}, "
        f"fitted on validation; Brier score {number(after.brier.value)}."
    ]
    if band.threshold > 0 and band.accuracy_answered.value is not None:
        text.append(
            f'Below {100 * band.threshold:.0f} % confidence the program says "not sure": it answers '
            f"{percent(band.coverage)} of the images and is right in {percent(band.accuracy_answered)} of these."
        )
    if found.binary and found.binary.roc_auc.value is not None and not two_classes.asked(metrics):
        point = found.binary.operating_point
        text.append(
            f"Tumor or not: ROC-AUC {score(found.binary.roc_auc)}; at its threshold sensitivity "
            f"{percent(point.sensitivity)}, specificity {percent(point.specificity)}."
        )
    return text


def classes(metrics: Metrics) -> list[str]:
    """Best and worst class, most frequent confusion."""
    found, recalls = metrics.classification, known_recalls(metrics)
    if not found or len(recalls) < 2:
        return []
    best, worst = max(recalls, key=recalls.__getitem__), min(recalls, key=recalls.__getitem__)
    text = [
        f"{title(best)} is recognised best (recall {recalls[best]:.2f}), {title(worst)} worst ({recalls[worst]:.2f})."
    ]
    mistakes = sorted(
        (
            (count, title(found.classes[i]), title(found.classes[j]))
            for i, row in enumerate(found.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ),
        reverse=True,
    )[: 1 if len(found.classes) <= MANY else 3]
    if mistakes:
        named = [f"{truth} called {answer} ({count} images)" for count, truth, answer in mistakes]
        text.append(f"The most frequent mistake{'s' * (len(named) > 1)}: {', '.join(named)}.")
    return text


def known_recalls(metrics: Metrics) -> dict[str, float]:
    """Recall of every class that has test images."""
    rows = metrics.classification.per_class if metrics.classification else {}
    return {name: row.recall.value for name, row in rows.items() if row.recall.value is not None}


def outlook(metrics: Metrics) -> list[str]:
    """What to do next, the weakest class first."""
    recalls, found = known_recalls(metrics), []
    if metrics.classification and recalls:
        worst = min(recalls, key=recalls.__getitem__)
        groups = metrics.classification.per_class[worst].groups
        found = [
            f"More patients with the class that is recognised worst, {title(worst)} ({groups} groups in the test set)."
        ]
    return [*found, *texts.WORDS.outlook]


def data(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    read, measured = config.data, metrics.images
    text = []
    if read.images:
        text.append(
            f"The training run read {read.images:,} images in {read.groups:,} groups of patients and near-copies; "
            f"{read.duplicates:,} of them show a slice that is there already, and the largest group holds "
            f"{read.largest_group:,}."
        )
    return [
        *text,
        f"Measured here: {measured.count:,} images of {measured.groups:,} groups.",
        "Copies, mirrored copies and slices of one patient are kept on one side of the split.",
    ]


def training_settings(config: ArtifactConfig) -> dict[str, str]:
    """What is needed to repeat the run; what the artifact does not say is missing."""
    training, options, side = config.training, config.training.options, config.preprocessing.image_size
    taught, same = config.segmenter.trained_on, "the same network" if config.segmenter.shared else None
    epochs, stages = "" if training.epochs is None else str(training.epochs), _stages(config)
    if stages:
        epochs = "; ".join(_epochs(stage, name if len(stages) > 1 else "") for name, stage in stages.items())
        epochs += f" (the first of {1 + len(training.others)} networks)" if training.others else ""
    batch = ""
    if options.batch_size is not None and options.learning_rate is not None:
        batch = f"{options.batch_size}, {options.learning_rate:g}"
    binary = "binary " if len(config.classes) == 2 else ""
    smoothing = f" (smoothing {options.label_smoothing:g})" if options.label_smoothing else ""
    seconds = sum(stage.seconds for stage in stages.values())
    minutes = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    lines = {
        "Classifier": f"{network(config.classifier)}, {config.classifier.parameters:,} parameters",
        "Segmenter": f"{same or network(config.segmenter)}, learned from: {TAUGHT.get(taught, taught)}",
        "Input": f"{side} × {side} pixels, gray ({config.preprocessing.name})",
        "Sequences": _sequences(config),
        "Epochs": epochs,
        "Started from": _start(config),
        "Batch, learning rate": batch,
        "Loss": f"{binary}cross-entropy{smoothing}; masks: {options.mask_loss}" if options.mask_loss else "",
        "Time": f"{minutes} on {training.hardware}" if seconds else "",
        "Seed": str(training.seed),
        "Command": re.sub(r"(?<!\S)/\S*/(?=\S)", "", training.command),  # nobody's folders
        "Versions": ", ".join(f"{key} {value}" for key, value in config.versions.items()),
        "Data fingerprint": config.data.fingerprint[:16],
    }
    return {name: value for name, value in lines.items() if value}


def _stages(config: ArtifactConfig) -> dict[str, Stage]:
    """The fits that left a history, by what they taught; of a shared network the masks come first."""
    outlined, classified = config.training.segmenter, config.training.classifier
    stages = {"classifier": classified, "segmenter": outlined}
    if config.segmenter.shared:
        stages = {"masks alone": outlined, "then the class" if outlined else "masks and classes": classified}
    return {name: stage for name, stage in stages.items() if stage and stage.history}


def _epochs(stage: Stage, name: str) -> str:
    count = max(map(len, stage.history.values()))
    return (f"{name}: " if name else "") + f"{count}, the weights of epoch {stage.best_epoch + 1} are kept"


def _sequences(config: ArtifactConfig) -> str:
    rule = config.sequence
    if not rule or not rule.named:
        return ""
    often, right = percent(float(rule.named)), percent(float(rule.right))
    learned = f"; kinds of tumor were learned on {', '.join(rule.kinds_on)}" if rule.kinds_on else ""
    said = f"one is named on {often} of the validation slices, rightly on {right} of these"
    return f"{', '.join(rule.sequences)}: {said}{learned}"


def _start(config: ArtifactConfig) -> str:
    if config.training.init:
        return "the weights of an earlier run (--init in the command)"
    return texts.WORDS.imagenet if texts.from_imagenet(config.classifier) else ""
