"""Shapes of what slides a window over an image: padding, output size, and their checks.

Along one axis a window of ``kernel_size`` taps spaced by ``dilation`` covers
``extent = dilation * (kernel_size - 1) + 1`` pixels and starts every ``stride`` pixels, so

    output = floor((input + padding - extent) / stride) + 1.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016),
sections 2 and 5.1; the rule of ``"same"`` is TensorFlow's (``tf.nn.convolution``, "Notes on
padding"); the rule of ``ceil_mode`` is PyTorch's (``torch.nn.MaxPool2d``).

Sizes of the input may be symbolic (``torch.SymInt``): nothing here forces them to plain integers
except a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lamina.theory.validation import Pair, one_of, pair

__all__ = [
    "Direction",
    "ImageShape",
    "Padding",
    "Pair",
    "ResolvedPadding",
    "canonical_padding",
    "check_direction",
    "image_shape",
    "pair",
    "resolve_padding",
    "same_padding",
    "window_output_size",
]

ResolvedPadding = tuple[Pair, Pair]
"""Pixels of zeros: ((top, bottom), (left, right))."""

Padding = int | Pair | ResolvedPadding | Literal["same", "valid"]
"""One number for all four sides, (height, width), ((top, bottom), (left, right)), or a rule."""

Direction = Literal["forward", "backward"]

ImageShape = tuple[int, int, int, int]
"""(N, C, H, W): images, channels, rows, columns."""


def canonical_padding(
    padding: object, name: str = "padding"
) -> ResolvedPadding | Literal["same", "valid"]:
    """The padding as four numbers or as a rule; the check that a constructor makes.

    Raises:
        ValueError: not one of the four forms, or a negative number.

    Example:
        >>> canonical_padding((1, 2))
        ((1, 1), (2, 2))
        >>> canonical_padding(((0, 1), (0, 1)))
        ((0, 1), (0, 1))
        >>> canonical_padding(-1)
        Traceback (most recent call last):
        ValueError: padding must be a non-negative integer, (height, width), \
((top, bottom), (left, right)), 'same' or 'valid', got -1
    """
    if padding == "same" or padding == "valid":
        return "same" if padding == "same" else "valid"
    try:
        if isinstance(padding, tuple | list) and len(padding) == 2:
            rows, columns = padding
            if isinstance(rows, tuple | list) and isinstance(columns, tuple | list):
                return pair(rows, name), pair(columns, name)
        vertical, horizontal = pair(padding, name)
    except ValueError:
        raise ValueError(
            f"{name} must be a non-negative integer, (height, width), "
            f"((top, bottom), (left, right)), 'same' or 'valid', got {padding!r}"
        ) from None
    return (vertical, vertical), (horizontal, horizontal)


def same_padding(size: int, kernel_size: int, stride: int, dilation: int = 1) -> Pair:
    """TensorFlow's ``"same"`` along one axis: output = ceil(size / stride).

    The total is ``max(0, (ceil(size / stride) - 1) * stride + extent - size)``; an odd pixel goes
    to the end. It depends on the input's size, which is why no constructor can know it.

    Example:
        >>> same_padding(224, kernel_size=3, stride=2), same_padding(225, kernel_size=3, stride=2)
        ((0, 1), (1, 1))
    """
    extent = dilation * (kernel_size - 1) + 1
    total = extent - 1  # at stride 1, of any size
    if stride != 1:
        total = max(0, (size - 1) // stride * stride + extent - size)
    return total // 2, total - total // 2


def resolve_padding(
    padding: Padding,
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
) -> ResolvedPadding:
    """The padding in pixels, ((top, bottom), (left, right)), for an input of this size.

    Args:
        padding: any of the forms of ``Padding``.
        input_size: (H, W) in pixels.
        kernel_size: (height, width) in taps.
        stride: (height, width) in pixels.
        dilation: (height, width), the distance of two taps in pixels.

    Raises:
        ValueError: ``padding`` is none of its forms.

    Example:
        >>> resolve_padding("same", (8, 9), (3, 3), stride=(2, 2))
        ((0, 1), (1, 1))
        >>> resolve_padding(2, (8, 9), (5, 5))
        ((2, 2), (2, 2))
    """
    canonical = canonical_padding(padding)
    if canonical == "valid":
        return (0, 0), (0, 0)
    if canonical == "same":
        return (
            same_padding(input_size[0], kernel_size[0], stride[0], dilation[0]),
            same_padding(input_size[1], kernel_size[1], stride[1], dilation[1]),
        )
    return canonical


def window_output_size(
    input_size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: ResolvedPadding,
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> Pair:
    """How many windows fit, (rows, columns).

    With ``ceil_mode`` a last window may hang over the end, if it starts inside the input or the
    padding before it (PyTorch's rule: one that saw nothing but the far padding would be empty).

    Args:
        input_size: (H, W) in pixels.
        kernel_size: (height, width) in taps.
        stride: (height, width) in pixels.
        padding: ((top, bottom), (left, right)), as ``resolve_padding`` gives it.
        dilation: (height, width) in pixels.
        ceil_mode: round up in the place of down.

    Raises:
        ValueError: no window fits.

    Example:
        >>> window_output_size((224, 224), (7, 7), (2, 2), ((3, 3), (3, 3)))
        (112, 112)
        >>> window_output_size((6, 6), (3, 3), (2, 2), ((0, 0), (0, 0)), ceil_mode=True)
        (3, 3)
        >>> window_output_size((2, 2), (5, 5), (1, 1), ((1, 1), (1, 1)))
        Traceback (most recent call last):
        ValueError: kernel_size must fit the padded input: height 5 covers 5 pixels at \
dilation 1, the input has 2 + 1 + 1
    """
    (height, width), (vertical, horizontal) = input_size, padding
    return (
        _window_count(
            "height", height, kernel_size[0], stride[0], vertical, dilation[0], ceil_mode
        ),
        _window_count(
            "width", width, kernel_size[1], stride[1], horizontal, dilation[1], ceil_mode
        ),
    )


def _window_count(
    axis: str, size: int, kernel: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool
) -> int:
    before, after = padding
    extent = dilation * (kernel - 1) + 1
    overhang = stride - 1 if ceil_mode else 0
    count = (size + before + after - extent + overhang) // stride + 1
    if ceil_mode:
        count = min(count, (size + before - 1) // stride + 1)
    if size < 1:
        raise ValueError(f"the input must have at least one pixel, got {axis} {size}")
    if count < 1:
        raise ValueError(
            f"kernel_size must fit the padded input: {axis} {kernel} covers {extent} pixels "
            f"at dilation {dilation}, the input has {size} + {before} + {after}"
        )
    return count


def image_shape(input_shape: Sequence[int], channels: int | None = None) -> ImageShape:
    """The shape as (N, C, H, W), checked; an empty batch is allowed, an empty image is not.

    Args:
        input_shape: four sizes.
        channels: the C that is expected; None takes any.

    Raises:
        ValueError: another rank, no channel, no pixel, or another number of channels.

    Example:
        >>> image_shape([0, 3, 32, 32])
        (0, 3, 32, 32)
        >>> image_shape((1, 3, 32))
        Traceback (most recent call last):
        ValueError: input_shape must be (N, C, H, W), got (1, 3, 32)
        >>> image_shape((1, 3, 32, 32), channels=16)
        Traceback (most recent call last):
        ValueError: the input must have 16 channels, got 3 in (1, 3, 32, 32)
    """
    shape = tuple(input_shape)
    if len(shape) != 4:
        raise ValueError(f"input_shape must be (N, C, H, W), got {shape}")
    if not hasattr(shape[0], "__index__") or shape[0] < 0:
        raise ValueError(f"N of input_shape must be a non-negative integer, got {shape}")
    for size, name in zip(shape[1:], ("C", "H", "W"), strict=True):
        if not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{name} of input_shape must be a positive integer, got {shape}")
    if channels is not None and shape[1] != channels:
        raise ValueError(f"the input must have {channels} channels, got {shape[1]} in {shape}")
    return shape[0], shape[1], shape[2], shape[3]


def check_direction(direction: str) -> None:
    """Refuses what is neither ``"forward"`` nor ``"backward"``."""
    one_of(direction, "direction", ("forward", "backward"))
