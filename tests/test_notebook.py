"""colab_notebook.ipynb, run top to bottom as on Colab: a stub of google.colab, a Kaggle and a Hub on the loopback."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from brain_mri.cli import phantom
from brain_mri.data.labelling import Labelling
from tests.helpers import space_process
from tests.helpers.loopback_hub import LoopbackHub
from tests.helpers.loopback_kaggle import LoopbackKaggle

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytest_plugins = ("tests.helpers.loopback_hub", "tests.helpers.loopback_kaggle")  # fixtures `loopback` and `kaggle`
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "colab_notebook.ipynb"
BADGE = "https://colab.research.google.com/github/{}/blob/main/colab_notebook.ipynb"
FIELD = re.compile(r"^(\w+) = (.*?)  #@param (.*)$", re.M)
STUB = """
import os, types

class SecretNotFoundError(Exception): pass
class NotebookAccessError(Exception): pass
class TimeoutException(Exception): pass

def _get(name):
    if "COLAB_SECRET_" + name not in os.environ:
        raise SecretNotFoundError(name)
    return os.environ["COLAB_SECRET_" + name]

def _mount(path):
    print("Mounted at", path)

userdata = types.SimpleNamespace(
    get=_get, SecretNotFoundError=SecretNotFoundError, NotebookAccessError=NotebookAccessError,
    TimeoutException=TimeoutException,
)
drive = types.SimpleNamespace(mount=_mount)
"""


@pytest.fixture
def colab(tmp_path: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /content, the stub, and a repository to clone at tmp_path/origin; returns the folder to work in."""
    stub = tmp_path / "stub" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"))
    monkeypatch.setenv("COLAB_SECRET_HF_TOKEN", "hf_write")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("MPLBACKEND", "agg")
    origin = space_process.copy_program(tmp_path / "origin")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=origin, check=True)
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def filled(values: dict[str, Any]) -> Any:
    """The notebook with its form fields set, as a person would in the form."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    left = dict(values)

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        return f"{name} = {left.pop(name)!r}  #@param {match[3]}" if name in left else match[0]

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = FIELD.sub(fill, cell.source)
    assert not left, f"the notebook has no form fields {set(left)}"
    return notebook


def execute(notebook: Any, folder: Path, *, cells: int | None = None, then: str = "", timeout: int = 900) -> str:
    """Run (the first `cells` of) the notebook and `then`; returns all printed text."""
    if cells is not None:
        notebook.cells = notebook.cells[:cells]
    if then:
        notebook.cells.append(nbformat.v4.new_code_cell(then))
    client = nbclient.NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def pictures(notebook: Any, title: str) -> int:
    cell = next(cell for cell in notebook.cells if f"#@title {title}" in cell.source)
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_committed_without_outputs_and_thin() -> None:
    raw = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(raw)
    code = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    sources = ["".join(cell["source"]) for cell in code]
    assert all(source.startswith("#@title ") and len(source.splitlines()) <= 32 for source in sources)
    first = "".join(raw["cells"][0]["source"])
    badge = re.search(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/main/colab_notebook\.ipynb", first)
    repository = re.search(r'repository = "https://github\.com/([\w.-]+/[\w.-]+)"', sources[0])
    assert badge and repository and badge[1] == repository[1]
    choices = {name: re.findall(r'"([^"]+)"', kind) for source in sources for name, _, kind in FIELD.findall(source)}
    train = (ROOT / "model_def.py").read_text(encoding="utf-8") + (ROOT / "train.py").read_text(encoding="utf-8")
    for name in [*choices["classifier"], *choices["segmenter"]]:
        assert f'"{name}"' in train, f"train.py knows no {name}"


def test_colab_keeps_its_own_tensorflow() -> None:
    listed = (ROOT / "requirements-colab.txt").read_text().lower()
    lines = [line for line in listed.splitlines() if line and not line.startswith("#")]
    assert not [line for line in lines if re.match(r"(tensorflow|keras|numpy|protobuf|gradio|huggingface)", line)]
    assert any(line.startswith("onnx>") and "<1.20" in line for line in lines)


def test_the_address_of_a_copy_is_written_everywhere_by_one_line(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"`(sed -i[^`]*OWNER/NAME[^`]*)`", readme)
    assert command
    for name in (NOTEBOOK.name, "README.md"):
        shutil.copy2(ROOT / name, tmp_path)
    subprocess.run(["bash", "-euc", command[1].replace("OWNER/NAME", "ada/brain.mri")], cwd=tmp_path, check=True)
    assert f"]({BADGE.format('ada/brain.mri')})" in (tmp_path / "README.md").read_text(encoding="utf-8")
    before, after = (folder.joinpath(NOTEBOOK.name).read_text().splitlines() for folder in (ROOT, tmp_path))
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 2 and BADGE.format("ada/brain.mri") in changed[0]
    assert json.loads(changed[1].rstrip(",")).startswith('repository = "https://github.com/ada/brain.mri"  #@param')


@pytest.mark.slow
def test_a_wrong_address_is_said_before_anything_else_fails(colab: Path, tmp_path: Path) -> None:
    (colab / "brain-mri-demo").mkdir()  # left by a clone of something else
    notebook = filled({"repository": f"file://{tmp_path / 'nowhere'}"})
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="put the address of your copy"):
        execute(notebook, colab, cells=2)


def publish(kaggle: LoopbackKaggle, folder: Path, per_class: int) -> None:
    """Drawn slices under the names that the notebook asks for, in the shape of the real ones: no table of patients."""
    phantom.main([str(folder), "--per-class", str(per_class), "--size", "96"])
    shutil.move(folder / "segmentation", folder.with_name("pairs"))
    (folder.with_name("pairs") / "patients.csv").unlink()
    (folder / "groups.csv").unlink()
    kaggle.publish("masoudnickparvar/brain-tumor-mri-dataset", folder)
    kaggle.publish("nikhilroxtomar/brain-tumor-segmentation", folder.with_name("pairs"))


def test_wrong_paths_and_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(path: Path) -> dict[str, Any]:
        notebook = filled({"data": str(path), "masks": ""})
        source = next(cell.source for cell in notebook.cells if "#@title 3." in cell.source)
        variables: dict[str, Any] = {"Path": Path, "shutil": shutil}
        exec(source, variables)
        return variables

    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"There is no .*slices\.zip"):
        run(tmp_path / "slices.zip")
    (tmp_path / "made" / "glioma").mkdir(parents=True)
    (tmp_path / "made" / "glioma" / "1.png").write_text("1")
    shutil.make_archive("slices", "zip", "made")
    for _ in range(2):
        folder = Path(run(tmp_path / "slices.zip")["data_folder"])
        assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["glioma", "glioma/1.png"]
    assert run(tmp_path / "made")["data_folder"] == str(tmp_path / "made")
    (tmp_path / "made" / "glioma" / "2.png").write_text("2")
    shutil.make_archive("slices", "zip", "made")  # replaced on Drive by one of the same name
    assert Path(run(tmp_path / "slices.zip")["data_folder"], "glioma", "2.png").is_file()
    (tmp_path / "page.zip").write_text("<html>please sign in</html>")
    with pytest.raises(SystemExit, match=r"page\.zip is no zip or tar file"):
        run(tmp_path / "page.zip")


def test_what_was_outlined_by_hand_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is no public one; outlines join the masks that there are, and without any nothing changes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    phantom.main(["made", "--per-class", "3", "--size", "64", "--no-masks"])
    launched: list[dict[str, Any]] = []
    calls: list[list[str]] = []

    def trained(argv: list[str]) -> int:
        calls.append(argv)
        return 0

    monkeypatch.setattr(gr.Blocks, "launch", lambda self, *args, **options: launched.append(options))
    monkeypatch.setitem(sys.modules, "train", types.SimpleNamespace(main=trained))

    def run(number: str, variables: dict[str, Any], **values: Any) -> dict[str, Any]:
        notebook = filled(values)
        exec(next(cell.source for cell in notebook.cells if f"#@title {number}." in cell.source), variables)
        return variables

    for by_hand, masks, folder in ((False, "", ""), (True, "", ""), (True, "more", ""), (True, "", "elsewhere")):
        variables: dict[str, Any] = {"Path": Path, "data_folder": "made", "masks_folder": masks}
        run("4b", variables, outline_by_hand=by_hand, keep_outlines_in=folder)
        if by_hand:
            work = Labelling("made", folder or None)
            work.save(work.items[0], np.ones(work.scan(work.items[0]).shape, bool))
        run("5", variables)
        expected = ["--masks", *filter(None, [masks, folder or "made-outlines"])] if by_hand else []
        assert calls[-1][2 : 2 + len(expected)] == expected and calls[-1][2 + len(expected)] == "--epochs"
    assert [options["share"] for options in launched] == [False] * 3


@pytest.mark.slow
def test_top_to_bottom(colab: Path, loopback: LoopbackHub, kaggle: LoopbackKaggle, tmp_path: Path) -> None:
    """The two data sets of the form, fetched by the real client; trained, published, served."""
    publish(kaggle, tmp_path / "made", 16)
    notebook = filled(
        {
            "repository": f"file://{tmp_path / 'origin'}",
            "epochs": 1,
            "image_size": 64,
            "model_repository": "me/model",
            "example_slices": 2,
            "licence_of_the_slices": "CC0, drawn",
            "space": "me/space",
            "public_link": False,
        }
    )
    printed = execute(notebook, colab, then="print('url', interface.local_url, 'end')")
    assert "url http://127.0.0.1:" in printed and "DRAWN" not in printed
    assert len(kaggle.requests("GET /archive/")) == 2
    assert pictures(notebook, "4.") >= 1 and pictures(notebook, "6.") >= 3
    model = loopback.repo("me/model")
    assert {"config.json", "classifier.onnx", "README.md", "metrics.json"} <= set(model.files) and model.tags
    assert {"examples/glioma_1.png", "examples/meningioma_1.png", "examples/LICENSE.txt"} <= set(model.files)
    space = loopback.repo("me/space", "space")
    assert "app.py" in space.files and space.variables == {"BRAIN_MRI_MODEL": "me/model"}


@pytest.mark.slow
def test_without_a_network_slices_are_drawn(colab: Path, kaggle: LoopbackKaggle, tmp_path: Path) -> None:
    """It says so; the road of the real data is that of test_top_to_bottom."""
    kaggle.stop()
    offline = filled({"repository": f"file://{tmp_path / 'origin'}", "synthetic_slices_per_class": 4})
    printed = execute(upto_audit(offline), colab)
    assert "Kaggle cannot be reached for masoudnickparvar/brain-tumor-mri-dataset: no network" in printed
    assert "DRAWN SLICES TAKE ITS PLACE" in printed and "Classes: phantoms   Masks: phantoms/segmentation" in printed
    assert pictures(offline, "4.") >= 1


def upto_audit(notebook: Any) -> Any:
    """The same notebook without its end, and without the import of TensorFlow."""
    notebook.cells = [cell for cell in notebook.cells if "#@title 2." not in cell.source]
    end = 1 + next(i for i, cell in enumerate(notebook.cells) if "#@title 4." in cell.source)
    notebook.cells = notebook.cells[:end]
    return notebook


@pytest.mark.slow
def test_data_from_drive(colab: Path, tmp_path: Path) -> None:
    """A zip on Drive, Training and Testing folders, no masks; without the secret the push cell says what to do."""
    phantom.main([str(tmp_path / "made"), "--per-class", "4", "--size", "96", "--no-masks"])
    shutil.make_archive(str(tmp_path / "drive" / "slices"), "zip", tmp_path / "made")
    notebook = filled(
        {
            "repository": f"file://{tmp_path / 'origin'}",
            "data": str(tmp_path / "drive" / "slices.zip"),
            "masks": "",
        }
    )
    for cell in notebook.cells:
        cell.source = cell.source.replace('"/content/drive"', f'"{tmp_path / "drive"}"')  # where this Drive is
    printed = execute(upto_audit(notebook), colab)
    assert f"Mounted at {tmp_path / 'drive'}" in printed and "Masks: none" in printed
    assert pictures(notebook, "4.") >= 1
