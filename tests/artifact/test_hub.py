"""Pulling from a loopback Hub that speaks the real protocol to the real client."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact import hub, hub_client
from tests.helpers.loopback_hub import LoopbackHub, sentence, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "run1")


@pytest.fixture
def published(loopback: LoopbackHub, model: Path) -> str:
    """The commit of me/model, put there without a client."""
    return loopback.publish(model, "me/model")


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_pull_fetches_only_what_serves(loopback: LoopbackHub, published: str, tmp_path: Path) -> None:
    loopback.log.clear()
    got = hub.pull("me/model", cache_dir=tmp_path)
    assert (got.repo_id, got.revision, got.source, got.note) == ("me/model", published, "hub", None)
    assert sorted(path.name for path in got.folder.iterdir()) == ["classifier.onnx", "config.json", "segmenter.onnx"]
    assert not loopback.requests(r"\.h5|README|metrics|figures")
    loopback.log.clear()
    assert hub.pull("me/model", cache_dir=tmp_path).folder == got.folder
    assert len(loopback.log) == 1  # which commit is it now?


def test_pull_by_tag_branch_and_commit(loopback: LoopbackHub, model: Path, published: str, tmp_path: Path) -> None:
    second = loopback.publish(write_model(tmp_path / "run2", 2), "me/model")
    loopback.repo("me/model").tags |= {"v1": published, "v2": second}
    loopback.repo("me/model").branches["feature/x"] = published
    for asked, revision in [
        ("", second),
        ("@main", second),
        ("@v2", second),
        ("@v1", published),
        ("@feature/x", published),
        (f"@{published}", published),
    ]:
        assert hub.pull(f"me/model{asked}", cache_dir=tmp_path / "cache").revision == revision, asked
    loopback.log.clear()
    got = hub.pull(f"me/model@{published}", cache_dir=tmp_path / "cache")
    assert (got.source, got.note, loopback.log) == ("cache", None, [])  # pinned and cached: no request


@pytest.mark.parametrize("text", ["model", "a/b/c", "../x/y", "me/model@", "me/model@../../x", "", "me/mod el"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(hub_client.HubError) as error:
        hub.pull(text)
    assert "user/name" in sentence(error)


def broken_config(loopback: LoopbackHub, old: bytes, new: bytes) -> None:
    content = loopback.repo("me/model").files["config.json"].content
    assert old in content
    loopback.edit("me/model", {"config.json": content.replace(old, new)})


FAILURES: dict[str, tuple[Any, str]] = {
    "fault of the Hub": (lambda h: h.fail("GET /api/models", status=503), "HTTP 503"),
    "fault while downloading": (lambda h: h.fail("resolve", status=500), "HTTP 500"),
    "fault of the large file store": (lambda h: h.fail("lfs/download", status=502), "HTTP 502"),
    "hanging": (lambda h: h.fail("GET /api/models", hang=60), "did not answer within 1 s"),
    "hanging download": (lambda h: h.fail("lfs/download", hang=60), "slow or stuck"),
    "slow": (lambda h: h.fail("lfs/download", slow=500), "slow or stuck"),
    "cut download": (lambda h: h.fail("lfs/download", cut=100), "slow or stuck"),
    "busy": (lambda h: h.fail("GET /api/models", status=429), "too many requests"),
    "proxy page": (lambda h: h.fail("GET /api/models", corrupt=True), "not readable"),
    "gated": (lambda h: setattr(h.repo("me/model"), "gated", True), "is gated"),
    "private or missing": (lambda h: setattr(h.repo("me/model"), "private", True), "There is no"),
    "missing file": (lambda h: h.edit("me/model", {"segmenter.onnx": None}), "lacks segmenter.onnx"),
    "foreign": (lambda h: h.edit("me/model", {"config.json": None}), "holds no config.json"),
    "foreign config": (lambda h: h.edit("me/model", {"config.json": b'{"a": 1}'}), "another program"),
    "no JSON": (lambda h: h.edit("me/model", {"config.json": b"\xff\xfe"}), "not JSON"),
    "wrong format": (lambda h: broken_config(h, b'"format_version": 1', b'"format_version": 99'), "format 99"),
    "lacking keys": (lambda h: broken_config(h, b'"temperature"', b'"temper"'), "lacks temperature"),
    "damaged on the way": (lambda h: h.fail("lfs/download", corrupt=True), "damaged"),
    "damaged on the Hub": (lambda h: h.edit("me/model", {"classifier.onnx": b"\0 other"}), "classifier.onnx"),
    "truncated on the Hub": (
        lambda h: h.edit("me/model", {"segmenter.onnx": h.repo("me/model").files["segmenter.onnx"].content[:-1]}),
        "segmenter.onnx",
    ),
}


WAITS = ("hang", "slow", "cut")
CASES = [(name, True) for name in FAILURES]
CASES += [(name, False) for name in FAILURES if not name.startswith(WAITS)]  # a token does not shorten waiting


@pytest.mark.parametrize(("failure", "logged_in"), CASES)
def test_each_failure_has_its_sentence_and_the_cache_answers(
    loopback: LoopbackHub,
    published: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
    logged_in: bool,
) -> None:
    slow = failure.startswith(WAITS)
    cache = tmp_path / "cache"
    hub.pull("me/model", cache_dir=cache)
    loopback.publish(write_model(tmp_path / "run2", 2), "me/model")  # a newer revision, which then cannot be had
    if logged_in:
        monkeypatch.setenv("HF_TOKEN", loopback.account("visitor", token="hf_visitor", role="read"))
    else:
        monkeypatch.delenv("HF_TOKEN")
    provoke, expected = FAILURES[failure]
    provoke(loopback)
    timeout = 1.0 if slow else 5.0
    started = time.monotonic()
    with pytest.raises(hub_client.HubError) as error:
        hub.pull("me/model", cache_dir=tmp_path / "empty", timeout=timeout)
    assert expected in sentence(error)
    assert time.monotonic() - started < timeout + 1.5
    got = hub.pull("me/model", cache_dir=cache, timeout=timeout)
    assert (got.source, got.revision) == ("cache", published)
    assert expected in str(got.note) and published[:7] in str(got.note)


def test_down(loopback: LoopbackHub, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.repo("me/model").tags["v1"] = published
    hub.pull("me/model", cache_dir=tmp_path)
    hub.pull("me/model@v1", cache_dir=tmp_path)
    for address in (closed_port(), "http://nosuchhost.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", address)
        started = time.monotonic()
        with pytest.raises(hub_client.HubError) as error:
            hub.pull("me/model", cache_dir=tmp_path / "empty")
        assert "cannot be reached" in sentence(error) or "did not answer" in sentence(error)
        for asked in ("me/model", "me/model@main", "me/model@v1"):
            got = hub.pull(asked, cache_dir=tmp_path)
            assert (got.source, got.revision) == ("cache", published) and got.note
        with pytest.raises(hub_client.HubError):  # a named revision that never was here: no other one may pass for it
            hub.pull("me/model@v9", cache_dir=tmp_path)
        assert time.monotonic() - started < 26


def test_the_default_wait_is_five_seconds(loopback: LoopbackHub, published: str, tmp_path: Path) -> None:
    loopback.fail("resolve|lfs/download", hang=60)
    started = time.monotonic()
    with pytest.raises(hub_client.HubError):
        hub.pull("me/model", cache_dir=tmp_path)
    assert 4.5 < time.monotonic() - started < 6.5


def test_a_patient_caller_waits_for_a_slow_download(loopback: LoopbackHub, published: str, tmp_path: Path) -> None:
    loopback.fail("lfs/download", slow=30_000)  # about 44 kB each
    assert hub.pull("me/model", cache_dir=tmp_path, timeout=1.0, patience=30).source == "hub"


def test_the_late_download_is_there_next_time(loopback: LoopbackHub, published: str, tmp_path: Path) -> None:
    loopback.fail("lfs/download", slow=40_000)
    with pytest.raises(hub_client.HubError, match="goes on in the background"):
        hub.pull("me/model", cache_dir=tmp_path, timeout=0.7)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert hub.pull("me/model", cache_dir=tmp_path, timeout=0.7).source == "hub"
            return
        except hub_client.HubError:
            time.sleep(0.3)
    pytest.fail("the download did not finish in the background")


def test_missing_revision(published: str, tmp_path: Path) -> None:
    with pytest.raises(hub_client.HubError) as error:
        hub.pull("me/model@v9", cache_dir=tmp_path)
    assert "no branch, tag or commit named v9" in sentence(error)
    with pytest.raises(hub_client.HubError, match="no branch, tag or commit"):
        hub.pull(f"me/model@{'0' * 40}", cache_dir=tmp_path)


def test_expired_token(published: str, tmp_path: Path) -> None:
    with pytest.raises(hub_client.HubError, match="refused the token"):
        hub.pull("me/model", cache_dir=tmp_path, token="hf_expired")


def test_gated_opens_for_those_let_in(loopback: LoopbackHub, published: str, tmp_path: Path) -> None:
    repo = loopback.repo("me/model")
    repo.gated, repo.allowed = True, {"friend"}
    friend = loopback.account("friend", token="hf_friend", role="read")
    assert hub.pull("me/model", cache_dir=tmp_path, token=friend).source == "hub"


def test_a_damaged_cache_is_fetched_again(published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("me/model", f"me/model@{published}"):
        got = hub.pull(asked, cache_dir=tmp_path)
        (got.folder / "classifier.onnx").resolve().write_bytes(b"half of i")
        assert hub.pull(asked, cache_dir=tmp_path).source == "hub"
        assert (got.folder / "classifier.onnx").stat().st_size > 1000
    (got.folder / "classifier.onnx").resolve().write_bytes(b"half of i")
    monkeypatch.setenv("HF_ENDPOINT", closed_port())
    with pytest.raises(hub_client.HubError, match="cannot be reached"):  # never a damaged model
        hub.pull("me/model", cache_dir=tmp_path)


def test_a_space_that_preloaded_a_commit_starts_while_the_hub_is_down(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.pull(f"me/model@{published}", cache_dir=tmp_path)
    for ref in (tmp_path / "models--me--model" / "refs").iterdir():
        ref.unlink()
    monkeypatch.setenv("HF_ENDPOINT", closed_port())
    assert hub.pull("me/model", cache_dir=tmp_path).revision == published


def test_newer_revision(loopback: LoopbackHub, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def newer(branch: str | None = "main") -> str | None:
        return hub.newer_revision("me/model", published, branch, timeout=0.5)

    assert newer() is None and newer(None) is None
    loopback.repo("me/model").tags["v1"] = published
    second = loopback.publish(write_model(tmp_path / "run2", 2), "me/model")
    assert newer() == newer(None) == second
    assert newer("v1") is None and newer(published) is None and newer("nowhere") is None
    loopback.fail("GET /api/models", hang=60)
    started = time.monotonic()
    assert newer() is None and time.monotonic() - started < 1.5
    monkeypatch.setenv("HF_ENDPOINT", closed_port())
    assert newer() is None


def test_a_model_that_is_too_large_is_not_fetched(
    loopback: LoopbackHub, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hub.LARGEST, "classifier.onnx", 100)
    with pytest.raises(hub_client.HubError, match="me/model is too large"):
        hub.pull("me/model", cache_dir=tmp_path / "cache")
    assert not any("resolve" in line for line in loopback.log)
