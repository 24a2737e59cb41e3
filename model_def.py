"""Every architecture of the project, by name. Pure Keras 3: runs on the TensorFlow, JAX and torch backends.

    model = build("gap_cnn", size=128)        # image -> {"logits"}
    model = build("guided", size=160)         # image -> {"logits", "mask"}
    model = build("resunet", size=160)        # image -> {"mask"}

All models take float32 images (N, S, S, 1) with values 0..255 and scale them inside, so that training, evaluation
and serving cannot disagree. Outputs are logits; softmax and sigmoid live in the losses and in the exported graphs.

Every classifier ends in a `keras.Sequential` named "head" (pooling or flatten, then dense layers) that is fed by a
layer named "cam", the last convolutional features. That is what training/gradcam.py relies on. A layer named "features"
gives the vector (N, F) that the not-a-brain-MRI guard looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

Tensor = Any
CLASS_COUNT = 4  # where nobody says otherwise
SHARPNESS = 30.0  # of the soft maximum over a mask's probabilities
EVIDENCE = 4.0  # brings those probabilities to the scale of the features
# EfficientNet-Lite0: kernel, stride, expansion, filters, blocks; the last two stages (2.2 M weights, 1/32 of the input)
# are left out
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))


# -- building blocks ------------------------------------------------------------------------------------------------
@keras.saving.register_keras_serializable("brain_mri")
class BatchNormalization(layers.BatchNormalization):
    """keras.layers.BatchNormalization over the last axis of (N, H, W, C); named as it, so weight files fit both.

    Keras 3 writes it out as a dozen elementary operations, on two CPU cores a third of a training step; in TensorFlow's
    fused kernel a step takes 0.74 of the time (docs/speed.md). Other backends and inference go Keras' own way.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        fused = keras.backend.backend() == "tensorflow" and len(inputs.shape) == 4 and self.axis in (-1, 3)
        if not (fused and training and self.trainable and self.scale and self.center and mask is None):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # not there with another backend

        gamma, beta = (tf.cast(weight.value, tf.float32) for weight in (self.gamma, self.beta))
        found, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)[:3]
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count  # TensorFlow divides by one less; Keras does not
        for memory, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
            memory.assign(memory.value * self.momentum + seen * (1 - self.momentum))
        return found


def normalise(x: Tensor, name: str | None = None) -> Tensor:
    """Batch normalisation with a short memory.

    Keras' default momentum 0.99 lags hundreds of steps behind the weights; on a few thousand slices the validation
    curve then jumps between chance and good.
    """
    return BatchNormalization(momentum=0.9, name=name)(x)


def conv(x: Tensor, filters: int, kernel: int = 3, stride: int = 1) -> Tensor:
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(normalise(x))


def residual(x: Tensor, filters: int, stride: int = 1) -> Tensor:
    """Basic residual block (He et al. 2016)."""
    y = conv(x, filters, stride=stride)
    y = normalise(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
    if stride != 1 or x.shape[-1] != filters:
        x = normalise(layers.Conv2D(filters, 1, strides=stride, padding="same", use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))


def image_input(size: int) -> tuple[Tensor, Tensor]:
    image = keras.Input((size, size, 1), name="image")
    return image, layers.Rescaling(1 / 255.0, name="scale")(image)


def mask_logits(x: Tensor, size: int) -> Tensor:
    """(N, s, s, F) -> float32 mask logits (N, size, size, 1); float32 also under mixed precision."""
    rare = keras.initializers.Constant(-3.0)  # a few percent of the pixels are lesion; start there
    x = layers.Conv2D(1, 1, bias_initializer=rare, dtype="float32", name="mask_logits")(x)
    factor = size // x.shape[1]
    if factor > 1:
        return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name="mask")(x)
    return layers.Activation("linear", dtype="float32", name="mask")(x)


@keras.saving.register_keras_serializable("brain_mri")
class BothSides(layers.Layer):
    """The one logit z of a binary task (N, 1) -> (-z/2, z/2) (N, 2): softmax is its sigmoid, cross-entropy binary."""

    def call(self, inputs: Tensor) -> Tensor:
        return ops.concatenate([-inputs / 2, inputs / 2], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], 2)


def classifier_model(
    image: Tensor, cam: Tensor, head: list, classes: int, features: Tensor | None = None, **outputs
) -> keras.Model:
    """Join a body that ends in `cam` with a head, of one unit for two classes. `features`: default pooled cam."""
    cam = layers.Activation("linear", name="cam")(cam)
    if features is None:
        features = layers.GlobalAveragePooling2D()(cam)
    features = layers.Activation("linear", dtype="float32", name="features")(features)
    binary = classes == 2
    logits = keras.Sequential([*head, layers.Dense(1 if binary else classes, dtype="float32")], name="head")(cam)
    logits = BothSides(dtype="float32", name="both_sides")(logits) if binary else logits
    logits = layers.Activation("linear", dtype="float32", name="logits")(logits)
    model = keras.Model(image, {"logits": logits, **outputs})
    model.side_features = features  # not a training output; gradcam.with_heatmaps exports it
    return model


# -- classifiers ----------------------------------------------------------------------------------------------------
def gap_cnn(
    size: int, filters: Sequence[int] = (32, 64, 128, 256), dropout: float = 0.4, classes: int = CLASS_COUNT
) -> keras.Model:
    """The field's usual Colab CNN: (Conv, ReLU, BatchNorm, MaxPool) x 4, GAP, Dense, Dropout, softmax."""
    image, x = image_input(size)
    for index, width in enumerate(filters):
        x = normalise(layers.Conv2D(width, 3, padding="same", activation="relu")(x))
        if index < len(filters) - 1:
            x = layers.MaxPooling2D()(x)
    head = [layers.GlobalAveragePooling2D(), layers.Dense(128, activation="relu"), layers.Dropout(dropout)]
    return classifier_model(image, x, head, classes)


def flatten_cnn(
    size: int, filters: Sequence[int] = (32, 64), dropout: float = 0.5, classes: int = CLASS_COUNT
) -> keras.Model:
    """The tutorial CNN: (Conv, MaxPool) x 2, Flatten, Dense, Dropout, softmax."""
    image, x = image_input(size)
    for width in filters:
        x = layers.MaxPooling2D()(layers.Conv2D(width, 3, padding="same", activation="relu")(x))
    head = [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(dropout)]
    return classifier_model(image, x, head, classes)


def resnet(
    size: int, filters: Sequence[int] = (16, 32, 64, 128), dropout: float = 0.3, classes: int = CLASS_COUNT
) -> keras.Model:
    """A plain small ResNet, about 0.3 M to 0.7 M parameters."""
    image, x = image_input(size)
    x = conv(x, filters[0], stride=2)
    for index, width in enumerate(filters):
        x = residual(x, width, stride=1 if index == 0 else 2)
    return classifier_model(image, x, [layers.GlobalAveragePooling2D(), layers.Dropout(dropout)], classes)


def _rgb(x: Tensor) -> Tensor:
    return layers.Concatenate(name="rgb")([x, x, x])


def vgg16(size: int, weights: str | None = "imagenet", unfrozen: int = 3, classes: int = CLASS_COUNT) -> keras.Model:
    """VGG16 transfer (Simonyan & Zisserman 2015): last conv layers unfrozen, Flatten, Dropout, Dense 128, Dropout.

    `weights="imagenet"` needs the network; see `fetch_pretrained`. With weights=None nothing is frozen, because
    frozen random filters teach nothing.
    """
    image, x = image_input(size)
    # Caffe-style input: 0..255 minus the ImageNet mean; gray, so one mean for the three channels would do
    x = layers.Rescaling(255.0, offset=-113.9)(x)
    backbone = fetch_pretrained(keras.applications.VGG16, (size, size, 3), weights)
    pretrained = weights is not None and backbone.pretrained
    convolutions = [layer for layer in backbone.layers if isinstance(layer, layers.Conv2D)]
    for layer in convolutions[:-unfrozen] if pretrained else []:
        layer.trainable = False
    x = backbone(_rgb(x))
    head = [layers.Flatten(), layers.Dropout(0.3), layers.Dense(128, activation="relu"), layers.Dropout(0.2)]
    return classifier_model(image, x, head, classes)


def efficientnet(
    size: int, weights: str | None = "imagenet", dropout: float = 0.3, classes: int = CLASS_COUNT
) -> keras.Model:
    """EfficientNetB0 transfer (Tan & Le 2019), GAP, Dropout."""
    image, x = image_input(size)
    x = layers.Rescaling(255.0)(x)
    backbone = fetch_pretrained(keras.applications.EfficientNetB0, (size, size, 3), weights)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9
        elif isinstance(layer, layers.Normalization):  # as tensors its constants would become inputs of the ONNX graph
            layer.mean, layer.variance = ops.convert_to_numpy(layer.mean), ops.convert_to_numpy(layer.variance)
    x = backbone(_rgb(x))
    return classifier_model(image, x, [layers.GlobalAveragePooling2D(), layers.Dropout(dropout)], classes)


def fetch_pretrained(constructor: Callable, shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    """A keras.applications backbone; random weights, and one printed line, when ImageNet cannot be fetched."""
    pretrained = weights is not None
    try:
        backbone = constructor(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        reason = str(error)[:120]
        print(f"ImageNet weights could not be fetched ({reason}); training {constructor.__name__} from scratch.")
        backbone, pretrained = constructor(include_top=False, weights=None, input_shape=shape), False
    backbone.pretrained = pretrained
    return backbone


def guided(
    size: int,
    width: int = 24,
    dropout: float = 0.3,
    gate_gradient: bool = False,
    encoder: str = "resnet",
    classes: int = CLASS_COUNT,
) -> keras.Model:
    """The default: a U-Net whose mask decides where the classifier may look.

    The mask, taught by masks where there are any, gates the features that the linear head pools
    (attention gating: Schlemper et al. 2019; teaching attention with masks: Li et al. 2018). So the class is decided
    by tissue that the net itself calls lesion, the source of the picture is of little use, and Grad-CAM on the gated
    features points at that tissue. An empty mask leaves "no tumor", the surer the emptier it is.

    gate_gradient: let the class loss move the mask too. Only for training without masks: with masks it drowned their
    teaching (three epochs without a single outlined lesion, measured).
    encoder: one of ENCODERS; "efficientnet_lite0" starts from ImageNet after training/imagenet_weights.py.
    """
    image, x = image_input(size)
    levels = ENCODERS[encoder](x, width)
    bottom = levels[-1]
    context = layers.GlobalAveragePooling2D(name="context")(bottom)
    bottom = layers.Add()([bottom, layers.Dense(bottom.shape[-1])(context)[:, None, None, :]])
    eighth, quarter, half = decoder(bottom, levels)
    mask = mask_logits(half, size)

    deep = conv(layers.Concatenate()([eighth, layers.UpSampling2D()(bottom)]), 4 * width)
    seen = conv(layers.Concatenate()([quarter, layers.UpSampling2D()(deep)]), 5 * width, kernel=1)
    seen = layers.SpatialDropout2D(dropout)(seen)  # before the gate: the evidence channels are never dropped
    gated = LesionGate(gradient=gate_gradient, name="gate")([seen, mask])
    return classifier_model(image, gated, [layers.GlobalAveragePooling2D()], classes, features=context, mask=mask)


@keras.saving.register_keras_serializable("brain_mri")
class LesionGate(layers.Layer):
    """(features (N, h, w, F), mask logits (N, S, S, 1)) -> (N, h, w, F + 4), non-zero only where the mask is.

    The features are divided by the mean of the mask plus `floor`, so that a global average afterwards is the mean over
    the lesion, whatever its size, and fades to zero when there is none. The four further maps say how sure the mask
    is: averaged, they are its share of the picture, its highest probability, the root of that, which still tells a
    faint lesion from none, and the absence of a lesion. Without the first three every slice without a mask got the
    same confidence; without the last only the bias of the head, which learns slowly, could say "no tumor" for sure.
    """

    def __init__(self, floor: float = 0.003, gradient: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.floor, self.gradient = floor, gradient

    def call(self, inputs: list[Tensor]) -> Tensor:
        seen, mask = inputs
        gate = ops.sigmoid(ops.cast(mask if self.gradient else ops.stop_gradient(mask), "float32"))
        gate = ops.average_pool(gate, mask.shape[1] // seen.shape[1], padding="valid")
        places = gate.shape[1] * gate.shape[2]
        peak = places * ops.softmax(ops.reshape(SHARPNESS * gate, (-1, places)), axis=1)  # where the mask is surest
        peak = EVIDENCE * ops.reshape(peak, (-1, *gate.shape[1:]))
        root = ops.sqrt(gate + 1e-6)
        focus = gate / (ops.stop_gradient(ops.mean(gate, axis=(1, 2), keepdims=True)) + self.floor)
        evidence = [EVIDENCE * gate, peak * gate, peak * root, peak * (1 - gate)]
        return ops.concatenate([ops.cast(seen, "float32") * focus, *evidence], axis=-1)

    def compute_output_spec(self, inputs: list[Tensor]) -> Tensor:
        shape = inputs[0].shape
        return keras.KerasTensor((*shape[:-1], shape[-1] + 4), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "floor": self.floor, "gradient": self.gradient}


# -- segmenters -----------------------------------------------------------------------------------------------------
def widths(width: int) -> tuple[int, int, int, int]:
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the input."""
    return width, 2 * width, 4 * width, 20 * width // 3


def residual_encoder(x: Tensor, width: int) -> list[Tensor]:
    """Residual encoder: features at 1/2, 1/4, 1/8 and 1/16 of the input."""
    x = residual(conv(x, width, kernel=5, stride=2), width)
    levels = [x]
    for filters, blocks in zip(widths(width)[1:], (1, 2, 2), strict=True):
        for block in range(blocks):
            x = residual(x, filters, stride=2 if block == 0 else 1)
        levels.append(x)
    return levels


def lite_encoder(x: Tensor, width: int) -> list[Tensor]:
    """EfficientNet-Lite0 up to 1/16 of the input, its features brought to the widths of the residual encoder."""
    return [conv(x, filters, kernel=1) for x, filters in zip(lite_levels(x), widths(width), strict=True)]


def lite_levels(x: Tensor) -> list[Tensor]:
    """(N, S, S, 1) with values 0..1 -> 96, 144, 240 and 112 features at 1/2, 1/4, 1/8 and 1/16 of the input.

    EfficientNet (Tan & Le 2019) without squeeze-and-excitation and with ReLU6 (https://github.com/tensorflow/tpu,
    Apache 2.0). The first three are taken where a block has widened them and is about to halve the map.
    """

    def normalised(x: Tensor, name: str) -> Tensor:
        return layers.ReLU(6.0)(normalise(x, name))

    x = layers.Rescaling(255 / 128.0, offset=-127 / 128.0)(x)  # what the weights were trained with
    x = normalised(layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="lite_conv_stem")(x), "lite_bn0")
    found, number = [], 0
    for kernel, stride, expansion, filters, blocks in STAGES:
        for block in range(blocks):
            name, y = f"lite_blocks_{number}_", x
            halves = stride == 2 and block == 0
            if expansion > 1:
                y = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}expand_conv")(x)
                y = normalised(y, f"{name}bn0")
            if halves:
                found.append(y)
            depthwise = layers.DepthwiseConv2D(
                kernel, 2 if halves else 1, padding="same", use_bias=False, name=f"{name}depthwise_conv"
            )
            y = normalised(depthwise(y), f"{name}bn1")
            y = normalise(layers.Conv2D(filters, 1, use_bias=False, name=f"{name}project_conv")(y), f"{name}bn2")
            x = layers.Add()([x, y]) if y.shape == x.shape else y
            number += 1
    return [*found, x]


ENCODERS: dict[str, Callable[[Tensor, int], list[Tensor]]] = {
    "efficientnet_lite0": lite_encoder,
    "resnet": residual_encoder,
}


def decoder(x: Tensor, levels: list[Tensor]) -> list[Tensor]:
    """U-Net decoder (Ronneberger et al. 2015): features at 1/8, 1/4 and 1/2 of the input."""
    outputs = []
    for skip in reversed(levels[:-1]):
        filters = skip.shape[-1]
        x = layers.UpSampling2D()(layers.Conv2D(filters, 1, use_bias=False)(x))
        x = conv(conv(layers.Concatenate()([x, skip]), filters), filters)
        outputs.append(x)
    return outputs


def resunet(size: int, width: int = 24) -> keras.Model:
    """Residual U-Net with a stride-2 stem; the mask is predicted at half size and enlarged."""
    image, x = image_input(size)
    levels = residual_encoder(x, width)
    return keras.Model(image, {"mask": mask_logits(decoder(levels[-1], levels)[-1], size)})


def unet(size: int, filters: Sequence[int] = (16, 32, 64, 128, 256)) -> keras.Model:
    """The U-Net of the student notebooks (Ronneberger et al. 2015), full size, with batch normalisation."""
    image, x = image_input(size)
    skips = []
    for width in filters[:-1]:
        x = conv(conv(x, width), width)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = conv(conv(x, filters[-1]), filters[-1])
    for skip in reversed(skips):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = conv(conv(x, skip.shape[-1]), skip.shape[-1])
    return keras.Model(image, {"mask": mask_logits(x, size)})


# -- the registry ---------------------------------------------------------------------------------------------------
CLASSIFIERS: dict[str, Callable[..., keras.Model]] = {
    "guided": guided,
    "gap_cnn": gap_cnn,
    "flatten_cnn": flatten_cnn,
    "resnet": resnet,
    "vgg16": vgg16,
    "efficientnet": efficientnet,
}
SEGMENTERS: dict[str, Callable[..., keras.Model]] = {"resunet": resunet, "unet": unet}
# "shared" is the mask branch of a classifier that has one; "kmeans" needs no training (segmentation.kmeans_mask)
SEGMENTER_NAMES = ("shared", *SEGMENTERS, "kmeans")


def check_size(size: int) -> None:
    """Raises ValueError for a size that the architectures cannot halve four times."""
    if size % 16 or not 32 <= size <= 512:
        raise ValueError(f"The image size must be a multiple of 16 between 32 and 512, not {size}.")


def build(name: str, size: int, **arguments: Any) -> keras.Model:
    """A classifier or a segmenter. Raises ValueError for an unknown name or a size that is no multiple of 16."""
    known = {**CLASSIFIERS, **SEGMENTERS}
    if name not in known:
        raise ValueError(f"There is no architecture {name!r}; choose one of {', '.join(known)}.")
    check_size(size)
    model = known[name](size, **arguments)
    model.name = name
    return model
