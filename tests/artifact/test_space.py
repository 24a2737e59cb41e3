"""The Space: which files it gets, how it is configured, and that it starts with nothing but them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from brain_mri.artifact import hub_client, hub_push
from brain_mri.artifact import space as deploy
from brain_mri.artifact.examples import put_examples
from brain_mri.artifact.folder import load_artifact
from brain_mri.cli import hub
from tests.helpers import space_process
from tests.helpers.handmade import write_handmade
from tests.helpers.loopback_hub import LoopbackHub, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]
OWNERS = {"brain_mri.ui.label_tab", "brain_mri.data.labelling"}  # app.py --label: a Space has no class folders


def imports(path: Path) -> set[str]:
    """Dotted names that a Python file imports, at the top or inside functions; also "package.name" of `from`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def local_file(name: str) -> Path | None:
    """Of a module of this project."""
    path = ROOT.joinpath(*name.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


def needed(*entries: str) -> tuple[set[str], set[str]]:
    """(files of this project, other top-level packages) that these modules import, directly or not."""
    files, foreign, waiting = set(), set(), [*entries]
    while waiting:
        name = waiting.pop()
        path = local_file(name)
        if path is None:
            if local_file(name.split(".")[0]) is None:
                foreign.add(name.split(".")[0])
            continue
        if (place := path.relative_to(ROOT).as_posix()) not in files:
            files.add(place)
            parents = name.split(".")[:-1]
            waiting += [*(imports(path) - OWNERS), *(".".join(parents[:i]) for i in range(1, len(parents) + 1))]
    return files, foreign - set(sys.stdlib_module_names)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small program in the shape of this one."""
    root = tmp_path / "program"
    texts = {
        "app.py": "import gradio\nfrom brain_mri.ui import page\n",
        "segmentation.py": "import numpy as np\n",
        "train.py": "import tensorflow\n",
        "model_def.py": "import keras\n",
        "brain_mri/__init__.py": "",
        "brain_mri/classes.py": "",
        "brain_mri/ui/page.py": "one = 1\n",
        "brain_mri/ui/assets/style.css": "body {}",
        "brain_mri/imaging/two.py": "",
        "brain_mri/training/fit.py": "import tensorflow\n",
        "brain_mri/data/dataset.py": "import pandas\n",
        "brain_mri/evaluation/masks.py": "import pandas\n",
        "brain_mri/evaluation/records.py": "",
        "brain_mri/cli/hub.py": "",
        "assets/examples/glioma.png": "picture",
        "tests/test_one.py": "",
        "README.md": "# A program\n",
        "requirements.txt": "tensorflow\n",
        "requirements-space.txt": "numpy\n",
    } | {
        f"weights/{name}": name
        for name in ("config.json", "classifier.onnx", "segmenter.onnx", "classifier.weights.h5", "README.md")
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def header_of(loopback: LoopbackHub) -> dict[str, Any]:
    text = loopback.repo("me/space", "space").files["README.md"].content.decode()
    return yaml.safe_load(text.split("---\n")[1])


def test_only_what_the_app_needs(tree: Path) -> None:
    (tree / "brain_mri/ui/__pycache__").mkdir()
    (tree / "brain_mri/ui/__pycache__/page.cpython-312.pyc").write_bytes(b"made on start")
    assert list(deploy.space_files(tree)) == [
        "app.py",
        "assets/examples/glioma.png",
        "brain_mri/__init__.py",
        "brain_mri/classes.py",
        "brain_mri/evaluation/records.py",
        "brain_mri/imaging/two.py",
        "brain_mri/ui/assets/style.css",
        "brain_mri/ui/page.py",
        "requirements.txt",
        "segmentation.py",
        "weights/README.md",
        "weights/classifier.onnx",
        "weights/config.json",
        "weights/segmenter.onnx",
    ]
    assert deploy.space_files(tree)["requirements.txt"].read_text() == "numpy\n"
    (tree / "app.py").unlink()
    with pytest.raises(hub_client.HubError, match=r"holds no app\.py"):
        deploy.space_files(tree)


def test_create_update_and_no_op(loopback: LoopbackHub, tree: Path, tmp_path: Path) -> None:
    model = hub_push.push(write_model(tmp_path / "model"), "me/model")
    done = deploy.deploy("me/space", model="me/model", root=tree)
    space = loopback.repo("me/space", "space")
    assert done.changed and done.notes == () and done.revision == space.branches["main"]
    assert space.history == ["initial commit", "Deploy me/model"]
    assert set(space.files) == {".gitattributes", *done.files} and {"README.md", "app.py"} <= set(done.files)
    assert space.variables == {"BRAIN_MRI_MODEL": "me/model"} and space.hardware == "cpu-basic"
    header = header_of(loopback)
    assert header["sdk"] == "gradio" and header["app_file"] == "app.py" and header["models"] == ["me/model"]
    assert header["sdk_version"] == "6.31.0"
    assert header["python_version"] in ("3.10.13", "3.12.12")  # what ZeroGPU has
    assert header["preload_from_hub"] == [f"me/model config.json,classifier.onnx,segmenter.onnx {model.revision}"]
    assert len(header["short_description"]) <= 60
    again = deploy.deploy("space", root=tree)  # the model is remembered by the Space
    assert not again.changed and again.revision == done.revision and len(space.commits) == 2
    (tree / "brain_mri/ui/page.py").unlink()
    (tree / "brain_mri/imaging/two.py").unlink()
    loopback.edit("me/space", {"mine.txt": b"a person's"}, "space")
    assert deploy.deploy("me/space", root=tree).changed
    assert not {"brain_mri/ui/page.py", "brain_mri/imaging/two.py"} & set(space.files)
    assert {"mine.txt", "brain_mri/ui/assets/style.css"} <= set(space.files)


def test_what_a_person_wrote_into_the_readme_stays(loopback: LoopbackHub, tree: Path) -> None:
    loopback.create("me/space", "space")
    hubs_own = "---\ntitle: X\nsdk: gradio\nsdk_version: 4.0\n---\n\nCheck out the configuration reference at ..."
    loopback.edit("me/space", {"README.md": hubs_own.encode()}, "space")
    deploy.deploy("me/space", root=tree)
    assert header_of(loopback)["title"] == "brain-mri-demo"
    text = "---\ntitle: Our lab\nemoji: 🔬\nhf_oauth: true\nsdk_version: 4.0.0\nmodels: [old/one]\n---\nWelcome!\n"
    loopback.edit("me/space", {"README.md": text.encode()}, "space")
    deploy.deploy("me/space", root=tree)
    header = header_of(loopback)
    assert (header["title"], header["emoji"], header["hf_oauth"]) == ("Our lab", "🔬", True)
    assert header["sdk_version"] != "4.0.0" and "models" not in header
    assert loopback.repo("me/space", "space").files["README.md"].content.decode().endswith("---\nWelcome!\n")


def test_free_accounts_get_zero_gpu(loopback: LoopbackHub, tree: Path) -> None:
    loopback.account("me", token="hf_write", plan="free")
    with pytest.raises(hub_client.HubError, match="plan does not allow"):
        deploy.deploy("me/space", hardware="cpu-basic", root=tree)
    deploy.deploy("me/space", root=tree)
    assert loopback.repo("me/space", "space").hardware == "zero-a10g"
    assert not deploy.deploy("me/space", root=tree).changed


def test_hardware_is_changed_on_request(loopback: LoopbackHub, tree: Path) -> None:
    deploy.deploy("me/space", root=tree)
    deploy.deploy("me/space", hardware="zero-a10g", root=tree)
    assert loopback.repo("me/space", "space").hardware == "zero-a10g"


def test_models_that_a_space_cannot_serve(loopback: LoopbackHub, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(hub_client.HubError, match="There is no model me/none"):
        deploy.deploy("me/space", model="me/none", root=tree)
    assert "app.py" not in loopback.repo("me/space", "space").files
    hub_push.push(write_model(tmp_path / "model"), "me/secret", private=True)
    done = deploy.deploy("me/space", model="me/secret", root=tree)
    assert len(done.notes) == 1 and "secret HF_TOKEN" in done.notes[0]
    assert "preload_from_hub" not in header_of(loopback) and not loopback.repo("me/space", "space").secrets


def test_refusals(loopback: LoopbackHub, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(hub_client.HubError, match="may not write the space other/space"):
        deploy.deploy("other/space", root=tree)
    deploy.deploy("me/space", root=tree)
    with pytest.raises(hub_client.HubError, match="is public"):
        deploy.deploy("me/space", private=True, root=tree)
    before = loopback.repo("me/space", "space").branches["main"]
    (tree / "app.py").write_text("")
    loopback.fail("/commit/", status=500)
    with pytest.raises(hub_client.HubError, match=r"HTTP 500.* deploy again"):
        deploy.deploy("me/space", root=tree)
    assert loopback.repo("me/space", "space").branches["main"] == before
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(hub_client.HubError, match="No Hugging Face token"):
        deploy.deploy("me/space", root=tree)


def test_deploying_needs_nothing_but_the_hub_library() -> None:
    """And pydantic, which checks config.json: the workflow that deploys needs no other package of this project."""
    others = {"cv2", "gradio", "matplotlib", "nibabel", "numpy", "onnxruntime", "pandas", "PIL", "pydicom", "scipy"}
    absent = others | {"keras", "sklearn", "tensorflow"}
    code = f"import sys; sys.modules |= dict.fromkeys({absent}); import brain_mri.cli.hub as hub; hub.parser()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


# this project's own app


def test_the_app_needs_no_training_code() -> None:
    files, foreign = needed("app")
    assert {"app.py", "brain_mri/inference/predictor.py", "brain_mri/imaging/scan.py"} <= files
    assert "brain_mri/artifact/hub.py" in files
    assert not {"train.py", "model_def.py", "brain_mri/training/export.py", "brain_mri/artifact/space.py"} & files
    assert files <= set(deploy.space_files()), "each of them is uploaded"
    listed = {
        re.split(r"[^\w-]", line)[0].lower().replace("-", "_")
        for line in (ROOT / "requirements-space.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    distributions = {"cv2": "opencv_python_headless", "PIL": "pillow", "jpeg_ls": "pyjpegls"}
    provided = {"gradio", "gradio_client", "spaces", "starlette"}  # by the Space itself; the last one by gradio
    listed -= {"pylibjpeg", "pylibjpeg_openjpeg"}  # plug-ins that pydicom looks for by itself
    wanted = {distributions.get(name, name).lower() for name in foreign} - provided
    assert not {"tensorflow", "keras", "tf2onnx", "onnx", "pandas"} & wanted
    assert wanted <= listed, f"requirements-space.txt lacks {wanted - listed}"
    assert listed <= wanted, f"requirements-space.txt lists what nothing imports: {listed - wanted}"


@pytest.mark.slow
@pytest.mark.parametrize("hardware", ["cpu-basic", "zero-a10g"])
def test_the_space_starts_and_serves_the_pushed_revision(
    loopback: LoopbackHub, tmp_path: Path, phantom_png: Callable[..., Path], hardware: str
) -> None:
    if hardware == "zero-a10g":
        pytest.importorskip("spaces", reason="the package of ZeroGPU Spaces is not installed")
    model = hub_push.push(write_handmade(tmp_path / "model"), "me/model")
    deploy.deploy("me/space", model="me/model", hardware=hardware)
    folder = space_process.lay_out(loopback, tmp_path / "space")
    with space_process.device_api() as (address, reports):
        settings = dict(loopback.repo("me/space", "space").variables)
        if hardware == "zero-a10g":
            settings |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": address}
        with space_process.running(folder, **settings) as url:
            result = space_process.analyze(url, phantom_png("glioma"))
    assert result["model_id"] == "me/model" and result["revision"] == model.revision
    assert reports == (["POST /startup-report"] if hardware == "zero-a10g" else [])


@pytest.mark.slow
def test_a_space_whose_model_is_gone_says_so_and_serves_the_bundled_one(
    loopback: LoopbackHub, tmp_path: Path, bundled: Path
) -> None:
    deploy.deploy("me/space")
    folder = space_process.lay_out(loopback, tmp_path / "space")
    with space_process.running(folder, BRAIN_MRI_MODEL="me/gone") as url:
        page = space_process.page_text(url)
    assert "There is no model me/gone" in page and "bundled" in page


@pytest.mark.slow
def test_a_folder_of_a_space_starts_without_tensorflow_and_gradio_deploys_it(
    loopback: LoopbackHub, tmp_path: Path, bundled: Path, phantom_png: Callable[..., Path]
) -> None:
    folder = tmp_path / "brain-mri-demo"
    assert hub.main(["space", str(folder)]) == 0
    command = [sys.executable, "-c", "from gradio.cli import cli; cli()", "deploy"]  # it asks nothing
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    space = loopback.repo("me/brain-mri-demo", "space")
    assert needed("app")[0] <= set(space.files) and "requirements-dev.txt" not in space.files
    assert "tensorflow" not in space.files["requirements.txt"].content.decode()
    header = yaml.safe_load(space.files["README.md"].content.decode().split("---\n")[1])
    assert header["app_file"] == "app.py" and header["sdk"] == "gradio" and len(header["short_description"]) <= 60
    assert header["sdk_version"].startswith("6.")
    assert header["python_version"] in ("3.10.13", "3.12.12")  # what ZeroGPU has
    checked_out = space_process.lay_out(loopback, tmp_path / "space", "me/brain-mri-demo")
    with space_process.running(checked_out) as url:
        assert space_process.analyze(url, phantom_png("glioma"))["probabilities"]


def test_a_folder_of_a_space_serves_the_model_that_it_was_made_with(tree: Path, tmp_path: Path) -> None:
    model = write_handmade(tmp_path / "model")
    put_examples(model, {"glioma_1.png": b"a slice"}, "CC BY 4.0", "Drawn at random.")
    folder = tmp_path / "new" / "space"
    brought = ["weights/examples/LICENSE.txt", "weights/examples/glioma_1.png"]
    assert deploy.write_space(folder, model=model, root=tree) == sorted(
        [*(path for path in deploy.space_files(tree)), ".gitattributes", "README.md", *brought]
    )
    assert [path.name for path in load_artifact(folder / "weights").shown("examples")[0]] == [
        "LICENSE.txt",
        "glioma_1.png",
    ]
    assert (folder / "weights/config.json").read_bytes() == (model / "config.json").read_bytes()
    assert (folder / "requirements.txt").read_text() == "numpy\n"
    assert [path.name for path in folder.parent.iterdir()] == ["space"]
    git = ["git", "-C", str(folder)]  # the Hub refuses a binary file of more than 1 MB that is not in LFS
    subprocess.run([*git, "init", "-q"], check=True)
    asked = [*git, "check-attr", "filter", "weights/classifier.onnx"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.endswith("filter: lfs\n")
    with pytest.raises(hub_client.HubError, match="not an empty folder"):
        deploy.write_space(folder, root=tree)
    (model / "classifier.onnx").write_bytes(b"cut off")
    with pytest.raises(hub_client.HubError, match="damaged"):
        deploy.write_space(tmp_path / "other", model=model, root=tree)
    assert not (tmp_path / "other").exists()
