"""Push an artifact folder to the Hugging Face Hub as a model repository.

One commit made of what differs, so that a reader finds the old model or the new one, then a tag. Not `upload_folder`:
since huggingface_hub 2 that may split a push into several commits.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from brain_mri.artifact.config import CONFIG, ArtifactConfig, ArtifactError
from brain_mri.artifact.folder import load_artifact
from brain_mri.artifact.hub_client import UNCHANGED, UNSURE, HubError, endpoint, explain_write, writer
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


@dataclass(frozen=True)
class Remote:
    """The main branch of a repository as it is on the Hub now."""

    ask: huggingface_hub.HfApi
    repo_id: str
    kind: str  # "model" or "space"
    sha: str
    private: bool
    files: dict[str, Any]  # path -> huggingface_hub RepoSibling with metadata
    scratch: Path  # what is fetched goes there

    @classmethod
    def look(cls, ask: huggingface_hub.HfApi, repo_id: str, kind: str, scratch: str) -> Remote:
        info = ask.repo_info(repo_id, repo_type=kind, files_metadata=True, timeout=30)
        files = {sibling.rfilename: sibling for sibling in info.siblings or []}  # type: ignore[union-attr]
        return cls(ask, repo_id, kind, str(info.sha), bool(info.private), files, Path(scratch))

    def fetch(self, name: str) -> Path:
        return Path(
            self.ask.hf_hub_download(self.repo_id, name, repo_type=self.kind, revision=self.sha, cache_dir=self.scratch)
        )

    def text(self, name: str) -> str:
        """Of a file, "" where there is none."""
        return self.fetch(name).read_text(encoding="utf-8", errors="replace") if name in self.files else ""

    def changes(self, files: Mapping[str, Path], stale: Iterable[str]) -> list[Any]:
        """The commit's operations: files (path -> file here) that differ are added, stale paths deleted."""
        added = [
            huggingface_hub.CommitOperationAdd(path, str(file))
            for path, file in files.items()
            if not same_content(file, self.files.get(path))
        ]
        return [*added, *(huggingface_hub.CommitOperationDelete(path) for path in stale)]

    def commit(self, changes: list[Any], title: str) -> str:
        """The new revision. The Hub refuses when somebody else has committed meanwhile."""
        return self.ask.create_commit(
            self.repo_id, changes, commit_message=title, repo_type=self.kind, parent_commit=self.sha
        ).oid


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
    ask, account, repo_id = writer(
        token, repo_id, "A push goes to the main branch: give user/name without @revision (and a tag by itself)."
    )
    left = UNCHANGED
    try:
        ask.create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            there = Remote.look(ask, repo_id, "model", scratch)
            if private and not there.private:
                raise HubError(
                    f"{repo_id} exists and is public: make it private in its settings on the Hub first, or push "
                    "without asking for a private model."
                )
            before = _pushed_before(there)
            note = _settle_card(there, before, local)
            changes = there.changes(local, _stale(there, before, local))
        name = tag or f"run-{(config.created or 'undated')[:10]}-{sha256(local[CONFIG])[:8]}"
        tags = {ref.name: ref.target_commit for ref in ask.list_repo_refs(repo_id).tags}
        if tag and tag in tags and (changes or tags[tag] != there.sha):
            raise HubError(f"The tag {tag} of {repo_id} already marks another revision; choose another one.")
        revision = there.sha
        if changes:
            left = UNSURE
            revision = there.commit(changes, f"Publish {config.name or folder.name}")
        left = f"the model is there, only its tag {name} is missing: push again"
        if name not in tags:
            ask.create_tag(repo_id, tag=name, revision=revision, exist_ok=True)
    except Exception as error:
        raise explain_write(error, repo_id, account=account, left=left) from error
    return Pushed(f"{endpoint()}/{repo_id}", revision, name, bool(changes), note)


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


def _pushed_before(there: Remote) -> dict[str, str | None]:
    """path -> sha256 of an earlier push of ours. Raises HubError rather than bury somebody's other model."""
    if CONFIG not in there.files:
        return {}
    try:
        config = read_json(there.fetch(CONFIG))
    except FileError:
        config = {}
    files = config.get("files")
    if not isinstance(config.get("format_version"), int) or not isinstance(files, dict):
        raise HubError(
            f"{there.repo_id} holds another program's model (its {CONFIG} is not ours); choose another name."
        )
    return {path: stated.get("sha256") for path, stated in files.items()}


def _settle_card(there: Remote, before: Mapping[str, str | None], local: dict[str, Path]) -> str | None:
    """Decide where our card goes (changes `local`); returns a sentence when README.md on the Hub is kept."""
    if CARD not in local or CARD not in there.files or same_content(local[CARD], there.files[CARD]):
        return None
    bare = not REGEX_YAML_BLOCK.sub("", there.text(CARD)).strip()  # the Hub's "new model" form leaves a header alone
    if bare or sha256(there.fetch(CARD)) == before.get(CARD):
        return None
    local[SPARE_CARD] = local.pop(CARD)
    return f"README.md of {there.repo_id} was edited by a person and was kept; the card of this run is {SPARE_CARD}."


def _stale(there: Remote, before: Mapping[str, str | None], local: Mapping[str, Path]) -> list[str]:
    """Files on the Hub that an earlier push of ours left and this one does not have."""
    stale = sorted(set(before) & set(there.files) - set(local) - {CARD})
    if SPARE_CARD in there.files and SPARE_CARD not in local and sha256(there.fetch(SPARE_CARD)) == before.get(CARD):
        stale.append(SPARE_CARD)
    return stale


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
