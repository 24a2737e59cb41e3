"""Create or update the Gradio Space that serves a model.

A Space is made of the files that the page needs (FILES), the serving files of weights/, requirements-space.txt as
requirements.txt, and a README.md that begins as assets/space.md, whose header configures it. They are uploaded, or
written into a folder for whoever pushes with git or `gradio deploy`. What a person wrote into the Space's README.md
stays; only the keys that must fit are set.
https://huggingface.co/docs/hub/spaces-config-reference
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from brain_mri.artifact.config import SERVING_FILES, ArtifactError
from brain_mri.artifact.examples import example_files
from brain_mri.artifact.folder import load_artifact
from brain_mri.artifact.hub import pull
from brain_mri.artifact.hub_client import (
    UNCHANGED,
    HubError,
    endpoint,
    explain_write,
    split_id,
    status_of,
    writer,
)
from brain_mri.artifact.hub_push import Remote
from brain_mri.files import sha256

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "weights"
WEIGHTS_FILES = (*SERVING_FILES, "README.md")  # the card has the licence of the weights
FILES = (
    "app.py",
    "segmentation.py",
    "brain_mri/*.py",
    *(f"brain_mri/{room}/**/*" for room in ("artifact", "imaging", "inference", "ui")),
    *(f"brain_mri/evaluation/{module}.py" for module in ("__init__", "records", "scores", "scores_of_patients")),
    *(f"brain_mri/reporting/{module}.py" for module in ("__init__", "overview", "tables", "texts", "two_classes")),
    "brain_mri/reporting/assets/texts.toml",
    "assets/**/*",
    *(f"{WEIGHTS}/{name}" for name in WEIGHTS_FILES),
    "LICENSE",
)
MUST_FIT = ("sdk", "sdk_version", "python_version", "app_file")  # of a Space's header
VARIABLE = "BRAIN_MRI_MODEL"  # the Space variable that app.py reads
FREE_HARDWARE = "zero-a10g"
MANIFEST = "deployed.json"
LARGE = "*.onnx filter=lfs diff=lfs merge=lfs -text\n"  # for git; the Hub refuses larger binary files outside of LFS
README = Path(__file__).with_name("assets") / "space.md"  # of a new Space


@dataclass(frozen=True)
class Deployed:
    url: str
    revision: str
    files: tuple[str, ...]  # paths in the Space
    changed: bool  # False when the Space already was exactly this
    notes: tuple[str, ...]  # sentences about what is left to do


def space_files(root: Path = ROOT) -> dict[str, Path]:
    """{path in the Space: file here} without README.md. Raises HubError when app.py is missing."""
    if not (root / "app.py").is_file():
        raise HubError(f"{root} holds no app.py, so there is nothing to deploy.")
    found = {path for pattern in FILES for path in root.glob(pattern) if path.is_file() and path.suffix != ".pyc"}
    files = {path.relative_to(root).as_posix(): path for path in found}
    files["requirements.txt"] = root / "requirements-space.txt"
    return {path: files[path] for path in sorted(files)}


def write_space(folder: str | Path, *, model: str | Path | None = None, root: Path = ROOT) -> list[str]:
    """Write the files of a Space into a new or empty folder, to push with git or `gradio deploy`; returns their paths.

    model: an artifact folder that it serves; default: the bundled weights. Raises HubError, and then writes nothing.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise HubError(f"{folder} is not an empty folder; name a new one for the files of the Space.")
    files = space_files(root)
    if model:
        try:
            brought = example_files(load_artifact(model))
        except ArtifactError as error:
            raise HubError(str(error)) from None
        files = {path: file for path, file in files.items() if not path.startswith(f"{WEIGHTS}/")}
        files |= {
            f"{WEIGHTS}/{name}": file for name in (*WEIGHTS_FILES, *brought) if (file := Path(model, name)).is_file()
        }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        whole = Path(scratch, "space")
        for path, file in (files | {"README.md": README}).items():
            (whole / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, whole / path)
        (whole / ".gitattributes").write_text(LARGE)
        if folder.exists():
            folder.rmdir()
        whole.replace(folder)
    return sorted([*files, ".gitattributes", "README.md"])


def space_card(old: str, *, model: str | None, preload: str | None) -> str:
    """README.md of the Space: what people wrote is kept, the keys that must fit this program are set.

    old: the present text, "" for a new Space. preload: an entry of preload_from_hub, see the reference.
    """
    new = README.read_text(encoding="utf-8")
    block = REGEX_YAML_BLOCK.match(old)
    body = old[block.end() :] if block else old
    header: dict[str, Any] = {}
    if not body.strip() or body.strip().startswith("Check out the configuration reference"):  # the Hub's own text
        body = new[REGEX_YAML_BLOCK.match(new).end() :]  # type: ignore[union-attr]
    elif block:
        with contextlib.suppress(Exception):  # whatever the parser raises for what is no YAML
            header = huggingface_hub.RepoCard(block[0]).data.to_dict()
    own = huggingface_hub.RepoCard(new).data.to_dict()
    header = own | header | {key: own[key] for key in MUST_FIT}
    for key in ("models", "preload_from_hub"):
        header.pop(key, None)
    if model:
        header["models"] = [model.split("@")[0]]
    if preload:
        header["preload_from_hub"] = [preload]
    return f"---\n{huggingface_hub.CardData(**header).to_yaml()}\n---\n{body}"


def deploy(
    space_id: str,
    *,
    model: str | None = None,
    private: bool = False,
    token: str | None = None,
    hardware: str | None = None,
    root: Path = ROOT,
) -> Deployed:
    """Create the Space or bring it up to date in one commit.

    model: "user/name" (follows its main branch) or "user/name@revision"; None keeps what the Space has, else the
    bundled weights. hardware: None takes what the account may have (cpu-basic, or ZeroGPU for a free account).
    Raises HubError with one sentence.
    """
    files = space_files(root)
    ask, account, space_id = writer(token, space_id, "A Space has no revisions to deploy to: give user/space.")
    left = UNCHANGED
    try:
        _create(ask, space_id, private, hardware)
        present = ask.get_space_variables(space_id).get(VARIABLE)
        served = present.value if present else None
        model = model or served
        preload, notes = _check_model(ask, model)
        if hardware and ask.get_space_runtime(space_id).requested_hardware not in (None, hardware):
            ask.request_space_hardware(space_id, hardware)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as scratch:
            there = Remote.look(ask, space_id, "space", scratch)
            if private and not there.private:
                raise HubError(f"The Space {space_id} exists and is public: make it private in its settings first.")
            card = space_card(there.text("README.md"), model=model, preload=preload)
            listing = {"model": model, "files": {path: sha256(file) for path, file in files.items()}}
            for name, text in (("README.md", card), (MANIFEST, json.dumps(listing, indent=2) + "\n")):
                files[name] = Path(scratch, name)
                files[name].write_text(text, encoding="utf-8")
            changes = there.changes(files, sorted((_deployed_before(there) & set(there.files)) - set(files)))
            left = "the Space may be half updated: deploy again, which completes it"
            if model and model != served:
                ask.add_space_variable(space_id, VARIABLE, model, description="The model that this page serves")
            sha = there.commit(changes, f"Deploy{f' {model}' if model else ''}") if changes else there.sha
    except Exception as error:
        raise explain_write(error, space_id, account=account, kind="space", left=left) from error
    return Deployed(
        f"{endpoint()}/spaces/{space_id}", sha, tuple(sorted(files)), bool(changes) or model != served, tuple(notes)
    )


def _deployed_before(there: Remote) -> set[str]:
    """Paths that an earlier deployment wrote."""
    try:
        return set(json.loads(there.text(MANIFEST) or "{}").get("files", {}))
    except ValueError:
        return set()


def _create(ask: huggingface_hub.HfApi, space_id: str, private: bool, hardware: str | None) -> None:
    """Free accounts get 402 for Gradio on cpu-basic; then ZeroGPU is asked for."""
    for wish in dict.fromkeys([hardware, hardware or FREE_HARDWARE]):
        try:
            ask.create_repo(
                space_id,
                repo_type="space",
                space_sdk="gradio",
                space_hardware=wish,  # type: ignore[arg-type]
                private=private,
                exist_ok=True,
            )
            return
        except Exception as error:
            if status_of(error) != 402:
                raise
    raise HubError(f"The account's plan does not allow a Gradio Space on {hardware or FREE_HARDWARE}; see its billing.")


def _check_model(ask: huggingface_hub.HfApi, model: str | None) -> tuple[str | None, list[str]]:
    """(entry for preload_from_hub, notes) of a model that can be served. Raises HubError for any other."""
    if not model:
        return None, []
    name, _ = split_id(model)
    pulled = pull(model, token=str(ask.token), patience=120)
    if pulled.note:
        raise HubError(f"{model} was not deployed: {pulled.note}")
    if ask.model_info(name, timeout=15).private:
        note = f"{name} is private: add a token that may read it to the Space's settings as the secret HF_TOKEN."
        return None, [note]  # a Space preloads public models only
    needed = [file for file in SERVING_FILES if (pulled.folder / file).is_file()]
    return f"{name} {','.join(needed)} {pulled.revision}", []
