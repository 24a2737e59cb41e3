"""Create or update the Gradio Space that serves a model: `python hub.py deploy user/space --model user/name`.

Uploaded are app.py, the modules that it imports (found by reading the code, so the list cannot go stale), the files
that those name, the serving files of weights/, requirements-space.txt as requirements.txt, and a README.md whose
header configures the Space. What a person wrote into that README.md stays; only the keys that must fit are set.
https://huggingface.co/docs/hub/spaces-config-reference
"""

from __future__ import annotations

import ast
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import yaml  # comes with huggingface_hub

from brain_mri.artifact import hub
from brain_mri.artifact.config import SERVING_FILES
from brain_mri.artifact.hub_client import (
    UNCHANGED,
    HubError,
    client,
    endpoint,
    explain_write,
    split_id,
    status_of,
    writer,
)
from brain_mri.artifact.hub_push import same_content
from brain_mri.files import sha256

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "BRAIN_MRI_MODEL"  # the Space variable that app.py reads
PYTHON = "3.12.12"  # ZeroGPU has 3.10.13 and 3.12.12 only; cpu-basic takes any
GRADIO = "6.31.0"  # the version that this program was last tested with
FREE_HARDWARE = "zero-a10g"
MANIFEST = "deployed.json"
ONLY_HERE = {"deploy"}  # imported by hub.py's command line alone
HEADER = {
    "title": "Brain MRI demo",
    "emoji": "\N{BRAIN}",
    "colorFrom": "indigo",
    "colorTo": "gray",
    "pinned": False,
    "short_description": "Brain MRI: tumor class, mask and Grad-CAM side by side",
    "tags": ["brain-mri", "segmentation", "grad-cam"],
}
BODY = """
Reads a brain MRI slice and shows class probabilities, a tumor mask and a Grad-CAM heatmap side by side.
For teaching and research; it is no medical device and must not guide treatment.

Uploaded by `python hub.py deploy`; text written here is kept by the next deployment.
"""


@dataclass(frozen=True)
class Deployed:
    url: str
    revision: str
    files: tuple[str, ...]  # paths in the Space
    changed: bool  # False when the Space already was exactly this
    notes: tuple[str, ...]  # sentences about what is left to do


def modules(root: Path = ROOT, entry: str = "app") -> list[str]:
    """Names of the local modules that `entry` imports, directly or not, at the top or inside functions."""
    found: list[str] = []
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found or name in ONLY_HERE or not (root / f"{name}.py").is_file():
            continue
        found.append(name)
        waiting += imports(root / f"{name}.py")
    return sorted(found)


def imports(path: Path) -> set[str]:
    """Top-level names that a Python file imports, local and foreign."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def space_files(root: Path = ROOT) -> dict[str, Path]:
    """{path in the Space: file here} without README.md. Raises HubError when app.py is missing."""
    if not (root / "app.py").is_file():
        raise HubError(f"{root} holds no app.py, so there is nothing to deploy.")
    names = modules(root)
    files = {f"{name}.py": root / f"{name}.py" for name in names}
    for name in names:
        for node in ast.walk(ast.parse((root / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 100:
                path = root / node.value
                if re.fullmatch(r"[\w./-]+\.(css|js|svg|png|jpg|html)", node.value) and path.is_file():
                    files[node.value] = path
    for folder in ("assets", "examples", "weights/examples"):
        files |= {p.relative_to(root).as_posix(): p for p in sorted((root / folder).rglob("*")) if p.is_file()}
    for name in SERVING_FILES:
        if (root / "weights" / name).is_file():
            files[f"weights/{name}"] = root / "weights" / name
    if (root / "LICENSE").is_file():
        files["LICENSE"] = root / "LICENSE"
    files["requirements.txt"] = root / "requirements-space.txt"
    return {path: files[path] for path in sorted(files)}


def space_card(old: str, *, model: str | None, preload: str | None, root: Path = ROOT) -> str:
    """README.md of the Space: what people wrote is kept, the keys that must fit this program are set.

    old: the present text, "" for a new Space. preload: an entry of preload_from_hub, see the reference.
    """
    match = re.match(r"\A---\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", old, re.S)
    try:
        header: dict[str, Any] = (yaml.safe_load(match[1]) if match else None) or {}
    except yaml.YAMLError:
        header = {}
    body = old[match.end() :] if match else old
    if not body.strip() or body.strip().startswith("Check out the configuration reference"):  # the Hub's own text
        header, body = {}, BODY
    for key in ("models", "preload_from_hub"):
        header.pop(key, None)
    header = HEADER | header
    header |= {"sdk": "gradio", "sdk_version": GRADIO, "python_version": PYTHON, "app_file": "app.py"}
    if "license" not in header and (root / "LICENSE").is_file():
        text = (root / "LICENSE").read_text(encoding="utf-8", errors="replace")
        header |= {"license": "mit"} if "MIT License" in text else {}
    if model:
        header["models"] = [model.split("@")[0]]
    if preload:
        header["preload_from_hub"] = [preload]
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n{body}"


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
    secret, account = writer(token)
    space_id, revision = split_id(space_id if "/" in space_id else f"{account['name']}/{space_id}")
    if revision:
        raise HubError("A Space has no revisions to deploy to: give user/space.")
    ask, left = client(secret), UNCHANGED
    try:
        _create(ask, space_id, private, hardware)
        present = {key: value.value for key, value in ask.get_space_variables(space_id).items()}
        model = model or present.get(VARIABLE)
        preload, notes = _check_model(ask, model, secret)
        if hardware and ask.get_space_runtime(space_id).requested_hardware not in (None, hardware):
            ask.request_space_hardware(space_id, hardware)  # type: ignore[arg-type]
        info = ask.space_info(space_id, files_metadata=True, timeout=30)
        if private and not info.private:
            raise HubError(f"The Space {space_id} exists and is public: make it private in its settings first.")
        remote = {sibling.rfilename: sibling for sibling in info.siblings or []}
        with tempfile.TemporaryDirectory() as scratch:

            def fetch(name: str) -> str:
                if name not in remote:
                    return ""
                path = huggingface_hub.hf_hub_download(
                    space_id,
                    name,
                    repo_type="space",
                    revision=info.sha,
                    endpoint=endpoint(),
                    cache_dir=scratch,
                    token=secret,
                )
                return Path(path).read_text(encoding="utf-8", errors="replace")

            own = Path(scratch) / "own"
            own.mkdir()
            card = space_card(fetch("README.md"), model=model, preload=preload, root=root)
            (own / "README.md").write_text(card, encoding="utf-8")
            listing = {"model": model, "files": {path: sha256(file) for path, file in files.items()}}
            (own / MANIFEST).write_text(json.dumps(listing, indent=2) + "\n")
            files |= {"README.md": own / "README.md", MANIFEST: own / MANIFEST}
            try:
                before = set(json.loads(fetch(MANIFEST) or "{}").get("files", {}))
            except ValueError:
                before = set()
            changes: list[Any] = [
                huggingface_hub.CommitOperationAdd(path, str(file))
                for path, file in files.items()
                if not same_content(file, remote.get(path))
            ]
            changes += [huggingface_hub.CommitOperationDelete(p) for p in sorted((before & set(remote)) - set(files))]
            left = "the Space may be half updated: deploy again, which completes it"
            if model and present.get(VARIABLE) != model:
                ask.add_space_variable(space_id, VARIABLE, model, description="The model that this page serves")
            sha = str(info.sha)
            if changes:
                title = f"Deploy{f' {model}' if model else ''}"
                sha = ask.create_commit(
                    space_id, changes, commit_message=title, repo_type="space", parent_commit=info.sha
                ).oid
    except Exception as error:
        raise explain_write(error, space_id, account=account["name"], kind="space", left=left) from error
    changed = bool(changes) or (model is not None and present.get(VARIABLE) != model)
    return Deployed(f"{endpoint()}/spaces/{space_id}", sha, tuple(sorted(files)), changed, tuple(notes))


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


def _check_model(ask: huggingface_hub.HfApi, model: str | None, token: str) -> tuple[str | None, list[str]]:
    """(entry for preload_from_hub, notes) of a model that can be served. Raises HubError for any other."""
    if not model:
        return None, []
    name, _ = split_id(model)
    pulled = hub.pull(model, token=token, patience=120)
    if pulled.note:
        raise HubError(f"{model} was not deployed: {pulled.note}")
    if ask.model_info(name, timeout=15).private:
        note = f"{name} is private: add a token that may read it to the Space's settings as the secret HF_TOKEN."
        return None, [note]  # a Space preloads public models only
    needed = [file for file in SERVING_FILES if (pulled.folder / file).is_file()]
    return f"{name} {','.join(needed)} {pulled.revision}", []
