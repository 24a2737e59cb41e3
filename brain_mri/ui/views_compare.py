"""The views behind the smaller tabs: two segmentation methods side by side, and the facts about a picture."""

from __future__ import annotations

import numpy as np

import segmentation
from brain_mri.imaging.preprocessing import sharpness
from brain_mri.ui import views
from brain_mri.ui.charts import histogram
from brain_mri.ui.html import card, image, safe, tiles
from brain_mri.ui.views import View

KMEANS_TINT = (86, 180, 233)  # sky blue: told from amber by people with any colour vision (Okabe and Ito)
NOTHING = '<p class="prose-small">Choose a scan or an example first.</p>'


def methods(view: View | None) -> str:
    """The trained U-Net beside K-means, which needs no training."""
    if view is None:
        return NOTHING
    a = view.analysis
    kmeans = a.kmeans()
    head = max(1, int(np.count_nonzero(a.head)))

    def one(name: str, text: str, mask: np.ndarray, color: tuple[int, int, int]) -> str:
        share = views.percent(np.count_nonzero(mask & a.head) / head, 1)
        picture = image(
            segmentation.overlay(a.image, mask, 0.45, color), f"{a.name}: {name} marks {share} of the head."
        )
        return card(name, text, picture + f'<div class="legend"><span>{safe(share)} of the head marked</span></div>')

    both = segmentation.dice(a.mask, kmeans)
    text = f"{100 * both:.0f} % overlap (Dice) between the two masks."
    if not a.mask.any() and not kmeans.any():
        text = "Neither method marks anything."
    left = one("U-Net", "Learned from thousands of masks that people drew.", a.mask, segmentation.TINT)
    right = one("K-means", "No training: splits bright from dark (k = 2), then cleans up.", kmeans, KMEANS_TINT)
    return f'<div class="pair">{left}{right}</div><p class="prose-small">{safe(text)}</p>'


def picture_facts(view: View | None) -> str:
    if view is None:
        return NOTHING
    a = view.analysis
    chart = card(
        "Brightness inside the head", "How many pixels are how bright (square-root scale).", histogram(a.image, a.head)
    )
    return details(view) + '<div style="height:10px"></div>' + chart


def details(view: View) -> str:
    """The picture itself: size, spacing, sharpness, format."""
    a = view.analysis
    height, width = a.image.shape
    spacing = f"{a.spacing[0]:.3g} × {a.spacing[1]:.3g} mm" if a.spacing else "unknown"
    low, high = float(view.raw.min()), float(view.raw.max())
    return tiles(
        [
            ("Picture size", f"{width} × {height}", "pixels"),
            ("Pixel spacing", spacing, "row × column"),
            ("Stored values", f"{low:g} – {high:g}", f"{view.raw.dtype}, {view.info.get('format', 'unknown format')}"),
            ("Sharpness", f"{sharpness(a.image):,.0f}", "variance of the Laplacian; low means blurred"),
            ("Head", views.percent(np.count_nonzero(a.head) / a.head.size), "of the picture"),
        ]
    )
