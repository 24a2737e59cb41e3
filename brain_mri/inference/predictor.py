"""Load an artifact once and analyse scans with it. ONNX Runtime only: TensorFlow is never imported.

    p = Predictor.load("weights")                 # a folder, "user/name" or "user/name@revision"
    a = p.analyze(read_scan("slice.jpg"))
    a.probabilities, a.label, a.mask, a.heatmap, a.warnings

A Predictor holds no state of a user and may be shared by threads. The same picture gives the same answer to the
bit, alone and among many: the networks always see one picture at a time. A batch would save nothing on a CPU, where one
thread per picture keeps the cores busier than one picture spread over them.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import segmentation
from brain_mri.artifact.config import ArtifactError, plain
from brain_mri.artifact.folder import BUNDLED, Artifact, load_artifact
from brain_mri.classes import CANNOT_TELL, NO_TUMOR, title
from brain_mri.imaging.preprocessing import PREPROCESSING, Frame, Prepared, prepare, restore
from brain_mri.imaging.scan import Scan
from brain_mri.inference.analysis import (
    KIND_UNSURE,
    NO_SKULL,
    Analysis,
    Heatmaps,
    any_tumor,
    warnings_of,
)
from brain_mri.inference.decision import calibrated_by, class_probabilities, decided, mask_evidence, outlined
from brain_mri.inference.guard import Guard
from brain_mri.inference.guard_descriptors import descriptors
from brain_mri.inference.onnx_model import cores
from brain_mri.inference.quality import INVERTED, SENTENCES, faults, looks_inverted
from brain_mri.inference.runner import Networks, Outputs
from brain_mri.inference.sequence import Shown, doubts_of_kind, named, shown_by
from brain_mri.inference.trial import try_out

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, eq=False)
class Outline:
    """The part of an Analysis that a slice of a volume needs."""

    probabilities: dict[str, float]
    not_brain_mri: bool
    skull_stripped: bool
    quality: tuple[str, ...]  # why the slice cannot be judged, see quality.SENTENCES
    shown: Shown
    mask: np.ndarray  # bool (H, W); empty where there is no brain


@dataclass(frozen=True, eq=False)
class _Seen:
    """A scan, and what the networks and the guard say of it."""

    scan: Scan
    frame: Frame
    head: np.ndarray  # bool (H, W)
    outputs: Outputs  # of one image
    values: np.ndarray  # float64 (1, C), probabilities
    probabilities: dict[str, float]  # the same, by class
    score: float  # of the guard: above 1 it is no brain MRI; nan without a guard
    stripped: bool  # a brain without its skull
    shown: Shown
    quality: tuple[str, ...]  # why the picture cannot be judged, see quality.SENTENCES

    @property
    def foreign(self) -> bool:
        return self.score > 1.0

    @property
    def unreadable(self) -> bool:
        """Whatever is outlined in it is no tumor."""
        return self.foreign or INVERTED in self.quality


class Predictor:
    """The networks of one artifact, ready to answer."""

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
        self.config = config = artifact.config
        self.classes = artifact.classes
        self.image_size = artifact.image_size
        self.model_id = model_id or config.name or artifact.folder.resolve().name
        self.revision = revision or fingerprint(artifact)
        self.notice = notice  # a sentence for the page when another model answers than the one asked for
        self.mask_threshold = float(config.thresholds.mask)
        self.abstain_below = float(config.thresholds.abstain)
        self.tumor_threshold = float(config.thresholds.tumor)
        self.temperature = float(config.temperature)
        self.calibration = calibrated_by(config)
        self._check_preprocessing()
        self._guard = self._read_guard()
        threads = threads or cores()
        two = not config.segmenter.shared  # else the classifier gives the mask, too
        # Two networks side by side on half of the cores each take less time than one after the other on all of them,
        # and where there is one, what describes the picture fits into the gaps that its threads leave.
        self._beside = ThreadPoolExecutor(threads, "beside") if threads > 1 else None
        each = max(1, threads // 2) if two else threads
        self._networks = Networks(artifact.folder, each, segmenter=config.segmenter.is_network)
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
        Raises ArtifactError or HubError, each with one sentence.
        """
        folder = Path(where)
        if not folder.is_dir() and str(where) == BUNDLED.name:
            folder = BUNDLED  # "weights" means the bundled model from any working directory
        if folder.is_dir() or not HUB_ID.fullmatch(str(where)):
            return cls(_tried(load_artifact(folder)), threads=threads)
        from brain_mri.artifact import hub, hub_client  # only here: a local model needs no Hub library

        try:
            patience = None if fallback else 600.0  # a command waits for a slow download, a page does not
            pulled = hub.pull(str(where), token=token, cache_dir=cache_dir, timeout=timeout, patience=patience)
            return cls(
                _tried(load_artifact(pulled.folder)),
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
            name = bundled.config.name or BUNDLED.name
            notice = f"The bundled model ({name}) answers, because {where} could not be used: {error}"
            return cls(bundled, notice=notice, threads=threads)

    def _warm_up(self) -> None:
        """The first pass allocates, and no visitor should wait for it; it also shows that networks and config agree."""
        blank = np.zeros((self.image_size, self.image_size), np.uint8)
        try:
            outputs = self._networks(blank[None])
            found = outputs.logits.shape[-1]
            if self.config.sequence:
                named(self.config.sequence, outputs.features)
            if found == len(self.classes):
                self.analyze(Scan(blank, blank))
        except Exception as error:  # whatever ONNX Runtime or NumPy make of a graph of other dimensions
            reason = plain(error)
            raise ArtifactError(
                f"{self.artifact.folder}: the models do not fit their config.json ({reason}); train them again."
            ) from None
        if found != len(self.classes):
            raise ArtifactError(
                f"{self.artifact.folder}: the classifier answers for {found} classes, but config.json names "
                f"{len(self.classes)}."
            )

    def _check_preprocessing(self) -> None:
        name = self.config.preprocessing.name
        if name != PREPROCESSING:
            raise ArtifactError(
                f"{self.artifact.folder} was trained with the preprocessing {name!r}; this program has "
                f"{PREPROCESSING!r}. Use the matching version of the program or train the model again."
            )

    def _read_guard(self) -> Guard | None:
        stored = self.config.guard
        try:
            return Guard.read(stored) if stored else None
        except (TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(
                f"{self.artifact.folder}: the guard in config.json cannot be used ({plain(error)})."
            ) from None

    def analyze(self, scan: Scan) -> Analysis:
        """Everything about one scan. The other heatmaps and the K-means mask are worked out on demand."""
        return self._analyze(scan, self._beside)

    def analyze_batch(self, scans: Sequence[Scan]) -> list[Analysis]:
        """As `analyze` for each scan, in order; faster than one call after the other."""
        with ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(self._analyze, scans))

    def outline(self, scan: Scan) -> Outline:
        """Class probabilities and mask only, as `analyze` gives them, with all networks in the calling thread.

        A picture that is no brain MRI, or a negative, gets no mask.
        """
        seen = self._see(scan)
        if seen.unreadable or not outlined(self.config, seen.values)[0]:
            mask = np.zeros(scan.image.shape, bool)
        else:
            mask = self._mask(seen)[1]
        return Outline(seen.probabilities, seen.foreign, seen.stripped, seen.quality, seen.shown, mask)

    def _see(self, scan: Scan, beside: Executor | None = None) -> _Seen:
        prepared, rule = prepare(scan.image, self.image_size), self.config.quality

        def looked_at() -> tuple[np.ndarray | None, tuple[str, ...]]:
            return self._described(scan.image, scan.color, prepared), faults(rule, prepared) if rule else ()

        looking = beside.submit(looked_at) if beside else None
        outputs = self._networks(prepared.square[None], beside)
        described, quality = looking.result() if looking else looked_at()
        score, stripped = self._guarded(described, outputs)
        if rule and self._guard and looks_inverted(scan.image, prepared):
            negative = cv2.bitwise_not(scan.image)
            as_meant = prepare(negative, self.image_size)
            described = self._described(negative, scan.color, as_meant)
            true, _ = self._guarded(described, self._networks(as_meant.square[None], beside))
            if true <= 1:
                score, stripped, quality = true, False, (INVERTED,)
        unlike = score > 1 or stripped or bool(quality)  # anything that the network has learned from
        shown = shown_by(self.config.sequence, scan.sequence, None if unlike else outputs.features)
        evidence, away = mask_evidence(outputs.mask_probability), np.array([shown.away])
        values = class_probabilities(self.config, outputs.logits, evidence, away)
        chances = dict(zip(self.classes, values[0].tolist(), strict=True))
        return _Seen(scan, prepared.frame, prepared.head, outputs, values, chances, score, stripped, shown, quality)

    def _described(self, image: np.ndarray, color: float, prepared: Prepared) -> np.ndarray | None:
        """What the guard judges, None without one."""
        return descriptors(image, color, prepared, stretched=self._guard.stretched) if self._guard else None

    def _guarded(self, described: np.ndarray | None, outputs: Outputs) -> tuple[float, bool]:
        """(score of the guard, is it a brain without its skull?); nan without a guard."""
        if self._guard is None or described is None:
            return math.nan, False
        features = outputs.features[0]
        score = self._guard.score(described, features)
        return score, score <= 1 and self._guard.looks_stripped(described, features)

    def _mask(self, seen: _Seen) -> tuple[np.ndarray, np.ndarray, float]:
        """(probability, mask whatever the class, share of a speck), the arrays (H, W)."""
        probability = restore(seen.outputs.mask_probability[0], seen.frame)
        # min_fraction was chosen on the model's square, which may be smaller or larger than the picture.
        share = self.config.thresholds.min_fraction * seen.frame.side**2 / max(1, probability.size)
        return probability, segmentation.postprocess(probability, self.mask_threshold, share), share

    def _analyze(self, scan: Scan, beside: Executor | None = None) -> Analysis:
        started = time.perf_counter()
        seen = self._see(scan, beside)
        values, head = seen.probabilities, seen.head
        label = self.classes[int(decided(self.config, seen.values)[0])]
        probability, whatever, share = self._mask(seen)
        marked = outlined(self.config, seen.values)[0] and INVERTED not in seen.quality
        mask = whatever if marked else np.zeros_like(whatever)
        heatmaps = Heatmaps(self.classes, seen.outputs.heatmaps[0], seen.frame, head)
        measures = segmentation.measure(mask, head, scan.spacing)
        agreement = segmentation.agreement(heatmaps[label], mask)
        reason = self._reason(seen, label)
        unsaid = int(np.count_nonzero(whatever)) if label == NO_TUMOR else 0
        kind_unsure = reason.startswith(KIND_UNSURE)
        warnings = [*scan.warnings, *warnings_of(scan, label, reason, seen.foreign, measures, agreement, unsaid)]
        tumor = any_tumor(values)
        if tumor is None and not seen.foreign:
            warnings.append(CANNOT_TELL)
        if label != NO_TUMOR and (kind_unsure or not reason):
            warnings += doubts_of_kind(self.config.sequence, seen.shown)
        return Analysis(
            name=scan.name,
            image=scan.image,
            spacing=scan.spacing,
            probabilities=values,
            logits=seen.outputs.logits[0],
            label=label,
            confidence=values[label],
            abstained=bool(reason),
            reason=reason,
            kind_unsure=kind_unsure,
            tumor=None if tumor is None else tumor >= self.tumor_threshold,
            mask=mask,
            mask_probability=probability,
            head=head,
            heatmaps=heatmaps,
            measures=measures,
            heat_agreement=agreement,
            not_brain_mri=seen.foreign,
            guard_score=seen.score,
            skull_stripped=seen.stripped,
            sequence=seen.shown.sequence,
            sequence_from=seen.shown.source,
            warnings=warnings,
            model_id=self.model_id,
            revision=self.revision,
            seconds=time.perf_counter() - started,
            speck_share=share,
            quality=() if seen.foreign else seen.quality,
        )

    def _reason(self, seen: _Seen, label: str) -> str:
        """Why there is no answer, or "" when there is one."""
        values = seen.probabilities
        if seen.foreign:
            return "The picture does not look like a brain MRI slice, so no class is named."
        if seen.stripped:
            return f"Not sure: {NO_SKULL}. Its most likely answer: {title(label)}."
        if INVERTED in seen.quality:
            return f"Not sure: {SENTENCES[INVERTED]}."
        if seen.quality:
            return f"Not sure: {SENTENCES[seen.quality[0]]}. Its most likely answer: {title(label)}."
        if values[label] >= self.abstain_below:
            return ""
        tumor = 1.0 - values.get(NO_TUMOR, 0.0)
        if self.config.outlined and label != NO_TUMOR and tumor >= self.abstain_below and len(values) > 2:
            second = max((name for name in values if name not in (label, NO_TUMOR)), key=lambda name: values[name])
            return (
                f"{KIND_UNSURE} ({min(tumor, 0.99):.0%} for a tumor): {title(label)} is the likeliest kind at "
                f"{values[label]:.0%}, followed by {title(second)} at {values[second]:.0%}."
            )
        second = max((name for name in values if name != label), key=lambda name: values[name])
        if second == NO_TUMOR and values[second] > values[label]:  # each kind of tumor alone is less likely than none
            return (
                f"Not sure: a tumor at {tumor:.0%}, {title(label)} the likeliest kind at {values[label]:.0%}; no tumor "
                f"at {values[second]:.0%}; below {self.abstain_below:.0%} the model does not commit itself."
            )
        return (
            f"Not sure: {title(label)} is the most likely answer at {values[label]:.0%}, followed by "
            f"{title(second)} at {values[second]:.0%}; below {self.abstain_below:.0%} the model does not commit itself."
        )


def _tried(artifact: Artifact) -> Artifact:
    """Raises ArtifactError for one that cannot be used. What came with the program needs no trial."""
    if artifact.folder.resolve() != BUNDLED:
        try_out(artifact)
    return artifact


def likeliest(values: Mapping[str, float]) -> str:
    """The class with the highest probability."""
    return max(values, key=lambda name: values[name])


def fingerprint(artifact: Artifact) -> str:
    """12 hexadecimal digits that change with the served models or their configuration."""
    digest, config = hashlib.sha256(), artifact.config
    for name in config.onnx_files:
        digest.update(config.files[name].sha256.encode())
    stored = config.to_json()
    for key in (
        "classes",
        "temperature",
        "bias",
        "stacking",
        "outlined",
        "elsewhere",
        "thresholds",
        "guard",
        "sequence",
        "quality",
    ):
        if key in stored or key not in (
            "outlined",
            "elsewhere",
            "sequence",
            "quality",
        ):  # artifacts without it keep their name
            digest.update(repr(stored.get(key)).encode())
    return digest.hexdigest()[:12]
