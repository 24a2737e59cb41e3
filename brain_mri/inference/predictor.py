"""Load an artifact once and analyse scans with it. ONNX Runtime only: TensorFlow is never imported.

    p = Predictor.load("weights")                 # a folder, "user/name" or "user/name@revision"
    a = p.analyze(read_scan("slice.jpg"))
    a.probabilities, a.label, a.mask, a.heatmap, a.warnings

A Predictor holds no state of a user and may be shared by threads. The same picture gives the same answer to the
bit, alone and among many: the models always see one picture at a time. A batch would save nothing on a CPU, where one
thread per picture keeps the cores busier than one picture spread over them.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import segmentation
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import Artifact, load_artifact, serving_files
from brain_mri.classes import NO_TUMOR, title
from brain_mri.imaging.preprocessing import PREPROCESSING, Frame, head_mask, preprocess_with_head, restore
from brain_mri.imaging.scan import Scan
from brain_mri.inference import guard, guard_descriptors
from brain_mri.inference.analysis import NO_SKULL, Analysis, Heatmaps, warnings_of
from brain_mri.inference.decision import calibrated_by, class_probabilities, mask_evidence, thresholds_of
from brain_mri.inference.onnx_model import OnnxModel, cores

BUNDLED = Path(__file__).resolve().parents[2] / "weights"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A scan as the models see it."""

    scan: Scan
    square: np.ndarray  # uint8 (S, S)
    frame: Frame
    head: np.ndarray  # bool (H, W)
    image: np.ndarray  # float32 (1, S, S, 1)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the classifier and the guard say."""

    logits: np.ndarray  # float32 (C,)
    heatmaps: np.ndarray  # float32 (h, w, C)
    score: float  # of the guard: above 1 it is no brain MRI; nan without a guard
    stripped: bool  # a brain without its skull
    mask: np.ndarray | None  # float32 (S, S) tumor probability, from a classifier with a mask branch


@dataclass(frozen=True, eq=False)
class Outline:
    """The part of an Analysis that a slice of a volume needs."""

    probabilities: dict[str, float]
    not_brain_mri: bool
    skull_stripped: bool
    mask: np.ndarray  # bool (H, W); empty where there is no brain


class Predictor:
    """Both models of one artifact, ready to answer."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        model_id: str | None = None,
        revision: str | None = None,
        notice: str | None = None,
        threads: int | None = None,
    ):
        """Raises ArtifactError when the artifact cannot be served by this program."""
        self.artifact = artifact
        self.config = artifact.config
        self.classes = artifact.classes
        self.image_size = artifact.image_size
        self.model_id = model_id or str(self.config.get("name") or artifact.folder.resolve().name)
        self.revision = revision or fingerprint(artifact)
        self.notice = notice  # a sentence for the page when another model answers than the one asked for
        thresholds = thresholds_of(self.config)
        self.mask_threshold = float(thresholds["mask"])
        self.min_fraction = float(thresholds["min_fraction"])
        self.abstain_below = float(thresholds["abstain"])
        self.tumor_threshold = float(thresholds["tumor"])
        self.temperature = float(self.config["temperature"])
        self.calibration = calibrated_by(self.config)
        self._check()
        self._guard = self._prepare_guard()
        threads = threads or cores()
        one = bool(self.config["segmenter"].get("shared"))  # the classifier gives the mask, too
        # Two models side by side on half of the cores each take less time than one after the other on all of them.
        self._beside = ThreadPoolExecutor(threads, "segmenter") if threads > 1 and not one else None
        each = threads if one else max(1, threads // 2)
        needed = "logits", "heatmaps", "features"
        self._classifier = OnnxModel(artifact.folder / "classifier.onnx", each, needed, ("mask",))
        self._segmenter = None  # the classifier's own mask branch outlines, or K-means
        if "mask" not in self._classifier.names and "segmenter.onnx" in serving_files(self.config):
            self._segmenter = OnnxModel(artifact.folder / "segmenter.onnx", each, ("mask",))
        self._warm_up()

    @classmethod
    def load(
        cls,
        where: str | Path = BUNDLED,
        *,
        fallback: bool = False,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        timeout: float = 5.0,
        threads: int | None = None,
    ) -> Predictor:
        """From a folder, or from the Hub ("user/name", "user/name@revision").

        fallback: when the Hub model cannot be had, use the bundled one; `notice` then says which model answers and
        why. A folder that is missing or damaged always raises, since a person named it.
        threads: processor cores for one analysis (default: all); take 1 where several threads call `analyze` at once.
        Raises artifact.ArtifactError or hub.HubError, each with one sentence.
        """
        folder = Path(where)
        if not folder.is_dir() and str(where) == BUNDLED.name:
            folder = BUNDLED  # "weights" means the bundled model from any working directory
        if folder.is_dir() or not HUB_ID.fullmatch(str(where)):
            return cls(load_artifact(folder), threads=threads)
        from brain_mri.artifact import (
            hub,
            hub_client,  # only here: a local model needs no Hub library
        )

        try:
            patience = None if fallback else 600.0  # a command waits for a slow download, a page does not
            pulled = hub.pull(str(where), token=token, cache_dir=cache_dir, timeout=timeout, patience=patience)
            return cls(
                load_artifact(pulled.folder),
                model_id=pulled.repo_id,
                revision=pulled.revision,
                notice=pulled.note,
                threads=threads,
            )
        except (hub_client.HubError, ArtifactError) as error:
            if not fallback:
                raise
            try:
                bundled = load_artifact(BUNDLED)
            except ArtifactError:
                raise error from None  # nothing to fall back to: what went wrong first is what helps
            name = bundled.config.get("name") or BUNDLED.name
            notice = f"The bundled model ({name}) answers, because {where} could not be used: {error}"
            return cls(bundled, notice=notice, threads=threads)

    def _warm_up(self) -> None:
        """The first pass allocates, and no visitor should wait for it; it also shows that models and config agree."""
        blank = np.zeros((self.image_size, self.image_size), np.uint8)
        try:
            found = len(self._classify(self._prepare(Scan(blank, blank))).logits)
            if found == len(self.classes):
                self.analyze(Scan(blank, blank))
        except Exception as error:  # whatever ONNX Runtime or NumPy make of a graph of other dimensions
            reason = str(error).strip().splitlines()[-1]
            raise ArtifactError(
                f"{self.artifact.folder}: the models do not fit their config.json ({reason}); train them again."
            ) from None
        if found != len(self.classes):
            raise ArtifactError(
                f"{self.artifact.folder}: the classifier answers for {found} classes, but config.json names "
                f"{len(self.classes)}."
            )

    def _check(self) -> None:
        where = self.artifact.folder
        name = self.config["preprocessing"].get("name")
        if name != PREPROCESSING:
            raise ArtifactError(
                f"{where} was trained with the preprocessing {name!r}; this program has {PREPROCESSING!r}. "
                "Use the matching version of the program or train the model again."
            )

    def _prepare_guard(self) -> dict[str, Any] | None:
        stored = self.config.get("guard")
        try:
            return guard.prepare_guard(stored) if stored else None
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{self.artifact.folder}: the guard in config.json cannot be used ({error}).") from None

    def analyze(self, scan: Scan) -> Analysis:
        """Everything about one scan. The other heatmaps and the K-means mask are worked out on demand."""
        if self._beside is None:
            return self._alone(scan)
        started = time.perf_counter()
        prepared = self._prepare(scan)
        mask = self._beside.submit(self._segment, prepared)
        return self._assemble(prepared, self._classify(prepared), mask.result(), started)

    def analyze_batch(self, scans: Sequence[Scan]) -> list[Analysis]:
        """As `analyze` for each scan, in order; faster than one call after the other."""
        with ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(self._alone, scans))

    def _alone(self, scan: Scan) -> Analysis:
        """`analyze` within the calling thread."""
        started = time.perf_counter()
        prepared = self._prepare(scan)
        seen = self._classify(prepared)
        return self._assemble(prepared, seen, self._segment(prepared, seen), started)

    def outline(self, scan: Scan) -> Outline:
        """Class probabilities and mask only, as `analyze` gives them, with both models in the calling thread.

        A picture that is no brain MRI gets no mask.
        """
        prepared = self._prepare(scan)
        seen = self._classify(prepared)
        small = self._segment(prepared, seen)
        foreign = seen.score > 1.0
        values = self._probabilities(seen, small)
        nothing = foreign or likeliest(values) == NO_TUMOR
        mask = np.zeros(scan.image.shape, bool) if nothing else self._mask(prepared, small)[1]
        return Outline(values, foreign, seen.stripped, mask)

    def _prepare(self, scan: Scan) -> _Prepared:
        square, frame, head = preprocess_with_head(scan.image, self.image_size)
        return _Prepared(scan, square, frame, head, square[None, ..., None].astype(np.float32))

    def _classify(self, prepared: _Prepared) -> _Seen:
        found = self._classifier(prepared.image)
        score, stripped = math.nan, False
        if self._guard:
            scan = prepared.scan
            described = guard_descriptors.descriptors(scan.image, scan.color, prepared.head, prepared.square)
            score = guard.guard_score(self._guard, described, found["features"][0])
            stripped = score <= 1 and guard.looks_stripped(self._guard, described, found["features"][0])
        mask = found["mask"][0, ..., 0] if "mask" in found else None
        return _Seen(found["logits"][0], found["heatmaps"][0], score, stripped, mask)

    def _segment(self, prepared: _Prepared, seen: _Seen | None = None) -> np.ndarray:
        """float32 (S, S): tumor probability in the model's square."""
        if seen is not None and seen.mask is not None:
            return seen.mask
        if self._segmenter:
            return self._segmenter(prepared.image)["mask"][0, ..., 0]
        return segmentation.kmeans_mask(prepared.square, head_mask).astype(np.float32)

    def _probabilities(self, seen: _Seen, small: np.ndarray) -> dict[str, float]:
        values = class_probabilities(self.config, seen.logits[None], mask_evidence(small[None]))[0]
        return dict(zip(self.classes, values.tolist(), strict=True))

    def _mask(self, prepared: _Prepared, small: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """(probability, mask whatever the class, share of a speck), the arrays (H, W)."""
        probability = restore(small, prepared.frame)
        # min_fraction was chosen on the model's square, which may be smaller or larger than the picture.
        share = self.min_fraction * prepared.frame.side**2 / max(1, probability.size)
        return probability, segmentation.postprocess(probability, self.mask_threshold, share), share

    def _assemble(self, prepared: _Prepared, seen: _Seen, small: np.ndarray, started: float) -> Analysis:
        scan, head = prepared.scan, prepared.head
        values = self._probabilities(seen, small)
        label = likeliest(values)
        foreign = seen.score > 1.0
        probability, seen_alone, share = self._mask(prepared, small)
        mask = seen_alone if label != NO_TUMOR else np.zeros_like(seen_alone)  # see answers.answered
        heatmaps = Heatmaps(self.classes, seen.heatmaps, prepared.frame, head)
        measures = segmentation.measure(mask, head, scan.spacing)
        agreement = segmentation.agreement(heatmaps[label], mask)
        tumor = 1.0 - values.get(NO_TUMOR, 0.0) >= self.tumor_threshold
        reason = self._reason(values, label, foreign, seen.stripped)
        unsaid = int(np.count_nonzero(seen_alone)) if label == NO_TUMOR else 0
        warnings = [*scan.warnings, *warnings_of(scan, label, reason, foreign, measures, agreement, unsaid)]
        return Analysis(
            name=scan.name,
            image=scan.image,
            spacing=scan.spacing,
            probabilities=values,
            logits=seen.logits,
            label=label,
            confidence=values[label],
            abstained=bool(reason),
            reason=reason,
            tumor=tumor,
            mask=mask,
            mask_probability=probability,
            head=head,
            heatmaps=heatmaps,
            measures=measures,
            heat_agreement=agreement,
            not_brain_mri=foreign,
            guard_score=seen.score,
            skull_stripped=seen.stripped,
            warnings=warnings,
            model_id=self.model_id,
            revision=self.revision,
            seconds=time.perf_counter() - started,
            speck_share=share,
        )

    def _reason(self, values: dict[str, float], label: str, foreign: bool, stripped: bool) -> str:
        """Why there is no answer, or "" when there is one."""
        if foreign:
            return "The picture does not look like a brain MRI slice, so no class is named."
        if stripped:
            return f"Not sure: {NO_SKULL}. Its most likely answer: {title(label)}."
        if values[label] >= self.abstain_below:
            return ""
        second = sorted(values, key=lambda name: -values[name])[1]
        return (
            f"Not sure: {title(label)} is the most likely answer at {values[label]:.0%}, followed by "
            f"{title(second)} at {values[second]:.0%}; below {self.abstain_below:.0%} the model does not commit itself."
        )


def likeliest(values: Mapping[str, float]) -> str:
    """The class with the highest probability."""
    return max(values, key=lambda name: values[name])


def fingerprint(artifact: Artifact) -> str:
    """12 hexadecimal digits that change with the served models or their configuration."""
    digest = hashlib.sha256()
    for name in serving_files(artifact.config)[1:]:
        digest.update(artifact.config["files"][name]["sha256"].encode())
    for key in ("classes", "temperature", "bias", "stacking", "thresholds", "guard"):
        digest.update(repr(artifact.config.get(key)).encode())
    return digest.hexdigest()[:12]
