"""Archives of a data set: once for each state, never mixed up, one sentence for each that cannot be unpacked."""

from __future__ import annotations

import io
import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from brain_mri.data.folders import DataError
from brain_mri.data.unpack import unpacked


def archive(folder: Path, name: str, text: str, kind: str = "zip") -> Path:
    (folder / "made").mkdir(parents=True, exist_ok=True)
    (folder / "made" / "a.txt").write_text(text)
    for path in (folder / "made" / "a.txt", folder / "made"):  # its digits make a packed tar longer
        os.utime(path, (1e9, 1e9))
    return Path(shutil.make_archive(str(folder / name), kind, folder / "made"))


def text_of(path: Path, into: Path) -> str:
    return (unpacked(path, into) / "a.txt").read_text()


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_once_for_each_state_of_an_archive(tmp_path: Path, kind: str) -> None:
    into = tmp_path / "unpacked"
    path = archive(tmp_path / "one", "archive", "first", kind)
    assert text_of(path, into) == "first" and unpacked(path, into) == unpacked(path, into)
    other = archive(tmp_path / "two", "archive", "other", kind)
    assert text_of(other, into) == "other" and text_of(path, into) == "first"
    size = path.stat().st_size
    archive(tmp_path / "one", "archive", "later", kind)
    os.utime(path, (1e9, 1e9))
    assert abs(path.stat().st_size - size) < 9 and text_of(path, into) == "later"
    loud = path.rename(tmp_path / "DATA.ZIP")  # its content says what it is
    assert text_of(loud, into) == "later"


def test_a_folder_is_used_where_it_is(tmp_path: Path) -> None:
    assert unpacked(tmp_path, tmp_path / "unpacked") == tmp_path and not (tmp_path / "unpacked").exists()


def test_what_cannot_be_unpacked_is_one_sentence(tmp_path: Path) -> None:
    whole = archive(tmp_path, "whole", "x" * 999).read_bytes()
    locked = bytearray(whole)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = locked.rindex(mark)
        struct.pack_into("<H", locked, at + flags, 1)
    bad = bytearray(whole)
    with zipfile.ZipFile(tmp_path / "whole.zip") as opened:
        at = next(m.header_offset for m in opened.infolist() if m.filename.endswith("a.txt"))
    bad[at + 40 : at + 44] = b"\xff\xff\xff\xff"
    broken_tar = archive(tmp_path, "t", "y" * 5000, "gztar").read_bytes()[:-40]
    for name, content, said in (
        ("half.zip", whole[: len(whole) // 2], "no zip or tar file"),
        ("page.zip", b"<html>sign in</html>", "no zip or tar file"),
        ("empty.zip", b"", "no zip or tar file"),
        ("locked.zip", bytes(locked), "password"),
        ("bad.zip", bytes(bad), "could not be unpacked"),
        ("half.tar.gz", broken_tar, "could not be unpacked"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said) as error:
            unpacked(tmp_path / name, tmp_path / "unpacked")
        assert name in str(error.value) and "\n" not in str(error.value)
        assert not (tmp_path / "unpacked").exists() and not list(tmp_path.glob("unpacked*"))
    with pytest.raises(DataError, match=r"There is no .*absent\.zip"):
        unpacked(tmp_path / "absent.zip", tmp_path / "unpacked")


@pytest.mark.parametrize("where", ["../escaped.txt", "{root}/escaped.txt"])
def test_a_tar_file_leads_nowhere_else(tmp_path: Path, where: str) -> None:
    name = where.format(root=tmp_path)
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        member = tarfile.TarInfo(name)
        member.size = 1
        made.addfile(member, io.BytesIO(b"x"))
    try:
        folder = unpacked(tmp_path / "a.tar", tmp_path / "unpacked")
        inside = [path for path in folder.rglob("*") if path.is_file()]
    except DataError as error:
        assert "could not be unpacked" in str(error)
        inside = []
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {tmp_path / "a.tar", *inside}
