"""Charts as inline SVG: they follow light and dark, need no plotting library, and are drawn in a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

import segmentation
from brain_mri.ui.html import safe

AREA = "#d98e00"


def histogram(image: np.ndarray, head: np.ndarray, bins: int = 64) -> str:
    """Brightness of the pixels of the head. image uint8 (H, W), head bool (H, W)."""
    counts, _ = np.histogram(image[head] if head.any() else image, bins=bins, range=(0, 256))
    heights = 100 * np.sqrt(counts / max(1, counts.max()))  # square root: small groups of bright pixels stay visible
    bars = "".join(
        f'<rect x="{10 * i:.0f}" y="{110 - h:.1f}" width="9" height="{h:.1f}" fill="var(--accent)"/>'
        for i, h in enumerate(heights)
    )
    return (
        f'<svg class="chart" viewBox="0 0 {10 * bins} 132" role="img" '
        f'aria-label="Histogram of the brightness inside the head, from black to white">{bars}'
        f'<line x1="0" x2="{10 * bins}" y1="110.5" y2="110.5" stroke="var(--line)"/>'
        f'<text x="0" y="127">black (0)</text><text x="{10 * bins}" y="127" text-anchor="end">white (255)</text></svg>'
    )


def along_slices(probability: Sequence[float] | None, area: Sequence[float], unit: str, current: int) -> str:
    """Tumor probability (line, 0..1) and marked area (bars) of each slice, with a cursor on slice `current` (from 0).

    Without probabilities there is no line.

    The plot is stretched to the width of the page and clickable: ui/volume_tab.py turns the place of a click into a
    slice. Labels are HTML, so that they keep their size on a phone.
    """
    n, largest = len(area), max(area, default=0.0)
    scale = 100 / largest if largest > 0 else 0.0
    bars = "".join(
        f'<rect x="{i + 0.08:.2f}" y="{100 - scale * a:.2f}" width="0.84" height="{scale * a:.2f}" fill="{AREA}"/>'
        for i, a in enumerate(area)
        if a > 0
    )
    points = " ".join(f"{i + 0.5},{100 - 100 * p:.2f}" for i, p in enumerate(probability or ()))
    most = (
        f"largest area {largest:,.0f} {unit} on slice {int(np.argmax(area)) + 1}" if largest > 0 else "nothing marked"
    )
    what = "Marked area" if probability is None else "Tumor probability and marked area"
    label = f"{what} along {n} slices; {most}. Slice {current + 1} is shown."
    ends = "" if probability is None else "<span>100 %</span><span>0 %</span>"
    line = "" if probability is None else '<i class="line"></i>probability of a tumor (left axis) '
    return (
        f'<div class="plot"><div class="axis">{ends}</div>'
        f'<svg class="pick" data-pick="chart" viewBox="0 0 {n} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{safe(label)}">'
        f'<rect x="{current}" y="0" width="1" height="100" fill="var(--soft)" opacity="0.3"/>{bars}'
        f'<polyline points="{points}" fill="none" stroke="var(--accent)" stroke-width="2.5" stroke-linejoin="round" '
        f'vector-effect="non-scaling-stroke"/>'
        f'<line x1="{current + 0.5}" x2="{current + 0.5}" y1="0" y2="100" stroke="var(--ink)" stroke-width="1.5" '
        f'vector-effect="non-scaling-stroke"/></svg>'
        f'<div class="axis right"><span>{safe(f"{largest:,.0f} {unit}" if largest > 0 else "")}</span>'
        f"<span>{safe(f'0 {unit}')}</span></div></div>"
        f'<div class="legend"><span>slice 1</span><span>{line}'
        f'<i class="block" style="background:{AREA}"></i>marked area (right axis)</span><span>slice {n}</span></div>'
    )


@lru_cache(maxsize=1)
def heat_ramp() -> str:
    """The heat map's colours as CSS, taken from the function that draws the map."""
    gray = np.zeros((1, 9), np.uint8)
    colors = segmentation.heat_overlay(gray, np.linspace(0, 1, 9, dtype=np.float32)[None], 1.0)[0]
    return ",".join(f"rgb({r},{g},{b})" for r, g, b in colors)
