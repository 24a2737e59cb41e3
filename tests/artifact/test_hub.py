"""hub.py against a loopback Hub that speaks the real protocol to the real client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from brain_mri.artifact import hub, hub_client, hub_push
from tests.helpers.loopback_hub import LoopbackHub, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "run1")


@pytest.fixture
def pushed(loopback: LoopbackHub, model: Path) -> hub_push.Pushed:
    return hub_push.push(model, "me/model")


@pytest.fixture
def published(loopback: LoopbackHub, model: Path) -> str:
    """The commit of me/model, put there without a client."""
    return loopback.publish(model, "me/model")


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def sentence(error: pytest.ExceptionInfo[hub_client.HubError]) -> str:
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text and text.endswith((".", ". ")), text
    return text


# push


def test_push_is_one_commit_with_a_tag(loopback: LoopbackHub, model: Path) -> None:
    done = hub_push.push(model, "me/model")
    repo = loopback.repo("me/model")
    assert repo.history == ["initial commit", "Publish tiny"]
    assert set(repo.files) == {
        ".gitattributes",
        "README.md",
        "classifier.onnx",
        "classifier.weights.h5",
        "config.json",
        "figures/roc.png",
        "metrics.json",
        "segmenter.onnx",
    }
    assert repo.files["classifier.onnx"].lfs and repo.files["classifier.onnx"].content == (
        (model / "classifier.onnx").read_bytes()
    )
    assert done.changed and done.revision == repo.branches["main"] and repo.tags == {done.tag: done.revision}
    assert done.tag.startswith("run-2026-01-01-") and done.url == f"{loopback.url}/me/model" and done.note is None


def test_second_identical_push_changes_nothing(loopback: LoopbackHub, model: Path, pushed: hub_push.Pushed) -> None:
    loopback.log.clear()
    again = hub_push.push(model, "model")  # without a namespace: the account's own
    assert not again.changed and (again.revision, again.tag) == (pushed.revision, pushed.tag)
    assert len(loopback.repo("me/model").commits) == 2
    assert not loopback.requests("/commit/|preupload|lfs")


def test_only_what_config_lists_is_pushed(loopback: LoopbackHub, model: Path) -> None:
    (model / "checkpoint.keras").write_bytes(b"private")
    (model / "notes.txt").write_text("private")
    hub_push.push(model, "me/model")
    assert not {"checkpoint.keras", "notes.txt"} & set(loopback.repo("me/model").files)


def test_a_new_run_replaces_the_old_and_keeps_what_people_added(
    loopback: LoopbackHub, model: Path, pushed: hub_push.Pushed, tmp_path: Path
) -> None:
    loopback.edit("me/model", {"LICENSE": b"MIT", "figures/photo.png": b"\x89PNG"})
    second = hub_push.push(write_model(tmp_path / "run2", 2, figures=("curve.png",)), "me/model")
    repo = loopback.repo("me/model")
    assert repo.history == ["initial commit", "Publish tiny", "Edit", "Publish tiny"]
    assert {"LICENSE", "figures/photo.png", "figures/curve.png"} <= set(repo.files)
    assert "figures/roc.png" not in repo.files  # ours, and no longer listed
    assert repo.files["README.md"].content.endswith(b"# Run 2\n")
    assert repo.tags == {pushed.tag: pushed.revision, second.tag: second.revision}


def test_a_card_edited_on_the_hub_is_kept(loopback: LoopbackHub, pushed: hub_push.Pushed, tmp_path: Path) -> None:
    mine = b"---\nlicense: apache-2.0\n---\nWritten by a person.\n"
    loopback.edit("me/model", {"README.md": mine})
    second = write_model(tmp_path / "run2", 2)
    done = hub_push.push(second, "me/model")
    repo = loopback.repo("me/model")
    assert repo.files["README.md"].content == mine and "kept" in str(done.note)
    assert repo.files["MODEL_CARD.md"].content.endswith(b"# Run 2\n")
    assert not hub_push.push(second, "me/model").changed
    # The person gives up their card: ours moves back.
    loopback.edit("me/model", {"README.md": repo.files["MODEL_CARD.md"].content})
    done = hub_push.push(write_model(tmp_path / "run3", 3), "me/model")
    assert repo.files["README.md"].content.endswith(b"# Run 3\n") and "MODEL_CARD.md" not in repo.files
    assert done.note is None


def test_a_card_edited_before_the_push_survives_the_next_run(
    loopback: LoopbackHub, model: Path, tmp_path: Path
) -> None:
    (model / "README.md").write_text("# My own words\n")
    hub_push.push(model, "me/model")
    hub_push.push(write_model(tmp_path / "run2", 2), "me/model")
    assert loopback.repo("me/model").files["README.md"].content == b"# My own words\n"


def test_the_bare_header_of_the_new_model_form_is_replaced(loopback: LoopbackHub, model: Path) -> None:
    loopback.create("me/model")
    loopback.edit("me/model", {"README.md": b"---\nlicense: mit\n---\n"})
    assert hub_push.push(model, "me/model").note is None
    assert loopback.repo("me/model").files["README.md"].content.endswith(b"# Run 1\n")


def test_another_programs_model_is_not_buried(loopback: LoopbackHub, model: Path) -> None:
    loopback.create("me/bert")
    before = loopback.edit("me/bert", {"config.json": b'{"architectures": ["BertModel"]}'})
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(model, "me/bert")
    assert "another program" in sentence(error) and loopback.repo("me/bert").branches["main"] == before


@pytest.mark.parametrize("where", ["preupload", "lfs/objects/batch", "PUT /lfs/upload", "/commit/"])
def test_a_failed_push_leaves_the_old_revision_whole(
    loopback: LoopbackHub, pushed: hub_push.Pushed, tmp_path: Path, where: str
) -> None:
    second = write_model(tmp_path / "run2", 2)
    fault = loopback.fail(where, status=400)
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(second, "me/model")
    assert "nothing on the Hub was changed" in sentence(error)
    repo = loopback.repo("me/model")
    assert repo.branches["main"] == pushed.revision and list(repo.tags) == [pushed.tag]
    assert hub.pull("me/model", cache_dir=tmp_path / "cache").revision == pushed.revision
    fault.times = 0
    assert hub_push.push(second, "me/model").changed


def test_a_killed_push_leaves_the_old_revision_whole(
    loopback: LoopbackHub, pushed: hub_push.Pushed, tmp_path: Path
) -> None:
    second = write_model(tmp_path / "run2", 2)
    reached = threading.Event()

    def stall() -> None:  # the Hub has the finished request in its hands but has not acted on it
        reached.set()
        time.sleep(1)

    fault = loopback.fail("/commit/", then=stall, status=503)
    child = subprocess.Popen([sys.executable, "-m", "brain_mri", "hub", "push", str(second), "me/model"], cwd=ROOT)
    assert reached.wait(30)
    child.kill()
    child.wait()
    assert loopback.repo("me/model").branches["main"] == pushed.revision
    fault.times = 0
    done = hub_push.push(second, "me/model")
    assert done.changed and loopback.repo("me/model").history.count("Publish tiny") == 2


def test_an_answer_that_is_lost_is_not_called_a_failed_push(
    loopback: LoopbackHub, pushed: hub_push.Pushed, tmp_path: Path
) -> None:
    """The Hub breaks down with the commit in its hands: whether it arrived, only the next push can tell."""
    second = write_model(tmp_path / "run2", 2)
    loopback.fail("/commit/", status=500, times=20)
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(second, "me/model")
    assert "HTTP 500" in sentence(error) and "may have arrived" in sentence(error)


def test_a_push_between_commit_and_tag_is_completed_by_the_next(loopback: LoopbackHub, model: Path) -> None:
    fault = loopback.fail("/tag/", status=500)
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(model, "me/model")
    assert "only its tag run-2026-01-01-" in sentence(error) and "push again" in sentence(error)
    fault.times = 0
    done = hub_push.push(model, "me/model")
    assert not done.changed and loopback.repo("me/model").tags == {done.tag: done.revision}


def test_an_edit_during_the_push_wins(loopback: LoopbackHub, pushed: hub_push.Pushed, tmp_path: Path) -> None:
    loopback.fail("preupload", times=1, then=lambda: loopback.edit("me/model", {"README.md": b"# Just now\n"}))
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(write_model(tmp_path / "run2", 2), "me/model")
    assert "push again" in sentence(error)
    assert loopback.repo("me/model").files["README.md"].content == b"# Just now\n"


def test_tags(loopback: LoopbackHub, model: Path, tmp_path: Path) -> None:
    first = hub_push.push(model, "me/model", tag="v1")
    assert hub_push.push(model, "me/model", tag="v1").revision == first.revision
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(write_model(tmp_path / "run2", 2), "me/model", tag="v1")
    assert "v1" in sentence(error) and loopback.repo("me/model").branches["main"] == first.revision


def test_private(loopback: LoopbackHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_push.push(model, "me/secret", private=True)
    assert loopback.repo("me/secret").private
    assert hub.pull("me/secret", cache_dir=tmp_path / "a").source == "hub"
    hub_push.push(model, "me/secret")  # stays private
    assert loopback.repo("me/secret").private
    other = loopback.account("other", token="hf_other")
    with pytest.raises(hub_client.HubError) as error:
        hub.pull("me/secret", cache_dir=tmp_path / "b", token=other)
    assert "this token may read" in sentence(error)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(hub_client.HubError) as error:
        hub.pull("me/secret", cache_dir=tmp_path / "b")
    assert "if it is private, set HF_TOKEN" in sentence(error)


def test_asking_for_private_does_not_publish_to_a_public_model(
    loopback: LoopbackHub, pushed: hub_push.Pushed, tmp_path: Path
) -> None:
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(write_model(tmp_path / "run2", 2), "me/model", private=True)
    assert "is public" in sentence(error) and loopback.repo("me/model").branches["main"] == pushed.revision


def test_tokens_that_cannot_write(loopback: LoopbackHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(token: str | None, repo_id: str = "me/model") -> str:
        with pytest.raises(hub_client.HubError) as error:
            hub_push.push(model, repo_id, token=token)
        return sentence(error)

    loopback.account("me", token="hf_read", role="read")
    assert "may only read" in refused("hf_read")
    assert "mistyped, expired or revoked" in refused("hf_wrong")
    assert "may not write" in refused("hf_write", "somebody/model")
    monkeypatch.delenv("HF_TOKEN")
    message = refused(None)
    assert "No Hugging Face token" in message and "HF_TOKEN" in message and "Colab" in message
    assert not loopback.repos


def test_push_refuses_damaged_folders_and_bad_headers(loopback: LoopbackHub, model: Path, tmp_path: Path) -> None:
    (model / "classifier.weights.h5").write_bytes(b"changed")
    with pytest.raises(hub_client.HubError, match=r"classifier\.weights\.h5"):
        hub_push.push(model, "me/model")
    (model / "segmenter.onnx").unlink()
    with pytest.raises(hub_client.HubError, match=r"Nothing was pushed: .*segmenter\.onnx"):
        hub_push.push(model, "me/model")
    with pytest.raises(hub_client.HubError, match="no model folder"):
        hub_push.push(tmp_path / "nowhere", "me/model")
    assert not loopback.repos
    bad = write_model(tmp_path / "bad")
    (bad / "README.md").write_text("---\nlicense: [mit\n---\n# Card\n")
    with pytest.raises(hub_client.HubError) as error:
        hub_push.push(bad, "me/model")
    assert "header of README.md" in sentence(error)


def test_same_content(tmp_path: Path) -> None:
    from huggingface_hub.hf_api import RepoSibling

    file = tmp_path / "a.txt"
    file.write_bytes(b"hello\n")
    git = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert hub_push.same_content(file, RepoSibling("a.txt", size=6, blob_id=git))
    assert not hub_push.same_content(file, RepoSibling("a.txt", size=6, blob_id="0" * 40))
    assert not hub_push.same_content(file, None)


# pull


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


# the command line, as its own process: HF_ENDPOINT and HF_HUB_OFFLINE are read at import there


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brain_mri", "hub", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_command_line(loopback: LoopbackHub, model: Path) -> None:
    done = run("push", str(model), "me/model", "--tag", "v1")
    assert done.returncode == 0 and "now holds" in done.stdout and "tag v1" in done.stdout, done.stderr
    assert "already held" in run("push", str(model), "me/model", "--tag", "v1").stdout
    got = run("pull", "me/model@v1")
    assert got.returncode == 0 and loopback.repo("me/model").tags["v1"] in got.stdout
    failed = run("pull", "me/other")
    assert failed.returncode == 1 and failed.stderr.startswith("error: There is no model me/other")
    assert "Traceback" not in failed.stderr
    offline = run("pull", "me/model", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and "HF_HUB_OFFLINE is set" in offline.stderr
    nowhere = run("pull", "me/other", HF_HUB_OFFLINE="1")
    assert nowhere.returncode == 1 and "HF_HUB_OFFLINE is set" in nowhere.stderr
