"""Which layer a weight belongs to, and by which name the reader knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lamina.errors import InputError
from lamina.interchange.crossing import Crossing, WeightPair
from lamina.interchange.proof.keras_side import Untyped, named_operations
from lamina.report.conversion import Comparison

__all__ = ["Names"]


class Names:
    """The names of a crossing, looked up once.

    Raises:
        InputError: a pair names what one of the models does not have.
    """

    def __init__(self, crossing: Crossing) -> None:
        model = crossing.keras_model
        self._operations: dict[str, Untyped] = dict(named_operations(model))
        nodes = {node.name for node in crossing.graph.graph.nodes}
        for pair in crossing.pairs:
            if pair.keras not in self._operations:
                raise InputError(f"verify: the Keras model has no operation {pair.keras!r}")
            if pair.torch not in nodes:
                raise InputError(f"verify: the PyTorch graph has no node {pair.torch!r}")
        known_as = {pair.keras: pair.layer for pair in crossing.pairs}
        owners = {
            id(weight): name
            for name, operation in self._operations.items()  # models come before their layers
            for weight in getattr(operation, "weights", ())
        }
        self._numbers: dict[WeightPair, int] = {}
        self._layers: dict[WeightPair, str] = {}
        self._owners: dict[str, Untyped] = {}
        by_path: dict[str, list[int]] = {}
        for number, weight in enumerate(model.weights):
            by_path.setdefault(weight.path, []).append(number)
        for one in crossing.weights:
            numbers = by_path.get(one.keras)
            if not numbers:
                raise InputError(f"verify: the Keras model has no weight {one.keras!r}")
            # Layers of two models within may have one path; they are paired in order.
            number = numbers.pop(0) if len(numbers) > 1 else numbers[0]
            owner = owners.get(id(model.weights[number]), one.keras.rpartition("/")[0])
            self._numbers[one], self._layers[one] = number, known_as.get(owner, owner)
            self._owners[self._layers[one]] = self._operations.get(owner)
        paired = {*self._numbers.values()}
        self._without = [
            (known_as.get(owners.get(id(weight), ""), weight.path.rpartition("/")[0]), weight.path)
            for number, weight in enumerate(model.weights)
            if number not in paired
        ]
        self._torch = {pair.torch for pair in crossing.weights}

    def number(self, pair: WeightPair) -> int:
        """Its place in the Keras model's weights."""
        return self._numbers[pair]

    def layer(self, pair: WeightPair) -> str:
        """What the reader knows its layer by."""
        return self._layers[pair]

    def operation(self, row: Comparison) -> Untyped:
        """The Keras operation that a comparison is of, or None."""
        if row.kind == "output":
            return self._operations.get(row.what)
        return self._owners.get(row.layer)

    def without_counterpart(self, trained: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Layer, weight and remark for every weight of Keras's, or trained one of PyTorch's, alone.

        Args:
            trained: PyTorch's names.
        """
        for layer, path in self._without:
            yield layer, path, "no counterpart in PyTorch"
        for name in trained:
            if name not in self._torch:
                yield name.rpartition(".")[0], name, "no counterpart in Keras"
