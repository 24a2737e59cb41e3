"""report.html: problem, data, method, results, limits and references of one run, pictures inside."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from brain_mri.artifact.config import ArtifactConfig
from brain_mri.reporting import findings, table_text, tables
from brain_mri.reporting import texts as prose

Metrics = Mapping[str, Any]

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #222; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin-bottom: .3rem; }
h2 { margin-top: 2.4rem; border-bottom: 2px solid #0072B2; }
h3 { margin: 1.6rem 0 .4rem; } .lead { font-size: 1.08rem; } .meta { color: #555; }
.warning { background: #FFF4D6; border-left: 4px solid #E69F00; padding: .5rem .9rem; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption { color: #444; font-size: .92rem; margin-top: .3rem; }
.table figcaption { font-weight: 600; margin-bottom: .3rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .28rem .7rem; text-align: left; border-bottom: 1px solid #D9DCE0; white-space: nowrap; }
th { border-bottom: 2px solid #888; } td:not(:first-child), th:not(:first-child) { font-variant-numeric: tabular-nums; }
td.sub { padding-left: 1.8rem; } .note { color: #555; font-size: .88rem; margin: .3rem 0; }
.settings td { white-space: normal; } code { background: #F2F3F5; padding: 0 .2rem; word-break: break-all; }
nav ul { columns: 2; } a { color: #005A8F; }
.summary li { margin-bottom: .35rem; }
@page { size: A4; margin: 17mm 16mm; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10.5pt; line-height: 1.4; } nav { display: none; }
  h2, h3 { break-after: avoid; } figure, tr, li { break-inside: avoid; } figure { margin: .7rem 0; }
  figure img { max-height: 92mm; width: auto; } .table { overflow: visible; } table { font-size: 8.6pt; }
  th, td { padding: .18rem .45rem; } th { white-space: normal; } a { color: inherit; text-decoration: none; } }
"""

CAPTIONS = {
    "pipeline": "The way of one scan through the program.",
    "network": "The network as exported, drawn from the ONNX file: each block is a row of convolutions of one size, as "
    "high as its feature maps and as wide as its channels (both logarithmic).",
    "training": "Training and validation per epoch. The epoch with the best validation loss is kept, not the last one.",
    "counts": "Images and independent groups per class. Many slices come from few patients: the groups decide how "
    "sure the scores are.",
    "preprocessing": "Above: slices as stored with the square around the head. Below: what the network sees; "
    "in blue the outlined tumor.",
    "compared": "Accuracy on unseen patients and clusters; whiskers: 95 % interval over groups. Diamonds: the same "
    "method on the folders' own Training/Testing split.",
    "confusion": "Confusion matrix. Rows: truth, columns: answer; percentages are of the row.",
    "roc": "ROC curves of each class against the rest, with their areas; dashed: any tumor against none.",
    "reliability": "Confidence against accuracy. On the dotted line a confidence of 80 % is right in 80 % of the "
    "cases; above it the model is too modest, below it too sure.",
    "abstention": "Accuracy when only the most confident answers are given.",
    "dice": "Left: Dice of every outlined test slice. Right: against the size of the lesion.",
    "explanation": "How much of the Grad-CAM heatmap of the predicted class lies on the outlined lesion.",
    "counterfactual": "Test slices as they are (gray), and changed (blue): folded at the midline to the half without "
    "the tumor, the lesion covered with tissue of the same slice, or the lesion of another patient put into a picture "
    "of the tumor-free sources.",
    "folded": "Test slices of different patients, and what the model says when they are folded at the midline, to the "
    "half without the tumor and to the half with it. Orange headings: not what the lesion says.",
    "cases": "Best, median and worst test slices by Dice, one per patient. Left: outlines; right: Grad-CAM with the "
    "answer of the model.",
}


def write_html(path: Path, config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> Path:
    """A report that needs no other file: pictures are inside."""
    page = _page(config, metrics, drawn)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _page(config: ArtifactConfig, metrics: Metrics, drawn: Mapping[str, Path]) -> str:
    count = {"Table": itertools.count(1), "Figure": itertools.count(1)}

    def table(build: Callable[[Metrics], table_text.Table | None]) -> str:
        found = build(metrics)
        if found is None or not found.rows:
            return ""
        return table_text.as_html(dataclasses.replace(found, title=f"Table {next(count['Table'])}. {found.title}"))

    def figure(name: str) -> str:
        if name not in drawn:
            return ""
        return _figure(drawn[name], f"Figure {next(count['Figure'])}. {CAPTIONS[name]}")

    title = findings.title(config, metrics)
    settings = ""
    for key, value in findings.training_settings(config):
        cell = f"<code>{html.escape(value)}</code>" if key == "Command" else html.escape(value)
        settings += f"<tr><td>{html.escape(key)}</td><td>{cell}</td></tr>"
    summary = [
        *findings.verdict(metrics),
        *findings.mask_findings(metrics)[:2],
        *findings.explanation_findings(metrics)[:1],
    ]
    sections = [
        ("Problem", _paragraphs(prose.PROBLEM)),
        (
            "Data",
            _paragraphs([" ".join([*findings.data_findings(metrics, config), *(metrics.get("notes") or [])])])
            + figure("counts")
            + _paragraphs([" ".join(findings.flattery(metrics))])
            + table(tables.splits)
            + _list(prose.data_sources(metrics)),
        ),
        (
            "Method",
            figure("pipeline")
            + _paragraphs(prose.method(metrics, config))
            + figure("preprocessing")
            + figure("network")
            + f'<h3>Training</h3><table class="settings"><tbody>{settings}</tbody></table>'
            + figure("training"),
        ),
        (
            "Results: which tumor?",
            _paragraphs([" ".join(findings.verdict(metrics))])
            + figure("compared")
            + table(tables.comparison)
            + table(tables.subsets)
            + _paragraphs([" ".join(findings.class_findings(metrics))])
            + figure("confusion")
            + table(tables.by_class)
            + figure("roc"),
        ),
        (
            "Results: how sure?",
            _paragraphs([" ".join(findings.calibration_findings(metrics))])
            + table(tables.decisions)
            + figure("reliability")
            + figure("abstention"),
        ),
        (
            "Results: where is the tumor?",
            _paragraphs([" ".join(findings.mask_findings(metrics))])
            + table(tables.masks)
            + figure("dice")
            + table(tables.mask_parts)
            + figure("cases"),
        ),
        (
            "Results: what did the classifier look at?",
            _paragraphs([" ".join(findings.explanation_findings(metrics))])
            + figure("explanation")
            + table(tables.explanation)
            + table(tables.sanity)
            + _paragraphs([" ".join(findings.counterfactual_findings(metrics))])
            + figure("folded")
            + figure("counterfactual")
            + table(tables.counterfactual),
        ),
        ("Results: cross-validation", table(tables.cross_validation)),
        ("Limits", _list(prose.limits(metrics))),
        ("Outlook", _list(findings.outlook(metrics))),
        ("References", _list(prose.references(metrics), ordered=True)),
    ]
    filled = [(head, text) for head, text in sections if text.strip()]
    links = "".join(f'<li><a href="#s{i}">{html.escape(head)}</a></li>' for i, (head, _) in enumerate(filled))
    body = "".join(
        f'<section id="s{i}"><h2>{i + 1}. {html.escape(head)}</h2>{text}</section>'
        for i, (head, text) in enumerate(filled)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f'<h1>{html.escape(title)}</h1><p class="meta">{html.escape(str(metrics.get("created", ""))[:10])}</p>'
        f'<p class="warning">{html.escape(prose.NOT_A_DEVICE)}</p>'
        f'<div class="summary">{_list(summary or [findings.headline(metrics)])}</div>'
        f'<p class="note">{html.escape(prose.BRACKETS)}</p><nav><ul>{links}</ul></nav>{body}</body></html>\n'
    )


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts if text)


def _list(items: Sequence[str], *, ordered: bool = False) -> str:
    tag = "ol" if ordered else "ul"
    return f"<{tag}>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + f"</{tag}>" if items else ""


def _figure(path: Path, caption: str) -> str:
    """The picture inlined; those with scans as JPEG, which is a fifth of the size."""
    image = Image.open(path)
    buffer, kind = io.BytesIO(), "png"
    if path.stem in ("cases", "folded", "preprocessing"):
        image.convert("RGB").save(buffer, "JPEG", quality=88)
        kind = "jpeg"
    else:
        buffer.write(path.read_bytes())
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" alt="{text}" width="{image.width * 6 // 10}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
