"""Can this picture be judged? Noise, lost detail, small size, exchanged gray values, all in the networks' square.

Four measures, inside the head only, after the stretch of gray values, so that they are relative to the head's contrast.
The high-pass is that of Immerkaer 1996, which no plane or edge along an axis passes:

- noise: how strong the high-pass is in the smoothest fifth of the head. Texture and edges of a sharp scan leave some
  places smooth, noise leaves none; it does not matter whether the noise lies outside the head, too.
- blur: gradient over Laplacian, the width of edges in pixels. Large for blurred scans and for small ones, enlarged.
- flat: share of pixels without any detail, as strong JPEG compression leaves them.
- ghosts: how alike the details are to those some pixels to the side, as in a scan during which the head moved: the
  autocorrelation along rows or columns rises again at the distance of a ghost, where that of a good scan stays down.

Where each measure begins to cost answers, training/quality_fit.py finds out. A negative (dark and bright exchanged)
shows a bright surface with a hole, of which only the inverted picture makes a head. About 0.7 ms.
"""

from __future__ import annotations

import cv2
import numpy as np

from brain_mri.artifact.config import QualityRule
from brain_mri.imaging.preprocessing import Prepared, head_mask

MEASURES = ("noise", "blur", "flat", "ghosts")
NOISY, BLURRED, SMALL, MOVED, INVERTED = "noisy", "blurred", "small", "moved", "inverted"
SENTENCES = {
    NOISY: "the picture is too noisy to judge",
    BLURRED: "the picture is too blurred or too strongly compressed to judge",
    SMALL: "the picture is too small to judge; details of a tumor are lost",
    MOVED: "the head seems to have moved during the scan, and its ghosts lie over the picture",
    INVERTED: "this looks like a negative: dark and bright exchanged. Invert it and try again",
}
_LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # of unit gain for white noise
WINDOW = 7  # pixels, over which the strength of the high-pass is taken
SMOOTHEST = 0.2  # of the head: where noise is looked for
NEAREST, FARTHEST = 3, 24  # pixels, of a ghost: nearer ones are blur, farther ones lie outside of most heads
NOTHING = 0.2  # gray values: less than any step of an 8-bit picture
FULL = 0.9  # of its box: a rectangle, and no head


def measured(square: np.ndarray) -> np.ndarray:
    """float64 (4,), in the order of MEASURES, the higher the worse.  square: uint8 (S, S), see Prepared."""
    values = square.astype(np.float32)
    high = cv2.filter2D(values, -1, _LAPLACIANS)
    inside = _inside(square)
    local = cv2.blur(high * high, (WINDOW, WINDOW))[inside]
    soft = cv2.blur(values, (3, 3))  # else the steps of the gray values count as detail where there is none
    steep = cv2.magnitude(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))[inside] / 8
    bent = np.abs(cv2.Laplacian(soft, cv2.CV_32F))[inside]
    smoothest = np.partition(local, int(SMOOTHEST * (local.size - 1)))[int(SMOOTHEST * (local.size - 1))]
    found = (
        np.sqrt(max(float(smoothest), 0.0)),
        float(steep.mean()) / (float(bent.mean()) + 0.01),
        float((np.abs(high[inside]) < NOTHING).mean()),
        _ghosts((values - cv2.GaussianBlur(values, (0, 0), 2)) * inside),
    )
    return np.round(np.array(found, np.float64), 5)  # float32 sums differ in the last bit with the place in memory


def _ghosts(details: np.ndarray) -> float:
    """How far the autocorrelation (0..1) of float32 (S, S) along an axis rises again."""
    rises = []
    for along in (details, np.ascontiguousarray(details.T)):
        power = np.square(np.abs(np.fft.rfft(along, 2 * along.shape[1]))).sum(axis=0)  # padded: the rim does not wrap
        alike = np.fft.irfft(power)[: FARTHEST + 1]
        lowest = np.minimum.accumulate(alike[1:])[NEAREST - 1 :]  # so far
        rises.append((alike[NEAREST:] - lowest).max() / max(float(alike[0]), 1e-6))
    return float(max(rises))


def _inside(square: np.ndarray) -> np.ndarray:
    """bool (S, S): the head without its rim, whose edge is no noise; everything where it is too small for that."""
    lit = cv2.morphologyEx((square > 0).view(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    inside = cv2.erode(lit, np.ones((WINDOW, WINDOW), np.uint8)) > 0
    return inside if np.count_nonzero(inside) > 4 * WINDOW**2 else np.ones_like(inside)


def faults(rule: QualityRule, prepared: Prepared) -> tuple[str, ...]:
    """What keeps a picture from being judged; () for a good one."""
    noise, blur, flat, ghosts = measured(prepared.square)
    found = [NOISY] if noise > rule.noise else []
    if blur > rule.blur or flat > rule.flat:
        # Less than half of the model's pixels: then size, not focus, is what is missing.
        found.append(SMALL if 2 * prepared.frame.side < prepared.square.shape[0] else BLURRED)
    return (*found, MOVED) if ghosts > rule.ghosts else tuple(found)


def looks_inverted(image: np.ndarray, prepared: Prepared) -> bool:
    """May it be a negative? Then its inverse shows a head, which the guard should confirm.  image: uint8 (H, W)."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if np.median(edge) < 128 or _filled(prepared.head) < FULL:
        return False
    # A normal scan on white paper is a rectangle still.
    return _filled(head_mask(cv2.bitwise_not(image))) < FULL


def _filled(head: np.ndarray) -> float:
    """Which share of its box a head, bool (H, W), fills: about 0.79 for an ellipse, 1 for a whole picture."""
    seen = head.view(np.uint8)
    _, _, width, height = cv2.boundingRect(seen)
    return cv2.countNonZero(seen) / max(1, width * height)
