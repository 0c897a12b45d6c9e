"""The image that comes in: a path, a picture, an array or a tensor; and which sizes a model takes.

Pixels become what a model expects by x = (pixel / 255 − mean) / deviation, channel by channel.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lamina.dialects import is_keras
from lamina.errors import InputError
from lamina.extras import require
from lamina.inspector.explain.maps import raw
from lamina.inspector.trace.dialect import has_channels_last, own_inputs
from lamina.inspector.trace.untouched import untouched
from lamina.models.preprocessing import DEVIATION, MEAN
from lamina.ops.runtime.torch_private import FakeTensorMode, silent_fakes
from lamina.report.explanation.records import Picture

__all__ = ["Given", "Size", "prepared", "sizes_taken"]

Size = tuple[int, int, int]
"""Channels, rows, columns."""

_IMAGENET = MEAN, DEVIATION
_TRIED = tuple(
    (channels, side, side)
    for side in (224, 32, 28, 16, 8, 48, 64, 96, 112, 128, 160, 192, 240, 256, 299, 384, 512)
    for channels in (3, 1)
)
_MOST_PIXELS = 50_000_000


@dataclass(frozen=True)
class Given:
    """An image ready for a model.

    Args:
        tensor: what the model gets, a batch of one in its layout.
        picture: what a person sees.
    """

    tensor: Tensor
    picture: Picture


def sizes_taken(model: nn.Module, tried: Sequence[Size] = ()) -> Iterator[Size]:
    """The sizes that a model takes: those of some that run; else what it declares, or usual ones.

    Nothing is computed and nothing of the model changes.
    """
    last = has_channels_last(model)
    declared = [] if tried else _declared(model)
    if declared:
        (shape, _), *_ = declared
        if len(shape) == 4:
            yield (shape[3], shape[1], shape[2]) if last else (shape[1], shape[2], shape[3])
        return
    for size in tried or _TRIED:
        if _runs(model, _shaped(size, last)):
            yield size


def _declared(model: nn.Module) -> list[tuple[tuple[int, ...], torch.dtype]]:
    try:
        return own_inputs(model)
    except InputError:  # it leaves its size open
        return []


def _shaped(size: Size, channels_last: bool) -> tuple[int, ...]:
    channels, rows, columns = size
    return (1, rows, columns, channels) if channels_last else (1, channels, rows, columns)


def _runs(model: nn.Module, shape: tuple[int, ...]) -> bool:
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    named = {"training": False} if is_keras(model) else {}
    with untouched(model, data=False), torch.no_grad():
        model.eval()
        try:
            with silent_fakes(), fake:
                model(torch.empty(shape), **named)
        except Exception:
            return False
    return True


def prepared(
    model: nn.Module,
    image: object,
    size: Size | None,
    mean: Sequence[float] | None,
    deviation: Sequence[float] | None,
    name: str,
) -> Given:
    """An image as a model expects it.

    Args:
        model: tells the layout, and the size where none is given.
        image: the path of an image file; a picture of Pillow's; an array or tensor of bytes, (rows,
            columns) or with channels first or last; or one of floats, which the model gets as it
            is, (channels, rows, columns) or in the model's own layout.
        size: channels, rows and columns; the image is scaled to cover it and cropped.
        mean: of each channel, of pixels in [0, 1]; ImageNet's for three channels, else 0.
        deviation: likewise; ImageNet's for three channels, else 1.
        name: what the image is called; a file's is its own.

    Raises:
        InputError: no such image, not an image, or not one of the model's size.
    """
    last = has_channels_last(model)
    numbers = _numbers(image)
    if numbers is not None and numbers.is_floating_point():
        given = _as_it_is(numbers.float(), last, mean, deviation, name)
        if size is not None and tuple(given.tensor.shape) != _shaped(size, last):
            raise InputError(
                f"size: floats go to the model as they are, {tuple(numbers.shape)}; leave it out"
            )
        return given
    if size is None:
        size = next(sizes_taken(model), None)
        if size is None:
            raise InputError("size: none of the usual ones runs; give the size of the image")
    wanted = ("mean", mean), ("deviation", deviation)
    default = _IMAGENET if size[0] == 3 else ((0.0,) * size[0], (1.0,) * size[0])
    for word, values in wanted:
        if values is not None and len(values) != size[0]:
            raise InputError(
                f"{word}: expected {size[0]} numbers, one a channel, got {len(values)}"
            )
    means, deviations = mean or default[0], deviation or default[1]
    if min(deviations) <= 0:
        raise InputError(f"deviation: expected numbers above 0, got {min(deviations):g}")
    pixels, was, called = _pixels(image if numbers is None else numbers, size)
    x = torch.from_numpy(pixels.copy()).float().div_(255)
    x = x.sub_(torch.tensor(means)).div_(torch.tensor(deviations))[None]
    tensor = x if last else x.permute(0, 3, 1, 2).contiguous()
    _, rows, columns = size
    words = (
        f"{was[1]} × {was[0]} pixels scaled and cropped to {rows} × {columns}; "
        if was != (columns, rows)
        else ""
    )
    prepared_so = f"{words}{_scale(means, deviations)}"
    return Given(tensor, Picture(raw(pixels, "uint8"), name or called, prepared_so))


def _scale(mean: Sequence[float], deviation: Sequence[float]) -> str:
    if set(mean) == {0.0} and set(deviation) == {1.0}:
        return "x = pixel / 255"
    means, deviations = (", ".join(f"{v:.4g}" for v in values) for values in (mean, deviation))
    return f"x = (pixel / 255 − mean) / deviation; mean {means}; deviation {deviations}"


def _numbers(image: object) -> Tensor | None:
    """An array or a tensor as a tensor; None for what is neither."""
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(image.copy())
    if not isinstance(image, Tensor):
        return None
    image = image.detach().cpu()
    if image.dim() == 4 and image.shape[0] == 1:
        image = image[0]
    if image.dim() not in (2, 3) or image.numel() == 0:
        raise InputError(
            "image: expected (rows, columns) or three sizes, channels first or last, got "
            f"{tuple(image.shape)}"
        )
    if not image.is_floating_point() and image.dtype != torch.uint8:
        raise InputError(f"image: expected bytes or floats, got {image.dtype}")
    return image


def _as_it_is(
    numbers: Tensor,
    channels_last: bool,
    mean: Sequence[float] | None,
    deviation: Sequence[float] | None,
    name: str,
) -> Given:
    """A tensor that is ready for the model, and what it looks like."""
    image = numbers[None] if numbers.dim() == 2 else numbers
    planar = image
    if channels_last and image.shape[-1] in (1, 3):
        planar = image.permute(2, 0, 1)
    elif channels_last:
        image = image.permute(1, 2, 0)
    if not bool(planar.isfinite().all()):
        raise InputError("image: expected finite numbers, got some that are not")
    seen = planar if planar.shape[0] in (1, 3) else planar.mean(0, keepdim=True)
    if mean is not None and deviation is not None and len(mean) == len(deviation) == len(seen):
        bytes_ = seen * torch.tensor(deviation)[:, None, None] + torch.tensor(mean)[:, None, None]
        words = _scale(mean, deviation)
    else:
        low, high = float(seen.min()), float(seen.max())
        bytes_ = (seen - low) / ((high - low) or 1.0)
        words = f"given ready for the model; shown with {low:.3g} as black and {high:.3g} as white"
    pixels = (bytes_.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return Given(image[None].contiguous(), Picture(raw(pixels, "uint8"), name, words))


def _pixels(image: object, size: Size) -> tuple[NDArray[np.uint8], tuple[int, int], str]:
    """Bytes (rows, columns, channels), the size (columns, rows) that it had, and its name."""
    require("train", "reading an image")
    from PIL import Image, ImageOps

    channels, rows, columns = size
    if channels not in (1, 3):
        raise InputError(
            f"image: the model takes {channels} channels; give a tensor of floats, ready for it"
        )
    called = ""
    if isinstance(image, Tensor):
        picture: Any = _of_bytes(image)
    elif isinstance(image, str | Path):
        called = Path(image).name
        picture = _opened(Path(image))
    elif isinstance(image, Image.Image):
        picture = image
    else:
        raise InputError(
            "image: expected a path, a Pillow image, an array or a tensor, got "
            f"{type(image).__name__}"
        )
    plain = picture.convert("RGB" if channels == 3 else "L")
    fitted = ImageOps.fit(plain, (columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(fitted, np.uint8).reshape(rows, columns, channels), picture.size, called


def _of_bytes(image: Tensor) -> Any:  # noqa: ANN401 - a Pillow image
    from PIL import Image

    if image.dim() == 3 and image.shape[-1] not in (1, 3) and image.shape[0] in (1, 3):
        image = image.permute(1, 2, 0)
    if image.dim() == 3 and image.shape[-1] not in (1, 3):
        raise InputError(f"image: expected 1 or 3 channels of bytes, got {tuple(image.shape)}")
    if image.dim() == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    return Image.fromarray(image.contiguous().numpy())


def _opened(path: Path) -> Any:  # noqa: ANN401 - a Pillow image
    from PIL import Image, ImageOps

    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.width * picture.height > _MOST_PIXELS:
                    raise InputError(
                        f"{path}: expected at most {_MOST_PIXELS:,} pixels, got "
                        f"{picture.width * picture.height:,}"
                    )
                return ImageOps.exif_transpose(picture).copy()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not a readable image ({type(error).__name__})") from error
