"""What reads a tensor within a function: it decides in which form the tensor may be handed on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from lamina.interchange.from_keras.call import Operation, find_rule
from lamina.interchange.from_keras.rules.activation import is_elementwise

__all__ = ["Node", "Readers", "Symbol"]

Node = Any
"""One call of an operation in a ``keras.Function``."""

Symbol = Any
"""A ``keras.KerasTensor``."""

# They act on every feature by itself, or have a weight for each.
_BY_FEATURE = frozenset(
    {
        "ActivityRegularization",
        "BatchNormalization",
        "Dropout",
        "ELU",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "LayerNormalization",
        "LeakyReLU",
        "ReLU",
    }
)
_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2D", "PointwiseConv2D", "SeparableConv2D"})


class Readers:
    """Who reads which tensor of a function.

    Args:
        nodes: the function's.
        outputs: its outputs, which the caller reads.
    """

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Symbol]) -> None:
        self._calls = Counter(id(node.operation) for node in nodes)
        self._of: dict[int, list[Node | None]] = defaultdict(list)
        for node in nodes:
            for tensor in node.input_tensors:
                self._of[id(tensor)].append(node)
        for tensor in outputs:
            self._of[id(tensor)].append(None)

    def call_once(self, operation: Operation) -> bool:
        """Whether the function calls an operation once."""
        return self._calls[id(operation)] == 1

    def take_any_order(self, tensor: Symbol) -> bool:
        """Whether all that read a flattened image take its elements in another order."""
        for node in self._of[id(tensor)]:
            kind = self._kind(node)
            if node is None or kind is None or getattr(node.operation, "noise_shape", None):
                return False
            if kind == "Dense":
                continue
            pointwise = kind == "Activation" and is_elementwise(node.operation)
            if not (kind in _BY_FEATURE or pointwise) or not self.take_any_order(node.outputs[0]):
                return False
        return True

    def take_border(self, tensor: Symbol, data_format: str) -> bool:
        """Whether all that read a padded image are convolutions that pad nothing else."""
        return all(
            node is not None
            and self._kind(node) in _CONVOLUTIONS
            and (node.operation.padding, node.operation.data_format) == ("valid", data_format)
            for node in self._of[id(tensor)]
        )

    def _kind(self, node: Node | None) -> str | None:
        """The class of a reader that is called once."""
        if node is None or not self.call_once(node.operation):
            return None
        found = find_rule(node.operation)
        return found and found[0]
