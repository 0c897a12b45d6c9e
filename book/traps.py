"""Draws what a port gets that ignores a difference between Keras and PyTorch.

    python -m book.traps

Of each trap in `SCENES`: the output of the Keras layer, of torch.nn's layer as it is usually put in
its place, and how far they are apart, on one image of 24×24 pixels. docs/images/traps.svg.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lamina import layers
from lamina.interchange.traps import TRAPS
from lamina.report import svg
from lamina.report.html import Html, tag

FIGURE = Path(__file__).parents[1] / "docs/images/traps.svg"
Map = NDArray[np.float64]

_LEFT, _TILE, _ROW, _HEAD = 350, 84, 100, 64
_TEXTS = "text{font:13px system-ui,sans-serif;fill:#374151}.title{font-weight:600;font-size:14px}"
_NOTES = ".note{font-size:12px;fill:#6b7280}.frame{fill:none;stroke:#d1d5db}"
_OUTPUT, _DIFFERENCE = (30, 64, 175), (194, 65, 12)  # at the largest value; the least is white


def picture() -> Tensor:
    """A disc, a bar and a slope, (1, 24, 24, 1), around 0."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    disc = ((rows - 8) ** 2 + (columns - 9) ** 2 < 30).float()
    bar = ((rows > 16) & (rows < 20) & (columns > 3) & (columns < 21)).float()
    return (disc + bar + (rows + 2 * columns) / 80 - 0.9)[None, :, :, None]


X = picture()
NCHW = X.permute(0, 3, 1, 2)
_EDGES = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.5, 0.0], [-1.0, -2.0, -1.0]])


def _same_stride() -> tuple[Tensor, Tensor]:
    conv = layers.Conv2D(1, 3, strides=2, padding="same")
    conv.build(X.shape)
    conv.set_weights([_EDGES[:, :, None, None].numpy(), np.zeros(1)])
    return conv(X), F.conv2d(NCHW, _EDGES[None, None], stride=2, padding=1)


def _padding_order() -> tuple[Tensor, Tensor]:
    return layers.ZeroPadding2D(((8, 0), (0, 0)))(X), F.pad(NCHW, (8, 0, 0, 0))


def _average_border() -> tuple[Tensor, Tensor]:
    bright = X + 1
    ours = layers.AveragePooling2D(5, strides=1, padding="same")(bright)
    return ours, F.avg_pool2d(bright.permute(0, 3, 1, 2), 5, 1, padding=2)


def _max_padding() -> tuple[Tensor, Tensor]:
    dark = X - 2
    ours = layers.MaxPooling2D(5, strides=1, padding="same")(dark)
    return ours, F.max_pool2d(F.pad(dark.permute(0, 3, 1, 2), (2, 2, 2, 2)), 5, 1)


def _epsilon() -> tuple[Tensor, Tensor]:
    norm = layers.BatchNormalization()
    norm.build(X.shape)
    norm.set_weights([np.ones(1), np.zeros(1), np.zeros(1), np.full(1, 1e-3)])
    faint = 0.03 * X
    mean, variance = torch.zeros(1), torch.full((1,), 1e-3)
    return norm(faint), F.batch_norm(faint.permute(0, 3, 1, 2), mean, variance)


def _momentum() -> tuple[Tensor, Tensor]:
    ours = layers.BatchNormalization(momentum=0.9)
    theirs = torch.nn.BatchNorm2d(1, eps=1e-3, momentum=0.9)
    for step in range(20):
        batch = (1 + step % 4) * X
        ours(batch, training=True)
        theirs(batch.permute(0, 3, 1, 2))
    return ours(X), theirs.eval()(NCHW)


def _flatten() -> tuple[Tensor, Tensor]:
    colours = torch.cat([X, -X, X.flip(1)], -1)
    in_order = layers.Flatten()(colours).view(36, 48)  # what the dense layer's weights expect
    return in_order[None, :, :, None], colours.permute(0, 3, 1, 2).flatten(1).view(1, 1, 36, 48)


def _depthwise_weight() -> tuple[Tensor, Tensor]:
    both = torch.cat([X, X.flip(2)], -1)
    kernels = np.stack([_EDGES, _EDGES.T, np.eye(3), np.ones((3, 3)) / 3], -1).reshape(3, 3, 2, 2)
    conv = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)
    conv.build(both.shape)
    conv.set_weights([kernels])
    naive = torch.from_numpy(kernels.transpose(3, 2, 0, 1).reshape(4, 1, 3, 3).copy()).float()
    theirs = F.conv2d(both.permute(0, 3, 1, 2), naive, groups=2)
    return conv(both)[..., 1:2], theirs[:, 1:2]


def _dense_weight() -> tuple[Tensor, Tensor]:
    mixed = torch.rand(24, 24, generator=torch.Generator().manual_seed(0)) / 12
    dense = layers.Dense(24, use_bias=False)
    dense.build((1, 24, 1, 24))
    dense.set_weights([mixed.numpy()])
    columns = X.permute(0, 1, 3, 2)  # (1, 24, 1, 24): 24 channels
    theirs = F.linear(columns.permute(0, 3, 1, 2).expand(1, 24, 24, 24), mixed.T)
    return dense(columns).permute(0, 1, 3, 2), theirs.diagonal(0, 1, 2)[:, None].mT


def _leaky_slope() -> tuple[Tensor, Tensor]:
    return layers.LeakyReLU()(X), F.leaky_relu(NCHW)


def _interpolation() -> tuple[Tensor, Tensor]:
    small = X[:, ::4, ::4]
    ours = layers.UpSampling2D(4, interpolation="bilinear")(small)
    options = {"scale_factor": 4, "mode": "bilinear", "align_corners": True}
    return ours, F.interpolate(small.permute(0, 3, 1, 2), **options)


def _transposed_weight() -> tuple[Tensor, Tensor]:
    small = X[:, ::2, ::2]
    conv = layers.Conv2DTranspose(1, 3, strides=2, padding="same")
    conv.build(small.shape)
    conv.set_weights([_EDGES[:, :, None, None].numpy(), np.zeros(1)])
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    return conv(small), F.conv_transpose2d(small.permute(0, 3, 1, 2), _EDGES[None, None], **options)


SCENES: dict[str, tuple[str, Callable[[], tuple[Tensor, Tensor]]]] = {
    "same-stride": ("3×3, stride 2: padding=1", _same_stride),
    "padding-order": ("((8, 0), (0, 0)) handed on as it is", _padding_order),
    "average-border": ("5×5: padding=2", _average_border),
    "max-padding": ("5×5 of negative values: zeros around", _max_padding),
    "transposed-weight": ("3×3, stride 2: padding=1, output_padding=1", _transposed_weight),
    "depthwise-weight": ("two channels, two kernels each: output 1", _depthwise_weight),
    "dense-weight": ("on images: the other axis", _dense_weight),
    "flatten": ("three channels: what a dense layer reads", _flatten),
    "epsilon": ("a faint channel: 1e-5 in 1e-3's place", _epsilon),
    "momentum": ("20 steps at 0.9: 0.9 handed on", _momentum),
    "leaky-slope": ("0.01 in 0.3's place", _leaky_slope),
    "interpolation": ("bilinear, 4 times: align_corners", _interpolation),
}
"""What the port does, and a function that gives Keras's output and the port's, by the trap."""


def maps(key: str) -> tuple[Map, Map]:
    """Keras's output and the naive port's as images of (height, width)."""
    ours, theirs = SCENES[key][1]()
    return (
        ours.detach()[0, :, :, 0].double().numpy(),
        theirs.detach()[0, 0].double().numpy(),
    )


def apart(ours: Map, theirs: Map) -> float:
    """The largest difference over the largest magnitude; 1 where shapes differ."""
    if ours.shape != theirs.shape:
        return 1.0
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def figure() -> str:
    """The picture, a row per trap."""
    parts = []
    for title, column in (("Keras", 0), ("usual port", 1), ("apart", 2)):
        parts.append(svg.text(_LEFT + column * (_TILE + 16), _HEAD - 16, title, class_="title"))
    for row, (key, (how, _)) in enumerate(SCENES.items()):
        ours, theirs = maps(key)
        top = _HEAD + row * _ROW
        alike = ours.shape == theirs.shape
        low, high = min(ours.min(), theirs.min()), max(ours.max(), theirs.max())
        tiles = [_tile(ours, low, high, _OUTPUT, 0, top), _tile(theirs, low, high, _OUTPUT, 1, top)]
        if alike:
            difference = np.abs(ours - theirs)
            tiles.append(_tile(difference, 0, difference.max(), _DIFFERENCE, 2, top))
            said = f"{apart(ours, theirs):.0%}"
        else:
            said = "another shape"
        parts += [
            svg.text(16, top + 26, TRAPS[key].topic, class_="title"),
            svg.text(16, top + 46, how, class_="note"),
            svg.text(16, top + 64, TRAPS[key].effect, class_="note"),
            svg.text(_LEFT + 3 * (_TILE + 16), top + 46, said),
            *tiles,
        ]
    width, height = _LEFT + 3 * (_TILE + 16) + 110, _HEAD + _ROW * len(SCENES)
    content = [
        tag("style", _TEXTS + _NOTES),
        tag("rect", "", width=width, height=height, rx=8, fill="#ffffff"),
        svg.text(16, 24, "What a port gets that ignores it", class_="title"),
        *parts,
    ]
    drawn = tag(
        "svg",
        content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label="Outputs of Keras layers, of usual ports to PyTorch, and their differences",
    )
    return f"{drawn}\n"


def _tile(
    values: Map, low: float, high: float, colour: tuple[int, int, int], column: int, top: int
) -> Html:
    """An image of values, white at the lowest, the colour at the highest."""
    share = (values - low) / (high - low or 1.0)
    pixels = 255 - share[:, :, None] * (255 - np.array(colour))
    encoded = base64.b64encode(_png(pixels.round().astype(np.uint8))).decode()
    height, width = values.shape
    scale = _TILE / max(height, width)
    place = {"x": _LEFT + column * (_TILE + 16), "y": top}
    size = {"width": f"{width * scale:.1f}", "height": f"{height * scale:.1f}"}
    return tag(
        "g",
        [
            tag(
                "image",
                "",
                **place,
                **size,
                href=f"data:image/png;base64,{encoded}",
                style="image-rendering:pixelated",
            ),
            tag("rect", "", **place, **size, class_="frame"),
        ],
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """An RGB image, (height, width, 3), as a PNG file."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


if __name__ == "__main__":
    FIGURE.write_text(figure())
