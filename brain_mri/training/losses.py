"""The losses, by name. Pure Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any


def cross_entropy(smoothing: float = 0.05) -> keras.losses.Loss:
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)


@keras.saving.register_keras_serializable("brain_mri")
class BceDice(keras.losses.Loss):
    """Binary cross-entropy plus soft Dice (Milletari et al. 2016), one value per image so that sample weights work.

    An image without tumor is left to the cross-entropy, with a weak region term: a full Dice term there says that one
    false pixel is as bad as a missed lesion, and the net learned to keep silent on a fifth of the lesions.
    y_true (N, S, S, 1) in 0..1, y_pred logits of the same shape.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        bce_weight: float = 1.0,
        silence: float = 0.3,
        name: str = "bce_dice",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.dice_weight, self.bce_weight, self.silence = dice_weight, bce_weight, silence

    def region_term(self, y_true: Tensor, probability: Tensor) -> Tensor:
        overlap = ops.sum(y_true * probability, axis=(1, 2, 3))
        total = ops.sum(y_true, axis=(1, 2, 3)) + ops.sum(probability, axis=(1, 2, 3))
        return 1 - (2 * overlap + 1) / (total + 1)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        bce = ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=True), axis=(1, 2, 3))
        probability = ops.sigmoid(y_pred)
        false_area = ops.mean(probability, axis=(1, 2, 3))
        region = ops.where(
            ops.max(y_true, axis=(1, 2, 3)) > 0.5,
            self.region_term(y_true, probability),
            self.silence * false_area / (false_area + 0.01),
        )
        return self.bce_weight * bce + self.dice_weight * region

    def get_config(self) -> dict[str, Any]:
        weights = {"dice_weight": self.dice_weight, "bce_weight": self.bce_weight, "silence": self.silence}
        return {**super().get_config(), **weights}


@keras.saving.register_keras_serializable("brain_mri")
class FocalTversky(BceDice):
    """Focal Tversky loss (Abraham & Khan 2019) plus BCE: misses cost more than false alarms."""

    def region_term(self, y_true: Tensor, probability: Tensor) -> Tensor:
        hit = ops.sum(y_true * probability, axis=(1, 2, 3))
        missed = ops.sum(y_true * (1 - probability), axis=(1, 2, 3))
        false = ops.sum((1 - y_true) * probability, axis=(1, 2, 3))
        return ops.power(1 - (hit + 1) / (hit + 0.7 * missed + 0.3 * false + 1), 0.75)


MASK_LOSSES: dict[str, Callable[..., keras.losses.Loss]] = {"bce_dice": BceDice, "focal_tversky": FocalTversky}
