"""The page as a server: privacy settings, limits, sign-in, a busy machine, what a bare launch() brings."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.networking
import httpx
import pytest
from gradio_client import Client, handle_file

from brain_mri.inference.predictor import Predictor
from brain_mri.ui import hosting
from brain_mri.ui.page import build_interface


def test_nothing_is_recorded(predictor: Predictor) -> None:
    page = build_interface(predictor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
    config = httpx.get(f"{url}config", timeout=60).json()
    page.close()
    assert config["analytics_enabled"] is False and config.get("run_history") is False
    assert not config.get("enable_monitoring")


def test_uploads_have_a_limit(predictor: Predictor, tmp_path: Path) -> None:
    page = build_interface(predictor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, max_file_size=1000)
    try:
        answer = httpx.post(f"{url}gradio_api/upload", files={"files": b"x" * 5000}, timeout=60)
        assert answer.status_code in (400, 413)
    finally:
        page.close()


def test_a_full_queue_says_so(predictor: Predictor, phantom_png, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    patient = Predictor.analyze
    shown = build_interface(predictor)
    monkeypatch.setattr(Predictor, "analyze", lambda self, scan: gate.wait(60) and patient(self, scan))
    shown.queue(max_size=1, default_concurrency_limit=1)
    _, url, _ = shown.launch(prevent_thread_lock=True, quiet=True)
    try:
        one = Client(url, verbose=False, httpx_kwargs={"timeout": 120})
        scan = handle_file(phantom_png("glioma", 1))
        jobs = [one.submit(scan, None, None, api_name="/analyze") for _ in range(8)]
        while not any(job.done() for job in jobs):
            time.sleep(0.1)
        gate.set()
        errors = [str(job.exception()) for job in jobs if job.exception()]
        assert errors and len(errors) < len(jobs) and all("queue is full" in text.lower() for text in errors)
    finally:
        gate.set()
        shown.close()


def test_sign_in(predictor: Predictor) -> None:
    page = build_interface(predictor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, auth=hosting.credentials("ada:secret,bob:two:parts"))
    try:
        assert httpx.get(f"{url}config", timeout=60).status_code == 401
        assert Client(url, auth=("bob", "two:parts"), verbose=False).predict(api_name="/model")["classes"]
        with pytest.raises(Exception, match=r"(?i)auth|login|credential"):
            Client(url, auth=("ada", "wrong"), verbose=False)
    finally:
        page.close()


def test_a_busy_machine_gets_more_than_the_three_seconds_of_gradio(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False, True, False, False, False]
    monkeypatch.setattr(gradio.networking, "url_ok", lambda url: answers.pop(0))
    page = build_interface(predictor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True)  # the first look at it fails
    assert Client(url, verbose=False).predict(api_name="/model")["model_id"] == "handmade"
    page.close()
    with pytest.raises(ValueError, match="localhost"):  # it cannot be reached at all
        page.launch(prevent_thread_lock=True, quiet=True)
    page.close()
    assert not answers


def test_space_variable_names_the_model(handmade_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_MRI_MODEL", str(handmade_artifact))
    page = build_interface()
    assert "handmade" in json.dumps(page.get_config_file(), default=str)


def test_bare_launch_brings_theme_limits_and_privacy(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a notebook does: build_interface(...).launch(share=True)."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, *args, **options: seen.update(options))
    build_interface(predictor).launch(share=True)
    assert (
        seen["share"] is True and seen["run_history"] is False and seen["max_file_size"] and "--accent" in seen["css"]
    )
    assert seen["server_name"] is None
    monkeypatch.setenv("SPACE_ID", "ada/space")
    build_interface(predictor).launch()
    assert seen["server_name"] == "0.0.0.0"
