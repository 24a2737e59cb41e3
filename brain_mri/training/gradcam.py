"""Grad-CAM (Selvaraju et al. 2017) on logits, and its form that can be exported.

Eq. 1: the weight of feature map k for class c is the mean over the map of d logit_c / d A_k.
Eq. 2: the heatmap is ReLU(sum_k weight_ck A_k).

Because every classifier of model_def.py ends in a "head" of pooling or flatten and dense layers, the gradient is a
few matrix products. Written with ordinary operations it becomes part of the ONNX graph: one forward pass gives the
logits and a heatmap for every class. (A GradientTape cannot be exported: tf2onnx knows no ReluGrad.)
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

Tensor = Any


class GradCAM(layers.Layer):
    """Features A (N, h, w, K) -> raw heatmaps (N, h, w, C), >= 0, not normalised.

    `head` maps A to logits through GlobalAveragePooling2D or Flatten, then Dense (linear or ReLU), ReLU, Dropout.
    Raises TypeError for any other layer.
    """

    def __init__(self, head: keras.Sequential, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.head = head

    def call(self, maps: Tensor) -> Tensor:
        maps = ops.cast(maps, "float32")
        _, height, width, channels = maps.shape
        steps, x = [], maps  # forward, keeping what the backward pass needs: (layer, its output)
        for layer in self.head.layers:
            if isinstance(layer, layers.Dropout | layers.InputLayer):
                continue
            x = ops.cast(layer(x), "float32")
            steps.append((layer, x))

        # d logits / d the head's units: (1, C, C), then (N or 1, C, units); of a binary task see model_def.BothSides
        gradient = ops.eye(x.shape[-1])[None] if x.shape[-1] > 1 else ops.array([[[-0.5], [0.5]]])
        for layer, output in reversed(steps):
            if isinstance(layer, layers.Dense):
                if layer.activation is keras.activations.relu:
                    gradient = gradient * ops.cast(output > 0, "float32")[:, None, :]
                elif layer.activation is not keras.activations.linear:
                    raise TypeError(f"Grad-CAM knows linear and ReLU dense layers, not {layer.activation}.")
                gradient = ops.matmul(gradient, ops.transpose(ops.cast(layer.kernel, "float32")))
            elif isinstance(layer, layers.GlobalAveragePooling2D):
                weights = gradient / (height * width)
            elif isinstance(layer, layers.Flatten):
                shape = (-1, gradient.shape[1], height * width, channels)
                weights = ops.mean(ops.reshape(gradient, shape), axis=2)
            else:
                raise TypeError(f"Grad-CAM does not know the head layer {type(layer).__name__}.")
        flat = ops.reshape(maps, (-1, height * width, channels))
        heat = ops.relu(ops.matmul(flat, ops.transpose(weights, (0, 2, 1))))
        return ops.reshape(heat, (-1, height, width, heat.shape[-1]))


def with_heatmaps(model: keras.Model) -> keras.Model:
    """image -> {"logits" (N, C), "heatmaps" (N, h, w, C), "features" (N, F)}; shares the weights of `model`."""
    heatmaps = GradCAM(model.get_layer("head"), name="gradcam")(model.get_layer("cam").output)
    return keras.Model(
        model.input,
        {"logits": model.output["logits"], "heatmaps": heatmaps, "features": model.side_features},
    )
