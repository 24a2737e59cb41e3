"""One file from the web, resumed where an earlier try ended.

Python's own urllib: what stands on GitHub, Zenodo or figshare needs no more, and no package is asked for.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm.auto import tqdm

from brain_mri.data.folders import DataError
from brain_mri.data.unpack import MAX_UNPACKED, RESERVE
from brain_mri.files import FileError, read_json, write_json

SILENCE = 30.0  # seconds without a byte after which a connection counts as lost
TRIES = 5
CHUNK = 2**20


class NoNetwork(DataError):
    """Somebody who has the data cannot be reached; the message is one sentence for a person."""


def download(url: str, part: Path, said: str = "", wait: Callable[[float], object] = time.sleep) -> str:
    """Fetch `url` into the file `part`, going on with what is there; returns the name that its server gives it.

    What is there counts as the beginning of the same file only where the server says so (If-Range with its ETag or
    date). A connection that is lost is taken up again. said: the address in sentences. Raises NoNetwork, DataError.
    """
    said = said or url
    failed = ""
    for attempt in range(TRIES):
        if attempt:
            wait(2.0**attempt)
        try:
            return _go_on(url, part, said)
        except DataError:
            raise
        except (ValueError, http.client.InvalidURL):
            raise DataError(f"{said} is no address that can be asked.") from None
        except urllib.error.HTTPError as error:
            if error.code in (429, 500, 502, 503, 504):
                failed = f"its server has a fault of its own or too much to do (HTTP {error.code})"
                continue
            raise DataError(f"{said} cannot be fetched: {_refusal(error.code)}.") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            if attempt == 0 and isinstance(error, urllib.error.URLError):  # no such host, no way to it, nobody there
                raise NoNetwork(f"{said} cannot be reached: no network, or no such server ({error.reason}).") from None
            failed = "the connection is lost again and again" if part.exists() else "its server does not answer"
        except OSError as error:
            raise DataError(f"{part.parent} does not take {said} ({error.strerror or error}).") from None
    raise NoNetwork(f"{said} cannot be fetched now: {failed}; what has arrived is kept, so try again later.")


def _go_on(url: str, part: Path, said: str) -> str:
    about = part.with_name(f"{part.name}.json")
    have = part.stat().st_size if part.exists() else 0
    try:
        mark = str(read_json(about).get("mark", "")) if have else ""
    except FileError:
        mark = ""
    headers = {"User-Agent": "brain-mri-demo", "Accept-Encoding": "identity"}
    if mark:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    try:
        plain = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")  # as it is, but for spaces and letters like é
        answer = urllib.request.urlopen(urllib.request.Request(plain, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not mark:
            raise
        part.unlink()  # it is complete, or longer than the file: fetched again, to be sure
        return _go_on(url, part, said)
    with answer:
        kind = answer.headers.get_content_type()
        if kind in ("text/html", "application/xhtml+xml"):
            raise DataError(
                f"{said} is a web page, not a file: copy the address of its download button, or download it by hand."
            )
        goes_on = answer.status == 206
        length = answer.headers.get("Content-Length")
        have = have if goes_on else 0
        total = have + int(length) if length and length.isdigit() else None
        _check_room(said, part, (total or 0) - have)
        write_json(about, {"mark": _mark(answer.headers)})
        with (
            part.open("ab" if goes_on else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=_name(answer)) as bar,
        ):
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MAX_UNPACKED:
                    raise DataError(f"{said} is larger than {MAX_UNPACKED / 2**30:.0f} GB and was refused.")
            got = file.tell()
    if total is not None and got < total:
        raise http.client.IncompleteRead(b"", total - got)
    return _name(answer)


def _mark(headers: http.client.HTTPMessage) -> str:
    """What tells this state of the file from another: a strong ETag, else its date, else nothing."""
    tag = headers.get("ETag") or ""
    if headers.get("Accept-Ranges", "bytes") != "bytes":
        return ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _name(answer: http.client.HTTPResponse) -> str:
    """The file's name: of the header Content-Disposition, else the end of the address."""
    given = answer.headers.get_filename() or urllib.parse.unquote(urllib.parse.urlsplit(answer.url).path)
    return safe_name(given.replace("\\", "/").rstrip("/").rpartition("/")[2])


def safe_name(text: str) -> str:
    """A file or folder name, whatever the text."""
    return re.sub(r"[^\w .+()-]", "_", text).strip("._ ")[-100:] or "data"


def _check_room(said: str, part: Path, missing: int) -> None:
    free = shutil.disk_usage(part.parent).free - RESERVE
    if missing > min(free, MAX_UNPACKED):
        raise DataError(
            f"{said} has {missing / 2**30:.1f} GB, more than the {max(free, 0) / 2**30:.1f} GB that may be used of the "
            f"disk of {part.parent}."
        )


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"its server asks for a login or refuses it (HTTP {status}), so download it by hand and give the file"
    if status in (404, 410):
        return "there is no such file any more, or the address is mistyped"
    return f"its server refuses it (HTTP {status})"


def discard(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.json")):
        with contextlib.suppress(OSError):
            path.unlink()
