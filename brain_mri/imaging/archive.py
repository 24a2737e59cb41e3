"""Files, folders and archives (zip, tar, gzip, 7z where py7zr is installed) -> members, read when they are needed.

Archives are read in memory, member by member and never unpacked to disk, so names like ../../x lead nowhere. What a
member is, its first bytes say. An archive in an archive is opened, one in that is not.
"""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from brain_mri.imaging.file_type import GZIP, archive_kind
from brain_mri.imaging.scan import MAX_BYTES, ScanError, TooLarge, clean_name, content_of, inflate, read_bytes

MAX_FILES = 5000  # of one folder or archive
MAX_TOTAL = 2 * MAX_BYTES  # bytes of all files together
HEAD = 4096  # bytes of a member that tell its kind
LEVELS = 2  # an archive, and archives in it

Source = str | Path | bytes | Sequence[str | Path]


@dataclass(frozen=True, eq=False)
class Member:
    """A file of an upload. path: within it; start: its first bytes, unpacked; load: its content, unpacked; alias: what
    sentences call it where its own name is not to be told."""

    path: str
    start: bytes
    load: Callable[[], bytes]
    alias: str = ""

    @property
    def own(self) -> str:
        return clean_name(self.path)

    @property
    def name(self) -> str:
        return self.alias or self.own


@dataclass(eq=False)
class Upload:
    """What a person chose: its name, whether it is an archive, the files in it, and bytes loaded so far, by path.
    named: whether sentences may tell the names of its files."""

    name: str
    packed: bool
    named: bool = True
    members: list[Member] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def alias(self, path: str) -> str:
        return "" if self.named or path == self.name else f"One file of {self.name}"

    def counted(self, path: str, data: bytes) -> bytes:
        """The data. Raises TooLarge when the upload unpacks to too much."""
        self.sizes[path] = len(data)
        if len(data) > MAX_BYTES:
            which = self.alias(path) or f"{clean_name(path)} in {self.name}"
            raise TooLarge(f"{which} is larger than the limit of {MAX_BYTES // 2**20} MB.")
        if sum(self.sizes.values()) > MAX_TOTAL:
            what = "unpacks to more than" if self.packed else "holds more than"
            raise TooLarge(f"{self.name} {what} {MAX_TOTAL // 2**20} MB and was refused; choose one series.")
        return data


def open_upload(source: Source, name: str | None = None, named: bool = True) -> Upload:
    """The members of a file, a folder, an archive, its bytes, or several files. Raises ScanError.

    named: False when no sentence may tell the names of its files; then `name` is not to be one either."""
    if not isinstance(source, (str, Path, bytes, bytearray, memoryview)):
        paths = [Path(p) for p in source]
        if not paths:
            raise ScanError("No file was chosen.")
        if len(paths) > 1:
            upload = Upload(clean_name(name or _common(paths)), False, named)
            return _filled(upload, _files(paths, upload))
        source = paths[0]
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        upload = Upload(clean_name(name or source), False, named)
        return _filled(upload, _files(_walk(Path(source)), upload, Path(source)))
    data, name = content_of(source if isinstance(source, (str, Path)) else bytes(source), name)
    packed = archive_kind(data) or (data[:2] == GZIP and archive_kind(_unpacked_start(data)))
    return _filled(Upload(name, bool(packed), named), [Member(name, data[:HEAD], lambda: data)])


def _common(paths: list[Path]) -> str:
    """The folder that all files come from; not the hash that an upload's folder is named with."""
    folders = {p.parent.name for p in paths}
    name = folders.pop() if len(folders) == 1 else ""
    return "series" if not name or re.fullmatch(r"[0-9a-f]{32,}", name) else name


def _filled(upload: Upload, raw: Iterable[Member]) -> Upload:
    used: dict[str, int] = {}
    for member in _opened(raw, upload, LEVELS):
        if len(upload.members) >= MAX_FILES:
            raise TooLarge(f"{upload.name} holds more than {MAX_FILES} files; choose one series.")
        used[member.path] = used.get(member.path, 0) + 1
        path = member.path if used[member.path] == 1 else f"{member.path} ({used[member.path]})"
        load = lambda path=path, load=member.load: upload.counted(path, load())  # noqa: E731
        upload.members.append(replace(member, path=path, load=load))
    return upload


def _opened(raw: Iterable[Member], upload: Upload, levels: int, inside: str = "") -> Iterator[Member]:
    """The members with gzip taken off, and those of archives in the place of the archives."""
    for member in raw:
        path = inside + member.path
        member = _plain(replace(member, path=path, alias=upload.alias(path)))
        kind = archive_kind(member.start)
        if not kind or not levels:
            yield member
            continue
        data = member.load() if levels == LEVELS else upload.counted(member.path, member.load())
        below = "" if member.path == upload.name else f"{member.path}/"
        with _sentence(member.name, kind):
            yield from _opened(_OPEN[kind](data, member.name), upload, levels - 1, below)


@contextmanager
def _sentence(name: str, kind: str) -> Iterator[None]:
    try:
        yield
    except ScanError:
        raise
    except MemoryError:
        raise TooLarge(f"{name} needs more memory than there is.") from None
    except Exception:  # BadZipFile, zlib.error, NotImplementedError, EOFError, ...
        raise ScanError(f"{name} is a damaged {kind} archive or of a kind that cannot be unpacked here.") from None


def _plain(member: Member) -> Member:
    """The member without its gzip."""
    if member.start[:2] != GZIP:
        return member
    start = _unpacked_start(member.start)
    limit = {"limit": MAX_TOTAL} if archive_kind(start) else {}
    return replace(member, start=start, load=lambda: inflate(member.load(), member.name, **limit))


def _unpacked_start(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(start[:HEAD], HEAD) or start
    except zlib.error:
        return start


def _path(name: str) -> str | None:
    """A member's path as printable text; None for what systems leave in archives and folders."""
    parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    if not parts or "__MACOSX" in parts or any(p.startswith(".") for p in parts):
        return None
    return "/".join(clean_name(p) for p in parts)


# ---- files and folders ----


def _walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and below it; links and hidden files are passed over."""
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for file in sorted(files):
            path = Path(root, file)
            if not file.startswith(".") and not path.is_symlink() and path.is_file():
                yield path


def _files(paths: Iterable[Path], upload: Upload, folder: Path | None = None) -> Iterator[Member]:
    for path in paths:
        own = _path(str(path.relative_to(folder) if folder else path.name)) or clean_name(path)
        called = upload.alias(own) or clean_name(path)
        try:
            with path.open("rb") as stream:
                start = stream.read(HEAD)
        except FileNotFoundError:
            raise ScanError(f"There is no file {called}.") from None
        except OSError as error:  # gone, or not to be read, since the folder was listed
            raise ScanError(f"{called} could not be opened ({error.strerror}).") from None
        yield Member(own, start, lambda path=path, called=called: read_bytes(path, called))  # type: ignore[misc]


# ---- archives ----


def _zip(data: bytes, name: str) -> Iterator[Member]:
    if data.startswith(b"PK\x07\x08"):
        raise ScanError(f"{name} is one part of a split zip archive; join its parts first.")
    if data.count(b"PK\x01\x02") > MAX_FILES:  # before a directory of millions is parsed
        raise TooLarge(f"{name} holds more than {MAX_FILES} files; make an archive of one series.")
    if b"PK\x05\x06" not in data[-70_000:]:
        raise ScanError(f"{name} is an incomplete zip archive: its end is missing, so download or copy it again.")
    archive = zipfile.ZipFile(BytesIO(data))
    for info in archive.infolist():
        path = None if info.is_dir() else _path(info.filename)
        if path is None:
            continue
        if info.flag_bits & 1:
            raise ScanError(f"{name} is protected by a password; unpack it first.")

        def load(most: int = MAX_BYTES + 1, info: zipfile.ZipInfo = info) -> bytes:
            with _sentence(name, "zip"), archive.open(info) as stream:  # a bomb is read no further than the limit
                return stream.read(most)

        try:
            start = load(HEAD)
        except ScanError:  # damaged, or packed in a way that is unknown here
            start = b""
        yield Member(path, start, load)


def _tar(data: bytes, name: str) -> Iterator[Member]:
    if data[-512:].strip(b"\0"):  # no mark of the end
        raise ScanError(f"{name} is an incomplete tar archive: its end is missing, so download or copy it again.")
    with tarfile.open(fileobj=BytesIO(data), mode="r:") as archive:
        for count, info in enumerate(archive):
            if count > 2 * MAX_FILES:  # folders and all
                raise TooLarge(f"{name} holds more than {MAX_FILES} files; make an archive of one series.")
            path = _path(info.name)
            if path is None or not info.isreg() or info.issparse():  # a sparse file may claim any size
                continue
            begin, end = info.offset_data, info.offset_data + info.size
            if end > len(data):
                raise ScanError(f"{name} is an incomplete tar archive; download or copy it again.")
            start = data[begin : min(end, begin + HEAD)]
            yield Member(path, start, lambda begin=begin, end=end: data[begin:end])  # type: ignore[misc]


def _seven(data: bytes, name: str) -> Iterator[Member]:
    if find_spec("py7zr") is None:
        raise ScanError(f"{name} is a 7z archive, which cannot be unpacked here; make a zip archive of its files.")
    py7zr = import_module("py7zr")  # LGPL, and only where somebody installed it: no package of ours asks for it
    with py7zr.SevenZipFile(BytesIO(data)) as archive:
        if archive.needs_password():
            raise ScanError(f"{name} is protected by a password; unpack it first.")
        sizes = [info.uncompressed for info in archive.list()]
        if len(sizes) > MAX_FILES or sum(sizes) > MAX_TOTAL:
            raise TooLarge(f"{name} unpacks to more than {MAX_TOTAL // 2**20} MB or {MAX_FILES} files and was refused.")
        factory = py7zr.io.BytesIOFactory(MAX_BYTES)
        archive.extractall(factory=factory)
    for file, content in factory.products.items():
        path = _path(file)
        if path is not None:
            content.seek(0)
            whole = content.read()
            yield Member(path, whole[:HEAD], lambda whole=whole: whole)  # type: ignore[misc]


_OPEN = {"zip": _zip, "tar": _tar, "7z": _seven}
