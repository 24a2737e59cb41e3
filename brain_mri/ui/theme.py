"""How the page looks: a Gradio theme of its own, and assets/. No font or file of another host."""

from __future__ import annotations

import re
from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, fonts

from brain_mri.ui import glossary

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

TEXT = "#12222b", "#e8eff3"
SOFT = "*neutral_600", "#a9bac5"
SURFACE = "white", "*neutral_900"
GROUND = "*neutral_50", "*neutral_950"
EDGE = "*neutral_400", "*neutral_600"
ACCENT = "*primary_600", "*primary_400"
LIGHT_AND_DARK = {
    "body_background_fill": GROUND,
    "body_text_color": TEXT,
    "body_text_color_subdued": SOFT,
    "background_fill_primary": SURFACE,
    "background_fill_secondary": GROUND,
    "block_background_fill": SURFACE,
    "block_border_color": ("*neutral_200", "*neutral_800"),
    "block_label_text_color": TEXT,
    "block_label_background_fill": SURFACE,
    "block_title_text_color": TEXT,
    "block_info_text_color": SOFT,
    "input_background_fill": ("white", "*neutral_950"),
    "input_border_color": EDGE,
    "slider_color": ACCENT,
    "button_primary_background_fill": ACCENT,
    "button_primary_background_fill_hover": ("*primary_700", "*primary_300"),
    "button_primary_text_color": ("white", "#072a2a"),
    "button_border_width": ("1px", "1px"),
    "button_secondary_background_fill": SURFACE,
    "button_secondary_border_color": EDGE,
    "button_secondary_text_color": TEXT,
    "link_text_color": ACCENT,
    "loader_color": ACCENT,
}


class ScanTheme(gr.themes.Base):
    """Teal on slate; the pictures are the only other colour on the page."""

    def __init__(self) -> None:
        sans = (fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
        mono = (fonts.LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "monospace")
        # 400 and 700 only: Gradio's copy of the weight 600 lacks most letters.
        super().__init__(primary_hue=TEAL, secondary_hue=TEAL, neutral_hue=SLATE, font=sans, font_mono=mono)
        self.name = "scan"
        super().set(
            block_border_width="1px",
            block_radius="12px",
            block_shadow="none",
            block_label_text_weight="700",
            block_title_text_weight="700",
            border_color_accent="*primary_600",
            color_accent="*primary_600",
            **{name: light for name, (light, _) in LIGHT_AND_DARK.items()},
            **{f"{name}_dark": dark for name, (_, dark) in LIGHT_AND_DARK.items()},
        )


def asset(name: str) -> str:
    """The text of a file of assets/."""
    return (ASSETS / name).read_text(encoding="utf-8")


def head() -> str:
    """Script for the <head>: Gradio does not run scripts that stand in the body."""
    return f'<meta name="referrer" content="no-referrer"><script>{glossary.script()}\n{asset("script.js")}</script>'


# The element's script is asked of this server when there is first something to work on, and not with the page.
_FETCH = """let asked = false;
const fetched = () => {
  if (asked || !element.querySelector("NEEDS")) return;
  asked = true;
  const {root, api_prefix} = window.gradio_config, script = document.createElement("script");
  script.onload = () => window.scanTools.NAME(element, (data) => trigger("EVENT", data), watch);
  script.onerror = () => element.append("This tool did not arrive from the server; please load the page again.");
  script.src = `${root}${api_prefix}/file=PATH`;
  document.head.append(script);
};
watch("value", fetched);
fetched();"""


def fetched(name: str, needs: str, event: str) -> str:
    """`js_on_load` of a gr.HTML whose script is assets/NAME.js. needs: CSS selector of what it works on; event: what it
    may trigger."""
    path = ASSETS / f"{name}.js"
    gr.set_static_paths([path])
    words = {"NEEDS": needs, "NAME": name, "EVENT": event, "PATH": path.as_posix()}
    return re.sub("|".join(words), lambda found: words[found[0]], _FETCH)
