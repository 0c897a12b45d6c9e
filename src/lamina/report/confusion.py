"""What a classifier takes for what: the confusion matrix and the images behind it."""

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.report.html import Html, tag
from lamina.report.svg import drawing, shortened, text
from lamina.report.units import percent


@dataclass(frozen=True)
class Example:
    """One judged image.

    Args:
        png: the image as a PNG file's bytes.
        actual: name of its class.
        predicted: name of the class that the model says.
        probability: that the model gives to it, in [0, 1].
    """

    png: bytes
    actual: str
    predicted: str
    probability: float


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """Draw how often each class (row) was taken for each class (column).

    Right answers and mistakes have colours of their own: one mistake is to be seen beside a
    hundred right answers.
    """
    total = len(classes)
    cell = max(14, min(40, 460 // total))
    left = 20.0 + min(110, 7.5 * max(len(name) for name in classes))
    top = 34.0
    parts: list[Html] = [
        text(left + total * cell / 2, 12, "predicted", anchor="middle"),
        text(left - 8, 12, "actual", anchor="end"),
    ]
    for row, name in enumerate(classes):
        y = top + row * cell
        parts.append(text(left - 8, y + cell / 2 + 4, shortened(name, left - 16), anchor="end"))
        short = shortened(name, cell * 1.4) if len(name) > 1 else name
        parts.append(text(left + row * cell + cell / 2, top - 8, short, anchor="middle"))
        for column, number in enumerate(counts[row]):
            share = number / max(1, sum(counts[row]))
            said = f"{name} taken for {classes[column]}: {number} ({percent(share)})"
            kind = "right" if row == column else "wrong"
            parts.append(
                tag(
                    "g",
                    tag("title", said),
                    tag(
                        "rect",
                        x=left + column * cell + 1,
                        y=y + 1,
                        width=cell - 2,
                        height=cell - 2,
                        rx=3,
                        class_=f"cell {kind}" if number else "cell empty",
                        fill_opacity=(
                            0.25 + 0.75 * share if kind == "right" else 0.45 + 0.55 * share
                        )
                        if number
                        else None,
                    ),
                    text(
                        left + column * cell + cell / 2,
                        y + cell / 2 + 4,
                        str(number),
                        anchor="middle",
                        class_="label count",
                    )
                    if number and cell >= 20
                    else None,
                )
            )
    size = total * cell
    return drawing(left + size + 8, top + size + 8, parts, label="confusion matrix")


def gallery(examples: Sequence[Example]) -> Html:
    """Show images with what they are and what the model says."""
    return tag(
        "div",
        [
            tag(
                "figure",
                tag("img", src=data_address(example.png), alt=f"a {example.actual}"),
                tag(
                    "figcaption",
                    tag("b", example.predicted),
                    f", is {example.actual}"
                    if example.predicted != example.actual
                    else ", rightly",
                    tag("br"),
                    tag("small", percent(example.probability)),
                ),
                class_="wrong" if example.predicted != example.actual else None,
            )
            for example in examples
        ],
        class_="gallery",
    )


def data_address(png: bytes) -> str:
    """Return a PNG as an address that holds the image itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def png_bytes(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """Write 8-bit grey (1 channel) or RGB (3) pixels, row by row, as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    stride = width * channels
    rows = b"".join(b"\0" + pixels[y * stride : (y + 1) * stride] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
