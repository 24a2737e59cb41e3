"""An Analysis as what a visitor sees: the sentence, the panels, the facts. Pictures and HTML, no Gradio.

`View` is what one visitor's session keeps of a scan, `Settings` what the sliders say; every function here draws from
these two alone, so that moving a slider needs no new inference.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

import numpy as np

import segmentation
from brain_mri.classes import CLASSES, NO_TUMOR, title
from brain_mri.imaging.preprocessing import sharpness
from brain_mri.imaging.scan import Scan, reduce, to_uint8, window_limits
from brain_mri.inference.analysis import Analysis
from brain_mri.inference.predictor import Predictor
from brain_mri.inference.sequence import HOW, said_of
from brain_mri.ui.charts import heat_ramp, histogram
from brain_mri.ui.html import banner, card, data_uri, explainer, image, notes, open_tab, safe, tiles

ARTICLES = {"glioma": "a glioma", "meningioma": "a meningioma", "pituitary": "a pituitary tumor", "tumor": "a tumor"}
FEW = 8  # classes that fit side by side

SKY = (86, 180, 233)  # of masks that are not the model's: told from amber with any colour vision (Okabe and Ito)
CROPPED = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


@dataclass(frozen=True, eq=False)
class View:
    """One analysed scan of one visitor. Arrays are (H, W); nothing of it is shared between visitors."""

    analysis: Analysis
    scan: Scan
    path: str  # the uploaded file, to look at another slice of it
    predictor: Predictor  # the one that answered: a report keeps to it even when a newer revision serves by then
    corrected: np.ndarray | None = None  # bool (H, W): the outline as the visitor drew it, where it is not the model's
    step: int = 0  # which of the visitor's strokes came last
    drawn: dict[int, str] = field(default_factory=dict)  # index: outlines of other slices, see outline_editor.runs_of
    key: str = field(default_factory=lambda: secrets.token_hex(8))  # tells it from every other, whatever is corrected

    @property
    def nbytes(self) -> int:
        """Bytes of memory, with the heatmap of every class and a corrected outline, which may come later."""
        a = self.analysis
        arrays = (self.scan.image, self.scan.raw, a.mask, a.mask, a.mask_probability, a.head)
        own = sum(map(len, self.drawn.values()))
        return sum(array.nbytes for array in arrays) + 4 * len(a.heatmaps) * a.image.size + own


@dataclass(frozen=True)
class Settings:
    """What the sliders say. centre and width of the window are in stored values."""

    threshold: float
    opacity: float
    heat_class: str
    heat_opacity: float
    centre: float
    width: float


def analyze_scan(predictor: Predictor, scan: Scan, path: str = "") -> View:
    """Analyse a scan for the page; a photograph of more than MAX_SIDE pixels is reduced first, and that is said."""
    scan = reduce(scan)
    return View(predictor.analyze(scan), scan, path, predictor)


def renamed(view: View, name: str) -> View:
    """The view of a scan that is called otherwise."""
    a = view.analysis
    warnings = [text.replace(a.name, name) for text in a.warnings]
    return replace(view, analysis=replace(a, name=name, warnings=warnings))


def settings_of(view: View) -> Settings:
    """The sliders as they stand right after an analysis."""
    return Settings(view.predictor.mask_threshold, 0.45, view.analysis.label, 0.5, *window(view))


def window(view: View) -> tuple[float, float]:
    """(centre, width) of the display window that the analysis saw, in stored values."""
    low, high = (0.0, 255.0) if view.scan.raw.dtype == np.uint8 else window_limits(view.scan.raw)
    return (low + high) / 2, max(high - low, 1e-6)


def windowed(view: View, settings: Settings) -> np.ndarray:
    """uint8 (H, W): the scan through the chosen window; untouched when the window is the one it was analysed with."""
    if (settings.centre, settings.width) == window(view):
        return view.analysis.image
    half = max(abs(settings.width), 1e-6) / 2
    return to_uint8(view.scan.raw, (settings.centre - half, settings.centre + half))


def mask_of(view: View, settings: Settings) -> np.ndarray:
    """bool (H, W): the visitor's outline where there is one, whatever the threshold; else the model's mask."""
    return model_mask(view, settings) if view.corrected is None else view.corrected


def model_mask(view: View, settings: Settings) -> np.ndarray:
    """bool (H, W): the model's mask at the chosen threshold."""
    if settings.threshold == view.predictor.mask_threshold:
        return view.analysis.mask
    return view.analysis.mask_at(settings.threshold)


def overlay_picture(view: View, settings: Settings) -> np.ndarray:
    """uint8 (H, W, 3) RGB. A visitor's outline is blue and filled, the model's beside it only a line."""
    picture, own = windowed(view, settings), view.corrected
    opacity = settings.opacity if own is None else 0.0
    picture = segmentation.overlay(picture, model_mask(view, settings), opacity)
    return picture if own is None else segmentation.overlay(picture, own, settings.opacity, SKY)


def heat_picture(view: View, settings: Settings) -> np.ndarray:
    heat = view.analysis.heatmaps[settings.heat_class]
    return segmentation.heat_overlay(windowed(view, settings), heat, settings.heat_opacity)


# --- sentences -------------------------------------------------------------------------------------------------


def percent(share: float, digits: int = 0) -> str:
    """12 %; never 0 % or 100 % for something that is merely close to it."""
    text = f"{100 * share:.{digits}f}"
    if float(text) == 0 and share > 0:
        return f"<{10**-digits:g} %"
    if float(text) == 100 and share < 1:
        return f">{100 - 10**-digits:g} %"
    return f"{text} %"


def sentence(a: Analysis) -> tuple[str, ...]:
    """(kind, word, sentence): what the page says first; of a tumor of unsure kind also why it is unsure."""
    if a.not_brain_mri:
        return "foreign", "Not a brain MRI?", "This does not look like a brain MRI slice, so no finding is given."
    if a.kind_unsure:
        first, _, why = a.reason.partition(": ")
        return "tumor", "Tumor", f"{first}.", why
    if a.abstained:
        return "unsure", "Not sure", a.reason
    sure = f"the model is {percent(a.confidence)} confident."
    if a.label == NO_TUMOR:
        # The public sets show tumors on contrast-enhanced T1 mostly: evaluation/counterfactual.py says what comes of it
        missed = " On T2, FLAIR or T1 without contrast medium tumors are easily missed." * (a.sequence != "T1C+")
        return "clear", "No tumor", f"No tumor seen on this slice; {sure}{missed}"
    word = "Tumor" if a.tumor is not None else "Answer"  # of classes that may be anything: grades, numbers
    return "tumor", word, f"Most likely {ARTICLES.get(a.label, title(a.label))}; {sure}"


def finding(view: View) -> str:
    a = view.analysis
    height, width = a.image.shape
    about = (a.name, which_slice(view), said_of(a.sequence, a.sequence_from), f"{width} × {height} pixels")
    detail = f"{' · '.join(filter(None, about))} · answered in {1000 * a.seconds:.0f} ms by {a.model_id}"
    return banner(*sentence(a), f"{detail}, revision {a.revision[:12]}") + notes(a.warnings)


def is_picture(view: View) -> bool:
    """Is the file one that a browser shows? Montages and screenshots of viewers hold slices that are worth a try."""
    return view.scan.info.get("format") in CROPPED


def which_slice(view: View) -> str:
    """ "slice 3 of 20" of a file of several, else ""."""
    index, count = slice_of(view)
    return f"slice {index + 1} of {count}" if count > 1 else ""


def slice_of(view: View) -> tuple[int, int]:
    """(index from 0, number of slices) of the file."""
    index, count = (int(str(view.scan.info.get(key) or 0)) for key in ("index", "slices"))
    return index, max(1, count)


# --- panels ----------------------------------------------------------------------------------------------------

# name: title, what it shows, what stands there before the first scan
PANELS = {
    "bars": (
        "Class probabilities",
        "How likely the classifier finds each answer; together they make 100 %.",
        "A bar for each answer that the model knows will appear here.",
    ),
    "mask": (
        "Mask overlay",
        "Which pixels the segmentation network (U-Net) marks as tumor.",
        "The scan with the marked area will appear here.",
    ),
    "heat": (
        "Grad-CAM heatmap",
        "Where the classifier looked: bright areas spoke for the answer.",
        "The scan with the heatmap will appear here.",
    ),
}


OWN_OVERLAY = ("Corrected outline", "Blue: drawn by hand, not by the model. Amber line: the model’s mask.")


def panel(name: str, content: str = "", *, kind: str = "") -> str:
    """A card of PANELS, empty before the first scan."""
    heading, text, before = PANELS[name]
    return card(heading, text, content or f'<div class="empty"><span>{safe(before)}</span></div>', kind=kind)


def in_view(a: Analysis) -> list[tuple[str, float]]:
    """Classes and probabilities as the bars stand: in their order, the likeliest first where there are many."""
    found = list(a.probabilities.items())
    return sorted(found, key=lambda pair: -pair[1]) if len(found) > FEW else found


def bars_panel(view: View) -> str:
    a, limit, write = view.analysis, view.predictor.abstain_below, explainer()
    band = f'<span class="unsure" style="width:{100 * limit:.1f}%"></span>'
    rows = "".join(
        f'<li class="{"top" if name == a.label else ""}"><div class="row"><span>{write(title(name))}</span>'
        f"<b>{percent(p, 1)}</b></div>"
        f'<div class="track" role="img" aria-label="{safe(title(name))}: {percent(p, 1)}">{band}'
        f'<span class="fill" style="width:{100 * p:.2f}%"></span></div></li>'
        for name, p in in_view(a)
    )
    scrolled = ' many" tabindex="0" role="group" aria-label="Probabilities of all classes'
    many = scrolled if len(a.probabilities) > FEW else ""
    key = f"Band of “not sure”: below {percent(limit)} the model names no class."
    key = f'<p class="key"><span class="hatch"></span>{key}</p>' if limit > 0 else ""
    key += f'<p class="key">The likeliest of all {len(a.probabilities)} stand first.</p>' if many else ""
    key += f'<p class="key">{open_tab("Model", "How often is it right?")}</p>'
    return panel("bars", f'<ul class="bars{many}">{rows}</ul>{key}', kind="mute" if a.abstained else "")


def wipe(before: np.ndarray, after: np.ndarray, alt: str, label: str, key: str, file: str) -> str:
    """Two pictures of equal size, a slider that wipes between them, the legend, a button that saves the second.

    assets/script.js moves the wipe and saves; both work on the data that is already in the page.
    """
    return (
        f'<div class="wipe"><img src="{data_uri(before)}" alt="" aria-hidden="true">{image(after, alt)}</div>'
        f'<label class="wiper"><span>Original</span><input type="range" min="0" max="100" value="100" '
        f'aria-label="{safe(label)}"><span>Overlay</span></label>'
        f'<div class="legend">{key}<button type="button" data-save="{file}">Save PNG</button></div>'
    )


def overlay_panel(view: View, settings: Settings) -> str:
    a, mask = view.analysis, mask_of(view, settings)
    share = int(np.count_nonzero(mask & a.head)) / max(1, int(np.count_nonzero(a.head)))
    what = f"{percent(share, 1)} of the head marked" if mask.any() else "nothing marked"
    picture = overlay_picture(view, settings)
    alt = f"Scan {a.name} with the tumor mask: {what}."
    label = "Compare the original with the mask overlay"
    if view.corrected is None:
        key = swatch(segmentation.TINT, what)
        return panel("mask", wipe(windowed(view, settings), picture, alt, label, key, "mask-overlay.png"))
    key = swatch(SKY, f"yours: {what}") + swatch(segmentation.TINT, "the model’s", filled=False)
    alt = f"Scan {a.name} with the outline that was corrected by hand: {what}."
    return card(*OWN_OVERLAY, wipe(windowed(view, settings), picture, alt, label, key, "corrected-overlay.png"))


def swatch(tint: tuple[int, int, int], text: str, *, filled: bool = True) -> str:
    """A patch of colour and what it stands for. text: HTML."""
    color = "#{:02x}{:02x}{:02x}".format(*tint)
    inside = f"{color}73" if filled else "none"
    return f'<span><span class="swatch" style="background:{inside};border-color:{color}"></span>{text}</span>'


def heat_panel(view: View, settings: Settings) -> str:
    name = settings.heat_class
    picture = heat_picture(view, settings)
    alt = f"Scan {view.analysis.name} with the Grad-CAM heatmap for {title(name)}."
    if not view.analysis.heatmaps[name].any():
        alt = f"Scan {view.analysis.name}; nothing in the head spoke for {title(name)}, so the heatmap is empty."
    key = (
        f"<span>{safe(title(name))}: little</span>"
        f'<span class="ramp" style="background:linear-gradient(90deg,{heat_ramp()})" role="img" '
        'aria-label="Colour bar from black over red to yellow: little to much evidence"></span><span>much</span>'
    )
    label = "Compare the original with the heatmap"
    return panel("heat", wipe(windowed(view, settings), picture, alt, label, key, "grad-cam.png"))


def any_tumor_tile(a: Analysis) -> tuple[str, str, str]:
    if a.tumor_probability is None:
        return "Any tumor", "–", "the model knows no answer without one"
    kinds = [title(name).lower() if name in CLASSES else title(name) for name in a.probabilities if name != NO_TUMOR]
    listed = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if 1 < len(kinds) <= FEW else f"one of {len(kinds)} kinds"
    return "Any tumor", percent(a.tumor_probability), f"probability of {listed if len(kinds) > 1 else 'a tumor'}"


def facts(view: View, settings: Settings) -> str:
    """The tiles below the panels, for the mask that is shown."""
    a, mask, own = view.analysis, mask_of(view, settings), view.corrected
    if a.not_brain_mri and own is None:
        return ""
    m = segmentation.measure(mask, a.head, a.spacing) if mask is not a.mask else a.measures
    here, there = ("on this slice", "of the marked area") if a.spacing else ["the file states no pixel size"] * 2
    inside = "share of the classifier's evidence that lies in the mask"
    rows = [
        any_tumor_tile(a),
        ("Tumor share", percent(m.fraction, 1), "of the head on this slice, without the background"),
        ("Tumor area", area_of(m), here),
        ("Largest diameter", diameter_of(m), there),
        ("Heat inside the mask", percent(segmentation.agreement(a.heatmap, mask)), inside)
        if m.pixels
        else ("Heat inside the mask", "–", "nothing is marked"),
    ]
    threshold, usual = settings.threshold, view.predictor.mask_threshold
    if own is not None:
        model = model_mask(view, settings)
        theirs = segmentation.measure(model, a.head, a.spacing)
        rows[1] = (*rows[1][:2], f"of the head, corrected by hand; the model’s mask: {percent(theirs.fraction, 1)}")
        rows[2] = (*rows[2][:2], f"corrected by hand; the model’s mask: {area_of(theirs)}")
        rows[3] = (*rows[3][:2], f"corrected by hand; the model’s mask: {diameter_of(theirs)}" if a.spacing else there)
        same = "how far the corrected outline covers the same pixels; 100 % is the same outline"
        rows.append(("Dice with the model’s mask", percent(segmentation.dice(own, model)), same))
        said = [CORRECTED]
        if threshold != usual:
            said += [
                f"The mask threshold {threshold:.2f} counts for the model’s mask alone; the corrected outline stays."
            ]
        return notes(said, kind="info") + tiles(rows)
    if threshold != usual:
        text = f"Mask drawn at {threshold:.2f} instead of the model's own threshold {usual:.2f}."
        return notes([text], kind="info") + tiles(rows)
    return tiles(rows)


CORRECTED = (
    "The outline was corrected by hand. The sizes below are of the corrected outline and not the model’s; the answer "
    "and its probabilities stay the model’s."
)


def area_of(m: segmentation.Measures) -> str:
    return f"{m.pixels:,} pixels" if m.area_mm2 is None else f"{m.area_mm2:,.0f} mm²"


def diameter_of(m: segmentation.Measures) -> str:
    return "–" if m.diameter_mm is None else f"{m.diameter_mm:.0f} mm"


# --- the smaller tabs ------------------------------------------------------------------------------------------

NOTHING = '<p class="prose-small">Choose a scan or an example first.</p>'


def methods(view: View | None) -> str:
    """The trained U-Net beside K-means, which needs no training."""
    if view is None:
        return NOTHING
    a = view.analysis
    kmeans = a.kmeans()
    head = max(1, int(np.count_nonzero(a.head)))

    def one(name: str, text: str, mask: np.ndarray, color: tuple[int, int, int]) -> str:
        share = percent(np.count_nonzero(mask & a.head) / head, 1)
        picture = image(
            segmentation.overlay(a.image, mask, 0.45, color), f"{a.name}: {name} marks {share} of the head."
        )
        return card(name, text, picture + f'<div class="legend"><span>{safe(share)} of the head marked</span></div>')

    both = segmentation.dice(a.mask, kmeans)
    text = f"{100 * both:.0f} % overlap (Dice) between the two masks."
    if not a.mask.any() and not kmeans.any():
        text = "Neither method marks anything."
    left = one("U-Net", "Learned from thousands of masks that people drew.", a.mask, segmentation.TINT)
    right = one("K-means", "No training: splits bright from dark (k = 2), then cleans up.", kmeans, SKY)
    return f'<div class="pair">{left}{right}</div><p class="prose-small">{safe(text)}</p>'


def picture_facts(view: View | None) -> str:
    if view is None:
        return NOTHING
    a = view.analysis
    scale = "How many pixels are how bright (square-root scale)."
    chart = card("Brightness inside the head", scale, histogram(a.image, a.head))
    return f'<div class="stack">{details(view)}{chart}</div>'


def details(view: View) -> str:
    """The picture itself: size, spacing, sharpness, format."""
    a = view.analysis
    height, width = a.image.shape
    spacing = f"{a.spacing[0]:.3g} × {a.spacing[1]:.3g} mm" if a.spacing else "unknown"
    low, high = float(view.scan.raw.min()), float(view.scan.raw.max())
    stored = f"{view.scan.raw.dtype}, {view.scan.info.get('format', 'unknown format')}"
    return tiles(
        [
            ("Picture size", f"{width} × {height}", "pixels"),
            ("Pixel spacing", spacing, "row × column"),
            ("Sequence", a.sequence or "unknown", HOW.get(a.sequence_from, "nothing tells it surely")),
            ("Stored values", f"{low:g} – {high:g}", stored),
            ("Sharpness", f"{sharpness(a.image):,.0f}", "variance of the Laplacian; low means blurred"),
            ("Head", percent(np.count_nonzero(a.head) / a.head.size), "of the picture"),
        ]
    )
