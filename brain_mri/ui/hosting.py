"""What a Space on ZeroGPU hardware needs to start. Free accounts can host a Gradio Space only there."""

from __future__ import annotations

import os


def register() -> bool:
    """Call before `launch()`; returns whether this is ZeroGPU hardware.

    The platform stops a Space in which no function was marked with `@spaces.GPU` by the time of `launch()`. The models
    here are small and run on the CPU with ONNX Runtime, so the function that is marked is never called: no visitor
    waits for a GPU or pays for one from the daily quota. Elsewhere this does nothing and needs no `spaces` package.
    """
    if os.environ.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):
        return False
    import spaces  # preinstalled on every Gradio Space; must come after gradio has been imported as a whole

    spaces.GPU(_never_called)
    return True


def _never_called() -> None:
    """Marked for ZeroGPU, see `register`."""
