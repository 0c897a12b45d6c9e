"""What figures share: the sheet they are drawn on, and pictures on it."""

from __future__ import annotations

from lamina.report.html import Content, Html, asset, tag

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
    rules = Html(f"{asset('palette.css')}{asset('chart.css')}{STYLE}{style}")
    sheet = tag(
        "svg",
        tag("style", rules),
        tag("rect", width=width, height=height, style="fill:var(--card)"),
        content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )
    return f"{sheet}\n"


def pixels(png: str, left: float, top: float, width: float, height: float) -> Html:
    """Place a small picture; its pixels stay square.

    Args:
        png: in base64, as `lamina.report.finding.pictures` makes it.
        left: of the picture.
        top: of the picture.
        width: of the picture.
        height: of the picture.
    """
    return tag(
        "image",
        href=f"data:image/png;base64,{png}",
        x=left,
        y=top,
        width=width,
        height=height,
        preserveAspectRatio="none",
        class_="pixels",
    )
