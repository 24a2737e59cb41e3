"""Load an artifact once and analyse scans with it. ONNX Runtime only: TensorFlow is never imported.

    p = Predictor.load("weights")                 # a folder, "user/name" or "user/name@revision"
    a = p.analyze(read_scan("slice.jpg"))
    a.probabilities, a.label, a.mask, a.heatmap, a.warnings

A Predictor holds no state of a user and may be shared by threads. The same picture gives the same answer to the
bit; in a batch the same label and mask, and probabilities within 1e-5.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import guard
import segmentation
from analysis import Analysis, Heatmaps, title, warnings_of
from artifact import Artifact, ArtifactError, load_artifact, serving_files
from scan import NO_TUMOR, PREPROCESSING, Frame, Scan, head_mask, preprocess, restore

__all__ = ["BUNDLED", "Analysis", "Predictor", "cores", "softmax", "title"]

BUNDLED = Path(__file__).resolve().parent / "weights"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class _Output:
    """Raw model outputs for one picture."""

    logits: np.ndarray  # float32 (C,)
    heatmaps: np.ndarray  # float32 (h, w, C)
    features: np.ndarray  # float32 (F,)
    mask: np.ndarray  # float32 (S, S)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """float64 (..., C) that sums to 1 along the last axis, for logits of any float type."""
    scaled = np.asarray(logits, np.float64) / temperature
    shifted = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


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
        thresholds = self.config["thresholds"]
        self.mask_threshold = float(thresholds.get("mask", 0.5))
        self.min_fraction = float(thresholds.get("min_fraction", 0.0))
        self.abstain_below = float(thresholds.get("abstain", 0.0))
        self.tumor_threshold = float(thresholds.get("tumor", 0.5))
        self.temperature = float(self.config["temperature"])
        self._check()
        self._guard = self._prepare_guard()
        threads = threads or cores()
        self._classifier = _session(artifact.folder / "classifier.onnx", threads, ("logits", "heatmaps", "features"))
        self._segmenter = None  # K-means outlines
        if "segmenter.onnx" in serving_files(self.config):
            self._segmenter = _session(artifact.folder / "segmenter.onnx", threads, ("mask",))
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
        import hub  # only here: a local model needs no Hub library

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
        except (hub.HubError, ArtifactError) as error:
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
            found = len(self._forward(blank[None])[0].logits)
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
        started = time.perf_counter()
        prepared, frame = preprocess(scan.image, self.image_size)
        output = self._forward(prepared[None])[0]
        return self._assemble(scan, prepared, frame, output, started)

    def analyze_batch(self, scans: Sequence[Scan], *, batch_size: int = 16) -> list[Analysis]:
        """As `analyze` for each scan, in order; faster than one call after the other."""
        results: list[Analysis] = []
        with ThreadPoolExecutor(cores()) as pool:
            for first in range(0, len(scans), batch_size):
                part = scans[first : first + batch_size]
                started = time.perf_counter()
                squares = list(pool.map(lambda s: preprocess(s.image, self.image_size), part))
                outputs = self._forward(np.stack([prepared for prepared, _ in squares]))
                jobs = [(s, *square, output, started) for s, square, output in zip(part, squares, outputs, strict=True)]
                results += pool.map(lambda job: self._assemble(*job), jobs)
        return results

    def _forward(self, prepared: np.ndarray) -> list[_Output]:
        """prepared: uint8 (N, S, S)."""
        image = prepared[..., None].astype(np.float32)
        logits, heatmaps, features = self._classifier({"image": image})
        if self._segmenter:
            mask = self._segmenter({"image": image})[0][..., 0]
        else:
            mask = np.stack([segmentation.kmeans_mask(square) for square in prepared]).astype(np.float32)
        return [_Output(*row) for row in zip(logits, heatmaps, features, mask, strict=True)]

    def _assemble(self, scan: Scan, prepared: np.ndarray, frame: Frame, output: _Output, started: float) -> Analysis:
        probabilities = softmax(output.logits, self.temperature)
        values = dict(zip(self.classes, probabilities.tolist(), strict=True))
        label = max(values, key=lambda name: values[name])
        head = head_mask(scan.image)
        score = math.nan
        if self._guard:
            described = guard.descriptors(scan.image, scan.color, head, prepared)
            score = guard.guard_score(self._guard, described, output.features)
        foreign = score > 1.0
        probability = restore(output.mask, frame)
        # min_fraction was chosen on the model's square, which may be smaller or larger than the picture.
        share = self.min_fraction * frame.side**2 / max(1, probability.size)
        mask = segmentation.postprocess(probability, self.mask_threshold, share)
        heatmaps = Heatmaps(self.classes, output.heatmaps, frame, head)
        measures = segmentation.measure(mask, head, scan.spacing)
        agreement = segmentation.agreement(heatmaps[label], mask)
        tumor = 1.0 - values.get(NO_TUMOR, 0.0) >= self.tumor_threshold
        reason = self._reason(values, label, foreign)
        warnings = [*scan.warnings, *warnings_of(scan, label, reason, foreign, measures, agreement)]
        return Analysis(
            name=scan.name,
            image=scan.image,
            spacing=scan.spacing,
            probabilities=values,
            logits=output.logits,
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
            guard_score=score,
            warnings=warnings,
            model_id=self.model_id,
            revision=self.revision,
            seconds=time.perf_counter() - started,
            speck_share=share,
        )

    def _reason(self, values: dict[str, float], label: str, foreign: bool) -> str:
        """Why there is no answer, or "" when there is one."""
        if foreign:
            return "The picture does not look like a brain MRI slice, so no class is named."
        if values[label] >= self.abstain_below:
            return ""
        second = sorted(values, key=lambda name: -values[name])[1]
        return (
            f"Not sure: {title(label)} is the most likely answer at {values[label]:.0%}, followed by "
            f"{title(second)} at {values[second]:.0%}; below {self.abstain_below:.0%} the model does not commit itself."
        )


def fingerprint(artifact: Artifact) -> str:
    """12 hexadecimal digits that change with the served models or their configuration."""
    digest = hashlib.sha256()
    for name in serving_files(artifact.config)[1:]:
        digest.update(artifact.config["files"][name]["sha256"].encode())
    for key in ("classes", "temperature", "thresholds", "guard"):
        digest.update(repr(artifact.config.get(key)).encode())
    return digest.hexdigest()[:12]


def _session(path: Path, threads: int, names: tuple[str, ...]) -> Callable[[dict[str, Any]], list[Any]]:
    """An ONNX Runtime session as a function of its inputs. Raises ArtifactError for a graph without these outputs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Spinning threads of one session would hold the cores that the other session needs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own family of exceptions, none of them public
        raise ArtifactError(f"{path} is no ONNX model that this program can run ({error}).") from None
    missing = set(names) - {output.name for output in session.get_outputs()}
    if missing or [i.name for i in session.get_inputs()] != ["image"]:
        raise ArtifactError(f"{path} lacks the input `image` or the outputs {', '.join(names)}; train it again.")
    return lambda feed: session.run(list(names), feed)
