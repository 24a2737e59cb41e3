"""What the models are fed: the rows of a split as arrays and as augmented batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from brain_mri.classes import CLASSES, absent_of
from brain_mri.data.dataset import Dataset
from brain_mri.training.augment import change_intensity, exchange_lesions
from brain_mri.training.config import FitOptions
from brain_mri.training.degrade import degraded
from brain_mri.training.fit import SOMEWHERE
from brain_mri.training.midline_folds import Folds
from brain_mri.training.warp import warp

Tensor = Any
VAGUE = 0.3  # weight, while kinds are learned, of a tumor that is not, or not only, to teach its kind
ALONE = 0.3  # how much of its kind a tumor teaches whose source and sequence show one kind only


@dataclass(frozen=True)
class TrainingSet:
    """What the models are fed: slices, masks, labels, whether the mask is known, and which rows are copies."""

    images: np.ndarray  # uint8 (N, S, S)
    masks: np.ndarray  # uint8 (N, S, S)
    labels: np.ndarray  # int (N,)
    has_mask: np.ndarray  # bool (N,)
    units: np.ndarray  # int (N,), equal for copies of one slice
    tumor: np.ndarray  # bool (N,): surely shows a tumor, whatever its kind
    domains: np.ndarray  # int (N,), equal for slices of one source and sequence
    classes: tuple[str, ...] = CLASSES  # what labels count in

    @classmethod
    def of(cls, dataset: Dataset, split: str) -> TrainingSet:
        rows = dataset.rows(split)
        table = dataset.table.iloc[rows]
        units = np.unique(table["cluster"].to_numpy(str), return_inverse=True)[1]
        masked, tumor = table["has_mask"].to_numpy(bool), table["tumor"].to_numpy(bool)
        domains = np.unique((table["origin"] + "/" + table["sequence"]).to_numpy(str), return_inverse=True)[1]
        images, masks, labels = dataset.images[rows], dataset.masks[rows], dataset.labels[rows]
        return cls(images, masks, labels, masked, units, tumor, domains, dataset.classes)

    @property
    def absent(self) -> int:
        return absent_of(self.classes)

    def where(self, chosen: np.ndarray) -> TrainingSet:
        """The rows where chosen, bool (N,), is set."""
        arrays = {name: values[chosen] for name, values in vars(self).items() if isinstance(values, np.ndarray)}
        return replace(self, **arrays)

    def one_of_each(self) -> TrainingSet:
        """One row of every unit of copies, with a known mask where there is one: enough to choose an epoch by."""
        masked_first = np.argsort(~self.has_mask, kind="stable")
        return self.where(np.sort(masked_first[np.unique(self.units[masked_first], return_index=True)[1]]))

    def kinds_present(self) -> np.ndarray:
        """bool (N,): can the slice teach its kind of tumor? Not where its source and sequence show one kind only: it
        could teach to tell the source, not the kind (of FLAIR there are gliomas alone). Everywhere, if it is so in all.
        """
        kind = (self.labels >= 0) & (self.labels != self.absent)
        cells = np.zeros((self.domains.max() + 1, len(self.classes)), bool)
        cells[self.domains[kind], self.labels[kind]] = True
        several = cells.sum(axis=1) > 1
        return kind & (several[self.domains] | ~several.any())

    def class_targets(self) -> np.ndarray:
        """float32 (N, C): what the class layers shall say; zeros where not even tumor or none is known.

        A tumor whose kind nobody knows, or none of ours, is each kind alike: so the network learns that it is one, and
        to be unsure of what it has no class for (outlier exposure: Hendrycks et al. 2019).
        """
        known, sure = self.labels >= 0, self.kinds_present() | (self.labels == self.absent)
        exact = np.eye(len(self.classes))[np.maximum(self.labels, 0)]
        kinds = np.arange(len(self.classes)) != self.absent
        vague = kinds / np.count_nonzero(kinds)
        share = np.where(sure, 1.0, np.where(known, ALONE, 0.0))[:, None]
        targets = share * exact + (1 - share) * vague
        return np.where((known | self.tumor)[:, None], targets, 0.0).astype(np.float32)

    def class_weights(self) -> np.ndarray:
        """float32 (N,) beside class_targets: each class weighs the same in an epoch, about 1 in the mean.

        Kinds of tumor weigh the same within each source and sequence, too.
        """
        share = 1.0 / np.bincount(self.units)[self.units]  # of its unit: one copy is shown an epoch
        kind = self.kinds_present()
        sure = kind | (self.labels == self.absent)
        cells = np.zeros((self.domains.max() + 1, len(self.classes)))
        np.add.at(cells, (self.domains[kind], self.labels[kind]), share[kind])
        present = np.maximum(np.count_nonzero(cells, axis=1), 1)
        each = np.divide((cells.sum(axis=1) / present)[:, None], cells, out=np.zeros_like(cells), where=cells > 0)
        weights = np.where(kind, each[self.domains, self.labels], 1.0)
        totals = np.bincount(self.labels[sure], (share * weights)[sure], minlength=len(self.classes))
        even = np.divide(
            totals.sum() / max(1, np.count_nonzero(totals)), totals, out=np.zeros(len(totals)), where=totals > 0
        )
        vague = VAGUE * ((self.labels >= 0) | self.tumor)
        return np.where(sure, weights * even[self.labels], vague).astype(np.float32)

    def mask_weights(self) -> np.ndarray:
        """float32 (N,): what a slice weighs while masks are learned, 0 where nothing is known of it.

        A slice whose tumor is outlined weighs 1. Those without a tumor weigh no more than these together, and so do
        those whose tumor nobody outlined: of 14 outlines among 450 other slices a network learned to outline nothing.
        """
        share = 1.0 / np.bincount(self.units)[self.units]  # of its unit: one copy is shown an epoch
        outlined = self.has_mask & (self.masks.max((1, 2)) > 127)
        weights = (self.has_mask | self.tumor).astype(np.float32)
        for others in (self.has_mask & ~outlined, self.tumor & ~self.has_mask):
            if outlined.any() and others.any():
                weights[others] = min(1.0, share[outlined].sum() / share[others].sum())
        return weights

    @property
    def outlines_tumors(self) -> bool:
        """Is there a slice whose tumor is outlined?"""
        return bool((self.has_mask & (self.masks.max((1, 2)) > 127)).any())

    def feed(
        self, outputs: Iterable[str], options: FitOptions, training: bool, class_weights: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """Batches (image, {output: target}, {output: weight}) for `keras.Model.fit`.

        outputs: any of "logits", "mask". A weight of 0 switches a row off for that output (nothing is known of it).
        training=True shuffles anew every epoch, shows one copy of each slice, drawn anew, and augments: one fused warp
        of each slice instead of a chain of Keras layers, which halved U-Net throughput on two cores, then augment.py;
        otherwise the order is kept and pixels are untouched.
        """
        outputs, size = list(outputs), self.images.shape[1]
        of_class = self.class_weights() if class_weights is None else class_weights
        healthy = of_class[self.labels == self.absent]
        healthy_weight = float(healthy.mean()) if healthy.size else 1.0
        exact = tf.one_hot(
            self.labels, len(self.classes)
        )  # whose lesions may be exchanged, for networks of masks alone
        all_labels, all_known = self.class_targets() if "logits" in outputs else exact, tf.constant(self.has_mask)
        all_weights = tf.constant(of_class, tf.float32)
        hinted, heard = tf.constant(self.tumor & ~self.has_mask), tf.constant(self.mask_weights())
        if self.absent < 0:  # what has lost its lesion could not be called anything
            options = replace(options, erased=0.0, folded=0.0)
        exchanged = options.transplants or options.erased or options.folded
        folded = training and options.folded
        heads = Folds.of(self.images, self.masks, self.has_mask, options.folded) if folded else None

        def read(rows: np.ndarray, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            chosen, none = (self.images[rows], self.masks[rows]), np.zeros(len(rows), bool)
            if not training:
                return *chosen, none
            folds, emptied = heads.draw(rows, int(draw)) if heads else (None, none)
            images, masks = warp(*chosen, options.strength, int(draw), folds)
            return degraded(images, options.strength, int(draw)), masks, emptied

        def gather(rows: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
            # The rows of the arrays themselves: as constants of the graph they would be in memory once more
            draw = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int64) if training else tf.constant(0, tf.int64)
            *found, emptied = tf.numpy_function(read, [rows, draw], [tf.uint8, tf.uint8, tf.bool])
            emptied = tf.ensure_shape(emptied, [None])
            x, mask = (tf.cast(tf.ensure_shape(part, [None, size, size])[..., None], tf.float32) for part in found)
            mask /= 255.0
            label, weight, known = (tf.gather(every, rows) for every in (all_labels, all_weights, all_known))
            if training:
                x /= 255.0
                if exchanged:
                    x, mask, label, weight = exchange_lesions(
                        x, mask, label, weight, known=known, emptied=emptied, healthy_weight=healthy_weight,
                        options=options, absent=self.absent,
                    )  # fmt: skip
                x = 255.0 * tf.ensure_shape(change_intensity(x, options.strength), [None, size, size, 1])
            hint = tf.gather(hinted, rows)
            mask = tf.where(hint[:, None, None, None], SOMEWHERE, mask)
            truths, weights = {"logits": label, "mask": mask}, {"logits": weight, "mask": tf.gather(heard, rows)}
            return x, {name: truths[name] for name in outputs}, {name: weights[name] for name in outputs}

        if training:
            rows = self._drawn_rows(options.batch_size, options.seed)
        else:
            rows = tf.data.Dataset.range(len(self.images)).batch(options.batch_size)
        return rows.map(gather, num_parallel_calls=2, deterministic=True).prefetch(4)

    def _drawn_rows(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Batches of rows, one of each unit in an epoch."""
        _, unit_of_row, copies = np.unique(self.units, return_inverse=True, return_counts=True)
        by_unit = tf.constant(np.argsort(unit_of_row, kind="stable"), tf.int64)
        first = tf.constant(np.cumsum(copies) - copies, tf.int64)
        count = tf.constant(copies, tf.int64)

        def draw(unit: Tensor) -> Tensor:
            place = tf.random.uniform(tf.shape(unit)) * tf.cast(tf.gather(count, unit), tf.float32)
            place = tf.minimum(tf.cast(place, tf.int64), tf.gather(count, unit) - 1)
            return tf.gather(by_unit, tf.gather(first, unit) + place)

        rows = tf.data.Dataset.range(len(copies)).shuffle(len(copies), seed=seed, reshuffle_each_iteration=True)
        # A last batch of another size is left out: oneDNN (TF 2.21, float32) corrupted memory on it, and crashed
        return rows.batch(batch_size, drop_remainder=len(copies) >= batch_size).map(draw, num_parallel_calls=1)
