"""What --data and --masks take beside a folder: an archive, the address of one, a data set of Kaggle or of the Hub.

    kaggle:owner/name    kaggle:owner/name/versions/3    hf:user/name    hf:user/name@revision    https://.../slices.zip

All of it ends in a folder on this machine: in the caches of kagglehub and huggingface_hub, or in our own. What is there
already is used without a network. The pages of a data set on kaggle.com and huggingface.co count as its name.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from brain_mri.artifact.hub_client import client, explain, find_token, status_of, within
from brain_mri.data import download, image_tables, matlab, unpack
from brain_mri.data.cache import note
from brain_mri.data.class_names import IMAGE_FOLDERS, MASK_FOLDERS, class_of, shows_any_tumor, split_of
from brain_mri.data.download import NoNetwork
from brain_mri.data.folders import DataError, printable

TRIES, AGAIN = 3, 1.0  # of a connection that is lost, after so many seconds, then twice as many
HUB_SECONDS = 20.0  # until the Hub must have said what a data set holds
_WORD = r"[A-Za-z0-9][\w.-]*"
_REPO, _REVISION = rf"({_WORD}/{_WORD})", r"(\w[\w./+-]*)"
_SITE = r"(?:https?://)?(?:www\.)?"
_KAGGLE = re.compile(rf"(?i:kaggle:|{_SITE}kaggle\.com/(?:datasets/)?)({_WORD})/({_WORD})(?:/versions/(\d+))?")
_HUB = re.compile(rf"(?i:hf:){_REPO}(?:@{_REVISION})?|{_SITE}huggingface\.co/datasets/{_REPO}(?:/tree/{_REVISION})?")
_URL = re.compile(r"https?://[^\s/]+/?.*", re.IGNORECASE)
_NAMED = re.compile(r"(kaggle|hf|https?):|(www\.)?(kaggle\.com|huggingface\.co)/", re.IGNORECASE)


def given(text: str) -> str | Path:
    """A word of a command line: a path, or the name of a data set as it stands. For argparse's `type`."""
    return text if _NAMED.match(text) else Path(text)


def without_secrets(text: str) -> str:
    """An address as it may be published: no user, no password, no query, in which a signature may stand."""
    option, url = re.fullmatch(r"(--[\w-]+=)?(.*)", text, re.DOTALL).groups("")  # type: ignore[union-attr]
    if not _URL.fullmatch(url):
        return text
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return f"{option}{url.split(':')[0]}://..."
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=parts.query and "...", fragment="")
    return option + bare.geturl()


def on_the_hub(asked: Iterable[str | Path]) -> list[str]:
    """The "user/name" of those that are data sets of the Hub: what a model's card names as its data."""
    found = (_HUB.fullmatch(os.fspath(one).split("?")[0].rstrip("/")) for one in asked)
    return list(dict.fromkeys(match[1] or match[3] for match in found if match))


def fetched(asked: str | Path, cache: Path | None = None) -> tuple[str, Path]:
    """(name of the source, its folder on this machine); a folder is its own, whether it exists or not.

    cache: where archives are unpacked and files of the web go, by default beside the decoded slices. Raises DataError,
    NoNetwork where the network is what is missing.
    """
    text = os.fspath(asked).strip()
    mine = _cache(cache)
    if not _NAMED.match(text):
        path = Path(asked).expanduser()
        if path.is_dir() or not (path.is_file() or unpack.is_archive(path)):
            name = printable(os.path.basename(os.path.abspath(path))) or "data"
            return name, _ready(path, mine / "unpacked", name, text) if any(path.glob("*.mat")) else path
        folder = unpack.unpacked(path, mine / "unpacked")
        name = printable(folder.name)
        return name, inner(_ready(folder, mine / "unpacked", name, text))
    try:
        mine.mkdir(parents=True, exist_ok=True)
        with _alone(mine / f"{zlib.crc32(text.encode()):08x}.lock", text):
            name, folder = _by_name(text, mine)
            return name, inner(_ready(folder, mine / "unpacked", name, without_secrets(text)))
    except OSError as error:
        where = error.filename or mine
        raise DataError(f"{where} could not be read or written ({error.strerror or error}).") from None


def _by_name(text: str, mine: Path) -> tuple[str, Path]:
    page = text.split("?")[0].removesuffix("/data").rstrip("/")
    if match := _KAGGLE.fullmatch(page):
        return match[2], _kaggle(match[1], match[2], match[3])
    if match := _HUB.fullmatch(page):
        repo, revision = match[1] or match[3], match[2] or match[4]
        return repo.rpartition("/")[2], _hub(repo, revision)
    if _URL.fullmatch(text):
        folder = _web(text, mine / "downloads")
        return folder.name, folder
    raise DataError(
        f"{text!r} is no name of a data set: write kaggle:owner/name, hf:user/name or the address of an archive."
    )


@contextlib.contextmanager
def _alone(path: Path, said: str) -> Iterator[None]:
    """One process at a time fetches a data set; the next finds it there."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=2.0)
    except Timeout:
        note(f"another process fetches {without_secrets(said)}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def inner(folder: Path) -> Path:
    """The folder in which the data lies, where an archive wraps it in one more: so tables beside it are found, too."""
    while True:
        there = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        name = there[0].name if len(there) == 1 else ""
        about = "brain" in name.lower()  # brain_tumor_dataset is what all of it is about
        telling = class_of(name) or split_of(name) or (shows_any_tumor(name) and not about)
        if not name or telling or name.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS):
            return folder
        if not there[0].is_dir() or not any(path.is_dir() for path in there[0].iterdir()):
            return folder
        folder = there[0]


def _cache(folder: Path | None) -> Path:
    folder = Path(folder or os.environ.get("BRAIN_MRI_CACHE") or "~/.cache/brain-mri").expanduser()
    return folder.parent if folder.suffix == ".npz" else folder


def _ready(folder: Path, into: Path, name: str, said: str, levels: int = 1) -> Path:
    """The folder itself; where it holds no pictures, what its archives, Parquet tables or MATLAB files hold.

    levels: how often archives are unpacked; one can hold itself.
    """
    if unpack.has_pictures(folder):
        return folder
    found = [path for path in folder.rglob("*") if path.is_file()]
    tables, slices = ([path for path in found if path.suffix == suffix] for suffix in (".parquet", ".mat"))
    packed = not tables and not slices
    if packed and not (levels and any(map(unpack.is_archive, found))):
        return folder  # who reads it says what is missing
    ready = into / f"{zlib.crc32(os.path.realpath(folder).encode()):08x}" / name
    if not ready.is_dir():
        if tables:
            image_tables.write_pictures(folder, ready, said)
        elif slices:
            matlab.write_outlined(slices, ready, said)
        else:
            unpack.unpack_inside(folder, ready, said)
    return _ready(ready, into, name, said, levels - 1) if packed else ready


# -- Kaggle ---------------------------------------------------------------------------------------------------------
def _kaggle(owner: str, name: str, version: str | None) -> Path:
    handle, page = f"{owner}/{name}", f"https://www.kaggle.com/datasets/{owner}/{name}"
    try:
        import kagglehub  # an optional package, and slow to import
    except ImportError:
        raise DataError(
            f"kaggle:{handle} needs the package kagglehub (pip install kagglehub); or download {page} by hand and give "
            "the zip file."
        ) from None
    newest = _kept_version(handle)
    if version:
        handle += f"/versions/{version}"  # asks nobody where it is kept
    try:
        folder = Path(_again(lambda: kagglehub.dataset_download(handle)))
    except Exception as error:
        sentence = _kaggle_sentence(error, handle, page)
        if newest is None or version or not isinstance(sentence, NoNetwork):
            raise sentence from None
        note(f"{sentence} Version {newest}, fetched earlier, is used.")
        return Path(kagglehub.dataset_download(f"{handle}/versions/{newest}"))  # asks nobody
    if not version and folder.parent.name == "versions":
        note(f"kaggle:{handle} is at version {folder.name}; kaggle:{handle}/versions/{folder.name} keeps to it.")
    return folder


def _kept_version(handle: str) -> int | None:
    """The newest version in kagglehub's cache that arrived whole: kagglehub has marked it so."""
    cache = Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    marks = (cache / "datasets" / handle).glob("*.complete")
    return max((int(mark.stem) for mark in marks if mark.stem.isdecimal()), default=None)


def _again(work: Callable[[], str]) -> str:
    """What work() returns; a connection that is lost is tried again: kagglehub goes on where the file ended."""
    for attempt in range(TRIES - 1):
        try:
            return work()
        except Exception as error:
            if not {"ConnectionError", "ChunkedEncodingError", "Timeout", "DataCorruptionError"} & _kinds(error):
                raise
        time.sleep(AGAIN * 2**attempt)
    return work()


def _kinds(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _kaggle_sentence(error: Exception, handle: str, page: str) -> DataError:
    """One sentence about what kagglehub raised; told apart by names, for requests is its package, not ours."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    kinds = _kinds(error)
    if status in (401, 403):
        return DataError(
            f"Kaggle does not give kaggle:{handle} without a login: open {page} once, agree to its terms, and set "
            "KAGGLE_API_TOKEN to a token of https://www.kaggle.com/settings."
        )
    if status == 404:
        return DataError(f"Kaggle has no public data set {handle}: check its name at {page}.")
    if status == 429 or (status is not None and status >= 500):
        return NoNetwork(f"Kaggle has a fault of its own or too much to do (HTTP {status}) and did not give {handle}.")
    if status is not None:
        return DataError(f"Kaggle refuses kaggle:{handle} (HTTP {status}); see {page}.")
    if "ChunkedEncodingError" in kinds:
        return NoNetwork(
            f"The connection to Kaggle is lost again and again; try again, what has arrived of {handle} is kept."
        )
    if kinds & {"ConnectionError", "Timeout", "SSLError", "ProxyError"}:
        return NoNetwork(f"Kaggle cannot be reached for {handle}: no network, or it is down.")
    if kinds & {"DataCorruptionError", "BadZipFile", "EOFError", "TarError"}:
        return DataError(
            f"kaggle:{handle} arrived damaged; try again, or download {page} by hand and give the zip file."
        )
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError):
        return DataError(f"kaggle:{handle} could not be stored on this machine ({error.strerror or first_line}).")
    return DataError(f"kaggle:{handle} could not be fetched ({type(error).__name__}: {first_line}).")


# -- the Hub --------------------------------------------------------------------------------------------------------
def _hub(repo: str, revision: str | None) -> Path:
    where, token = f"{repo}@{revision}" if revision else repo, find_token()
    api = client(token)
    common: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    try:
        info = within(HUB_SECONDS, lambda: api.dataset_info(repo, revision=revision, files_metadata=True))
        kept = Path(constants.HF_HUB_CACHE, f"datasets--{repo.replace('/', '--')}", "snapshots", str(info.sha))
        missing = [file.size or 0 for file in info.siblings or [] if not (kept / file.rfilename).exists()]
        unpack.Budget(f"hf:{where}", kept).take(sum(missing), 0)
        return Path(api.snapshot_download(repo, **common))
    except DataError:
        raise
    except Exception as error:
        sentence = str(explain(error, where, token=token, seconds=HUB_SECONDS, kind="dataset"))
        if not _is_away(error):
            raise DataError(sentence) from None
        try:
            folder = Path(api.snapshot_download(repo, **common, local_files_only=True))
        except Exception:
            raise NoNetwork(sentence) from None
        note(f"{sentence} The copy fetched earlier (revision {folder.name[:7]}) is used.")
        return folder


def _is_away(error: Exception) -> bool:
    """Is it the network or the Hub that is missing, not the data set, the right to it, or room on this disk?"""
    status = status_of(error)
    refused = status is not None and status < 500 and status != 429
    return not (refused or isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)) or _errno(error))


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


# -- the web --------------------------------------------------------------------------------------------------------
def _web(url: str, folder: Path) -> Path:
    """The unpacked archive of an address: fetched once, whatever its server says later."""
    key = f"{zlib.crc32(url.encode()):08x}"
    said = without_secrets(url)
    for done in (folder / key).glob("*"):
        note(f"{said} was fetched earlier and lies in {done}; delete that folder to fetch it anew.")
        return done
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{key}.part"
    name = download.download(url, part, said)
    done = folder / key / download.safe_name(unpack.stem(Path(unquote(name))))
    try:
        unpack.unpack(part, done, said)
    finally:
        download.discard(part)
    return done
