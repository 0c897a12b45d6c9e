"""What was called to build a Keras model, so that it can be written down again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Statement"]


@dataclass(frozen=True)
class Statement:
    """One call.

    Attributes:
        function: "layers.Conv2D", "ops.pad", or "[]" for an index.
        arguments: of the layer's constructor; of an operation, all of them.
        keywords: likewise.
        inputs: symbolic tensors of a layer's call, a list where the layer takes a list.
        output: the symbolic tensor that came of it.
        layer: the layer; None for an operation.
        place: the torch module that it was called in, such as "layer1.0".
    """

    function: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    inputs: Any
    output: Any
    layer: Any = None
    place: str = ""

    @property
    def tensors(self) -> list[Any]:
        """The symbolic tensors that it reads."""
        read = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return [tensor for tensor in read if tensor is not None]
