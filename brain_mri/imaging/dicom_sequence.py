"""Which of classes.SEQUENCES a DICOM picture is, by its technical tags: how it was excited, its times, contrast agent.

Times in ms: TR from pulse to pulse, TE to the echo, TI from the inversion. Bounds are generous around what heads are
scanned with at 1.5 and 3 tesla; what lies between them (proton density, susceptibility, STIR) is none of the four.
"""

from __future__ import annotations

import re

import pydicom

from brain_mri.imaging.series_words import contrast_of, kind_of, plain_words, says_last

SHORT_TE, LONG_TE = 30.0, 60.0  # T1 below, T2 and FLAIR above
SHORT_TR, LONG_TR = 1200.0, 1800.0  # of spin echoes: T1 below, T2 above
GRADIENT_TE = 10.0  # of gradient echoes: T1 below; above, iron and blood make the picture
FAT_TI, WATER_TI = 300.0, 1500.0  # an inversion blanks fat (STIR) below, water (FLAIR) above; between, T1 is stronger
# What stands as contrast agent where none was given: "", "-", "NONE", "n/a", "No contrast", "0 ml", "kein KM", but
# not "0.1 mmol/kg Gadovist"
NOT_GIVEN = r"(0( ?ml)?)?|(n|na|nil|no|none|not|false|nein|keine?|ohne|without|w o)( .*)?"
_CONTRASTS = {"T1": "T1", "T2": "T2", "FLUID_ATTENUATED": "FLAIR"}  # AcquisitionContrast, of enhanced files


def sequence_of(dataset: pydicom.Dataset, frame: pydicom.Dataset) -> str:
    """One of classes.SEQUENCES, or "" where the tags do not say, or contradict the description of the series.

    frame: what an enhanced file says of the type of a frame; else the data set itself.
    """
    try:
        words = plain_words(str(dataset.get("SeriesDescription") or ""))
        if str(dataset.get("Modality") or "MR") != "MR" or says_last(words) or dataset.get("AngioFlag") == "Y":
            return ""
        stated = str(frame.get("AcquisitionContrast") or "UNKNOWN")
        by_tags = _weighted(dataset) if stated == "UNKNOWN" else _CONTRASTS.get(stated, "none of these")
        named = {by_tags, kind_of(words)} - {""}
        if len(named) != 1:
            return ""
        weighted = named.pop()
        if weighted == "T1" and injected(dataset, words):
            return "T1C+"
        return weighted if weighted in _CONTRASTS.values() else ""
    except Exception:  # tags of a wrong type, found only when they are looked at
        return ""


def injected(dataset: pydicom.Dataset, words: str = "") -> bool:
    """Was a contrast agent given? Words of the description decide, for the tag is often left from another series."""
    agent = str(dataset.get("ContrastBolusAgent") or "").strip(" -./")
    agent = plain_words(agent).strip() or agent  # other letters than ours say something, too
    stated = contrast_of(words)
    given = re.fullmatch(NOT_GIVEN, agent) is None or bool(dataset.get("ContrastBolusAgentSequence"))
    return given if stated is None else stated


def _weighted(dataset: pydicom.Dataset) -> str:
    """T1, T2, FLAIR, or "" for what the times do not tell."""
    excited, variant = (_terms(dataset, key) for key in ("ScanningSequence", "SequenceVariant"))
    repetition, echo, inversion = (_ms(dataset, key) for key in ("RepetitionTime", "EchoTime", "InversionTime"))
    if echo is None or "EP" in excited:  # echo planar: diffusion, perfusion
        return ""
    if inversion is not None:
        if inversion >= WATER_TI and echo >= LONG_TE:
            return "FLAIR"
        return "T1" if FAT_TI <= inversion < WATER_TI and echo <= SHORT_TE else ""
    if "IR" in excited:
        return ""
    if "GR" in excited and "SE" not in excited:
        steady = "SS" in variant and "SP" not in variant  # unspoiled: water is bright although the times are short
        return "T1" if echo <= GRADIENT_TE and not steady else ""
    if "SE" not in excited or repetition is None:
        return ""
    if repetition <= SHORT_TR and echo <= SHORT_TE:
        return "T1"
    return "T2" if repetition >= LONG_TR and echo >= LONG_TE else ""


def _terms(dataset: pydicom.Dataset, key: str) -> set[str]:
    value = dataset.get(key) or ()
    return {str(term).strip().upper() for term in ([value] if isinstance(value, str) else value)}


def _ms(dataset: pydicom.Dataset, key: str) -> float | None:
    """A time that makes sense, or None: many files state 0 where there is no inversion."""
    value = dataset.get(key)
    return float(value) if value is not None and 0 < float(value) < 1e5 else None
