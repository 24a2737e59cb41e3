"""What the models are fed: the rows of a split as arrays and as augmented batches."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from brain_mri.classes import CLASSES
from brain_mri.data.dataset import Dataset, labels_of
from brain_mri.training.augment import batches
from brain_mri.training.config import FitOptions


@dataclass(frozen=True)
class TrainingSet:
    """What the models are fed: slices, masks, labels, whether the mask is known, and which rows are copies."""

    images: np.ndarray  # uint8 (N, S, S)
    masks: np.ndarray  # uint8 (N, S, S)
    labels: np.ndarray  # int (N,)
    has_mask: np.ndarray  # bool (N,)
    units: np.ndarray  # int (N,), equal for copies of one slice

    @classmethod
    def of(cls, dataset: Dataset, split: str) -> TrainingSet:
        rows = dataset.rows(split)
        table = dataset.table.iloc[rows]
        units = np.unique(table["cluster"].to_numpy(str), return_inverse=True)[1]
        masked = table["has_mask"].to_numpy(bool)
        return cls(dataset.images[rows], dataset.masks[rows], labels_of(dataset.table)[rows], masked, units)

    def where(self, chosen: np.ndarray) -> TrainingSet:
        """The rows where chosen, bool (N,), is set."""
        return TrainingSet(**{name: values[chosen] for name, values in vars(self).items()})

    def one_of_each(self) -> TrainingSet:
        """One row of every unit of copies, with a known mask where there is one: enough to choose an epoch by."""
        masked_first = np.argsort(~self.has_mask, kind="stable")
        return self.where(np.sort(masked_first[np.unique(self.units[masked_first], return_index=True)[1]]))

    def class_weights(self) -> np.ndarray:
        """float32 (N,): each class weighs the same in an epoch, an unknown class (-1) nothing; about 1 in the mean."""
        known = self.labels >= 0
        share = 1.0 / np.bincount(self.units)[self.units]  # of its unit: one copy is shown an epoch
        totals = np.bincount(self.labels[known], share[known], minlength=len(CLASSES))
        each = np.divide(totals.sum() / max(1, np.count_nonzero(totals)), totals, out=np.zeros(4), where=totals > 0)
        return np.where(known, each[self.labels], 0.0).astype(np.float32)

    @property
    def outlines_tumors(self) -> bool:
        """Is there a slice whose tumor is outlined?"""
        return bool((self.has_mask & (self.masks.max((1, 2)) > 127)).any())

    def feed(self, model: keras.Model, options: FitOptions, training: bool) -> tf.Dataset:
        return batches(
            self.images,
            self.masks,
            self.labels,
            {"logits": self.class_weights(), "mask": self.has_mask.astype(np.float32)},
            tuple(model.output),
            batch_size=options.batch_size,
            units=self.units,
            seed=options.seed,
            training=training,
            strength=options.strength,
            transplants=options.transplants,
            covered=options.erased,
            folded=options.folded,
        )
