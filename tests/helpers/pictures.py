"""What the tests of the readers share: pictures as files, and what a refusal must look like."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from brain_mri.imaging.scan import ScanError


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sentence(error: pytest.ExceptionInfo[ScanError]) -> str:
    """The message, after checking that it is one sentence on one line."""
    text = str(error.value)
    assert text and "\n" not in text and text[-1] in ".)" and "Traceback" not in text and len(text) < 400
    return text
