"""Pushing to a loopback Hub that speaks the real protocol to the real client."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from brain_mri.artifact import hub, hub_client, hub_push
from tests.helpers.loopback_hub import LoopbackHub, sentence, write_model

pytest_plugins = ("tests.helpers.loopback_hub",)  # the fixture `loopback`
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "run1")


@pytest.fixture
def pushed(loopback: LoopbackHub, model: Path) -> hub_push.Pushed:
    return hub_push.push(model, "me/model")


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
