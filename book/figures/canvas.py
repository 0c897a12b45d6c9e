"""What figures share: the sheet they are drawn on."""

from __future__ import annotations

from lamina.report import svg
from lamina.report.html import Content, asset

STYLE = """
text { font-family: system-ui, "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans CJK KR",
  "Nanum Gothic", sans-serif; }
.label { font-size: 14px; } .title { font-size: 15px; }
.track { fill: var(--line); }
.chosen { fill: none; stroke: #0f8f80; stroke-width: 2; } /* on pictures, in either scheme */
"""


def figure(width: float, height: float, *content: Content, label: str, style: str = "") -> str:
    """Return an SVG file that follows the reader's light or dark scheme and loads nothing.

    Args:
        width: at most 480, so that its text is read on a telephone.
        height: as wide as long.
        content: what is drawn.
        label: what a screen reader says.
        style: rules of this figure's own, after the shared ones.
    """
    rules = f"{asset('chart.css')}{STYLE}{style}"
    return svg.file(width, height, content, label=label, style=rules)
