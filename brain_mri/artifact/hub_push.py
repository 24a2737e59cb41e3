"""Push an artifact folder to the Hugging Face Hub as a model repository. Use it through `hub.push`.

One commit made of what differs, so that a reader finds the old model or the new one, then a tag. Not `upload_folder`:
since huggingface_hub 2 that may split a push into several commits.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub

from brain_mri.artifact.config import CONFIG, ArtifactConfig, ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.artifact.hub_client import UNCHANGED, UNSURE, HubError, client, endpoint, explain_write, split_id, writer
from brain_mri.files import FileError, read_json, sha256

CARD = "README.md"
SPARE_CARD = "MODEL_CARD.md"  # where our card goes when README.md was written by a person


@dataclass(frozen=True)
class Pushed:
    url: str
    revision: str  # commit sha of the branch after the push
    tag: str
    changed: bool  # False when the Hub already held exactly this
    note: str | None = None


def push(
    folder: str | Path, repo_id: str, *, private: bool = False, token: str | None = None, tag: str | None = None
) -> Pushed:
    """Publish an artifact folder as a model repository: one commit, one tag; the same folder again changes nothing.

    Uploaded is what config.json lists, and itself; files of an earlier push that are no longer listed are deleted,
    files that someone else put there stay. README.md is replaced only while it is still the text of our last push
    (its sha256 is in the config.json of that push); a card that a person edited stays, and ours goes to MODEL_CARD.md.
    tag: default run-<date>-<digest of config.json>.
    Raises HubError; the branch then still shows the old revision, whole.
    """
    folder = Path(folder)
    config, local = _local_files(folder)
    secret, account = writer(token)
    repo_id, revision = split_id(repo_id if "/" in repo_id else f"{account['name']}/{repo_id}")
    if revision:
        raise HubError("A push goes to the main branch: give user/name without @revision (and a tag by itself).")
    ask, left = client(secret), UNCHANGED
    try:
        ask.create_repo(repo_id, private=private, exist_ok=True)
        info = ask.model_info(repo_id, files_metadata=True, timeout=30)
        if private and not info.private:
            raise HubError(
                f"{repo_id} exists and is public: make it private in its settings on the Hub first, or push without "
                "asking for a private model."
            )
        remote = {sibling.rfilename: sibling for sibling in info.siblings or []}
        with tempfile.TemporaryDirectory() as scratch:

            def fetch(name: str) -> Path:
                return Path(
                    huggingface_hub.hf_hub_download(
                        repo_id, name, revision=info.sha, endpoint=endpoint(), cache_dir=scratch, token=secret
                    )
                )

            before = _remote_config(repo_id, remote, fetch)
            note = _settle_card(repo_id, before, local, remote, fetch)
            stale = _stale(before, local, remote, fetch)
        changes: list[Any] = [
            huggingface_hub.CommitOperationAdd(path, str(file))
            for path, file in local.items()
            if not same_content(file, remote.get(path))
        ]
        changes += [huggingface_hub.CommitOperationDelete(path) for path in stale]
        name = tag or f"run-{(config.created or 'undated')[:10]}-{sha256(local[CONFIG])[:8]}"
        tags = {ref.name: ref.target_commit for ref in ask.list_repo_refs(repo_id).tags}
        if tag and tag in tags and (changes or tags[tag] != info.sha):
            raise HubError(f"The tag {tag} of {repo_id} already marks another revision; choose another one.")
        revision = info.sha
        if changes:
            title, left = f"Publish {config.name or folder.name}", UNSURE
            revision = ask.create_commit(repo_id, changes, commit_message=title, parent_commit=info.sha).oid
        left = f"the model is there, only its tag {name} is missing: push again"
        if name not in tags:
            ask.create_tag(repo_id, tag=name, revision=revision, exist_ok=True)
    except Exception as error:
        raise explain_write(error, repo_id, account=account["name"], left=left) from error
    return Pushed(f"{endpoint()}/{repo_id}", str(revision), name, bool(changes), note)


def _local_files(folder: Path) -> tuple[ArtifactConfig, dict[str, Path]]:
    """config.json and {path in the repository: file} of a whole, undamaged artifact. Raises HubError."""
    try:
        config = load_artifact(folder).config
    except ArtifactError as error:
        raise HubError(f"Nothing was pushed: {error}") from None
    files = {CONFIG: folder / CONFIG}
    for name, stated in config.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise HubError(f"Nothing was pushed: {folder} lacks {name}, which its {CONFIG} lists.")
        if name != CARD and sha256(path) != stated.sha256:  # the card may be edited before a push
            raise HubError(f"Nothing was pushed: {path} is not the file that its {CONFIG} describes (sha256 differs).")
        files[name] = path
    return config, files


def _remote_config(repo_id: str, remote: dict[str, Any], fetch: Callable[[str], Path]) -> dict[str, Any]:
    """Our config.json on the Hub, {} when there is none. Raises HubError rather than bury somebody's other model."""
    if CONFIG not in remote:
        return {}
    try:
        config = read_json(fetch(CONFIG))
    except FileError:
        config = {}
    if not isinstance(config.get("format_version"), int) or not isinstance(config.get("files"), dict):
        raise HubError(f"{repo_id} holds another program's model (its {CONFIG} is not ours); choose another name.")
    return config


def _settle_card(
    repo_id: str,
    before: dict[str, Any],
    local: dict[str, Path],
    remote: dict[str, Any],
    fetch: Callable[[str], Path],
) -> str | None:
    """Decide where our card goes (changes `local`); returns a sentence when README.md on the Hub is kept."""
    if CARD not in local or CARD not in remote or same_content(local[CARD], remote[CARD]):
        return None
    card = fetch(CARD)
    text = re.sub(r"\A---\r?\n.*?\n---\s*", "", card.read_text(encoding="utf-8", errors="replace"), flags=re.S)
    if sha256(card) == _stated(before, CARD) or not text.strip():  # the Hub's "new model" form leaves a bare header
        return None
    local[SPARE_CARD] = local.pop(CARD)
    return f"README.md of {repo_id} was edited by a person and was kept; the card of this run is {SPARE_CARD}."


def _stale(
    before: dict[str, Any], local: dict[str, Path], remote: dict[str, Any], fetch: Callable[[str], Path]
) -> list[str]:
    """Files on the Hub that an earlier push of ours left and this one does not have."""
    stale = sorted(set(before.get("files", {})) & set(remote) - set(local) - {CARD})
    if SPARE_CARD in remote and SPARE_CARD not in local and sha256(fetch(SPARE_CARD)) == _stated(before, CARD):
        stale.append(SPARE_CARD)
    return stale


def _stated(config: dict[str, Any], name: str) -> str | None:
    return config.get("files", {}).get(name, {}).get("sha256")


def same_content(file: Path, sibling: Any) -> bool:
    """Whether the Hub holds this very content (large files by sha256, others by git's blob id).

    sibling: a huggingface_hub RepoSibling with metadata, or None.
    """
    if sibling is None or sibling.size != file.stat().st_size:
        return False
    if sibling.lfs is not None:
        return sibling.lfs.sha256 == sha256(file)
    content = file.read_bytes()
    return sibling.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
