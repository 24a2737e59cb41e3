"""How the page looks: a Gradio theme of its own, and assets/. No font or file of another host."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, fonts

ASSETS = Path(__file__).resolve().parent / "assets"

# From the lightest (50) to the darkest (950), as Gradio's themes want a hue.
TEAL = colors.Color(
    "#eefaf8", "#d9eeec", "#b3ddd9", "#86c9c3", "#4fd1c5", "#17877f", "#0f6b6b", "#0d5a5a", "#0c4949", "#0a3b3b",
    "#072a2a", name="scan-teal",
)  # fmt: skip
SLATE = colors.Color(
    "#f4f7f8", "#e6ecef", "#d3dde2", "#b4c3cb", "#8fa3ae", "#647986", "#475a66", "#35454f", "#2a3a46", "#131d25",
    "#0b1218", name="scan-slate",
)  # fmt: skip


class ScanTheme(gr.themes.Base):
    """Teal on slate; the pictures are the only other colour on the page."""

    def __init__(self) -> None:
        sans = (fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
        mono = (fonts.LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "monospace")
        # 400 and 700 only: Gradio's copy of the weight 600 lacks most letters.
        super().__init__(primary_hue=TEAL, secondary_hue=TEAL, neutral_hue=SLATE, font=sans, font_mono=mono)
        self.name = "scan"
        super().set(
            body_background_fill="*neutral_50",
            body_background_fill_dark="*neutral_950",
            body_text_color="#12222b",
            body_text_color_dark="#e8eff3",
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="#a9bac5",
            background_fill_primary="white",
            background_fill_primary_dark="*neutral_900",
            background_fill_secondary="*neutral_50",
            background_fill_secondary_dark="*neutral_950",
            block_background_fill="white",
            block_background_fill_dark="*neutral_900",
            block_border_width="1px",
            block_border_color="*neutral_200",
            block_border_color_dark="*neutral_800",
            block_radius="12px",
            block_shadow="none",
            block_label_text_color="#12222b",
            block_label_text_color_dark="#e8eff3",
            block_label_background_fill="white",
            block_label_background_fill_dark="*neutral_900",
            block_label_text_weight="700",
            block_title_text_color="#12222b",
            block_title_text_color_dark="#e8eff3",
            block_title_text_weight="700",
            block_info_text_color="*neutral_600",
            block_info_text_color_dark="#a9bac5",
            input_background_fill="white",
            input_background_fill_dark="*neutral_950",
            input_border_color="*neutral_400",
            input_border_color_dark="*neutral_600",
            slider_color="*primary_600",
            slider_color_dark="*primary_400",
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            button_primary_background_fill_dark="*primary_400",
            button_primary_background_fill_hover_dark="*primary_300",
            button_primary_text_color="white",
            button_primary_text_color_dark="#072a2a",
            button_border_width="1px",
            button_border_width_dark="1px",
            button_secondary_background_fill="white",
            button_secondary_background_fill_dark="*neutral_900",
            button_secondary_border_color="*neutral_400",
            button_secondary_border_color_dark="*neutral_600",
            button_secondary_text_color="#12222b",
            button_secondary_text_color_dark="#e8eff3",
            border_color_accent="*primary_600",
            color_accent="*primary_600",
            link_text_color="*primary_600",
            link_text_color_dark="*primary_400",
            loader_color="*primary_600",
            loader_color_dark="*primary_400",
        )


def css() -> str:
    return (ASSETS / "style.css").read_text(encoding="utf-8")


def head() -> str:
    """Script for the <head>: Gradio does not run scripts that stand in the body."""
    script = (ASSETS / "script.js").read_text(encoding="utf-8")
    return f'<meta name="referrer" content="no-referrer"><script>{script}</script>'
