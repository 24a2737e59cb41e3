"""Pull an artifact folder from the Hugging Face Hub, and keep serving when the Hub does not answer.

A name is resolved to a commit, only the three serving files (and examples) are fetched into the ordinary Hub cache, and
nothing is handed out before its sha256 agrees with config.json. refs/<name> in the cache is moved only then, so it
always points to the last good revision, which answers when the Hub does not.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from brain_mri.artifact.config import CLASSIFIER, CONFIG, SEGMENTER, SERVING_FILES, ArtifactConfig, ArtifactError
from brain_mri.artifact.folder import JSON_BYTES, SHOWN, SHOWN_BYTES, load_artifact
from brain_mri.artifact.hub_client import HubError, client, endpoint, explain, find_token, split_id, within
from brain_mri.files import FileError, atomic_write, read_json, sha256

LARGEST = {CONFIG: JSON_BYTES, CLASSIFIER: 2**31, SEGMENTER: 2**31}  # bytes; ONNX holds no more in one file
EXAMPLES = "examples/"  # see examples.py
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Pulled:
    """A checked model in the local cache."""

    folder: Path
    repo_id: str
    revision: str  # commit sha
    source: str  # "hub": the Hub confirmed this revision just now; "cache": it was not asked, or did not answer
    note: str | None = None  # a sentence for the page when this is not what was asked for


def pull(
    repo_id_with_rev: str,
    *,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    timeout: float = 5.0,
    patience: float | None = None,
) -> Pulled:
    """Fetch and check "user/name", "user/name@branch", "...@tag" or "...@commit".

    timeout: seconds until the Hub must have answered and, unless `patience` is given, until everything must be here.
    patience: seconds for the download once the Hub has answered, for callers with nobody waiting at a page.
    When the revision cannot be had, the last good copy of the same name answers with source "cache" and a note; for
    "user/name" without a revision any good copy does. Raises HubError (one sentence) when there is none.
    """
    repo_id, asked = split_id(repo_id_with_rev)
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    store = cache / f"models--{repo_id.replace('/', '--')}"
    if asked and _COMMIT.fullmatch(asked) and _is_good(store / "snapshots" / asked):
        return Pulled(store / "snapshots" / asked, repo_id, asked, "cache")  # a commit never changes: nothing to ask
    try:
        revision = _fetch(repo_id, asked, find_token(token), cache, timeout, patience)
    except HubError as error:
        good = _last_good(store, asked)
        if good is None:
            raise
        note = f"{error} The copy fetched earlier (revision {good.name[:7]}) answers instead."
        return Pulled(good, repo_id, good.name, "cache", note)
    _remember(store, asked or "main", revision)
    return Pulled(store / "snapshots" / revision, repo_id, revision, "hub")


def newer_revision(
    repo_id: str, revision: str, branch: str | None = "main", *, token: str | None = None, timeout: float = 2.0
) -> str | None:
    """The commit that `branch` of `repo_id` now names when it differs from `revision`, else None.

    For a page that asks now and then: waits at most `timeout` seconds and never raises.
    """
    branch = branch or "main"
    if _COMMIT.fullmatch(branch):
        return None
    try:
        ask = client(find_token(token))
        newest = within(timeout, lambda: ask.model_info(repo_id, revision=branch, timeout=timeout).sha)
    except Exception:
        return None
    return newest if newest and newest != revision else None


def _fetch(
    repo_id: str, asked: str | None, token: str | None, cache: Path, timeout: float, patience: float | None
) -> str:
    """Bring the serving files of a revision into the cache, checked; returns its commit. Raises HubError."""
    started = time.monotonic()
    ask = client(token)
    where = f"{repo_id}@{asked}" if asked else repo_id
    try:
        info = within(timeout, lambda: ask.model_info(repo_id, revision=asked, files_metadata=True, timeout=timeout))
    except Exception as error:
        raise explain(error, where, token=token, seconds=timeout) from error
    files = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if CONFIG not in files:
        raise HubError(f"{where} holds no {CONFIG}, so it is not a model of this project.")
    large = [name for name in SERVING_FILES if name in files and (files[name].size or 0) > LARGEST[name]]
    if large:
        raise HubError(f"{where} is too large to be served by this program ({' and '.join(large)}).")
    if info.sha is None:
        raise HubError(f"The Hub named no commit for {where}.")
    sha: str = info.sha
    left = timeout - (time.monotonic() - started) if patience is None else patience

    def download(name: str, *, force: bool = False) -> Path:
        options: dict[str, Any] = {"cache_dir": cache, "etag_timeout": timeout, "force_download": force}
        return Path(ask.hf_hub_download(repo_id, name, revision=sha, **options))

    def download_all() -> None:
        snapshot = cache / f"models--{repo_id.replace('/', '--')}" / "snapshots" / sha
        if not (snapshot / CONFIG).exists():
            # One look without the retries of hf_hub_download, which would hide a refusal behind 20 s of waiting.
            url = huggingface_hub.hf_hub_url(repo_id, CONFIG, revision=sha, endpoint=endpoint())
            huggingface_hub.get_hf_file_metadata(url, token=token, timeout=timeout, endpoint=endpoint())
        try:
            stored = read_json(download(CONFIG))
        except FileError:
            raise HubError(f"{where} has a {CONFIG} that is not JSON, so it is not a model of this project.") from None
        config = ArtifactConfig.read(stored, where)
        needed = [name for name in (CLASSIFIER, SEGMENTER) if name in config.files]  # load_artifact says if they do
        missing = [name for name in needed if name not in files]
        if missing:
            raise HubError(f"{where} lacks {' and '.join(missing)}; push the model again.")
        for name in needed:
            path, stated = download(name), config.files[name].sha256
            if sha256(path) == stated:
                continue
            lfs = files[name].lfs
            if lfs is None or lfs.sha256 == stated:  # the Hub has it right, so the copy in the cache is damaged
                path = download(name, force=True)
            if sha256(path) != stated:
                raise HubError(
                    f"{name} of {where} is damaged or was changed by hand (its sha256 differs from {CONFIG}); push the "
                    "model again."
                )
        load_artifact(snapshot)

    try:
        within(left, download_all)
    except TimeoutError:
        size = sum(files[name].size or 0 for name in SERVING_FILES if name in files) / 1e6
        raise HubError(
            f"The Hub is slow or stuck: {where} ({size:.1f} MB) was not here after {patience or timeout:.0f} s; the "
            "download goes on in the background."
        ) from None
    except ArtifactError as error:
        raise HubError(str(error)) from None
    except Exception as error:
        raise explain(error, where, token=token, seconds=timeout) from error
    with contextlib.suppress(Exception):  # pictures to try: without them the model serves as well
        config = load_artifact(cache / f"models--{repo_id.replace('/', '--')}" / "snapshots" / sha, verify=False).config
        extra = [name for name in config.files if name.startswith(EXAMPLES) and name in files][:SHOWN]
        if sum(files[name].size or 0 for name in extra) <= SHOWN_BYTES:
            within(timeout if patience is None else patience, lambda: [download(name) for name in extra])
    return sha


def _is_good(snapshot: Path) -> bool:
    try:
        load_artifact(snapshot)
    except (ArtifactError, OSError):
        return False
    return True


def _last_good(store: Path, asked: str | None) -> Path | None:
    """The cached snapshot that may answer for `asked`, checked again; None when there is none."""
    snapshots = store / "snapshots"
    candidates = []
    if asked and _COMMIT.fullmatch(asked):
        candidates.append(snapshots / asked)
    else:
        with contextlib.suppress(OSError):
            candidates.append(snapshots / (store / "refs" / (asked or "main")).read_text(encoding="utf-8").strip())
        if asked is None and snapshots.is_dir():
            # A Space preloads by commit, which leaves no ref; the newest of what is there is the best guess.
            candidates += sorted(snapshots.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    return next((folder for folder in candidates if _is_good(folder)), None)


def _remember(store: Path, name: str, revision: str) -> None:
    """Point refs/<name> to a checked revision, as huggingface_hub does; a read-only cache is no reason to fail."""
    ref = store / "refs" / name
    with contextlib.suppress(OSError):
        ref.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(ref) as temporary:
            temporary.write_text(revision, encoding="utf-8")
