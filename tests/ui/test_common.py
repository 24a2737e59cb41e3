"""What the tabs share: failures as sentences, examples to click."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import gradio.networking
import pytest
from starlette.requests import Request

from brain_mri.imaging.scan import ScanError
from brain_mri.ui import common


def test_unexpected_errors_are_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    @common.speaking
    def handler() -> None:
        raise RuntimeError("secret path /home/ada")

    with pytest.raises(gr.Error) as error:
        handler()
    assert "secret" not in str(error.value) and "secret path" in caplog.text


def test_a_group_that_shares_a_password_does_not_wait_for_each_other() -> None:
    def asks(user: str | None, host: str, page: str) -> str:
        scope = {"type": "http", "headers": [], "client": (host, 5000)}
        return common.visitor(gr.Request(Request(scope), user, page))

    assert asks("course", "10.0.0.1", "a") == asks("course", "10.0.0.1", "b")  # one person with many pages
    assert len({asks("course", "10.0.0.1", "a"), asks("course", "10.0.0.2", "b"), asks("ada", "10.0.0.1", "c")}) == 3
    assert asks(None, "10.0.0.1", "a") != asks(None, "10.0.0.1", "b")


def test_many_requests_of_one_visitor_are_not_taken_for_unheard() -> None:
    """Agents share one connection: fifty of their calls had a minute's messages in a second."""
    requests, unread = {"1", "2", "3"}, common.UNHEARD * 3
    queue = SimpleNamespace(
        pending_messages_per_session={"a": SimpleNamespace(qsize=lambda: unread)},
        pending_event_ids_session={"a": requests},
    )
    page = SimpleNamespace(get_blocks=lambda: SimpleNamespace(_queue=queue))
    request = gr.Request(Request({"type": "http", "headers": [], "app": page}), None, "a")
    common.heard(request)
    requests.remove("3")
    with pytest.raises(ScanError):
        common.heard(request)
