"""What dropout would drop in a training step: its rate, and a mask drawn for the page."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lamina.dialects import is_keras
from lamina.inspector.explain.maps import raw
from lamina.inspector.explain.readings import image_of
from lamina.inspector.trace.untouched import untouched
from lamina.report.explanation.records import Dropout

__all__ = ["dropout_of", "is_dropout"]


def is_dropout(kind: str) -> bool:
    """Whether a layer of this kind drops values in training."""
    return "dropout" in kind or kind in ("drop_path", "stochastic_depth")


def dropout_of(
    module: nn.Module | None, x: Tensor, channels_last: bool, channels: list[int], step: int
) -> Dropout | None:
    """Run the layer as in training, on ones, and see what is left; it is left as it was.

    Args:
        module: the layer; None of a function, whose rate is gone with its call.
        x: its input, as it came.
        channels_last: of the input.
        channels: that are shown.
        step: of the maps.

    Returns:
        None where the layer does not say its rate, or its output is no image and no vector.
    """
    asked = (getattr(module, name, None) for name in ("p", "rate"))
    rate = next((value for value in asked if isinstance(value, float | int)), None)
    if module is None or rate is None or image_of(x, channels_last) is None:
        return None
    named: dict[str, Any] = {"training": True} if is_keras(module) else {}
    with untouched(module, data=True), torch.no_grad():
        torch.manual_seed(0)
        dropped = module.train()(torch.ones_like(x), **named)
    mask = image_of(dropped, channels_last)
    if mask is None:
        return None
    kept = mask != 0
    unit: Literal["value", "channel", "image"] = "value"
    if kept.shape[1:] != (1, 1) and bool((kept == kept[:, :1, :1]).all()):
        unit = "image" if bool((kept == kept[0, 0, 0]).all()) else "channel"
    drawn = kept[channels][:, ::step, ::step]
    return Dropout(
        rate=float(rate),
        scale=1 / (1 - rate) if rate < 1 else 0.0,
        mask=raw(drawn.numpy(), "uint8"),
        unit=unit,
        kept=float(kept.double().mean()),
    )
