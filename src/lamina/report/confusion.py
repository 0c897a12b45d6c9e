"""What a classifier takes for what: the confusion matrix and the images behind it."""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.report.html import Html, tag
from lamina.report.svg import drawing, shortened, text
from lamina.report.table import Column, Table
from lamina.report.units import count, percent


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


def wilson_interval(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the range in which the true share lies, of which ``right`` of ``total`` were seen.

    Args:
        right: how many were.
        total: of how many.
        z: half its width in standard deviations; 1.96 holds 95 of 100 such shares.

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).

    Example:
        >>> [round(share, 3) for share in wilson_interval(9, 10)], wilson_interval(0, 0)
        ([0.596, 0.982], (0.0, 1.0))
    """
    if total == 0:
        return 0.0, 1.0
    share, square = right / total, z * z / total
    middle = share + square / 2
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total))
    # Rounding must not put a share that was seen, 0 or 1 say, outside.
    return max(0.0, min(share, (middle - half) / (1 + square))), min(
        1.0, max(share, (middle + half) / (1 + square))
    )


_CLASS_COLUMNS = (
    Column("name", "Class"),
    Column("images", "Images", count, "right"),
    Column("recall", "Recall", percent, "right"),
    Column("interval", "95 %", align="right"),
    Column("precision", "Precision", percent, "right"),
    Column("f1", "F1", percent, "right"),
)


def class_table(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Table:
    """Return how well each class (row of ``counts``) was recognised, and how rightly named."""
    rows = []
    for number, name in enumerate(classes):
        right, images = counts[number][number], sum(counts[number])
        taken = sum(row[number] for row in counts)
        low, high = wilson_interval(right, images)
        rows.append(
            {
                "name": name,
                "images": images,
                "recall": right / images if images else None,
                "interval": f"{100 * low:.0f} to {percent(high, 0)}" if images else None,
                "precision": right / taken if taken else None,
                "f1": 2 * right / (images + taken) if images + taken else None,
            }
        )
    return Table(_CLASS_COLUMNS, rows)


_PLOT = 400.0
"""Width and height of the cells together, in pixels before the page scales them."""


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """Draw how often each class (row) was taken for each class (column).

    Right answers and mistakes have colours of their own: one mistake is to be seen beside a
    hundred right answers. Where cells are too small for numbers and names, these are in the cells'
    titles alone.
    """
    total = len(classes)
    cell = max(8.0, min(56.0, _PLOT / total))
    longest = max(len(name) for name in classes)
    named = cell >= 12
    left = 24.0 + min(110.0, 7.5 * longest) if named else 12.0
    slanted = 7.5 * longest > cell  # side by side they would overlap
    # At 45 degrees a name is as high as it is wide; the title has a line of its own above.
    high = min(88.0, 5.4 * min(longest, 16) + 8) if slanted else 14.0
    top = 22.0 + (high if named else 0.0)
    parts: list[Html] = [
        text(left + total * cell / 2, 12, "predicted", anchor="middle"),
        text(0, top - 6, "actual") if named else Html(""),
    ]
    for row, name in enumerate(classes):
        y = top + row * cell
        if named:
            at = left + row * cell + cell / 2
            parts.append(text(left - 8, y + cell / 2 + 4, shortened(name, left - 16), anchor="end"))
            parts.append(
                tag(
                    "text",
                    shortened(name, 112),
                    x=at,
                    y=top - 6,
                    transform=f"rotate(-45 {at:.1f} {top - 6:.1f})",
                    class_="label",
                )
                if slanted
                else text(at, top - 6, name, anchor="middle")
            )
        for column, number in enumerate(counts[row]):
            share = number / max(1, sum(counts[row]))
            said = f"{name} taken for {classes[column]}: {number} ({percent(share)})"
            kind = "right" if row == column else "wrong"
            least, most = (0.25, 1.0) if kind == "right" else (0.45, 1.0)
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
                        fill_opacity=least + (most - least) * share if number else None,
                    ),
                    text(
                        left + column * cell + cell / 2,
                        y + cell / 2 + 4,
                        str(number),
                        anchor="middle",
                        class_="label count",
                    )
                    if number and cell >= 8 + 7 * len(str(number))
                    else None,
                )
            )
    size = total * cell
    # A slanted name of the last column reaches beyond its cell.
    beyond = high if slanted and named else 8.0
    matrix = drawing(left + size + beyond, top + size + 8, parts, label="confusion matrix")
    return tag("div", matrix, class_="confusion")


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
