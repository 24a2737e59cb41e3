"""Class folders of any names become a model, its figures and its page: two, three without a normal one, seventeen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import model_def
import train
from brain_mri.artifact.config import ArtifactError
from brain_mri.artifact.folder import BUNDLED, load_artifact
from brain_mri.classes import CLASSES, NO_TUMOR
from brain_mri.data import phantom
from brain_mri.evaluation.records import read_metrics
from brain_mri.imaging.read import read_scan
from brain_mri.inference.batch import analyze_files
from brain_mri.inference.jobs import named
from brain_mri.inference.predictor import Predictor
from brain_mri.training import run
from brain_mri.ui import views
from brain_mri.ui.analyze_tab import welcome
from brain_mri.ui.batch_tab import rows_table
from brain_mri.ui.page import build_interface

pytestmark = pytest.mark.slow
SEQUENCES = ("T1", "T1C+", "T2")
SMALL = ["--size", "64", "--epochs", "1", "--batch-size", "8", "--verbose", "0", "--precision", "float32"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom.write_dataset(tmp_path_factory.mktemp("drawn"), per_class=36, seed=5, size=96)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAIN_MRI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def arranged(drawn: Path, root: Path, folder_of: Callable[[str, int], str]) -> Path:
    """The class folders of `drawn` under other names: folder_of(class, number of the picture), "" leaves it out."""
    for label in CLASSES:
        for i, path in enumerate(sorted(p for p in drawn.glob(f"T*/{label}/*") if p.is_file())):
            if name := folder_of(label, i):
                (root / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, root / name / f"{label}-{i}{path.suffix}")
    return root


def trained(root: Path, out: Path, *more: str) -> Path:
    assert train.main(["--data", str(root), "--out", str(out), *SMALL, *more]) == 0
    return out


def page_of(out: Path, picture: Path) -> str:
    """All that the Analyze and Batch tabs say of a picture."""
    predictor = Predictor.load(out)
    view = views.analyze_scan(predictor, read_scan(picture), str(picture))
    build_interface(predictor).close()
    rows = list(analyze_files(predictor, named([picture])))
    parts = [views.finding(view), views.bars_panel(view), views.facts(view, views.settings_of(view))]
    return "".join([*parts, welcome(predictor.classes), rows_table(rows, predictor.classes)])


def test_yes_and_no(drawn: Path, tmp_path: Path) -> None:
    root = arranged(drawn, tmp_path / "d", lambda label, _: "no" if label == NO_TUMOR else "yes")
    out = trained(root, tmp_path / "run", "--masks", str(drawn / "segmentation"), "--width", "6")
    config, metrics = load_artifact(out).config, read_metrics(out / "metrics.json")
    assert config.classes == ("notumor", "tumor") and config.no_tumor_class == NO_TUMOR
    assert config.class_titles == {"notumor": "No tumor", "tumor": "Tumor"}
    assert config.classifier.arguments["classes"] == 2
    scores = metrics.classification
    assert scores and scores.binary and scores.binary.roc_auc.value is not None
    assert metrics.segmentation and metrics.segmentation.count, "every outlined kind is a tumor"
    assert "Tumor or not: ROC-AUC" in (out / "report.html").read_text(encoding="utf-8")
    text = page_of(out, next((root / "yes").iterdir()))
    assert "Any tumor" in text and "probability of a tumor" in text and ">Tumor<" in text


def test_three_without_a_normal_one(drawn: Path, tmp_path: Path) -> None:
    names = {"glioma": "1", "meningioma": "2", "pituitary": "3"}
    root = arranged(drawn, tmp_path / "d", lambda label, _: names.get(label, ""))
    out = trained(root, tmp_path / "run", "--classifier", "gap_cnn")
    config, metrics = load_artifact(out).config, read_metrics(out / "metrics.json")
    assert config.classes == ("1", "2", "3") and config.no_tumor_class == ""
    assert metrics.classification and metrics.classification.binary is None
    picture = next((root / "2").iterdir())
    answer = Predictor.load(out).analyze(read_scan(picture))
    assert answer.tumor is None and answer.tumor_probability is None and "never whether" in " ".join(answer.warnings)
    text = page_of(out, picture)
    assert "the model knows no answer without one" in text and "never whether there is a tumor" in text

    (root / "classes.csv").write_text("folder,class\n1,glioma\n2,meningioma\n3,pituitary\n")
    again = trained(root, tmp_path / "named", "--classifier", "gap_cnn", "--brief")
    assert load_artifact(again).config.classes == ("glioma", "meningioma", "pituitary")


def test_seventeen(drawn: Path, tmp_path: Path) -> None:
    kinds = {
        "glioma": ("Astrocitoma", "Glioblastoma"),
        "meningioma": ("Meningioma", "Schwannoma"),
        "pituitary": ("Germinoma",),
    }

    def folder(label: str, i: int) -> str:
        kind = kinds.get(label, ("_NORMAL",))
        return f"{kind[i % len(kind)]} {SEQUENCES[i // len(kind) % 3]}"

    root = arranged(drawn, tmp_path / "d", folder)
    extra = arranged(drawn, tmp_path / "d", lambda label, i: "Papiloma T1" if label == "pituitary" and i < 6 else "")
    out = trained(extra, tmp_path / "run", "--masks", str(drawn / "segmentation"), "--width", "6")
    config = load_artifact(out).config
    assert len(config.classes) == 17 and {"notumor", "Meningioma T1C+", "Schwannoma T2"} <= {*config.classes}
    metrics = read_metrics(out / "metrics.json")
    assert metrics.classification and len(metrics.classification.confusion) == 17
    text = page_of(out, next((root / "Schwannoma T2").iterdir()))
    assert text.count('class="track"') == 17 and 'class="bars many"' in text and "one of 16 kinds" in text
    assert (out / "figures" / "confusion.png").is_file() and "Schwannoma T2" in (out / "README.md").read_text()


@pytest.mark.parametrize("classes", [("notumor", "tumor"), ("a", "b", "c", "d"), tuple("abcdefghijklmnopq")])
def test_the_bundled_network_is_where_other_classes_start(classes: tuple[str, ...]) -> None:
    sizes = {} if len(classes) == 4 else {"classes": len(classes)}
    model = model_def.build("guided", 160, encoder="efficientnet_lite0", **sizes)
    whole = model_def.build("guided", 160, encoder="efficientnet_lite0")
    before = [weight.numpy() for weight in model.get_layer("head").weights]
    run.start_from(BUNDLED, "guided", model, classes)
    run.start_from(BUNDLED, "guided", whole, CLASSES)
    for one, other in zip(before, model.get_layer("head").weights, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    below = [[w for layer in net.layers if layer.name != "head" for w in layer.weights] for net in (model, whole)]
    for one, other in zip(*below, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    narrow = model_def.build("guided", 160, encoder="efficientnet_lite0", width=8, **sizes)
    with pytest.raises(ArtifactError, match="another --width"):
        run.start_from(BUNDLED, "guided", narrow, classes)
