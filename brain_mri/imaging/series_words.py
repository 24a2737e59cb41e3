"""What the name of a volume or the description of a DICOM series says that it shows. The words themselves are never
handed on: somebody may have written a name among them."""

from __future__ import annotations

import re

_START, _END = r"(?<![a-z0-9])", r"(?![a-z0-9])"
_LABEL = (
    rf"{_START}([a-z]*seg(s|m|mentations?|mented)?|[a-z]*masks?|masks?(tr|ts)|labels?(tr|ts|map)?|gt|ground ?truth"
    rf"|truth|rois?|[a-z]*parc[a-z]*|annotations?){_END}"
)
_LAST = (
    rf"{_START}(loc|lo[ck]ali[sz]er|scout|survey|3 ?plane|[a-z]?adc|[a-z]*dwi[a-z]*|dti|diff[a-z]*|trace[a-z]*"
    rf"|b ?\d{{3,4}}|ep2d[a-z]*|perf[a-z]*|dsc|dce|asl|r?cb[fv]|mtt|ttp|tmax|bold|fmri|swi|swan|phase|mip|minip|mra"
    rf"|tof|angio[a-z]*|field ?map|calib[a-z]*|csi|svs|spectro[a-z]*|screen[a-z]*|report){_END}"
)
_CONTRAST = (
    rf"t1w?\s?(c|ce|gd|km){_END}|{_START}(t1)?(ce|gd|gad[a-z]*|km|post(?! ?op)|postcontrast|postgd|contrast[a-z]*"
    rf"|kontrast[a-z]*){_END}|\+\s?(c|gd|km|contrast){_END}|{_START}c\s?\+"
)
_PLAIN = rf"{_START}(pre|no|non|without|w o|ohne|nativ[a-z]*|precontrast|noncontrast){_END}"
_T1 = rf"{_START}(t1|mp ?rage|f?spgr|bravo|vibe|tfe|tfl)"
_OTHER = rf"{_START}(t2|flair|pd{_END}|stir)"
# What a series shows, in words of our own
KINDS = (
    (rf"{_START}(loc|lo[ck]ali[sz]er|scout|survey|3 ?plane){_END}", "localizer"),
    (rf"{_START}([a-z]?adc){_END}", "ADC"),
    (rf"{_START}([a-z]*dwi[a-z]*|dti|diff[a-z]*|trace[a-z]*|b ?\d{{3,4}}|ep2d b[a-z]*){_END}", "diffusion"),
    (rf"{_START}(perf[a-z]*|dsc|dce|asl|r?cb[fv]|mtt|ttp|tmax){_END}", "perfusion"),
    (rf"{_START}(swi|swan|t2 ?star){_END}", "susceptibility"),
    (rf"{_START}t1w? ?flair", "T1"),  # an inversion that makes T1 stronger, no FLAIR
    (rf"{_START}([a-z0-9]*flair)", "FLAIR"),
    (rf"{_START}t2", "T2"),
    (rf"{_START}pd{_END}", "PD"),
    (_T1, "T1"),
)


def plain_words(text: str) -> str:
    """Lower case, with blanks for all but letters, digits and "+"; "-c" is spelt out."""
    text = re.sub(rf"{_START}(c-|-c){_END}", " noncontrast ", text.lower())
    return re.sub(r"[^a-z0-9+]+", " ", text)


def kind_of(words: str) -> str:
    """The name in KINDS of what plain words say, "" where they say nothing."""
    return next((name for pattern, name in KINDS if re.search(pattern, words)), "")


def contrast_of(words: str) -> bool | None:
    """Was a contrast agent given? None where plain words do not say."""
    return False if re.search(_PLAIN, words) else True if re.search(_CONTRAST, words) else None


def says_label(words: str) -> bool:
    return re.search(_LABEL, words) is not None


def says_last(words: str) -> bool:
    """A localizer, a map, diffusion, vessels and so on: no picture of a head that anybody would look at first."""
    return re.search(_LAST, words) is not None


def says_t1(words: str) -> bool:
    """T1, or nothing else."""
    return re.search(_T1, words) is not None or re.search(_OTHER, words) is None
