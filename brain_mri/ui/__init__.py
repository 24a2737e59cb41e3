"""The page and its API."""

import os

# Before gradio is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no visitor is counted anywhere
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # of 10,000 kept requests, which nobody looks at
os.environ.setdefault("MPLBACKEND", "agg")  # else gradio makes matplotlib, where there is one, look for a screen: 10 MB
