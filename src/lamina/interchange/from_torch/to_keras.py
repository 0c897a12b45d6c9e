"""A PyTorch module as a Keras model."""

from __future__ import annotations

from typing import Any

from torch import nn

from lamina.interchange import from_torch
from lamina.interchange.from_torch.builder import Flavour
from lamina.interchange.from_torch.trace import Example

__all__ = ["to_keras"]


def to_keras(
    module: nn.Module,
    example_input: Example,
    *,
    flavour: Flavour = "keras",
    keep_layout: bool = False,
) -> Any:  # noqa: ANN401 - a keras.Model
    """Build the Keras model that a torch module is, with its weights.

    Args:
        module: what ``torch.export`` can trace; it is left as it was.
        example_input: a batch, a tuple of batches, or sizes such as (1, 3, 224, 224); float32.
            Height and width of images stay open, as the batch does, where every layer lets them.
        flavour: "keras" for layers of keras.layers alone, which any Keras opens; "lamina" for
            those of lamina.layers.
        keep_layout: the Keras model takes and gives images as (N, C, H, W), as torch does.

    Returns:
        A functional ``keras.Model`` that takes (N, H, W, C). Its layers are named as the torch
        modules are, with underscores for dots; its weights are equal bit for bit.

    Raises:
        InputError: the module cannot be traced, or holds what Keras cannot say; the message names
            the line, or the layer and the reason.
        MissingExtraError: Keras is not installed.

    Example:
        >>> import torch
        >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 6 * 6, 2))
        >>> model = to_keras(module, (1, 3, 8, 8))
        >>> image = torch.rand(2, 3, 8, 8)
        >>> torch.allclose(model(image.permute(0, 2, 3, 1)), module(image), atol=1e-6)
        True
    """
    crossing = from_torch.cross(module, example_input, flavour=flavour, keep_layout=keep_layout)
    return crossing.keras_model
