"""One file of the web: resumed, never mixed with another one, and a sentence for each way in which it cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from brain_mri.data import download
from brain_mri.data.download import NoNetwork, safe_name
from brain_mri.data.folders import DataError
from dev.child_process import free_port
from tests.helpers.loopback_kaggle import LoopbackKaggle

pytest_plugins = ("tests.helpers.loopback_kaggle",)  # the fixture `kaggle`
CONTENT = os.urandom(3 * 2**20 + 5)


@pytest.fixture
def waited() -> list[float]:
    return []


def fetch(url: str, folder: Path, waited: list[float]) -> str:
    return download.download(url, folder / "x.part", wait=waited.append)


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {"Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}])
def test_a_lost_connection_is_taken_up_where_it_ended(
    kaggle: LoopbackKaggle, tmp_path: Path, waited: list[float], headers: dict[str, str]
) -> None:
    url = kaggle.file("slices.zip", CONTENT, headers)
    kaggle.cut = 2 * 2**20
    assert fetch(url, tmp_path, waited) == "slices.zip"
    assert (tmp_path / "x.part").read_bytes() == CONTENT and waited == [2.0]
    assert kaggle.log == ["GET /files/slices.zip", f"GET /files/slices.zip bytes={2 * 2**20}-"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}, {"ETag": '"1"', "Accept-Ranges": "none"}])
def test_without_a_sure_mark_it_begins_anew(
    kaggle: LoopbackKaggle, tmp_path: Path, waited: list[float], headers: dict[str, str]
) -> None:
    kaggle.cut = 2 * 2**20
    fetch(kaggle.file("slices.zip", CONTENT, headers), tmp_path, waited)
    assert (tmp_path / "x.part").read_bytes() == CONTENT and kaggle.log == ["GET /files/slices.zip"] * 2


def test_a_file_that_was_replaced_in_between_is_not_mixed(
    kaggle: LoopbackKaggle, tmp_path: Path, waited: list[float]
) -> None:
    (tmp_path / "x.part").write_bytes(b"of another file")
    (tmp_path / "x.part.json").write_text('{"mark": "\\"old\\""}')
    fetch(kaggle.file("slices.zip", CONTENT, {"ETag": '"new"'}), tmp_path, waited)
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    fetch(f"{kaggle.url}/files/slices.zip", tmp_path, waited)  # whole already, so there is no rest to ask for
    assert (tmp_path / "x.part").read_bytes() == CONTENT and not waited
    download.discard(tmp_path / "x.part")
    assert not list(tmp_path.glob("x.part*"))


def test_the_server_names_it(kaggle: LoopbackKaggle, tmp_path: Path, waited: list[float]) -> None:
    url = kaggle.file("5", CONTENT, {"Content-Disposition": 'attachment; filename="../../brain tumor.zip"'})
    assert fetch(url, tmp_path, waited) == "brain tumor.zip"
    assert safe_name("../..") == "data" and safe_name("a/b\0c") == "a_b_c" and len(safe_name("x" * 999)) == 100


@pytest.mark.parametrize(
    ("status", "said", "gone"),
    [
        (404, "no such file any more", False),
        (403, "asks for a login or refuses it", False),
        (418, "HTTP 418", False),
        (503, "fault of its own or too much to do .HTTP 503", True),
        (429, "HTTP 429", True),
    ],
)
def test_refusals(
    kaggle: LoopbackKaggle, tmp_path: Path, waited: list[float], status: int, said: str, gone: bool
) -> None:
    kaggle.refusals["slices.zip"] = status
    with pytest.raises(DataError, match=said) as error:
        fetch(kaggle.file("slices.zip", CONTENT), tmp_path, waited)
    assert isinstance(error.value, NoNetwork) == gone == bool(waited) and "\n" not in str(error.value)


def test_a_web_page_in_its_place(kaggle: LoopbackKaggle, tmp_path: Path, waited: list[float]) -> None:
    url = kaggle.file("share", b"<html>sign in</html>", {"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(DataError, match="is a web page, not a file") as error:
        fetch(url, tmp_path, waited)
    assert not isinstance(error.value, NoNetwork) and not list(tmp_path.glob("x.part*"))


def test_nobody_there_is_said_at_once(tmp_path: Path, waited: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for host in (f"127.0.0.1:{free_port()}", "no-such-host.invalid"):
        with pytest.raises(NoNetwork, match="no network, or no such server"):
            fetch(f"http://{host}/slices.zip", tmp_path, waited)
    assert not waited


def test_always_cut_ends_and_keeps_what_came(
    kaggle: LoopbackKaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = kaggle.file("slices.zip", CONTENT, {"ETag": '"1"'})
    kaggle.cut = 100_000

    def cut_again(_: float) -> None:
        kaggle.cut = 100_000

    with pytest.raises(NoNetwork, match="lost again and again; what has arrived is kept"):
        download.download(url, tmp_path / "x.part", wait=cut_again)
    assert (tmp_path / "x.part").read_bytes() == CONTENT[: 5 * 100_000]
    monkeypatch.setattr(download, "RESERVE", 2**60)
    with pytest.raises(DataError, match=r"more than the 0\.0 GB that may be used of the disk"):
        download.download(url, tmp_path / "x.part", wait=cut_again)
    monkeypatch.setattr(download, "RESERVE", 0)
    download.download(url, tmp_path / "x.part", wait=cut_again)
    assert (tmp_path / "x.part").read_bytes() == CONTENT
