"""The numbers of metrics.json as tables, for the terminal, the model card, the report and the slides.

    for table in sections(metrics): print(as_text(table))

One place decides what is shown beside what: no score stands without its interval and its baselines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brain_mri.artifact.config import Network
from brain_mri.classes import title as class_title
from brain_mri.reporting.table_text import Table, number, percent, score

BASELINE_TITLES = {
    "majority": "Majority class",
    "nearest_neighbour": "1-nearest neighbour, 32×32 thumbnails",
    "border_forest": "Random forest, 3-pixel border only",
    "thumbnail_forest": "Random forest, whole thumbnail",
}
SUBSET_TITLES = {
    "without_copy": "without a near-copy in training",
    "unseen_groups": "of patients and clusters not in training",
}


def architecture(metrics: Mapping[str, Any], part: str = "classifier") -> str:
    """Name of the classifier's or segmenter's architecture, see network."""
    return network(Network.model_validate((metrics.get("model") or {}).get(part) or {}))


def network(part: Network) -> str:
    """Name of a config's "classifier" or "segmenter"; "2 × guided" where two such networks answer together."""
    name, count = part.architecture or "model", part.members
    return name if count == 1 else f"{count} × {name}"


def comparison(metrics: Mapping[str, Any]) -> Table | None:
    """The model beside the baselines on the same images."""
    found, bars = metrics.get("classification"), metrics.get("baselines")
    if not found and not bars:
        return None
    rows = []
    if found:
        rows.append(
            [f"This model ({architecture(metrics)})", score(found["accuracy"]), score(found["macro"]["f1"]), ""]
        )
    for name, row in ((bars or {}).get("scores") or {}).items():
        rows.append(
            [
                BASELINE_TITLES.get(name, name),
                score(row["accuracy"]),
                score(row["macro_f1"]),
                score(row.get("lead"), sign=True),
            ]
        )
    count, groups = (found or metrics["images"])["count"], (found or metrics["images"])["groups"]
    note = f"{count} images of {groups} groups (patients, near-duplicate clusters)."
    if bars and not bars["train"]:
        note += " Baselines: cross-validated over the groups of these images."
    if not found:
        return Table("Baselines", ["", "Accuracy", "Macro F1"], [row[:3] for row in rows], note)
    return Table("Classification beside the baselines", ["", "Accuracy", "Macro F1", "Model's lead"], rows, note)


def subsets(metrics: Mapping[str, Any]) -> Table | None:
    """Accuracy on the images without a twin in training."""
    found = (metrics.get("baselines") or {}).get("subsets")
    if not found or not metrics.get("classification"):
        return None
    rows = []
    for name, row in found.items():
        nearest = row["baselines"].get("nearest_neighbour")
        rows.append([SUBSET_TITLES[name], str(row["count"]), score(row["accuracy"]), score(nearest)])
    whole = all(row["count"] == metrics["baselines"]["test"] for row in found.values())
    note = "These are all test images: the split keeps copies and patients together." if whole else ""
    return Table("Test images without a twin in training", ["Test images", "Count", "This model", "1-NN"], rows, note)


def by_class(metrics: Mapping[str, Any]) -> Table | None:
    found = metrics.get("classification")
    if not found:
        return None
    rows = [
        [
            class_title(name),
            f"{row['count']} / {row['groups']}",
            *(score(row[key], 2) for key in ("precision", "recall", "f1")),
            score(row["roc_auc"]),
        ]
        for name, row in found["per_class"].items()
    ]
    macro = found["macro"]
    rows.append(
        [
            "Macro average",
            "",
            *(score(macro[k], 2) for k in ("precision", "recall", "f1")),
            number(found["roc_auc_macro"]),
        ]
    )
    return Table("By class", ["Class", "Images / groups", "Precision", "Recall", "F1", "ROC-AUC"], rows)


def decisions(metrics: Mapping[str, Any]) -> Table | None:
    """Tumor or not, calibration, abstention."""
    found = metrics.get("classification")
    if not found:
        return None
    rows = []
    if binary := found.get("binary"):
        point = binary["operating_point"]
        rows += [
            ["Tumor or not: ROC-AUC", score(binary["roc_auc"])],
            [f"  sensitivity at P(tumor) ≥ {point['threshold']:.2f}", score(point["sensitivity"])],
            [f"  specificity at P(tumor) ≥ {point['threshold']:.2f}", score(point["specificity"])],
        ]
    before, after = metrics.get("calibration_before"), found["calibration"]
    if before:
        rows.append(["ECE as trained", score(before["ece"])])
    rows += [
        ["ECE after calibration on validation", score(after["ece"])],
        ["Brier score (0 best, 2 worst)", score(after["brier"])],
    ]
    band = found["abstention"]
    rows += [
        [f"Answered (confidence ≥ {band['threshold']:.2f})", percent(band["coverage"])],
        ["  accuracy where answered", score(band["accuracy_answered"])],
        ["  accuracy where refused", score(band["accuracy_refused"])],
    ]
    return Table("Decisions and calibration", ["", "Value"], rows)


def masks(metrics: Mapping[str, Any]) -> Table | None:
    """The segmenter beside K-means."""
    found, simple = metrics.get("segmentation"), metrics.get("kmeans")
    if not found or not simple:
        return None
    rows = []
    if found["count"]:
        for label, key, which in (
            ("Dice, mean", "dice", "mean"), ("Dice, median", "dice", "median"), ("IoU, mean", "iou", "mean"),
            ("Precision, mean", "precision", "mean"), ("Recall, mean", "recall", "mean"),
        ):  # fmt: skip
            rows.append([label, score(found[key][which]), score(simple[key][which])])
        side = found.get("pixels", 0)
        rows.append(
            [
                f"HD95, median, pixels of {side}×{side}",
                score(found["hd95"]["median"], 1),
                score(simple["hd95"]["median"], 1),
            ]
        )
        if files := found.get("files"):
            rows.append(["Dice on the files' own pixels, mean", score(files["dice"]["mean"]), ""])
            rows.append(["HD95 on the files' own pixels, median", score(files["hd95"]["median"], 1), ""])
        rows.append(["Lesions missed (Dice < 0.1)", percent(found["missed"]), percent(simple["missed"])])
    if found["tumor_free"]:
        free = [part["tumor_free"]["false_positive"] for part in (found, simple)]
        rows.append(["Tumor drawn on tumor-free slices", *(percent(row) for row in free)])
    taught = ((metrics.get("model") or {}).get("segmenter") or {}).get("trained_on", "")
    column = architecture(metrics, "segmenter") + (" (weak masks)" if taught == "weak masks" else "")
    side = found.get("pixels", 0)
    note = f"Measured in the model's square of {side}×{side} pixels: {found['count']} outlined slices"
    note += f" of {found['groups']} patients"
    note += f", {found['tumor_free']['count']} tumor-free slices." if found["tumor_free"] else "."
    return Table("Masks", ["", column, "K-means"], rows, note)


def mask_parts(metrics: Mapping[str, Any]) -> Table | None:
    """Dice by class and by lesion size."""
    found = metrics.get("segmentation")
    if not found or not found["count"]:
        return None
    parts = [(class_title(name), row) for name, row in found["by_class"].items()]
    for row in found["by_size"]:
        limits = row["fraction"]
        parts.append((f"{row['size']} ({100 * limits['from']:.1f}–{100 * limits['to']:.1f} % of the square)", row))
    rows = [
        [name, str(row["count"]), score(row["dice"]["mean"]), score(row["dice"]["median"]), percent(row["missed"])]
        for name, row in parts
    ]
    return Table("Masks by class and lesion size", ["", "Slices", "Dice, mean", "Dice, median", "Missed"], rows)


def cross_validation(metrics: Mapping[str, Any]) -> Table | None:
    """What the networks of an ensemble say, each alone, about validation patients of its own."""
    found = metrics.get("cross_validation")
    if not found:
        return None
    rows, notes = [], ["Each network alone, on patients that only the choice of its epoch has seen; calibration and "]
    notes.append("thresholds from the other networks' patients. The test split has no part in it.")
    if part := found["classification"]:
        rows += [["Accuracy", score(part["accuracy"])], ["Macro F1", score(part["macro"]["f1"])]]
        rows += [[f"  F1: {class_title(name)}", score(row["f1"])] for name, row in part["per_class"].items()]
        rows.append(["ECE after calibration", score(part["calibration"]["ece"])])
        notes.append(f" {part['count']} images of {part['groups']} groups in {found['parts']} parts.")
    if (part := found["segmentation"]) and part["count"]:
        rows.append(["Dice, mean", score(part["dice"]["mean"])])
        rows += [[f"  Dice: {class_title(name)}", score(row["dice"]["mean"])] for name, row in part["by_class"].items()]
        rows.append(["Lesions missed (Dice < 0.1)", percent(part["missed"])])
        notes.append(f" {part['count']} outlined slices of {part['groups']} patients.")
    if part and (free := part["tumor_free"]):
        rows.append(["Tumor drawn on tumor-free slices", percent(free["false_positive"])])
    return Table("Cross-validation over patients", ["", "Value"], rows, "".join(notes))


def explanation(metrics: Mapping[str, Any]) -> Table | None:
    found = metrics.get("explanation")
    if not found or not found["count"]:
        return None
    parts = [("All lesions", found)] + [(class_title(name), row) for name, row in found["by_class"].items()]
    rows = [
        [name, str(row["count"]), score(row["pointing_game"]), score(row["energy_inside"]), number(row["chance"])]
        for name, row in parts
    ]
    columns = ["", "Slices", "Hottest pixel in the lesion", "Heat inside the lesion", "Both by chance"]
    return Table("Does the heatmap point at the lesion?", columns, rows)


def guard(metrics: Mapping[str, Any]) -> Table | None:
    """Real slices and other pictures before the not-a-brain-MRI guard."""
    found = metrics.get("guard")
    if not found:
        return None
    drawn, unseen = found["drawn"], found["unseen_kinds"]
    rows = [["Real slices, of the rows measured here", str(found["count"]), percent(found["flagged"])]]
    if bare := found.get("stripped"):
        rows.append(["  the same without their skull (cut off roughly)", str(bare["count"]), percent(bare["flagged"])])
    rows.append(["Drawn photographs, X-rays, text, noise …", str(drawn["count"]), percent({"value": drawn["flagged"]})])
    if unseen:
        share = sum(unseen.values()) / len(unseen)
        rows.append(
            ["  of kinds that the fit has not seen, mean of", f"{len(unseen)} kinds", percent({"value": share})]
        )
        weakest = min(unseen, key=lambda kind: unseen[kind])
        rows.append([f"  the weakest of these kinds: {weakest}", "", percent({"value": unseen[weakest]})])
    note = ""
    if bare:
        note = (
            f"Noticed as brains without a skull, and answered with “not sure”: {percent(bare['noticed'])} of those, "
            f"{percent(found['noticed'])} of the whole heads. The class stays in {percent(bare['same_answer'])}."
        )
    return Table("Flagged as no brain MRI", ["Pictures", "Count", "Flagged"], rows, note)


def sanity(metrics: Mapping[str, Any]) -> Table | None:
    found = metrics.get("sanity")
    if not found:
        return None
    rows = [["trained model", "1.00", "1.00", number(found["trained"]["energy_inside"])]]
    for row in found["stages"]:
        rows.append(
            [
                f"random weights: {row['randomised']}",
                number(row["ssim"], 2),
                number(row["rank_correlation"], 2),
                number(row["energy_inside"]),
            ]
        )
    columns = ["", "SSIM with the trained heatmap", "Rank correlation", "Heat inside the lesion"]
    return Table("Randomised-weights check of the heatmaps", columns, rows, f"{found['count']} slices.")


def counterfactual(metrics: Mapping[str, Any]) -> Table | None:
    """Lesions taken out, and put in."""
    found = metrics.get("counterfactual")
    if not found:
        return None
    rows = []
    for kind, before, after in (
        ("folded", "Symmetrical heads with a tumor in one half", "  the same, the other half twice"),
        ("erased", "Slices with a tumor", "  the same, lesion covered with tissue of the same slice"),
        ("given", 'Slices of the "no tumor" sources', "  the same, with the lesion of another slice"),
    ):
        if part := found.get(kind):
            rows.append([before, str(part["count"]), percent(part["before"]), ""])
            rows.append([after, str(part["count"]), percent(part["called_tumor"]), percent(part["outlined"])])
            if twice := part.get("twice"):
                rows.append(["  the same, the half with the tumor twice", str(part["count"]), percent(twice), ""])
    note = "A model that looks at the lesion, and not at the source of the picture, changes its answer."
    columns = ["", "Count", "Called a tumor", "Given a mask"]
    return Table("Does the answer follow the lesion?", columns, rows, note)


def splits(metrics: Mapping[str, Any]) -> Table | None:
    """The folders' own Training/Testing split beside the split by group."""
    found = metrics.get("official_split")
    if not found:
        return None
    own = (metrics.get("baselines") or {}).get("scores") or {}
    rows = []
    for name, row in found["baselines"]["scores"].items():
        rows.append(_flattery(BASELINE_TITLES.get(name, name), row["accuracy"], (own.get(name) or {}).get("accuracy")))
    if model := found.get("model"):
        mine = (metrics.get("classification") or {}).get("accuracy")
        rows.append(_flattery(f"{model['name']}, trained on each split", model["accuracy"], mine))
    elif metrics.get("classification"):
        mine = metrics["classification"]["accuracy"]
        rows.append([f"This model ({architecture(metrics)})", "never trained on it", score(mine), "–"])
    part = (found["baselines"]["subsets"] or {}).get("unseen_groups") or {"count": 0}
    note = (
        f"{part['count']} of the {found['baselines']['test']} official test images belong to a patient or cluster that "
        "is not in the official training folder."
    )
    columns = ["Accuracy", "Official Training/Testing", "By group (this project)", "Flattery"]
    return Table("How much the official split flatters", columns, rows, note)


def _flattery(title: str, official: Mapping[str, Any], own: Mapping[str, Any] | None) -> list[str]:
    both = own is not None and own.get("value") is not None and official.get("value") is not None
    gap = f"{official['value'] - own['value']:+.3f}" if both and own else "–"
    return [title, score(official), score(own), gap]


def sections(metrics: Mapping[str, Any]) -> list[Table]:
    """Every table that these metrics can fill, in reading order."""
    builders = (
        comparison, subsets, splits, by_class, decisions, masks, mask_parts, cross_validation, explanation,
        sanity, counterfactual, guard,
    )  # fmt: skip
    return [table for build in builders if (table := build(metrics)) is not None and table.rows]
